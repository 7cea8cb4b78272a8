"""A host and a vision that cost nothing: what a test of everything above them is run on.

``FakeHost`` keeps every job it was given and answers with a picture that follows from the job alone. ``FakeVision``
knows one kind of face, the magenta disc that :func:`draw_face` paints; *who* it is stands in the green channel.
Resized, cropped, compressed or tinted, the disc is still found.

    vision = FakeVision()
    picture = draw_face(blank(320, 240), center=(160, 120), width=60, who=20)
    host = FakeHost()
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from easyphoto.config import Family
from easyphoto.ports import (
    Calibration,
    Checkpoint,
    ControlRole,
    Embedding,
    Face,
    FaceParts,
    IdentityKind,
    Image,
    Img2Img,
    Mask,
    OnStep,
    Points,
    Rendered,
    Txt2Img,
)

FAKE_CHECKPOINT = Checkpoint("fake", Path("fake.safetensors"), Family.SD1)
SAMPLERS = ("DPM++ 2M SDE Karras", "Euler a", "Euler", "LCM")


# --- pictures --------------------------------------------------------------------------------------------------------


def blank(width: int, height: int, gray: int = 128) -> Image:
    """A picture with a gentle slope of grey, so that a shift or a swap of axes shows; no face in it."""
    slope = np.add.outer(np.linspace(-30, 30, height), np.linspace(-20, 20, width))
    result: Image = np.repeat((gray + slope).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    return result


def draw_face(image: Image, center: tuple[float, float], width: float, who: int = 20) -> Image:
    """A copy of ``image`` with a face of person ``who`` (0-80) that :class:`FakeVision` finds."""
    result: Image = np.array(image, copy=True)
    middle = (round(center[0]), round(center[1]))
    cv2.ellipse(result, middle, (round(width / 2), round(width * 0.6)), 0, 0, 360, (220, who, 220), -1)
    return result


# --- host ------------------------------------------------------------------------------------------------------------

Painter = Callable[[Txt2Img], Image]


def tint(job: Txt2Img) -> Image:
    """Img2img: the picture with a trace of colour that depends on prompt, seed and strength, inside the mask alone.
    Txt2img: a slope with one face in the middle."""
    digest = hashlib.sha256(f"{job.prompt}|{job.seed}|{job.steps}".encode()).digest()
    colour = np.frombuffer(digest[:3], np.uint8).astype(np.float32) / 255 - 0.5
    if not isinstance(job, Img2Img):
        scene = (blank(job.width, job.height) + colour * 8).clip(0, 255).astype(np.uint8)
        return draw_face(scene, (job.width / 2, job.height / 2), job.width / 5, who=50)
    mask = np.ones(job.image.shape[:2], np.float32) if job.mask is None else job.mask
    painted = job.image + mask[..., None] * (colour * 20 * job.denoising_strength)
    result: Image = np.rint(painted).clip(0, 255).astype(np.uint8)
    return result


def identity(job: Txt2Img) -> Image:
    """Img2img gives back what it got."""
    return job.image.copy() if isinstance(job, Img2Img) else tint(job)


@dataclass
class FakeHost:
    """Keeps every job in ``jobs``; ``paint`` makes the pictures; ``before`` is called with each job and may raise."""

    paint: Painter = tint
    available: Sequence[Checkpoint] = (FAKE_CHECKPOINT,)
    roles: frozenset[ControlRole] = frozenset(ControlRole)
    kinds: Mapping[IdentityKind, int] = field(default_factory=dict)
    limit: int | None = None
    before: Callable[[Txt2Img], None] | None = None
    name: str = "fake"
    jobs: list[Txt2Img] = field(default_factory=list)
    trainings: int = 0
    in_training: bool = False
    refreshed: int = 0

    def txt2img(self, job: Txt2Img, on_step: OnStep | None = None) -> Rendered:
        return self._render(job, on_step)

    def img2img(self, job: Img2Img, on_step: OnStep | None = None) -> Rendered:
        return self._render(job, on_step)

    def _render(self, job: Txt2Img, on_step: OnStep | None) -> Rendered:
        self.jobs.append(job)
        if self.before is not None:
            self.before(job)
        for step in range(job.steps):
            if on_step is not None:
                on_step(step + 1, job.steps)
        return Rendered(self.paint(job), job.seed, f"{job.prompt}\nSteps: {job.steps}, Seed: {job.seed}")

    def checkpoints(self) -> list[Checkpoint]:
        return list(self.available)

    def controls(self, family: Family) -> frozenset[ControlRole]:
        return self.roles

    def identities(self, family: Family) -> Mapping[IdentityKind, int]:
        return self.kinds

    def samplers(self) -> list[str]:
        return list(SAMPLERS)

    def control_limit(self) -> int | None:
        return self.limit

    @contextmanager
    def training(self) -> Iterator[None]:
        self.trainings += 1
        self.in_training = True
        try:
            yield
        finally:
            self.in_training = False

    def refresh_loras(self) -> None:
        self.refreshed += 1

    def describe(self) -> Mapping[str, Any]:
        return {"host": self.name, "device": "none", "precision": "none"}


@dataclass
class Looking:
    """Somebody who wants to see every step, and keeps what was shown."""

    seen: list[Image] = field(default_factory=list)
    told: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, step: int, total: int) -> None:
        self.told.append((step, total))

    def wants_preview(self) -> bool:
        return True

    def preview(self, picture: Image) -> None:
        self.seen.append(picture)


# --- vision ----------------------------------------------------------------------------------------------------------


def face_in(box: tuple[float, float, float, float], score: float = 1.0) -> Face:
    """A face with the 68 and the 5 points where they would be in an upright face that fills ``box``."""
    left, top, right, bottom = box
    unit = _unit_landmarks()
    landmarks = (unit * [right - left, bottom - top] + [left, top]).astype(np.float32)
    eyes = [landmarks[36:42].mean(0), landmarks[42:48].mean(0)]
    points = np.array([*eyes, landmarks[30], landmarks[48], landmarks[54]], np.float32)
    return Face(box, points, landmarks, score)


def _unit_landmarks() -> Points:
    """The iBUG order in a unit square: jaw, brows, nose bridge, nostrils, eyes, outer lips, inner lips."""

    def ring(cx: float, cy: float, rx: float, ry: float, count: int) -> Points:
        turn = np.pi + np.arange(count) * 2 * np.pi / count
        return np.stack([cx + rx * np.cos(turn), cy + ry * np.sin(turn)], 1).astype(np.float32)

    angle = np.linspace(np.pi, 0, 17)
    jaw = np.stack([0.5 + 0.48 * np.cos(angle), 0.35 + 0.62 * np.sin(angle)], 1)
    brow = np.stack([np.linspace(0.15, 0.42, 5), [0.28, 0.25, 0.24, 0.25, 0.27]], 1)
    bridge = np.stack([np.full(4, 0.5), np.linspace(0.36, 0.56, 4)], 1)
    nostrils = np.stack([np.linspace(0.4, 0.6, 5), [0.6, 0.615, 0.62, 0.615, 0.6]], 1)
    mirrored = brow[::-1] * [-1, 1] + [1, 0]
    eyes = [ring(0.3, 0.37, 0.08, 0.03, 6), ring(0.7, 0.37, 0.08, 0.03, 6)]
    mouth = [ring(0.5, 0.77, 0.17, 0.06, 12), ring(0.5, 0.77, 0.12, 0.02, 8)]
    return np.concatenate([jaw, brow, mirrored, bridge, nostrils, *eyes, *mouth]).astype(np.float32)


def _magenta(image: Image) -> Mask:
    red, green, blue = (image[..., i].astype(np.int16) for i in range(3))
    return ((np.minimum(red, blue) - green > 70) & (red > 120) & (blue > 120)).astype(np.float32)


@dataclass
class FakeDetector:
    """Finds the discs; in a picture that has none, says ``faces`` of them stand in a row."""

    faces: int = 0
    name: str = "fake-detector"

    def detect(self, image: Image) -> list[Face]:
        count, _, stats, _ = cv2.connectedComponentsWithStats(_magenta(image).astype(np.uint8))
        found = [tuple(float(v) for v in stats[i][:5]) for i in range(1, count) if stats[i][4] >= 40]
        boxes = [(x, y, x + w, y + h) for x, y, w, h, _ in found]
        height, width = image.shape[:2]
        if not boxes:
            size = min(height, width / max(self.faces, 1)) / 3
            for i in range(self.faces):
                cx, cy = width * (i + 0.5) / self.faces, height / 2
                boxes.append((cx - size / 2, cy - size / 2, cx + size / 2, cy + size / 2))
        return [face_in(box) for box in sorted(boxes, key=lambda b: b[0] + b[2])]


@dataclass
class FakeLandmarks:
    """Where :func:`face_in` draws them in the face's box."""

    name: str = "fake-landmarks"

    def locate(self, image: Image, face: Face) -> Points:
        found = face_in(face.box).landmarks
        assert found is not None
        return found


