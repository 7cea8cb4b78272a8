"""The parts of a face by polygons of its 68 points."""

from __future__ import annotations

from easyphoto.ports import Face, FaceParts, Image
from easyphoto.vision.backend import Context
from easyphoto.vision.face_parts import face_parts


class LandmarkParser:
    """Finds the parts of a face from its landmarks, and needs no weights of its own."""

    name = "landmarks"

    def __init__(self, context: Context) -> None:
        self._landmarks = context.landmarks

    def parse(self, image: Image, face: Face) -> FaceParts:
        return face_parts(image, self._landmarks(image, face))
