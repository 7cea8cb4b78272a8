"""Faces with dlib and the models that the package face-recognition-models carries, so that nothing has to be
downloaded.

The package itself is never imported, because it wants ``pkg_resources``; its files are found beside its spec.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from easyphoto.errors import AssetMissing
from easyphoto.ports import Calibration, Embedding, Face, Image, Points
from easyphoto.vision import eyewear, geometry, landmarks
from easyphoto.vision.backends import calibrations, hog_levels

if TYPE_CHECKING:
    from torch import Tensor

DLIB = threading.RLock()
"""Held while dlib works. Its objects are not safe to share between threads, and two of them that worked in two threads
have brought the whole process down."""

DlibBox: TypeAlias = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels, as dlib's detector frames a face: from the brows to the chin."""
Found: TypeAlias = tuple[DlibBox, float]
"""A box and the detector's score of it."""

MODELS = "face_recognition_models"
DETECTION_SIDES = (1024, 2048)
"""The long sides at which faces are looked for, in turn. The second one finds small faces."""
SMALL_FACE = 110
"""A picture may hold smaller faces where its smallest face, at the first size, is narrower than this."""
SURE = 0.3
"""A face with a score of HOG under this must be confirmed by the network. Real faces that look ahead have 0.5 and
more."""
TILE, TILE_OVERLAP, TILE_SCALE = 1024, 320, 1.3
"""A picture that is much larger than the size at which it was looked at is searched again, in squares of this side with
this overlap, which are enlarged so many times. A face of 62 pixels then has 80, the least that HOG can find. Faces that
are larger than the overlap were seen before."""
PART = 0.4
"""A box with a score under ``SURE`` is a part of a surer face if so much of it lies in that face's box: a mouth in a
beard was taken for a face of its own. Of 1,198 portraits two had such boxes."""
NETWORK_TRUST = 0.5
"""What a score of the network is worth in scores of HOG. It is worth less, because the network is just as sure of faces
that lie on their side."""
CNN_SIDE, CONFIRM_SIDE = 480, 208
ENLARGED = 2.0
"""A picture is enlarged at most so many times before HOG looks at it."""
APART, SAME_PLACE = 0.1, 0.5
"""Two boxes overlap by less than the first of these where they are not in each other's way, and by more than the second
where they stand in one place: the intersection over the union."""
LEAST_SIDE = 40
"""In a picture with a shorter side than this the network can't find a face, and it would break."""
LANDMARK_SIDE = 256
AGREED = 0.015
"""Two looks from different boxes agree if their points lie no further apart (root mean square, in sides of the box).
Eight of eleven faces with glasses had more where they were moved a few pixels, and one of 18 without."""
LOOKS = (
    (0, 0, 1),
    (0.05, 0, 1),
    (-0.05, 0, 1),
    (0, 0.05, 1),
    (0, -0.05, 1),
    (0.04, 0.04, 1),
    (-0.04, -0.04, 1),
    (0, 0, 1.07),
    (0, 0, 0.93),
)
"""How far the boxes of several looks are moved, in their sides, and how many times as large they are."""
CHIP_SIDE, CHIP_PADDING = 150, 0.25
DESCRIPTOR = 128
"""With how many numbers dlib describes a face."""


def model_file(name: str) -> Path:
    """The file ``name`` of the package face-recognition-models."""
    spec = importlib.util.find_spec(MODELS)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "models" / name
        if path.is_file():
            return path
    raise AssetMissing(
        "The file {name} of the package face-recognition-models is missing; install that package.", name=name
    )


