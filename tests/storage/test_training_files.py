"""What a training may touch before it is known to be right: nothing. The trainer here is a small program that ends as
each test wants; everything around it is the real thing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from easyphoto import pictures
from easyphoto.config import Paths, TrainConfig
from easyphoto.errors import InvalidRequest, TrainingFailed
from easyphoto.service import EasyPhoto, TrainRequest
from easyphoto.storage.folders import PersonFolder
from easyphoto.training.spec import TrainingSpec
from tests.fakes import FakeHost, FakeVision
from tests.storage import somebody
from tests.storage.somebody import NEW, OLD

ROOT = Path(__file__).resolve().parents[2]
FAILS = "sys.exit('RuntimeError: it fails')"
SAVES = "(folder / 'state.pt').write_bytes(b'state new')\nsys.exit('RuntimeError: it fails later')"
PUBLISHES = """
from tests.storage import somebody
from easyphoto.training import handover
from easyphoto.training.spec import TrainingSpec
from easyphoto.events import Finished, append
from easyphoto.training.spec import TrainingResult
from easyphoto.config import Paths
asked = folder / 'resume.json'
spec = TrainingSpec.from_json((asked if asked.exists() else folder / 'job.json').read_text(encoding='utf-8'))
(folder.parent.parent / 'asked.json').write_text(spec.to_json(), encoding='utf-8')
photos = {p.name: p.read_bytes() for p in (folder / 'photos').glob('*.jpg')}
job, lora, best = somebody.finished_job(Paths.standalone(folder.parents[3]))
for path in (folder / 'photos').glob('*.jpg'):
    path.write_bytes(photos.get(path.name, path.read_bytes()))
marks = {'family': 'sd1', 'likeness': 0.7, 'embedder': '180', 'works': True}
handover.everything(spec, folder, lora, best, marks)
handover.clear(folder)
result = TrainingResult(spec.lora_path, folder / 'ref_image.jpg', None, True, 2)
append(folder / 'events.jsonl', [Finished(result=result.to_mapping())])
"""

Made = Callable[[str], EasyPhoto]


@pytest.fixture
def service(paths: Paths, tmp_path: Path) -> Made:
    """The service with a trainer that runs this code; ``folder`` is the job's."""
    somebody.trained(paths)

    def make(code: str) -> EasyPhoto:
        program = tmp_path / "trainer.py"
        start = (
            f"import sys\nfrom pathlib import Path\nsys.path.insert(0, {str(ROOT)!r})\nfolder = Path(sys.argv[-1])\n"
        )
        program.write_text(start + code, encoding="utf-8")
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        return EasyPhoto(FakeHost(), FakeVision(), paths, python=lambda emit, cancelled: python)

    return make


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pictures.save_jpg(tmp_path / "new.jpg", somebody.grey(NEW))
    return tmp_path / "new.jpg"


def home(paths: Paths) -> PersonFolder:
    return PersonFolder(paths.people / "ann")


# --- photos ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resumable", [False, True])
def test_a_failed_training_leaves_the_person_and_what_can_be_resumed(
    service: Made, paths: Paths, photo: Path, resumable: bool
) -> None:
    if resumable:
        somebody.interrupted_job(paths)
    before = somebody.snapshot(paths.people, paths.loras)
    with pytest.raises(TrainingFailed, match="it fails"):
        service(FAILS).train(TrainRequest("ann", (photo,))).wait(60)
    assert somebody.values(paths) == {OLD}
    after = somebody.snapshot(paths.people, paths.loras)
    kept = {k: v for k, v in before.items() if resumable or "/job/" not in k}
    assert {k: after.get(k) for k in kept} == kept
    assert not [p for p in home(paths).job.path.iterdir() if p.name.startswith(("staged-", "earlier"))]


