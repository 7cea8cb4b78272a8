"""The photo coach: says before a training whether the photos are enough, and what would make them better.

It looks at nothing itself: everything comes from the photo report. It never gives a face a grade, and what it suggests
to leave out is left to the user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from easyphoto.messages import Message, joined
from easyphoto.ports import Calibration, Face
from easyphoto.training.photos import ENOUGH, PhotoOutcome, PhotoReport, PhotoVerdict
from easyphoto.vision import pose

FEWEST = 3
"""Fewer good photos than this are not enough."""
SAME_HASH = 8
"""Two photos whose perceptual hashes differ in at most so many of 64 bits, and whose faces are alike as two pictures of
one moment are, are near-duplicates."""
SAME_MOMENT = 0.95
TURNED = 15.0
"""A head that is turned by more than so many degrees looks aside, where its pose alone is known."""
ASIDE = 10.0
"""The same where 68 points say how far the nose lies beside the middle. It was chosen on twelve people (the limits of 8
to 15 were tried) and counted on twelve others."""
TILTED = 15.0
BLURRED_BESIDE = 0.35
"""A photo is blurred beside the others if it has less than this share of their median sharpness."""
DARK_BESIDE = 0.6
GLASSES_EDGE = 2.3
"""Most photos show glasses if the median edge across the bridge of the nose is stronger than this."""
GLASSES_FROM = 4
"""With fewer photos than this the median says nothing."""
COVERED = 0.3
"""From this on something seems to cover mouth and nose."""
SOFT = 20.0
"""The photos are all soft if the median sharpness of their faces is below this."""


class CoachState(str, Enum):
    """What the coach thinks of a set of photos."""

    READY = "ready"
    BETTER = "could be better"
    NOT_ENOUGH = "not enough"


class HeadBin(str, Enum):
    """Where a head looks, from the viewer."""

    LEFT = "left"
    FRONT = "front"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"


class CoachTopic(str, Enum):
    """What a suggestion is about."""

    OUTLIER = "outlier"
    DUPLICATE = "duplicate"
    POSES = "poses"
    BLUR = "blur"
    LIGHT = "light"
    SMALL = "small"
    GLASSES = "glasses"
    COVERED = "covered"
    COUNT = "count"


SURE = (CoachTopic.DUPLICATE, CoachTopic.COVERED)
"""What is named under these topics doesn't count as a good photo. Everything else that the coach would leave out is a
suspicion, and no suspicion makes a set too small."""


@dataclass(frozen=True)
class CoachSuggestion:
    """One thing to do, as a sentence. ``photos`` are the names that it is about, and ``leave_out`` says whether it
    suggests to train without them."""

    topic: CoachTopic
    sentence: str
    photos: tuple[str, ...] = ()
    leave_out: bool = False

    def to_mapping(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "topic": self.topic.value,
            "sentence": self.sentence,
            "photos": list(self.photos),
            "leave_out": self.leave_out,
        }


@dataclass(frozen=True)
class Coaching:
    """What the coach says: the state, what to do, and how many good photos look in each direction."""

    state: CoachState
    suggestions: tuple[CoachSuggestion, ...]
    poses: Mapping[HeadBin, int]

    @property
    def leave_out(self) -> tuple[str, ...]:
        """The photos that the coach would train without, each once."""
        names = [name for one in self.suggestions if one.leave_out for name in one.photos]
        return tuple(dict.fromkeys(names))

    def to_mapping(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "state": self.state.value,
            "suggestions": [one.to_mapping() for one in self.suggestions],
            "poses": {where.value: count for where, count in self.poses.items()},
            "leave_out": list(self.leave_out),
        }


def coach(report: PhotoReport, calibration: Calibration) -> Coaching:
    """Say what a photo report means for a training. ``calibration`` is that of the report's embedder."""
    taken = report.taken
    poses = coverage(taken)
    suggestions = tuple(
        one
        for found in (
            _outliers(report, calibration),
            _duplicates(report),
            _blurred(report),
            _dark(taken),
            _small(report),
            _glasses(taken),
            _covered(report),
            _poses(taken, poses),
            _count(taken),
        )
        for one in found
    )
    spoilt = {name for one in suggestions if one.topic in SURE for name in one.photos}
    good = len({photo.name for photo in taken} - spoilt)
    state = CoachState.BETTER if suggestions else CoachState.READY
    return Coaching(CoachState.NOT_ENOUGH if good < FEWEST else state, suggestions, poses)


