"""How a picture that is being sampled gets to whoever looks at it: as a small JPEG, and not more often than one can
look."""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import BytesIO

from PIL import Image as PilImage

from easyphoto.events import Listener, Preview, wants_previews
from easyphoto.ports import Image

EVERY = 1.0
"""Seconds between two previews: a page looks once a second."""
SIDE = 256
"""The longer side of a preview, in pixels, at most."""
MOST_BYTES = 20_000
QUALITIES = (85, 70, 50, 30)
"""The qualities of JPEG that are tried until a preview is small enough; the last one is at :data:`SIDE` pixels always
so."""


class Previewer:
    """Sends ``listener`` the previews that somebody looks at."""

    def __init__(self, listener: Listener, clock: Callable[[], float]) -> None:
        self._listener = listener
        self._clock = clock
        self._sent = float("-inf")

    def wanted(self) -> bool:
        """Whether it is time for another one."""
        return self._clock() - self._sent >= EVERY and wants_previews(self._listener)

    def send(self, stage: str, picture: Image) -> None:
        self._sent = self._clock()
        self._listener(Preview(stage=stage, jpeg=base64.b64encode(jpeg(picture)).decode("ascii")))


def jpeg(picture: Image) -> bytes:
    """Return a picture as a JPEG file of at most :data:`MOST_BYTES` bytes and :data:`SIDE` pixels."""
    small = PilImage.fromarray(picture)
    small.thumbnail((SIDE, SIDE))
    for quality in QUALITIES:
        file = BytesIO()
        small.save(file, format="JPEG", quality=quality)
        if file.tell() <= MOST_BYTES:
            break
    return file.getvalue()
