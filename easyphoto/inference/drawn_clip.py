"""Clips that are drawn from text or from pictures, before people are put into them as into any other clip.

The numbers are those of the EasyPhoto extension (aigc-apps/sd-webui-EasyPhoto).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from easyphoto import families, pictures
from easyphoto.clips import decoding
from easyphoto.clips.decoding import Clip
from easyphoto.config import Chosen, DrawnClipConfig, Family, PortraitConfig
from easyphoto.errors import AssetMissing
from easyphoto.events import Listener
from easyphoto.families.spec import Pass
from easyphoto.inference import plan
from easyphoto.inference.painter import Meter
from easyphoto.ports import Animator, Checkpoint, ClipJob, Control, ControlRole, Host, Image, LoraRef
from easyphoto.storage.files import not_written
from easyphoto.vision import geometry

STAGE = "drawing"
HELD = 1.0
"""The weight of the control that holds the frames to those of a control clip."""
LONGEST = 2048
"""The most pixels that a side of a drawn clip takes from the shape of a picture or of a control clip."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawnClipTask:
    """One clip of ``frames`` frames, or of as many as ``control`` has if that has fewer. ``prompt`` says what it shows;
    it is drawn from ``image`` where there is one, and ends at ``last_image`` where there is one. Each frame is held to
    the frame of ``control`` that is shown with it. ``motion`` is the file of a motion module, None for the one that
    ``drawing`` names. ``person`` and ``scene`` are LoRAs. The seed of ``config`` is drawn already. The other fields are
    those of :class:`easyphoto.inference.task.PortraitTask`."""

    prompt: str
    frames: int
    config: PortraitConfig
    drawing: DrawnClipConfig
    checkpoint: Checkpoint
    image: Image | None = None
    last_image: Image | None = None
    motion: Path | None = None
    control: Clip | None = None
    person: Path | None = None
    scene: Path | None = None
    lora_folder: Path | None = None
    chosen: Chosen = None


def animator(host: Host) -> Animator:
    """The host as one that draws clips. Raises :class:`AssetMissing` where it doesn't."""
    if isinstance(host, Animator):
        return host
    raise AssetMissing(
        "This host draws no clips: give a clip, or run EasyPhoto by itself (`python -m easyphoto video`), which does."
    )


def draw(task: DrawnClipTask, host: Host, folder: Path, listener: Listener, cancelled: Callable[[], bool]) -> None:
    """Draw the clip, and write its frames as PNGs into ``folder``, which is there when all of them are. A folder that
    is there is kept. Raises what the host raises, and :class:`Cancelled` soon after ``cancelled`` says so."""
    if folder.is_dir():
        return
    meter = Meter(listener, cancelled)
    job = clip_job(task)
    meter.expect(job.steps)

    def on_step(step: int, total: int) -> None:
        meter.step(STAGE, step, total, job.steps)

    meter.stage(STAGE)
    made = animator(host).animate(job, on_step)
    if made.notice:
        meter.notice(made.notice)
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for index, frame in enumerate(made.frames):
        pictures.save_png(part / f"{index:06}.png", frame)
    try:
        part.rename(folder)
    except OSError as error:
        raise not_written(folder, error) from error


def clip_job(task: DrawnClipTask) -> ClipJob:
    """What the host is asked for. Raises :class:`AssetMissing` when LCM is asked for and its LoRA isn't there."""
    family = task.checkpoint.family
    row = plan.row(Pass.TEXT, family, task.config, task.chosen)
    width, height = size(family, task.drawing, _shape(task))
    held = _held(task, (height, width))
    described = replace(task.config, text_to_image_input_prompt=task.prompt)
    scene = (LoraRef(task.scene, plan.SCENE_WEIGHT),) if task.scene else ()
    trace = (LoraRef(task.person, plan.TEXT_PERSON_WEIGHT),) if task.person else ()
    return ClipJob(
        prompt=plan.text_prompt(
            family, described, with_scene=task.scene is not None, with_person=task.person is not None
        ),
        negative_prompt=plan.text_negative_prompt(family, task.config),
        width=width,
        height=height,
        steps=row.steps,
        sampler=row.sampler if task.config.lcm_accelerate else families.animation(family).sampler,
        cfg_scale=row.cfg_scale,
        seed=task.config.seed,
        loras=(*scene, *trace, *plan.lcm_loras(family, task.config, task.lora_folder)),
        checkpoint=task.checkpoint.name,
        frames=len(held) or task.frames,
        motion=task.motion or task.drawing.motion_module or None,
        image=task.image,
        last_image=task.last_image,
        denoising_strength=task.drawing.i2v_denoising_strength,
        frame_controls=held,
    )


def _shape(task: DrawnClipTask) -> tuple[int, int] | None:
    """(width, height) of what the clip is drawn from or held to, None where that is a text alone."""
    if task.image is not None:
        return task.image.shape[1], task.image.shape[0]
    return None if task.control is None else (task.control.width, task.control.height)


def _held(task: DrawnClipTask, size: tuple[int, int]) -> list[list[Control]]:
    """What each frame is held to, none where no frame is. ``size`` is (height, width)."""
    if task.control is None:
        return []
    role = ControlRole(task.drawing.upload_control_video_type)
    frames = (geometry.resize(frame, size) for frame in decoding.frames(task.control))
    return [[Control(role, frame, HELD)] for frame in frames]


def size(family: Family, drawing: DrawnClipConfig, shape: tuple[int, int] | None = None) -> tuple[int, int]:
    """(width, height) of a drawn clip: as asked for, or else with the family's short side and square, or in the
    ``shape`` (width, height) of what it is drawn from, or held to. A family may know only one short side."""
    side = families.animation(family).side
    width, height = drawing.t2v_input_width or side, drawing.t2v_input_height or side
    if shape and not (drawing.t2v_input_width or drawing.t2v_input_height):
        # Nothing is so narrow that it becomes larger than a clip that may be asked for.
        width, height = (min(round(side * one / min(shape)), LONGEST) for one in shape)
    if families.spec(family).size.text_side is None:
        return max(64, width // 8 * 8), max(64, height // 8 * 8)
    scale = side / min(width, height)
    return round(width * scale / plan.MULTIPLE) * plan.MULTIPLE, round(height * scale / plan.MULTIPLE) * plan.MULTIPLE
