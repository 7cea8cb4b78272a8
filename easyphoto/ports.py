"""The ports of the program: what the core asks of an engine and of vision, and the values that go between them.

These conventions hold everywhere: a picture is RGB ``uint8`` of shape (height, width, 3); a mask is ``float32`` of
shape (height, width) in [0, 1]; points are (x, y) in pixels, ``float32``; left and right are the viewer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from easyphoto import likeness
from easyphoto.config import Family

if TYPE_CHECKING:
    from torch import Tensor

Image: TypeAlias = NDArray[np.uint8]
Mask: TypeAlias = NDArray[np.float32]
Alpha: TypeAlias = NDArray[np.uint8]
Points: TypeAlias = NDArray[np.float32]
Embedding: TypeAlias = NDArray[np.float32]

OnStep: TypeAlias = Callable[[int, int], None]
"""A function that is called with the number of the step that is done and the number of all steps. It may raise
``errors.Cancelled``, which ends the work at once."""


@runtime_checkable
class PreviewWatcher(Protocol):
    """An :data:`OnStep` that also wants to see now and then how the picture looks so far.

    A host that can show that at little cost asks :meth:`wants_preview` after each step, and gives :meth:`preview` a
    picture of any size. A host that can't does neither."""

    def __call__(self, step: int, total: int) -> None: ...

    def wants_preview(self) -> bool: ...

    def preview(self, picture: Image) -> None: ...


# --- faces -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a picture.

    ``box`` is (left, top, right, bottom) in pixels and may lie partly outside the picture. ``points`` has the shape
    (5, 2): both eyes, the tip of the nose and both corners of the mouth, each pair from left to right. ``landmarks``
    has the shape (68, 2) in the order of the iBUG scheme, or is None when the backend has none. ``score`` is the
    detector's confidence: the higher, the surer.
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
    """What the raw cosines of one embedder mean: their mean and standard deviation over pairs of photos of one person,
    and over pairs of photos of strangers.

    ``source`` says on which photos they were measured. ``far_1`` and ``far_01`` are the cosines that one of 100 and one
    of 1000 pairs of strangers reach, None where nobody measured them.
    """

    same_mean: float
    same_std: float
    stranger_mean: float
    stranger_std: float
    source: str
    far_1: float | None = None
    far_01: float | None = None

    def unit(self, cosine: float) -> float:
        """A raw cosine in units in which a typical pair of strangers is 0 and one of photos of one person is 1. It goes
        on beyond both."""
        return (cosine - self.stranger_mean) / (self.same_mean - self.stranger_mean)

    def score(self, cosine: float) -> float:
        """The calibrated score of a raw cosine: 0 for a typical pair of strangers and all that are less alike, 1 for a
        typical pair of photos of one person and all that are more alike, linear between. Rank by the cosine instead:
        it goes on where this scale ends."""
        return likeness.clipped(self.unit(cosine))

    def cosine(self, score: float) -> float:
        """The raw cosine of a calibrated score."""
        return self.stranger_mean + score * (self.same_mean - self.stranger_mean)

    @property
    def measured(self) -> bool:
        """Whether the thresholds were measured on photos, and aren't what a normal distribution has."""
        return self.far_1 is not None

    @property
    def threshold(self) -> float:
        """The cosine that one of 100 pairs of strangers reaches: measured, or as a normal distribution has it."""
        return self.stranger_mean + 2.326 * self.stranger_std if self.far_1 is None else self.far_1

    @property
    def strict_threshold(self) -> float:
        """The cosine that one of 1000 pairs of strangers reaches: measured, or as a normal distribution has it."""
        return self.stranger_mean + 3.090 * self.stranger_std if self.far_01 is None else self.far_01


@dataclass(frozen=True)
class Likeness:
    """How alike two faces are: the raw ``cosine``, and the calibrated ``score`` from 0 (a stranger) to 1 (the same
    person), both by the ``embedder`` of that name."""

    cosine: float
    score: float
    embedder: str


class FaceDetector(Protocol):
    name: str

    def detect(self, image: Image) -> list[Face]:
        """All faces of a picture, from left to right by the centres of their boxes; an empty list when there is
        none."""
        ...


class FaceLandmarker(Protocol):
    name: str

    def locate(self, image: Image, face: Face) -> Points:
        """The 68 points of a face whose box and five points are known: shape (68, 2), in the order of the iBUG scheme.
        Whoever wants the points of a face asks :func:`easyphoto.vision.landmarks.of`, which takes those that the
        detector found where there are any."""
        ...


class FaceEmbedder(Protocol):
    """The judge: it chooses checkpoints, what is fused and the best picture. What it chose is also told by a reporter
    (:mod:`easyphoto.reporting`), which has no part in any choice."""

    name: str
    calibration: Calibration

    def embed(self, image: Image, face: Face) -> Embedding:
        """A vector of length 1. Its inner product with the vector of another face is the cosine of the two faces."""
        ...


