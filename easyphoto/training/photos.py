"""What each photo of a person is worth, before anybody waits for a training.

The photos are looked at in the order of their content, so the order of the files never changes what comes out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto import pictures
from easyphoto.likeness import rounded, words
from easyphoto.ports import Calibration, Embedding, Face, Image, Vision
from easyphoto.vision import pose, sharpness

ENOUGH = 5
"""Fewer good photos than this bring a warning."""
MIN_FACE = 48
"""Narrowest face that is taken, in pixels: its crop of three face widths is then enlarged 3.6 times for 512 pixels."""
MIN_SHARPNESS = 8.0
"""Least sharpness of the face, by :func:`easyphoto.vision.sharpness.sharpness`."""
MAX_YAW = 60.0
MAX_PITCH = 45.0
FILLS = 1.5
"""A face fills its photo when the largest square of the photo has sides of less than so many faces."""
SAME_PICTURE = 3.0
"""Two photos whose 32 x 32 thumbnails differ by less than so many levels (of 255) on average show the same picture."""
MAX_FACES = 12
"""Of more faces in one photo the largest are looked at."""


class Verdict(str, Enum):
    """What became of a photo."""

    TAKEN = "taken"
    SEVERAL_FACES = "several faces"
    NO_FACE = "no face"
    SOMEONE_ELSE = "someone else"
    TOO_SMALL = "too small"
    BLURRED = "blurred"
    DUPLICATE = "duplicate"
    EXTREME_POSE = "extreme pose"
    UNREADABLE = "unreadable"

    @property
    def taken(self) -> bool:
        return self in (Verdict.TAKEN, Verdict.SEVERAL_FACES)


@dataclass(frozen=True, eq=False)
class PhotoVerdict:
    """One photo: its verdict with the ``reason`` in a sentence.

    ``likeness`` (calibrated) and ``cosine`` (raw) are the mean likeness to the other photos of the person, None where
    there is no other. ``sharpness`` is the face's; ``yaw`` and ``pitch`` are in degrees. ``close`` is a face that fills
    the photo.
    """

    name: str
    digest: str
    verdict: Verdict
    reason: str
    faces: int = 0
    likeness: float | None = None
    cosine: float | None = None
    sharpness: float | None = None
    yaw: float | None = None
    pitch: float | None = None
    face: Face | None = None
    embedding: Embedding | None = None
    close: bool = False

    @property
    def taken(self) -> bool:
        return self.verdict.taken

    @property
    def frontal(self) -> float:
        """1 for a face that looks straight ahead, 0 for a profile."""
        return 0.0 if self.yaw is None else max(0.0, 1 - abs(self.yaw) / 90)

    @property
    def rating(self) -> float:
        """How well the photo stands for the person: frontal times typical. Higher is better."""
        typical = 1.0 if self.cosine is None else max(self.cosine, 0.0)
        return self.frontal * typical

    def to_mapping(self) -> dict[str, Any]:
        """Plain JSON data, without the embedding."""
        numbers = {k: getattr(self, k) for k in ("likeness", "cosine", "sharpness", "yaw", "pitch")}
        return {
            "name": self.name,
            "digest": self.digest,
            "verdict": self.verdict.value,
            "taken": self.taken,
            "reason": self.reason,
            "faces": self.faces,
            "face": None if self.face is None else [round(v, 1) for v in self.face.box],
            **{k: None if v is None else rounded(v, 4) for k, v in numbers.items()},
        }


@dataclass(frozen=True, eq=False)
class PhotoReport:
    """The photos in the order of their content, and what speaks against training on them."""

    photos: tuple[PhotoVerdict, ...]
    embedder: str
    warnings: tuple[str, ...] = ()

    @property
    def taken(self) -> tuple[PhotoVerdict, ...]:
        return tuple(p for p in self.photos if p.taken)

    @property
    def refused(self) -> tuple[PhotoVerdict, ...]:
        return tuple(p for p in self.photos if not p.taken)

    def to_mapping(self, **more: Any) -> dict[str, Any]:
        """Plain JSON data; ``more`` is added at the top."""
        return {
            "embedder": self.embedder,
            "taken": len(self.taken),
            "refused": len(self.refused),
            "warnings": list(self.warnings),
            **more,
            "photos": [p.to_mapping() for p in self.photos],
        }

    def save(self, path: Path, **more: Any) -> None:
        """Write the report as JSON, whole or not at all. Raises ``StorageFailed``."""
        pictures.write_bytes(path, json.dumps(self.to_mapping(**more), ensure_ascii=False, indent=1).encode())


def report(images: Sequence[tuple[str, Image]], vision: Vision) -> PhotoReport:
    """Look at named photos of one person. Never raises for a bad photo: that is what the report is for."""
    photos = sorted((_look(name, image, vision) for name, image in images), key=lambda p: (p.digest, p.name))
    _, chosen = _person(photos, vision.embedder.calibration)
    verdicts = [_measure(photo, chosen.get(i)) for i, photo in enumerate(photos)]
    verdicts = _mark_strangers(verdicts, vision.embedder.calibration)
    verdicts = _mark_quality(verdicts)
    verdicts = _mark_duplicates(verdicts, [p.thumbnail for p in photos])
    return PhotoReport(tuple(verdicts), vision.embedder.name, _warnings(verdicts))


def room(face: Face, size: tuple[int, int]) -> float:
    """How many times the face's longer side the largest square of a picture of ``size`` (height, width) holds."""
    return min(size) / max(face.width, face.height, 1.0)


