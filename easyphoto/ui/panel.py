"""Jobs and sets of photos as HTML, which is made anew from the events each time that a page looks."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easyphoto import pictures
from easyphoto.errors import EasyPhotoError, InvalidRequest
from easyphoto.events import (
    Event,
    Failed,
    Finished,
    Fused,
    Notice,
    Portrayed,
    Preview,
    Progress,
    RowFailed,
    TemplateFailed,
    Validated,
)
from easyphoto.jobs import Job, JobQueue
from easyphoto.likeness import clipped
from easyphoto.likeness import words as likeness_words
from easyphoto.measures.likeness_panel import PanelWord
from easyphoto.messages import translated
from easyphoto.ports import BrokenModel
from easyphoto.service import photo_names
from easyphoto.templates.thumbnails import Thumbnails as Thumbnails  # noqa: PLC0414 - the tabs take it from here
from easyphoto.templates.thumbnails import jpg
from easyphoto.ui import chart, likeness_view
from easyphoto.ui.texts import say, stage, time_left

if TYPE_CHECKING:
    from easyphoto.training.photos import PhotoReport

THUMBNAIL = 168
LARGE = 1280
"""The longer side, in pixels, of a picture that was enlarged by a click."""
DOWNLOAD = "download"
TALKATIVE = (DOWNLOAD, "environment")
"""The stages whose message is meant for the user."""
PICK = "easyphoto_generate_pick"
"""The hidden button that chooses a person on the Inference tab."""
FAULTS_SHOWN = 20
"""Rows of a batch that failed and are shown; the report has all of them."""
REWARD = "reward"
"""The stage whose loss is of another kind than the training's. Its likeness goes on in the training's curve."""
SHOWN = 4
"""At most this many pictures of a validation are shown."""
LEVELS = ((0.9, "very"), (0.77, "quite"), (0.4, "little"), (0.0, "hardly"))
"""From which likeness on which word is said of it. By dlib's calibration three of four pairs of photos of one person
reach the first, and only one of 100 pairs of strangers the second: below that a panel calls a face a relative's."""


@dataclass
class View:
    """A summary of the events that a job has had so far."""

    progress: Progress | None = None
    train_steps: int = 0
    loss: list[chart.Point] = field(default_factory=list)
    validations: list[Validated] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    failures: list[TemplateFailed] = field(default_factory=list)
    rows: list[RowFailed] = field(default_factory=list)
    portrayed: list[Portrayed] = field(default_factory=list)
    fused: Fused | None = None
    end: Event | None = None

    @classmethod
    def of(cls, job: Job[Any]) -> View:
        view = cls()
        for _, event in job.events(follow=False):
            view.add(event)
        return view

    def add(self, event: Event) -> None:
        if isinstance(event, Progress):
            self.progress = event
            if event.loss is not None and event.stage != REWARD:
                self.loss.append((event.step, event.loss))
                self.train_steps = event.total
        elif isinstance(event, Validated):
            self.validations.append(event)
        elif isinstance(event, Notice):
            self.notices.append(event.message)
        elif isinstance(event, TemplateFailed):
            self.failures.append(event)
        elif isinstance(event, RowFailed):
            self.rows.append(event)
        elif isinstance(event, Portrayed):
            self.portrayed.append(event)
        elif isinstance(event, Fused):
            self.fused = event
        elif isinstance(event, Finished | Failed):
            self.end = event


# --- jobs ------------------------------------------------------------------------------------------------------------