class LandmarkPredictor:
    """Finds the 68 points from a rough box, by an ensemble of regression trees (Kazemi and Sullivan, 2014)."""

    name = "dlib-68"

    def __init__(self) -> None:
        import dlib

        self._dlib = dlib
        self._predictor: Any = dlib.shape_predictor(str(model_file("shape_predictor_68_face_landmarks.dat")))

    def predict(self, image: Image, box: DlibBox) -> Points:
        """The points (68, 2) of the face around which dlib's detector would draw ``box``, as they are found from there.

        The face is brought to a fixed size first, because the predictor answers in whole pixels, which are too coarse
        for a small face.
        """
        near, matrix = _brought_near(image, box)
        return geometry.transform(geometry.invert(matrix), self._look(near, geometry.moved_box(matrix, box)))

    def settle(self, image: Image, box: DlibBox) -> Points:
        """The points (68, 2) of the face around which dlib's detector drew ``box``, also if it wears glasses.

        The trees begin at the box, and where a rim looks like a lid, they end in different places from boxes that
        hardly differ. So a face with glasses is looked at again from the box that belongs to the points found. If the
        two agree, these points stay, and otherwise each point is the median of several looks.
        """
        near, matrix = _brought_near(image, box)
        points = self._look(near, geometry.moved_box(matrix, box))
        around = box_of_five(landmarks.five(points))
        if landmarks.distance(points, self._look(near, around)) > AGREED * LANDMARK_SIDE:
            looks = [self._look(near, _shifted(around, *look)) for look in LOOKS]
            settled = np.asarray(np.median(looks, axis=0), np.float32)
            # Around eyes that lie wrong glasses may not be seen.
            if eyewear.worn(near, points) or eyewear.worn(near, settled):
                points = settled
        return geometry.transform(geometry.invert(matrix), points)

    def _look(self, near: Image, box: DlibBox) -> Points:
        """The points that the trees find from one box."""
        frame = self._dlib.rectangle(*(round(edge) for edge in box))
        with DLIB:
            shape = self._predictor(near, frame)
        return np.array([[p.x, p.y] for p in shape.parts()], np.float32)

    def locate(self, image: Image, face: Face) -> Points:
        """The points of a face that another detector found. Its five points say where dlib's box would be."""
        return self.predict(image, box_of_five(face.points))


def _brought_near(image: Image, box: DlibBox) -> tuple[Image, NDArray[np.float64]]:
    """The box at the size at which the predictor works, with as much again on each side, and the transform to there."""
    scale = LANDMARK_SIDE / max(box[2] - box[0], box[3] - box[1], 1.0)
    matrix = np.array([[scale, 0, LANDMARK_SIDE - box[0] * scale], [0, scale, LANDMARK_SIDE - box[1] * scale]])
    return geometry.warp(image, matrix, (3 * LANDMARK_SIDE, 3 * LANDMARK_SIDE)), matrix


def _shifted(box: DlibBox, right: float, down: float, larger: float) -> DlibBox:
    """The box moved by shares of its side, and made so many times as large around its middle."""
    side = box[2] - box[0]
    x, y = (box[0] + box[2]) / 2 + right * side, (box[1] + box[3]) / 2 + down * side
    half = larger * side / 2
    return x - half, y - half, x + half, y + half


# The five points of an average face in dlib's box of it, from (0, 0) to (1, 1): the median of 85 portraits.
FIVE_IN_BOX = np.array([[0.30, 0.288], [0.70, 0.288], [0.50, 0.523], [0.316, 0.74], [0.684, 0.74]], np.float32)


def box_of_five(points: Points) -> DlibBox:
    """The box that dlib's detector would draw around the face that has these five points."""
    matrix = geometry.similarity(FIVE_IN_BOX, points)
    x, y = geometry.transform(matrix, np.array([[0.5, 0.5]], np.float32))[0]
    half = float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))) / 2
    return float(x) - half, float(y) - half, float(x) + half, float(y) + half


