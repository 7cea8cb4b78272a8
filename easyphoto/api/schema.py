"""What the HTTP API takes and returns, made from the declarations in ``config``.

A WebUI brings its own pydantic, so only what versions 1.10 and 2.x have in common is used.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import pydantic
from pydantic import BaseModel, Field, StrictBool, StrictStr

from easyphoto.clips.bounds import MAX_FRAMES, MAX_RATE, FileFormat
from easyphoto.config import AUTO, Declared, DrawnClipConfig, PortraitConfig, TrainConfig, declared, spelt_out
from easyphoto.service import MAX_PHOTOS, MAX_TEMPLATES

MAX_FEATURES = 30
MAX_FACES = 20
"""The most user ids in one request."""
MAX_CLIP = 300 * 2**20
"""The most bytes of a clip that a client may send."""

_EXTRA = {"title": "Base64", "description": "A picture file (JPEG, PNG, WebP ...) in base64."}


def _field_type(d: Declared) -> Any:
    """Return the type with which pydantic checks a declared field: text is no number, and true or false is none
    either."""
    if d.type is bool:
        return StrictBool
    # The limits belong to the type, because in pydantic 1 a field can't limit a strict type.
    if d.type is int:
        return pydantic.conint(strict=True, **_range(d))
    if d.type is float:
        kind = pydantic.confloat(**_range(d))
        return kind | Literal[AUTO] if d.param.tried else kind
    if d.param.numbered:
        return Literal[d.param.choices] | pydantic.conint(strict=True, ge=1, le=len(d.param.choices) - 1)
    return Literal[d.param.choices] if d.param.choices else StrictStr


def _range(d: Declared) -> dict[str, Any]:
    limits = {"ge": d.param.minimum, "le": d.param.maximum}
    cast = int if d.type is int else float
    return {k: cast(v) for k, v in limits.items() if v is not None}


def _shown_range(d: Declared) -> dict[str, Any]:
    """Return what shows a client the limits of a number that may be left to a search too: pydantic shows those of such
    a type deep within it."""
    if not d.param.tried:
        return {}
    limits = {"minimum": d.param.minimum, "maximum": d.param.maximum}
    return limits if pydantic.VERSION.startswith("1.") else {"json_schema_extra": limits}


def _options(name: str, config: type, doc: str) -> type[BaseModel]:
    """Return a model with each declared field of ``config``, all of them optional."""
    fields: dict[str, Any] = {
        d.name: (_field_type(d), Field(d.default, title=d.param.label, description=d.param.help, **_shown_range(d)))
        for d in declared(config)
    }
    strict: Any = {"extra": "forbid"}
    if pydantic.VERSION.startswith("1."):
        strict = type("Config", (pydantic.BaseConfig,), strict)
    model: type[BaseModel] = pydantic.create_model(name, __config__=strict, __module__=__name__, **fields)
    model.__doc__ = doc
    return model


if TYPE_CHECKING:
    _Place = int
    TrainOptions = BaseModel
    PortraitOptions = BaseModel
    DrawnClipOptions = BaseModel
else:
    _Place = pydantic.conint(strict=True, ge=0, le=10_000)  # version 1 refuses bounds of a StrictInt in Field
    TrainOptions = _options(
        "TrainOptions", TrainConfig, "What is left out takes the default of the base model's family."
    )
    PortraitOptions = _options("PortraitOptions", PortraitConfig, "What is left out takes the default of the tabs.")
    DrawnClipOptions = _options("DrawnClipOptions", DrawnClipConfig, "How a clip is drawn from text or pictures.")


def chosen(model: BaseModel | None) -> dict[str, Any]:
    """Return the fields that the client sent, by name."""
    if model is None:
        return {}
    values: Mapping[str, Any] = (
        model.dict(exclude_unset=True) if pydantic.VERSION.startswith("1.") else model.model_dump(exclude_unset=True)
    )
    return spelt_out(PortraitConfig, values)


OF_SEVERAL_TYPES = frozenset(d.name for d in declared(PortraitConfig) if d.param.tried or d.param.numbered)
"""The options that may be a number or a text."""
NOT_YET: Mapping[str, str] = {
    "ipa_control": "it is called id_control",
}
"""Options of the original extension that EasyPhoto doesn't have yet."""


