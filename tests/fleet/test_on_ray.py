"""The same jobs on a real cluster of two nodes, workers and nodes of which die: all is made, once, and alike."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easyphoto import pictures
from easyphoto.config import Paths
from easyphoto.ports import Image
from easyphoto.storage import portraits
from tests import tiny
from tests.acting import templates_in, trained
from tests.fleet import builds, head
from tests.fleet.two_nodes import TwoNodes, settings, two_nodes
from tests.training.conftest import portraits as photos_of
from tests.waiting import until

pytest.importorskip("ray", reason="the cluster is tested where Ray is installed: pip install 'easyphoto[ray]'")
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.name == "nt", reason="Ray's nodes are on Linux and macOS"),
]

ACTING, REAL = "tests.fleet.builds:acting", "easyphoto.cli.standalone:build"
SEED, EACH = 5, 4


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return settings()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("nodes")
    return folder / "one", folder / "two"


@pytest.fixture(scope="module")
def cluster(places: tuple[Path, Path], environment: dict[str, str]) -> Iterator[TwoNodes]:
    with two_nodes(places, environment) as nodes:
        yield nodes


def left_on(places: tuple[Path, Path]) -> list[Path]:
    """Files of people in the folders of the nodes' workers."""
    return [path for place in places for path in place.rglob("*") if path.is_file() and path.suffix != ".lock"]


def made(paths: Paths) -> dict[tuple[str, int], Image]:
    """The portraits by person and seed; each is there once."""
    found: dict[tuple[str, int], Image] = {}
    for path in sorted(paths.portraits.glob("*.png")):
        recipe = portraits.recipe_in(path)
        assert recipe is not None
        key = (recipe["user_ids"][0], int(recipe["seed"]))
        assert key not in found, f"{key} was made twice"
        found[key] = pictures.load(path)
    return found


def worker_of(place: Path) -> bool:
    """Whether a request is worked on in a node's folder."""
    return any(path.suffix == ".png" or path.name == "job.json" for path in left_on((place, place)))