@pytest.mark.parametrize("photos", [(b"no picture",), (b"no picture", b"")])
def test_photos_that_cannot_be_read_change_nothing(service: Made, paths: Paths, photos: tuple[bytes, ...]) -> None:
    somebody.interrupted_job(paths)
    before = somebody.snapshot(paths.people, paths.loras)
    with pytest.raises(InvalidRequest, match="None of the photos"):
        service(FAILS).train(TrainRequest("ann", photos)).wait(60)
    assert somebody.snapshot(paths.people, paths.loras) == before


def test_somebody_new_whose_photos_cannot_be_read_leaves_no_folder(service: Made, paths: Paths) -> None:
    with pytest.raises(InvalidRequest, match="None of the photos"):
        service(FAILS).train(TrainRequest("bob", (b"no picture",))).wait(60)
    assert [p.name for p in paths.people.iterdir() if p.is_dir()] == ["ann"]


def test_a_training_that_saved_something_can_be_resumed_itself(service: Made, paths: Paths, photo: Path) -> None:
    somebody.interrupted_job(paths)
    with pytest.raises(TrainingFailed):
        service(SAVES).train(TrainRequest("ann", (photo,))).wait(60)
    assert somebody.values(paths) == {OLD}
    assert home(paths).job.state.read_bytes() == b"state new"
    assert somebody.value_of(home(paths).photos()[0]) == NEW


@pytest.mark.thorough
def test_a_training_that_ends_well_replaces_everything_as_one(service: Made, paths: Paths, photo: Path) -> None:
    somebody.interrupted_job(paths)
    service(PUBLISHES).train(TrainRequest("ann", (photo, photo))).wait(60)
    assert somebody.values(paths) == {NEW}
    assert [p.name for p in home(paths).photos()] == ["0.jpg", "1.jpg"]
    left = {p.name for p in home(paths).job.path.iterdir()}
    assert not left & {"state.pt", "photos", "earlier", "user_weights", "latents.safetensors"}


# --- resume ----------------------------------------------------------------------------------------------------------


def began(paths: Paths, **options: object) -> TrainingSpec:
    """An interrupted training with these options."""
    job = somebody.interrupted_job(paths)
    photos = (job.photos / "0.jpg",)
    config = replace(TrainConfig(), **options)  # type: ignore[arg-type]
    spec = somebody.spec(paths, config=config, checkpoint=Path("fake.safetensors").absolute(), photos=photos)
    pictures.write_bytes(job.request, spec.to_json().encode())
    return spec


def asked(paths: Paths) -> TrainingSpec:
    return TrainingSpec.from_json((paths.people / "asked.json").read_text(encoding="utf-8"))


def usual(**options: object) -> TrainRequest:
    """As a form sends it: every field, whoever chose it."""
    return TrainRequest("ann", (), replace(TrainConfig(), **options), resume=True)  # type: ignore[arg-type]


@pytest.mark.thorough
@pytest.mark.parametrize(
    "request_",
    [
        TrainRequest("ann", (), resume=True),
        TrainRequest("ann", (), TrainConfig(), resume=True, chosen=frozenset()),
        usual(),
        usual(rank=7),
    ],
)
def test_resume_takes_the_options_of_the_job(service: Made, paths: Paths, request_: TrainRequest) -> None:
    before = began(paths, rank=7, network_alpha=3, learning_rate=3e-4, max_train_steps=99)
    service(PUBLISHES).train(request_).wait(60)
    now = asked(paths)
    assert now.resume and now.photos == before.photos and now.config == before.config