def job_panel(job: Job[Any], queue: JobQueue, language: str, poll: str) -> str:
    """Return the state of a job. While it runs, the panel makes the page click the element ``poll`` once a second."""
    view = View.of(job)
    parts = [_headline(job, queue, view, language)]
    if not job.ended:
        parts.append(_bar(view.progress if job.state == "running" else None, language))
        parts.append(_preview(job.look(), language))
    likeness = [(float(v.step), v.likeness) for v in view.validations]
    labels = (say("loss", language), say("likeness", language), say("steps", language))
    parts.append(chart.curves(view.loss, likeness, labels, view.train_steps))
    if isinstance(view.end, Finished):
        parts.append(likeness_view.of_result(view.end.result, language))
    if view.fused is not None and view.fused.steps:
        steps = ", ".join(str(s) for s in view.fused.steps)
        parts.append(_note(say("fused", language, steps=steps)))
    parts += [
        _note(say("template_failed", language, n=f.template + 1, message=translated(f.message, language)), "failed")
        for f in view.failures
    ]
    parts += [
        _note(say("row_failed", language, n=f.line, message=translated(f.message, language)), "failed")
        for f in view.rows[:FAULTS_SHOWN]
    ]
    parts += [_note(translated(text, language)) for text in view.notices[-6:]]
    alive = "" if job.ended else f' data-poll="{escape(poll)}"'
    named = f'data-state="{job.state}" data-outcome="{_outcome(job, view)}" data-job="{escape(job.id)}"'
    return f'<div class="easyphoto-panel" {named}{alive}>{"".join(parts)}</div>'


def others(jobs: Sequence[Job[Any]], language: str, poll: str) -> str:
    """Return a line about the jobs that are running or waiting beside the one that is shown."""
    if not jobs:
        return ""
    parts = (
        say(f"other {'running' if job.state == 'running' else 'queued'}", language, subject=job.subject) for job in jobs
    )
    words = say("others", language, jobs=("、" if language == "zh" else ", ").join(parts))
    return f'<p class="easyphoto-others" data-poll="{escape(poll)}">{escape(words)}</p>'


def mark(what: str, job_id: str, prefix: str, *, own: bool) -> str:
    """Return a hidden element for the page's script: which job the panel of ``prefix`` shows, and whether to remember
    it."""
    kept = f' data-keep="{escape(what)}"' if own else ""
    return f'<div class="easyphoto-mark" data-job="{escape(job_id)}" data-prefix="{escape(prefix)}"{kept}></div>'


def went_wrong(job: Job[Any]) -> bool:
    """Return whether a job ended without the thing that it was started for."""
    return job.ended and (job.state != "finished" or _outcome(job, View.of(job)) in ("failed", "doubtful"))


def empty_panel(text: str) -> str:
    return f'<div class="easyphoto-panel" data-state="none"><p class="easyphoto-empty">{escape(text)}</p></div>'


def broken_models(models: Sequence[BrokenModel], language: str) -> str:
    """Return the model files that can't be picked as base model, each with the reason."""
    if not models:
        return ""
    rows = "".join(f"<li>{escape(translated(model.reason, language))}</li>" for model in models)
    head = escape(say("broken_models", language))
    return f'<div class="easyphoto-doubtful easyphoto-models">{head}<ul>{rows}</ul></div>'


def nobody(people: Sequence[tuple[str, str]], language: str) -> str:
    """Return what the user has to do first, as long as ``people`` lists nobody but "none"."""
    if len(people) > 1:
        return ""
    way = f'<button type="button" data-open-tab="0">{escape(say("to training", language))}</button>'
    return f'<div class="easyphoto-first">{escape(say("nobody", language))} {way}</div>'


def next_step(user_id: str, language: str) -> str:
    """Return the way from a person who is there now to portraits of them."""
    words, value = escape(say("make a portrait", language, name=user_id)), escape(user_id, quote=True)
    button = f'<button type="button" data-open-tab="1" data-ask="{PICK}" data-value="{value}">{words}</button>'
    return f'<div class="easyphoto-next">{button}</div>'


def error(message: str) -> str:
    """Return the line with an error. An empty message makes the line go away."""
    return f'<div class="easyphoto-error" role="alert">{escape(message)}</div>' if message else ""


def hint(message: str) -> str:
    return f'<p class="easyphoto-others">{escape(message)}</p>'


def doubtful(message: str) -> str:
    return f'<div class="easyphoto-doubtful">{escape(message)}</div>'


def good(message: str) -> str:
    return f'<div class="easyphoto-good">{escape(message)}</div>'


