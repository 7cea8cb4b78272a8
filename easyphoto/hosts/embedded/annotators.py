"""Makes the map that a ControlNet was trained on of the picture that a control is taken from."""

from __future__ import annotations

import cv2

from easyphoto import families
from easyphoto.config import Family
from easyphoto.errors import AssetMissing
from easyphoto.ports import Control, ControlRole, Image, Vision
from easyphoto.vision import annotate, geometry, landmarks

BENCH_TILE = 4
"""The tile control of the bench checkpoint was trained on pictures that had been made this many times smaller and then
enlarged linearly."""


def as_map(control: Control, family: Family, size: tuple[int, int], vision: Vision) -> Control:
    """The control with its map at ``size``, which is (height, width). Where the control holds a map already, the map is
    only resized."""
    image = geometry.resize(control.image, size)
    if not control.is_map:
        image = _draw(control.role, image, family, vision)
    return Control(control.role, image, control.weight, is_map=True)


def _draw(role: ControlRole, image: Image, family: Family, vision: Vision) -> Image:
    bench = families.spec(family).shipped
    if bench and role is ControlRole.COLOR:
        return annotate.color_grid(image)
    if bench and role is ControlRole.TILE:
        return _bench_tile(image)
    if role is ControlRole.OPENPOSE:
        faces = [landmarks.of(vision, image, face) for face in vision.detector.detect(image)]
        return annotate.openpose_face((image.shape[0], image.shape[1]), faces, pupils=not bench)
    if role in annotate.MAPS:
        return annotate.MAPS[role](image)
    raise AssetMissing("The embedded host has no {role} control.", role=role.value)


def _bench_tile(image: Image) -> Image:
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(1, width // BENCH_TILE), max(1, height // BENCH_TILE)), interpolation=cv2.INTER_AREA)
    soft: Image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return soft
