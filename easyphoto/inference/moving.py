"""The chain on a clip: every frame is a template, and nothing flickers.

The faces of all frames are found first, joined to tracks and steadied (:mod:`easyphoto.inference.tracks`), so that the
crop in which a face is repainted moves as smoothly as the face. The crop, and with it the noise of the one seed, goes
with the face. What the frame before became is carried along by the movement of the input
(:mod:`easyphoto.inference.flow`): some of it is mixed into the fused face before it is repainted, and most of what
comes out is made of it. Frames without a face stay as they are.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from easyphoto import pictures
from easyphoto.clips import decoding
from easyphoto.clips.decoding import Clip
from easyphoto.config import Chosen, PortraitConfig
from easyphoto.errors import InvalidRequest, NoFace, reason
from easyphoto.events import Event, Listener, Notice, Progress
from easyphoto.filenames import shown
from easyphoto.inference import flow, score
from easyphoto.inference.matching import matched
from easyphoto.inference.painter import Meter, PassOrder
from easyphoto.inference.portrait import ENDING
from easyphoto.inference.sitting import Sitting
from easyphoto.inference.studio import Sitter, Studio
from easyphoto.inference.task import PortraitTask, Subject, Unusable, check, with_seed
from easyphoto.inference.tracks import Role, Tracker, steadied
from easyphoto.messages import Message
from easyphoto.pace import Pace
from easyphoto.ports import Checkpoint, ClipPainter, Face, Host, Image, Likeness, Mask, Vision
from easyphoto.storage.files import write_bytes
from easyphoto.vision import embedder_named, masks

log = logging.getLogger(__name__)

BEFORE, AFTER = 0.25, 0.88
"""The share of the carried result in a frame before it is repainted, and in what comes out. What is mixed in before
goes through the network once more with every frame: with more of it, faces became grey and soft after some frames.
What is mixed into what comes out is warped once more with every frame, and stayed as sharp over a hundred frames. A
clip that moved 1.37 times as far from itself as its input with 0.8 of it moves, by computation, 1.16 times as far with
this."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipTask:
    """One clip, and who takes the place of whom.

    ``people``: one for each person of the clip in the order in which they come (from left to right where they come at
    once), None leaves that person alone; with ``by_likeness`` each goes to the person of the clip who is most like
    them. What is done is kept in ``folder``, and a task that finds frames there goes on behind them. The other fields
    are those of :class:`easyphoto.inference.task.PortraitTask`.
    """

    clip: Clip
    people: tuple[Subject | Unusable | None, ...]
    config: PortraitConfig
    checkpoint: Checkpoint
    folder: Path
    by_likeness: bool = False
    lora_folder: Path | None = None
    commercial_only: bool = False
    chosen: Chosen = None
    together: bool = False
    """Whether a host that can repaints all frames at once, by the module that ``motion`` names. The clip is then short
    enough to be held in memory."""
    motion: str | Path | None = None


@dataclass(frozen=True)
class FrameLikeness:
    """How alike the person ``user_id`` and the face in ``frame`` are."""

    frame: int
    user_id: str
    likeness: Likeness


@dataclass(frozen=True)
class MadeClip:
    """What came of a task: how many frames there are and how many were repainted, the seed, and the likeness over
    time."""

    frames: int
    repainted: int
    seed: int
    curve: tuple[FrameLikeness, ...]


Sat: TypeAlias = tuple[Image, list[tuple[Face, Sitting]]]
"""A frame with its faces repainted, and each of these faces with its sitting."""


@dataclass(frozen=True, eq=False)
class Cast:
    """Who is to be repainted, and where: by frame, the faces with the person who takes each one's place (None: nobody
    does). ``cuts``: the frames with which a shot begins."""

    frames: int
    faces: Mapping[int, Sequence[tuple[Face, Sitter | None]]]
    cuts: frozenset[int]

    def made(self, frame: int) -> list[tuple[Face, Sitter]]:
        """The faces of the frame that are repainted."""
        return [(face, sitter) for face, sitter in self.faces.get(frame, ()) if sitter is not None]

    def beside(self, frame: int, face: Face) -> list[Face]:
        """The other faces of the frame."""
        return [other for other, _ in self.faces.get(frame, ()) if other is not face]


