"""How long and how fast a clip may be, and as what it can be written: what the edges tell without reading any."""

from __future__ import annotations

MAX_FRAMES = 20_000
"""Frames of one clip: eleven minutes at 30 a second."""
MAX_RATE = 60
FORMATS = ("mp4", "webm", "gif", "webp", "frames")
"""What a clip can be written as; ``frames`` is a folder of PNGs."""
