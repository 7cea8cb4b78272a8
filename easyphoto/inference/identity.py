"""What a pass over a face is given of the person's pictures, beside the LoRA."""

from __future__ import annotations

from dataclasses import dataclass

from easyphoto.families.spec import IdentityFeed, IdentityRow
from easyphoto.inference.face_sources import FaceSources
from easyphoto.ports import Embedding, Identity
from easyphoto.vision.pose import Pose


@dataclass(frozen=True, eq=False)
class Appearance:
    """What the pictures of a person show. ``mean`` is the mean of the embeddings of all photos, which the ``embedder``
    of that name made. ``head`` is where the head looks on the template into which the person comes. ``alone`` says that
    the person was never trained, so that there is no LoRA beside the pictures."""

    sources: FaceSources
    mean: Embedding
    embedder: str
    head: Pose
    alone: bool = False

    def identity(self, row: IdentityRow) -> Identity:
        """The identity that ``row`` asks for, taken from the pictures of this person."""
        nearest = row.feed is IdentityFeed.NEAREST
        source = self.sources.nearest(self.head) if nearest else self.sources.reference
        return Identity(row.kind, (source.image,), self.mean, self.embedder, row.weight)