class _Quiet:
    """A listener between the chain and the user: the steps of each frame are not told, and a notice that differs from
    an earlier one in its numbers alone is told once."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._said: set[str] = set()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            return
        if isinstance(event, Notice):
            template = getattr(event.message, "template", event.message)
            if template in self._said:
                return
            self._said.add(template)
        self._listener(event)


def repaint(task: ClipTask, host: Host, vision: Vision, listener: Listener, cancelled: Callable[[], bool]) -> MadeClip:
    """Make the frames of ``task`` in its folder (:func:`frames` gives them). A frame that can't be done stays as it is,
    with a notice. Raises :class:`NoFace` when nobody is to be seen, and :class:`Cancelled` soon after ``cancelled``
    says so."""
    config = replace(with_seed(replace(task.config, batch_size=1)), batch_size=1)
    quiet = _Quiet(listener)
    portraits = PortraitTask(
        templates=(task.clip.path,),
        people=task.people,
        config=config,
        checkpoint=task.checkpoint,
        lora_folder=task.lora_folder,
        commercial_only=task.commercial_only,
        chosen=task.chosen,
        keep_stages=False,
    )
    check(portraits)
    studio = Studio(portraits, host, vision, Meter(quiet, cancelled))
    cast = _cast(task, studio, listener)
    shelf = FrameShelf(task.folder)
    repainted = sum(bool(cast.made(frame)) for frame in range(cast.frames))
    painted = _together(task, studio, host, cast, listener) if task.together else {}
    pace, past = Pace(warm_up=0), None
    for index, frame in enumerate(decoding.frames(task.clip)):
        if index < shelf.done:
            past = shelf.past(frame) if index == shelf.done - 1 else None
            continue
        studio.meter.check()
        began = time.monotonic()
        made = cast.made(index)
        sittings: list[tuple[Face, Sitting]] = []
        result, laid = frame, masks.empty((frame.shape[0], frame.shape[1]))
        if made:
            try:
                carried = None if past is None or index in cast.cuts else past.carried(frame)
                result, sittings = painted.get(index) or _sat(studio, cast, index, frame, carried)
                result, laid = _held(result, sittings, carried)
            except ENDING:
                raise
            except Exception as error:
                log.warning("frame %d failed", index, exc_info=True)
                quiet(Notice(message=_failed(index, error)))
        past = shelf.put(index, frame, result, laid, _likenesses(studio, index, result, sittings))
        pace.took(time.monotonic() - began)
        left = None if pace.seconds is None else pace.seconds * (cast.frames - index - 1)
        listener(Progress(stage="frames", step=index + 1, total=cast.frames, seconds_left=left))
    return MadeClip(shelf.done, repainted, config.seed, shelf.curve())


def _failed(index: int, error: Exception) -> Message:
    return Message("Frame {number} can't be done and stays as it is: {reason}", number=index + 1, reason=reason(error))


def _cast(task: ClipTask, studio: Studio, listener: Listener) -> Cast:
    """Look through the whole clip for its people. Raises :class:`NoFace` where nobody is to be seen, or nobody was
    chosen for those who are."""
    rate = float(task.clip.rate)
    tracker = Tracker(studio.vision, rate)
    for image in decoding.frames(task.clip):
        studio.meter.check()
        tracker.look(image)
        listener(Progress(stage="faces", step=tracker.count, total=max(task.clip.frames_at_most, tracker.count)))
    roles = tracker.roles()
    name = shown(task.clip.path.name)
    if not roles:
        raise NoFace("No face was found in {template}.", template=name)
    sitters = _assigned(roles, studio.sitters, by_likeness=task.by_likeness)
    if len(studio.sitters) > len(roles):
        studio.meter.notice(
            Message(
                "{people} people were chosen and {template} shows {faces}: the last are left out.",
                people=len(studio.sitters),
                template=name,
                faces=len(roles),
            )
        )
    if all(sitter is None for sitter in sitters):
        raise NoFace("Nobody was chosen for the {count} face(s) of {template}.", count=len(roles), template=name)
    faces: dict[int, list[tuple[Face, Sitter | None]]] = {}
    for role, sitter in zip(roles, sitters, strict=True):
        for frame, face in steadied(role, rate).items():
            faces.setdefault(frame, []).append((face, sitter))
    return Cast(tracker.count, faces, frozenset(tracker.cuts))


def _assigned(
    roles: Sequence[Role], people: Sequence[Sitter | Unusable | None], *, by_likeness: bool
) -> list[Sitter | None]:
    """Who takes the place of each role. Raises the error of a person who is needed and can't be portrayed."""
    order: list[Sitter | Unusable | None] = [*people, *[None] * len(roles)][: len(roles)]
    if by_likeness:
        vectors = [one.mean if isinstance(one, Sitter) else None for one in people]
        order = [None if i is None else people[i] for i in matched([role.vector for role in roles], vectors)]
    chosen: list[Sitter | None] = []
    for person in order:
        if isinstance(person, Unusable):
            raise person.error
        chosen.append(person)
    return chosen


def _together(task: ClipTask, studio: Studio, host: Host, cast: Cast, listener: Listener) -> dict[int, Sat]:
    """All frames with their faces repainted at once, one person after another; nothing where the host does one frame
    after another."""
    if not isinstance(host, ClipPainter):
        studio.meter.notice(Message("This host repaints one frame of a clip after another."))
        return {}
    albums = {index: {"final": frame} for index, frame in enumerate(decoding.frames(task.clip)) if cast.made(index)}
    made: dict[int, list[tuple[Face, Sitting]]] = {index: [] for index in albums}
    places: dict[Sitter, list[tuple[int, Face]]] = {}
    for index in albums:
        for face, sitter in cast.made(index):
            places.setdefault(sitter, []).append((index, face))
    for sitter, where in places.items():
        sat = []
        for index, face in where:
            sitting = Sitting(studio, sitter, face, cast.beside(index, face), albums[index], studio.config.seed)
            made[index].append((face, sitting))
            sat.append(sitting)
        _in_step(
            [sitting.orders() for sitting in sat], lambda o: studio.painter.repaint_together(o, task.motion, listener)
        )
    return {index: (albums[index]["final"], sittings) for index, sittings in made.items()}


