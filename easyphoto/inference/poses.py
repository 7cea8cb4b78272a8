"""The inner poses: figures of this project's own, drawn as the maps that openpose controls were trained on."""

from __future__ import annotations

import colorsys
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from easyphoto import families
from easyphoto.config import POSES, Family
from easyphoto.ports import Image, Points
from easyphoto.vision import annotate
from easyphoto.vision.geometry import Size

DATA = Path(__file__).with_name("poses.json")
FACE_SHARE = 0.5
"""The width of a face that fills the picture, as a share of the shorter side: that of the faces from which the bench
checkpoint learned."""
FIGURE_FACE = 0.24
"""The width of a whole figure's face, as a share of the picture's shorter side."""
_LIMBS = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
          (1, 0), (0, 14), (14, 16), (0, 15), (15, 17))  # fmt: skip
"""Pairs of joints in OpenPose's order. The place of a pair in this list gives the limb its colour."""


@dataclass(frozen=True, eq=False)
class Figure:
    """A pose. ``face`` holds 68 points and ``body`` 18 joints, None for a joint that isn't shown. Lengths are in widths
    of the face, from the tip of the nose of a head that looks ahead."""

    name: str
    title: str
    title_zh: str
    face: Points
    body: tuple[tuple[float, float] | None, ...]


@lru_cache(maxsize=1)
def known() -> tuple[Figure, ...]:
    """All poses, in the order in which the user sees them."""
    rows = json.loads(DATA.read_text(encoding="utf-8"))
    return tuple(
        Figure(
            row["name"],
            row["title"],
            row["title_zh"],
            np.array(row["face"], np.float32),
            tuple(None if joint is None else (joint[0], joint[1]) for joint in row["body"]),
        )
        for row in rows
    )


def chosen(name: str, seed: int) -> Figure:
    """The pose of that name. The first choice of the list stands for any pose: the seed then decides."""
    poses = known()
    if name == POSES[0]:
        return poses[seed % len(poses)]
    return next(pose for pose in poses if pose.name == name)


def draw(figure: Figure, size: Size, family: Family) -> Image:
    """Draw the map of ``figure`` at ``size`` (height, width): body and face, or the face alone for the bench
    checkpoint, whose control learned nothing else."""
    height, width = size
    face_alone = families.spec(family).shipped
    unit = min(size) * (FACE_SHARE if face_alone else FIGURE_FACE)
    origin = np.array([width / 2, height * (0.52 if face_alone else 0.3)], np.float32)
    face = annotate.openpose_face(size, [figure.face * unit + origin], pupils=not face_alone)
    if face_alone:
        return face
    return np.maximum(_body(figure, size, unit, origin), face)


def _body(figure: Figure, size: Size, unit: float, origin: Points) -> Image:
    canvas: Image = np.zeros((*size, 3), np.uint8)
    joints = [None if j is None else np.array(j, np.float32) * unit + origin for j in figure.body]
    thick = max(1, round(min(size) / 128))
    for index, (a, b) in enumerate(_LIMBS):
        start, end = joints[a], joints[b]
        if start is not None and end is not None:
            cv2.line(canvas, _pixel(start), _pixel(end), _colour(index), 2 * thick, cv2.LINE_AA)
    canvas = (canvas * 0.6).astype(np.uint8)
    for index, joint in enumerate(joints):
        if joint is not None:
            cv2.circle(canvas, _pixel(joint), thick, _colour(index), -1, cv2.LINE_AA)
    return canvas


def _pixel(point: Points) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _colour(index: int) -> tuple[int, int, int]:
    """The colour at a place of OpenPose's wheel of eighteen colours."""
    red, green, blue = colorsys.hsv_to_rgb(index / 18, 1.0, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)