def unknown_option(name: str) -> str:
    """Return the sentence for an option that isn't declared, with the option that the client may have meant."""
    if name in NOT_YET:
        return f"The option {name!r} can't be taken: {NOT_YET[name]}."
    known = [d.name for config in (TrainConfig, PortraitConfig, DrawnClipConfig) for d in declared(config)]
    near = difflib.get_close_matches(name[:100], known, 1)
    meant = f"did you mean {near[0]!r}?" if near else "docs/parameters.md lists those that there are."
    return f"There is no option {name[:100]!r} here: {meant}"


# --- requests --------------------------------------------------------------------------------------------------------


class PersonPayload(BaseModel):
    """Photos of somebody who is to be there without a training."""

    user_id: StrictStr = Field(..., description="The name of the person, in any script.")
    photos: list[StrictStr] = Field(..., description=f"Photos in base64 (at most {MAX_PHOTOS}); one is enough.")


class PersonFile(BaseModel):
    """A person who was exported, here or elsewhere."""

    file: StrictStr = Field(..., description="The zip file in base64.")


class RenamePayload(BaseModel):
    """What a person is to be called."""

    user_id: StrictStr = Field(..., description="The new name of the person, in any script.")


class TrainPayload(BaseModel):
    """Photos of one person, and how to train."""

    user_id: StrictStr = Field(..., description="The name of the person, in any script.")
    photos: list[StrictStr] = Field(
        [], description=f"5 to 20 photos in base64 (at most {MAX_PHOTOS}); none when resuming."
    )
    options: TrainOptions | None = None
    validation_templates: list[StrictStr] = Field([], description="Pictures in base64; empty takes the presets.")
    resume: StrictBool = Field(False, description="Go on with a training that was cancelled or killed.")
    captions: list[StrictStr] = Field([], description="Of a scene: what each photo shows, in the order of the photos.")


class PortraitPayload(BaseModel):
    """Which people go onto which templates. Without templates and presets, the portrait is made from text."""

    user_ids: list[StrictStr] = Field(
        ...,
        description=f"One per face from left to right, `none` leaves a face alone; at most {MAX_FACES}. `ann@2` and "
        "`none@2` say it of the second face from the left.",
    )
    templates: list[StrictStr] = Field([], description=f"Pictures in base64, at most {MAX_TEMPLATES}.")
    presets: list[StrictStr] = Field([], description="Names of preset templates, as `templates` lists them.")
    options: PortraitOptions | None = None
    pose_template: StrictStr | None = Field(None, description="Picture in base64 to take the pose of a text portrait.")
    by_likeness: bool = Field(False, description="Everybody takes the place of the face that is most like them.")
    identity_image: StrictStr | None = Field(
        None,
        description="Picture in base64 that the adapter is shown of the one person, instead of the person's photos.",
    )
    scene_preset: StrictStr | None = Field(
        None, description="The scene of a picture from text, as `scenes` lists them; goes behind the prompt."
    )


class VideoPayload(BaseModel):
    """Which people take the places of those in a clip."""

    user_ids: list[StrictStr] = Field(
        ...,
        description="One for each person of the clip in the order in which they come, from left to right; `none` "
        f"leaves one alone; at most {MAX_FACES}.",
    )
    clip: StrictStr = Field(
        "",
        description="A video, or an animated GIF, WebP or PNG, in base64; at most "
        f"{MAX_CLIP // 2**20} MB. Without it a clip is drawn.",
    )
    prompt: StrictStr = Field("", description="What a clip that is drawn shows.")
    image: StrictStr = Field("", description="The picture from which a clip is drawn, in base64.")
    last_image: StrictStr = Field("", description="The picture at which a clip from `image` ends, in base64.")
    control_clip: StrictStr = Field(
        "", description="A clip in base64 that each frame of a drawn clip is held to; `drawing` says by what."
    )
    drawing: DrawnClipOptions | None = None
    name: StrictStr = Field("clip", description="What the clip is called.")
    format: FileFormat = "mp4"
    max_fps: float = Field(MAX_RATE, ge=1, le=MAX_RATE, description="At most so many frames a second are made.")
    max_frames: int = Field(0, ge=0, le=MAX_FRAMES, description="At most so many frames in all; 0: every one.")
    by_likeness: bool = Field(False, description="Everybody takes the place of whoever is most like them.")
    options: PortraitOptions | None = None


