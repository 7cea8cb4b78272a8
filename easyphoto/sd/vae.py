"""Encoding and decoding with the VAE, in tiles where the memory is too small for a whole picture."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch.utils.checkpoint import checkpoint

from easyphoto.memory import TILE

log = logging.getLogger(__name__)
T = TypeVar("T")


def posterior(vae: Any, pixels: torch.Tensor) -> Any:
    """Return the distribution of the latents of ``pixels`` (n, 3, height, width) in [-1, 1]."""
    return _without_running_out(vae, lambda: vae.encode(pixels).latent_dist)


def decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Return the pixels (n, 3, height, width), about [-1, 1], of unscaled latents."""
    return torch.as_tensor(_without_running_out(vae, lambda: vae.decode(latents, return_dict=False)[0]))


def set_tiles(vae: Any, tiled: bool) -> None:
    """Let the VAE take pictures above 512 x 512 in blended pieces of that size, or whole."""
    if not tiled:
        vae.disable_tiling()
        return
    vae.enable_tiling()
    # Configurations give the size of the pictures that a VAE was made for, which for SDXL's is a whole picture.
    vae.tile_sample_min_size = TILE
    vae.tile_latent_min_size = TILE // 2 ** (len(vae.config.block_out_channels) - 1)


@contextmanager
def keeping_little(vae: Any) -> Iterator[None]:
    """While the block runs, let decoding keep little on the device for a gradient: each layer is computed again when
    the gradient comes back to it, and its input waits in the computer's memory. The gradient is the same."""
    from diffusers.models.attention_processor import Attention
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.upsampling import Upsample2D

    layers = [part for part in vae.decoder.modules() if isinstance(part, ResnetBlock2D | Upsample2D | Attention)]
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        with torch.autograd.graph.save_on_cpu():
            yield
    finally:
        for layer in layers:
            del layer.forward


def _without_running_out(vae: Any, work: Callable[[], T]) -> T:
    """Run the VAE, and run it again tile by tile if the memory is too small: it takes more than all steps before it."""
    try:
        return work()
    except torch.cuda.OutOfMemoryError:
        if vae.use_tiling:
            raise
        log.info("the memory is short: the VAE goes tile by tile")
    torch.cuda.empty_cache()
    with _in_tiles(vae):
        return work()


@contextmanager
def _in_tiles(vae: Any) -> Iterator[None]:
    set_tiles(vae, True)
    try:
        yield
    finally:
        set_tiles(vae, False)
