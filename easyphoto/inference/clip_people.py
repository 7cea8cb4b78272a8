"""Who is to be seen in a clip, before anybody is chosen for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from easyphoto.clips import decoding
from easyphoto.clips.decoding import Clip
from easyphoto.inference.tracks import Track, Tracker
from easyphoto.ports import Face, Image, Vision

HEAD = 1.7
"""The side of the square around a face that is shown of a person, in widths of the face."""
SHOWN = 160
"""That side in pixels at most."""


@dataclass(frozen=True, eq=False)
class PersonSeen:
    """One person of a clip: the square around their largest face, and in how many of the frames they were found."""

    head: Image
    frames: int


@dataclass(frozen=True, eq=False)
class ClipPeople:
    """The people of a clip in the order in which user ids are given to them, as far as ``frames`` frames show them.
    ``whole``: whether these are all of its frames."""

    people: tuple[PersonSeen, ...]
    frames: int
    whole: bool


def look(clip: Clip, vision: Vision, seconds: float, clock: Callable[[], float] = time.monotonic) -> ClipPeople:
    """Look through a clip for its people, for about ``seconds``: what comes later is not seen. Raises
    :class:`InvalidRequest` for a clip that is damaged."""
    tracker, heads = Tracker(vision, float(clip.rate)), dict[Track, tuple[float, Image]]()
    end = clock() + seconds
    whole = True
    for image in decoding.frames(clip):
        if tracker.count and clock() > end:
            whole = False
            break
        tracker.look(image)
        for track, face in tracker.now():
            if track not in heads or face.width > heads[track][0]:
                heads[track] = face.width, _head(image, face)
    people = []
    for role in tracker.roles():
        _, head = max((heads[track] for track in role.tracks), key=lambda one: one[0])
        people.append(PersonSeen(head, sum(len(track.faces) for track in role.tracks)))
    return ClipPeople(tuple(people), tracker.count, whole)


def _head(image: Image, face: Face) -> Image:
    """The square around a face; what lies outside the frame repeats its edge."""
    side = max(round(HEAD * face.width), 8)
    x, y = face.center
    left, top = round(x - side / 2), round(y - side / 2)
    rows = np.clip(np.arange(top, top + side), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, image.shape[1] - 1)
    square = image[rows][:, columns]
    small = min(side, SHOWN)
    return np.asarray(cv2.resize(square, (small, small), interpolation=cv2.INTER_AREA), np.uint8)