@dataclass
class FakeEmbedder:
    """Two faces are as alike as their greens: cosine 1 for the same, about 0 for 0 and 80."""

    name: str = "fake-embedder"
    calibration: Calibration = field(default_factory=lambda: Calibration(1.0, 0.01, 0.0, 0.1, "made up"))

    def embed(self, image: Image, face: Face) -> Embedding:
        angle = _green(image, face) / 80 * np.pi / 2
        return np.array([np.cos(angle), np.sin(angle)], np.float32)


def _green(image: Image, face: Face) -> float:
    inside = _ellipse(image.shape[:2], face.center, face.width * 0.3, face.height * 0.3) > 0.5
    return float(image[..., 1][inside].mean()) if inside.any() else 0.0


def _ellipse(shape: tuple[int, ...], center: tuple[float, float], rx: float, ry: float) -> Mask:
    mask = np.zeros(shape[:2], np.float32)
    middle = (round(center[0]), round(center[1]))
    cv2.ellipse(mask, middle, (max(round(rx), 1), max(round(ry), 1)), 0, 0, 360, 1.0, -1)
    return mask


@dataclass
class FakeParser:
    name: str = "fake-parser"

    def parse(self, image: Image, face: Face) -> FaceParts:
        shape, w = image.shape[:2], face.width
        whole = _ellipse(shape, face.center, w * 0.5, face.height * 0.5)

        def at(points: Points, rx: float, ry: float) -> Mask:
            inside = whole.copy()
            inside *= np.max([_ellipse(shape, (float(x), float(y)), w * rx, w * ry) for x, y in points], axis=0)
            return inside

        eyes, nose = at(face.points[:2], 0.09, 0.05), at(face.points[2:3], 0.08, 0.12)
        brows = at(face.points[:2] - np.array([0, 0.12 * w], np.float32), 0.1, 0.03)
        lips = at(face.points[3:].mean(0, keepdims=True), 0.18, 0.07)
        skin = whole * (1 - np.maximum(np.maximum(eyes, brows), lips))
        return FaceParts(face=whole, skin=skin, eyes=eyes, brows=brows, nose=nose, lips=lips)


