"""The chain, written down: every job that each kind of portrait sends to the host, against ``golden/*.json``.

When a change is meant, write the records again and read the difference before committing it:

    EASYPHOTO_WRITE_GOLDEN=1 python -m pytest tests/inference/test_golden.py && git diff tests/inference/golden
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easyphoto.config import Family, PortraitConfig
from easyphoto.inference.portrait import portray
from easyphoto.inference.task import PortraitTask
from easyphoto.ports import Image, Img2Img, Mask, Txt2Img
from tests.fakes import FakeHost, FakeVision
from tests.inference.studio import person, template
from tests.inference.studio import task as any_task

GOLDEN = Path(__file__).parent / "golden"
STEP = 5
"""Who a picture shows is told to this accuracy: a blend is no exact number."""


def task(*arguments: Any, **more: Any) -> PortraitTask:
    return any_task(*arguments, **{"family": Family.SD1, **more})


def sd1(folder: Path) -> PortraitTask:
    (folder / "FilmVelvia3.safetensors").write_bytes(b"film")
    chosen = PortraitConfig(seed=7, additional_prompt="smile, ", additional_neg_prompt="hat")
    return task((template(10),), person(folder), config=chosen, lora_folder=folder)


def sdxl(folder: Path) -> PortraitTask:
    return task((template(10),), person(folder), family=Family.SDXL, config=PortraitConfig(seed=7))


def bench(folder: Path) -> PortraitTask:
    return task((template(10),), person(folder), family=Family.BENCH, config=PortraitConfig(seed=7), chosen=None)


def lcm(folder: Path) -> PortraitTask:
    (folder / "lcm_lora_sd15.safetensors").write_bytes(b"lcm")
    chosen = PortraitConfig(seed=7, lcm_accelerate=True)
    return task((template(10),), person(folder), config=chosen, lora_folder=folder)


def several(folder: Path) -> PortraitTask:
    people = person(folder, "anna", 60), None, person(folder, "bert", 40)
    return task((template(10, 20, 30),), *people, config=PortraitConfig(seed=7))


def background(folder: Path) -> PortraitTask:
    return task((template(10, 20),), person(folder), config=PortraitConfig(seed=7, background_restore=True))


def shape(folder: Path) -> PortraitTask:
    return task((template(10),), person(folder), config=PortraitConfig(seed=7, face_shape_match=True))


def whole(folder: Path) -> PortraitTask:
    return task((template(10),), person(folder), config=PortraitConfig(seed=7, crop_face_preprocess=False))


def single_pass(folder: Path) -> PortraitTask:
    chosen = PortraitConfig(
        seed=7, enable_second_diffusion=False, apply_face_fusion_before=False, apply_face_fusion_after=False
    )
    return task((template(10),), person(folder), config=chosen)


def text(folder: Path) -> PortraitTask:
    chosen = PortraitConfig(
        seed=7,
        batch_size=2,
        text_to_image_input_prompt="a castle in the snow",
        scene_id="winter",
        t2i_control_way="Control with uploaded template",
    )
    scene = folder / "winter.safetensors"
    scene.write_bytes(b"scene")
    return task((), person(folder), config=chosen, scene=scene, pose_template=template(5))


CASES = (sd1, sdxl, bench, lcm, several, background, shape, whole, single_pass, text)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_host_is_asked_what_the_record_says(case: Any, tmp_path: Path) -> None:
    host = FakeHost()
    list(portray(case(tmp_path), host, FakeVision()))
    record = [describe(job) for job in host.jobs]
    path = GOLDEN / f"{case.__name__}.json"
    if os.environ.get("EASYPHOTO_WRITE_GOLDEN"):
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert record == json.loads(path.read_text(encoding="utf-8"))


def describe(job: Txt2Img) -> dict[str, Any]:
    """A job as plain data; pictures by who they show, masks by where they lie."""
    known: dict[str, Any] = {
        "kind": type(job).__name__,
        "prompt": job.prompt,
        "negative_prompt": job.negative_prompt,
        "size": [job.width, job.height],
        "steps": job.steps,
        "sampler": job.sampler,
        "cfg_scale": job.cfg_scale,
        "seed": job.seed,
        "checkpoint": job.checkpoint,
        "loras": [[ref.name, ref.weight] for ref in job.loras],
    }
    start = None
    if isinstance(job, Img2Img):
        start = job.image
        assert start.shape == (job.height, job.width, 3)
        known |= {
            "strength": job.denoising_strength,
            "shows": who(start),
            "mask": None if job.mask is None else where(job.mask),
            "mask_blur": job.mask_blur,
        }
    known["controls"] = [
        {
            "role": control.role.value,
            "weight": control.weight,
            "made_from": "the pass's picture" if control.image is start else "another picture",
            "shows": who(control.image),
        }
        for control in job.controls
    ]
    return known


def who(image: Image) -> list[int]:
    """Who stands in a picture from left to right."""
    vision = FakeVision()
    angles = [np.arctan2(*vision.embedder.embed(image, face)[::-1]) for face in vision.detector.detect(image)]
    return [round(float(angle) / (np.pi / 2) * 80 / STEP) * STEP for angle in angles]


def where(mask: Mask) -> dict[str, Any]:
    """Share of the picture, and the box of what is set, in hundredths of the sides."""
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1
    rows, columns = np.nonzero(mask.max(1) > 0.5)[0], np.nonzero(mask.max(0) > 0.5)[0]
    height, width = mask.shape
    box = [columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height]
    return {"share": round(float(mask.mean()), 2), "box": [round(100 * float(side)) for side in box]}
