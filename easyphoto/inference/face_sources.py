"""Which photo of a person the face fusion takes the face from: the one whose head looks where the template's does."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from easyphoto import pictures
from easyphoto.errors import InvalidRequest
from easyphoto.inference.gallery import SAME_SHOT, Gallery, Shot, main_face
from easyphoto.ports import Embedding, Face, Image, Vision
from easyphoto.vision import covering, embedder_named, eyewear, landmarks
from easyphoto.vision.pose import Pose, pose_in

log = logging.getLogger(__name__)

MAX_YAW, MAX_PITCH = 32.0, 30.0
"""The face of one head is bent onto another only if the two are turned apart by at most so many degrees. Faces that
were bent by 26 to 30 degrees of yaw look no worse than others, and from 40 degrees on the eyes look askew. The pitch,
which is measured from the length of the nose and so less surely, gets nearly as much."""
MAX_TURN = 65.0
"""A head that is turned further, in degrees, shows too little of its face for points that can be trusted."""
PITCH_WEIGHT = 0.5
NEAR, GAIN = 12.0, 6.0
"""The reference picture is the best one of the person. Another photo takes its place only where the head of the
reference looks more than ``NEAR`` degrees aside and that of the photo is ``GAIN`` degrees nearer."""
CLUTTER, GLASSES = 60.0, 12.0
"""As how many degrees it counts if the outline of a photo's face is nothing but clutter, and if a photo shows glasses
that most photos of the person don't."""


@dataclass(frozen=True, eq=False)
class FaceSource:
    """A picture, the face in it that is to be taken, and where that head looks."""

    image: Image
    face: Face
    pose: Pose


def look(image: Image, vision: Vision) -> FaceSource | None:
    """The picture with its largest face and where that face looks; None when the picture has no face."""
    face = main_face(image, vision)
    return None if face is None else FaceSource(image, face, pose_in(vision, image, face))


def apart(a: Pose, b: Pose) -> float:
    """How far two heads are turned apart, in degrees of yaw."""
    return math.hypot(a.yaw - b.yaw, PITCH_WEIGHT * (a.pitch - b.pitch))


def agree(a: Pose, b: Pose) -> bool:
    """Whether the face of one head can take the place of the face of the other."""
    if max(abs(a.yaw), abs(b.yaw)) > MAX_TURN:
        return False
    return abs(a.yaw - b.yaw) <= MAX_YAW and abs(a.pitch - b.pitch) <= MAX_PITCH


@dataclass(frozen=True)
class Untidiness:
    """What a photo would bring into a portrait beside the face: strands and ears at its outline, and glasses."""

    clutter: float
    glasses: bool

    def of(self, usual: bool) -> float:
        """By how many degrees a head may look further away and still be preferred. ``usual``: whether glasses belong to
        the person."""
        return CLUTTER * self.clutter + (GLASSES if self.glasses and not usual else 0.0)


class FaceSources:
    """The reference picture of a person and the photos of the person's gallery. A photo is read when it is first
    needed, and embedded when a portrait into which it was fused is first measured."""

    def __init__(self, reference: FaceSource, gallery: Gallery | None, vision: Vision) -> None:
        self.reference = reference
        self.gallery = gallery
        self._vision = vision
        self._read: dict[int, FaceSource | None] = {}
        self._embedded: dict[FaceSource, Embedding] = {}

    def nearest(self, head: Pose) -> FaceSource:
        """The picture whose head is nearest to a template's ``head``; of those that are about as near, one with a clean
        outline, and without glasses unless they belong to the person. The caller has to ask whether the two
        :func:`agree`."""
        best, gallery = self.reference, self.gallery
        if gallery is None or not gallery.shots:
            return best
        usual = gallery.mostly_glasses
        far = apart(best.pose, head)
        # The reference was chosen among the photos because it is the best: a small turn isn't held against it.
        most = self._untidiness.of(usual) + (far if far > NEAR else 0.0) - GAIN
        costs = [
            (apart(s.pose, head) + Untidiness(s.clutter, s.glasses).of(usual), i) for i, s in enumerate(gallery.shots)
        ]
        for cost, index in sorted(costs):
            if cost > most:
                break
            shot = gallery.shots[index]
            # A clean outline is no reason to take a head that looks elsewhere.
            found = self._load(index, shot) if apart(shot.pose, head) <= max(far, NEAR) else None
            if found is not None:
                return found
        return best

    @cached_property
    def _untidiness(self) -> Untidiness:
        """That of the reference."""
        points = landmarks.of(self._vision, self.reference.image, self.reference.face)
        image = self.reference.image
        return Untidiness(covering.clutter(image, points), eyewear.worn(image, points))

    def beside(self, first: FaceSource, head: Pose, count: int) -> list[FaceSource]:
        """At most ``count`` pictures: ``first``, then those of the gallery whose heads are nearest to ``head``. One
        shot comes once."""
        chosen = [first]
        if self.gallery is None or count < 2:
            return chosen
        taken = [self._embedding(first, self.gallery.embedder)]
        for index, shot in self._by_distance(head):
            if len(chosen) == count:
                break
            if max(float(np.dot(shot.embedding, other)) for other in taken) >= SAME_SHOT:
                continue
            found = self._load(index, shot)
            if found is not None:
                chosen.append(found)
                taken.append(shot.embedding)
        return chosen

    def _by_distance(self, head: Pose) -> list[tuple[int, Shot]]:
        """The shots of the gallery with their numbers, those first whose heads are nearest to ``head``."""
        shots = () if self.gallery is None else self.gallery.shots
        return sorted(enumerate(shots), key=lambda one: apart(one[1].pose, head))

    @property
    def median(self) -> float | None:
        """How alike the person's own photos are: the median cosine of two of them; None where that isn't known."""
        return None if self.gallery is None else self.gallery.median

    def compared_with(self, source: FaceSource | None, mean: Embedding) -> tuple[list[Embedding], str | None]:
        """The vectors with which a portrait is compared whose face was taken from ``source``, and the name of the
        embedder that made them (None: the embedder that serves now). Where there is another photo, the one that was
        fused in is left out, because it would only bear witness to itself."""
        if self.gallery is None or not self.gallery.shots:
            return [mean], None
        name = self.gallery.embedder
        return self.gallery.others(None if source is None else self._embedding(source, name)), name

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
