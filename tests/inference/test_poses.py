"""Tests of the inner poses and of pictures from text, which have one face and the size that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from easyphoto import families
from easyphoto.config import POSES, SCENE_CONTROLS, Family
from easyphoto.errors import InvalidRequest
from easyphoto.events import Event, Notice
from easyphoto.inference import plan, poses
from easyphoto.inference.portrait import portray
from easyphoto.ports import Img2Img, Txt2Img
from easyphoto.vision import pose as heads
from tests.fakes import FakeHost, FakeVision, blank, draw_face, face_in, tint
from tests.inference.studio import config, person, task

TEXT = {"text_to_image_input_prompt": "a garden", "text_to_image_width": 240, "text_to_image_height": 320}


def test_the_poses_are_those_that_are_offered() -> None:
    assert [pose.name for pose in poses.known()] == list(POSES[1:]) and len(poses.known()) == 10
    assert poses.chosen(POSES[0], 3) is poses.chosen(POSES[0], 13) is poses.known()[3]
    drawn = {poses.draw(pose, (320, 240), Family.SD1).tobytes() for pose in poses.known()}
    assert len(drawn) == 10


def test_a_pose_is_chosen_by_its_number_too() -> None:
    for given in (10, "10"):
        assert config(t2i_pose_inner=given, **TEXT).t2i_pose_inner == POSES[10] == "hand-at-chin"
    for wrong in (0, 11, -1, "11", "1.0", True, 1.0, "²", "1" * 5000, None):
        with pytest.raises(InvalidRequest, match="t2i_pose_inner"):
            config(t2i_pose_inner=wrong, **TEXT)


def test_the_heads_look_where_their_names_say() -> None:
    turned = {}
    for pose in poses.known():
        face = face_in((0, 0, 1, 1))
        seen = heads.pose(type(face)(face.box, face.points, pose.face * 100 + 200))
        turned[pose.name] = (seen.yaw, seen.pitch, seen.roll)
    assert turned["right"][0] > 20 and turned["left"][0] < turned["slightly-left"][0] < -8
    assert turned["up"][1] > 8 and turned["down"][1] < -8
    assert turned["tilted-right"][2] > 8 and turned["tilted-left"][2] < -8


@pytest.mark.thorough
@pytest.mark.parametrize("family", [Family.SD1, Family.SDXL, Family.BENCH])
def test_the_inner_template_needs_no_picture(family: Family, tmp_path: Path) -> None:
    host = FakeHost()
    chosen = config(t2i_control_way=SCENE_CONTROLS[1], t2i_pose_inner="left", **TEXT)
    assert list(portray(task((), person(tmp_path), config=chosen, family=family), host, FakeVision()))
    (control,) = host.jobs[0].controls
    assert control.is_map and control.image.shape == (host.jobs[0].height, host.jobs[0].width, 3)
    grey = bool((control.image.max(axis=2) == control.image.min(axis=2)).all())
    assert grey == (family is Family.BENCH), "the bench checkpoint's control knows white dots alone"


def test_two_faces_are_drawn_again_and_the_same_way_each_time(tmp_path: Path) -> None:
    def twice(job: Txt2Img) -> np.ndarray:  # type: ignore[type-arg]
        if isinstance(job, Img2Img) or job.seed != 7:
            return tint(job)
        return draw_face(draw_face(blank(job.width, job.height), (60, 90), 60), (170, 200), 60)

    found = []
    for _ in range(2):
        host = FakeHost(paint=twice)
        (portrait,) = portray(task((), person(tmp_path), config=config(**TEXT), family=Family.SD1), host, FakeVision())
        seeds = [job.seed for job in host.jobs if not isinstance(job, Img2Img)]
        assert seeds[0] == 7 and len(set(seeds)) == 2 and portrait.recipe["config"]["seed"] == 7
        found.append(portrait.image)
    assert (found[0] == found[1]).all()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("family", "size"), [(Family.BENCH, (240, 320)), (Family.BENCH, (624, 832)), (Family.SD1, (1024, 1536))]
)
def test_the_size_is_the_one_that_was_asked_for(family: Family, size: tuple[int, int], tmp_path: Path) -> None:
    events: list[Event] = []
    chosen = config(**{**TEXT, "text_to_image_width": size[0], "text_to_image_height": size[1]})
    host = FakeHost()
    (portrait,) = portray(task((), person(tmp_path), config=chosen, family=family), host, FakeVision(), events.append)
    assert portrait.image.shape == (size[1], size[0], 3)
    drawn = host.jobs[0].width, host.jobs[0].height
    assert drawn == plan.drawn_size(family, chosen)
    assert drawn[0] * drawn[1] <= (families.spec(family).size.text_area or 256 * 256)
    assert any(f"drawn at {drawn[0]} x {drawn[1]}" in e.message for e in events if isinstance(e, Notice))
