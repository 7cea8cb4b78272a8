"""Judges what each photo of a person is worth, before anybody waits for a training.

The photos are looked at in the order of their content, so the order of the files never changes the result.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto import pictures
from easyphoto.errors import VisionFailed
from easyphoto.likeness import rounded, words
from easyphoto.messages import Message
from easyphoto.ports import Calibration, Embedding, Face, Image, Vision
from easyphoto.vision import eyewear, lower_face, pose, sharpness

ENOUGH = 5
"""If there are fewer good photos than this, the report has a warning."""
MIN_FACE = 48
"""The narrowest face that is taken, in pixels. Its crop of three face widths is enlarged 3.6 times for 512 pixels."""
MIN_SHARPNESS = 8.0
"""The least sharpness of a face, as :func:`easyphoto.vision.sharpness.sharpness` measures it."""
MIN_BRIGHTNESS = 50.0
"""The least luminance (0-255) of a face's bright parts. Below it too few levels are left to show who it is."""
MAX_YAW = 60.0
MAX_PITCH = 45.0
FILLS = 1.5
"""A face fills its photo if the sides of the photo's largest square are shorter than so many faces."""
SAME_PICTURE = 3.0
"""Two photos show the same picture if their 32 x 32 thumbnails differ by less than so many levels (of 255) on
average."""
MAX_FACES = 12
"""If a photo shows more faces than this, only the largest are looked at."""
DOUBTFUL = 0.8
"""If no face of a photo has a higher score than this, the photo may lie on its side."""
LYING = 45.0
"""A face lies on its side if its points are turned by more than so many degrees."""
SURER = 0.1
"""A turned photo must show a face better than the unturned one by this much, in cosine to the person or in the
detector's score."""


class PhotoOutcome(str, Enum):
    """Whether a photo was taken, and if it was not, why."""

    TAKEN = "taken"
    SEVERAL_FACES = "several faces"
    NO_FACE = "no face"
    SOMEONE_ELSE = "someone else"
    TOO_SMALL = "too small"
    TOO_DARK = "too dark"
    BLURRED = "blurred"
    DUPLICATE = "duplicate"
    EXTREME_POSE = "extreme pose"
    UNREADABLE = "unreadable"

    @property
    def taken(self) -> bool:
        return self in (PhotoOutcome.TAKEN, PhotoOutcome.SEVERAL_FACES)


@dataclass(frozen=True, eq=False)
class PhotoVerdict:
    """One photo: its verdict, and the ``reason`` as a sentence.

    ``likeness`` (calibrated) and ``cosine`` (raw) are the mean likeness to the other photos of the person, and None if
    there is no other photo. ``sharpness`` and ``brightness`` are those of the face. ``yaw`` and ``pitch`` are in
    degrees. ``close`` means that the face fills the photo. A photo that lies on its side is looked at upright:
    ``turned`` says by how many quarters it was turned (anticlockwise), and ``face`` lies in the picture that
    :func:`upright` returns. ``fingerprint`` is the photo's perceptual hash: those of nearly the same pictures differ in
    few of their 64 bits. ``bridge_edge`` tells of glasses, as :func:`easyphoto.vision.eyewear.bridge_edge` does, and
    ``covered`` of what covers mouth and nose, as :func:`easyphoto.vision.lower_face.hidden` does.
    """

    name: str
    digest: str
    verdict: PhotoOutcome
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
    brightness: float | None = None
    turned: int = 0
    fingerprint: int | None = None
    bridge_edge: float | None = None
    covered: float | None = None

    @property
    def taken(self) -> bool:
        return self.verdict.taken

    @property
    def frontal(self) -> float:
        """1 for a face that looks straight ahead, 0 for a profile."""
        return 0.0 if self.yaw is None else max(0.0, 1 - abs(self.yaw) / 90)

    @property
    def rating(self) -> float:
        """How well the photo stands for the person: how frontal it is times how typical it is. Higher is better."""
        typical = 1.0 if self.cosine is None else max(self.cosine, 0.0)
        return self.frontal * typical

    def to_mapping(self) -> dict[str, Any]:
        """Return plain JSON data, without the embedding."""
        numbers = {k: getattr(self, k) for k in ("likeness", "cosine", "sharpness", "brightness", "yaw", "pitch")}
        return {
            "name": self.name,
            "digest": self.digest,
            "verdict": self.verdict.value,
            "taken": self.taken,
            "reason": self.reason,
            "faces": self.faces,
            "turned": 90 * self.turned,
            "face": None if self.face is None else [round(v, 1) for v in self.face.box],
            **{k: None if v is None else rounded(v, 4) for k, v in numbers.items()},
        }