def workers() -> list[int]:
    """The processes of Ray's workers that are at work for us on this machine."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                title = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if title.startswith(b"ray::FleetActor"):
                found.append(int(entry.name))
    return found


@pytest.mark.thorough
def test_a_node_that_is_lost_over_portraits_costs_no_portrait_and_keeps_no_face(
    tmp_path: Path, cluster: TwoNodes, places: tuple[Path, Path], environment: dict[str, str]
) -> None:
    paths = Paths.standalone(tmp_path / "data 数据")
    service = builds.acting(paths)
    people = ("艾琳", "bob")
    for number, name in enumerate(people):
        trained(service, name, 20 + number)
    template = templates_in(tmp_path, 1)[0]
    options = {"seed": SEED, "batch_size": EACH, "first_diffusion_steps": 2, "second_diffusion_steps": 2}
    wanted = [[name, [str(template)], options] for name in people]
    alone = Paths.standalone(tmp_path / "alone")
    shutil.copytree(paths.outputs.parent, alone.outputs.parent)
    with head.told(environment, data=str(alone.outputs.parent), build=ACTING, portraits=wanted) as events:
        assert [event["state"] for event in events if event["kind"] == "ended"] == ["finished"] * 2
    ends: dict[str, Any] = {}
    lost = False
    ask = {"address": cluster.address, "share": "ray", "data": str(paths.outputs.parent), "build": ACTING}
    with head.told(environment, **ask, portraits=wanted) as events:
        for event in events:
            if event["kind"] == "portrayed" and not lost and left_on(places[1:] * 2):
                lost = True
                cluster.tell("lose")
            if event["kind"] == "portrayed":
                assert Path(event["path"]).is_relative_to(paths.portraits)
            if event["kind"] == "ended":
                ends[event["subject"]] = event
    assert lost and {name: end["state"] for name, end in ends.items()} == dict.fromkeys(people, "finished"), ends
    cluster.tell("bring")
    here, there = made(alone), made(paths)
    assert here.keys() == there.keys() == {(name, SEED + i) for name in people for i in range(EACH)}
    assert all(np.array_equal(here[key], there[key]) for key in here)
    until(lambda: not left_on(places))


def photos(folder: Path, astronaut: Image) -> list[str]:
    found = []
    for number, image in enumerate(photos_of(astronaut, 3)):
        pictures.save_png(folder / f"{number}.png", image)
        found.append(str(folder / f"{number}.png"))
    return found


@pytest.mark.parametrize("share", ["ray", "folder"])
@pytest.mark.slow
def test_a_training_whose_worker_is_killed_goes_on_from_its_checkpoint(
    tmp_path: Path,
    astronaut: Image,
    cluster: TwoNodes,
    places: tuple[Path, Path],
    environment: dict[str, str],
    share: str,
) -> None:
    paths = Paths.standalone(tmp_path / "data")
    tiny.folder(paths.models / "Stable-diffusion" / "tiny")
    options = {
        "sd_model_checkpoint": "tiny",
        "resolution": 64,
        "max_train_steps": 6,
        "val_and_checkpointing_steps": 2,
        "train_batch_size": 2,
        "rank": 4,
        "network_alpha": 2,
        "skin_retouching_bool": False,
    }
    asked = [["eve", photos(tmp_path / "photos", astronaut), options]]
    ask = {"address": cluster.address, "share": share, "data": str(paths.outputs.parent), "build": REAL}
    begun, steps, state = [], [], ""
    with head.told(environment, **ask, trainings=asked) as events:
        for event in events:
            if event["kind"] == "started":
                begun.append(event["plan"]["from_step"])
            if event["kind"] == "progress" and event["stage"] == "train":
                steps.append(event["step"])
            if event["kind"] == "validated" and event["step"] == 2 and len(begun) == 1:
                for process in workers():
                    os.kill(process, signal.SIGKILL)
            if event["kind"] == "ended":
                state = event["state"]
    assert state == "finished"
    assert len(begun) == 2 and begun[0] == 0 and begun[1] >= 2, (begun, steps)
    assert max(steps) == 6 and (paths.loras / "eve.safetensors").is_file()
    person = paths.people / "eve"
    assert len(list((person / "original_backup").glob("*.jpg"))) == 3 and not (person / "job" / "state.pt").exists()
    until(lambda: not [path for path in left_on(places) if not path.is_symlink()])


def at_work_on(place: Path, user: str) -> bool:
    """Whether a worker of the node whose folder this is works on a request of ``user``."""
    return any(user in path.parts for path in left_on((place, place)))


@pytest.mark.slow
def test_a_node_that_is_lost_in_mid_training_and_in_mid_portrait_leaves_a_whole_batch(
    tmp_path: Path, astronaut: Image, cluster: TwoNodes, places: tuple[Path, Path], environment: dict[str, str]
) -> None:
    paths = Paths.standalone(tmp_path / "data")
    people = ("eve", "bob")
    options = {
        "resolution": 64,
        "max_train_steps": 12,
        "val_and_checkpointing_steps": 2,
        "train_batch_size": 1,
        "rank": 4,
        "network_alpha": 2,
        "validation": False,
        "skin_retouching_bool": False,
    }
    ask = {"address": cluster.address, "share": "ray", "data": str(paths.outputs.parent), "build": REAL}
    template = tmp_path / "template.png"
    pictures.save_png(template, astronaut[:256, 96:352])
    trainings = [[name, photos(tmp_path / "photos", astronaut), options] for name in people]
    begun: dict[str, list[int]] = {name: [] for name in people}
    ends, lost = [], ""
    with head.told(environment, **ask, trainings=trainings) as events:
        for event in events:
            user = event["subject"]
            if event["kind"] == "started":
                begun[user].append(event["plan"]["from_step"])
            saved = event["kind"] == "progress" and event["stage"] == "train" and event["step"] >= 3
            if saved and not lost and at_work_on(places[1], user):
                lost = user
                cluster.tell("lose")
            if event["kind"] == "ended":
                ends.append(event["state"])
    assert lost and ends == ["finished"] * 2
    assert len(begun[lost]) == 2 and begun[lost][1] >= 2, begun
    assert all((paths.loras / f"{name}.safetensors").is_file() for name in people)
    cluster.tell("bring")
    until(lambda: not [path for path in left_on(places) if not path.is_symlink()])

    quick = {"seed": SEED, "batch_size": 2, "first_diffusion_steps": 2, "second_diffusion_steps": 2}
    wanted = [[name, [str(template)], quick] for name in people]
    ends, lost = [], ""
    with head.told(environment, **ask, portraits=wanted) as events:
        for event in events:
            user = event["subject"]
            if event["kind"] == "progress" and not lost and at_work_on(places[1], user):
                lost = user
                cluster.tell("lose")
            if event["kind"] == "ended":
                ends.append(event["state"])
    assert lost and ends == ["finished"] * 2
    assert made(paths).keys() == {(name, SEED + number) for name in people for number in range(2)}
    cluster.tell("bring")
    until(lambda: not [path for path in left_on(places) if not path.is_symlink()])
