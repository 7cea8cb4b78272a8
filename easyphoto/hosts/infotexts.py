"""How a picture was made, as WebUIs write it into their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from easyphoto import naming
from easyphoto.ports import Checkpoint, Img2Img, Txt2Img


def infotext(job: Txt2Img, seed: int, chosen: Checkpoint) -> str:
    """The settings as WebUIs write them: the prompt with all LoRAs as tags, the negative prompt, and one line of names
    and values. In a WebUI that has the same files, they ask for the same picture.
    """
    settings: Sequence[tuple[str, Any]] = [
        ("Steps", job.steps),
        ("Sampler", job.sampler),
        ("CFG scale", f"{job.cfg_scale:g}"),
        ("Seed", seed),
        ("Size", f"{job.width}x{job.height}"),
        ("Model", naming.bare(chosen.name).rpartition("/")[2]),
    ]
    if isinstance(job, Img2Img):
        settings = [*settings, ("Denoising strength", f"{job.denoising_strength:g}")]
        if job.mask is not None:
            settings = [*settings, ("Mask blur", job.mask_blur)]
    tags = "".join(f" <lora:{ref.name}:{ref.weight:g}>" for ref in job.loras)
    lines = [job.prompt + tags, *([f"Negative prompt: {job.negative_prompt}"] if job.negative_prompt else [])]
    return "\n".join([*lines, ", ".join(f"{name}: {value}" for name, value in settings)])
