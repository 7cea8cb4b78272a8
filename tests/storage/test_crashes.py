"""Tests with kill -9 at any moment of an import, a publication or a swap of photos: what was there before is still
there, complete."""

from __future__ import annotations

import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from easyphoto.config import Paths
from easyphoto.people import PeopleStore
from easyphoto.storage import earlier, locks
from easyphoto.storage.folders import STAGED, JobFolder
from easyphoto.storage.scratch import Scratch
from easyphoto.training import handover
from easyphoto.training import job as jobs
from tests.storage import crash, somebody
from tests.storage.somebody import NEW, OLD

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals")
FEW, MANY = 6, 30

Check = Callable[[Paths], None]


def moments(total: int, count: int, seed: int) -> list[int]:
    """So many of the operations, drawn, the first and the last with them."""
    inner = range(2, total)
    return sorted({1, total, *random.Random(seed).sample(inner, min(count - 2, len(inner)))})


def at_every_moment(tmp_path: Path, before: Check, work: Check, after: Check, count: int) -> None:
    """Prepare, work, kill, check; anew for each moment."""

    def folders(name: str) -> Paths:
        paths = Paths.standalone(tmp_path / name)
        before(paths)
        return paths

    whole = folders("whole")
    total = crash.operations(lambda: work(whole), tmp_path)
    after(whole)
    for moment in moments(total, count, seed=total):
        paths = folders(f"killed-{moment}")
        crash.killed(lambda paths=paths: work(paths), tmp_path, moment)  # type: ignore[misc]
        after(paths)
        shutil.rmtree(tmp_path / f"killed-{moment}")


def no_leftovers(paths: Paths) -> None:
    left = [p for p in paths.outputs.parent.rglob("*") if p.name.endswith(".part") or p.name.startswith("publish.")]
    assert not left
    assert not [p for p in paths.people.iterdir() if p.name.startswith(".import") and p.is_dir()]


# --- import ----------------------------------------------------------------------------------------------------------


def imports(tmp_path: Path, count: int) -> None:
    there = Paths.standalone(tmp_path / "there")
    somebody.trained(there, "eve", NEW)
    file = tmp_path / "eve.zip"
    PeopleStore(there).export("eve", file)

    def after(paths: Paths) -> None:
        store = PeopleStore(paths)
        known = [person.user_id for person in store.list()]
        assert known in (["ann"], ["ann", "eve"]) and all(not person.fault for person in store.list())
        assert somebody.values(paths, "ann") == {OLD}
        no_leftovers(paths)
        if "eve" not in known:
            assert not list(paths.loras.glob("*eve*")), "nothing half"
            store.bring(file)
        assert store.get("eve").likeness == pytest.approx(NEW / 255)

    at_every_moment(tmp_path, somebody.trained, lambda paths: PeopleStore(paths).bring(file), after, count)  # type: ignore[arg-type]


@pytest.mark.thorough
def test_a_killed_import_leaves_nobody_or_somebody(tmp_path: Path) -> None:
    imports(tmp_path, FEW)


@pytest.mark.slow
def test_a_killed_import_at_thirty_moments(tmp_path: Path) -> None:
    imports(tmp_path, MANY)


# --- publication -----------------------------------------------------------------------------------------------------


def publications(tmp_path: Path, count: int, *, whole: bool) -> None:
    def before(paths: Paths) -> None:
        somebody.trained(paths)
        somebody.finished_job(paths)

    def work(paths: Paths) -> None:
        job = JobFolder(paths.people / "ann" / "job")
        marks = {"family": "sd1", "likeness": NEW / 255, "embedder": str(NEW), "works": True}
        fused, best = job.path / "fused.safetensors", job.path / "validation" / "step-2.jpg"
        with locks.alone(job, "ann"):
            if whole:
                handover.everything(somebody.spec(paths), job.path, fused, best, marks)
            else:
                handover.essentials(somebody.spec(paths), job.path, fused, marks)

    def after(paths: Paths) -> None:
        person = PeopleStore(paths).get("ann")
        pieces = {somebody.value_of(person.reference), int(person.embedder), person.lora.read_bytes()[-1]}
        pieces.add(somebody.value_of(person.folder / "original_backup" / "0.jpg"))
        assert len(pieces) == 1 and not person.fault, "old or new, and no mixture"
        if whole:
            assert len(somebody.values(paths)) == 1
        no_leftovers(paths)

    at_every_moment(tmp_path, before, work, after, count)


@pytest.mark.thorough
@pytest.mark.parametrize("whole", [True, False])
def test_a_killed_publication_leaves_the_old_or_the_new(tmp_path: Path, whole: bool) -> None:
    publications(tmp_path, FEW, whole=whole)


@pytest.mark.slow
def test_a_killed_publication_at_thirty_moments(tmp_path: Path) -> None:
    publications(tmp_path, MANY, whole=True)


# --- photos ----------------------------------------------------------------------------------------------------------


def photo_swaps(tmp_path: Path, count: int) -> None:
    """A training begins anew over one that was cut off, and fails before it has saved anything."""

    def before(paths: Paths) -> None:
        somebody.trained(paths)
        somebody.interrupted_job(paths)

    def work(paths: Paths) -> None:
        job = JobFolder(paths.people / "ann" / "job")
        with Scratch(job.path, STAGED) as stage:
            photo = stage.path / "photos" / "0.jpg"
            somebody.pictures.save_jpg(photo, somebody.grey(NEW))
            with locks.alone(job, "ann"):
                jobs._prepare(somebody.spec(paths, photos=(photo,)), job)
                somebody.pictures.save_jpg(job.reference, somebody.grey(NEW))
                jobs._settle(job)

    def after(paths: Paths) -> None:
        assert somebody.values(paths) == {OLD}
        job = JobFolder(paths.people / "ann" / "job")
        with locks.alone(job, "ann"):
            earlier.settle(job)
        assert job.state.read_bytes() == f"state {OLD}".encode()
        assert job.request.read_text(encoding="utf-8") == somebody.spec(paths).to_json()
        assert {somebody.value_of(p) for p in (job.photos / "0.jpg", job.reference)} == {OLD}
        assert (job.path / "user_weights" / "checkpoint-2.safetensors").read_bytes() == somebody.lora(OLD)
        assert not job.earlier.exists()

    at_every_moment(tmp_path, before, work, after, count)


@pytest.mark.thorough
def test_a_killed_swap_of_photos_leaves_the_earlier_training(tmp_path: Path) -> None:
    photo_swaps(tmp_path, FEW)


@pytest.mark.slow
def test_a_killed_swap_of_photos_at_thirty_moments(tmp_path: Path) -> None:
    photo_swaps(tmp_path, MANY)


# --- export ----------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_killed_export_leaves_the_earlier_export(tmp_path: Path) -> None:
    def before(paths: Paths) -> None:
        somebody.trained(paths)
        PeopleStore(paths).export("ann", paths.outputs / "ann.zip")

    def after(paths: Paths) -> None:
        with zipfile.ZipFile(paths.outputs / "ann.zip") as archive:
            assert archive.testzip() is None

    at_every_moment(
        tmp_path, before, lambda paths: PeopleStore(paths).export("ann", paths.outputs / "ann.zip"), after, FEW
    )