@dataclass
class FakeSaliency:
    name: str = "fake-saliency"

    def mask(self, image: Image, face: Face | None) -> Mask:
        height, width = image.shape[:2]
        center = face.center if face else (width / 2, height / 2)
        rx, ry = (face.width, face.height) if face else (width / 3, height / 3)
        return _ellipse(image.shape[:2], center, rx, ry)


@dataclass
class FakeRetoucher:
    name: str = "fake-retoucher"

    def retouch(self, image: Image) -> Image:
        mask = _magenta(image)[..., None]
        result: Image = np.where(mask > 0, cv2.GaussianBlur(image, (0, 0), 2), image).astype(np.uint8)
        return result


@dataclass
class FakeFuser:
    """Gives the target's face the source's green: its identity, and nothing else."""

    name: str = "fake-fuser"
    bends: bool = True

    def fuse(self, target: Image, target_face: Face, source: Image, source_face: Face) -> Image:
        result = np.array(target, copy=True)
        inside = _ellipse(target.shape[:2], target_face.center, target_face.width / 2, target_face.height / 2) > 0.5
        result[..., 1][inside] = np.uint8(round(_green(source, source_face)))
        return result


@dataclass
class FakeEnhancer:
    name: str = "fake-enhancer"

    def enhance(self, image: Image, scale: float) -> Image:
        height, width = image.shape[:2]
        larger = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LANCZOS4)
        result: Image = np.asarray(larger, np.uint8)
        return result


@dataclass
class FakeVision:
    """The roles above. ``faces``: how many faces a picture without discs is said to have."""

    faces: int = 0
    released: int = 0
    preferred: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.detector = FakeDetector(self.faces)
        self.landmarks = FakeLandmarks()
        self.embedder = FakeEmbedder()
        self.parser = FakeParser()
        self.saliency = FakeSaliency()
        self.retoucher = FakeRetoucher()
        self.fuser = FakeFuser()
        self.enhancer = FakeEnhancer()

    def backends(self) -> Mapping[str, str]:
        roles = ("detector", "landmarks", "embedder", "parser", "saliency", "retoucher", "fuser", "enhancer")
        return {**{role: getattr(self, role).name for role in roles}, **self.preferred}

    def preferring(self, backends: Mapping[str, str]) -> FakeVision:
        """All that is preferred is there."""
        view = copy(self)
        view.preferred = {**self.preferred, **backends}
        return view

    def release(self) -> None:
        self.released += 1