@pytest.mark.thorough
def test_what_changes_no_step_may_be_chosen_anew(service: Made, paths: Paths) -> None:
    before = began(paths, rank=7)
    chosen = {"val_and_checkpointing_steps": 17, "max_train_steps": 500, "validation": False, "fusion": "best"}
    request = TrainRequest("ann", (), replace(TrainConfig(), **chosen), resume=True, chosen=frozenset(chosen))  # type: ignore[arg-type]
    service(PUBLISHES).train(request).wait(60)
    assert asked(paths).config == replace(before.config, **chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize("by_form", [True, False])
def test_a_difference_that_matters_is_named_and_the_job_stays(service: Made, paths: Paths, by_form: bool) -> None:
    began(paths, rank=7)
    before = somebody.snapshot(paths.people, paths.loras)
    request = usual(rank=8, snr_gamma=5.0)
    if not by_form:
        request = replace(request, chosen=frozenset({"rank", "snr_gamma", "resolution"}))
    with pytest.raises(InvalidRequest, match=r"rank was 7 and is 8 now, snr_gamma was 0\.0 and is 5\.0 now"):
        service(FAILS).train(request)
    assert somebody.snapshot(paths.people, paths.loras) == before


def test_a_resume_that_fails_leaves_the_job_as_it_was_asked(service: Made, paths: Paths) -> None:
    before = began(paths, rank=7)
    with pytest.raises(TrainingFailed):
        service(FAILS).train(TrainRequest("ann", (), resume=True)).wait(60)
    job = home(paths).job
    assert job.request.read_text(encoding="utf-8") == before.to_json() and not job.resumed.exists()
    assert job.state.exists() and job.photos.is_dir()


def test_other_photos_than_those_of_the_job_are_refused(service: Made, paths: Paths, photo: Path) -> None:
    began(paths)
    before = somebody.snapshot(paths.people)
    with pytest.raises(InvalidRequest, match="other photos"):
        service(FAILS).train(TrainRequest("ann", (photo,), resume=True)).wait(60)
    assert somebody.snapshot(paths.people) == before


def test_there_must_be_something_to_go_on_with(service: Made) -> None:
    with pytest.raises(InvalidRequest, match="no earlier training of 'bob'"):
        service(FAILS).train(TrainRequest("bob", (), resume=True))


# --- two at once -----------------------------------------------------------------------------------------------------


@contextmanager
def training_elsewhere(paths: Paths) -> Iterator[None]:
    """Another process that trains ann."""
    code = (
        "import sys; from pathlib import Path; from easyphoto.storage import locks\n"
        "from easyphoto.storage.folders import JobFolder\n"
        "with locks.alone(JobFolder(Path(sys.argv[1])), 'ann'): print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(home(paths).job.path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdin is not None
        assert other.stdout.readline().strip() == b"held"
        yield
        other.stdin.close()
        assert other.wait(60) == 0


def test_who_is_trained_by_another_process_is_neither_trained_nor_deleted(
    service: Made, paths: Paths, photo: Path
) -> None:
    somebody.interrupted_job(paths)
    made = service(FAILS)
    before = somebody.snapshot(paths.people, paths.loras)
    with training_elsewhere(paths):
        for request in (TrainRequest("ann", (photo,)), TrainRequest("ann", (), resume=True)):
            with pytest.raises(InvalidRequest, match="ann is being trained already"):
                made.train(request)
        for delete in (made.delete_person, made.people.delete):
            with pytest.raises(InvalidRequest, match="'ann' is being trained"):
                delete("ann")
        assert somebody.snapshot(paths.people, paths.loras) == before
    made.delete_person("ann")
    assert not home(paths).path.exists()


@pytest.mark.thorough
def test_nothing_of_a_data_folder_is_imported_by_the_trainer(paths: Paths, tmp_path: Path) -> None:
    """The real trainer, started beside files that are called like modules it imports."""
    from easyphoto.training import job as jobs

    somebody.trained(paths)
    folder = home(paths).job.path
    mark = tmp_path / "ran"
    for place in (folder, home(paths).path, paths.people, paths.outputs, paths.outputs.parent, tmp_path):
        place.mkdir(parents=True, exist_ok=True)
        for module in ("filelock", "json", "logging", "torch", "numpy", "sitecustomize", "usercustomize"):
            (place / f"{module}.py").write_text(f"open({str(mark)!r}, 'w').close()\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setenv("PYTHONPATH", ":.")
        with pytest.raises(InvalidRequest, match="None of the photos"):
            jobs.run(
                somebody.spec(paths, photos=(tmp_path / "missing.jpg",)), folder, lambda event: None, lambda: False
            )
    assert not mark.exists()
