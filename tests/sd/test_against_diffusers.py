"""Our sampling loop and diffusers' own pipeline draw the same picture, with a LoRA that each reads from the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from easyphoto import sd
from easyphoto.ports import Txt2Img
from easyphoto.sd import lora, render, samplers
from tests import tiny


@pytest.mark.thorough
@pytest.mark.parametrize("sampler", ["DPM++ 2M SDE Karras", "Euler a", "Euler", "DDIM"])
def test_the_same_picture(tmp_path: Path, tiny_folder: Path, sampler: str) -> None:
    from diffusers import StableDiffusionPipeline

    parts = sd.load(tiny_folder, device="cpu", dtype=torch.float32)
    layers = tiny.lora_layers(parts, scale=0.3)
    lora.write(tmp_path / "person.safetensors", layers, lora.metadata(parts.family, layers))
    job = Txt2Img(
        prompt="easyphoto face", negative_prompt="dark", width=64, height=64, steps=5, sampler=sampler, seed=7
    )
    with lora.applied(parts, [(lora.read(tmp_path / "person.safetensors").layers, 1.0)]):
        ours = render.txt2img(parts, job).image.astype(int)
    assert np.abs(ours - render.txt2img(parts, job).image).max() > 2

    pipeline = StableDiffusionPipeline.from_pretrained(tiny_folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(tmp_path, weight_name="person.safetensors")
    pipeline.scheduler = samplers.create(sampler, parts.scheduler_config)
    with samplers.quiet():
        theirs = pipeline(
            job.prompt,
            negative_prompt=job.negative_prompt,
            num_inference_steps=job.steps,
            guidance_scale=job.cfg_scale,
            width=job.width,
            height=job.height,
            generator=torch.Generator("cpu").manual_seed(job.seed),
            output_type="np",
        ).images[0]
    assert np.abs(ours - np.rint(theirs * 255)).max() <= 1
