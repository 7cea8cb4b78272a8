"""How a job looks in a terminal: progress bars with time left and one line for what matters, or JSON lines."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tqdm import tqdm

from easyphoto.errors import EasyPhotoError
from easyphoto.events import (
    Event,
    Failed,
    Fused,
    Notice,
    PhotosChecked,
    Portrayed,
    Progress,
    Queued,
    TemplateFailed,
    Validated,
    to_json,
)
from easyphoto.jobs import Job


class Terminal:
    """Draws the events of one job to a terminal, one bar a stage."""

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
                tqdm.write(line, file=self._stream)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _progress(self, event: Progress) -> None:
        if event.stage != self._stage or self._bar is None or self._bar.total != event.total:
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
    """One line for an event, empty for those that aren't worth one."""
    match event:
        case Queued():
            return f"Waiting: {event.position} before this."
        case Notice():
            return f"Note: {event.message}"
        case PhotosChecked():
            return f"Photos: {event.taken} taken, {event.refused} refused; see {event.picture or event.report}"
        case Validated():
            return f"Step {event.step}: likeness {event.likeness:.2f} (cosine {event.cosine:.3f}, {event.embedder})"
        case Fused():
            steps = ", ".join(str(s) for s in event.steps)
            return f"Fused ({event.method}) from steps {steps}: {event.lora}"
        case Portrayed():
            scores = ", ".join(f"{s:.2f}" for s in event.likeness)
            return f"Portrait: {event.path}" + (f" (likeness {scores}, {event.embedder})" if scores else "")
        case TemplateFailed():
            return f"Template {event.template + 1} failed: {event.message}"
        case Failed():
            return f"Failed: {event.message}"
    return ""


def follow(job: Job[Any], *, as_json: bool) -> Any:
    """Show a job until it ends and return its result. Ctrl-C cancels it and waits until it has stopped."""
    terminal = Terminal()
    try:
        seen = 0
        while True:
            try:
                for number, event in job.events(after=seen):
                    seen = number
                    if as_json:
                        sys.stdout.write(to_json(event) + "\n")
                        sys.stdout.flush()
                    elif not isinstance(event, Failed):
                        terminal.show(event)
                break
            except KeyboardInterrupt:
                job.cancel()
                sys.stderr.write("\nStopping after this step ...\n")
    finally:
        terminal.close()
    return job.wait()


def fail(error: EasyPhotoError) -> int:
    """Say what went wrong in one line and give the exit status for it."""
    sys.stderr.write(f"easyphoto: {error}\n")
    return error.exit_status
