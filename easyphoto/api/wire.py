"""Conversions between the program's values and what is sent over HTTP: pictures as base64, and never a path of the
server."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from easyphoto.api import schema
from easyphoto.batch.outcomes import BatchResult
from easyphoto.catalog.weights import Entry, Needs
from easyphoto.config import Paths
from easyphoto.errors import InvalidRequest
from easyphoto.events import (
    Event,
    Failed,
    Finished,
    PhotosChecked,
    Portrayed,
    Preview,
    Progress,
    TemplateFailed,
    Validated,
)
from easyphoto.jobs import Job, JobQueue
from easyphoto.likeness import clipped, rounded
from easyphoto.people import Person, Removed
from easyphoto.ports import Likeness
from easyphoto.service import PortraitResult, VideoResult

Out = TypeVar("Out", bound=BaseModel)

MAX_PICTURE = 40 * 2**20
"""The most bytes of one picture file that a client may send."""

PROGRAM = Path(__file__).resolve().parents[2]

_SEPARATOR = r"(?:\\\\|[/\\])"
_QUOTED = re.compile(r"""(?P<quote>['"])(?:/|\\\\|[A-Za-z]:[\\/])(?:[^'"\n]*[\\/])?(?P<last>[^'"\n\\/]*)(?P=quote)""")
"""An absolute path of any system, in quotes, with its last name."""
_OTHERS = re.compile(
    r"""(?<![\w.:/\\<-])(?!/easyphoto/)(?:/|\\\\|[A-Za-z]:[\\/])(?:[^\s/\\'"<>|,;:()]+[\\/]+)+(?P<last>[^\s/\\'"<>|,;:()]*)"""
)
"""An absolute path of more than one name, without quotes and spaces."""
_PATHS = ("path", "checkpoint", "lora", "report", "picture", "pictures")
"""The fields of events that name files."""


def decode(text: str, what: str, most: int = MAX_PICTURE) -> bytes:
    """Return the file in a base64 text, which may begin with the head of a ``data:`` address.

    Raises :class:`InvalidRequest` if the text is broken or the file has more than ``most`` bytes; ``what`` is the name
    of the field in its sentence.
    """
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    if len(text) * 3 // 4 > most:
        raise InvalidRequest("{what} is larger than {max_picture} MB.", what=what, max_picture=most // 2**20)
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("{what} is not valid base64.", what=what) from None
    if not data:
        raise InvalidRequest("{what} is empty.", what=what)
    return data


def user_ids(named: Sequence[str]) -> tuple[str, ...]:
    """Return whom a client named. Raises :class:`InvalidRequest` when these are too many."""
    if len(named) > schema.MAX_FACES:
        raise InvalidRequest(
            "{count} user ids are too many: at most {max_faces}.", count=len(named), max_faces=schema.MAX_FACES
        )
    return tuple(named)


def decode_all(texts: Sequence[str], what: str, at_most: int) -> tuple[bytes, ...]:
    """Decode each text. Raises :class:`InvalidRequest` if there are more than ``at_most``."""
    if len(texts) > at_most:
        raise InvalidRequest(
            "{count} pictures are too many for {what}: at most {at_most}.", count=len(texts), what=what, at_most=at_most
        )
    return tuple(decode(text, f"Picture {i + 1} of {what}") for i, text in enumerate(texts))


def encode(path: Path) -> str:
    """Return a file as base64."""
    return base64.b64encode(path.read_bytes()).decode("ascii")


class Scrubber:
    """Removes the server's folders from what a client is told.

    Inside the folders of the data, the part of a path from there on stays (``models/Stable-diffusion/x.safetensors``),
    so that a client can follow advice about it. Of any other path only the last name stays.
    """

    def __init__(self, paths: Paths) -> None:
        known: dict[Path, str] = {
            paths.outputs.parent: "",
            paths.models.parent: "",
            PROGRAM: "",
            paths.outputs: "outputs",
            paths.models: "models",
            paths.loras: "models/Lora",
            paths.templates: "templates",
            paths.bench: "models/bench",
        }
        found: dict[str, str] = {}
        for path, name in known.items():
            for folder in (path, path.resolve()):
                if folder != Path(folder.anchor):
                    found.update(dict.fromkeys(_spellings(folder), name))
        self._names = found
        folders = "|".join(map(re.escape, sorted(found, key=len, reverse=True)))
        self._ours = re.compile(rf"({folders})(?:(?P<into>{_SEPARATOR}(?=[^\s'\"]))|{_SEPARATOR}?(?![\w.-]))")

    def text(self, text: str) -> str:
        """Return a text without the server's folders."""
        text = text.encode(
            "utf-8", "replace"
        ).decode()  # a client may send half a surrogate pair, which can't be sent back
        return _OTHERS.sub(_last_name, _QUOTED.sub(_last_name, self._ours.sub(self._relative, text)))

    def _relative(self, found: re.Match[str]) -> str:
        name = self._names[found[1]]
        if found["into"] is None:
            return name or "the data folder"
        return f"{name}/" if name else ""

    def value(self, value: Any) -> Any:
        """Return plain data of any depth without the server's folders."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {k: self.value(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(v) for v in value]
        return value


def _spellings(folder: Path) -> Iterator[str]:
    """Return the ways in which a folder may be written: as it is, with slashes, and as it looks inside a quoted
    text."""
    yield str(folder)
    yield folder.as_posix()
    yield str(folder).replace("\\", "\\\\")


def _last_name(found: re.Match[str]) -> str:
    quote = found.groupdict().get("quote", "")
    return f"{quote}{found['last'] or 'a folder'}{quote}"


def pictures_of(event: Event) -> list[Path]:
    """Return the picture files that an event names."""
    if isinstance(event, Portrayed):
        names: Sequence[str] = (event.path,)
    elif isinstance(event, Validated):
        names = event.pictures
    elif isinstance(event, PhotosChecked):
        names = (event.picture,)
    else:
        names = ()
    return [Path(name) for name in names if name]


def all_pictures(job: Job[Any]) -> list[Path]:
    """Return the pictures of a job so far, in the order of its events; this order gives them their numbers in the
    API."""
    return [path for _, event in job.events(follow=False) for path in pictures_of(event)]


def sse(events: Iterator[tuple[int, Event]], seen: int, scrubber: Scrubber) -> Iterator[tuple[str, int]]:
    """Return events as server-sent events, each with the number of pictures up to and including it; ``seen`` pictures
    came before."""
    for number, event in events:
        files = pictures_of(event)
        data = {k: v for k, v in asdict(event).items() if k not in _PATHS}
        if files:
            data["pictures"] = list(range(seen, seen + len(files)))
        seen += len(files)
        body = json.dumps({"kind": event.kind, **scrubber.value(data)}, ensure_ascii=False)
        yield f"id: {number}\nevent: {event.kind}\ndata: {body}\n\n", seen


def sse_preview(preview: Preview) -> str:
    """Return a preview as a server-sent event. It has no number: nobody can ask for it again."""
    body = json.dumps({"kind": preview.kind, **asdict(preview)})
    return f"event: {preview.kind}\ndata: {body}\n\n"


def job_out(job: Job[Any], queue: JobQueue, scrubber: Scrubber) -> schema.JobOut:
    """Return a job as the API shows it."""
    events = [event for _, event in job.events(follow=False)]
    progress = next((e for e in reversed(events) if isinstance(e, Progress)), None)
    failed = (
        next((e for e in reversed(events) if isinstance(e, Failed)), None)
        if job.state in ("failed", "cancelled")
        else None
    )
    out: dict[str, Any] = {
        "id": job.id,
        "what": job.what,
        "subject": job.subject,
        "state": job.state,
        "position": queue.position(job),
        "pictures": sum(len(pictures_of(e)) for e in events),
        "cut_off": job.cut_off,
        "can_be_retried": job.can_be_retried,
    }
    if progress is not None:
        out["progress"] = schema.ProgressOut(
            stage=progress.stage,
            step=progress.step,
            total=progress.total,
            message=scrubber.text(progress.message),
            seconds_left=progress.seconds_left,
        )
    if failed is not None:
        out["error"] = schema.Error(code=failed.code, message=scrubber.text(failed.message))
    if job.state == "finished" and job.what == "generate":
        out.update(_result_out(job.wait(0), all_pictures(job), scrubber))
    elif job.state == "finished" and job.what == "train":
        ends = [event.result for event in events if isinstance(event, Finished)]
        if ends:
            out["panel"] = panel_out(ends[-1].get("panel"), scrubber)
            out["reward"] = reward_out(ends[-1].get("reward"), scrubber)
    elif job.state == "finished" and job.what == "video":
        out["video"] = _video_out(job.wait(0), scrubber)
    elif job.state == "finished" and job.what == "batch":
        out["rows"] = _rows_out(job.wait(0), all_pictures(job), scrubber)
    elif job.ended and job.what == "generate":
        out["failures"] = _failures_out([e for e in events if isinstance(e, TemplateFailed)], scrubber)
    return schema.JobOut(**out)


def _result_out(result: PortraitResult, files: list[Path], scrubber: Scrubber) -> dict[str, Any]:
    numbers = {path: n for n, path in enumerate(files)}
    portraits = [
        schema.PortraitOut(
            picture=numbers[p.path],
            template=p.template,
            seed=p.seed,
            likeness=[likeness_out(v) for v in p.likeness],
            panel=[panel_out(face, scrubber) for face in p.recipe.get("likeness", ())],
        )
        for p in result.portraits
        if p.path in numbers
    ]
    told = {name: panel_out(panel, scrubber) for name, panel in result.panels.items()}
    return {
        "portraits": portraits,
        "failures": _failures_out(result.failures, scrubber),
        "seed": result.seed,
        "panels": {name: panel for name, panel in told.items() if panel is not None},
    }


def _video_out(result: VideoResult, scrubber: Scrubber) -> schema.VideoOut:
    people = [
        schema.PersonInVideoOut(
            user_id=one.user_id,
            frames=one.frames,
            cosine=round(one.cosine, 4),
            deviation=round(one.deviation, 4),
            score=round(clipped(one.score), 4),
            embedder=one.embedder,
        )
        for one in result.people
    ]
    return schema.VideoOut(
        name=scrubber.text(result.path.name),
        frames=result.frames,
        repainted=result.repainted,
        seed=result.seed,
        people=people,
    )


def _rows_out(result: BatchResult, files: list[Path], scrubber: Scrubber) -> list[schema.RowOut]:
    numbers = {path: n for n, path in enumerate(files)}
    return [
        schema.RowOut(
            line=one.line,
            output=one.name,
            user=one.subject,
            template=one.on,
            state=one.state,
            picture=None if one.picture is None else numbers.get(one.picture),
            likeness=[rounded(clipped(score), 4) for score in one.likeness],
            seed=one.seed,
            code=one.code,
            message=scrubber.text(one.message),
        )
        for one in result.outcomes
    ]


def _failures_out(failures: Sequence[TemplateFailed], scrubber: Scrubber) -> list[schema.FailureOut]:
    return [schema.FailureOut(template=f.template, code=f.code, message=scrubber.text(f.message)) for f in failures]


def likeness_out(likeness: Likeness | None) -> schema.LikenessOut | None:
    if likeness is None:
        return None
    return schema.LikenessOut(
        score=rounded(clipped(likeness.score), 4), cosine=rounded(likeness.cosine, 4), embedder=likeness.embedder
    )


def panel_out(told: Any, scrubber: Scrubber) -> schema.PanelOut | None:
    """Return a likeness panel as it was written; None where there is none, or one that this version can't read."""
    return _as_told(schema.PanelOut, told, scrubber)


def reward_out(told: Any, scrubber: Scrubber) -> schema.RewardOut | None:
    """Return what became of the reward as it was written; None where there was none, or one that this version can't
    read."""
    return _as_told(schema.RewardOut, told, scrubber)


def _as_told(model: type[Out], told: Any, scrubber: Scrubber) -> Out | None:
    try:
        return model(**scrubber.value(told))
    except (ValidationError, TypeError):
        return None


def person_out(person: Person) -> schema.PersonOut:
    """Return a person as the API shows them."""
    return schema.PersonOut(
        user_id=person.user_id,
        family=None if person.family is None else person.family.value,
        likeness=person.likeness,
        embedder=person.embedder,
        works=person.works,
        scene=person.scene,
        cancelled=person.cancelled,
        fault=person.fault,
        trained=person.trained,
    )


def removed_out(removed: Removed) -> schema.RemovedOut:
    """Return what a deletion removed. Portraits are named without their path, because the server's paths mean nothing
    to a client."""
    return schema.RemovedOut(
        user_id=removed.user_id,
        files=removed.files,
        bytes=removed.bytes,
        uploads=removed.uploads,
        portraits=[path.name for path in removed.portraits],
        portraits_left=[path.name for path in removed.portraits_left],
        message=removed.sentence(),
    )


def feature_out(needs: Needs) -> dict[str, Any]:
    """Return what :class:`schema.FeatureOut` says about a feature."""
    return {
        "name": needs.bundle.name,
        "what": needs.bundle.what,
        "files": sum(e.state != "left out" for e in needs.entries),
        "there": sum(e.state == "there" for e in needs.entries),
        "bytes": needs.bytes,
        "exact": needs.exact,
        "complete": needs.complete,
        "commercial": needs.commercial,
    }


def weight_out(entry: Entry, scrubber: Scrubber) -> schema.WeightOut:
    """Return one file of a feature: the name of the file that was found, and never the place."""
    asset = entry.asset
    return schema.WeightOut(
        name=asset.name,
        file=entry.file,
        what=asset.what,
        state=entry.state,
        bytes=asset.bytes,
        exact=not asset.about,
        licence=asset.licence,
        commercial=asset.commercial,
        optional=asset.optional,
        found_by=entry.found_by,
        note=scrubber.text(entry.note),
    )
