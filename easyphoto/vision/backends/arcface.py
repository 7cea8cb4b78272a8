"""Faces with insightface: SCRFD finds them, ArcFace compares them, and inswapper puts one in the place of another.

The models are loaded file by file with insightface's own classes, as its FaceAnalysis does, so that they may lie
anywhere and nothing else of a pack is loaded. The package is never asked to download anything.
"""

from __future__ import annotations

import contextlib
import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.errors import AssetMissing
from easyphoto.ports import Calibration, Embedding, Face, Image, Mask, Points
from easyphoto.vision import geometry
from easyphoto.vision.backends import onnx_models

if TYPE_CHECKING:
    from torch import Tensor

    from easyphoto.vision.backends.onnx_graph import OnnxGraph

DETECTION_SIDE = 640
TILE, TILE_OVERLAP = 1280, 400
"""A picture that is much larger than the size at which it was looked at is searched again, in squares of this side with
this overlap."""
SMALL_FACE = 40
"""A picture may hold smaller faces where the smallest face is narrower than this at the size at which it was looked
at."""
SURE = 0.5
ARCFACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
"""Where the five points of a face lie in ArcFace's picture of 112 x 112 (published with ArcFace)."""

ARCFACE = Calibration(
    same_mean=0.625,
    same_std=0.075,
    stranger_mean=0.05,
    stranger_std=0.06,
    source="published, not measured here: photos of one person 0.55-0.70 (EasyPhoto's documentation, ArcFace r50), "
    "strangers about 0.0-0.1; means are the middles of these ranges",
)
AURAFACE = Calibration(
    same_mean=0.625,
    same_std=0.075,
    stranger_mean=0.05,
    stranger_std=0.06,
    source="taken over from ArcFace, whose loss and architecture AuraFace shares; not measured",
)


def _model(path: Path) -> Any:
    """A model of insightface. What its inswapper prints is caught, because a library has nothing to print."""
    from insightface.model_zoo import get_model

    with contextlib.redirect_stdout(io.StringIO()):
        model = get_model(str(path), providers=onnx_models.providers())
    if model is None:
        raise AssetMissing("{path} is not a model that insightface knows.", path=path.name)
    return model


class ScrfdDetector:
    """SCRFD (Guo et al., 2021), which gives five points. Where it finds nothing, the picture is tried once more with a
    wide border: a face that fills the picture is larger than all from which the network learned."""

    name = "insightface"

    def __init__(self, path: Path) -> None:
        onnx_models.check(path, [(1, 3, None, None)], [None] * 9)
        self._lock = threading.Lock()
        self._model = _model(path)
        self._model.prepare(0, input_size=(DETECTION_SIDE, DETECTION_SIDE), det_thresh=SURE)

    def detect(self, image: Image) -> list[Face]:
        """All faces, from left to right."""
        faces = self._find(image)
        seen = DETECTION_SIDE / max(image.shape[:2])
        if seen < DETECTION_SIDE / TILE and (not faces or min(f.width for f in faces) * seen < SMALL_FACE):
            faces = _distinct(faces + self._in_tiles(image))
        if not faces:
            border = max(image.shape[:2]) // 2
            wide: Image = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_CONSTANT)
            back = np.array([[1.0, 0, -border], [0, 1.0, -border]])
            faces = [geometry.move_face(face, back) for face in self._find(wide)]
        return sorted(faces, key=lambda f: f.center[0])

    def _in_tiles(self, image: Image) -> list[Face]:
        found = []
        for tile in geometry.tiles((image.shape[0], image.shape[1]), TILE, TILE_OVERLAP):
            back = np.array([[1.0, 0, tile.left], [0, 1.0, tile.top]])
            found += [geometry.move_face(face, back) for face in self._find(geometry.cut(image, tile))]
        return found

    def _find(self, image: Image) -> list[Face]:
        with self._lock:
            boxes, points = self._model.detect(np.ascontiguousarray(image[..., ::-1]))
        found = zip(boxes, [] if points is None else points, strict=True)
        return [Face(_box(b), np.asarray(p, np.float32), score=float(b[4])) for b, p in found]


