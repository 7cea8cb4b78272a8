"""The routes of the original extension, with its names, defaults and answers, so that clients written for it keep
working.

A client sends one JSON object. When the job has ended it gets status 200 and a ``message``, also for an error, because
these clients expect that. The wait holds no thread. A request may have any fields. A field that asks for something that
EasyPhoto doesn't have yet is left out, and ``message`` says so.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from easyphoto import families, pictures
from easyphoto.api import clip_routes, guard, schema, waiting, wire
from easyphoto.clips import decoding
from easyphoto.clips.bounds import MAX_DRAWN, MAX_FRAMES, MAX_RATE
from easyphoto.config import (
    CLIP_CONTROLS,
    ID_METHODS,
    REF_MODES,
    TRAINING_STYLES,
    Declared,
    DrawnClipConfig,
    PortraitConfig,
    TrainConfig,
    declared,
    from_mapping,
    unlike_defaults,
)
from easyphoto.errors import EasyPhotoError, InvalidRequest, TooBusy
from easyphoto.events import TemplateFailed
from easyphoto.jobs import Job
from easyphoto.likeness import cosine_words
from easyphoto.people import Person
from easyphoto.pictures import Source
from easyphoto.service import (
    GUEST,
    MAX_PHOTOS,
    MAX_TEMPLATES,
    NOBODY,
    ClipDrawing,
    EasyPhoto,
    NoSuchModel,
    PortraitRequest,
    PortraitResult,
    TrainRequest,
    VideoRequest,
    VideoResult,
)
from easyphoto.service.requests import OVER_API

CHECKPOINT = "Chilloutmix-Ni-pruned-fp16-fix.safetensors"
"""The base model that clients of the original name unless their user chose another."""
PROMPT = (
    "upper-body, look at viewer, one twenty years old girl, wear white dress, standing, in the garden with flowers, "
    "in the winter, daytime, snow, f32"
)
TRAINED = "The training has been completed."
FRAMES_SENT = 64
"""At most so many frames of a clip are sent one by one, beside the clip."""
_POSES = ("dwpose",)
"""What the original also calls the control that holds poses."""
TABS = ("selected_template_images", "init_image", "uploaded_template_images", "text")
WITH_LORA = ("Infer with User Lora", *REF_MODES[:1])
_SHOWN: Mapping[tuple[bool, str], str] = {
    (False, ID_METHODS[0]): "ipa_image",
    (False, ID_METHODS[1]): "instantid_image",
    (False, ID_METHODS[2]): "ipa_image",
    (True, ID_METHODS[0]): "ipa_only_image",
    (True, ID_METHODS[1]): "instantid_only_image",
    (True, ID_METHODS[2]): "ipa_only_image",
}
"""The field with the picture for the adapter, by whether the LoRA is left out and by the adapter."""
_TRAIN_DEFAULTS: Mapping[str, Any] = {"sd_model_checkpoint": CHECKPOINT, "skin_retouching_bool": False}


class NoFields(InvalidRequest):
    """The body is not a JSON object. This is the only error that these routes answer with an error status."""


@dataclass
class _Reading:
    """The fields of a request while they are read, and the remarks that the answer will make about them."""

    fields: Mapping[str, Any]
    remarks: list[str] = field(default_factory=list)

    def wants(self, name: str) -> bool:
        """Return whether the client itself switched ``name`` on; the default of the original doesn't count."""
        return bool(self.fields.get(name))

    def config_values(self, cls: type, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Return the declared fields, with what the client sent in place of ``defaults``, each brought to its type."""
        values = dict(defaults)
        for d in declared(cls):
            if self.fields.get(d.name) is not None:
                values[d.name] = _coerce(d, self.fields[d.name])
        return values

    def checkpoint(self, service: EasyPhoto, values: dict[str, Any]) -> None:
        """Take the host's own base model if the host lacks the one that the original names by default."""
        if values.get("sd_model_checkpoint") != CHECKPOINT:
            return
        try:
            service.checkpoint(CHECKPOINT)
        except NoSuchModel:
            values["sd_model_checkpoint"] = ""
            self.remarks.append(f"{CHECKPOINT} is not installed; the default base model was taken instead.")


def add(router: APIRouter, service: EasyPhoto, scrubber: wire.Scrubber) -> None:
    """Add the three routes."""

    @router.post("/easyphoto_train_forward", summary="Train and wait", **_documented(TrainConfig, _TRAIN_MORE))
    async def train(request: Request) -> schema.LegacyTrained:
        try:
            asked = await _queued(request, _queue_training, service)
            await waiting.until_ended(asked.job, request)
            message = _trained(asked)
        except (NoFields, TooBusy):
            raise
        except EasyPhotoError as error:
            message = f"Train error, error info:{error}"
        return schema.LegacyTrained(message=scrubber.text(message))

    @router.post(
        "/easyphoto_infer_forward", summary="Make portraits and wait", **_documented(PortraitConfig, _INFER_MORE)
    )
    async def infer(request: Request) -> schema.LegacyPortraits:
        try:
            asked = await _queued(request, _queue_portraits, service)
            await waiting.until_ended(asked.job, request)
            return await run_in_threadpool(_portraits, asked, service, scrubber)
        except (NoFields, TooBusy):
            raise
        except EasyPhotoError as error:
            return schema.LegacyPortraits(message=scrubber.text(f"Infer error, error info:{error}"))

    @router.post(
        "/easyphoto_video_infer_forward",
        summary="Put people into a clip and wait",
        **_documented(PortraitConfig, _VIDEO_MORE),
    )
    async def video(request: Request) -> schema.LegacyVideo:
        try:
            job, remarks = await _queued(request, _queue_video, service)
            await waiting.until_ended(job, request)
            return await run_in_threadpool(_video, job, remarks, scrubber)
        except (NoFields, TooBusy):
            raise
        except EasyPhotoError as error:
            return schema.LegacyVideo(message=scrubber.text(f"Video infer error, error info:{error}"))


_Queued = TypeVar("_Queued")


async def _queued(
    request: Request, queue: Callable[[Mapping[str, Any], EasyPhoto], _Queued], service: EasyPhoto
) -> _Queued:
    """Return what ``queue`` makes of the request's fields. The fields are let go of before the wait that follows."""
    queued = await run_in_threadpool(_from_body, await _body(request), queue, service)
    guard.release(request.scope)
    return queued


def _from_body(data: bytes, queue: Callable[[Mapping[str, Any], EasyPhoto], _Queued], service: EasyPhoto) -> _Queued:
    return queue(_fields(data), service)


# --- train -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Learning:
    """A training that was queued, the remarks about the request, and whether the client wants the reward."""

    job: Job[Person]
    remarks: list[str]
    rewarded: bool


def _queue_training(fields: Mapping[str, Any], service: EasyPhoto) -> _Learning:
    reading = _Reading(fields)
    photos = wire.decode_all(_texts(fields, "instance_images"), "instance_images", MAX_PHOTOS)
    values = reading.config_values(TrainConfig, _TRAIN_DEFAULTS)
    reading.checkpoint(service, values)
    user_id = _text(fields, "user_id", "tmp")
    config = service.train_config(_unlike_the_defaults(values, service))
    return _Learning(service.train(TrainRequest(user_id, photos, config)), reading.remarks, config.enable_rl)


def _trained(asked: _Learning) -> str:
    person, remarks = asked.job.wait(0), asked.remarks
    if asked.rewarded and person.reward is None:
        said = (person.marks or {}).get("reward") or {}
        remarks = [*remarks, f"enable_rl was left out: {said.get('why') or 'the training has no reward'}."]
    if not person.works:
        remarks = [*remarks, "The likeness did not rise: look at the photo report before you use this person."]
    return "\n".join([TRAINED, *remarks])


def _unlike_the_defaults(values: dict[str, Any], service: EasyPhoto) -> dict[str, Any]:
    """Leave out the values that only repeat the declared defaults, if the family of the base model or the way to train
    has defaults of its own.

    Clients of the original send their whole form, so nobody chose a value that is equal to the default. They know of no
    way to train, so they get the defaults of the tabs.
    """
    family = service.checkpoint(values.get("sd_model_checkpoint", "")).family
    usual_way = values.get("training_style", TRAINING_STYLES[0]) == TRAINING_STYLES[0]
    if usual_way and not families.spec(family).learning.person:
        return values
    usual = {d.name: d.default for d in declared(TrainConfig)}
    kept = ("sd_model_checkpoint", "train_mode_choose", "skin_retouching_bool")
    return {k: v for k, v in values.items() if k in kept or v != usual[k]}


# --- infer -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    """Portraits that were queued: of whom, whether the client wants the likeness, and the remarks about the request."""

    job: Job[PortraitResult]
    user_ids: tuple[str, ...]
    display_score: bool
    remarks: list[str]


def _queue_portraits(fields: Mapping[str, Any], service: EasyPhoto) -> _Asked:
    reading = _Reading(fields)
    request = _portrait_request(reading, service)
    user_ids = service.accept(request).user_ids
    job = service.generate(request)
    return _Asked(job, user_ids, request.config.display_score, reading.remarks)


def _portraits(asked: _Asked, service: EasyPhoto, scrubber: wire.Scrubber) -> schema.LegacyPortraits:
    try:
        result = asked.job.wait(0)
    except EasyPhotoError:
        failures = tuple(e for _, e in asked.job.events(follow=False) if isinstance(e, TemplateFailed))
        if not failures or asked.job.state == "cancelled":
            raise
        result = PortraitResult((), failures, 0)  # the original's clients read one line for each template
    outputs = [wire.encode(p.path) for p in result.portraits if p.path is not None]
    scores = _scores(result, asked.user_ids, service) if asked.display_score else []
    message = "\n".join([_report(result), *asked.remarks])
    return schema.LegacyPortraits(message=scrubber.text(message), outputs=outputs, face_id_outputs=scores)


def _portrait_request(reading: _Reading, service: EasyPhoto) -> PortraitRequest:
    fields = reading.fields
    tab = _tab(fields.get("tabs", 1))
    defaults = {d.name: d.param.legacy_default for d in declared(PortraitConfig) if d.param.legacy_default is not None}
    values = reading.config_values(PortraitConfig, {**defaults, "sd_model_checkpoint": CHECKPOINT})
    reading.checkpoint(service, values)
    if TABS[tab] == "text":
        values.setdefault("text_to_image_input_prompt", PROMPT)
    values |= _identity(reading)
    people = wire.user_ids(_texts(fields, "user_ids"))
    pose = _text(fields, "t2i_pose_template", "")
    config = from_mapping(PortraitConfig, values)
    return PortraitRequest(
        people,
        _templates(fields, tab),
        config,
        wire.decode(pose, "t2i_pose_template") if pose else None,
        identity_image=_shown(fields, config),
        # Clients of the original send its whole form: nobody has chosen a value that only repeats the default.
        chosen=unlike_defaults(config) & fields.keys(),
        origin=OVER_API,
    )


def _tab(value: Any) -> int:
    try:
        tab = int(value)
    except (TypeError, ValueError, OverflowError):
        tab = -1
    if not 0 <= tab < len(TABS):
        raise InvalidRequest("tabs must be a number from 0 to {count}.", count=len(TABS) - 1)
    return tab


def _templates(fields: Mapping[str, Any], tab: int) -> tuple[Source, ...]:
    name = TABS[tab]
    if name == "text":
        return ()
    texts = _texts(fields, name)
    if not texts:
        raise InvalidRequest("Please choose or upload a template.")
    return wire.decode_all(texts, name, MAX_TEMPLATES)


def _identity(reading: _Reading) -> dict[str, str]:
    """Return what the client says of adapters, in the words of the declared choices. Clients know other words for some
    of them. ``ipa_control`` is the name that ``id_control`` once had.
    """
    if reading.wants("ipa_control"):
        reading.remarks.append(f"ipa_control was left out: {schema.NOT_YET['ipa_control']}.")
    found = {}
    for name in ("id_control_method", "no_user_lora_mode"):
        if method := _text(reading.fields, name, ""):
            own = method in ID_METHODS or not method.lower().startswith("ip")
            found[name] = method if own else ID_METHODS[0]
    mode = _text(reading.fields, "ref_mode_choose", WITH_LORA[0])
    # The words for it changed when the original learned a second adapter.
    alone = mode.startswith("Infer with IPA")
    return {**found, "ref_mode_choose": REF_MODES[0] if mode in WITH_LORA else REF_MODES[1] if alone else mode}


def _shown(fields: Mapping[str, Any], config: PortraitConfig) -> bytes | None:
    """Return the picture for the adapter that is asked for, if the client sent one."""
    alone = config.ref_mode_choose == REF_MODES[1]
    name = _SHOWN[alone, config.no_user_lora_mode if alone else config.id_control_method]
    picture = _text(fields, name, "") if alone or config.id_control else ""
    return wire.decode(picture, name) if picture else None


def _report(result: PortraitResult) -> str:
    """Return one line for each template, in the words of the original."""
    lines = {p.template: f"Template {p.template + 1} Success." for p in result.portraits}
    lines |= {f.template: f"Template {f.template + 1} error: Error info is {f.message}" for f in result.failures}
    return "\n".join(lines[i] for i in sorted(lines)) or "No portrait was made."


def _scores(result: PortraitResult, user_ids: tuple[str, ...], service: EasyPhoto) -> list[list[str]]:
    """Return, for each face of each portrait, the reference picture and its likeness in words, both in base64."""
    found = []
    for portrait in result.portraits:
        for name, likeness in zip(user_ids, portrait.likeness, strict=False):
            if name in (NOBODY, GUEST) or likeness is None:
                continue
            words = f"{cosine_words(likeness.cosine, 2)}, {name}, the reference image"
            picture = wire.encode(service.people.get(name).reference)
            found.append([picture, base64.b64encode(words.encode()).decode("ascii")])
    return found


# --- video -----------------------------------------------------------------------------------------------------------


def _queue_video(fields: Mapping[str, Any], service: EasyPhoto) -> tuple[Job[VideoResult], list[str]]:
    """Queue a clip, and return its job with the remarks about the request."""
    clip, image, prompt = (_text(fields, name, "") for name in ("init_video", "init_image", "t2v_input_prompt"))
    if not (clip or image or prompt):
        raise InvalidRequest("Send a clip as init_video, a picture as init_image, or a text as t2v_input_prompt.")
    wanted = _text(fields, "save_as", "gif")
    if wanted not in ("gif", "mp4"):
        raise InvalidRequest("save_as must be gif or mp4.")
    # The clip takes the place of the templates; what is said of a text portrait doesn't concern it.
    reading = _Reading({**fields, "tabs": TABS.index("text"), "t2i_pose_template": None})
    asked = _portrait_request(reading, service)
    if asked.identity_image is not None:
        reading.remarks.append("The picture for the adapter was left out: a clip is made with the person's photos.")
    if reading.wants("video_interpolation"):
        reading.remarks.append("video_interpolation was left out: it isn't there yet.")
    request = VideoRequest(
        user_ids=asked.user_ids,
        clip=Path("clip"),
        config=replace(asked.config, text_to_image_input_prompt=""),
        format=wanted,
        max_fps=_number(fields, "max_fps", 8, MAX_RATE),
        max_frames=int(_number(fields, "max_frames", 16, MAX_FRAMES if clip else MAX_DRAWN)),
        chosen=asked.chosen,
    )
    if not clip:
        control = _control(reading)
        request = replace(request, drawing=_drawing(reading, image, own_shape=bool(image or control)))
        return clip_routes.queue_drawing(service, request, control, "openpose_video"), reading.remarks
    return clip_routes.queue(service, request, wire.decode(clip, "init_video", schema.MAX_CLIP)), reading.remarks


def _control(reading: _Reading) -> str:
    """The control clip in base64, "" where none is to be used."""
    if not reading.wants("upload_control_video"):
        return ""
    control = _text(reading.fields, "openpose_video", "")
    if not control:
        reading.remarks.append("upload_control_video was left out: no clip came as openpose_video.")
    elif reading.fields.get("upload_control_video_type") not in (None, *_POSES, *CLIP_CONTROLS):
        reading.remarks.append("upload_control_video was left out: there is no control of that type.")
        control = ""
    return control


def _drawing(reading: _Reading, image: str, *, own_shape: bool) -> ClipDrawing:
    """What the clip is to be drawn of: the picture where one was sent, with its own prompt, else the text. With
    ``own_shape`` it is as wide and high as what it is drawn from, whatever size was sent, as in the original."""
    fields = reading.fields
    prompt = _text(fields, "init_image_prompt" if image else "t2v_input_prompt", "")
    last = _text(fields, "last_image", "") if image else ""
    values = reading.config_values(DrawnClipConfig, {})
    if values.get("upload_control_video_type") not in CLIP_CONTROLS:
        values.pop("upload_control_video_type", None)  # the first of our own then: the original's are all poses to us
    if own_shape:
        values = {name: value for name, value in values.items() if name not in ("t2v_input_width", "t2v_input_height")}
    return clip_routes.drawn_of(prompt, image, last, values)


def _video(job: Job[VideoResult], remarks: list[str], scrubber: wire.Scrubber) -> schema.LegacyVideo:
    result = job.wait(0)
    made = wire.encode(result.path)
    frames = islice(decoding.frames(decoding.probe(result.path)), FRAMES_SENT)
    outputs = [base64.b64encode(pictures.jpg_bytes(frame)).decode("ascii") for frame in frames]
    message = scrubber.text("\n".join(["Video infer success.", *remarks]))
    if result.path.suffix == ".gif":
        return schema.LegacyVideo(message=message, outputs=outputs, output_gif=made)
    return schema.LegacyVideo(message=message, outputs=outputs, output_video=made)


def _number(fields: Mapping[str, Any], name: str, default: float, most: float) -> float:
    """Return a number of at least 1, which clients may send as text; -1 or 0 takes the most that there is."""
    value = fields.get(name)
    try:
        number = float(default if value is None else value)
    except (TypeError, ValueError):
        raise InvalidRequest("{name} must be a number.", name=name) from None
    if not number <= most:
        raise InvalidRequest("{name} must be a number up to {most}.", name=name, most=most)
    return number if number >= 1 else most


# --- reading fields --------------------------------------------------------------------------------------------------


async def _body(request: Request) -> bytes:
    """Read the body in such a way that the request doesn't keep it."""
    return b"".join([part async for part in request.stream()])


def _fields(data: bytes) -> Mapping[str, Any]:
    """Return the fields of a body. Raises :class:`NoFields` if it is not a JSON object."""
    try:
        fields = json.loads(data)
    except json.JSONDecodeError as error:
        raise NoFields(f"The body is broken JSON: {error.msg.removesuffix(' at')} at character {error.pos}.") from None
    except (ValueError, RecursionError):
        raise NoFields("The body is broken JSON.") from None
    if not isinstance(fields, dict):
        raise NoFields("The body must be one JSON object.")
    return fields


def _text(fields: Mapping[str, Any], name: str, default: str) -> str:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise InvalidRequest("{name} must be a text.", name=name)
    return value


def _texts(fields: Mapping[str, Any], name: str) -> list[str]:
    """Return a list of texts; a text alone counts as a list of one."""
    value = fields.get(name)
    if value is None:
        return []
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise InvalidRequest("{name} must be a list of texts.", name=name)
    return values


def _coerce(d: Declared, value: Any) -> Any:
    """Accept numbers that were sent as text and whole numbers that were sent as 1.0, because the original accepted
    them."""
    if d.type is str and not isinstance(value, str):
        raise InvalidRequest("{name} must be a text.", name=d.name)
    if d.type not in (int, float) or isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return value  # the configuration then refuses it, and names the field
    return int(number) if d.type is int and number.is_integer() else number


# --- OpenAPI ---------------------------------------------------------------------------------------------------------

_LIST = {"type": "array", "items": {"type": "string"}}
_TRAIN_MORE: Mapping[str, Any] = {
    "user_id": {"type": "string", "default": "tmp"},
    "instance_images": {**_LIST, "description": "5 to 20 photos in base64."},
}
_INFER_MORE: Mapping[str, Any] = {
    "user_ids": {"anyOf": [{"type": "string"}, _LIST]},
    "tabs": {"type": "integer", "default": 1, "description": f"Where the templates are: {', '.join(TABS)}."},
    "selected_template_images": _LIST,
    "init_image": {"type": "string", "nullable": True},
    "uploaded_template_images": _LIST,
    "t2i_pose_template": {"type": "string", "nullable": True},
    **{name: {"type": "string", "nullable": True} for name in _SHOWN.values()},
}
_VIDEO_MORE: Mapping[str, Any] = {
    "user_ids": {"anyOf": [{"type": "string"}, _LIST]},
    "init_video": {"type": "string", "description": "A clip in base64."},
    "init_image": {"type": "string", "nullable": True, "description": "Without a clip: a picture that is to move."},
    "init_image_prompt": {"type": "string", "description": "What the clip from the picture shows."},
    "last_image": {"type": "string", "nullable": True, "description": "The picture at which that clip ends."},
    "t2v_input_prompt": {"type": "string", "description": "Without clip and picture: what a drawn clip shows."},
    "upload_control_video": {"type": "boolean", "description": "Hold each frame of a drawn clip to openpose_video."},
    "openpose_video": {"type": "string", "nullable": True, "description": "That clip in base64."},
    "max_frames": {"type": "integer", "default": 16},
    "max_fps": {"type": "integer", "default": 8},
    "save_as": {"type": "string", "enum": ["gif", "mp4"], "default": "gif"},
}
_STATUSES: Mapping[int | str, str] = {
    400: "The request does not say for which host it is.",
    403: "The request comes from another site, or calls this server by a name that it doesn't answer to.",
    413: "The request is too large.",
    415: "The body isn't JSON by its content type.",
    422: "No JSON object.",
    429: "Too much waits already: try again later.",
    500: "An error of ours.",
}
_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def _documented(config: type | None, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of the request, made from the declarations: no field is required, and other fields are
    accepted."""
    properties = {} if config is None else {d.name: _property(d) for d in declared(config)}
    body = {"type": "object", "properties": {**properties, **more}, "additionalProperties": True}
    return {
        "responses": {s: {"model": schema.Error, "description": text} for s, text in _STATUSES.items()},
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}},
    }


def _property(d: Declared) -> dict[str, Any]:
    default = _TRAIN_DEFAULTS.get(d.name, d.default) if d.param.legacy_default is None else d.param.legacy_default
    return {"type": _JSON_TYPES[d.type], "title": d.param.label, "description": d.param.help, "default": default}
