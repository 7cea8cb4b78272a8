"""A template made from text: a person in a scene, in a pose, whose face the chain then makes."""

from __future__ import annotations

from easyphoto.config import SCENE_CONTROLS, Family
from easyphoto.inference import plan
from easyphoto.inference.painter import Painter, Words
from easyphoto.inference.plan import Pass
from easyphoto.inference.task import PortraitTask, Subject
from easyphoto.ports import Control, ControlRole, Image, LoraRef, Txt2Img
from easyphoto.vision import geometry
from easyphoto.vision.geometry import Crop, Size


def draw_template(task: PortraitTask, person: Subject, painter: Painter, seed: int) -> Image:
    """A picture of what the configuration describes, with a trace of ``person`` and, where given, scene and pose.

    With a scene it is enlarged and repainted once, but for SDXL, which draws large enough.
    """
    family, config = task.checkpoint.family, task.config
    width, height = plan.text_size(family, config)
    row = plan.row(Pass.TEXT, family, config)
    words = _words(task, person, seed, plan.SCENE_WEIGHT)
    picture = painter.draw(
        Txt2Img(
            prompt=words.prompt,
            negative_prompt=words.negative,
            width=width,
            height=height,
            steps=row.steps,
            sampler=row.sampler,
            cfg_scale=row.cfg_scale,
            seed=seed,
            loras=words.loras,
            controls=_pose(task, (height, width)),
        )
    )
    if task.scene is None or family is Family.SDXL:
        return picture
    size = round(height * plan.HIRES_SCALE / 8) * 8, round(width * plan.HIRES_SCALE / 8) * 8
    return painter.repaint(
        row, geometry.resize(picture, size), None, {}, _words(task, person, seed, plan.SCENE_HIRES_WEIGHT)
    )


def cost(task: PortraitTask) -> float:
    """About how many steps :func:`draw_template` takes."""
    row = plan.row(Pass.TEXT, task.checkpoint.family, task.config)
    again = task.scene is not None and task.checkpoint.family is not Family.SDXL
    return row.steps + (row.cost if again else 0)


def _words(task: PortraitTask, person: Subject, seed: int, scene_weight: float) -> Words:
    family, config = task.checkpoint.family, task.config
    scene = (LoraRef(task.scene, scene_weight),) if task.scene else ()
    trace = (LoraRef(person.lora, plan.TEXT_PERSON_WEIGHT),) if person.lora else ()
    return Words(
        prompt=plan.text_prompt(family, config, with_scene=task.scene is not None),
        negative=plan.text_negative_prompt(family, config),
        loras=(*scene, *trace, *plan.lcm_loras(family, config, task.lora_folder)),
        seed=seed,
    )


def _pose(task: PortraitTask, size: Size) -> tuple[Control, ...]:
    if task.config.t2i_control_way == SCENE_CONTROLS[0] or task.pose_template is None:
        return ()
    pose = geometry.resize(geometry.cut(task.pose_template, _middle(task.pose_template, size)), size)
    return (Control(ControlRole.OPENPOSE, pose, plan.POSE_WEIGHT[task.checkpoint.family]),)


def _middle(image: Image, size: Size) -> Crop:
    """The largest part in the middle of ``image`` with the shape of ``size``."""
    height, width = image.shape[:2]
    scale = min(height / size[0], width / size[1])
    h, w = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    top, left = (height - h) // 2, (width - w) // 2
    return Crop(left, top, left + w, top + h)