class TemplatePayload(BaseModel):
    """A template of one's own."""

    name: StrictStr = Field(..., description="What to call it, in any script.")
    picture: StrictStr = Field(..., description="The picture in base64.")


class GalleryPayload(BaseModel):
    """Pictures that become a gallery."""

    name: StrictStr = Field(..., description="What to call it, in any script.")
    pictures: dict[str, StrictStr] = Field(
        ..., description=f"Pictures in base64 by their names, at most {MAX_TEMPLATES}."
    )


class ModelsPayload(BaseModel):
    """Features whose missing weights are to be downloaded."""

    features: list[StrictStr] = Field(..., description=f"Names as `models` lists them, at most {MAX_FEATURES}.")


class BatchPayload(BaseModel):
    """Portraits of a whole table: as `rows`, or as the text of a file in `table`. What a row may say stands in
    `docs/batch.md`; templates are presets, or pictures of `templates` by their names."""

    rows: list[dict[str, Any]] = Field([], description="One object a row: user, template, output, any parameter.")
    table: StrictStr | None = Field(None, description="The same as CSV, JSON Lines or YAML.")
    format: Literal["csv", "jsonl", "yaml"] = Field("csv", description="How `table` is written.")
    templates: dict[str, StrictStr] = Field(
        {}, description=f"Pictures in base64 by the names that rows call them, at most {MAX_TEMPLATES}."
    )
    name: StrictStr = Field("batch", description="What the report and its folder are called.")


class MovePayload(BaseModel):
    """Where in its line a waiting job goes; 0: it is the next."""

    place: _Place = Field(0, description="0: it is the next.")


# --- responses -------------------------------------------------------------------------------------------------------


class Error(BaseModel):
    """Why something was not done: a fixed `code` and one sentence."""

    code: str
    message: str


class QueuedJob(BaseModel):
    """A job that was taken. `position` jobs come before it."""

    id: str
    position: int


class ProgressOut(BaseModel):
    """How far a running job is. `seconds_left` is null as long as nobody can tell."""

    stage: str
    step: int
    total: int
    message: str = ""
    seconds_left: float | None = None


class LikenessOut(BaseModel):
    """`score` goes from 0 (a stranger) to 1 (the same person), `cosine` is the raw value of `embedder`."""

    score: float = Field(ge=0, le=1)
    cosine: float
    embedder: str


class PanelRowOut(BaseModel):
    """The likeness by one embedder: cosines, which mean nothing to another embedder's. `value` lies between `floor` and
    `ceiling`; one of 100 pairs of strangers reaches `threshold`."""

    embedder: str
    value: float | None
    floor: float | None
    ceiling: float | None
    threshold: float
    measured: bool = True


class PanelOut(BaseModel):
    """What the judge, which chose, and the reporter, which had no part in any choice, tell of the likeness.
    `copying` goes from -1 to 1, and `dominant_photo` is the training photo that most portraits lie nearest to (of one
    portrait: that it lies nearest to). `missing` counts faces that weren't found on templates that look ahead, and
    `not_applicable` those on templates in profile. `floor_of` says whose the floor is: "without the LoRA" for what the
    base model makes of the same templates, or "template" for the template's own face."""

    judge: PanelRowOut
    reporter: PanelRowOut | None
    copying: float | None
    dominant_photo: str
    held_out: list[str]
    word: str | None
    proven: bool
    pictures: int
    missing: int
    not_applicable: int
    sharpness: float | None
    diversity: float | None
    floor_of: str = ""


