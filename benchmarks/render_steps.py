"""Step times of the embedded engine, diffusers' own pipeline, and what the processor could do at best, in one process.

    python -m benchmarks.render_steps [--rounds 5] [--steps 6]

On the bench checkpoint at 256 x 256 with three ControlNets and guidance, img2img at strength 1: the two take turns in
one process with equal weights, so that a busy machine slows both. CPU seconds of the process count, not wall time.
The bound: the multiplications of one step (counted by torch) at the speed of a large matrix product in the same round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow

from easyphoto import sd
from easyphoto.config import Paths
from easyphoto.ports import Control, ControlRole, Img2Img
from easyphoto.sd import render, samplers

SIDE = 256
ROLES = (ControlRole.CANNY, ControlRole.COLOR, ControlRole.TILE)
WEIGHT = 0.5
PROMPT, NEGATIVE, GUIDANCE = "portrait photo of a person", "dark", 7.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    bench = Paths.standalone().bench
    parts = sd.load(bench, device="cpu", dtype=torch.float32)
    nets = {
        role: sd.load_controlnet(bench / "controlnet" / role.value, device="cpu", dtype=torch.float32) for role in ROLES
    }
    ours, theirs = our_step(parts, nets, options.steps), pipeline_step(parts, nets, options.steps)
    rows: list[tuple[float, float, float]] = []
    for number in range(options.rounds + 1):
        row = (per_step(ours), per_step(theirs), gemm())
        if number:  # the first chooses kernels
            rows.append(row)
    work = operations(ours) / options.steps
    columns = list(zip(*rows, strict=True))
    ratios = [a / b for a, b, _ in rows]
    bounds = [a / (work / speed) for a, _, speed in rows]
    print(f"float32, {torch.get_num_threads()} thread(s), {options.rounds} rounds of {options.steps} steps")
    for name, values, unit in (
        ("this engine, CPU s a step", columns[0], ".3f"),
        ("diffusers, CPU s a step", columns[1], ".3f"),
        ("ratio", ratios, ".3f"),
        ("matrix product, GFLOP/s", [v / 1e9 for v in columns[2]], ".1f"),
        ("times the bound", bounds, ".2f"),
    ):
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:28} median {middle:{unit}}  from {low:{unit}} to {high:{unit}}")
    print(f"one step multiplies and adds {work / 1e9:.1f} GFLOP")


def per_step(run: Callable[[Callable[[], None]], None]) -> float:
    """The median CPU seconds between two steps of one picture."""
    marks: list[float] = []
    run(lambda: marks.append(time.process_time()))
    return statistics.median(b - a for a, b in pairwise(marks))


def picture() -> Any:
    return np.array(Pillow.linear_gradient("L").convert("RGB"))


def our_step(parts: sd.Parts, nets: dict[ControlRole, Any], steps: int) -> Callable[[Callable[[], None]], None]:
    image = picture()
    job = Img2Img(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        width=SIDE,
        height=SIDE,
        steps=steps,
        sampler="Euler",
        cfg_scale=GUIDANCE,
        seed=1,
        image=image,
        denoising_strength=1.0,
        controls=[Control(role, image, WEIGHT, is_map=True) for role in ROLES],
    )

    def run(mark: Callable[[], None]) -> None:
        render.img2img(parts, job, nets, lambda done, total: mark())

    return run


def pipeline_step(parts: sd.Parts, nets: dict[ControlRole, Any], steps: int) -> Callable[[Callable[[], None]], None]:
    from diffusers import MultiControlNetModel, StableDiffusionControlNetImg2ImgPipeline

    pipeline = StableDiffusionControlNetImg2ImgPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=parts.unet,
        controlnet=MultiControlNetModel([nets[role] for role in ROLES]),
        scheduler=samplers.create("Euler", parts.scheduler_config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    image = Pillow.fromarray(picture())

    def run(mark: Callable[[], None]) -> None:
        def told(pipe: Any, step: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
            mark()
            return values

        pipeline(
            PROMPT,
            negative_prompt=NEGATIVE,
            image=image,
            control_image=[image] * len(ROLES),
            controlnet_conditioning_scale=[WEIGHT] * len(ROLES),
            num_inference_steps=steps,
            strength=1.0,
            guidance_scale=GUIDANCE,
            generator=torch.Generator("cpu").manual_seed(1),
            output_type="latent",
            callback_on_step_end=told,
        )

    return run


def gemm(side: int = 1024) -> float:
    """Operations a CPU second of a square matrix product: what the processor reaches when nothing else stops it."""
    a, b = (torch.randn(side, side) for _ in range(2))
    a @ b
    start = time.process_time()
    for _ in range(8):
        a @ b
    return 8 * 2 * side**3 / (time.process_time() - start)


def operations(run: Callable[[Callable[[], None]], None]) -> float:
    """Multiplications and additions of the UNet's and ControlNets' part of a picture."""
    from torch.utils.flop_counter import FlopCounterMode

    totals: list[float] = []
    with FlopCounterMode(display=False) as counter:
        run(lambda: totals.append(counter.get_total_flops()))
    # From the first mark to the last: encoding before and decoding after are not steps.
    return (totals[-1] - totals[0]) * len(totals) / (len(totals) - 1)


if __name__ == "__main__":
    main()
