"""Small ICC profiles, made from primaries and a tone curve, for files that say what their colours mean without carrying
a profile."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

XY: TypeAlias = tuple[float, float]
"""A chromaticity of the CIE 1931 diagram."""

D65: XY = (0.3127, 0.3290)
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class Space:
    """A space of colours: the chromaticities of white and of the primaries, and the tone curve. ``gamma`` is the
    exponent of the curve; None stands for the curve of sRGB."""

    red: XY
    green: XY
    blue: XY
    white: XY = D65
    gamma: float | None = None


SRGB = Space((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE_RGB = Space((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), gamma=563 / 256)
DISPLAY_P3 = Space((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
REC_2020 = Space((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))


def icc(space: Space) -> bytes:
    """The ICC profile of ``space`` (version 4, for a display, of a matrix and a curve).

    Raises ``ValueError`` when the chromaticities span no colours."""
    colorants, adaptation = _colorants(space)
    curve = _curve(space.gamma)
    tags = {
        b"desc": _text(b"desc"),
        b"cprt": _text(b"none"),
        b"wtpt": _xyz(_D50),
        b"chad": b"sf32" + bytes(4) + b"".join(_fixed(v) for v in adaptation.ravel()),
        **{name: _xyz(colorants[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = struct.pack(">I", start + len(data)) + bytes(4) + b"\x04\x30\x00\x00" + b"mntrRGB XYZ "
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += b"".join(_fixed(float(v)) for v in _D50)
    return head.ljust(128, b"\0") + table + data


def _colorants(space: Space) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The XYZ of the primaries in columns, adapted to D50, and the matrix of that adaptation."""
    primaries = np.column_stack([_to_xyz(c) for c in (space.red, space.green, space.blue)])
    white = _to_xyz(space.white)
    if abs(float(np.linalg.det(primaries))) < 1e-4:
        raise ValueError("the primaries lie on one line")
    scaled = primaries * np.linalg.solve(primaries, white)
    cones = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD
    adapted = adaptation @ scaled
    if not np.isfinite(adapted).all() or np.abs(adapted).max() > 4:
        raise ValueError("the primaries span no colours")
    return adapted, adaptation


def _to_xyz(place: XY) -> NDArray[np.float64]:
    x, y = place
    if not (0 < y <= 1 and 0 <= x <= 1):
        raise ValueError("a chromaticity lies outside the diagram")
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _curve(gamma: float | None) -> bytes:
    if gamma is None:
        values = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
        return b"para" + bytes(4) + struct.pack(">HH", 3, 0) + b"".join(_fixed(v) for v in values)
    return b"para" + bytes(4) + struct.pack(">HH", 0, 0) + _fixed(gamma)


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(_fixed(float(v)) for v in values)


def _text(text: bytes) -> bytes:
    wide = text.decode().encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II", 1, 12) + b"enUS" + struct.pack(">II", len(wide), 28) + wide


def _fixed(value: float) -> bytes:
    """A number as ICC's s15Fixed16: 16 bits before and 16 bits after the point."""
    return struct.pack(">i", round(value * 65536))
