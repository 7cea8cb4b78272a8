"""What a batch has written about a person goes with that person."""

from __future__ import annotations

from pathlib import Path

import pytest

from easyphoto.batch import people_folders, training_run
from easyphoto.service import EasyPhoto
from easyphoto.storage.batch_reports import PAGE, TABLE, THUMBNAILS
from tests.acting import photos_in, trained
from tests.batch.asking import run
from tests.looking import contents

NAME = "Zoraida, Quux & (Söhne)"


def holding(folder: Path, name: str) -> list[str]:
    """The files below a folder that have the name in their content or their own name."""
    found = contents(folder).items()
    return [path.name for path, content in found if name in path.name or name.encode() in content]


@pytest.mark.thorough
def test_reports_on_portraits_go_with_the_portraits(service: EasyPhoto, desk: Path) -> None:
    trained(service, NAME, who=7)
    (desk / "first.csv").write_text(f'user,template\n"{NAME}",templates/template-0.png\nada,templates/template-1.png\n')
    (desk / "other.csv").write_text("user,template\nada,templates/template-0.png\n")
    first, other = run(service, desk / "first.csv"), run(service, desk / "other.csv")
    assert list((first.folder / THUMBNAILS).glob("*.jpg")) and holding(first.folder, "Zoraida")
    service.delete_person(NAME)
    assert first.report.is_file(), "the portraits stay, and the report on them"
    trained(service, NAME, who=7)
    first.csv.unlink()
    service.delete_person(NAME, portraits=True)
    assert not holding(service.paths.outputs, "Zoraida") and not (first.folder / THUMBNAILS).exists()
    assert other.report.is_file() and other.csv.is_file(), "the report on others stays"
    assert len(list(first.folder.glob("*.png"))) == 1, "so do the portraits of others"
    assert (run(service, desk / "other.csv").count("there")) == 1


def test_reports_on_trainings_go_with_whom_they_show(service: EasyPhoto, tmp_path: Path) -> None:
    for number, name in enumerate(("bob", "Zoraida")):
        photos_in(tmp_path / "people" / name, 2, who=30 + number)
    people, _ = people_folders.require(tmp_path / "people", service, service.train_config({}), frozenset())
    folder = training_run.report_folder(service, "people")
    training_run.start(service, training_run.TrainingBatch("people", folder, people)).wait(120)
    assert (folder / PAGE).is_file() and len(list((folder / THUMBNAILS).iterdir())) == 2
    service.delete_person("ada")
    assert (folder / PAGE).is_file(), "it doesn't tell of her"
    service.delete_person("Zoraida")
    assert (
        not holding(service.paths.outputs, "Zoraida")
        and not (folder / PAGE).exists()
        and not (folder / THUMBNAILS).exists()
    )


def test_what_somebody_else_put_there_stays(service: EasyPhoto) -> None:
    mine = service.paths.portraits / "mine"
    mine.mkdir(parents=True)
    (mine / PAGE).write_text("<p>All about ada</p>")
    (mine / TABLE).write_text("name\nada\n")
    service.delete_person("ada", portraits=True)
    assert (mine / PAGE).is_file() and (mine / TABLE).is_file()