class RewardOut(BaseModel):
    """What became of the reward (`enable_rl`) of a training. `gain` is that in cosines of `reporter`, with the 95%
    `interval`; `curve` has the step and the cosine of `judge`; `guards` have what else was compared, without the reward
    and with it. `why` is one sentence on why it was left out."""

    accepted: bool
    gain: float | None
    interval: tuple[float, float] | None
    minutes: float
    judge: str
    reporter: str | None
    why: str = ""
    steps: int = 0
    curve: list[tuple[int, float]] = []
    guards: dict[str, tuple[float | None, float | None]] = {}


class PortraitOut(BaseModel):
    """One finished portrait; fetch it as `pictures/{picture}` of its job. `panel` has an entry for each face."""

    picture: int
    template: int
    seed: int
    likeness: list[LikenessOut | None] = []
    panel: list[PanelOut | None] = []


class FailureOut(BaseModel):
    """A template that could not be done."""

    template: int
    code: str
    message: str


class RowFault(BaseModel):
    """What is wrong with the row that begins at `line`."""

    line: int
    message: str


class RowsError(Error):
    """Why nothing of a table was begun: every fault of every row."""

    faults: list[RowFault] = []


class RowOut(BaseModel):
    """What came of one portrait of a batch; fetch it as `pictures/{picture}` of the batch's job."""

    line: int
    output: str
    user: str
    template: str
    state: Literal["made", "there", "failed", "left"]
    picture: int | None = None
    likeness: list[float] = []
    seed: int | None = None
    code: str = ""
    message: str = ""


class ForecastOut(BaseModel):
    """What a batch will take. `seconds` is null where no pace was measured, `free` where the drive isn't there."""

    total: int
    there: int
    missing: int
    seconds: float | None = None
    bytes: int | None = None
    free: int | None = None
    sentences: list[str]


class PersonInVideoOut(BaseModel):
    """How alike a person is over the frames of a clip: mean and standard deviation of the cosine, and the mean score
    from 0 (a stranger) to 1 (the same person)."""

    user_id: str
    frames: int
    cosine: float
    deviation: float
    score: float
    embedder: str


class VideoOut(BaseModel):
    """A clip that was made; `/jobs/{id}/video` gives the file."""

    name: str
    frames: int
    repainted: int
    seed: int
    people: list[PersonInVideoOut]


class JobOut(BaseModel):
    """A job: its state, how far it is, and in the end its result or its error. `cut_off`: how often it was begun again,
    because the program that worked on it was gone or somebody asked for it; `can_be_retried`: it failed or was
    cancelled, and `retry` begins it again."""

    id: str
    what: Literal["train", "generate", "video", "models", "batch"]
    subject: str
    state: Literal["queued", "running", "finished", "failed", "cancelled"]
    position: int
    progress: ProgressOut | None = None
    pictures: int = 0
    portraits: list[PortraitOut] = []
    failures: list[FailureOut] = []
    rows: list[RowOut] = Field([], description="Of a batch that came to its end.")
    video: VideoOut | None = Field(None, description="Of a clip that came to its end.")
    seed: int | None = None
    panel: PanelOut | None = Field(None, description="Of a training that came to its end.")
    reward: RewardOut | None = Field(None, description="Of a training that was asked for it and came to its end.")
    panels: dict[str, PanelOut] = Field({}, description="Of portraits that were made, by user id.")
    error: Error | None = None
    cut_off: int = 0
    can_be_retried: bool = False


class WorkerOut(BaseModel):
    """The program that works on the queue: its process, its machine, since when (seconds since the epoch), and whether
    it is the one that answers."""

    pid: int
    host: str
    since: float
    here: bool


class QueueOut(BaseModel):
    """The queue: who works on it (nobody: `null`), and the ids of the jobs that wait, in their order, that run, and
    that have ended. At most `limit` may wait. `notice` says what you should know of it."""

    paused: bool
    worker: WorkerOut | None
    waiting: list[str]
    running: list[str]
    ended: list[str]
    limit: int
    notice: str = ""