class DlibDetector:
    """Finds faces by HOG with a linear classifier (Dalal and Triggs, as trained in dlib), and then their 68 points.
    Where HOG finds nothing, the slower network of the same package is asked, which also knows turned heads."""

    name = "dlib"

    def __init__(self) -> None:
        import dlib

        self._dlib = dlib
        self._hog: Any = dlib.get_frontal_face_detector()
        self._cnn: Any = None
        self._predictor = LandmarkPredictor()

    def detect(self, image: Image) -> list[Face]:
        """All faces, from left to right. Large pictures are shrunk before they are looked at, so that the time is
        bounded."""
        faces = [self._face(image, *one) for one in self._by_edges(image)] or [
            landmarks.face_of(self._predictor.predict(image, box), score) for box, score in self._turned(image)
        ]
        return sorted(faces, key=lambda f: f.center[0])

    def detect_near(self, image: Image, expected: Face) -> list[Face]:
        """The face that stands where ``expected`` does, as :meth:`detect` finds it. Where it isn't found for sure by
        itself, this is what :meth:`detect` finds."""
        found = self._near(image, box_of_five(expected.points))
        return self.detect(image) if found is None else [self._face(image, *found)]

    def _face(self, image: Image, box: DlibBox, score: float) -> Face:
        """A face that HOG found. The points of one that only the network sees are guesses (``vision/pose.py``), which
        several looks make no truer."""
        return landmarks.face_of(self._predictor.settle(image, box), score)

    def _near(self, image: Image, expected: DlibBox) -> Found | None:
        """The one box at ``expected``; None where a search of the whole picture could have another answer."""
        if max(image.shape[:2]) > DETECTION_SIDES[0] / ENLARGED:  # a second search, at another size, might follow
            return None
        with DLIB:
            grey, scale = _sized(image, DETECTION_SIDES[0])
            seen = hog_levels.run(self._hog, grey, scale * (expected[2] - expected[0]))
        found = [(_box(rectangle, scale), score) for rectangle, score in seen or []]
        there = [one for one in found if _overlap(one[0], expected) > APART]
        if len(there) != 1 or there[0][1] < SURE or _overlap(there[0][0], expected) < SAME_PLACE:
            return None
        return there[0]

    def _by_edges(self, image: Image) -> list[Found]:
        """What HOG finds, and where it isn't sure, what the network confirms."""
        with DLIB:
            found, smallest = look(self._hog, image, DETECTION_SIDES[0])
            if not found or smallest < SMALL_FACE:
                if max(image.shape[:2]) * ENLARGED > DETECTION_SIDES[0]:  # otherwise it would be the same size again
                    again, smallest = look(self._hog, image, DETECTION_SIDES[1])
                    found += again
                found = distinct(found)
        if max(image.shape[:2]) > DETECTION_SIDES[1] and (not found or 0 < smallest < SMALL_FACE):
            found = distinct(found + self._in_tiles(image))
        return [f for f in whole(found) if f[1] >= SURE or self._confirmed(image, f[0])]

    def _turned(self, image: Image) -> list[Found]:
        """What the network finds, with what its scores are worth."""
        return whole([(box, NETWORK_TRUST * score) for box, score in self._network(image, CNN_SIDE)])

    def _in_tiles(self, image: Image) -> list[Found]:
        """What HOG finds in a large picture when it looks at it part by part, at its full size."""
        found: list[Found] = []
        for tile in geometry.tiles((image.shape[0], image.shape[1]), TILE, TILE_OVERLAP):
            with DLIB:
                seen, _ = look(self._hog, geometry.cut(image, tile), round(TILE_SCALE * max(tile.size)))
            x, y = tile.left, tile.top
            found += [((b[0] + x, b[1] + y, b[2] + x, b[3] + y), s) for b, s in seen]
        return found

    def _confirmed(self, image: Image, box: DlibBox) -> bool:
        """Whether the network, too, sees a face about where the box is. To HOG the folds of clothes sometimes look like
        one."""
        middle, side = (np.array(box[:2]) + box[2:]) / 2, max(box[2] - box[0], box[3] - box[1], 1.0)
        scale = CONFIRM_SIDE / (2 * side)
        matrix = np.array([[scale, 0, 0], [0, scale, 0]])
        matrix[:, 2] = CONFIRM_SIDE / 2 - scale * middle
        near = geometry.warp(image, matrix, (CONFIRM_SIDE, CONFIRM_SIDE))
        return any(
            _overlap(geometry.moved_box(matrix, box), seen) > 0.2 for seen, _ in self._network(near, CONFIRM_SIDE)
        )

    def _network(self, image: Image, side: int) -> list[Found]:
        height, width = image.shape[:2]
        scale = min(2.0, side / max(height, width))
        if min(height, width) * scale < LEAST_SIDE:
            return []
        sized = geometry.resize(image, (round(height * scale), round(width * scale)))
        with DLIB:
            if self._cnn is None:
                self._cnn = self._dlib.cnn_face_detection_model_v1(str(model_file("mmod_human_face_detector.dat")))
            found = self._cnn(sized, 0)
        return [(_box(f.rect, scale), float(f.confidence)) for f in found]