@dataclass(frozen=True, eq=False)
class PhotoReport:
    """The photos in the order of their content, and the warnings about training on them."""

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
        """Return plain JSON data. ``more`` is added at the top level."""
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


def report(images: Iterable[tuple[str, Image]], vision: Vision) -> PhotoReport:
    """Look at the named photos of one person, one after the other, and keep none in memory. A bad photo raises no
    error: the report says what is wrong with it. Raises :class:`VisionFailed` when another embedder takes over before
    the last photo was seen."""
    embedder = vision.embedder.name
    photos = sorted((_look(name, image, vision) for name, image in images), key=lambda p: (p.digest, p.name))
    if vision.embedder.name != embedder:
        raise VisionFailed(
            "Likeness was measured with {before} and {now} serves now: start again.",
            before=embedder,
            now=vision.embedder.name,
        )
    _, chosen = _person(photos, vision.embedder.calibration)
    verdicts = [_measure(photo, chosen.get(i)) for i, photo in enumerate(photos)]
    verdicts = _mark_strangers(verdicts, vision.embedder.calibration)
    verdicts = _mark_quality(verdicts)
    verdicts = _mark_duplicates(
        verdicts, [np.rot90(p.thumbnail, v.turned) for p, v in zip(photos, verdicts, strict=True)]
    )
    return PhotoReport(tuple(verdicts), vision.embedder.name, _warnings(verdicts))


def upright(image: Image, photo: PhotoVerdict) -> Image:
    """Return the photo turned as its verdict says."""
    return np.ascontiguousarray(np.rot90(image, photo.turned)) if photo.turned else image


def room(face: Face, size: tuple[int, int]) -> float:
    """Return how many times the longer side of the face fits into the largest square of a picture of ``size`` (height,
    width)."""
    return min(size) / max(face.width, face.height, 1.0)