class ArcFaceEmbedder:
    """ArcFace (Deng et al., 2019): 512 numbers of a face, which is brought to 112 x 112 by its five points.

    onnxruntime computes the network. Where a gradient is asked for, torch does, from the same file.
    """

    chip_side = 112

    def __init__(self, path: Path, name: str, calibration: Calibration = ARCFACE) -> None:
        onnx_models.check(path, [(None, 3, self.chip_side, self.chip_side)], [(None, 512)])
        self.name = name
        self.calibration = calibration
        self._path = path
        self._lock = threading.Lock()
        self._model = _model(path)
        self._graph: OnnxGraph | None = None

    def embed(self, image: Image, face: Face) -> Embedding:
        """A vector (512,) of length 1."""
        vector = self.features(image, face)
        embedding: Embedding = vector / max(1e-6, float(np.linalg.norm(vector)))
        return embedding

    def features(self, image: Image, face: Face) -> Embedding:
        """The vector (512,) at the length that the network gives it."""
        chip = aligned(image, face.points, ARCFACE_POINTS, self.chip_side)
        with self._lock:
            vector: Embedding = np.asarray(self._model.get_feat(np.ascontiguousarray(chip[..., ::-1])), np.float32)
        return vector.ravel()

    def chip_map(self, image: Image, face: Face) -> NDArray[np.float64]:
        """The map (2, 3) that takes the pixels of the network's picture to those of ``image``."""
        return np.array(geometry.invert(geometry.similarity(face.points, ARCFACE_POINTS)), np.float64)

    def embed_pixels(self, chips: Tensor) -> Tensor:
        """Vectors (n, 512) of length 1 for chips (n, 3, 112, 112), RGB of 0-255 as floats on any device. A gradient
        goes through to the pixels. Raises :class:`AssetMissing` for a file with operations that aren't known here."""
        from torch.nn import functional

        from easyphoto.vision.backends.onnx_graph import OnnxGraph

        with self._lock:
            self._graph = self._graph or OnnxGraph(self._path)
        # insightface looks at the file to tell whether the network centres and scales the pixels itself
        made = self._graph((chips.float() - self._model.input_mean) / self._model.input_std)
        return functional.normalize(made, dim=1, eps=1e-6)


class InswapperFuser:
    """The identity of one face in the place of another (the "roop" mode). The face is made at 128 x 128 and laid back
    with a soft edge."""

    name = "inswapper"
    bends = False
    SIDE = 128

    def __init__(self, path: Path, embedder: ArcFaceEmbedder) -> None:
        onnx_models.check(path, [(1, 3, self.SIDE, self.SIDE), (1, 512)], [(1, 3, self.SIDE, self.SIDE)])
        self._lock = threading.Lock()
        self._model = _model(path)
        self._embedder = embedder
        if getattr(self._model, "emap", np.zeros(0)).shape != (512, 512):
            raise AssetMissing("{path} has no map of identities (512 x 512) where inswapper keeps it.", path=path.name)

    def fuse(self, target: Image, target_face: Face, source: Image, source_face: Face) -> Image:
        """``target`` with the identity of ``source_face``, in the same shape. Outside the face no bit changes."""
        identity = self._embedder.embed(source, source_face) @ self._model.emap
        identity = (identity / max(1e-6, float(np.linalg.norm(identity)))).astype(np.float32)
        goal = swap_points(self.SIDE)
        chip = aligned(target, target_face.points, goal, self.SIDE)
        batch = np.ascontiguousarray(chip.transpose(2, 0, 1)[None], np.float32)
        with self._lock:
            made = self._model.forward(batch, identity[None])[0]
        face: Image = np.clip(np.rint(made.transpose(1, 2, 0) * 255), 0, 255).astype(np.uint8)
        return geometry.paste_similar(target, target_face.points, face, goal, soft_square(self.SIDE))


def _distinct(faces: list[Face]) -> list[Face]:
    """The faces without those that were found twice, of which the surer stays. Two are the same face if the middle of
    one lies in the box of the other."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: -f.score):
        x, y = face.center
        if not any(k.box[0] < x < k.box[2] and k.box[1] < y < k.box[3] for k in kept):
            kept.append(face)
    return kept


def swap_points(side: int) -> Points:
    """Where the five points lie in a picture of ``side`` for networks of 128 pixels: where ArcFace has them, but 8 of
    128 pixels further to the right."""
    points: Points = (ARCFACE_POINTS + np.array([8.0, 0.0], np.float32)) * np.float32(side / 128)
    return points


def aligned(image: Image, points: Points, goal: Points, side: int) -> Image:
    """The face, with its ``points`` brought to ``goal`` in a square of ``side``. Outside the picture the square is
    black."""
    matrix = geometry.similarity(points, goal)
    return geometry.warp(image, matrix, (side, side), interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_CONSTANT)


def soft_square(side: int, edge: float = 0.12) -> Mask:
    """A mask that is 1 in the middle of a square of ``side`` and falls to 0 at its border, over ``edge`` of its
    width."""
    ramp = np.clip((0.5 - np.abs((np.arange(side) + 0.5) / side - 0.5)) / edge, 0, 1)
    smooth = ramp * ramp * (3 - 2 * ramp)
    return np.asarray(np.outer(smooth, smooth), np.float32)


def _box(row: NDArray[Any]) -> tuple[float, float, float, float]:
    return float(row[0]), float(row[1]), float(row[2]), float(row[3])