class FaceNet(Protocol):
    """dlib's face network, whether dlib or torch computes it."""

    def describe(self, chips: Sequence[Image]) -> NDArray[np.float32]:
        """dlib's descriptors (n, 128) of n chips (150, 150, 3)."""
        ...

    def embed_pixels(self, chips: Tensor, mean: Embedding) -> Tensor:
        """See :meth:`DlibEmbedder.embed_pixels`."""
        ...


class NativeNet:
    """The network as dlib computes it, chip by chip."""

    def __init__(self, path: Path) -> None:
        import dlib

        self._net: Any = dlib.face_recognition_model_v1(str(path))

    def describe(self, chips: Sequence[Image]) -> NDArray[np.float32]:
        """dlib's descriptors (n, 128) of n chips (150, 150, 3)."""
        with DLIB:
            vectors = [np.array(self._net.compute_face_descriptor(chip), np.float32) for chip in chips]
        return np.array(vectors, np.float32).reshape(len(chips), DESCRIPTOR)

    def embed_pixels(self, chips: Tensor, mean: Embedding) -> Tensor:
        """dlib keeps no gradients. Raises :class:`AssetMissing`."""
        raise AssetMissing("A gradient through dlib's face network needs a torch that can be imported.")


class DlibEmbedder:
    """Describes a face by 128 numbers of a residual network that was trained on faces. A mean that was measured once is
    taken from them, so that their cosines mean something: those of the network's own numbers are all over 0.8.

    Torch computes the network where it can be imported, and dlib does where it can't. Their vectors agree within the
    rounding of 32-bit floats, so either may be compared with what the other made.
    """

    name = "dlib-resnet"
    chip_side = CHIP_SIDE

    def __init__(self, landmarks_of: Any) -> None:
        import dlib

        self._dlib = dlib
        self._net = face_net(model_file("dlib_face_recognition_resnet_model_v1.dat"))
        self._landmarks_of = landmarks_of
        measured = measurements()
        self._mean = np.array(measured["mean"], np.float32)
        thresholds = calibrations.measured(self.name)["thresholds"]
        self.calibration = Calibration(**measured["calibration"], **thresholds)

    def embed(self, image: Image, face: Face) -> Embedding:
        """A vector (128,) of length 1."""
        embedding: Embedding = self.embed_all([(image, face)])[0]
        return embedding

    def embed_all(self, faces: Sequence[tuple[Image, Face]]) -> NDArray[np.float32]:
        """Vectors (n, 128) of length 1 of n faces, each given with the picture that it is in. The network sees all of
        them at once, and every face takes some 2 MB of memory."""
        centred = self._net.describe([self.chip(*face) for face in faces]) - self._mean
        embeddings: NDArray[np.float32] = centred / np.maximum(1e-6, np.linalg.norm(centred, axis=1, keepdims=True))
        return embeddings.astype(np.float32)

    def embed_pixels(self, chips: Tensor) -> Tensor:
        """Vectors (n, 128) of length 1 for chips (n, 3, 150, 150), RGB of 0-255 as floats on any device. A gradient
        goes through to the pixels. Raises :class:`AssetMissing` where dlib computes the network."""
        return self._net.embed_pixels(chips, self._mean)

    def describe(self, image: Image, face: Face) -> Embedding:
        """dlib's own descriptor (128,), for which Euclidean distances were published: under 0.6 two faces are one
        person's."""
        descriptor: Embedding = self._net.describe([self.chip(image, face)])[0]
        return descriptor

    def chip(self, image: Image, face: Face) -> Image:
        """What the network sees of a face: the picture (150, 150, 3) that dlib cuts out by 68 points."""
        near, shape, _ = self._near(image, self._landmarks_of(image, face))
        chip: Image = self._dlib.get_face_chip(near, shape, size=CHIP_SIDE, padding=CHIP_PADDING)
        return chip

    def chip_map(self, image: Image, face: Face) -> NDArray[np.float64]:
        """The map (2, 3) that takes the pixels of the :meth:`chip` to those of the picture."""
        _, shape, matrix = self._near(image, self._landmarks_of(image, face))
        details = self._dlib.get_face_chip_details(shape, CHIP_SIDE, CHIP_PADDING)
        middle, scale = details.rect.dcenter(), details.rect.width() / CHIP_SIDE
        turn = scale * np.array([[np.cos(details.angle), -np.sin(details.angle)],
                                 [np.sin(details.angle), np.cos(details.angle)]])  # fmt: skip
        shift = np.array([middle.x, middle.y]) - turn @ np.full(2, (CHIP_SIDE - 1) / 2)
        back = np.array(geometry.invert(matrix), np.float64)
        return np.column_stack([back[:, :2] @ turn, back[:, :2] @ shift + back[:, 2]])

    def _near(self, image: Image, points: Points) -> tuple[Image, Any, NDArray[np.float64]]:
        """The face at about the chip's resolution, its points in there as dlib wants them, and the map that took it
        there. dlib takes whole pixels only, which are too coarse for a small face."""
        low, high = points.min(0), points.max(0)
        side = max(1.0, float((high - low).max()))
        scale, margin = 2 * CHIP_SIDE / side, 2 * CHIP_SIDE
        matrix = np.array([[scale, 0, margin - low[0] * scale], [0, scale, margin - low[1] * scale]])
        canvas = 2 * CHIP_SIDE + 2 * margin
        near = geometry.warp(image, matrix, (canvas, canvas))
        parts = [self._dlib.point(round(float(x)), round(float(y))) for x, y in geometry.transform(matrix, points)]
        frame = self._dlib.rectangle(margin, margin, canvas - margin, canvas - margin)
        return near, self._dlib.full_object_detection(frame, parts), matrix


