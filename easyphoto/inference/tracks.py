"""Who is where in a clip: the faces of its frames, joined to tracks, and steadied."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Embedding, Face, Image, Vision

Curve = NDArray[np.float64]
"""Numbers over time: one row a frame."""

THUMBNAIL = (32, 18)
CUT, CUT_RATIO = 28.0, 3.0
"""A frame begins a new shot if it is so many levels of 255 from the one before, and so many times as far as usual."""
REACH = 0.9
"""How far a face may be from where its track is expected, in widths of the face; more after frames without it."""
UNSURE = 2.2
"""Within so many widths two faces can be taken for each other, and their embeddings decide."""
STRANGER = 1.5
"""What a cosine of 0 instead of 1 weighs beside distances in widths of the face."""
LOST_SECONDS, BRIDGED_SECONDS = 2.0, 0.5
"""For how long a face is looked for near where it was lost, and how long a gap is that is filled between."""
LEAST_SIGHTINGS = 3
"""What is seen less often than this in all is taken for a mistake of the detector, in a clip that has more frames."""
CENTRE_SECONDS, SIZE_SECONDS, POINT_SECONDS = 0.10, 0.5, 0.03
"""Over what time (one sigma) the centre, the size and the points of a face are smoothed."""


@dataclass(eq=False)
class Track:
    """One face through one shot. ``faces``: by the number of the frame. ``vector``: the mean of its embeddings."""

    shot: int
    faces: dict[int, Face] = field(default_factory=dict)
    vector: Embedding | None = None

    @property
    def last(self) -> int:
        return max(self.faces)

    def expected(self, frame: int) -> tuple[float, float]:
        """Where the centre of the face should be in ``frame``, if it goes on as it went; not further than it went."""
        seen = sorted(self.faces)[-3:]
        x, y = self.faces[seen[-1]].center
        if len(seen) < 2:
            return x, y
        first = self.faces[seen[0]].center
        ahead = min(frame - seen[-1], 4) / (seen[-1] - seen[0])
        return x + (x - first[0]) * ahead, y + (y - first[1]) * ahead


@dataclass(frozen=True, eq=False)
class Role:
    """One person of a clip: the tracks that show the same face, and its mean embedding."""

    tracks: tuple[Track, ...]
    vector: Embedding

    @property
    def first(self) -> tuple[int, float]:
        """The frame in which the person comes first, and how far to the left."""
        frame = min(min(track.faces) for track in self.tracks)
        track = next(track for track in self.tracks if frame in track.faces)
        return frame, track.faces[frame].center[0]


class Tracker:
    """Joins the faces of one frame after another to tracks, and these, at the end, to roles. ``rate``: frames a
    second."""

    def __init__(self, vision: Vision, rate: float) -> None:
        self._vision, self._rate = vision, rate
        self._tracks: list[Track] = []
        self._thumbnail: NDArray[np.float32] | None = None
        self._steps: list[float] = []
        self._shot, self._frame = 0, -1
        self.cuts: set[int] = set()
        """The frames with which a new shot begins."""

    def look(self, image: Image) -> list[Face]:
        """Find the faces of the next frame."""
        self._frame += 1
        if self._cuts(image):
            self._shot += 1
            self.cuts.add(self._frame)
        faces = self._vision.detector.detect(image)
        open_ = [
            track
            for track in self._tracks
            if track.shot == self._shot and self._frame - track.last <= max(1, LOST_SECONDS * self._rate)
        ]
        vectors: dict[int, Embedding] = {}

        def vector(index: int) -> Embedding:
            if index not in vectors:
                vectors[index] = self._vision.embedder.embed(image, faces[index])
            return vectors[index]

        pairs = {(i, j): self._distance(track, face) for i, track in enumerate(open_) for j, face in enumerate(faces)}
        near = [pair for pair, distance in pairs.items() if distance < UNSURE]
        for i, j in near:
            mixed = sum(i == a for a, _ in near) > 1 or sum(j == b for _, b in near) > 1
            known = open_[i].vector
            # After a gap somebody else may stand there.
            if known is not None and (mixed or open_[i].last < self._frame - 1):
                pairs[i, j] += STRANGER * (1 - float(known @ vector(j)))
        taken: set[int] = set()
        served: set[int] = set()
        for (i, j), distance in sorted(pairs.items(), key=lambda item: item[1]):
            gap = self._frame - open_[i].last
            if i in served or j in taken or distance > REACH + min(0.15 * (gap - 1), 1.0):
                continue
            served.add(i)
            taken.add(j)
            self._join(open_[i], faces[j], vectors.get(j))
        for j, face in enumerate(faces):
            if j not in taken:
                self._tracks.append(Track(self._shot, {self._frame: face}, vector(j)))
        return faces

    def now(self) -> Iterator[tuple[Track, Face]]:
        """The faces of the frame that was looked at last, each with its track."""
        for track in self._tracks:
            if self._frame in track.faces:
                yield track, track.faces[self._frame]

    def _distance(self, track: Track, face: Face) -> float:
        x, y = track.expected(self._frame)
        last = track.faces[track.last]
        width = max((last.width + face.width) / 2, 1.0)
        away = float(np.hypot(face.center[0] - x, face.center[1] - y)) / width
        return away + abs(float(np.log(max(face.width, 1) / max(last.width, 1))))

    def _join(self, track: Track, face: Face, vector: Embedding | None) -> None:
        track.faces[self._frame] = face
        if vector is not None:
            mean = vector if track.vector is None else 0.8 * track.vector + 0.2 * vector
            track.vector = np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), np.float32)

    def _cuts(self, image: Image) -> bool:
        """Whether a new shot begins."""
        small = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        before, self._thumbnail = self._thumbnail, small
        if before is None:
            return False
        step = float(np.abs(small - before).mean())
        usual = float(np.median(self._steps[-12:])) if self._steps else 0.0
        self._steps.append(step)
        return step > CUT and step > CUT_RATIO * usual

    def roles(self) -> list[Role]:
        """The people of the clip in the order in which they come, from left to right where they come at once. A face
        that comes again after a cut or a while is known by its embedding."""
        alike = self._vision.embedder.calibration.cosine(0.5)
        groups: list[list[Track]] = []
        for track in sorted(self._tracks, key=lambda one: -len(one.faces)):
            at = set(track.faces)
            best, cosine = None, alike
            for group in groups:
                if any(at & set(other.faces) for other in group):
                    continue  # nobody is in one frame twice
                near = max(_cosine(track, other) for other in group)
                if near > cosine:
                    best, cosine = group, near
            if best is None:
                groups.append([track])
            else:
                best.append(track)
        least = min(LEAST_SIGHTINGS, self.count)
        seen = [group for group in groups if sum(len(track.faces) for track in group) >= least]
        roles = [Role(tuple(sorted(group, key=lambda t: min(t.faces))), _mean(group)) for group in seen]
        return sorted(roles, key=lambda role: role.first)

    @property
    def count(self) -> int:
        """How many frames were looked at."""
        return self._frame + 1


def _cosine(a: Track, b: Track) -> float:
    return -1.0 if a.vector is None or b.vector is None else float(a.vector @ b.vector)


def _mean(group: Sequence[Track]) -> Embedding:
    vectors = [len(track.faces) * track.vector for track in group if track.vector is not None]
    total = np.sum(vectors, axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-6), np.float32)


# --- steadying -------------------------------------------------------------------------------------------------------


def steadied(role: Role, rate: float) -> dict[int, Face]:
    """The faces of a role by frame, with short gaps filled, and steadied: the centre a little and the size a lot, so
    that a crop around the face neither trembles nor pumps. What was found hardly moves."""
    result: dict[int, Face] = {}
    for track in role.tracks:
        for run in _runs(sorted(track.faces), max(1, round(BRIDGED_SECONDS * rate))):
            result.update(_steady(track, run, rate))
    return result


def _runs(frames: Sequence[int], gap: int) -> Iterator[list[int]]:
    """The numbers in groups between which more than ``gap`` are missing."""
    run = [frames[0]]
    for before, frame in itertools.pairwise(frames):
        if frame - before > gap + 1:
            yield run
            run = []
        run.append(frame)
    yield run


def _steady(track: Track, run: Sequence[int], rate: float) -> dict[int, Face]:
    frames = np.arange(run[0], run[-1] + 1)
    faces = [track.faces[frame] for frame in run]

    def filled(values: Sequence[Sequence[float]]) -> Curve:
        table = np.asarray(values, np.float64)
        return np.stack([np.interp(frames, run, column) for column in table.T], 1)

    centres = smoothed(filled([face.center for face in faces]), CENTRE_SECONDS * rate)
    sizes = smoothed(filled([(face.width, face.height) for face in faces]), SIZE_SECONDS * rate)
    points = smoothed(filled([face.points.ravel().tolist() for face in faces]), POINT_SECONDS * rate)
    marks = None
    if all(face.landmarks is not None for face in faces):
        found = [face.landmarks.ravel().tolist() for face in faces if face.landmarks is not None]
        marks = smoothed(filled(found), POINT_SECONDS * rate)
    made = {}
    for place, frame in enumerate(frames.tolist()):
        (x, y), (width, height) = centres[place], sizes[place]
        nearest = track.faces.get(frame, faces[0])
        made[frame] = replace(
            nearest,
            box=(x - width / 2, y - height / 2, x + width / 2, y + height / 2),
            points=points[place].reshape(-1, 2).astype(np.float32),
            landmarks=None if marks is None else marks[place].reshape(-1, 2).astype(np.float32),
        )
    return made


def smoothed(values: Curve, sigma: float) -> Curve:
    """Each column of ``values`` (frames x n) after a Gaussian of ``sigma`` frames, which at the ends goes on as the
    curve began and ended (mirrored through the end point), so that nothing is pulled inwards."""
    reach = int(np.ceil(3 * sigma))
    if reach < 1 or len(values) < 2:
        return values
    reach = min(reach, len(values) - 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    before = 2 * values[0] - values[reach:0:-1]
    after = 2 * values[-1] - values[-2 : -reach - 2 : -1]
    long = np.concatenate([before, values, after])
    return np.stack([np.convolve(column, kernel, mode="valid") for column in long.T], 1)
