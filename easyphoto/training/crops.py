"""Makes the pictures that the network sees out of the photos that were taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from easyphoto.config import TrainConfig
from easyphoto.errors import NoFace
from easyphoto.messages import Message, joined
from easyphoto.ports import Embedding, Face, Image, Mask, Vision
from easyphoto.training.photos import PhotoReport, PhotoVerdict, digest, room
from easyphoto.training.samples import WHOLE, Sample
from easyphoto.vision import geometry, largest, masks
from easyphoto.vision.geometry import Box, Crop, Size

REFERENCE_RATIO = 3.0
ROOM = 2.1
"""The square that is learned from is at least so many faces wide. The chain cuts about as much out of templates."""
BEST = 15
"""The most photos that a training uses."""
HOLD_OUT_FROM = 6
"""From so many good photos on, one in five is kept back, and likeness is scored against those."""

OnPhoto = Callable[[int, int], None]
"""It is called with the number of photos that are done and of all photos. It may raise an error to end the work."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The photos by what they serve for, the best first. ``scored`` are the photos that likeness is measured against:
    the held-out photos if there are any, and the training photos otherwise."""

    training: tuple[PhotoVerdict, ...]
    held_out: tuple[PhotoVerdict, ...]
    reference: PhotoVerdict

    @property
    def scored(self) -> tuple[PhotoVerdict, ...]:
        return self.held_out or self.training

    @property
    def embeddings(self) -> tuple[Embedding, ...]:
        return tuple(p.embedding for p in self.scored if p.embedding is not None)

    def to_mapping(self) -> dict[str, object]:
        """Return plain JSON data: the names of the photos by what they serve for."""
        return {
            "training": [p.name for p in self.training],
            "held_out": [p.name for p in self.held_out],
            "reference": self.reference.name,
        }


def select(report: PhotoReport) -> Selection:
    """Choose the reference photo, the training photos and the held-out photos. Raises :class:`NoFace` when no photo is
    good."""
    good = sorted(report.taken, key=lambda p: (-p.rating, p.digest, p.name))
    if not good:
        reasons = joined(
            [Message("{name}: {verdict}", name=p.name, verdict=Message(p.verdict.value)) for p in report.photos[:5]],
            "; ",
        )
        raise NoFace("None of the photos can be trained on ({reasons}).", reasons=reasons)
    reference, rest = good[0], good[1:]
    count = round(len(good) / 5) if len(good) >= HOLD_OUT_FROM else 0
    # By content, not by rating: photos kept back for being the best or the worst would flatter or damn the LoRA.
    held = sorted(rest, key=lambda p: (p.digest, p.name))[:count]
    training = [p for p in good if p not in held][:BEST]
    return Selection(tuple(training), tuple(held), reference)


def person_crops(
    selection: Selection,
    images: Mapping[str, Image],
    vision: Vision,
    config: TrainConfig,
    ratio: float,
    on_photo: OnPhoto,
) -> list[Sample]:
    """Return square pictures of ``config.resolution`` pixels a side. Each is the crop of at most ``ratio`` faces around
    the face, enhanced if it is small, its skin smoothed if the options say so, on white."""
    result = []
    for index, photo in enumerate(selection.training):
        assert photo.face is not None
        crop, face, known = framed(images[photo.name], photo.face, ratio)
        crop, face = _enlarge(crop, face, vision, config.resolution)
        if config.skin_retouching_bool:
            crop = vision.retoucher.retouch(crop)
        crop = _on_white(crop, face, vision)
        size = config.resolution, config.resolution
        shown = geometry.resize_mask(face_in(crop, face, vision), size) if config.face_weight != 1 else None
        result.append(Sample(geometry.resize(crop, size), known, shown))
        on_photo(index + 1, len(selection.training))
    return result


def face_in(image: Image, face: Face, vision: Vision) -> Mask:
    """Return where the face is, its eyes, brows and mouth with it, as a mask of the picture's size."""
    return masks.close_holes(vision.parser.parse(image, face).face)


def reference_picture(selection: Selection, images: Mapping[str, Image]) -> Image:
    """Return the part of the reference photo around its face, with its own background and at its own size."""
    photo = selection.reference
    assert photo.face is not None
    return _around(images[photo.name], photo.face, REFERENCE_RATIO)[0]


def scene_crops(images: Sequence[Image], vision: Vision, config: TrainConfig, on_photo: OnPhoto) -> list[Sample]:
    """Return square pictures of a scene, in the order of the photos' content. Each is the square around the largest
    face at ``crop_ratio`` if the photo shows one, and the middle square otherwise."""
    result = []
    for index, image in enumerate(sorted(images, key=digest)):
        face = largest(vision.detector.detect(image))
        crop = _middle(image) if face is None else _around(image, face, max(config.crop_ratio, 1.0))[0]
        if config.skin_retouching_bool and face is not None:
            crop = vision.retoucher.retouch(crop)
        result.append(Sample(geometry.resize(crop, (config.resolution, config.resolution))))
        on_photo(index + 1, len(images))
    return result


def framed(image: Image, face: Face, ratio: float) -> tuple[Image, Face, Box]:
    """Return the square that is learned from, which is at most ``ratio`` faces wide, the face in it, and the part of
    the square that the photo covers (as in `Sample`).

    A photo whose face leaves less room than `ROOM` gets a border that repeats its edge. If a LoRA has seen a face only
    across the whole picture, it draws the face as large where a smaller one belongs: a nose in the place of a face.
    """
    size = (image.shape[0], image.shape[1])
    if room(face, size) >= ROOM:
        return *_around(image, face, ratio), WHOLE
    wide, moved = geometry.cut_padded(image, face, ROOM)
    side = wide.shape[0]
    left, top = moved.box[0] - face.box[0], moved.box[1] - face.box[1]
    right, bottom = left + size[1], top + size[0]
    return wide, moved, (max(0, left) / side, max(0, top) / side, min(side, right) / side, min(side, bottom) / side)


def square(face: Face, ratio: float, size: Size) -> Crop:
    """Return the largest square around the face that a picture of ``size`` holds and that is at most ``ratio`` faces
    wide."""
    crop = geometry.face_crop(face, min(ratio, room(face, size)), size)
    side = min(crop.size)
    return Crop(crop.left, crop.top, crop.left + side, crop.top + side)


def _around(image: Image, face: Face, ratio: float) -> tuple[Image, Face]:
    crop = square(face, ratio, (image.shape[0], image.shape[1]))
    return geometry.cut(image, crop), geometry.in_crop(face, crop)


def _middle(image: Image) -> Image:
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side].copy()


def _enlarge(crop: Image, face: Face, vision: Vision, side: int) -> tuple[Image, Face]:
    if crop.shape[0] >= side:
        return crop, face
    larger = vision.enhancer.enhance(crop, side / crop.shape[0])
    scale = larger.shape[0] / crop.shape[0]
    return larger, geometry.move_face(face, np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]]))


def _on_white(crop: Image, face: Face, vision: Vision) -> Image:
    """Return the person on white. The face itself is never whitened, whatever the saliency says."""
    person = masks.union(vision.saliency.mask(crop, face), vision.parser.parse(crop, face).face)
    return geometry.blend(np.full_like(crop, 255), crop, person)
