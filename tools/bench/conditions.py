"""The condition pictures of cached frames, made on the device: the same as benchkit.control_image draws."""

from __future__ import annotations

import torch
from latents import Bucket
from torch.nn import functional


def condition(kind: str, bucket: Bucket, places: torch.Tensor) -> torch.Tensor:
    """The conditions (n, 3, h, w) in [0, 1] of some frames of a bucket that was made with pictures."""
    if kind in ("canny", "openpose"):
        drawn = bucket.kept("edges" if kind == "canny" else "dots")[places]
        return drawn[:, None].expand(-1, 3, -1, -1).float() / 255
    pictures = bucket.kept("pictures")[places].permute(0, 3, 1, 2).float()
    size = (pictures.shape[-2], pictures.shape[-1])
    if kind == "color":
        small = functional.avg_pool2d(pictures, max(1, size[1] // 16)).round()
        return functional.interpolate(small, size, mode="nearest-exact") / 255
    if kind == "tile":
        small = functional.avg_pool2d(pictures, 4).round()
        return functional.interpolate(small, size, mode="bilinear", align_corners=False).round() / 255
    raise ValueError(f"unknown control kind {kind!r}")