@runtime_checkable
class FeatureEmbedder(Protocol):
    """An embedder that also gives its vectors at the length that its network gives them, which says how clearly it saw
    the face. InstantID was taught these."""

    name: str

    def features(self, image: Image, face: Face) -> Embedding:
        """The vector that ``embed`` brings to length 1."""
        ...


@runtime_checkable
class GradientEmbedder(Protocol):
    """An embedder through which a gradient goes from the vector of a face to the pixels of its chip, which is the
    square that the network sees."""

    name: str
    calibration: Calibration
    chip_side: int
    """How many pixels a side of the chip has."""

    def chip_map(self, image: Image, face: Face) -> NDArray[np.float64]:
        """The map (2, 3) that takes the pixels of a face's chip to those of the picture."""
        ...

    def embed_pixels(self, chips: Tensor) -> Tensor:
        """Vectors (n, d) of length 1 for chips (n, 3, side, side), RGB of 0-255 as floats on any device."""
        ...


@dataclass(frozen=True, eq=False)
class FaceParts:
    """Masks of the parts of one face, each of the picture's size. ``face`` is the whole face with the forehead."""

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
        """The picture with the skin of every face smoothed and everything else as it was."""
        ...


class FaceFuser(Protocol):
    """Puts the face of one picture into another. ``bends`` says whether it bends the source's own pixels onto the
    target, so that both heads must look the same way; a fuser without this attribute is taken for one that does."""

    name: str
    bends: bool

    def fuse(self, target: Image, target_face: Face, source: Image, source_face: Face) -> Image:
        """``target`` with the identity of ``source_face`` in the place of ``target_face``. The result has the shape of
        ``target``."""
        ...


class Enhancer(Protocol):
    name: str

    def enhance(self, image: Image, scale: float) -> Image:
        """The picture, sharper and ``scale`` times as large. ``scale`` is at least 1, which keeps the size."""
        ...


class Vision(Protocol):
    """The roles of vision. The models of a role are loaded when the role is first used."""

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
        """The name of the backend that serves each role, by role. Nothing is loaded for the answer."""
        ...

    def preferring(self, backends: Mapping[str, str]) -> Vision:
        """The same vision with the same models, where each role of ``backends`` is served by the backend that is named
        for it, or by the next best one where that can't be had. :meth:`backends` of the answer says which serves."""
        ...

    def release(self) -> None:
        """Free the models. The next use of a role loads its models again."""
        ...


# --- pictures --------------------------------------------------------------------------------------------------------


class ControlRole(str, Enum):
    """What a control holds fast in a picture. Only a host knows which model and which preprocessor serve a role."""

    CANNY = "canny"
    OPENPOSE = "openpose"
    COLOR = "color"
    TILE = "tile"


@dataclass(frozen=True, eq=False)
class Control:
    """One control. ``image`` is the picture that the control is taken from; the host makes the map of it, unless it is
    the map already (``is_map``). ``weight``: 0 is no effect, 1 the full one."""

    role: ControlRole
    image: Image
    weight: float = 1.0
    is_map: bool = False


class IdentityKind(str, Enum):
    """The adapters that tell a model from pictures whom it draws. Only a host knows which files serve a kind."""

    IP_ADAPTER_FACE = "ip-adapter-face"
    FACE_ID = "ip-adapter-faceid"
    INSTANTID = "instantid"


@dataclass(frozen=True, eq=False)
class Identity:
    """What one portrait gets from pictures of the person, beside the LoRA or without one.

    ``pictures``: of this person, upright, of any size, at least one, the best first; a host whose adapter takes one
    picture takes that one. ``embedding``: the mean of all photos of the person, of length 1, by the ``embedder`` of
    that name; an adapter that wants the vectors of another embedder measures the pictures itself. ``weight``: 0 is no
    effect, 1 the adapter's full one. ``place``: the same for the part of the adapter that holds the face where the
    picture has it, in adapters that have such a part; None: as ``weight``.
    """

    kind: IdentityKind
    pictures: tuple[Image, ...]
    embedding: Embedding
    embedder: str
    weight: float = 1.0
    place: float | None = None

    @property
    def placing(self) -> float:
        """How much the part counts that holds the face in its place."""
        return self.weight if self.place is None else self.place


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
    """A picture that is to be made from text. ``width`` and ``height`` are in pixels and multiples of 8. ``sampler``
    has the name that WebUIs use; ``checkpoint`` and ``vae`` have the host's names, or are None for what is loaded."""

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
    """A picture that is to be made from ``image``, which has the same height and width. With a ``mask``, only what lies
    where it is 1 is repainted; ``mask_blur`` is the sigma, in pixels, by which the host feathers the mask.
    ``denoising_strength`` lies in (0, 1]."""

    image: Image
    denoising_strength: float
    mask: Mask | None = None
    mask_blur: int = 8


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipJob(Txt2Img):
    """A clip of ``frames`` pictures that is to be drawn by a motion module: from text, from ``image``, or between
    ``image`` and ``last_image``, which are scaled to the clip's size.

    The module sees ``context`` frames at a time, of which neighbours share ``overlap``. ``motion`` is its file, or the
    host's name for it; None takes the one that the host has for the checkpoint. ``controls`` hold all frames alike;
    ``frame_controls`` has, for each frame, the same roles with pictures of their own. ``denoising_strength`` lies in
    (0, 1] and counts where there is a picture.

    With ``pictures``, one for each frame, these are repainted in place of ``image``. ``mask`` and ``mask_blur`` are
    then those of :class:`Img2Img`, for all frames alike."""

    frames: int
    context: int = 16
    overlap: int = 4
    motion: str | Path | None = None
    image: Image | None = None
    last_image: Image | None = None
    denoising_strength: float = 1.0
    frame_controls: Sequence[Sequence[Control]] = ()
    pictures: Sequence[Image] = ()
    mask: Mask | None = None
    mask_blur: int = 8


