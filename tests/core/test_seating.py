"""Whose face is whose: by the order of the faces, by their number, and by likeness."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from easyphoto import pictures
from easyphoto.config import Paths, PortraitConfig
from easyphoto.errors import InvalidRequest, NotFound
from easyphoto.inference import recipe
from easyphoto.people import Person
from easyphoto.service import EasyPhoto, PortraitRequest, seating
from tests.acting import trained
from tests.fakes import FakeHost, FakeVision, blank, draw_face

QUICK = PortraitConfig(seed=5, first_diffusion_steps=2, second_diffusion_steps=2, super_resolution=False)
THERE = ("ann", "bob", "ann@home@1")


def person(name: str) -> Person:
    if name not in THERE:
        raise NotFound("There is no person {name!r}.", name=name)
    return Person(name, Path(), Path(), Path(), None, None)


@pytest.mark.parametrize(
    ("user_ids", "expected"),
    [
        (("ann", "bob"), ["ann", "bob"]),
        (("none", "bob"), ["", "bob"]),
        (("ann@2",), ["", "ann"]),
        (("ann@2", "bob"), ["bob", "ann"]),
        (("ann", "bob@1"), ["bob", "ann"]),
        (("ann", "none@1"), ["", "ann"]),
        (("bob@4", "ann", "none"), ["ann", "", "", "bob"]),
        (("ann@home@1@2",), ["", "ann@home@1"]),
        (("ann@home@1",), ["ann@home@1"]),
        ((), []),
    ],
)
def test_who_sits_for_which_face(user_ids: tuple[str, ...], expected: list[str]) -> None:
    assert [one.user_id if one else "" for one in seating.seated(user_ids, person)] == expected


@pytest.mark.parametrize(
    ("user_ids", "kind", "words"),
    [
        (("ann@0",), InvalidRequest, "'ann@0' names no face"),
        (("ann@101",), InvalidRequest, "from 1 to 100"),
        (("ann@2", "bob@2"), InvalidRequest, "Two people can't take face 2"),
        (("ann@2", "none@2"), InvalidRequest, "Two people can't take face 2"),
        (("eve@1",), NotFound, "'eve'"),
        (("ann@",), NotFound, "'ann@'"),
        (("ann@two",), NotFound, "'ann@two'"),
        (("ann@-1",), NotFound, "'ann@-1'"),
        (("ann@²",), NotFound, "ann@²"),
    ],
)
def test_what_names_no_face_is_one_sentence(user_ids: tuple[str, ...], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words.replace("(", "\\(")):
        seating.seated(user_ids, person)


@pytest.fixture
def service(paths: Paths) -> EasyPhoto:
    service = EasyPhoto(FakeHost(), FakeVision(), paths)
    trained(service, "ann", who=20)
    trained(service, "bob", who=60)
    return service


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """On the left somebody like Bob, on the right somebody like Ann."""
    picture = draw_face(draw_face(blank(480, 400), (120, 190), 80, who=57), (360, 200), 80, who=23)
    pictures.save_png(tmp_path / "group.png", picture)
    return tmp_path / "group.png"


def made(service: EasyPhoto, request: PortraitRequest) -> tuple[tuple[str, ...], list[bool], Path]:
    """Whom the recipe names, which of these faces have a likeness, and the file."""
    (portrait,) = service.generate(request).wait(60).portraits
    assert portrait.path is not None
    return recipe.read(portrait.path).user_ids, [one is not None for one in portrait.likeness], portrait.path


@pytest.mark.thorough
def test_a_face_is_chosen_by_its_number_and_the_others_stay(service: EasyPhoto, group: Path) -> None:
    names, measured, path = made(service, PortraitRequest(("ann@2",), (group,), QUICK))
    assert (names, measured) == (("none", "ann"), [False, True])
    before, after = pictures.load(group), pictures.load(path)
    assert (before[:, :200] == after[:, :200]).all() and not (before[:, 280:] == after[:, 280:]).all()
    names, measured, _ = made(service, PortraitRequest(("ann", "none@1"), (group,), QUICK))
    assert (names, measured) == (("none", "ann"), [False, True])


@pytest.mark.thorough
def test_likeness_gives_each_face_to_whoever_is_most_like_it(service: EasyPhoto, group: Path) -> None:
    both = PortraitRequest(("ann", "bob"), (group,), QUICK)
    assert made(service, both)[0] == ("ann", "bob")
    names, measured, path = made(service, replace(both, by_likeness=True))
    assert (names, measured) == (("bob", "ann"), [True, True])
    again = made(service, service.replay(path, (group,), {}))
    assert again[0] == names and (pictures.load(again[2]) == pictures.load(path)).all()
    one = PortraitRequest(("ann",), (group,), QUICK, by_likeness=True)
    assert made(service, one)[:2] == (("none", "ann"), [False, True])
    with pytest.raises(InvalidRequest, match="leave out by_likeness"):
        service.generate(replace(both, user_ids=("ann@2",), by_likeness=True))


def test_the_command_names_the_face_that_is_meant(tmp_path: Path, group: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "easyphoto", "generate", str(group), "--user", "ann@2", "--data", str(tmp_path / "d")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 2 and "There is no trained person 'ann'" in ran.stderr.splitlines()[-1]
