"""Tests of rendering on a tiny random model: it can be reproduced, masked, controlled and stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from easyphoto import sd
from easyphoto.errors import AssetMissing, Cancelled, InvalidRequest
from easyphoto.ports import Control, ControlRole, Image, Img2Img, Mask, Txt2Img
from easyphoto.sd import render, samplers, sampling, vae
from easyphoto.sd.control import layer_weights
from easyphoto.sd.projection import Projection
from tests import tiny
from tests.fakes import Looking

SIDE = 64


@pytest.fixture(scope="module")
def image() -> Image:
    return np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def mask() -> Mask:
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[16:40, 24:48] = 1
    return mask


@pytest.fixture(scope="module")
def canny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return sd.load_controlnet(
        tiny.controlnet(tmp_path_factory.mktemp("cn") / "canny"), device="cpu", dtype=torch.float32
    )


def text_job(**more: Any) -> Txt2Img:
    return Txt2Img(**{"prompt": "a photo", "width": SIDE, "height": SIDE, "steps": 4, "seed": 3, **more})


def image_job(image: Image, **more: Any) -> Img2Img:
    given = {"prompt": "a photo", "width": SIDE, "height": SIDE, "steps": 10, "seed": 3, "denoising_strength": 0.45}
    return Img2Img(**{**given, "image": image, **more})


@pytest.mark.thorough
@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_every_sampler_makes_the_same_picture_from_the_same_seed(
    parts: sd.Parts, image: Image, mask: Mask, sampler: str
) -> None:
    job = image_job(image, mask=mask, mask_blur=2, sampler=sampler)
    first, second = render.img2img(parts, job), render.img2img(parts, job)
    assert np.array_equal(first.image, second.image)
    other = render.img2img(parts, image_job(image, mask=mask, mask_blur=2, sampler=sampler, seed=4))
    assert not np.array_equal(first.image, other.image)
    drawn = render.txt2img(parts, text_job(sampler=sampler))
    assert drawn.image.shape == (SIDE, SIDE, 3)
    assert drawn.image.dtype == np.uint8
    assert drawn.image.std() > 1


@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
@pytest.mark.parametrize(("steps", "strength"), [(1, 1.0), (2, 0.3), (60, 0.02)])
def test_few_and_many_steps(parts: sd.Parts, image: Image, sampler: str, steps: int, strength: float) -> None:
    done = render.img2img(parts, image_job(image, steps=steps, denoising_strength=strength, sampler=sampler))
    assert done.image.std() > 1


def test_samplers_differ(parts: sd.Parts) -> None:
    pictures = [render.txt2img(parts, text_job(sampler=name, steps=6)).image.tobytes() for name in samplers.SAMPLERS]
    assert len(set(pictures)) == len(pictures)


def test_an_unknown_sampler_is_named(parts: sd.Parts) -> None:
    with pytest.raises(InvalidRequest, match="Nonsense"):
        render.txt2img(parts, text_job(sampler="Nonsense"))


@pytest.mark.thorough
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_outside_the_blurred_mask_nothing_changes(
    tmp_path: Path, image: Image, mask: Mask, sampler: str, prediction: str
) -> None:
    parts = sd.load(tiny.folder(tmp_path / "m", prediction=prediction), device="cpu", dtype=torch.float32)
    assert parts.prediction == prediction
    done = render.img2img(parts, image_job(image, mask=mask, mask_blur=3, sampler=sampler, denoising_strength=1))
    outside = render.blur(mask, 3) == 0
    assert 0 < outside.sum() < outside.size
    assert np.array_equal(done.image[outside], image[outside])
    assert (done.image[mask == 1] != image[mask == 1]).mean() > 0.9


@pytest.mark.parametrize("sampler", ["DPM++ 2M SDE Karras", "Euler a", "DDIM", "LCM"])
def test_the_model_sees_the_original_outside_the_mask_at_every_step(
    parts: sd.Parts, image: Image, mask: Mask, sampler: str
) -> None:
    """The prediction that the sampler is given stands for the original, noised, wherever the mask is 0."""
    seen = []
    step = sampling.Sampling.blend

    def spy(self: Any, x: torch.Tensor, t: torch.Tensor, output: torch.Tensor, index: int) -> torch.Tensor:
        blended = step(self, x, t, output, index)
        a, s = self._signal_and_noise(t, index)
        clean = (x - s * blended) / a
        seen.append(float(((clean - self.original) * (1 - self.mask)).abs().max()))
        assert float(((clean - self.original) * self.mask).abs().max()) > 0.01
        return blended

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling.Sampling, "blend", spy)
        render.img2img(parts, image_job(image, mask=mask, mask_blur=0, sampler=sampler))
    assert len(seen) == 5
    assert max(seen) < 1e-4


def test_a_blur_of_nothing_is_a_hard_edge(parts: sd.Parts, image: Image, mask: Mask) -> None:
    done = render.img2img(parts, image_job(image, mask=mask, mask_blur=0))
    assert np.array_equal(done.image[mask == 0], image[mask == 0])


def test_an_empty_mask_gives_the_picture_back(parts: sd.Parts, image: Image) -> None:
    done = render.img2img(parts, image_job(image, mask=np.zeros((SIDE, SIDE), np.float32)))
    assert np.array_equal(done.image, image)


@pytest.mark.parametrize(("steps", "strength", "run"), [(50, 0.45, 23), (20, 0.3, 7), (20, 1.0, 20), (1, 0.1, 1)])
def test_img2img_runs_as_many_steps_as_a_webui(
    parts: sd.Parts, image: Image, steps: int, strength: float, run: int
) -> None:
    seen: list[tuple[int, int]] = []
    job = image_job(image, steps=steps, denoising_strength=strength, sampler="Euler")
    render.img2img(parts, job, None, lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, run) for i in range(run)]


def test_a_weaker_pass_stays_nearer_to_the_picture(parts: sd.Parts, image: Image) -> None:
    latents: list[torch.Tensor] = []
    decode = sampling.decode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "decode", lambda p, x: (latents.append(x), decode(p, x))[1])
        for strength in (0.1, 0.5, 1.0):
            render.img2img(parts, image_job(image, denoising_strength=strength, steps=20, sampler="Euler"))
    original = sampling.encode_image(parts, image)
    distances = [float((x - original).abs().mean()) for x in latents]
    assert distances == sorted(distances)
    assert distances[0] < 0.3 * distances[2]


def test_an_interrupt_passes_through_and_leaves_the_model_usable(parts: sd.Parts) -> None:
    before = render.txt2img(parts, text_job()).image

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        render.txt2img(parts, text_job(), None, stop)
    assert np.array_equal(render.txt2img(parts, text_job()).image, before)


def test_guidance_of_one_ignores_the_negative_prompt(parts: sd.Parts) -> None:
    plain = render.txt2img(parts, text_job(cfg_scale=1.0)).image
    assert np.array_equal(plain, render.txt2img(parts, text_job(cfg_scale=1.0, negative_prompt="dark")).image)
    guided = render.txt2img(parts, text_job(cfg_scale=7.0)).image
    assert not np.array_equal(guided, render.txt2img(parts, text_job(cfg_scale=7.0, negative_prompt="dark")).image)


def test_controls_count_by_weight(parts: sd.Parts, image: Image, canny: Any) -> None:
    nets = {ControlRole.CANNY: canny}

    def draw(*weights: float, soft: bool = True) -> Image:
        controls = [Control(ControlRole.CANNY, image, w, is_map=True) for w in weights]
        return render.txt2img(parts, text_job(controls=controls), nets, soft_control=soft).image

    without = draw()
    assert np.array_equal(draw(0.0), without)
    assert not np.array_equal(draw(1.0), without)
    assert not np.array_equal(draw(1.0, soft=False), draw(1.0))
    # Two controls add up: 0.5 and 0.5 of one map are 1 of it, but for rounding.
    assert np.abs(draw(0.5, 0.5).astype(int) - draw(1.0)).max() <= 2


def test_the_weights_of_my_prompt_is_more_important() -> None:
    full = layer_weights(13, soft=True)
    assert full[-1] == 1
    assert full[0] == pytest.approx(0.825**12)
    assert full[11] == pytest.approx(0.825)
    small = layer_weights(7, soft=True)
    assert (small[0], small[-1]) == (pytest.approx(full[0]), 1)
    assert layer_weights(3, soft=False) == [1, 1, 1]


def test_a_control_without_model_or_map_is_refused(parts: sd.Parts, image: Image, canny: Any) -> None:
    with pytest.raises(AssetMissing, match="tile"):
        render.txt2img(parts, text_job(controls=[Control(ControlRole.TILE, image, is_map=True)]))
    with pytest.raises(InvalidRequest, match="map"):
        job = text_job(controls=[Control(ControlRole.CANNY, image)])
        render.txt2img(parts, job, {ControlRole.CANNY: canny})


@pytest.mark.parametrize("wrong", [{"width": 60}, {"height": 0}, {"steps": 0}, {"seed": -1}])
def test_impossible_sizes_and_counts_are_refused(parts: sd.Parts, wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest):
        render.txt2img(parts, text_job(**wrong))


def test_sizes_that_the_network_halves_unevenly_work(parts: sd.Parts) -> None:
    assert render.txt2img(parts, text_job(width=72, height=104)).image.shape == (104, 72, 3)


def test_a_decoding_that_runs_out_of_memory_goes_tile_by_tile(parts: sd.Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = render.txt2img(parts, text_job())
    decode = parts.vae.decode

    def scarce(latents: torch.Tensor, **more: Any) -> Any:
        if not parts.vae.use_tiling:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return decode(latents, **more)

    monkeypatch.setattr(parts.vae, "decode", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert np.array_equal(render.txt2img(parts, text_job()).image, plain.image)
    assert not parts.vae.use_tiling


def test_encoding_that_runs_out_of_memory_goes_tile_by_tile_too(
    parts: sd.Parts, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = sampling.encode_image(parts, image)
    encode = parts.vae.encode

    def scarce(pixels: torch.Tensor, **more: Any) -> Any:
        if not parts.vae.use_tiling:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return encode(pixels, **more)

    monkeypatch.setattr(parts.vae, "encode", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert torch.equal(sampling.encode_image(parts, image), plain)
    assert not parts.vae.use_tiling


def test_tiles_are_smaller_than_the_pictures_of_a_vae_for_large_ones(parts: sd.Parts) -> None:
    """SDXL's configuration names 1024 pixels: tiles of that size would save nothing."""
    parts.vae.tile_sample_min_size, parts.vae.tile_latent_min_size = 1024, 128
    vae.set_tiles(parts.vae, True)
    try:
        assert (parts.vae.tile_sample_min_size, parts.vae.tile_latent_min_size) == (512, 64)
    finally:
        vae.set_tiles(parts.vae, False)


