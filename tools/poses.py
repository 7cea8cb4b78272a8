"""Write the ten inner poses: a head of 68 points, turned, on a figure of 18 joints.

    python tools/poses.py

Points are in widths of the face from the tip of the nose, x to the viewer's right, y down; joints in OpenPose's order.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TARGET = Path(__file__).resolve().parents[1] / "easyphoto" / "inference" / "poses.json"

# Half a face in millimetres from the nose tip, the mean of frontal portraits: x, y, and the depth away from the viewer.
JAW = ((65.3, -33.4, 88), (63.9, -16.3, 84), (61.1, 0.6, 78), (57.9, 17.3, 70), (52.4, 33.2, 58), (43.3, 47.1, 44),
       (30.8, 58.7, 28), (16.3, 67.6, 17), (0.0, 70.3, 14))  # fmt: skip
BROW = ((55.9, -45.7, 40), (46.9, -52.7, 30), (34.9, -54.3, 23), (22.9, -51.8, 19), (11.9, -46.7, 18))
BRIDGE = ((0.0, -34.6, 17), (0.0, -23.1, 11), (0.0, -11.6, 5), (0.0, 0.0, 0))
NOSTRIL = ((13.3, 7.5, 14), (6.9, 9.5, 11))
NOSE_BASE = (0.0, 11.6, 9)
EYE = ((43.0, -33.3, 30), (35.3, -38.0, 25), (26.2, -37.5, 23), (18.3, -30.8, 24), (27.0, -29.7, 24), (36.1, -30.0, 26))
LIPS = ((27.2, 28.3, 24), (16.8, 24.6, 15), (7.0, 22.5, 11), (0.0, 24.2, 10))
UNDER = ((17.2, 37.1, 18), (7.5, 41.0, 14), (0.0, 41.7, 13))
INNER = ((23.0, 28.9, 22), (7.1, 28.7, 14), (0.0, 29.4, 13))
INNER_UNDER = ((7.2, 31.8, 14), (0.0, 32.6, 13))
FACE_WIDTH = 130.6
CENTRE = 60.0
"""How far behind the nose tip the head turns."""

# name, title, Chinese, yaw (to the viewer's right), pitch (up), roll (clockwise), elbows and wrists from the shoulders
POSES = (
    ("front", "Front", "正面", 0, 0, 0, ((-0.25, 1.5), (-0.2, 2.8), (0.25, 1.5), (0.2, 2.8))),
    ("slightly-left", "Slightly left", "稍向左", -18, 0, 0, ((-0.3, 1.5), (-0.2, 2.8), (0.2, 1.5), (0.1, 2.8))),
    ("slightly-right", "Slightly right", "稍向右", 18, 0, 0, ((-0.2, 1.5), (-0.1, 2.8), (0.3, 1.5), (0.2, 2.8))),
    ("left", "Left", "向左", -32, 0, 0, ((-0.3, 1.5), (0.1, 2.7), (0.15, 1.5), (0.0, 2.8))),
    ("right", "Right", "向右", 32, 0, 0, ((-0.15, 1.5), (0.0, 2.8), (0.3, 1.5), (-0.1, 2.7))),
    ("up", "Looking up", "抬头", 0, 14, 0, ((-0.35, 1.4), (-0.4, 2.7), (0.35, 1.4), (0.4, 2.7))),
    ("down", "Looking down", "低头", 0, -14, 0, ((-0.3, 1.5), (0.5, 2.2), (0.3, 1.5), (-0.5, 2.2))),
    ("tilted-left", "Tilted left", "向左倾", 0, 0, -14, ((-0.6, 1.2), (-0.2, 2.2), (0.25, 1.5), (0.2, 2.8))),
    ("tilted-right", "Tilted right", "向右倾", 0, 0, 14, ((-0.25, 1.5), (-0.2, 2.8), (0.6, 1.2), (0.2, 2.2))),
    ("hand-at-chin", "Hand at the chin", "托腮", -12, 0, 8, ((-0.3, 1.5), (-0.2, 2.7), (0.1, 1.5), (-0.85, 0.15))),
)


def head() -> Array:
    """The 68 points in iBUG's order, in millimetres, shape (68, 3)."""

    def left(points: tuple[tuple[float, float, float], ...]) -> list[tuple[float, float, float]]:
        return [(-x, y, z) for x, y, z in points]

    rows = [*left(JAW), *JAW[-2::-1], *left(BROW), *BROW[::-1], *BRIDGE]
    rows += [*left(NOSTRIL), NOSE_BASE, *NOSTRIL[::-1]]
    right_eye = [EYE[i] for i in (3, 2, 1, 0, 5, 4)]
    rows += [*left(EYE), *right_eye, *left(LIPS), *LIPS[-2::-1], *UNDER, *left(UNDER[-2::-1])]
    rows += [*left(INNER), *INNER[-2::-1], *INNER_UNDER, *left(INNER_UNDER[-2::-1])]
    return np.array(rows, float)


def turned(points: Array, yaw: float, pitch: float, roll: float) -> Array:
    """The points after a turn about the middle of the head, in face widths from where the nose tip was."""
    y, p, r = np.radians([-yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    moved = (points - [0, 0, CENTRE]) @ (about_z @ about_x @ about_y).T
    flat: Array = moved[:, :2] / FACE_WIDTH
    return flat


def figure(face: Array, arms: tuple[tuple[float, float], ...]) -> list[list[float] | None]:
    """The joints of a body to the hips below a face; knees and feet are out of the picture."""
    neck, right, left = (0.0, 1.05), (-1.0, 1.2), (1.0, 1.2)
    eyes = face[36:42].mean(0), face[42:48].mean(0)
    joints: list[tuple[float, float] | None] = [tuple(face[30]), neck]
    for shoulder, (elbow, wrist) in ((right, arms[:2]), (left, arms[2:])):
        joints += [shoulder, *((shoulder[0] + x, shoulder[1] + y) for x, y in (elbow, wrist))]
    joints += [(-0.65, 4.0), None, None, (0.65, 4.0), None, None]
    joints += [tuple(eyes[0]), tuple(eyes[1]), tuple(face[0]), tuple(face[16])]
    return [None if joint is None else [round(float(v), 3) for v in joint] for joint in joints]


def main() -> None:
    found = []
    for name, title, chinese, yaw, pitch, roll, arms in POSES:
        face = turned(head(), yaw, pitch, roll)
        points = [[round(float(v), 3) for v in point] for point in face]
        row = {"name": name, "title": title, "title_zh": chinese, "face": points, "body": figure(face, arms)}
        found.append(json.dumps(row, ensure_ascii=False))
    TARGET.write_text("[\n" + ",\n".join(found) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
