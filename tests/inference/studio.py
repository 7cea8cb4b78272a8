"""What the tests of the chain share: people and templates that are drawn as discs, and a task with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from easyphoto.config import Family, PortraitConfig, unlike_defaults
from easyphoto.inference.task import PortraitTask, Subject, TemplatePicture
from easyphoto.ports import Checkpoint, Image
from tests.fakes import blank, draw_face

SIZE = (480, 400)
"""Width and height of the templates."""


def person(folder: Path, name: str = "anna", who: int = 60, **more: Any) -> Subject:
    """Somebody whose reference shows ``who`` and whose face_id picture shows a little more."""
    lora = folder / f"{name}.safetensors"
    lora.write_bytes(f"the LoRA of {name}".encode())
    reference = draw_face(blank(300, 300), (150, 150), 100, who=who)
    face_id = draw_face(blank(300, 300, gray=100), (150, 140), 110, who=who + 10)
    return Subject(user_id=name, lora=lora, reference=reference, face_id=face_id, **more)


def template(*faces: int) -> Image:
    """A picture with a face at each third or half of the width; who they are is in ``faces``."""
    picture = blank(*SIZE)
    for i, who in enumerate(faces):
        picture = draw_face(picture, (SIZE[0] * (i + 0.5) / len(faces), 190 + 10 * i), 80, who=who)
    return picture


def config(**more: Any) -> PortraitConfig:
    """Few steps, a seed."""
    return PortraitConfig(**{"seed": 7, "first_diffusion_steps": 4, "second_diffusion_steps": 3, **more})


def task(
    templates: tuple[TemplatePicture, ...], *people: Subject | None, family: Family = Family.BENCH, **more: Any
) -> PortraitTask:
    """A task with :func:`config` unless another is given, and with both passes for every family."""
    wanted = more.pop("config", None) or config()
    more.setdefault("chosen", unlike_defaults(wanted) | {"enable_second_diffusion"})
    checkpoint = Checkpoint(f"{family.value} base", Path("base.safetensors"), family)
    return PortraitTask(templates=templates, people=people, config=wanted, checkpoint=checkpoint, **more)