def _in_step(
    frames: Sequence[Generator[PassOrder, Image | None, None]], repaint: Callable[[list[PassOrder]], list[Image]]
) -> None:
    """Bring all frames from pass to pass together."""
    painted: Sequence[Image | None] = [None] * len(frames)
    while True:
        orders = []
        for frame, image in zip(frames, painted, strict=True):
            with suppress(StopIteration):
                orders.append(frame.send(image))
        if not orders:
            return
        painted = repaint(orders)


def _sat(studio: Studio, cast: Cast, index: int, frame: Image, carried: tuple[Image, Mask] | None) -> Sat:
    """The frame with its faces repainted, and each face with its sitting."""
    mixed = None if carried is None else (carried[0], np.asarray(carried[1] * BEFORE, np.float32))
    album = {"final": frame}
    sittings = []
    for face, sitter in cast.made(index):
        sitting = Sitting(studio, sitter, face, cast.beside(index, face), album, studio.config.seed, mixed)
        sitting.sit()
        sittings.append((face, sitting))
    return album["final"], sittings


def _held(
    painted: Image, sittings: Sequence[tuple[Face, Sitting]], carried: tuple[Image, Mask] | None
) -> tuple[Image, Mask]:
    """The frame with most of what the last one became, and where it was changed."""
    laid = _eight_bits(masks.union(*(sitting.laid for _, sitting in sittings)))
    if carried is not None:
        painted = flow.held(painted, carried[0], masks.intersection(carried[1], laid), AFTER)
    return painted, laid


def _eight_bits(mask: Mask) -> Mask:
    """``mask`` as it is when it has been kept in a file: a clip that goes on is the same as one that was never cut
    off."""
    return np.asarray(np.rint(mask * 255) / np.float32(255), np.float32)


def _likenesses(
    studio: Studio, index: int, result: Image, sittings: Sequence[tuple[Face, Sitting]]
) -> list[FrameLikeness]:
    """How alike the faces of a frame are to the people who were put there; a face that isn't found has no likeness."""
    measured = []
    for face, sitting in sittings:
        found = studio.spared(Message("The likeness"), None, partial(_likeness, studio, result, face, sitting))
        if found is not None:
            measured.append(FrameLikeness(index, sitting.sitter.subject.user_id, found))
    return measured


def _likeness(studio: Studio, result: Image, face: Face, sitting: Sitting) -> Likeness | None:
    seen = score.find(result, face, studio.vision)
    if seen is None:
        return None
    vectors, embedder = sitting.sitter.sources.compared_with(sitting.fused, sitting.sitter.mean)
    judge = studio.vision.embedder if embedder is None else embedder_named(studio.vision, embedder)
    return score.compare(*seen, vectors, judge)


# --- what is kept ----------------------------------------------------------------------------------------------------


class FrameShelf:
    """The frames of a clip in a folder, the likeness beside them, and where the last frame was changed. A frame counts
    when its picture is there, which is written last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.done = 0
        while self._frame(self.done).is_file():
            self.done += 1

    def _frame(self, index: int) -> Path:
        return self._folder / f"{index:06}.png"

    def _laid(self, index: int) -> Path:
        return self._folder / f"laid-{index:06}.png"

    def put(self, index: int, frame: Image, result: Image, laid: Mask, likeness: Sequence[FrameLikeness]) -> flow.Past:
        """Keep a frame, and give what the next one needs of it. Raises :class:`StorageFailed`."""
        lines = "".join(json.dumps(asdict(one)) + "\n" for one in likeness)
        write_bytes(self._folder / f"likeness-{index:06}.jsonl", lines.encode())
        pictures.save_png(self._laid(index), np.repeat(np.rint(laid * 255).astype(np.uint8)[..., None], 3, 2))
        pictures.save_png(self._frame(index), result)
        self.done = index + 1
        with suppress(OSError):
            self._laid(index - 1).unlink()
        return flow.Past(frame, result, laid)

    def past(self, frame: Image) -> flow.Past | None:
        """What the next frame needs of the last one that is kept, whose input was ``frame``."""
        index = self.done - 1
        try:
            laid = pictures.load(self._laid(index))[..., 0].astype(np.float32) / np.float32(255)
            return flow.Past(frame, pictures.load(self._frame(index)), np.asarray(laid, np.float32))
        except InvalidRequest:
            return None

    def frames(self) -> Iterator[Image]:
        """The frames that are kept, one after another."""
        for index in range(self.done):
            yield pictures.load(self._frame(index))

    def curve(self) -> tuple[FrameLikeness, ...]:
        """The likeness over time."""
        rows: list[dict[str, Any]] = []
        for index in range(self.done):
            path = self._folder / f"likeness-{index:06}.jsonl"
            rows += [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        return tuple(FrameLikeness(**{**row, "likeness": Likeness(**row["likeness"])}) for row in rows)