def coverage(photos: Sequence[PhotoVerdict]) -> dict[HeadBin, int]:
    """Return how many of the photos look in each direction. A head that looks aside and up counts for both."""
    found = dict.fromkeys(HeadBin, 0)
    for photo in photos:
        for where in looks(photo):
            found[where] += 1
    return found


def looks(photo: PhotoVerdict) -> tuple[HeadBin, ...]:
    """Return where the head of a photo looks."""
    side, pitch = side_of(photo.face, photo.yaw or 0.0), photo.pitch or 0.0
    aside = () if side is None else (side,)
    tilted = () if abs(pitch) <= TILTED else (HeadBin.UP if pitch > 0 else HeadBin.DOWN,)
    return aside + tilted or (HeadBin.FRONT,)


def side_of(face: Face | None, yaw: float) -> HeadBin | None:
    """Return to which side a face looks, None if to neither. ``yaw`` counts where it has no 68 points."""
    turn, limit = (yaw, TURNED) if face is None or face.landmarks is None else (pose.aside(face.landmarks), ASIDE)
    return None if abs(turn) <= limit else HeadBin.RIGHT if turn > 0 else HeadBin.LEFT


def _outliers(report: PhotoReport, calibration: Calibration) -> Iterator[CoachSuggestion]:
    """The photos that are less like the others than photos of one person are, each judged by the ones beside it. A
    covered face is like nobody's, and that is said of it instead."""
    strangers = [p.name for p in report.photos if p.verdict is PhotoOutcome.SOMEONE_ELSE and not _hidden(p)]
    vectors = [(p.name, p.embedding) for p in report.taken if p.embedding is not None and not _hidden(p)]
    lowest = (calibration.same_mean - 2 * calibration.same_std + calibration.threshold) / 2
    for name, vector in vectors:
        others = [float(np.dot(vector, other)) for beside, other in vectors if beside != name]
        if len(others) >= 2 and float(np.median(others)) < lowest:
            strangers.append(name)
    if strangers:
        sentence = Message("Perhaps another person: {names}. Look again, and leave out who isn't meant.",
                           names=", ".join(strangers))  # fmt: skip
        yield CoachSuggestion(CoachTopic.OUTLIER, sentence, tuple(strangers), leave_out=True)


def _duplicates(report: PhotoReport) -> Iterator[CoachSuggestion]:
    """The photos that show the moment of another one. Of each group the sharpest stays."""
    again = [p.name for p in report.photos if p.verdict is PhotoOutcome.DUPLICATE]
    kept: list[PhotoVerdict] = []
    for photo in sorted(report.taken, key=lambda p: (-(p.sharpness or 0.0), p.name)):
        if any(_same_moment(photo, other) for other in kept):
            again.append(photo.name)
        else:
            kept.append(photo)
    if again:
        sentence = Message("Nearly the same picture as another one: {names}. They teach nothing new; leave them out.",
                           names=", ".join(again))  # fmt: skip
        yield CoachSuggestion(CoachTopic.DUPLICATE, sentence, tuple(again), leave_out=True)


def _same_moment(a: PhotoVerdict, b: PhotoVerdict) -> bool:
    if a.fingerprint is None or b.fingerprint is None or a.embedding is None or b.embedding is None:
        return False
    apart = (a.fingerprint ^ b.fingerprint).bit_count()
    return apart <= SAME_HASH and float(np.dot(a.embedding, b.embedding)) >= SAME_MOMENT


