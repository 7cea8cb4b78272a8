"""High dynamic range to what a screen of eight bits shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from easyphoto.ports import Image

PQ, HLG = 16, 18
"""The numbers of the two transfer functions in ITU-T H.273: SMPTE ST 2084, and ARIB STD-B67."""
WHITE = 203.0
"""Nits of diffuse white in either (ITU-R BT.2408)."""
PEAK = 1000.0
"""Nits of the screen for which HLG is described."""
KNEE = 0.7
"""The share of diffuse white from which on lights are compressed."""
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
"""Linear BT.2020 to linear BT.709 (ITU-R BT.2087)."""
_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)


def to_eight_bits(deep: NDArray[np.uint16], transfer: int) -> Image:
    """An RGB frame of sixteen bits (height, width, 3) in BT.2020 with the ``transfer`` :data:`PQ` or :data:`HLG`, as
    sRGB. What is darker than :data:`KNEE` of diffuse white keeps its brightness, so that skin looks as it does without
    high dynamic range; lights above it come ever nearer to the brightest that there is, and keep their hue."""
    signal: NDArray[np.float32] = deep.astype(np.float32) / np.float32(65535)
    light = (_pq(signal) if transfer == PQ else _hlg(signal)) / WHITE
    luma = np.maximum(light @ _LUMA, 1e-6)[..., None]
    above = np.maximum(luma - KNEE, 0)
    bright = np.where(luma > KNEE, KNEE + (1 - KNEE) * (1 - np.exp(-above / (1 - KNEE))), luma)
    light = np.clip((light * (bright / luma)) @ _TO_709.T, 0, 1)
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)
    image: Image = np.rint(shown * 255).astype(np.uint8)
    return image


def _pq(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Nits of a PQ signal."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = np.power(signal, 1 / m2)
    result: NDArray[np.float32] = 10000 * np.power(np.maximum(power - c1, 0) / (c2 - c3 * power), 1 / m1)
    return result


def _hlg(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Nits of an HLG signal on a screen of 1000 nits."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal * signal / 3, (np.exp((signal - c) / a) + b) / 12)
    luma = (scene @ _LUMA)[..., None]
    result: NDArray[np.float32] = (PEAK * scene * np.power(np.maximum(luma, 1e-6), 0.2)).astype(np.float32)
    return result
