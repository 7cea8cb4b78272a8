"""From the photos that were taken to the pictures that the network sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from easyphoto.config import TrainConfig
from easyphoto.errors import NoFace
from easyphoto.messages import Message, joined
from easyphoto.ports import Embedding, Face, Image, Vision
from easyphoto.training.photos import PhotoReport, PhotoVerdict, digest, room
from easyphoto.training.samples import WHOLE, Sample
from easyphoto.vision import geometry, largest, masks
from easyphoto.vision.geometry import Box, Crop, Size

REFERENCE_RATIO = 3.0
ROOM = 2.1
"""At least so many faces wide is what is learned from: about what the chain cuts out of templates."""
BEST = 15
"""At most so many photos are trained on."""
HOLD_OUT_FROM = 6
"""With so many good photos, one in five is kept back to score likeness against."""

OnPhoto = Callable[[int, int], None]
"""Called with (photos done, photos in all); it may raise to end the work."""


@dataclass(frozen=True, eq=False)
class Selection:
    """Which photos serve for what, best first. ``scored`` are the ones that likeness is measured against: the held-out
    photos where there are any, else the training photos."""

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
        """Plain JSON data: the names by what they serve for."""
        return {
            "training": [p.name for p in self.training],
            "held_out": [p.name for p in self.held_out],
            "reference": self.reference.name,
        }


def select(report: PhotoReport) -> Selection:
    """The reference photo, the training photos and the held-out ones. Raises :class:`NoFace` when none is good."""
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
    """Square pictures of ``config.resolution``: the crop at ``ratio`` faces, enhanced where it is small, skin smoothed,
    on white."""
    result = []
    for index, photo in enumerate(selection.training):
        assert photo.face is not None
        crop, face, known = framed(images[photo.name], photo.face, ratio)
        crop, face = _enlarge(crop, face, vision, config.resolution)
        if config.skin_retouching_bool:
            crop = vision.retoucher.retouch(crop)
        crop = _on_white(crop, face, vision)
        result.append(Sample(geometry.resize(crop, (config.resolution, config.resolution)), known))
        on_photo(index + 1, len(selection.training))
    return result


def reference_picture(selection: Selection, images: Mapping[str, Image]) -> Image:
    """The reference photo around its face, on its own background, as large as it is."""
    photo = selection.reference
    assert photo.face is not None
    return _around(images[photo.name], photo.face, REFERENCE_RATIO)[0]


def scene_crops(images: Sequence[Image], vision: Vision, config: TrainConfig, on_photo: OnPhoto) -> list[Sample]:
    """Pictures of a scene by content: around the largest face at ``crop_ratio`` where there is one, else the middle
    square."""
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
    """The square that is learned from, of at most ``ratio`` faces, the face in it, and the part of it that the photo
    covers (as in `Sample`).

    A photo whose face leaves less room than `ROOM` gets a border that repeats its edge. A LoRA that has seen a face
    across the whole picture alone draws it as large wherever a smaller one belongs: a nose for a face.
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
    """The largest square of at most ``ratio`` faces around the face that a picture of ``size`` holds."""
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
    """The person on white; the face itself is never whitened, whatever the saliency says."""
    person = masks.union(vision.saliency.mask(crop, face), vision.parser.parse(crop, face).face)
    return geometry.blend(np.full_like(crop, 255), crop, person)
