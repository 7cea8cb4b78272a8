"""A template that is made from text: a person in a scene and a pose, whose face the chain then makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from easyphoto import families
from easyphoto.config import SCENE_CONTROLS
from easyphoto.errors import NoFace
from easyphoto.families.spec import Pass
from easyphoto.inference import plan, poses
from easyphoto.inference.gallery import main_face
from easyphoto.inference.identity import Appearance
from easyphoto.inference.painter import Painter, Words
from easyphoto.inference.task import SEEDS, OnNotice, PortraitTask, Subject
from easyphoto.messages import Message
from easyphoto.ports import Control, ControlRole, Face, Image, LoraRef, Txt2Img, Vision
from easyphoto.vision import geometry
from easyphoto.vision.geometry import Crop, Size
from easyphoto.vision.pose import Pose

REDRAW = 0x9E3779B1
"""The difference between the seed of one try and that of the next."""
AHEAD = Pose(0.0, 0.0, 0.0)
"""Where a head looks that nobody has drawn yet."""
FACE_ROOM = 2.1
"""How many times the width of the face the square has that is cut from a pose picture for the bench checkpoint."""


@dataclass(frozen=True, eq=False)
class PersonInText:
    """Who is drawn from text: ``alone`` without a LoRA, and what the person's pictures show."""

    subject: Subject
    alone: bool
    appearance: Appearance


def make_template(
    task: PortraitTask, person: PersonInText, painter: Painter, vision: Vision, seed: int, notice: OnNotice
) -> Image:
    """Call :func:`draw_template` until the picture shows one face, and return it at the size that was asked for.

    A picture that shows no face or two is drawn again, with other seeds that follow from ``seed``. Where no try shows
    exactly one face, the best of them is taken.
    """
    best: tuple[int, Image, list[Face]] | None = None
    for attempt in range(plan.TEXT_TRIES):
        picture = draw_template(task, person, painter, (seed + attempt * REDRAW) % SEEDS, vision)
        faces = _large(vision.detector.detect(picture))
        rank = 0 if len(faces) == 1 else len(faces) or len(faces) + 100
        if best is None or rank < best[0]:
            best = rank, picture, faces
        if rank == 0:
            break
    assert best is not None
    if len(best[2]) > 1:
        notice(
            Message(
                "The picture from text shows {count} faces, whatever was tried: change the prompt or the seed.",
                count=len(best[2]),
            )
        )
    return _as_asked(task, best[1], best[2], notice)


def _large(faces: Sequence[Face]) -> list[Face]:
    """The faces without those that are small beside the largest, which are those of people far behind."""
    widest = max((face.width for face in faces), default=0.0)
    return [face for face in faces if face.width > widest / 3]


def _as_asked(task: PortraitTask, picture: Image, faces: Sequence[Face], notice: OnNotice) -> Image:
    """The part of ``picture`` around the face that has the proportions that were asked for, at the size that was."""
    family, config, size = task.checkpoint.family, task.config, (picture.shape[0], picture.shape[1])
    asked = config.text_to_image_height, config.text_to_image_width
    drawn = plan.drawn_size(family, config)
    if drawn == plan.text_size(family, config) and families.spec(family).size.text_side is None:
        if size != (drawn[1], drawn[0]):
            notice(
                Message(
                    "With a scene the picture from text is enlarged to {width} x {height}.",
                    width=size[1],
                    height=size[0],
                )
            )
        return picture
    crop = _middle(picture, asked)
    if faces:
        x, y = faces[0].center
        left = min(max(0, round(x - crop.size[1] / 2)), size[1] - crop.size[1])
        top = min(max(0, round(y - crop.size[0] / 2)), size[0] - crop.size[0])
        crop = Crop(left, top, left + crop.size[1], top + crop.size[0])
    notice(
        Message(
            "The picture from text was drawn at {width} x {height}, which its model knows, and cut "
            "and enlarged to {asked_width} x {asked_height}.",
            width=size[1],
            height=size[0],
            asked_width=asked[1],
            asked_height=asked[0],
        )
    )
    return geometry.resize(geometry.cut(picture, crop), asked)