class PersonOut(BaseModel):
    """Somebody who was trained or, with `trained` false, added from photos alone. `works` is false if the training did
    not raise the likeness, and `cancelled` is true if it was stopped half-way. `fault` says why a person whose files
    are damaged can't be used. `likeness` goes from 0 (a stranger) to 1 (the same person)."""

    user_id: str
    family: str | None = None
    likeness: float | None = Field(None, ge=0, le=1)
    embedder: str = ""
    works: bool = True
    scene: bool = False
    cancelled: bool = False
    fault: str = ""
    trained: bool = True


class RemovedOut(BaseModel):
    """What the deletion of a person removed: the number of `files` and their `bytes`, and the number of `uploads`
    (photos that came through a page). `portraits` names those that were deleted too, `portraits_left` those that still
    show the person."""

    user_id: str
    files: int
    bytes: int
    uploads: int
    portraits: list[str]
    portraits_left: list[str]
    message: str


class TemplateOut(BaseModel):
    """A template. `faces` is null where nobody has counted them; `gallery` is empty where it lies in none."""

    name: str
    title: str
    source: str
    licence: str
    faces: int | None = None
    own: bool = False
    gallery: str = ""


class CountedOut(BaseModel):
    """How many templates are `left` whose faces nobody has counted."""

    left: int


class GalleryOut(BaseModel):
    """A gallery of one's own. A `linked` one is a folder that lies elsewhere on the server."""

    name: str
    pictures: int
    linked: bool


class SceneOut(BaseModel):
    """A scene for a picture from text, and the prompt that it stands for."""

    name: str
    title: str
    prompt: str


class FeatureOut(BaseModel):
    """A feature and its weights. `bytes` is how much there is to download, an estimate unless `exact` is true.
    `complete` is true if everything that the feature can't do without is there."""

    name: str
    what: str
    files: int
    there: int
    bytes: int
    exact: bool
    complete: bool
    commercial: bool


class WeightOut(BaseModel):
    """One file of a feature. `note` says what is wrong with an unusable one; `found_by` is `name` or `hash`."""

    name: str
    file: str
    what: str
    state: Literal["there", "missing", "unusable", "left out"]
    bytes: int
    exact: bool
    licence: str
    commercial: bool
    optional: bool
    found_by: str = ""
    note: str = ""


class FeatureDetail(FeatureOut):
    """A feature with its files. `offline` is true if this server may not use the network, and `commercial_only` if it
    leaves out weights whose licence forbids commercial use."""

    weights: list[WeightOut]
    offline: bool
    commercial_only: bool


class CheckpointOut(BaseModel):
    """A base model of the host; pass its name as `sd_model_checkpoint`."""

    name: str
    family: str


class BrokenCheckpointOut(BaseModel):
    """A file among the host's base models that can't be used, and why."""

    name: str
    reason: str


class FindingOut(BaseModel):
    """One row of the report on what is here and what is missing."""

    area: str
    what: str
    status: Literal["ok", "fallback", "missing"]
    found: str
    advice: str = ""


class StatusOut(BaseModel):
    """The program: version, base models, queue, and what is here or missing."""

    version: str
    host: str
    checkpoints: list[CheckpointOut]
    broken: list[BrokenCheckpointOut] = []
    queued: int
    running: str | None = None
    findings: list[FindingOut]


class LegacyTrained(BaseModel):
    """The answer of the extension's train route."""

    message: str


class LegacyPortraits(BaseModel):
    """The answer of the extension's infer route: pictures in base64, and pairs of picture and text, both in base64."""

    message: str
    outputs: list[str] = []
    face_id_outputs: list[list[str]] = []


class LegacyVideo(BaseModel):
    """The answer of the extension's video route."""

    message: str
    outputs: list[str] = []
    output_video: str | None = None
    output_gif: str | None = None
