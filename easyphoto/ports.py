"""The ports of the program: what the core asks of an engine and of vision, and the values that cross.

Conventions, everywhere: a picture is RGB ``uint8`` of shape (height, width, 3); a mask is ``float32`` of shape
(height, width) in [0, 1]; points are (x, y) in pixels, ``float32``; left and right are the viewer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from easyphoto import likeness
from easyphoto.config import Family

Image: TypeAlias = NDArray[np.uint8]
Mask: TypeAlias = NDArray[np.float32]
Alpha: TypeAlias = NDArray[np.uint8]
Points: TypeAlias = NDArray[np.float32]
Embedding: TypeAlias = NDArray[np.float32]

OnStep: TypeAlias = Callable[[int, int], None]
"""Called with (step done, steps in all). It may raise ``errors.Cancelled``, which ends the work at once."""


# --- faces -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a picture.

    ``box``: (left, top, right, bottom) in pixels, may lie partly outside the picture. ``points``: shape (5, 2): eye,
    eye, nose tip, mouth corner, mouth corner, each pair from left to right. ``landmarks``: shape (68, 2) in the order
    of the iBUG scheme, or None when the backend has none. ``score``: the detector's confidence, higher is surer.
    """

    box: tuple[float, float, float, float]
    points: Points
    landmarks: Points | None = None
    score: float = 1.0

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]

    @property
    def center(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True)
class Calibration:
    """What raw cosines of one embedder mean, measured on pairs: mean and standard deviation, same person and strangers.

    ``source`` says on what they were measured.
    """

    same_mean: float
    same_std: float
    stranger_mean: float
    stranger_std: float
    source: str

    def score(self, cosine: float) -> float:
        """0 for a typical stranger or one less alike, 1 for a typical pair of photos of one person or one more alike,
        linear between. Rank by the cosine: it goes on where the scale ends."""
        return likeness.clipped((cosine - self.stranger_mean) / (self.same_mean - self.stranger_mean))

    def cosine(self, score: float) -> float:
        """The raw cosine of a calibrated score."""
        return self.stranger_mean + score * (self.same_mean - self.stranger_mean)


@dataclass(frozen=True)
class Likeness:
    """How alike two faces are: ``cosine`` raw, ``score`` calibrated, from 0 (a stranger) to 1 (the same person), by
    ``embedder``."""

    cosine: float
    score: float
    embedder: str


class FaceDetector(Protocol):
    name: str

    def detect(self, image: Image) -> list[Face]:
        """All faces, from left to right by the centre of the box; an empty list when there is none."""
        ...


class FaceLandmarker(Protocol):
    name: str

    def locate(self, image: Image, face: Face) -> Points:
        """The 68 points of a face of which the box and five points are known, shape (68, 2), in the order of the iBUG
        scheme. Whoever wants a face's points asks :func:`easyphoto.vision.landmarks.of`, which takes a detector's own
        where there are any."""
        ...


class FaceEmbedder(Protocol):
    name: str
    calibration: Calibration

    def embed(self, image: Image, face: Face) -> Embedding:
        """A vector of length 1 whose inner product with another is the cosine of the two faces."""
        ...


@dataclass(frozen=True, eq=False)
class FaceParts:
    """Masks of the parts of one face, each of the picture's size. ``face`` is everything with the forehead."""

    face: Mask
    skin: Mask
    eyes: Mask
    brows: Mask
    nose: Mask
    lips: Mask


class FaceParser(Protocol):
    name: str

    def parse(self, image: Image, face: Face) -> FaceParts: ...


class Saliency(Protocol):
    name: str

    def mask(self, image: Image, face: Face | None) -> Mask:
        """The foreground: the person with hair and shoulders."""
        ...


class Retoucher(Protocol):
    name: str

    def retouch(self, image: Image) -> Image:
        """Skin of every face smoothed; everything else as it was."""
        ...


class FaceFuser(Protocol):
    """``bends``: whether the source's own pixels are bent onto the target, so that both heads must look the same way;
    a fuser that lacks it is taken for one that does."""

    name: str
    bends: bool

    def fuse(self, target: Image, target_face: Face, source: Image, source_face: Face) -> Image:
        """``target`` with the identity of ``source_face`` in place of ``target_face``: same shape as ``target``."""
        ...


class Enhancer(Protocol):
    name: str

    def enhance(self, image: Image, scale: float) -> Image:
        """The picture ``scale`` times as large (>= 1; 1 keeps the size) and sharper."""
        ...


class Vision(Protocol):
    """The vision roles. A role's models load when it is first used."""

    @property
    def detector(self) -> FaceDetector: ...
    @property
    def landmarks(self) -> FaceLandmarker: ...
    @property
    def embedder(self) -> FaceEmbedder: ...
    @property
    def parser(self) -> FaceParser: ...
    @property
    def saliency(self) -> Saliency: ...
    @property
    def retoucher(self) -> Retoucher: ...
    @property
    def fuser(self) -> FaceFuser: ...
    @property
    def enhancer(self) -> Enhancer: ...

    def backends(self) -> Mapping[str, str]:
        """Role -> name of the backend that serves it, without loading anything."""
        ...

    def preferring(self, backends: Mapping[str, str]) -> Vision:
        """The same vision, models and all, where role -> name is taken first and the next best where that can't be
        had: :meth:`backends` of the answer says what serves."""
        ...

    def release(self) -> None:
        """Free the models; the next use loads them again."""
        ...