def face_net(path: Path) -> FaceNet:
    """dlib's face network from dlib's own file. Torch computes it where torch can be imported, and else dlib does."""
    try:
        from easyphoto.vision.backends import dlib_net
    except (ImportError, OSError):  # OSError: torch is there, but its libraries don't load
        return NativeNet(path)
    return dlib_net.TorchNet(path)


def measurements() -> dict[str, Any]:
    """The mean descriptor and the calibration that tools/calibrate_embedder.py measured."""
    text = resources.files("easyphoto.vision.backends").joinpath("data/dlib_embedding.json").read_text("utf-8")
    measured: dict[str, Any] = json.loads(text)
    return measured


def look(hog: Any, image: Image, side: int) -> tuple[list[Found], float]:
    """What dlib's frontal detector finds when the picture's long side has about ``side`` pixels: boxes in pixels of the
    picture with their scores, and the side that the smallest box had when it was found. The caller holds the lock."""
    grey, scale = _sized(image, side)
    rectangles, scores, _ = hog.run(grey, 0, 0.0)
    found = [(_box(r, scale), float(s)) for r, s in zip(rectangles, scores, strict=True)]
    return found, min((r.width() for r in rectangles), default=0)


def _sized(image: Image, side: int) -> tuple[Image, float]:
    """The picture in grey with a long side of about ``side``, enlarged at most twice, and how many times larger it
    became."""
    height, width = image.shape[:2]
    scale = min(ENLARGED, side / max(height, width))
    sized = geometry.resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))
    grey: Image = cv2.cvtColor(sized, cv2.COLOR_RGB2GRAY)
    return grey, scale


def _box(rectangle: Any, scale: float) -> DlibBox:
    r = rectangle
    return r.left() / scale, r.top() / scale, (r.right() + 1) / scale, (r.bottom() + 1) / scale


def distinct(found: list[Found]) -> list[Found]:
    """The boxes without those that overlap a surer one by more than a third."""
    kept: list[Found] = []
    for box, score in sorted(found, key=lambda f: -f[1]):
        if all(_overlap(box, other) < 1 / 3 for other, _ in kept):
            kept.append((box, score))
    return kept


def whole(found: list[Found]) -> list[Found]:
    """The boxes without those of low scores that are parts of a surer face."""
    return [
        (box, score)
        for box, score in found
        if score >= SURE or not any(s > score and _shared(box, other) > PART * _area(box) for other, s in found)
    ]


def _overlap(a: DlibBox, b: DlibBox) -> float:
    shared = _shared(a, b)
    return shared / (_area(a) + _area(b) - shared)


def _shared(a: DlibBox, b: DlibBox) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def _area(box: DlibBox) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
