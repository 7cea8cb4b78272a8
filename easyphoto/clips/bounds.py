"""How long and how fast a clip may be, and as what it can be written: what the edges tell without reading any."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

MAX_FRAMES = 20_000
"""Frames of one clip: eleven minutes at 30 a second."""
MAX_RATE = 60
DRAWN_FRAMES, MAX_DRAWN = 16, 240
"""How many frames a clip has that is drawn, unless another number is asked for, and at most: they are shown eight a
second and held in memory together."""
FileFormat: TypeAlias = Literal["mp4", "webm", "gif", "webp"]
"""The files that a clip can be."""
FRAMES = "frames"
"""A folder of PNGs."""
FORMATS: tuple[str, ...] = (*get_args(FileFormat), FRAMES)
"""What a clip can be written as."""