def _blurred(report: PhotoReport) -> Iterator[CoachSuggestion]:
    refused = [p.name for p in report.photos if p.verdict is PhotoOutcome.BLURRED]
    sharp = [(p.name, p.sharpness) for p in report.taken if p.sharpness is not None]
    middle = float(np.median([value for _, value in sharp])) if sharp else 0.0
    soft = [name for name, value in sharp if value < BLURRED_BESIDE * middle]
    if (sharp and middle < SOFT) or (refused and len(refused) >= len(report.taken)):
        yield CoachSuggestion(CoachTopic.BLUR, Message("Most photos are blurred: sharper ones would help most."))
    elif soft or refused:
        names = [*soft, *refused]
        sentence = Message("Blurred beside the others: {names}.", names=", ".join(names))
        yield CoachSuggestion(CoachTopic.BLUR, sentence, tuple(names), leave_out=True)


def _dark(taken: Sequence[PhotoVerdict]) -> Iterator[CoachSuggestion]:
    lit = [(p.name, p.brightness) for p in taken if p.brightness is not None]
    middle = float(np.median([value for _, value in lit])) if lit else 0.0
    dark = [name for name, value in lit if value < DARK_BESIDE * middle]
    if dark:
        sentence = Message("Much darker than the others: {names}. A photo by a window would be better.",
                           names=", ".join(dark))  # fmt: skip
        yield CoachSuggestion(CoachTopic.LIGHT, sentence, tuple(dark))


def _small(report: PhotoReport) -> Iterator[CoachSuggestion]:
    small = [p.name for p in report.photos if p.verdict is PhotoOutcome.TOO_SMALL]
    if small:
        sentence = Message("The face is too small in {names}: go nearer, or cut the photo from a larger one.",
                           names=", ".join(small))  # fmt: skip
        yield CoachSuggestion(CoachTopic.SMALL, sentence, tuple(small))


def _glasses(taken: Sequence[PhotoVerdict]) -> Iterator[CoachSuggestion]:
    edges = [p.bridge_edge for p in taken if p.bridge_edge is not None]
    if len(edges) >= GLASSES_FROM and float(np.median(edges)) > GLASSES_EDGE:
        sentence = Message("Most photos seem to show glasses, which are then learned as a part of the face: add some "
                           "without, if they aren't always worn.")  # fmt: skip
        yield CoachSuggestion(CoachTopic.GLASSES, sentence)


def _covered(report: PhotoReport) -> Iterator[CoachSuggestion]:
    """The faces of which mouth and nose are covered, also where the report took such a face for another person's."""
    seen = [p for p in report.photos if p.taken or p.verdict is PhotoOutcome.SOMEONE_ELSE]
    names = tuple(p.name for p in seen if _hidden(p))
    if names:
        sentence = Message("Something seems to cover mouth or nose (a mask, a hand): {names}. Leave these out, or it "
                           "is learned as a part of the face.", names=", ".join(names))  # fmt: skip
        yield CoachSuggestion(CoachTopic.COVERED, sentence, names, leave_out=True)


def _hidden(photo: PhotoVerdict) -> bool:
    return photo.covered is not None and photo.covered > COVERED


def _poses(taken: Sequence[PhotoVerdict], poses: Mapping[HeadBin, int]) -> Iterator[CoachSuggestion]:
    """What directions are missing. A few photos are not asked for all of them."""
    if len(taken) < FEWEST:
        return
    wanted = {
        HeadBin.LEFT: Message("a half profile to the left"),
        HeadBin.RIGHT: Message("a half profile to the right"),
        HeadBin.FRONT: Message("a photo that looks into the camera"),
    }
    missing = [words for where, words in wanted.items() if not poses[where]]
    if missing:
        sentence = Message("What would help: {photos}.", photos=joined(missing))
        yield CoachSuggestion(CoachTopic.POSES, sentence)


def _count(taken: Sequence[PhotoVerdict]) -> Iterator[CoachSuggestion]:
    if len(taken) < ENOUGH:
        sentence = Message("{n} good photos: with {enough} to 20 the likeness is better.", n=len(taken), enough=ENOUGH)
        yield CoachSuggestion(CoachTopic.COUNT, sentence)
