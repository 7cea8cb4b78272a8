"""Tests of the chain on real photographs with the packaged vision. The host only returns what it was given, or a
tint."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from easyphoto.config import Family
from easyphoto.inference import score, stages
from easyphoto.inference.gallery import main_face
from easyphoto.inference.portrait import portray
from easyphoto.inference.task import Subject
from easyphoto.ports import Image, Vision
from easyphoto.vision import registry
from tests.fakes import FakeHost, identity
from tests.inference.studio import config, task


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Vision:
    return registry.create(tmp_path_factory.mktemp("no-weights"))


@pytest.fixture
def eileen(astronaut: Image) -> Subject:
    return Subject(user_id="eileen", lora=None, reference=astronaut, face_id=astronaut)


@pytest.mark.thorough
def test_fusion_alone_makes_the_face_more_like_the_person(
    eileen: Subject, grace_hopper: Image, vision: Vision, tmp_path: Path
) -> None:
    host = FakeHost(paint=identity)
    job = task((grace_hopper,), eileen, family=Family.BENCH, config=config(skin_retouching_bool=True))
    (portrait,) = portray(job, host, vision)
    face, own = main_face(grace_hopper, vision), main_face(eileen.reference, vision)
    assert face is not None
    assert own is not None
    person = vision.embedder.embed(eileen.reference, own)
    seen = score.find(grace_hopper, face, vision)
    assert seen is not None
    before = score.compare(*seen, [person], vision.embedder)
    after = portrait.likeness[0]
    assert after is not None
    assert 1 - after.cosine < 0.6 * (1 - before.cosine)
    assert after.score > before.score
    crop = stages.frame(grace_hopper, face, Family.BENCH, crop=True).crop
    same = (portrait.image == grace_hopper).all(axis=2)
    same[crop.top : crop.bottom, crop.left : crop.right] = True
    assert same.all()
    assert host.jobs[0].width % 32 == host.jobs[0].height % 32 == 0
    assert min(host.jobs[0].width, host.jobs[0].height) == 320


@pytest.mark.thorough
def test_of_six_people_five_keep_every_bit(eileen: Subject, six_people: Image, vision: Vision) -> None:
    faces = vision.detector.detect(six_people)
    assert len(faces) == 6
    job = task((six_people,), None, None, eileen, family=Family.BENCH)
    (portrait,) = portray(job, FakeHost(), vision)
    differs = (portrait.image != six_people).any(axis=2)
    shares = []
    for face in faces:
        left, top, right, bottom = (round(side) for side in face.box)
        shares.append(float(differs[top:bottom, left:right].mean()))
    assert shares[2] > 0.9
    assert [share for i, share in enumerate(shares) if i != 2] == [0.0] * 5
    assert portrait.likeness[:2] == (None, None)
    assert portrait.likeness[2] is not None


@pytest.mark.thorough
def test_a_face_at_the_picture_s_edge_is_no_trouble(eileen: Subject, astronaut: Image, vision: Vision) -> None:
    face = main_face(astronaut, vision)
    assert face is not None
    top, right = max(0, round(face.box[1]) - 12), round(face.box[2]) + 12
    cut = np.ascontiguousarray(astronaut[top:, :right])
    other = dataclasses.replace(eileen, face_id=astronaut[:, ::-1].copy())
    (portrait,) = portray(task((cut,), other, family=Family.BENCH), FakeHost(paint=identity), vision)
    assert portrait.image.shape == cut.shape
    assert portrait.likeness[0] is not None