def _headline(job: Job[Any], queue: JobQueue, view: View, language: str) -> str:
    text = escape(_state(job, queue, view, language))
    return f'<p class="easyphoto-state {_outcome(job, view)}">{text}</p>'


def _outcome(job: Job[Any], view: View) -> str:
    """Return how a job's state is shown: a job that finished may still count as failed or doubtful."""
    if job.state != "finished":
        return job.state
    if job.what == "generate" and not view.portrayed:
        return "failed"
    return "doubtful" if view.failures or view.rows or _in_vain(view) else job.state


def _in_vain(view: View) -> bool:
    """Return whether a training ended without raising the likeness."""
    return isinstance(view.end, Finished) and view.end.result.get("works") is False


def _state(job: Job[Any], queue: JobQueue, view: View, language: str) -> str:
    if job.state == "queued":
        place = queue.position(job)
        return say("queued", language, n=place) if place else say("starting", language)
    if job.state == "running":
        subject = translated(job.subject, language) if job.what == "models" else job.subject
        return say("cancelling" if job.cancelled() else job.what, language, subject=subject)
    if job.state == "cancelled":
        message = view.end.message if isinstance(view.end, Failed) else ""
        return say("cancelled", language) + (f" {translated(message, language)}" if job.what == "models" else "")
    if job.state == "failed":
        message = view.end.message if isinstance(view.end, Failed) else ""
        return say("failed", language, message=translated(message, language))
    result = view.end.result if isinstance(view.end, Finished) else {}
    if job.what == "models":
        files = result.get("files", [])
        return (
            say("fetched", language, n=len(files), size=result.get("size", ""))
            if files
            else say("fetched_none", language)
        )
    if job.what == "batch":
        counts = {name: result.get(name, 0) for name in ("made", "there", "failed")}
        return say("batched", language, report=_report(view), **counts)
    if job.what == "video":
        about = {name: result.get(name, "?") for name in ("frames", "repainted", "seed", "video")}
        return say("filmed", language, **about)
    if job.what == "generate":
        if not view.portrayed:
            return say("nothing", language)
        made = say("generated", language, n=len(view.portrayed), seed=result.get("seed", "?"))
        return f"{made} {say('some_failed', language, n=len(view.failures))}" if view.failures else made
    if _in_vain(view):
        return say("untrained", language, subject=job.subject)
    likeness = result.get("likeness")
    if likeness is None:
        return say("trained", language, subject=job.subject)
    told = say("trained_likeness", language, subject=job.subject, likeness=likeness_words(likeness))
    word = likeness_view.word(result.get("panel"))
    if word is None:
        return f"{told} {likeness_said(likeness, language, of='trained')}"
    return told if word is PanelWord.PERSON else f"{told} {say('trained advice', language)}"


def _report(view: View) -> str:
    """Return where the report of a batch lies, below the folder of all portraits."""
    result = view.end.result if isinstance(view.end, Finished) else {}
    return f"{result.get('folder', '')}/{result.get('report', '')}"


def _bar(progress: Progress | None, language: str) -> str:
    if progress is None:
        return '<div class="easyphoto-bar"><span style="width:0"></span></div>'
    share = 100 * min(1.0, progress.step / progress.total) if progress.total else 0
    words = stage(progress.stage, language)
    if progress.total and progress.stage != DOWNLOAD:  # a download's message says how many bytes
        words = say("step", language, stage=words, step=_count(progress.step), total=_count(progress.total))
    if progress.message and progress.stage in TALKATIVE:
        words += f" · {translated(progress.message, language)}"
    left = "" if progress.seconds_left is None else time_left(progress.seconds_left, language)
    return (
        f'<div class="easyphoto-bar"><span style="width:{share:.1f}%"></span></div>'
        f'<p class="easyphoto-step"><span>{escape(words)}</span><span>{escape(left)}</span></p>'
    )


def _preview(preview: Preview | None, language: str) -> str:
    if preview is None:
        return ""
    words = escape(say("preview", language), quote=True)
    source = f"data:image/jpeg;base64,{escape(preview.jpeg, quote=True)}"
    return f'<img class="easyphoto-preview" src="{source}" alt="{words}" title="{words}"/>'


