"""The sampler carries gradients: from a pixel, through the decoder and the last steps, to a weight of a LoRA."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from easyphoto import sd
from easyphoto.ports import Image, Img2Img
from easyphoto.sd import render, sampling, vae
from easyphoto.sd.sampling import Sampling
from easyphoto.training.lora import LoraShape, TrainedLora

STEPS = 4


@pytest.fixture
def parts(tiny_folder: Path) -> sd.Parts:
    """Of one's own: a LoRA is put into them."""
    return sd.load(tiny_folder, device="cpu", dtype=torch.float32)


def job(image: Image, sampler: str) -> Img2Img:
    mask = np.zeros(image.shape[:2], np.float32)
    mask[16:48, 16:48] = 1
    return Img2Img(
        prompt="a face", width=64, height=64, steps=STEPS, sampler=sampler, cfg_scale=3.0, seed=3,
        image=image, denoising_strength=0.99, mask=mask, mask_blur=0,
    )  # fmt: skip


def pixels(parts: sd.Parts, work: Img2Img, with_gradient: int) -> torch.Tensor:
    run = Sampling.prepare(parts, work, {}, soft=True)
    original = sampling.encode_image(parts, work.image)
    assert work.mask is not None
    run.hold(original, work.mask)
    latents = run.run(run.add_noise(original, run.noise(), 0), 0, None, with_gradient=with_gradient)
    return sampling.decode(parts, latents)


@pytest.mark.parametrize("sampler", ["DDIM", "Euler", "DPM++ 2M Karras"])
def test_a_pixel_moves_with_a_weight_as_its_gradient_says(parts: sd.Parts, sampler: str) -> None:
    image = np.random.default_rng(0).integers(60, 190, (64, 64, 3), dtype=np.uint8)
    lora = TrainedLora(parts, LoraShape(2, 2.0), seed=0, train_text=False)
    work, weights = job(image, sampler), lora.parameters()
    with torch.no_grad():
        for weight in weights:
            weight.normal_(std=0.05, generator=torch.Generator().manual_seed(1))
    region = (0, slice(None), slice(20, 44), slice(20, 44))
    torch.autograd.backward(pixels(parts, work, STEPS)[region].mean())
    weight = max(weights, key=lambda w: float(w.grad.abs().max()) if w.grad is not None else 0.0)
    assert weight.grad is not None
    place = int(weight.grad.abs().argmax())
    expected = float(weight.grad.flatten()[place])
    assert expected != 0
    moved = []
    with torch.no_grad():
        for step in (1e-2, -1e-2):
            weight.view(-1)[place] += step
            moved.append(float(pixels(parts, work, 0)[region].double().mean()))
            weight.view(-1)[place] -= step
    assert (moved[0] - moved[1]) / 2e-2 == pytest.approx(expected, rel=0.05)


def test_only_the_last_steps_keep_it_and_a_picture_needs_none(parts: sd.Parts) -> None:
    image = np.full((64, 64, 3), 128, np.uint8)
    lora = TrainedLora(parts, LoraShape(2, 2.0), seed=0, train_text=False)
    work = job(image, "DDIM")
    last, none = pixels(parts, work, 1), pixels(parts, work, 0)
    assert last.requires_grad and not none.requires_grad
    assert torch.equal(last.detach(), none)
    outside = work.mask == 0
    drawn = render.img2img(parts, work).image
    assert np.array_equal(drawn[outside], image[outside])
    torch.autograd.backward(last.mean())
    assert any(w.grad is not None and bool(w.grad.any()) for w in lora.parameters())


def test_a_decoder_that_keeps_little_has_the_same_gradient_and_is_the_old_one_afterwards(tiny_folder: Path) -> None:
    parts = sd.load(tiny_folder, device="cpu", dtype=torch.float32)
    parts.vae.requires_grad_(False)
    source = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))

    def decoded(latents: torch.Tensor, how: AbstractContextManager[None]) -> tuple[torch.Tensor, int]:
        kept = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), how:
            return sampling.decode_in_place(parts, latents), kept

    plain, careful = (source.clone().requires_grad_(True) for _ in range(2))
    whole, much = decoded(plain, nullcontext())
    piece, little = decoded(careful, vae.keeping_little(parts.vae))
    again, as_before = decoded(source.clone().requires_grad_(True), nullcontext())
    assert torch.equal(piece, whole) and torch.equal(again, whole)
    assert little < much / 20 and as_before == much, "what is kept waits in the computer's memory"
    for pixels_made in (whole, piece):
        pixels_made.square().mean().backward()
    assert careful.grad is not None and plain.grad is not None and bool(plain.grad.any())
    assert torch.equal(careful.grad, plain.grad)