def draw_template(
    task: PortraitTask, person: PersonInText, painter: Painter, seed: int, vision: Vision | None = None
) -> Image:
    """Draw what the configuration describes, with a trace of ``person`` by the LoRA and by the adapter that is asked
    for, and with a scene and a pose where they are given.

    With a scene the picture is enlarged and repainted once, except by SDXL, which draws large enough.
    """
    family, config = task.checkpoint.family, task.config
    width, height = plan.drawn_size(family, config)
    row = plan.row(Pass.TEXT, family, config, task.chosen, alone=person.alone)
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
            controls=_pose(task, (height, width), seed, vision),
        ),
        row.identities,
        person.appearance,
    )
    if task.scene is None or not families.spec(family).drawing.hires_with_scene:
        return picture
    size = round(height * plan.HIRES_SCALE / 8) * 8, round(width * plan.HIRES_SCALE / 8) * 8
    return painter.repaint(
        row, geometry.resize(picture, size), None, {}, _words(task, person, seed, plan.SCENE_HIRES_WEIGHT)
    )


def cost(task: PortraitTask) -> float:
    """About how many diffusion steps :func:`draw_template` takes."""
    row = plan.row(Pass.TEXT, task.checkpoint.family, task.config, task.chosen)
    again = task.scene is not None and families.spec(task.checkpoint.family).drawing.hires_with_scene
    return row.steps + (row.cost if again else 0)


def _words(task: PortraitTask, person: PersonInText, seed: int, scene_weight: float) -> Words:
    family, config = task.checkpoint.family, task.config
    scene = (LoraRef(task.scene, scene_weight),) if task.scene else ()
    own = None if person.alone else person.subject.lora
    trace = (LoraRef(own, plan.TEXT_PERSON_WEIGHT),) if own else ()
    return Words(
        prompt=plan.text_prompt(family, config, with_scene=task.scene is not None),
        negative=plan.text_negative_prompt(family, config),
        loras=(*scene, *trace, *plan.lcm_loras(family, config, task.lora_folder)),
        seed=seed,
        appearance=person.appearance,
    )


def _pose(task: PortraitTask, size: Size, seed: int, vision: Vision | None) -> tuple[Control, ...]:
    family, way = task.checkpoint.family, task.config.t2i_control_way
    weight = families.spec(family).drawing.pose_weight
    if way == SCENE_CONTROLS[1]:
        pose = poses.chosen(task.config.t2i_pose_inner, seed)
        return (Control(ControlRole.OPENPOSE, poses.draw(pose, size, family), weight, is_map=True),)
    picture = task.pose_template
    if way == SCENE_CONTROLS[0] or picture is None:
        return ()
    crop = _middle(picture, size)
    if families.spec(family).shipped and vision is not None:
        # The bench checkpoint's control knows faces alone, of the size that they have in the pictures it learned from.
        face = main_face(picture, vision)
        if face is None:
            raise NoFace("The picture with the pose has no face, and this model takes the pose from the face alone.")
        crop = geometry.face_crop(face, FACE_ROOM, (picture.shape[0], picture.shape[1]))
        crop = Crop(crop.left, crop.top, crop.left + min(crop.size), crop.top + min(crop.size))
    return (Control(ControlRole.OPENPOSE, geometry.resize(geometry.cut(picture, crop), size), weight),)


def _middle(image: Image, size: Size) -> Crop:
    """The largest part in the middle of ``image`` that has the proportions of ``size``."""
    height, width = image.shape[:2]
    scale = min(height / size[0], width / size[1])
    h, w = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    top, left = (height - h) // 2, (width - w) // 2
    return Crop(left, top, left + w, top + h)
