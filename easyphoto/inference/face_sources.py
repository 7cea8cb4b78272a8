"""Which photo of a person face fusion takes the face from: the one whose head looks where the template's does."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from easyphoto import pictures
from easyphoto.errors import InvalidRequest
from easyphoto.inference.gallery import Gallery, Shot, main_face
from easyphoto.ports import Embedding, Face, Image, Vision
from easyphoto.vision import embedder_named
from easyphoto.vision.pose import Pose, pose_in

log = logging.getLogger(__name__)

MAX_YAW, MAX_PITCH = 25.0, 30.0
"""How many degrees two heads may be turned apart, at most, for one's face to be bent onto the other. Pitch is measured
less surely: it hangs on the length of the nose."""
MAX_TURN = 65.0
"""A head that is turned further shows too little of its face for points that hold."""
PITCH_WEIGHT = 0.5
NEAR, GAIN = 12.0, 6.0
"""The reference picture, the best one of the person, is left for another when its head looks more than ``NEAR`` degrees
aside and the other's is ``GAIN`` degrees nearer."""


@dataclass(frozen=True, eq=False)
class FaceSource:
    """A picture with the face that is taken from it."""

    image: Image
    face: Face
    pose: Pose


def look(image: Image, vision: Vision) -> FaceSource | None:
    """The picture with its largest face and where that looks; None when it has none."""
    face = main_face(image, vision)
    return None if face is None else FaceSource(image, face, pose_in(vision, image, face))


def apart(a: Pose, b: Pose) -> float:
    """How far two heads are turned apart, in degrees of yaw."""
    return math.hypot(a.yaw - b.yaw, PITCH_WEIGHT * (a.pitch - b.pitch))


def agree(a: Pose, b: Pose) -> bool:
    """Whether the face of one head can take the place of the other's."""
    if max(abs(a.yaw), abs(b.yaw)) > MAX_TURN:
        return False
    return abs(a.yaw - b.yaw) <= MAX_YAW and abs(a.pitch - b.pitch) <= MAX_PITCH


class FaceSources:
    """The reference picture of a person and the photos of its gallery, each read when it is first needed and embedded
    when it was first fused in."""

    def __init__(self, reference: FaceSource, gallery: Gallery | None, vision: Vision) -> None:
        self.reference = reference
        self._gallery = gallery
        self._vision = vision
        self._read: dict[int, FaceSource | None] = {}
        self._embedded: dict[FaceSource, Embedding] = {}

    def nearest(self, head: Pose) -> FaceSource:
        """What is taken for a template's ``head``; whether it agrees with it is for the caller to see."""
        best = self.reference
        if self._gallery is None or apart(best.pose, head) <= NEAR:
            return best
        order = sorted(range(len(self._gallery.shots)), key=lambda i: apart(self._gallery.shots[i].pose, head))  # type: ignore[union-attr]
        for index in order:
            if apart(self._gallery.shots[index].pose, head) > apart(best.pose, head) - GAIN:
                break
            found = self._load(index, self._gallery.shots[index])
            if found is not None:
                return found
        return best

    def compared_with(self, source: FaceSource | None, mean: Embedding) -> tuple[list[Embedding], str | None]:
        """The vectors that a portrait is compared with whose face was taken from ``source``, and whose they are (None:
        those of the embedder that serves). What was laid in is no witness of itself where there is another photo."""
        if self._gallery is None or not self._gallery.shots:
            return [mean], None
        name = self._gallery.embedder
        return self._gallery.others(None if source is None else self._embedding(source, name)), name

    def _embedding(self, source: FaceSource, embedder: str) -> Embedding:
        if source not in self._embedded:
            self._embedded[source] = embedder_named(self._vision, embedder).embed(source.image, source.face)
        return self._embedded[source]

    def _load(self, index: int, shot: Shot) -> FaceSource | None:
        if index not in self._read:
            self._read[index] = self._look(shot)
        return self._read[index]

    def _look(self, shot: Shot) -> FaceSource | None:
        try:
            image = pictures.load(shot.path)
        except InvalidRequest as error:
            log.warning("a photo is not fused from: %s", error)
            return None
        return look(image, self._vision)
