"""What a job reports while it runs, as values that survive a trip through a file of JSON lines.

Every listener (a tab, the API, the command line, a browser that was closed and opened again) reads the same stream.
Therefore an event holds all that a listener needs, and no object of the process that made it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from easyphoto.messages import Message, from_data, to_data


@dataclass(frozen=True, kw_only=True)
class Event:
    """What all events have: ``at``, the time in seconds since the epoch."""

    kind: ClassVar[str] = "event"
    at: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class Queued(Event):
    """The job waits for its turn; ``position`` jobs come before it."""

    kind = "queued"
    position: int = 0


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """The job began. ``job`` is its id, ``what`` is ``train`` or ``generate``, ``plan`` what it is about to do."""

    kind = "started"
    job: str = ""
    what: str = ""
    plan: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """``step`` of ``total`` of ``stage`` is done. ``seconds_left`` is for the whole job where it can be told."""

    kind = "progress"
    stage: str = ""
    step: int = 0
    total: int = 0
    message: str = ""
    loss: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """Something the user should know and that stops nothing: a fallback, a warning."""

    kind = "notice"
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class PhotosChecked(Event):
    """The photo report is ready: ``report`` (JSON file), ``picture`` (contact sheet), counts."""

    kind = "photos"
    report: str = ""
    picture: str = ""
    taken: int = 0
    refused: int = 0


@dataclass(frozen=True, kw_only=True)
class Validated(Event):
    """A checkpoint was scored. ``likeness`` is the calibrated mean score, ``cosine`` the raw one, of ``embedder``."""

    kind = "validated"
    step: int = 0
    likeness: float = 0.0
    cosine: float = 0.0
    embedder: str = ""
    checkpoint: str = ""
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Fused(Event):
    """The LoRA of the person was put together from the checkpoints of ``steps``."""

    kind = "fused"
    method: str = ""
    steps: tuple[int, ...] = ()
    likeness: float | None = None
    lora: str = ""


@dataclass(frozen=True, kw_only=True)
class Portrayed(Event):
    """One portrait is saved. ``template`` is the index of its template, in a batch that of the portrait among all.
    ``fresh`` is False where a batch found it made."""

    kind = "portrayed"
    fresh: bool = True
    template: int = 0
    path: str = ""
    likeness: tuple[float, ...] = ()
    embedder: str = ""


@dataclass(frozen=True, kw_only=True)
class Preview(Event):
    """How the picture that is being sampled looks so far: ``jpeg`` is a small JPEG file in base64. ``stage`` is that of
    :class:`Progress`. Jobs keep none but the newest, and nowhere on disk; see :meth:`easyphoto.jobs.Job.look`."""

    kind = "preview"
    stage: str = ""
    jpeg: str = ""


@dataclass(frozen=True, kw_only=True)
class TemplateFailed(Event):
    """One template could not be done; the others go on."""

    kind = "template_failed"
    template: int = 0
    code: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class RowFailed(Event):
    """One row of a batch could not be done; the others go on. ``line`` is that of the table, 0 for a training of a
    folder; ``subject`` is who it was about."""

    kind = "row_failed"
    line: int = 0
    subject: str = ""
    code: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """The job is done; ``result`` is plain JSON data."""

    kind = "finished"
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """The job ended with an error of ``easyphoto.errors`` (``code``) and its sentence."""

    kind = "failed"
    code: str = ""
    message: str = ""


Listener = Callable[[Event], None]


@runtime_checkable
class WatchedListener(Protocol):
    """A :data:`Listener` that knows whether somebody looks at previews now."""

    def __call__(self, event: Event) -> None: ...

    def is_watched(self) -> bool: ...


def wants_previews(listener: Listener) -> bool:
    """Return whether somebody looks at the previews that ``listener`` is given."""
    return isinstance(listener, WatchedListener) and listener.is_watched()


_KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        Queued,
        Started,
        Progress,
        Notice,
        PhotosChecked,
        Validated,
        Fused,
        Portrayed,
        Preview,
        TemplateFailed,
        RowFailed,
        Finished,
        Failed,
    )
}


def to_json(event: Event) -> str:
    """Return the event as one line of JSON, without the line end. What the event says stands there in English and,
    under ``said``, as the data of its message."""
    data = {"kind": event.kind, **asdict(event)}
    texts = {f.name: getattr(event, f.name) for f in fields(event)}
    said = {name: to_data(text) for name, text in texts.items() if isinstance(text, Message)}
    return json.dumps({**data, "said": said} if said else data, ensure_ascii=False)


def from_json(line: str) -> Event:
    """Return the event of one line. Fields that this version doesn't know are dropped. Raises ValueError when it is no
    event."""
    data = json.loads(line)
    if not isinstance(data, dict) or data.get("kind") not in _KINDS:
        raise ValueError(f"not an event: {line[:80]!r}")
    cls = _KINDS[data["kind"]]
    known = {f.name for f in fields(cls)}
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known}
    said = {name: from_data(message) for name, message in data.get("said", {}).items() if name in known}
    return cls(**{**values, **said})


def read_log(path: Path) -> Iterator[Event]:
    """Return the complete events of a log file; a last line that was cut off while it was written is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield from_json(line)


def append(path: Path, events: Iterable[Event]) -> None:
    """Write events at the end of a log file, one line each, flushed."""
    with path.open("a", encoding="utf-8") as log:
        for event in events:
            log.write(to_json(event) + "\n")


def ends(event: Event) -> bool:
    """Return whether nothing follows this event in its stream."""
    return isinstance(event, Finished | Failed)