@pytest.mark.thorough
@pytest.mark.parametrize("sampler", ["DPM++ 2M Karras", "Euler a"])
def test_previews_change_no_pixel(parts: sd.Parts, image: Image, mask: Mask, sampler: str) -> None:
    jobs = (image_job(image, mask=mask, mask_blur=2, sampler=sampler), text_job(sampler=sampler))
    for render_job, job in zip((render.img2img, render.txt2img), jobs, strict=True):
        looking = Looking()
        watched = render_job(parts, job, None, looking)  # type: ignore[operator]
        assert np.array_equal(watched.image, render_job(parts, job).image)  # type: ignore[operator]
        side = SIDE // parts.pixels_per_latent
        assert [picture.shape for picture in looking.seen] == [(side, side, 3)] * len(looking.told)


def test_where_models_take_turns_on_the_device_nothing_is_fetched_for_a_preview(parts: sd.Parts) -> None:
    parts.placement.by_role = True
    try:
        looking = Looking()
        render.txt2img(parts, text_job(), None, looking)
    finally:
        parts.placement.by_role = False
    assert looking.told[-1] == (4, 4)
    assert looking.seen == []


def test_a_projection_learns_colours_that_follow_from_latents() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 16, 16, generator=generator)
    factors = torch.tensor([[0.1, 0, 0.02], [0, 0.08, 0], [-0.05, 0, 0.1], [0.01, 0.04, 0]])
    colours = (latents[0].permute(1, 2, 0) @ factors + torch.tensor([0.6, 0.5, 0.4])).clamp(0, 1)
    pixels = colours.permute(2, 0, 1)[None].repeat_interleave(8, -1).repeat_interleave(8, -2)
    shown = Projection.learned(latents, pixels).picture(latents)
    assert np.abs(shown / 255 - colours.numpy()).mean() < 0.01
    broken = torch.full((1, 4, 16, 16), float("nan"))
    assert Projection.learned(latents, pixels).picture(broken).shape == (16, 16, 3)
    grey = Projection.learned(torch.zeros(1, 4, 16, 16), torch.full((1, 3, 128, 128), 0.5)).picture(latents)
    assert set(np.unique(grey)) <= {127, 128}, "latents that say nothing teach the mean colour"
