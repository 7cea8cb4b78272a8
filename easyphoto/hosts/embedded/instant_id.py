"""InstantID (Wang et al., "InstantID: Zero-shot identity-preserving generation in seconds", 2024): an adapter that is
told the vector of a face, and a ControlNet that holds the face in its place by five points and attends to the adapter's
tokens instead of the text."""

from __future__ import annotations

import logging

import numpy as np
import torch

from easyphoto.errors import InvalidRequest, NoFace
from easyphoto.hosts.embedded.adapters import faces_in, own_embedder, require_width
from easyphoto.ports import Embedding, FeatureEmbedder, Identity, IdentityKind, Image, Img2Img, Points, Txt2Img, Vision
from easyphoto.sd.adapter import INSTANTID_EMBEDDER, Adapter, Cue, Placing, Wants
from easyphoto.vision import annotate, largest

log = logging.getLogger(__name__)


def cue(identity: Identity, adapter: Adapter, vision: Vision, job: Txt2Img) -> Cue:
    """What InstantID is told of the person for ``job``: whose face it is, and where that is to be: where the picture of
    the pass has a face, and in a picture from text where the picture of the person has it.

    Raises :class:`InvalidRequest` where the file is no InstantID, :class:`AssetMissing` where its embedder can't be
    had, and :class:`NoFace` where the pictures of the person show none.
    """
    if adapter.wants is not Wants.PATCHES:  # its net is that of IP-Adapter's plus
        raise InvalidRequest("{path} is not an adapter of a kind that is known here.", path=adapter.name)
    vector = torch.from_numpy(_vector(identity, adapter, vision))[None, None, None]
    require_width(adapter, adapter.width, vector)
    return Cue(adapter, vector, torch.zeros_like(vector), identity.weight, _placing(identity, vision, job))


def _vector(identity: Identity, adapter: Adapter, vision: Vision) -> Embedding:
    """The mean of the pictures' vectors at their own length, by which InstantID was taught."""
    embedder = own_embedder(adapter, adapter.embedder or INSTANTID_EMBEDDER, vision)
    vectors = list[Embedding]()
    if isinstance(embedder, FeatureEmbedder):
        vectors = [embedder.features(picture, face) for picture, face in faces_in(identity, vision)]
    if not vectors:
        raise NoFace("The picture for the adapter has no face that can be found.")
    mean: Embedding = np.mean(np.stack(vectors), axis=0).astype(np.float32)
    return mean


def _placing(identity: Identity, vision: Vision, job: Txt2Img) -> Placing | None:
    if identity.placing <= 0:
        return None
    shown, size = job.image if isinstance(job, Img2Img) else identity.pictures[0], (job.height, job.width)
    face = largest(vision.detector.detect(shown))
    if face is None:
        log.warning("no face was found where InstantID is to hold one")
        return None
    drawing = annotate.face_keypoints(size, _fitted(face.points, shown, size))
    return Placing(IdentityKind.INSTANTID, drawing, identity.placing)


def _fitted(points: Points, picture: Image, size: tuple[int, int]) -> Points:
    """``points`` of a picture in the middle of another ``size``, (height, width), into which it is fitted whole."""
    height, width = picture.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    middle = np.array([size[1] - scale * width, size[0] - scale * height]) / 2
    fitted: Points = (points * scale + middle).astype(np.float32)
    return fitted
