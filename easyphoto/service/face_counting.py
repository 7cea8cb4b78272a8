"""Counts the faces of templates that nobody has counted yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from easyphoto import pictures
from easyphoto.errors import EasyPhotoError
from easyphoto.ports import Vision
from easyphoto.templates import Template
from easyphoto.templates.face_counts import FaceCounts, mark

_log = logging.getLogger(__name__)


def count(templates: Iterable[Template], vision: Vision, counts: FaceCounts, seconds: float | None = None) -> int:
    """Count the faces of those templates that have no count, and remember them. Returns how many are left because
    ``seconds`` had passed; at least one is counted. A picture that can't be read shows no face."""
    left = [template for template in templates if template.faces is None]
    found: dict[str, int] = {}
    began = time.monotonic()
    while left and not (found and seconds is not None and time.monotonic() - began >= seconds):
        path = left.pop(0).path
        try:
            found[mark(path)] = len(vision.detector.detect(pictures.load(path)))
        except (EasyPhotoError, OSError) as error:
            _log.info("The faces of %s can't be counted: %s", path.name, error)
            found[mark(path)] = 0
    counts.remember(found)
    return len(left)