# --- pictures --------------------------------------------------------------------------------------------------------


class ControlRole(str, Enum):
    """What a control holds fast. Only a host knows which model and preprocessor serve a role."""

    CANNY = "canny"
    OPENPOSE = "openpose"
    COLOR = "color"
    TILE = "tile"


@dataclass(frozen=True, eq=False)
class Control:
    """One control: ``image`` is the picture to take the control from; the host makes the map unless ``is_map``."""

    role: ControlRole
    image: Image
    weight: float = 1.0
    is_map: bool = False


class IdentityKind(str, Enum):
    """The adapters that tell a model from pictures whom it draws. Only a host knows which files serve a kind."""

    IP_ADAPTER_FACE = "ip-adapter-face"
    INSTANTID = "instantid"


@dataclass(frozen=True, eq=False)
class Identity:
    """What one portrait gets from pictures of the person, beside the LoRA or without one.

    ``pictures``: of this person, upright, of any size, at least one, the best first; a host whose adapter takes one
    picture takes that one. ``embedding``: the mean of all photos of the person, of length 1, by the ``embedder`` of
    that name; an adapter that wants the vectors of another embedder measures the pictures itself. ``weight``: 0 is no
    effect, 1 the adapter's full one.
    """

    kind: IdentityKind
    pictures: tuple[Image, ...]
    embedding: Embedding
    embedder: str
    weight: float = 1.0


@dataclass(frozen=True)
class LoraRef:
    """A LoRA file and its strength."""

    path: Path
    weight: float

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass(frozen=True, eq=False, kw_only=True)
class Txt2Img:
    """A picture from text. Sizes in pixels, multiples of 8; ``sampler`` by its WebUI name; ``checkpoint`` and ``vae``
    by the host's names, None for what is loaded."""

    prompt: str
    negative_prompt: str = ""
    width: int
    height: int
    steps: int
    sampler: str = "DPM++ 2M SDE Karras"
    cfg_scale: float = 7.0
    seed: int
    loras: Sequence[LoraRef] = ()
    controls: Sequence[Control] = ()
    identities: Sequence[Identity] = ()
    checkpoint: str | None = None
    vae: str | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Img2Img(Txt2Img):
    """A picture from a picture of (height, width). With ``mask``, only where it is 1 is repainted; ``mask_blur`` is the
    sigma in pixels by which the mask is feathered. ``denoising_strength`` in (0, 1]."""

    image: Image
    denoising_strength: float
    mask: Mask | None = None
    mask_blur: int = 8


@dataclass(frozen=True, eq=False)
class Rendered:
    """What a host made: the picture, the seed that made it and the host's own description (infotext) if it has one.
    ``notice`` is what the user should know of how it was made, if anything."""

    image: Image
    seed: int
    infotext: str = ""
    notice: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A base model the host can load. ``name`` is what the host and its user call it; ``aliases`` are other names by
    which the host knows this one and no other, such as its hash."""

    name: str
    path: Path
    family: Family
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class BrokenModel:
    """A file among the base models that can't be loaded: ``name`` as it would be listed, ``reason`` one sentence."""

    name: str
    reason: str


@runtime_checkable
class TellsBroken(Protocol):
    """A host that says which files among its base models it can't use."""

    def broken_checkpoints(self) -> list[BrokenModel]: ...


class Diffuser(Protocol):
    def txt2img(self, job: Txt2Img, on_step: OnStep | None = None) -> Rendered: ...
    def img2img(self, job: Img2Img, on_step: OnStep | None = None) -> Rendered: ...


@runtime_checkable
class Host(Diffuser, Protocol):
    """The engine that runs Stable Diffusion: a WebUI or the embedded one."""

    name: str

    def checkpoints(self) -> list[Checkpoint]:
        """The base models that it can load, the one it would use by default first."""
        ...

    def controls(self, family: Family) -> frozenset[ControlRole]:
        """The control roles for which it has a model of ``family``."""
        ...

    def identities(self, family: Family) -> Mapping[IdentityKind, int]:
        """The kinds of identity for which it has all models of ``family``, and how many of the controls that
        :meth:`control_limit` allows each of them takes the place of."""
        ...

    def samplers(self) -> list[str]: ...

    def control_limit(self) -> int | None:
        """How many controls one picture may have, identities counted in; None when there is no limit."""
        ...

    def training(self) -> AbstractContextManager[None]:
        """While entered, the host holds as little of the device's memory as it can."""
        ...

    def refresh_loras(self) -> None:
        """Called after a LoRA file was written or deleted."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Versions, device and precision, for recipes and ``doctor``."""
        ...


# --- results ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Portrait:
    """One finished portrait. ``likeness`` has one entry for each face that was asked for, None where it was skipped or
    no face was found; ``stages`` are pictures along the way by name (fusion, first, second). ``alpha`` is how opaque
    each pixel is (height, width, ``uint8``) where the template was transparent; ``image`` then lies on white."""

    image: Image
    seed: int
    template: int
    likeness: tuple[Likeness | None, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, Image] = field(default_factory=dict)
    path: Path | None = None
    alpha: Alpha | None = None
