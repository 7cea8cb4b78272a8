"""A ``serve`` that is killed with SIGKILL and started again loses nothing of its queue and makes nothing twice.

Trainings and portraits are made on the checkpoint that ships, and equal those of a run that nobody disturbed."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from easyphoto import pictures
from easyphoto.cli import demo
from easyphoto.config import Paths
from easyphoto.ports import Image
from tests.queue.program import Program, all_ended, b64, easyphoto

pytestmark = [pytest.mark.timeout(3600), pytest.mark.skipif(os.name == "nt", reason="signals")]
KILLS = int(os.environ.get("EASYPHOTO_KILLS", "10"))
TRAINING = {
    "max_train_steps": 6,
    "val_and_checkpointing_steps": 2,
    "rank": 2,
    "network_alpha": 2,
    "resolution": 64,
    "validation": False,
    "skin_retouching_bool": False,
}
PORTRAIT = {"first_diffusion_steps": 2, "second_diffusion_steps": 2, "seed": 3, "batch_size": 2}


@dataclass
class Made:
    """What came of a queue: the pixels of each portrait by job, template and seed, and the LoRAs by person."""

    portraits: dict[tuple[int, int, int], Image]
    loras: dict[str, dict[str, Any]]


@dataclass
class Wanted:
    """What is asked for."""

    start: Path
    photos: list[Path]
    templates: list[Path]

    def folder(self, name: str) -> Path:
        """A data folder in which ann is trained already."""
        folder = self.start.parent / name
        shutil.copytree(self.start, folder)
        return folder

    def ask(self, program: Program, rows: str) -> list[str]:
        """Queue a job for each letter: p portraits, t a training."""
        photos, templates = [b64(p) for p in self.photos], [b64(p) for p in self.templates]
        found = []
        for number, row in enumerate(rows):
            if row == "p":
                body: dict[str, Any] = {"user_ids": ["ann"], "templates": templates, "options": PORTRAIT}
                found.append(program.ask("portrait", body))
            else:
                body = {"user_id": f"p{number}", "photos": photos, "options": TRAINING}
                found.append(program.ask("train", body))
        return found


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory, astronaut: Image, grace_hopper: Image) -> Iterator[Wanted]:
    folder = tmp_path_factory.mktemp("killed")
    photos = [folder / f"photo-{i}.jpg" for i in range(4)]
    for path, image in zip(photos, demo.photos(astronaut), strict=False):
        pictures.save_jpg(path, image)
    templates = [folder / f"template-{i}.png" for i in range(2)]
    face = grace_hopper[20:340, 96:416]
    for path, image in zip(templates, (face, face[:, ::-1]), strict=True):
        pictures.save_png(path, np.ascontiguousarray(image))
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in TRAINING.items() if not isinstance(v, bool)]
    flags += ["--no-validation", "--no-skin-retouching-bool"]
    trained = easyphoto(folder / "start", "train", "ann", *map(str, photos), *flags)
    assert trained.returncode == 0, trained.stderr
    assert "1 jobs" in easyphoto(folder / "start", "queue", "clear").stdout
    yield Wanted(folder / "start", photos, templates)


def outcome(program: Program, folder: Path, ids: list[str]) -> Made:
    """What came of the jobs, each of which must have gone well and left each of its files once."""
    jobs = program.jobs()
    assert [jobs[i]["state"] for i in ids] == ["finished"] * len(ids), [jobs[i] for i in ids]
    made, paths = Made({}, {}), Paths.standalone(folder)
    for number, job_id in enumerate(ids):
        for one in jobs[job_id]["portraits"]:
            answer = program.http.get(f"/easyphoto/v1/jobs/{job_id}/pictures/{one['picture']}")
            key = (number, one["template"], one["seed"])
            assert key not in made.portraits, f"{key} is there twice"
            made.portraits[key] = pictures.load(answer.content)
        if jobs[job_id]["what"] == "train":
            made.loras[jobs[job_id]["subject"]] = dict(
                load_file(paths.loras / f"{jobs[job_id]['subject']}.safetensors")
            )
    assert len(list(paths.portraits.glob("*.png"))) == len(made.portraits), "a portrait that belongs to nobody"
    assert not (paths.queue / "pictures").exists(), "pictures of a job that has ended"
    assert {p["user_id"] for p in program.get("people")} == {"ann", *made.loras}
    return made


def same(one: Made, other: Made) -> None:
    assert sorted(one.portraits) == sorted(other.portraits)
    for key, image in one.portraits.items():
        assert np.array_equal(image, other.portraits[key]), f"other pixels in {key}"
    assert sorted(one.loras) == sorted(other.loras)
    for name, tensors in one.loras.items():
        for key, tensor in tensors.items():
            assert np.array_equal(tensor, other.loras[name][key]), f"{name}: {key}"


def undisturbed(wanted: Wanted, rows: str) -> tuple[Made, float]:
    folder = wanted.folder(f"undisturbed {rows}")
    with Program(folder) as program:
        began = time.monotonic()
        ids = wanted.ask(program, rows)
        program.wait(all_ended)
        return outcome(program, folder, ids), time.monotonic() - began


@pytest.mark.thorough
def test_killed_in_a_portrait_and_in_a_training(wanted: Wanted) -> None:
    rows = "pt"
    expected, _ = undisturbed(wanted, rows)
    assert len(expected.portraits) == 4 and len(expected.loras) == 1
    folder = wanted.folder("killed")
    with Program(folder) as program:
        portraits, training = ids = wanted.ask(program, rows)
        program.wait(lambda jobs: jobs[portraits]["pictures"] >= 1)
    with Program(folder) as program:
        assert set(program.jobs()) == set(ids), "the queue is there again"
        program.wait(lambda jobs: (jobs[training]["progress"] or {}).get("stage") == "train")
    with Program(folder) as program:
        program.wait(all_ended)
        told = program.http.get(f"/easyphoto/v1/jobs/{portraits}/events").text
        assert told.count("event: portrayed") == 4 and "it goes on from there" in told
        assert [program.jobs()[i]["cut_off"] for i in ids] == [1, 1]
        same(outcome(program, folder, ids), expected)
    with Program(folder) as program:  # and once more, with nothing left to do
        assert all_ended(program.jobs()) and set(program.jobs()) == set(ids)
        same(outcome(program, folder, ids), expected)


@pytest.mark.slow
def test_killed_in_a_batch_that_was_asked_for_over_http(wanted: Wanted) -> None:
    sizes = {"first_diffusion_steps": 2, "second_diffusion_steps": 2}
    rows = [{"user": "ann", "template": f"t{n % 2}", "seed": n, "output": f"row-{n}", **sizes} for n in range(5)]
    sent = {f"t{n}": b64(path) for n, path in enumerate(wanted.templates)}
    folder = wanted.folder("killed in a batch")
    portraits = Paths.standalone(folder).portraits
    with Program(folder) as program:
        batch = program.ask("batch", {"rows": rows, "templates": sent, "name": "monday"})
        program.wait(lambda jobs: jobs[batch]["pictures"] >= 1)
        assert program.jobs()[batch]["state"] == "running"
    for _ in range(2):  # once to go on, once more with nothing left to do
        with Program(folder) as program:
            program.wait(all_ended)
            job = program.jobs()[batch]
            assert (job["what"], job["state"], job["cut_off"], job["pictures"]) == ("batch", "finished", 1, 5)
            assert [(row["line"], row["output"], row["picture"] is None) for row in job["rows"]] == [
                (n + 1, f"row-{n}", False) for n in range(5)
            ]
            assert {row["state"] for row in job["rows"]} == {"made", "there"}
            told = program.http.get(f"/easyphoto/v1/jobs/{batch}/events").text
            assert told.count("event: portrayed") == 5 and "it goes on from there" in told
            assert sorted(p.relative_to(portraits).as_posix() for p in portraits.rglob("*.png")) == [
                f"batch-monday/row-{n}.png" for n in range(5)
            ], "every row once"
            made = [one for one in program.jobs().values() if one["what"] == "generate" and one["state"] == "finished"]
            assert len(made) == 5, "no portrait was made twice"
            assert not (portraits / "batch-monday" / ".jobs.json").exists()
            assert not list((Paths.standalone(folder).queue / "pictures").glob(f"{batch}*"))


@pytest.mark.slow
def test_killed_again_and_again(wanted: Wanted) -> None:
    rows, chance = "ptptp", random.Random(20)
    expected, seconds = undisturbed(wanted, rows)
    folder = wanted.folder("killed often")
    ids: list[str] = []
    for _ in range(KILLS):
        with Program(folder) as program:
            ids = ids or wanted.ask(program, rows)
            time.sleep(chance.uniform(0.05, seconds / 4))
    with Program(folder) as program:
        program.wait(all_ended)
        cut_off = {i: job["cut_off"] for i, job in program.jobs().items()}
        assert sum(cut_off.values()) >= 1
        print(f"{KILLS} kills, {cut_off}")
        same(outcome(program, folder, ids), expected)
