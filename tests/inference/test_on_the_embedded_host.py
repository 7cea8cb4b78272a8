"""The chain on the host that ships with the project, with its bench checkpoint: slow, and the whole way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from easyphoto import pictures
from easyphoto.config import Paths
from easyphoto.hosts.embedded import EmbeddedHost
from easyphoto.inference import recipe
from easyphoto.inference.portrait import portray
from easyphoto.inference.task import PortraitTask, Subject
from easyphoto.ports import Image
from easyphoto.vision import registry
from tests.inference.studio import config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (Paths.standalone().bench / "unet").is_dir(), reason="the bench checkpoint isn't there"),
]


def test_a_portrait_is_replayed_to_the_same_pixels(astronaut: Image, six_people: Image, tmp_path: Path) -> None:
    vision = registry.create(tmp_path)
    paths = Paths.standalone()
    host = EmbeddedHost(paths, vision)
    eileen = Subject(user_id="eileen", lora=None, reference=astronaut, face_id=astronaut)
    group = tmp_path / "group.png"
    pictures.save_png(group, six_people)
    task = PortraitTask(
        templates=(group,),
        people=(None, eileen),
        config=config(first_diffusion_steps=3, second_diffusion_steps=3),
        checkpoint=host.checkpoints()[0],
        folder=tmp_path / "out",
    )
    (first,) = portray(task, host, vision)
    assert first.path is not None
    read = recipe.read(first.path)
    (again,) = portray(dataclasses.replace(task, config=read.config, folder=None), EmbeddedHost(paths, vision), vision)
    assert (again.image == pictures.load(first.path)).all()
    assert read.differences(again.recipe) == []
    differs = (first.image != six_people).any(axis=2)
    for i, face in enumerate(vision.detector.detect(six_people)):
        left, top, right, bottom = (round(side) for side in face.box)
        assert bool(differs[top:bottom, left:right].any()) == (i == 1)
