"""What a pass over a face is given of the person's pictures, beside the LoRA."""

from __future__ import annotations

from dataclasses import dataclass

from easyphoto.families.spec import IdentityFeed, IdentityRow
from easyphoto.inference.face_sources import FaceSources
from easyphoto.ports import Embedding, Identity, Image
from easyphoto.vision.pose import Pose


@dataclass(frozen=True, eq=False)
class Appearance:
    """What the pictures of a person show. ``mean`` is the mean of the embeddings of all photos, which the ``embedder``
    of that name made. ``head`` is where the head looks on the template into which the person comes. ``given`` is a
    picture that the user wants to be shown instead of the person's own; ``mean`` is then its embedding."""

    sources: FaceSources
    mean: Embedding
    embedder: str
    head: Pose
    given: Image | None = None

    def identity(self, row: IdentityRow) -> Identity:
        """The identity that ``row`` asks for, taken from the pictures of this person."""
        return Identity(row.kind, self._pictures(row), self.mean, self.embedder, row.weight, row.place)

    def _pictures(self, row: IdentityRow) -> tuple[Image, ...]:
        if self.given is not None:
            return (self.given,)
        nearest = row.feed is IdentityFeed.NEAREST
        first = self.sources.nearest(self.head) if nearest else self.sources.reference
        return tuple(source.image for source in self.sources.beside(first, self.head, row.count))
