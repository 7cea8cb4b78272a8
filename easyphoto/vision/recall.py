"""A detector that looks at each picture once.

Looking for faces takes tenths of a second, and the same pictures come again and again: the reference of a person in
every job, a template for each of the people who are put into it. A detector always finds the same in the same pixels,
so what it found is kept by a hash of them.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from easyphoto.ports import Face, FaceDetector, Image

KEPT = 64
"""What was found in so many pictures is kept, a few kilobytes for each; the picture that came longest ago goes."""


class RecallingDetector:
    """``inner`` with a memory. Safe to use from several threads. The faces that it gives are shared: nobody may change
    their arrays, which are therefore locked."""

    def __init__(self, inner: FaceDetector) -> None:
        self.name = inner.name
        self._inner = inner
        self._found: OrderedDict[Hashable, tuple[Face, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def detect(self, image: Image) -> list[Face]:
        """See :meth:`FaceDetector.detect`."""
        return self._recalled(_hash(image), lambda: self._inner.detect(image))

    def detect_near(self, image: Image, expected: Face) -> list[Face]:
        """See :func:`easyphoto.vision.detect_near`. A detector that has no way of its own finds all faces."""
        look = getattr(self._inner, "detect_near", None)
        if look is None:
            return self.detect(image)
        key = (_hash(image), expected.box, expected.points.tobytes())
        return self._recalled(key, lambda: look(image, expected))

    def _recalled(self, key: Hashable, look: Callable[[], list[Face]]) -> list[Face]:
        with self._lock:
            known = self._found.get(key)
            if known is not None:
                self._found.move_to_end(key)
                return list(known)
        found = look()
        for face in found:
            _lock_arrays(face)
        with self._lock:
            self._found[key] = tuple(found)
            while len(self._found) > KEPT:
                self._found.popitem(last=False)
        return found


def _hash(image: Image) -> Hashable:
    return image.shape, hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def _lock_arrays(face: Face) -> None:
    for array in (face.points, face.landmarks):
        if array is not None:
            array.flags.writeable = False