@dataclass(frozen=True, eq=False)
class RenderedClip:
    """The frames that a host has drawn, from the first to the last. The other fields are those of :class:`Rendered`."""

    frames: Sequence[Image]
    seed: int
    infotext: str = ""
    notice: str = ""


@dataclass(frozen=True, eq=False)
class Rendered:
    """What a host made: the picture, the seed that made it, and the host's own description (``infotext``), empty when
    it has none. ``notice`` tells the user what is worth knowing about how it was made; it is empty when nothing is."""

    image: Image
    seed: int
    infotext: str = ""
    notice: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A base model that the host can load. ``name`` is what the host and its user call it. ``aliases`` are other names
    that the host has for this model and for no other, such as its hash."""

    name: str
    path: Path
    family: Family
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class BrokenModel:
    """A file among the base models that can't be loaded. ``name`` is what it would be listed as, and ``reason`` says
    why in one sentence."""

    name: str
    reason: str


@runtime_checkable
class TellsBroken(Protocol):
    """A host that can say which of the files among its base models it can't use."""

    def broken_checkpoints(self) -> list[BrokenModel]: ...


class Diffuser(Protocol):
    def txt2img(self, job: Txt2Img, on_step: OnStep | None = None) -> Rendered: ...
    def img2img(self, job: Img2Img, on_step: OnStep | None = None) -> Rendered: ...


@runtime_checkable
class Host(Diffuser, Protocol):
    """The engine that runs Stable Diffusion: a WebUI or the embedded one."""

    name: str

    def checkpoints(self) -> list[Checkpoint]:
        """The base models that the host can load. The one that it would use by default comes first."""
        ...

    def controls(self, family: Family) -> frozenset[ControlRole]:
        """The roles of controls for which the host has a model of ``family``."""
        ...

    def identities(self, family: Family) -> Mapping[IdentityKind, int]:
        """The kinds of identity for which the host has all models of ``family``. For each kind, the number says how
        many of the places that :meth:`control_limit` allows it takes."""
        ...

    def samplers(self) -> list[str]: ...

    def control_limit(self) -> int | None:
        """How many controls one picture may have, where identities count too; None when there is no limit."""
        ...

    def training(self) -> AbstractContextManager[None]:
        """A context. While it is entered, the host holds as little of the device's memory as it can."""
        ...

    def refresh_loras(self) -> None:
        """The program calls this after it has written or deleted a LoRA file."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """The host's versions, device and precision, as recipes and ``doctor`` show them."""
        ...


@runtime_checkable
class Animator(Protocol):
    """A host that draws clips by motion modules."""

    def motion_module(self, checkpoint: Checkpoint, wanted: str | Path | None = None) -> Path:
        """The file or folder of the module that ``wanted`` names, or, for None and "", of the one for ``checkpoint``.
        Raises :class:`AssetMissing`, which says what is needed and what it costs, where there is none."""
        ...

    def animate(self, job: ClipJob, on_step: OnStep | None = None) -> RenderedClip: ...


@runtime_checkable
class AdapterHost(Protocol):
    """A host that can tell by which files it serves an identity."""

    def adapter_files(self, family: Family, kind: IdentityKind) -> Sequence[Path | str]:
        """The files of the models that serve ``kind`` for ``family``, or their names where that is all that the host
        knows; empty where nothing serves it."""
        ...


@runtime_checkable
class ClipPainter(Animator, Protocol):
    """A host that repaints the frames of a clip together: it draws jobs with ``pictures``."""

    def repaint_clip(self, job: ClipJob, on_step: OnStep | None = None) -> RenderedClip: ...


# --- results ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Portrait:
    """One finished portrait. ``likeness`` has one entry for each face that was asked for; it is None where the face was
    skipped or none was found. ``stages`` holds pictures from the way there by name (fusion, first, second). ``alpha``
    says how opaque each pixel is (shape (height, width), ``uint8``) where the template was transparent; ``image`` then
    lies on white."""

    image: Image
    seed: int
    template: int
    likeness: tuple[Likeness | None, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, Image] = field(default_factory=dict)
    path: Path | None = None
    alpha: Alpha | None = None
