"""Backends that need downloaded weights, best first within each role. They come before the packaged ones."""

from __future__ import annotations

from easyphoto.vision.backend import Backend

BACKENDS: tuple[Backend, ...] = ()
