"""A job in a terminal: progress bars with the time left and one line for each thing that matters, or else JSON
lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from easyphoto.cli import streams
from easyphoto.errors import Cancelled
from easyphoto.events import (
    Event,
    Failed,
    Fused,
    Notice,
    PhotosChecked,
    Portrayed,
    Progress,
    Queued,
    RowFailed,
    TemplateFailed,
    Validated,
)
from easyphoto.jobs import Job
from easyphoto.likeness import cosine_words, words

if TYPE_CHECKING:
    from tqdm import tqdm


class Terminal:
    """Draws the events of one job to a terminal, with one bar for each stage."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._bar: tqdm[Any] | None = None
        self._stage = ""

    def show(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._progress(event)
        else:
            line = describe(event)
            if line:
                from tqdm import tqdm

                tqdm.write(line, file=self._stream)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _progress(self, event: Progress) -> None:
        if event.stage != self._stage or self._bar is None or self._bar.total != event.total:
            from tqdm import tqdm

            self.close()
            self._stage = event.stage
            self._bar = tqdm(total=event.total, desc=event.stage, file=self._stream, leave=True, dynamic_ncols=True)
        self._bar.update(event.step - self._bar.n)
        notes = []
        if event.loss is not None:
            notes.append(f"loss {event.loss:.4f}")
        if event.seconds_left is not None:
            notes.append(f"{event.seconds_left:.0f} s left in all")
        if event.message:
            notes.append(event.message)
        self._bar.set_postfix_str(", ".join(notes))


def describe(event: Event) -> str:
    """Return one line about an event, or an empty text if the event isn't worth a line."""
    match event:
        case Queued():
            return f"Waiting: {event.position} before this."
        case Notice():
            return f"Note: {event.message}"
        case PhotosChecked():
            return f"Photos: {event.taken} taken, {event.refused} refused; see {event.picture or event.report}"
        case Validated():
            raw = f"cosine {cosine_words(event.cosine)}, {event.embedder}"
            return f"Step {event.step}: likeness {words(event.likeness)} ({raw})"
        case Fused():
            steps = ", ".join(str(s) for s in event.steps)
            return f"Fused ({event.method}) from steps {steps}: {event.lora}"
        case Portrayed(fresh=False):
            return ""
        case Portrayed():
            scores = ", ".join(words(s) for s in event.likeness)
            return f"Portrait: {event.path}" + (f" (likeness {scores}, {event.embedder})" if scores else "")
        case TemplateFailed():
            return f"Template {event.template + 1} failed: {event.message}"
        case RowFailed():
            where = f"Line {event.line}" if event.line else event.subject
            return f"{where} failed: {event.message}"
        case Failed():
            return f"Failed: {event.message}"
    return ""


def floor_words(panel: Mapping[str, Any]) -> str:
    """Return what the floor of some portraits is; older panels don't say."""
    return "without the person" if panel.get("floor_of") == "without the LoRA" else "the template's face"


def panel_lines(panel: Mapping[str, Any], floor: str) -> list[str]:
    """Return a likeness panel as lines of text. ``floor`` says what the floor is."""
    word = panel.get("word")
    if word == "copies a photo":
        word = f"copies {panel.get('dominant_photo')}"
    lines = [f"  {word or 'nothing was measured'}"]
    for kind in ("judge", "reporter"):
        row = panel.get(kind)
        if row:
            marks = (("likeness", "value"), (floor, "floor"), ("strangers end", "threshold"), ("photos", "ceiling"))
            told = [f"{said} {cosine_words(row[key])}" for said, key in marks if row.get(key) is not None]
            lines.append(f"  {kind} {row['embedder']}: {', '.join(told)}")
    if not panel.get("reporter"):
        lines.append("  judged by one embedder: no gain is proven")
    for row in (panel.get("judge"), panel.get("reporter")):
        if row and row.get("measured") is False:
            lines.append(f"  what the numbers of {row['embedder']} mean was never measured: no gain is proven")
    if panel.get("copying") is not None:
        near = f", most like {panel['dominant_photo']}" if panel.get("dominant_photo") else ""
        lines.append(f"  copying {panel['copying']:+.2f}{near}")
    if panel.get("missing") or panel.get("not_applicable"):
        lines.append(
            f"  no face in {panel['missing']} of {panel['pictures']}; {panel['not_applicable']} in profile left out"
        )
    return lines


def reward_lines(reward: Mapping[str, Any]) -> list[str]:
    """Return what ``person.json`` says of the reward as lines of text: what became of it, and the judge's curve."""
    kept = "kept" if reward.get("accepted") else f"left out: {reward.get('why', '')}"
    lines = [f"  reward {kept}"]
    if reward.get("interval"):
        low, high = reward["interval"]
        lines.append(f"  reporter {reward['reporter']}: gain {reward['gain']:+.3f} ({low:+.3f} to {high:+.3f})")
    if reward.get("curve"):
        points = ", ".join(f"{cosine_words(cosine)} at step {step}" for step, cosine in reward["curve"])
        lines.append(f"  judge {reward['judge']}: {points}")
    return lines


def follow(job: Job[Any], *, as_json: bool) -> Any:
    """Show a job until it ends, and return its result. An error of the job is raised and not shown.

    Ctrl-C, or a request of the system to end, cancels the job and waits until it has stopped; a second one leaves at
    once. The job is cancelled too if nobody reads the output any more.
    """
    terminal = Terminal()
    try:
        ended = _watch(job, terminal, as_json)
        try:
            return job.wait()
        except Cancelled:
            if ended is not None:
                raise ended from None
            raise
    finally:
        terminal.close()


def _watch(job: Job[Any], terminal: Terminal, as_json: bool) -> BaseException | None:
    """Show the events of a job until the last one. Returns what interrupted this before the job had ended, if anything
    did."""
    seen, stopped_by = 0, None
    while True:
        try:
            # short waits: on Windows, Ctrl-C is heard between them
            for number, event in job.events(after=seen, poll=0.5):
                seen = number
                if isinstance(event, Failed) or isinstance(stopped_by, OSError):
                    continue
                if as_json:
                    streams.write_json({"kind": event.kind, **asdict(event)})
                else:
                    terminal.show(event)
            return stopped_by
        except (KeyboardInterrupt, OSError) as error:
            if stopped_by is not None:
                raise
            stopped_by = error
            job.cancel()
            if isinstance(error, KeyboardInterrupt):
                sys.stderr.write("\nStopping after this step ...\n")
