"""What comes back from a worker lies where it would lie had it been made here, whole, once, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from easyphoto import events
from easyphoto.config import Paths
from easyphoto.errors import InvalidRequest, StorageFailed
from easyphoto.events import Progress, Started
from easyphoto.fleet import parcel
from easyphoto.fleet.parcel import Area, PackedFile, Told, Translation
from easyphoto.fleet.returns import PortraitReturns, TrainingReturns
from easyphoto.storage.folders import PersonFolder

ANEW = events.to_json(Started(what="train", plan={"from_step": 0}))
ON = events.to_json(Started(what="train", plan={"from_step": 2}))
STEP = events.to_json(Progress(stage="train", step=3, total=4))


@pytest.fixture
def person(paths: Paths) -> PersonFolder:
    return PersonFolder(paths.people / "艾琳 eileen")


def piece(name: str, data: bytes = b"new", area: Area = Area.PEOPLE) -> PackedFile:
    return PackedFile(area, name, data, 10**18)


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def in_job(*names: str) -> tuple[PackedFile, ...]:
    return tuple(piece(f"艾琳 eileen/job/{name}") for name in names)


def test_a_new_training_that_dies_before_it_has_a_state_leaves_the_earlier_one(
    paths: Paths, person: PersonFolder
) -> None:
    write(person.job.state, b"old state")
    write(person.job.request, b"old request")
    returns = TrainingReturns(paths, person)
    with pytest.raises(RuntimeError), returns.alone():
        returns.take(Told(ANEW))
        assert not person.job.state.exists()
        raise RuntimeError
    assert person.job.state.read_bytes() == b"old state" and person.job.request.read_bytes() == b"old request"


def test_a_state_that_comes_back_is_what_the_next_goes_on_from(paths: Paths, person: PersonFolder) -> None:
    write(person.job.state, b"old state")
    write(person.job.path / "latents.safetensors", b"old latents")
    returns = TrainingReturns(paths, person)
    with pytest.raises(RuntimeError), returns.alone():
        returns.take(Told(ANEW))
        names = ("job.json", "photos/0.jpg", "state.pt")
        returns.take(Told(STEP, in_job(*names), names))
        raise RuntimeError
    assert person.job.state.read_bytes() == b"new"
    assert (person.job.photos / "0.jpg").read_bytes() == b"new"
    assert not (person.job.path / "latents.safetensors").exists(), "another training's latents would be trained on"
    assert not person.job.earlier.exists()


def test_a_training_that_goes_on_keeps_what_it_goes_on_from(paths: Paths, person: PersonFolder) -> None:
    write(person.job.state, b"of step 2")
    write(person.job.path / "latents.safetensors", b"its latents")
    returns = TrainingReturns(paths, person)
    with pytest.raises(RuntimeError), returns.alone():
        returns.take(Told(ON))
        raise RuntimeError
    assert person.job.state.read_bytes() == b"of step 2"
    assert (person.job.path / "latents.safetensors").exists()


def test_a_finished_person_is_put_in_place_as_one_and_the_job_is_cleared(paths: Paths, person: PersonFolder) -> None:
    lora = write(paths.loras / "艾琳 eileen.safetensors", b"old")
    write(person.marks, b"old")
    write(person.job.state, b"state")
    returns = TrainingReturns(paths, person)
    pieces = (
        piece("艾琳 eileen/person.json"),
        piece("艾琳 eileen/ref_image.jpg"),
        piece("艾琳 eileen/user_weights/best_outputs/x.jpg"),
        piece("艾琳 eileen.safetensors", area=Area.LORAS),
    )
    with returns.alone():
        returns.take(Told(ON))
        returns.take(Told(pieces=pieces, jobs=("scores.json",), published=True))
    assert lora.read_bytes() == person.marks.read_bytes() == person.reference.read_bytes() == b"new"
    assert (person.best / "x.jpg").is_file() and not person.job.state.exists()
    assert not [path for path in [*paths.loras.iterdir(), *person.path.iterdir()] if path.name.startswith(".")]


def test_one_training_of_a_person_at_a_time(paths: Paths, person: PersonFolder) -> None:
    second = TrainingReturns(paths, person)
    with TrainingReturns(paths, person).alone(), pytest.raises(InvalidRequest, match="being trained"), second.alone():
        pass


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/x", "somebody else/person.json", "艾琳 eileen/../bob/x.jpg"])
def test_a_worker_writes_to_nobody_else(paths: Paths, person: PersonFolder, name: str) -> None:
    returns = TrainingReturns(paths, person)
    with returns.alone(), pytest.raises(StorageFailed, match="can't be kept"):
        returns.take(Told(pieces=(piece(name),), published=True))
    assert [path.name for path in paths.people.iterdir()] == ["艾琳 eileen"]


def test_a_portrait_gets_a_name_that_is_free_here_and_is_spoken_of_under_it(paths: Paths) -> None:
    there = {area.value: f"/node/{area.value}" for area in Area}
    translation = Translation.between(there, paths)
    returns = PortraitReturns(paths, translation, there["portraits"])
    for count in range(2):
        returns.take(Told(pieces=(piece("a.png", b"%d" % count, Area.PORTRAITS),)))
    assert [path.read_bytes() for path in sorted(paths.portraits.iterdir())] == [b"1", b"0"]  # a-1.png, a.png
    said = translation.data({"path": "/node/portraits/a.png", "of": ["/node/loras/x", "/node/lorasandmore", "word"]})
    assert said == {
        "path": str(paths.portraits / "a-1.png"),
        "of": [str(paths.loras / "x"), "/node/lorasandmore", "word"],
    }


def test_what_travels_for_portraits_holds_no_photo_that_was_uploaded(paths: Paths, person: PersonFolder) -> None:
    for place in (person.backup / "0.jpg", person.job.photos / "0.jpg", person.job.state):
        write(place, b"private")
    write(person.reference, b"reference")
    write(person.crops / "0.jpg", b"crop")
    write(person.job.worker_lock, b"")
    write(person.best / "best.jpg", b"best")
    for weights in (person.best / "copy.safetensors", person.best.parent / "checkpoint-2.safetensors"):
        write(weights, b"large")
    lora = write(paths.loras / f"{person.name}.safetensors", b"lora")
    shown = parcel.of_person(paths, person, photos=False)
    assert {one.data for one in shown} == {b"reference", b"crop", b"best", b"lora"}
    whole = parcel.of_person(paths, person, photos=True)
    assert sum(one.data == b"private" for one in whole) == 3
    assert not [one for one in whole if one.name.endswith(".lock")]
    elsewhere = Paths.standalone(paths.outputs.parent.parent / "node")
    put = [parcel.put(elsewhere, one) for one in shown]
    stamps = {path.name: path.stat().st_mtime_ns for path in put}
    assert stamps[lora.name] == lora.stat().st_mtime_ns  # what was remembered of a photo is known by its time
