"""Jobs as graphs of ComfyUI's own nodes. Nothing here talks to a ComfyUI.

The sampling is that of :mod:`easyphoto.sd.render`: a picture to picture runs the last steps of the whole schedule, and
a latent pixel is repainted or it is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from easyphoto.hosts.comfyui import prompt_text
from easyphoto.hosts.comfyui.sampler_names import ComfySampler
from easyphoto.ports import Image, Img2Img, Mask, Txt2Img
from easyphoto.sd import pasting, samplers

Graph: TypeAlias = dict[str, dict[str, Any]]
"""The nodes by their ids: the kind (``class_type``) and the ``inputs`` of each. An input is a value or a link."""
Link: TypeAlias = list[Any]
"""The id of a node and the number of its output."""

SAMPLING, SHOWN = "sampling", "picture"
"""The ids of the node that samples and of the one that gives the picture back."""
SOFT = "EasyPhotoSoftControl"
"""The node of our own package that weighs a ControlNet as a WebUI does in "my prompt is more important"."""
_CELL = 8
"""How many pixels a side of a latent pixel has."""


@dataclass(frozen=True)
class NamedFiles:
    """The models of a job by the names that ComfyUI lists. ``controls`` are in the order of the job's; ``vae`` is None
    for the checkpoint's own."""

    checkpoint: str
    vae: str | None = None
    loras: Sequence[tuple[str, float]] = ()
    controls: Sequence[str] = ()


@dataclass(frozen=True)
class NamedPictures:
    """The uploaded pictures of a job by the names that nodes give them. ``controls`` are maps."""

    image: str | None = None
    mask: str | None = None
    controls: Sequence[str] = ()


def steps_to_run(job: Txt2Img) -> int:
    """Return how many of its steps a job runs."""
    return samplers.steps_to_run(job.steps, job.denoising_strength) if isinstance(job, Img2Img) else job.steps


def cells(blurred: Mask) -> Image:
    """Return a feathered mask as a picture of black and white squares, one for each latent pixel: white where the mask
    is above one half on average."""
    height, width = blurred.shape
    latent = pasting.latent_mask(blurred, width // _CELL, height // _CELL)
    squares = latent.astype(np.uint8).repeat(_CELL, axis=0).repeat(_CELL, axis=1) * 255
    return np.stack([squares] * 3, axis=-1)


def of(
    job: Txt2Img, sampler: ComfySampler, files: NamedFiles, pictures: NamedPictures, *, soft: bool, run: str
) -> Graph:
    """Return the graph that makes a job's picture. Its prompts hold no LoRA tags, and its seed isn't negative. With
    ``soft``, ComfyUI has the node :data:`SOFT`. ``run`` is new for each graph, so that ComfyUI makes its picture even
    if it has made the same before."""
    made = _Builder()
    checkpoint = made.node("checkpoint", "CheckpointLoaderSimple", ckpt_name=files.checkpoint)
    model, clip, vae = [[checkpoint, output] for output in range(3)]
    if files.vae is not None:
        vae = [made.node("vae", "VAELoader", vae_name=files.vae), 0]
    for number, (name, weight) in enumerate(files.loras, start=1):
        lora = made.node(
            f"lora {number}",
            "LoraLoader",
            model=model,
            clip=clip,
            lora_name=name,
            strength_model=weight,
            strength_clip=weight,
        )
        model, clip = [lora, 0], [lora, 1]
    if sampler.distilled:
        model = [made.node("distilled", "ModelSamplingDiscrete", model=model, sampling="lcm", zsnr=False), 0]
    positive = made.text("positive", clip, job.prompt)
    negative = made.text("negative", clip, job.negative_prompt)
    for number, control in enumerate(job.controls):
        net = [made.node(f"control {number + 1} model", "ControlNetLoader", control_net_name=files.controls[number]), 0]
        if soft:
            net = [made.node(f"control {number + 1} soft", SOFT, control_net=net), 0]
        apply = made.node(
            f"control {number + 1}",
            "ControlNetApplyAdvanced",
            positive=positive,
            negative=negative,
            control_net=net,
            image=[made.node(f"control {number + 1} map", "LoadImage", image=pictures.controls[number]), 0],
            strength=control.weight,
            start_percent=0.0,
            end_percent=1.0,
        )
        positive, negative = [apply, 0], [apply, 1]
    sampled = made.node(
        SAMPLING,
        "KSamplerAdvanced",
        model=model,
        add_noise="enable",
        noise_seed=job.seed,
        steps=job.steps,
        cfg=job.cfg_scale,
        sampler_name=sampler.sampler,
        scheduler=sampler.scheduler,
        positive=positive,
        negative=negative,
        latent_image=made.latents(job, vae, pictures),
        start_at_step=job.steps - steps_to_run(job),
        end_at_step=job.steps,
        return_with_leftover_noise="disable",
    )
    decoded = made.node("decode", "VAEDecode", samples=[sampled, 0], vae=vae)
    # ComfyUI looks at nothing but the inputs when it decides whether a picture is there already, also at unknown ones.
    made.node(SHOWN, "PreviewImage", images=[decoded, 0], run=run)
    return made.graph


def kinds(graph: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the kinds of node that a graph needs."""
    return sorted({node["class_type"] for node in graph.values()})


class _Builder:
    """A graph in the making."""

    def __init__(self) -> None:
        self.graph: Graph = {}

    def node(self, name: str, kind: str, **inputs: Any) -> str:
        """Add a node of a kind and return its id, which is ``name``."""
        self.graph[name] = {"class_type": kind, "inputs": inputs}
        return name

    def text(self, name: str, clip: Link, prompt: str) -> Link:
        """Add the nodes that encode a prompt, one for each chunk."""
        first, *others = prompt_text.chunks(prompt)
        whole: Link = [self.node(name, "CLIPTextEncode", clip=clip, text=first), 0]
        for number, chunk in enumerate(others, start=2):
            part = [self.node(f"{name} {number}", "CLIPTextEncode", clip=clip, text=chunk), 0]
            joined = self.node(
                f"{name} to {number}", "ConditioningConcat", conditioning_to=whole, conditioning_from=part
            )
            whole = [joined, 0]
        return whole

    def latents(self, job: Txt2Img, vae: Link, pictures: NamedPictures) -> Link:
        """Add the nodes for the latents that the sampling starts from."""
        if not isinstance(job, Img2Img):
            return [self.node("empty", "EmptyLatentImage", width=job.width, height=job.height, batch_size=1), 0]
        image = [self.node("image", "LoadImage", image=pictures.image), 0]
        latents = [self.node("encode", "VAEEncode", pixels=image, vae=vae), 0]
        if job.mask is None:
            return latents
        mask = [self.node("mask", "LoadImageMask", image=pictures.mask, channel="red"), 0]
        return [self.node("masked", "SetLatentNoiseMask", samples=latents, mask=mask), 0]