def digest(image: Image) -> str:
    """Return a name for the content of a picture. Pictures with the same pixels have the same name."""
    return hashlib.sha256(str(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()[:16]


def perceptual_hash(thumbnail: NDArray[np.float32]) -> int:
    """Return 64 bits of a thumbnail (height, width, 3): whether each of 8 x 8 parts is brighter than the one to its
    left. Light, tint and compression change few of them."""
    grey = cv2.resize(thumbnail.mean(2), (9, 8), interpolation=cv2.INTER_AREA)
    bits = (grey[:, 1:] > grey[:, :-1]).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


# --- looking ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Seen:
    """One face of a photo that was turned by so many quarters and shows ``faces`` faces in all."""

    face: Face
    embedding: Embedding
    sharpness: float
    brightness: float
    bridge_edge: float
    covered: float
    room: float
    turned: int = 0
    faces: int = 1


@dataclass(frozen=True, eq=False)
class _Photo:
    name: str
    digest: str
    seen: tuple[_Seen, ...]
    thumbnail: NDArray[np.float32]


def _look(name: str, image: Image, vision: Vision) -> _Photo:
    seen = _faces(image, 0, vision)
    if not any(_sure(s.face) for s in seen):
        # Nothing, or nothing sure: perhaps the photo lies on its side and doesn't say so.
        for turned in (1, 3, 2):
            seen += _faces(np.ascontiguousarray(np.rot90(image, turned)), turned, vision)
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    return _Photo(name, digest(image), tuple(seen), small)


def _faces(image: Image, turned: int, vision: Vision) -> list[_Seen]:
    """Return the largest faces of a photo that was turned so. Of a photo that was turned, only faces that are upright
    now count."""
    size = (image.shape[0], image.shape[1])
    found = [f for f in vision.detector.detect(image) if not (turned and _lies(f))]
    found = sorted(found, key=lambda f: (-f.width * f.height, f.box))[:MAX_FACES]
    return [
        _Seen(
            face=face,
            embedding=vision.embedder.embed(image, face),
            sharpness=sharpness.sharpness(image, face),
            brightness=sharpness.brightness(image, face),
            bridge_edge=eyewear.bridge_edge(image, face),
            covered=lower_face.hidden(image, face),
            room=room(face, size),
            turned=turned,
            faces=len(found),
        )
        for face in found
    ]


def _lies(face: Face) -> bool:
    """Whether the line from the eyes to the mouth leads sideways or up."""
    eyes, mouth = face.points[:2].mean(0), face.points[3:].mean(0)
    return abs(math.degrees(math.atan2(float(mouth[0] - eyes[0]), float(mouth[1] - eyes[1])))) > LYING


def _sure(face: Face) -> bool:
    return face.score > DOUBTFUL and not _lies(face)


def _person(photos: Sequence[_Photo], calibration: Calibration) -> tuple[Embedding | None, Mapping[int, _Seen]]:
    """Return who most photos show, and for each photo with faces the face that is most like that person.

    The search starts with the face that is like a face of most other photos. Then it takes turns: it computes the mean
    of the chosen faces, and chooses again by that mean.
    """
    withfaces = [i for i, p in enumerate(photos) if p.seen]
    if not withfaces:
        return None, {}
    line = _threshold(calibration)

    def support(i: int, seen: _Seen) -> tuple[float, float]:
        others = [max(_cosine(seen.embedding, s.embedding) for s in photos[j].seen) for j in withfaces if j != i]
        alike = sum(c >= line for c in others)
        return float(alike), float(np.mean(others)) if others else seen.face.width

    sure = [(i, s) for i in withfaces for s in photos[i].seen if _sure(s.face)]
    candidates = sure or [(i, s) for i in withfaces for s in _likely(photos[i].seen)]
    center = max(candidates, key=lambda c: support(*c))[1].embedding
    chosen: dict[int, _Seen] = {}
    for _ in range(3):
        chosen = {i: _most_alike(photos[i].seen, center, line) for i in withfaces}
        same = [s.embedding for s in chosen.values() if _cosine(center, s.embedding) >= line]
        if same:
            mean = np.mean(same, axis=0)
            center = (mean / max(float(np.linalg.norm(mean)), 1e-9)).astype(np.float32)
    return center, chosen


def _most_alike(seen: Sequence[_Seen], center: Embedding, line: float) -> _Seen:
    """Return the face that is most like the person. A turned photo must show them clearly better. If no face is theirs,
    the face of the most likely turn is returned."""

    def best(of: Sequence[_Seen]) -> _Seen:
        return max(of, key=lambda s: _cosine(center, s.embedding) - (SURER if s.turned else 0.0))

    alike = best(seen)
    return alike if _cosine(center, alike.embedding) >= line else best(_likely(seen))


def _likely(seen: Sequence[_Seen]) -> list[_Seen]:
    """Return the faces of the turn in which the detector is surest."""

    def sureness(face: _Seen) -> float:
        return (0.0 if _lies(face.face) else face.face.score) - (SURER if face.turned else 0.0)

    turned = max(seen, key=sureness).turned
    return [s for s in seen if s.turned == turned]


def _measure(photo: _Photo, chosen: _Seen | None) -> PhotoVerdict:
    if chosen is None:
        return PhotoVerdict(photo.name, photo.digest, PhotoOutcome.NO_FACE, Message("No face was found."))
    close = chosen.room < FILLS
    reason = (
        Message("Taken: the face fills the photo; photos that show the whole head teach more.")
        if close
        else Message("Taken.")
    )
    if chosen.faces > 1:
        reason = Message("Taken: of {faces} faces the one most like the rest.", faces=chosen.faces)
    elif chosen.turned:
        reason = Message("Taken: the photo lay on its side and was turned upright.")
    turn = pose.pose(chosen.face)
    return PhotoVerdict(
        name=photo.name,
        digest=photo.digest,
        verdict=PhotoOutcome.SEVERAL_FACES if chosen.faces > 1 else PhotoOutcome.TAKEN,
        reason=reason,
        faces=chosen.faces,
        sharpness=chosen.sharpness,
        yaw=turn.yaw,
        pitch=turn.pitch,
        face=chosen.face,
        embedding=chosen.embedding,
        close=close,
        brightness=chosen.brightness,
        bridge_edge=chosen.bridge_edge,
        covered=chosen.covered,
        turned=chosen.turned,
        fingerprint=perceptual_hash(np.rot90(photo.thumbnail, chosen.turned)),
    )


# --- judging ---------------------------------------------------------------------------------------------------------


def _mark_strangers(verdicts: list[PhotoVerdict], calibration: Calibration) -> list[PhotoVerdict]:
    """Give every photo its likeness to the others of the person. Refuse those who are too unlike them, one by one, the
    least alike first."""
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
            reason = Message(
                "Not the person of the other photos (likeness {words} to them).", words=words(calibration.score(cosine))
            )
            marked = replace(marked, verdict=PhotoOutcome.SOMEONE_ELSE, reason=reason)
        result.append(marked)
    return result


def _mark_quality(verdicts: list[PhotoVerdict]) -> list[PhotoVerdict]:
    return [_quality(v) if v.taken else v for v in verdicts]


def _quality(photo: PhotoVerdict) -> PhotoVerdict:
    assert photo.face is not None
    width = photo.face.width
    if width < MIN_FACE:
        reason = Message(
            "The face is only {width:.0f} pixels wide; {min_face} are needed.", width=width, min_face=MIN_FACE
        )
        return replace(photo, verdict=PhotoOutcome.TOO_SMALL, reason=reason)
    if photo.brightness is not None and photo.brightness < MIN_BRIGHTNESS:
        reason = Message(
            "The face is too dark (brightness {brightness:.0f} of 255, at least {min_brightness:.0f}).",
            brightness=photo.brightness,
            min_brightness=MIN_BRIGHTNESS,
        )
        return replace(photo, verdict=PhotoOutcome.TOO_DARK, reason=reason)
    if photo.sharpness is not None and photo.sharpness < MIN_SHARPNESS:
        reason = Message(
            "The face is blurred (sharpness {sharpness:.0f}, at least {min_sharpness:.0f}).",
            sharpness=photo.sharpness,
            min_sharpness=MIN_SHARPNESS,
        )
        return replace(photo, verdict=PhotoOutcome.BLURRED, reason=reason)
    if abs(photo.yaw or 0) > MAX_YAW or abs(photo.pitch or 0) > MAX_PITCH:
        reason = Message(
            "The head is turned too far (yaw {yaw:.0f}°, pitch {pitch:.0f}°).",
            yaw=photo.yaw or 0,
            pitch=photo.pitch or 0,
        )
        return replace(photo, verdict=PhotoOutcome.EXTREME_POSE, reason=reason)
    return photo


def _mark_duplicates(verdicts: list[PhotoVerdict], thumbnails: Sequence[NDArray[np.float32]]) -> list[PhotoVerdict]:
    """Keep, of several photos that show the same picture, the one with the largest face."""
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
            reason = Message("The same picture as {name}.", name=verdicts[twin].name)
            result[i] = replace(verdicts[i], verdict=PhotoOutcome.DUPLICATE, reason=reason)
    return result


def _warnings(verdicts: Sequence[PhotoVerdict]) -> tuple[str, ...]:
    good = sum(v.taken for v in verdicts)
    if good == 0:
        return (Message("None of the photos can be used."),)
    warnings = []
    if good < ENOUGH:
        warnings.append(
            Message(
                "Only {good} good photo{ending}: with {enough} to 20 the likeness is better.",
                good=good,
                ending="s" if good > 1 else "",
                enough=ENOUGH,
            )
        )
    close = sum(v.taken and v.close for v in verdicts)
    if 2 * close > good:
        warnings.append(
            Message(
                "The face fills {close} of {good} good photos: add some that show the whole head.",
                close=close,
                good=good,
            )
        )
    return tuple(warnings)


def _threshold(calibration: Calibration) -> float:
    """Return the cosine at which a pair is as unusual for one person as for two people: it is as many deviations from
    either mean."""
    c = calibration
    return (c.same_mean * c.stranger_std + c.stranger_mean * c.same_std) / (c.same_std + c.stranger_std)


def _mean_cosine(verdicts: Sequence[PhotoVerdict], i: int, others: Sequence[int]) -> float:
    mine = verdicts[i].embedding
    values = [_cosine(mine, verdicts[j].embedding) for j in others if j != i]
    return float(np.mean(values))


def _cosine(a: Embedding | None, b: Embedding | None) -> float:
    assert a is not None and b is not None
    return float(np.dot(a, b))