def digest(image: Image) -> str:
    """A name for the content of a picture: the same pixels, the same name."""
    return hashlib.sha256(str(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()[:16]


# --- looking ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Photo:
    name: str
    digest: str
    image: Image
    faces: tuple[Face, ...]
    embeddings: tuple[Embedding, ...]
    thumbnail: NDArray[np.float32]


def _look(name: str, image: Image, vision: Vision) -> _Photo:
    faces = sorted(vision.detector.detect(image), key=lambda f: (-f.width * f.height, f.box))[:MAX_FACES]
    embeddings = tuple(vision.embedder.embed(image, face) for face in faces)
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    return _Photo(name, digest(image), image, tuple(faces), embeddings, small)


def _person(photos: Sequence[_Photo], calibration: Calibration) -> tuple[Embedding | None, Mapping[int, int]]:
    """Who most photos show, and for each photo with faces the number of the face that is most like that person.

    The start is the face that is most like a face of most other photos; then the mean of the chosen faces and the
    choice by that mean take turns.
    """
    withfaces = [i for i, p in enumerate(photos) if p.faces]
    if not withfaces:
        return None, {}
    line = _threshold(calibration)

    def support(i: int, face: int) -> tuple[float, float]:
        others = [
            max(_cosine(photos[i].embeddings[face], e) for e in photos[j].embeddings) for j in withfaces if j != i
        ]
        alike = sum(c >= line for c in others)
        return float(alike), float(np.mean(others)) if others else photos[i].faces[face].width

    candidates = [(i, k) for i in withfaces for k in range(len(photos[i].faces))]
    start = max(candidates, key=lambda c: support(*c))
    center = photos[start[0]].embeddings[start[1]]
    chosen: dict[int, int] = {}
    for _ in range(3):
        chosen = {i: int(np.argmax([_cosine(center, e) for e in photos[i].embeddings])) for i in withfaces}
        same = [photos[i].embeddings[k] for i, k in chosen.items() if _cosine(center, photos[i].embeddings[k]) >= line]
        if same:
            mean = np.mean(same, axis=0)
            center = (mean / max(float(np.linalg.norm(mean)), 1e-9)).astype(np.float32)
    return center, chosen


def _measure(photo: _Photo, chosen: int | None) -> PhotoVerdict:
    if chosen is None:
        return PhotoVerdict(photo.name, photo.digest, Verdict.NO_FACE, "No face was found.")
    face = photo.faces[chosen]
    several = len(photo.faces) > 1
    close = room(face, (photo.image.shape[0], photo.image.shape[1])) < FILLS
    reason = "Taken: the face fills the photo; photos that show the whole head teach more." if close else "Taken."
    turn = pose.pose(face)
    return PhotoVerdict(
        name=photo.name,
        digest=photo.digest,
        verdict=Verdict.SEVERAL_FACES if several else Verdict.TAKEN,
        reason=f"Taken: of {len(photo.faces)} faces the one most like the rest." if several else reason,
        faces=len(photo.faces),
        sharpness=sharpness.sharpness(photo.image, face),
        yaw=turn.yaw,
        pitch=turn.pitch,
        face=face,
        embedding=photo.embeddings[chosen],
        close=close,
    )


# --- judging ---------------------------------------------------------------------------------------------------------


def _mark_strangers(verdicts: list[PhotoVerdict], calibration: Calibration) -> list[PhotoVerdict]:
    """Give every photo its likeness to the others of the person, and refuse, one by one, whoever is least like them."""
    line = _threshold(calibration)
    inside = [i for i, v in enumerate(verdicts) if v.taken]
    while len(inside) > 1:
        means = {i: _mean_cosine(verdicts, i, inside) for i in inside}
        worst = min(inside, key=lambda i: (means[i], i))
        if means[worst] >= line:
            break
        if len(inside) == 2:
            # Two photos of two people: nothing says which is meant, so the better photo is.
            worst = min(inside, key=lambda i: (verdicts[i].frontal * (verdicts[i].sharpness or 0), i))
        inside.remove(worst)
    result = []
    for i, verdict in enumerate(verdicts):
        others = [j for j in inside if j != i]
        if verdict.embedding is None or not others:
            result.append(verdict)
            continue
        cosine = _mean_cosine(verdicts, i, others)
        marked = replace(verdict, cosine=cosine, likeness=calibration.score(cosine))
        if i not in inside:
            reason = f"Not the person of the other photos (likeness {words(calibration.score(cosine))} to them)."
            marked = replace(marked, verdict=Verdict.SOMEONE_ELSE, reason=reason)
        result.append(marked)
    return result


def _mark_quality(verdicts: list[PhotoVerdict]) -> list[PhotoVerdict]:
    return [_quality(v) if v.taken else v for v in verdicts]


def _quality(photo: PhotoVerdict) -> PhotoVerdict:
    assert photo.face is not None
    width = photo.face.width
    if width < MIN_FACE:
        reason = f"The face is only {width:.0f} pixels wide; {MIN_FACE} are needed."
        return replace(photo, verdict=Verdict.TOO_SMALL, reason=reason)
    if photo.sharpness is not None and photo.sharpness < MIN_SHARPNESS:
        reason = f"The face is blurred (sharpness {photo.sharpness:.0f}, at least {MIN_SHARPNESS:.0f})."
        return replace(photo, verdict=Verdict.BLURRED, reason=reason)
    if abs(photo.yaw or 0) > MAX_YAW or abs(photo.pitch or 0) > MAX_PITCH:
        reason = f"The head is turned too far (yaw {photo.yaw or 0:.0f}°, pitch {photo.pitch or 0:.0f}°)."
        return replace(photo, verdict=Verdict.EXTREME_POSE, reason=reason)
    return photo


def _mark_duplicates(verdicts: list[PhotoVerdict], thumbnails: Sequence[NDArray[np.float32]]) -> list[PhotoVerdict]:
    """Of photos that show the same picture, keep the one with the largest face."""
    ranked = sorted(
        (i for i, v in enumerate(verdicts) if v.taken),
        key=lambda i: (-(verdicts[i].face.width if verdicts[i].face else 0), verdicts[i].digest, verdicts[i].name),  # type: ignore[union-attr]
    )
    result = list(verdicts)
    kept: list[int] = []
    for i in ranked:
        twin = next((j for j in kept if float(np.abs(thumbnails[i] - thumbnails[j]).mean()) < SAME_PICTURE), None)
        if twin is None:
            kept.append(i)
        else:
            reason = f"The same picture as {verdicts[twin].name}."
            result[i] = replace(verdicts[i], verdict=Verdict.DUPLICATE, reason=reason)
    return result


def _warnings(verdicts: Sequence[PhotoVerdict]) -> tuple[str, ...]:
    good = sum(v.taken for v in verdicts)
    if good == 0:
        return ("None of the photos can be used.",)
    warnings = []
    if good < ENOUGH:
        warnings.append(f"Only {good} good photo{'s' if good > 1 else ''}: with {ENOUGH} to 20 the likeness is better.")
    close = sum(v.taken and v.close for v in verdicts)
    if 2 * close > good:
        warnings.append(f"The face fills {close} of {good} good photos: add some that show the whole head.")
    return tuple(warnings)


def _threshold(calibration: Calibration) -> float:
    """The cosine at which a pair is as unusual for one person as for two: as many deviations from either mean."""
    c = calibration
    return (c.same_mean * c.stranger_std + c.stranger_mean * c.same_std) / (c.same_std + c.stranger_std)


def _mean_cosine(verdicts: Sequence[PhotoVerdict], i: int, others: Sequence[int]) -> float:
    mine = verdicts[i].embedding
    values = [_cosine(mine, verdicts[j].embedding) for j in others if j != i]
    return float(np.mean(values))


def _cosine(a: Embedding | None, b: Embedding | None) -> float:
    assert a is not None and b is not None
    return float(np.dot(a, b))