def _count(value: int) -> str:
    """Write the bytes of a download in megabytes, and every other number as it is."""
    return f"{value / 2**20:.0f} MB" if value >= 2**21 else str(value)


def _note(text: str, kind: str = "") -> str:
    return f'<p class="easyphoto-note {kind}">{escape(text)}</p>'


def validation(job: Job[Any], language: str) -> str:
    """Return the pictures of the last validations, the newest first."""
    rows = []
    for event in reversed(View.of(job).validations[-3:]):
        shown = [_figure(Path(p), "", "") for p in event.pictures[:SHOWN]]
        words = _validated(event, language)
        if shown:
            rows.append(
                f'<p class="easyphoto-step">{escape(words)}</p><div class="easyphoto-grid">{"".join(shown)}</div>'
            )
    return f'<div class="easyphoto-validation">{"".join(rows)}</div>' if rows else ""


def _validated(event: Validated, language: str) -> str:
    """Return which step was validated, and how alike its pictures are, in words and as a number."""
    said = likeness_said(event.likeness, language)
    return say("validated", language, step=event.step, said=said, likeness=likeness_words(event.likeness))


def likeness_caption(scores: Sequence[float | None], language: str) -> str:
    """Return the caption of a portrait: the likeness of each face."""
    known = [score for score in scores if score is not None]
    if not known:
        return ""
    said = ", ".join(likeness_said(score, language) for score in known)
    return say("likeness_of", language, said=said, likeness=", ".join(likeness_words(score) for score in known))


def likeness_said(score: float, language: str, of: str = "alike") -> str:
    """Return in words what a likeness on the scale from 0 to 1 means; ``of`` says of what it is told."""
    level = next((word for least, word in LEVELS if clipped(score) >= least), LEVELS[-1][1])
    return say(f"{of} {level}", language)


# --- photos ----------------------------------------------------------------------------------------------------------


def photos(paths: Sequence[Path], report: PhotoReport | None, language: str, ask: str = "") -> str:
    """Return thumbnails of the uploaded photos, with a verdict and its reason below each once there is a ``report``.

    With ``ask``, a click enlarges a photo, by the hidden button ``{ask}_enlarge``, and each has a button that removes
    it, by ``{ask}_remove``; both are told the name of its file.
    The report calls the photos by the names of :func:`easyphoto.service.photo_names`.
    """
    verdicts = {looked_at.name: looked_at for looked_at in (report.photos if report else ())}
    cards, taken = [], 0
    for name, path in zip(photo_names(paths), paths, strict=True):
        verdict = verdicts.get(name)
        if verdict is None:
            cards.append(_figure(path, "", "", name, _buttons(path, ask, language)))
            continue
        taken += verdict.taken
        kind = "taken" if verdict.taken else "refused"
        reason, lines = translated(verdict.reason, language), [say(verdict.verdict.value, language)]
        if verdict.taken and verdict.likeness is not None:
            said = likeness_said(verdict.likeness, language, of="others")
            lines.append(f"{said} ({likeness_words(verdict.likeness)})")
        more = _beyond(say("taken", language) if verdict.taken else lines[0], reason)
        lines += [more] if more else []
        cards.append(_figure(path, "\n".join(lines), kind, _titled(name, reason), _buttons(path, ask, language)))
    if report is None:
        head = say("photos_uploaded", language, n=len(paths))
    else:
        head = say("photos", language, n=len(paths), taken=taken)
    warnings = "".join(_note(translated(text, language)) for text in (report.warnings if report else ()))
    return (
        f'<div class="easyphoto-photos"><p class="easyphoto-step">{escape(head)}</p>{warnings}'
        f'<div class="easyphoto-grid">{"".join(cards)}</div></div>'
    )


def _beyond(verdict: str, reason: str) -> str:
    """Return what ``reason`` says beside the ``verdict`` that stands above it, which it may begin with."""
    begins = reason.casefold().startswith(verdict.casefold())
    rest = reason[len(verdict) :].lstrip(":： ") if begins and reason[len(verdict) :][:1] in ("", *":：.。") else reason
    return rest[:1].upper() + rest[1:] if rest.strip(".。") else ""


