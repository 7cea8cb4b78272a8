"""What the adapters of a picture are told of a person: the embedding of the face, or what CLIP sees in a photo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from easyphoto.errors import AssetMissing, InvalidRequest, VisionFailed
from easyphoto.ports import Embedding, Face, FaceEmbedder, Identity, Image, Vision
from easyphoto.sd.adapter import Adapter, Cue, Wants, beside
from easyphoto.sd.loading import load_image_encoder
from easyphoto.vision import embedder_named, largest
from easyphoto.vision.face_on_white import largest_on_white

Seen: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""What is seen in a picture, and in nothing."""


class ImageEncoder:
    """CLIP's image encoder with its own way of preparing pictures."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        """``path`` is that of a folder or of a file; see :func:`easyphoto.sd.loading.load_image_encoder`."""
        from transformers import CLIPImageProcessor

        self._model: Any = load_image_encoder(path, dtype=dtype)
        side = int(self._model.config.image_size)
        self._prepare = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})

    @torch.no_grad()
    def see(self, picture: Image, *, patches: bool, device: torch.device) -> Seen:
        """What it sees in the picture and in nothing: the last hidden layer but one (1, 1, patches, features), or the
        vector of the whole (1, 1, features). It is on ``device`` only meanwhile."""
        pixels = torch.as_tensor(np.asarray(self._prepare(picture, return_tensors="np")["pixel_values"]))
        self._model.to(device)
        try:
            both = torch.cat([pixels, torch.zeros_like(pixels)]).to(device, next(self._model.parameters()).dtype)
            output = self._model(both, output_hidden_states=patches)
            seen = output.hidden_states[-2] if patches else output.image_embeds
        finally:
            self._model.to("cpu")
        # The vector of nothing is zero; only its patches are those of a picture of zeros.
        return seen[:1, None], seen[1:, None] if patches else torch.zeros_like(seen[1:, None])


def cue(identity: Identity, adapter: Adapter, vision: Vision, see: Callable[[Image, bool], Seen]) -> Cue:
    """What ``adapter`` is told of the person. ``see`` is how CLIP's image encoder sees a picture (its patches or not).

    Raises :class:`InvalidRequest` where the adapter takes vectors of another length than there are, and
    :class:`AssetMissing` where the embedder for it can't be had.
    """
    if not adapter.wants.of_face:
        shown, blank = _pictures(identity, vision, see, adapter.wants is Wants.PATCHES)
        require_width(adapter, adapter.width, shown)
        return Cue(adapter, shown, blank, identity.weight)
    vector = torch.from_numpy(_vector(identity, adapter, vision))[None, None]
    nobody = torch.zeros_like(vector)
    require_width(adapter, adapter.width, vector)
    if adapter.wants is Wants.FACE:
        return Cue(adapter, vector, nobody, identity.weight)
    shown, blank = _pictures(identity, vision, see, patches=True)
    require_width(adapter, adapter.patch_width, shown)
    return Cue(adapter, beside(vector, shown), beside(nobody, blank), identity.weight)


def own_embedder(adapter: Adapter, name: str, vision: Vision) -> FaceEmbedder:
    """The embedder whose vectors ``adapter`` was taught. Raises :class:`AssetMissing` where it can't be had."""
    try:
        return embedder_named(vision, name)
    except VisionFailed as error:
        raise AssetMissing(
            "The adapter {adapter} knows faces as {embedder} describes them, which isn't here: the Weights tab and "
            "`python -m easyphoto models` say how to get it.",
            adapter=adapter.name,
            embedder=name,
        ) from error


def _pictures(identity: Identity, vision: Vision, see: Callable[[Image, bool], Seen], patches: bool) -> Seen:
    """What CLIP sees in the faces of all pictures."""
    seen = [see(largest_on_white(picture, vision), patches) for picture in identity.pictures]
    shown, blank = (torch.cat(sides, 1) for sides in zip(*seen, strict=True))
    return shown, blank


def faces_in(identity: Identity, vision: Vision) -> list[tuple[Image, Face]]:
    """The pictures of the person that show a face, each with its largest one."""
    found = [(picture, largest(vision.detector.detect(picture))) for picture in identity.pictures]
    return [(picture, face) for picture, face in found if face is not None]


def require_width(adapter: Adapter, width: int, given: torch.Tensor) -> None:
    """Raise :class:`InvalidRequest` where what ``adapter`` is to be told hasn't the ``width`` that it takes."""
    if given.shape[-1] != width:
        raise InvalidRequest(
            "The adapter {adapter} takes {width} numbers and is given {count}: it belongs to another model.",
            adapter=adapter.name,
            width=width,
            count=given.shape[-1],
        )


def _vector(identity: Identity, adapter: Adapter, vision: Vision) -> Embedding:
    """The vector by the adapter's own embedder: the mean of the photos, or, where another embedder made that, the mean
    of the pictures."""
    if identity.embedder == adapter.embedder:
        return identity.embedding
    embedder = own_embedder(adapter, adapter.embedder, vision)
    vectors = [embedder.embed(picture, face) for picture, face in faces_in(identity, vision)]
    if len(vectors) < 2:
        return vectors[0] if vectors else identity.embedding
    mean: Embedding = np.mean(np.stack(vectors), axis=0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
