"""Counts the faces of templates that nobody has counted yet, and shows the faces of one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from easyphoto import pictures
from easyphoto.errors import EasyPhotoError
from easyphoto.pictures import Source
from easyphoto.ports import Image, Vision
from easyphoto.templates import Template
from easyphoto.templates.face_counts import FaceCounts, mark
from easyphoto.vision import geometry

_log = logging.getLogger(__name__)

_AROUND = 1.6
"""How many times as wide as the face its crop is."""


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


def crops(template: Source, vision: Vision) -> list[Image]:
    """The faces of a template from left to right, each cut out with some of what is around it. Raises
    :class:`InvalidRequest` when the template can't be read."""
    image = pictures.load(template)
    size = image.shape[0], image.shape[1]
    return [
        geometry.cut(image, geometry.face_crop(face, _AROUND, size)).copy() for face in vision.detector.detect(image)
    ]
