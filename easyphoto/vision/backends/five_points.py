"""Faces without the 68-point predictor, whose training data may not be used commercially: dlib's detector with its
five-point predictor (both CC0), and 68 points drawn by the proportions of an average face.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Face, Image, Points
from easyphoto.vision import geometry, landmarks
from easyphoto.vision.backends.dlib_faces import DLIB, DlibDetector, model_file

NOSE_TIP, NOSE_BASE, MOUTH = 0.58, 0.75, 1.0
"""How far below the line of the eyes these lie, in distances between the eyes. MOUTH is the height of the corners of
the mouth."""
MOUTH_HALF = 0.46
NOSE_ASIDE = 0.3
"""What share of the sideways move of the base of the nose the mouth makes. The nose stands out, so it moves further
when the head turns."""


def drawn_face() -> Points:
    """68 points in the order of the iBUG scheme. The middle between the eyes is (0, 0), and the eyes are one unit
    apart. The points were drawn by hand from common proportions of the human face: the cheekbones are 2.26 apart, the
    chin is 1.8 below the line of the eyes, and an eye is 0.48 wide."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, 17)
    jaw = np.stack([1.13 * np.sin(turn), 0.05 + 1.75 * np.cos(turn) ** 0.9], 1)
    brow = np.array([[0.18, -0.34], [0.36, -0.42], [0.54, -0.45], [0.71, -0.42], [0.87, -0.30]])
    bridge = np.array([[0, -0.02], [0, 0.20], [0, 0.42], [0, NOSE_TIP]])
    nostrils = np.array([[-0.27, 0.70], [-0.14, 0.74], [0, NOSE_BASE], [0.14, 0.74], [0.27, 0.70]])
    eye = np.array([[-0.24, 0], [-0.08, -0.085], [0.08, -0.085], [0.24, 0], [0.08, 0.075], [-0.08, 0.075]])
    upper = np.array([[-MOUTH_HALF, MOUTH], [-0.29, 0.95], [-0.11, 0.92], [0, 0.935], [0.11, 0.92], [0.29, 0.95]])
    lower = np.array([[MOUTH_HALF, MOUTH], [0.30, 1.13], [0.14, 1.20], [0, 1.21], [-0.14, 1.20], [-0.30, 1.13]])
    inner_x = np.array([-0.38, -0.14, 0, 0.14, 0.38, 0.14, 0, -0.14])
    inner_y = MOUTH + np.array([0, 0.0, 0.01, 0.0, 0, 0.06, 0.08, 0.06])
    parts = [
        jaw,
        brow[::-1] * np.array([-1, 1]),
        brow,
        bridge,
        nostrils,
        eye + np.array([-0.5, 0]),
        eye + np.array([0.5, 0]),
        upper,
        lower,
        np.stack([inner_x, inner_y], 1),
    ]
    face: Points = np.concatenate(parts).astype(np.float32)
    return face


def locate(image: Image, face: Face) -> Points:
    """The 68 points (68, 2) of a face of which five are known. The drawn face is laid onto the eyes and the mouth, and
    its nose onto the nose."""
    five = np.asarray(face.points, np.float64)
    middle = five[:2].mean(0)
    frame = np.column_stack([five[1] - five[0], (five[3:].mean(0) - middle) / MOUTH, middle])
    drawn = drawn_face()
    points = geometry.transform(frame, drawn)
    aside = five[2] - geometry.transform(frame, np.array([[0, NOSE_TIP]], np.float32))[0]
    nose = slice(landmarks.NOSE_BRIDGE.start, landmarks.NOSTRILS.stop)
    points[nose] += (drawn[nose, 1:] / NOSE_TIP * aside).astype(np.float32)
    return points


class DrawnLandmarks:
    """Finds the 68 points without the predictor whose training data excludes commercial use."""

    name = "drawn"

    def locate(self, image: Image, face: Face) -> Points:
        return locate(image, face)


class FivePointDetector(DlibDetector):
    """Finds faces with dlib's detectors and their points with dlib's five-point predictor. The predictor doesn't give
    the mouth, which is computed from the eyes and the nose."""

    name = "dlib-5"

    def __init__(self) -> None:
        # The parent's own is not called, because it would load the 68-point predictor.
        import dlib

        self._dlib = dlib
        self._hog: Any = dlib.get_frontal_face_detector()
        self._cnn: Any = None
        self._five: Any = dlib.shape_predictor(str(model_file("shape_predictor_5_face_landmarks.dat")))

    def _face(self, image: Image, box: tuple[float, float, float, float], score: float) -> Face:
        """The face in dlib's box, with five points and without landmarks."""
        left, top, right, bottom = (round(v) for v in box)
        with DLIB:
            shape = self._five(image, self._dlib.rectangle(left, top, right, bottom))
        corners = np.array([[p.x, p.y] for p in shape.parts()], np.float64)
        eyes = corners[:4].reshape(2, 2, 2).mean(1)
        eyes = eyes[np.argsort(eyes[:, 0])]
        points = _with_mouth(eyes, corners[4])
        box = landmarks.face_of(locate(image, Face(box=box, points=points))).box
        return Face(box=box, points=points, score=score)


def _with_mouth(eyes: NDArray[np.float64], nose_base: NDArray[np.float64]) -> Points:
    """The five points of a face, from the centres of the eyes and the base of the nose."""
    middle, across = eyes.mean(0), eyes[1] - eyes[0]
    distance = max(1e-6, float(np.hypot(*across)))
    right = across / distance
    below = np.array([-right[1], right[0]])
    reach, aside = float((nose_base - middle) @ below), float((nose_base - middle) @ right)
    tip = middle + (nose_base - middle) * (NOSE_TIP / NOSE_BASE)
    mouth = middle + below * reach * (MOUTH / NOSE_BASE) + right * aside * NOSE_ASIDE
    half = across * MOUTH_HALF
    return np.stack([eyes[0], eyes[1], tip, mouth - half, mouth + half]).astype(np.float32)
