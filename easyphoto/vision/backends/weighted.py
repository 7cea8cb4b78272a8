"""The backends that need downloaded weights, the best first within each role. They come before the packaged ones.

``assets`` are names of the catalog, which also has their licences; ``python -m easyphoto models fetch`` gets them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from easyphoto.messages import Message
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
from easyphoto.vision.inventory import find

_ONNX = ("onnxruntime",)
_INSIGHTFACE = ("insightface", "onnx", "onnxruntime")
_INSIGHT = "MIT code; InsightFace weights: non-commercial research only"


def _scrfd(asset: str) -> Callable[[Context], FaceDetector]:
    def make(context: Context) -> FaceDetector:
        from easyphoto.vision.backends.arcface import ScrfdDetector

        return ScrfdDetector(find(context.models, asset))

    return make


def _arcface(asset: str, name: str) -> Callable[[Context], FaceEmbedder]:
    def make(context: Context) -> FaceEmbedder:
        from easyphoto.vision.backends import arcface

        calibration = arcface.AURAFACE if name == "auraface" else arcface.ARCFACE
        return arcface.ArcFaceEmbedder(find(context.models, asset), name, calibration)

    return make


def _facemesh(context: Context) -> FaceLandmarker:
    from easyphoto.vision.backends.facemesh import FaceMesh

    return FaceMesh(find(context.models, "facemesh-graph"), find(context.models, "facemesh-weights"))


def _inswapper(context: Context) -> FaceFuser:
    from easyphoto.vision.backends.arcface import ArcFaceEmbedder, InswapperFuser

    embedder = ArcFaceEmbedder(find(context.models, "buffalo-w600k_r50"), "buffalo_l")
    return InswapperFuser(find(context.models, "inswapper"), embedder)


def _bisenet(context: Context) -> FaceParser:
    from easyphoto.vision.backends.bisenet import BiSeNetParser

    return BiSeNetParser(find(context.models, "bisenet"))


def _u2net(context: Context) -> Saliency:
    from easyphoto.vision.backends.u2net import U2NetSaliency

    return U2NetSaliency(find(context.models, "u2net"))


def _retouch(context: Context) -> Retoucher:
    from easyphoto.vision.backends.retouch import RetouchNet

    return RetouchNet(find(context.models, "skin-retouching"), context)


def _gpen(context: Context) -> Enhancer:
    from easyphoto.vision.backends.lanczos import LanczosEnhancer
    from easyphoto.vision.backends.upscale import GpenEnhancer

    return GpenEnhancer(find(context.models, "gpen"), LanczosEnhancer(), context)


def _realesrgan(context: Context) -> Enhancer:
    from easyphoto.vision.backends.upscale import RrdbEnhancer

    return RrdbEnhancer(find(context.models, "realesrgan-x2"))


def _needs(
    name: str,
    role: str,
    make: Callable[[Context], Any],
    licence: str,
    *assets: str,
    packages: tuple[str, ...],
    commercial: bool = False,
) -> Backend:
    return Backend(name, role, make, licence, commercial, packages=packages, assets=assets)


BACKENDS: tuple[Backend, ...] = (
    _needs(
        "insightface",
        "detector",
        _scrfd("buffalo-det_10g"),
        _INSIGHT,
        "buffalo-det_10g",
        packages=_INSIGHTFACE,
    ),
    _needs(
        "buffalo_l",
        "embedder",
        _arcface("buffalo-w600k_r50", "buffalo_l"),
        _INSIGHT,
        "buffalo-w600k_r50",
        packages=_INSIGHTFACE,
    ),
    _needs(
        "antelopev2",
        "embedder",
        _arcface("antelope-glintr100", "antelopev2"),
        _INSIGHT,
        "antelope-glintr100",
        packages=_INSIGHTFACE,
    ),
    _needs(
        "auraface",
        "embedder",
        _arcface("auraface", "auraface"),
        "MIT code; weights Apache-2.0",
        "auraface",
        packages=_INSIGHTFACE,
        commercial=True,
    ),
    _needs(
        "facemesh",
        "landmarks",
        _facemesh,
        "weights Apache-2.0",
        "facemesh-graph",
        "facemesh-weights",
        packages=("torch",),
        commercial=True,
    ),
    _needs(
        "bisenet",
        "parser",
        _bisenet,
        "weights MIT, trained on CelebAMask-HQ: non-commercial research only",
        "bisenet",
        packages=("torch",),
    ),
    _needs("u2net", "saliency", _u2net, "weights Apache-2.0", "u2net", packages=_ONNX, commercial=True),
    _needs(
        "skin-retouching",
        "retoucher",
        _retouch,
        "weights Apache-2.0, trained on FFHQR: non-commercial",
        "skin-retouching",
        packages=("torch",),
    ),
    _needs("inswapper", "fuser", _inswapper, _INSIGHT, "inswapper", "buffalo-w600k_r50", packages=_INSIGHTFACE),
    _needs("gpen", "enhancer", _gpen, Message("GPEN: academic and non-commercial"), "gpen", packages=_ONNX),
    _needs(
        "realesrgan",
        "enhancer",
        _realesrgan,
        "weights BSD-3-Clause",
        "realesrgan-x2",
        packages=("torch",),
        commercial=True,
    ),
)
