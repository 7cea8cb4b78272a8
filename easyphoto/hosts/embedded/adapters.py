"""What the adapters of a picture are told of a person: the embedding of the face, or what CLIP sees in a photo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from easyphoto.errors import InvalidRequest
from easyphoto.ports import Embedding, Identity, Image, Vision
from easyphoto.sd.adapter import Adapter, Cue, Wants
from easyphoto.sd.loading import pretrained
from easyphoto.vision import embedder_named, largest
from easyphoto.vision.face_on_white import face_on_white

Seen: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""What is seen in a picture, and in nothing."""


class ImageEncoder:
    """CLIP's image encoder with its own way of preparing pictures."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

        self._model: Any = pretrained(CLIPVisionModelWithProjection, folder, dtype).eval().requires_grad_(False)
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
    :class:`VisionFailed` where the embedder for it can't be had.
    """
    if adapter.wants is Wants.FACE:
        vector = torch.from_numpy(_vector(identity, adapter, vision))[None, None]
        shown, blank = vector, torch.zeros_like(vector)
    else:
        patches = adapter.wants is Wants.PATCHES
        seen = [see(_face(picture, vision), patches) for picture in identity.pictures]
        shown, blank = (torch.cat(sides, 1) for sides in zip(*seen, strict=True))
    if shown.shape[-1] != adapter.width:
        raise InvalidRequest(
            "The adapter {adapter} takes {width} numbers and is given {count}: it belongs to another model.",
            adapter=adapter.name,
            width=adapter.width,
            count=shown.shape[-1],
        )
    return Cue(adapter, shown, blank, identity.weight)


def _vector(identity: Identity, adapter: Adapter, vision: Vision) -> Embedding:
    """The vector by the adapter's own embedder: the mean of the photos, or, where another embedder made that, the mean
    of the pictures."""
    if identity.embedder == adapter.embedder:
        return identity.embedding
    embedder, vectors = embedder_named(vision, adapter.embedder), list[Embedding]()
    for picture in identity.pictures:
        face = largest(vision.detector.detect(picture))
        if face is not None:
            vectors.append(embedder.embed(picture, face))
    if len(vectors) < 2:
        return vectors[0] if vectors else identity.embedding
    mean: Embedding = np.mean(np.stack(vectors), axis=0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)


def _face(picture: Image, vision: Vision) -> Image:
    face = largest(vision.detector.detect(picture))
    return picture if face is None else face_on_white(picture, face, vision.parser.parse(picture, face))
