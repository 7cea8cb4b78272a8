"""Requests and results as plain data and picture files: what the queue keeps of them, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from easyphoto import messages
from easyphoto.config import Chosen, PortraitConfig, TrainConfig, from_mapping
from easyphoto.errors import InvalidRequest
from easyphoto.events import Portrayed, TemplateFailed
from easyphoto.pictures import Source
from easyphoto.ports import Likeness, Portrait
from easyphoto.queue.port import DurableRequest
from easyphoto.service.requests import PortraitRequest, PortraitResult, TrainRequest
from easyphoto.service.saved_portrait import SavedPortrait
from easyphoto.storage import portraits


def of_training(request: TrainRequest, captions: Sequence[str]) -> tuple[dict[str, Any], tuple[Source, ...]]:
    """The payload of a training and its pictures: the photos, then the validation templates. ``captions`` are what is
    written of each photo, or nothing."""
    payload = {
        "user_id": request.user_id,
        "config": None if request.config is None else asdict(request.config),
        "photos": len(request.photos),
        "validation_templates": len(request.validation_templates),
        "resume": request.resume,
        "chosen": _listed(request.chosen),
        "captions": list(captions),
    }
    return payload, (*request.photos, *request.validation_templates)


def training(request: DurableRequest) -> TrainRequest:
    """The request of :func:`of_training`, on the pictures as they lie in the queue; without any where they have been
    discarded. Raises :class:`InvalidRequest` when the payload can't be read."""
    payload = request.payload
    try:
        given = _sources(request)
        photos = int(payload["photos"]) if given else 0
        return TrainRequest(
            user_id=str(payload["user_id"]),
            photos=given[:photos],
            config=None if payload["config"] is None else from_mapping(TrainConfig, payload["config"]),
            validation_templates=given[photos:],
            resume=bool(payload["resume"]),
            chosen=_chosen(payload["chosen"]),
            captions=tuple(map(str, payload["captions"])) if given else (),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(request) from error


def of_portraits(request: PortraitRequest) -> tuple[dict[str, Any], tuple[Source, ...]]:
    """The payload of a request for portraits and its pictures: the templates, then the one with the pose, then the one
    that the adapter is shown."""
    payload = {
        "user_ids": list(request.user_ids),
        "config": asdict(request.config),
        "templates": len(request.templates),
        "pose": request.pose_template is not None,
        "identity": request.identity_image is not None,
        "by_likeness": request.by_likeness,
        "keep_stages": request.keep_stages,
        "chosen": _listed(request.chosen),
        **({"origin": request.origin} if request.origin else {}),
    }
    more = tuple(one for one in (request.pose_template, request.identity_image) if one is not None)
    return payload, (*request.templates, *more)


def portrait(request: DurableRequest) -> PortraitRequest:
    """The request of :func:`of_portraits`. Raises :class:`InvalidRequest` when its payload can't be read or its
    pictures are gone."""
    payload = request.payload
    try:
        count, pose = int(payload["templates"]), bool(payload["pose"])
        shown = bool(payload.get("identity", False))
        given = _sources(request)
        if len(given) != count + pose + shown:
            raise InvalidRequest("The templates of this request are not kept any more: ask for it anew.")
        return PortraitRequest(
            user_ids=tuple(map(str, payload["user_ids"])),
            templates=given[:count],
            config=from_mapping(PortraitConfig, payload["config"]),
            pose_template=given[count] if pose else None,
            keep_stages=bool(payload["keep_stages"]),
            chosen=_chosen(payload["chosen"]),
            identity_image=given[-1] if shown else None,
            by_likeness=bool(payload.get("by_likeness", False)),
            origin=str(payload.get("origin", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(request) from error


def _listed(chosen: Chosen) -> list[str] | None:
    return None if chosen is None else sorted(chosen)


def _chosen(data: Sequence[str] | None) -> Chosen:
    return None if data is None else frozenset(map(str, data))


def _sources(request: DurableRequest) -> tuple[Source, ...]:
    try:
        return tuple(picture.source for picture in request.pictures)
    except OSError as error:
        raise InvalidRequest(
            "The pictures of this request can't be read: {reason}.", reason=error.strerror or error
        ) from error


def _damaged(request: DurableRequest) -> InvalidRequest:
    return InvalidRequest("The request {job} in the queue can't be read: ask for it anew.", job=request.job)


def of_result(result: PortraitResult) -> dict[str, Any]:
    """What came of a job of portraits, the pictures by the paths of their files."""
    return {
        "portraits": [
            {
                "path": str(one.path),
                "seed": one.seed,
                "template": one.template,
                "likeness": [None if likeness is None else asdict(likeness) for likeness in one.likeness],
            }
            for one in result.portraits
            if one.path is not None
        ],
        "failures": [
            {"template": f.template, "code": f.code, "message": messages.to_data(_message(f.message))}
            for f in result.failures
        ],
        "seed": result.seed,
        "panels": dict(result.panels),
    }


def _message(text: str) -> messages.Message:
    return text if isinstance(text, messages.Message) else messages.Message(text)


def result(data: Mapping[str, Any]) -> PortraitResult:
    """The result of :func:`of_result`. KeyError, TypeError or ValueError when the data is none."""
    made = tuple(
        saved_portrait(Path(one["path"]), int(one["seed"]), int(one["template"]), _likeness(one["likeness"]))
        for one in data["portraits"]
    )
    failures = tuple(
        TemplateFailed(template=int(f["template"]), code=str(f["code"]), message=messages.from_data(f["message"]))
        for f in data["failures"]
    )
    return PortraitResult(made, failures, int(data["seed"]), dict(data.get("panels", {})))


def saved_portrait(path: Path, seed: int, template: int, likeness: tuple[Likeness | None, ...]) -> Portrait:
    """A portrait that was made before, by its file."""
    return SavedPortrait.at(path, seed, template, likeness, portraits.recipe_in(path) or {})


def made_before(folder: Path, request: DurableRequest) -> list[Portrait]:
    """The portraits of this very request that have been saved, known by its id in their recipes, each template and
    seed once."""
    found: dict[tuple[int, int], Portrait] = {}
    for path, recipe in portraits.of_job(folder, request.job, request.at):
        try:
            index = int(recipe["index"])
            one = saved_portrait(path, int(recipe["seed"]), index, _likeness(recipe["likeness"]))
        except (KeyError, TypeError, ValueError):
            continue
        found.setdefault((index, asked_seed(recipe)), one)
    return list(found.values())


def asked_seed(recipe: Mapping[str, Any]) -> int:
    """The seed that was asked for: where a portrait is the best of several, that of the first of them."""
    return int((recipe.get("best_of") or recipe)["seed"])


def portrayed(portrait: Portrait) -> Portrayed:
    """What is said of a portrait that is saved."""
    found = [one for one in portrait.likeness if one is not None]
    return Portrayed(
        template=portrait.template,
        path=str(portrait.path),
        likeness=tuple(one.score for one in found),
        embedder=found[0].embedder if found else "",
    )


def _likeness(data: Sequence[Mapping[str, Any] | None]) -> tuple[Likeness | None, ...]:
    return tuple(
        None if one is None else Likeness(float(one["cosine"]), float(one["score"]), str(one["embedder"]))
        for one in data
    )