def captions(photos: Sequence[Path], texts: Sequence[Path], language: str) -> str:
    """Return lines that say how many uploaded texts are captions of a photo, and which have no photo of their name.

    The answer is empty if there are no texts.
    """
    stems = {path.stem for path in photos}
    alone = [path.name for path in texts if path.stem not in stems]
    lines = [say("captions", language, n=len(texts) - len(alone))] if texts else []
    lines += [say("captions_alone", language, names=", ".join(alone))] if alone else []
    return "".join(map(hint, lines))


def _titled(name: str, reason: str) -> str:
    return reason if name in reason else f"{name}: {reason}" if reason else name


def pictures_shown(paths: Sequence[Path], words: str) -> str:
    """Return thumbnails of uploaded pictures below a line of words."""
    if not paths:
        return ""
    figures = "".join(_figure(path, path.stem, "") for path in paths)
    return f'<p class="easyphoto-step">{escape(words)}</p><div class="easyphoto-grid">{figures}</div>'


@dataclass(frozen=True)
class _Buttons:
    """What a click on a picture and on the button beside it asks for, as attributes and as an element."""

    picture: str = ""
    remove: str = ""


def _buttons(path: Path, ask: str, language: str) -> _Buttons:
    if not ask:
        return _Buttons()
    value, words = escape(path.name, quote=True), escape(say("remove", language, name=path.name), quote=True)
    return _Buttons(
        f' role="button" tabindex="0" data-ask="{ask}_enlarge" data-value="{value}"',
        f'<button type="button" class="easyphoto-remove" data-ask="{ask}_remove" data-value="{value}" '
        f'title="{words}" aria-label="{words}">×</button>',
    )


def enlarged(path: Path) -> str:
    """Return a picture that lies over the page until it is clicked; nothing if it can't be read."""
    try:
        source = thumbnail(path, LARGE)
    except (EasyPhotoError, OSError):
        return ""
    name = escape(path.name, quote=True)
    # The number makes this another value each time, because the page has hidden the last one by itself.
    return (
        f'<div class="easyphoto-large" role="dialog" aria-label="{name}" data-number="{time.time_ns()}">'
        f'<img src="{source}" alt="{name}"/><p>{name}</p></div>'
    )


def _figure(path: Path, words: str, kind: str, title: str = "", buttons: _Buttons = _Buttons()) -> str:
    """Return a picture with its caption; the first of several lines is its verdict."""
    try:
        source = thumbnail(path)
    except (EasyPhotoError, OSError):
        text = f"{path.name} · {words}" if words else path.name
        hint = escape(title or path.name, quote=True)
        broken = f'<div class="easyphoto-broken">?</div>{buttons.remove}{_caption(text)}'
        return f'<figure class="refused" title="{hint}">{broken}</figure>'
    hint = escape(title or path.name, quote=True)
    picture = f'<img src="{source}" alt="{hint}"{buttons.picture}/>'
    return f'<figure class="{kind}" title="{hint}">{picture}{buttons.remove}{_caption(words)}</figure>'


def _caption(words: str) -> str:
    first, *more = words.split("\n")
    lines = (
        f"<b>{escape(first)}</b>" + "".join(f"<span>{escape(line)}</span>" for line in more) if more else escape(first)
    )
    return f"<figcaption>{lines}</figcaption>" if words else ""


def thumbnail(path: Path, side: int = THUMBNAIL) -> str:
    """Return a JPEG of a picture that fits into a square of ``side`` pixels, as a ``data:`` address. Raises
    ``InvalidRequest`` if the file is not a picture."""
    return "data:image/jpeg;base64," + base64.b64encode(jpg(path, side)).decode("ascii")


def recipe(path: Path) -> str:
    """Return what a portrait's file says about how it was made: the WebUI's infotext if it has one."""
    try:
        texts = pictures.read_text(path)
    except InvalidRequest:
        return ""
    return texts.get("parameters") or "\n\n".join(texts.values())
