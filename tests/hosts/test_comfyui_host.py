"""The ComfyUI host against a made-up ComfyUI, over real HTTP and a real websocket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easyphoto import families
from easyphoto.config import Family, Paths
from easyphoto.errors import AssetMissing, Cancelled, HostFailed, InvalidRequest, NotFound
from easyphoto.hosts.comfyui import ComfyUIHost, address
from easyphoto.hosts.comfyui.sampler_names import BY_NAME
from easyphoto.hosts.embedded import library
from easyphoto.inference.task import PortraitTask
from easyphoto.ports import Control, ControlRole, Identity, IdentityKind, Img2Img, LoraRef, OnStep, Rendered, Txt2Img
from easyphoto.sd.samplers import SAMPLERS
from easyphoto.storage import elsewhere
from tests.fakes import FakeVision, Looking
from tests.hosts.conftest import write_checkpoint
from tests.hosts.fake_comfyui import BLACK, FakeComfyUI
from tests.hosts.test_same_jobs import CASES, Case, compared, short

PICTURE = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
MASK = np.zeros((64, 64), np.float32)
MASK[16:40, 24:48] = 1
ASKED: dict[str, Any] = {"prompt": "a face", "width": 64, "height": 64, "steps": 5, "seed": 3, "checkpoint": "one"}
JOB = Img2Img(**ASKED, image=PICTURE, denoising_strength=0.45, sampler="DPM++ 2M Karras")


class Recording(ComfyUIHost):
    """Keeps the jobs that it was given."""

    def __init__(self, url: str, paths: Paths, root: Path | None = None) -> None:
        super().__init__(address.read(url), paths, FakeVision(), root)
        self.jobs: list[Txt2Img] = []

    def img2img(self, job: Img2Img, on_step: OnStep | None = None) -> Rendered:
        self.jobs.append(job)
        return super().img2img(job, on_step)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeComfyUI]:
    made = FakeComfyUI(tmp_path / "Comfy UI 数据")
    for name in ("one", "two"):
        write_checkpoint(made.root / "models" / "checkpoints" / f"{name}.safetensors")
    for role in library.DRAWN:
        published = families.spec(Family.SD1).control_models[role][0].published
        (made.root / "models" / "controlnet" / f"{published}.safetensors").touch()
    with made.running():
        yield made


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    models = tmp_path / "models"
    (models / "Lora").mkdir(parents=True)
    return Paths(tmp_path / "outputs", models, models / "Lora", tmp_path / "templates", tmp_path / "no bench")


@pytest.fixture
def host(fake: FakeComfyUI, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Recording:
    monkeypatch.setattr("easyphoto.checkpoint.require_same_family", lambda path, checkpoint: None)
    return Recording(fake.url, paths)


def lora(paths: Paths, name: str = "ann", content: bytes = b"weights") -> LoraRef:
    path = paths.loras / f"{name}.safetensors"
    path.write_bytes(content)
    return LoraRef(path, 0.9)


# --- jobs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [CASES[0], *(pytest.param(c, marks=pytest.mark.slow) for c in CASES[1:])])
def test_the_same_jobs_in_comfyui(fake: FakeComfyUI, host: Recording, paths: Paths, case: Case) -> None:
    task: PortraitTask = short(case, paths.models)
    for person in paths.loras.parent.rglob("*.safetensors"):
        person.touch()
    for ref in _loras(task):
        ref.path.parent.mkdir(parents=True, exist_ok=True)
        ref.path.write_bytes(ref.name.encode())
    compared(task, host, host.jobs)
    for job, work in zip(host.jobs, fake.done, strict=True):
        assert isinstance(job, Img2Img)
        sampling = work.only("KSamplerAdvanced")
        assert (sampling["noise_seed"], sampling["steps"], sampling["cfg"]) == (job.seed, job.steps, job.cfg_scale)
        ran = min(int(job.denoising_strength * job.steps) + 1, job.steps)
        assert sampling["end_at_step"] - sampling["start_at_step"] == ran
        assert [c["strength"] for c in work.all("ControlNetApplyAdvanced")] == [c.weight for c in job.controls]
        worn = [(row["lora_name"].split(".")[0], row["strength_model"]) for row in work.all("LoraLoader")]
        assert worn == [(f"easyphoto/{ref.name}", ref.weight) for ref in job.loras]
        np.testing.assert_array_equal(work.seen(work.only("VAEEncode")["pixels"]), job.image)
    assert all((picture == BLACK).all() and picture.shape == BLACK.shape for picture in fake.left)


def _loras(task: PortraitTask) -> list[LoraRef]:
    """Every LoRA that a task can ask a host for."""
    found: list[LoraRef] = []

    def look(value: Any) -> None:
        if isinstance(value, LoraRef):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            for entry in value:
                look(entry)
        elif isinstance(value, Path) and value.suffix == ".safetensors":
            found.append(LoraRef(value, 1))
        elif hasattr(value, "__dataclass_fields__"):
            for name in value.__dataclass_fields__:
                look(getattr(value, name, None))

    look(task)
    return [ref for ref in found if ref.path.stem not in ("one", "two")]


def test_a_mask_is_squares_of_latent_pixels_and_the_rest_stays(fake: FakeComfyUI, host: Recording) -> None:
    fake.paint = lambda work: np.zeros_like(PICTURE)
    made = host.img2img(replace(JOB, mask=MASK, mask_blur=2))
    work = fake.done[0]
    squares = work.seen(work.only("SetLatentNoiseMask")["mask"])[..., 0]
    assert set(np.unique(squares)) == {0, 255}
    small = squares.reshape(8, 8, 8, 8).transpose(0, 2, 1, 3).reshape(8, 8, 64)
    assert (small == small[..., :1]).all()
    assert (squares[16:40, 24:48] == 255).all() and squares.sum() == 255 * 24 * 24
    assert (made.image[20:36, 28:44] == 0).all()
    np.testing.assert_array_equal(made.image[:8], PICTURE[:8])


def test_a_picture_from_text(fake: FakeComfyUI, host: Recording) -> None:
    made = host.txt2img(
        Txt2Img(**{**ASKED, "prompt": r"(a face:1.3), [hat] BREAK a \(tree", "seed": -1}, sampler="LCM")
    )
    work = fake.done[0]
    assert made.image.shape == (64, 64, 3)
    assert work.only("KSamplerAdvanced")["noise_seed"] == made.seed >= 0
    assert work.only("KSamplerAdvanced")["start_at_step"] == 0
    assert [row["text"] for row in work.all("CLIPTextEncode")] == ["(a face:1.3), (hat:0.9091)", r"a \(tree", ""]
    assert work.only("ModelSamplingDiscrete")["sampling"] == "lcm"
    assert work.only("ConditioningConcat")["conditioning_from"] == ["positive 2", 0]


def test_the_same_job_twice_is_made_twice(fake: FakeComfyUI, host: Recording) -> None:
    first, second = host.img2img(JOB), host.img2img(JOB)
    np.testing.assert_array_equal(first.image, second.image)
    assert len(fake.done) == 2
    assert fake.history == []


def test_steps_are_told(host: Recording) -> None:
    told: list[tuple[int, int]] = []
    host.img2img(JOB, lambda done, total: told.append((done, total)))
    assert [step for step in told if step[0]] == [(1, 3), (2, 3), (3, 3), (3, 3)]


def test_previews_of_comfyui_are_shown(fake: FakeComfyUI, host: Recording) -> None:
    looking = Looking()
    host.img2img(JOB, looking)
    assert looking.seen == [], "it was started without previews, and what can't be read is none"
    fake.preview = np.full((96, 64, 3), 90, np.uint8)
    host.img2img(replace(JOB, seed=4), looking)
    assert [picture.shape for picture in looking.seen] == [(96, 64, 3)] * 3
    assert abs(int(looking.seen[0].mean()) - 90) < 3
    fake.preview = np.zeros((4, 3000, 3), np.uint8)
    host.img2img(replace(JOB, seed=5), looking)
    assert len(looking.seen) == 3, "no preview is as large as that"


def test_every_sampler_of_the_embedded_host_is_there(host: Recording) -> None:
    assert host.samplers()[: len(SAMPLERS)] == list(SAMPLERS)
    assert set(host.samplers()) < set(BY_NAME)
    with pytest.raises(InvalidRequest, match="There is no sampler 'Foo'"):
        host.img2img(replace(JOB, sampler="Foo"))


def test_soft_controls_and_without_them(fake: FakeComfyUI, host: Recording) -> None:
    control = Control(ControlRole.CANNY, PICTURE, 0.5)
    assert host.img2img(replace(JOB, controls=[control])).notice == ""
    assert fake.done[-1].only("ControlNetApplyAdvanced")["control_net"] == ["control 1 soft", 0]
    fake.lacking = frozenset({"EasyPhotoSoftControl"})
    other = Recording(fake.url, host._paths)
    assert "custom_nodes" in other.img2img(replace(JOB, controls=[control])).notice
    assert fake.done[-1].only("ControlNetApplyAdvanced")["control_net"] == ["control 1 model", 0]


# --- models ----------------------------------------------------------------------------------------------------------


def test_what_it_has(fake: FakeComfyUI, host: Recording) -> None:
    (fake.root / "models" / "checkpoints" / "bad.safetensors").write_bytes(b"<html>")
    assert [c.name for c in host.checkpoints()] == ["one.safetensors", "two.safetensors"]
    assert [b.name for b in host.broken_checkpoints()] == ["bad.safetensors"]
    assert host.controls(Family.SD1) == library.DRAWN
    assert host.controls(Family.SDXL) == frozenset()
    assert host.describe()["version"] == "0.3.75"


def test_what_is_missing_is_named_before_the_run(fake: FakeComfyUI, host: Recording) -> None:
    with pytest.raises(NotFound, match="There is no checkpoint 'tow'"):
        host.img2img(replace(JOB, checkpoint="tow"))
    with pytest.raises(AssetMissing, match="ComfyUI has no VAE named blue"):
        host.img2img(replace(JOB, vae="blue"))
    with pytest.raises(AssetMissing, match="ComfyUI has no LoRA named tree"):
        host.img2img(replace(JOB, prompt="a <lora:tree:1>"))
    (fake.root / "models" / "controlnet" / "control_v11p_sd15_canny.safetensors").unlink()
    with pytest.raises(AssetMissing, match="ComfyUI has no canny ControlNet for sd1 checkpoints"):
        host.img2img(replace(JOB, controls=[Control(ControlRole.CANNY, PICTURE)]))
    identity = Identity(IdentityKind.FACE_ID, (PICTURE,), np.zeros(4, np.float32), "fake")
    with pytest.raises(AssetMissing, match="no adapter for ip-adapter-faceid"):
        host.img2img(replace(JOB, identities=[identity]))
    fake.lacking = frozenset({"SetLatentNoiseMask", "LoadImageMask"})
    with pytest.raises(AssetMissing, match="lacks the nodes LoadImageMask, SetLatentNoiseMask"):
        host.img2img(replace(JOB, mask=MASK))
    assert fake.done == [] and not fake.temp.exists()


def test_models_that_lie_elsewhere(fake: FakeComfyUI, paths: Paths, tmp_path: Path) -> None:
    away = Recording(fake.url, paths, root=tmp_path / "empty")
    assert away.checkpoints() == []
    assert "--comfyui-root" in away.broken_checkpoints()[0].reason
    with pytest.raises(InvalidRequest, match="is not on this machine: say where"):
        away.img2img(JOB)
    assert len(Recording(fake.url, paths, root=fake.root).checkpoints()) == 2


def test_a_lora_reaches_comfyui_and_leaves_it(fake: FakeComfyUI, host: Recording, paths: Paths) -> None:
    folder = fake.root / "models" / "loras" / "easyphoto"
    host.img2img(replace(JOB, loras=[lora(paths)]))
    first = fake.done[-1].only("LoraLoader")["lora_name"]
    assert [path.read_bytes() for path in folder.iterdir()] == [b"weights"]
    (paths.loras / "ann.safetensors").unlink()
    host.img2img(replace(JOB, loras=[lora(paths, content=b"weights of later")]))
    assert fake.done[-1].only("LoraLoader")["lora_name"] != first
    assert elsewhere.places(["ann.safetensors"], paths.loras) == list(folder.iterdir())
    host.refresh_loras()
    assert [path.read_bytes() for path in folder.iterdir()] == [b"weights of later"]
    (paths.loras / "ann.safetensors").unlink()
    host.refresh_loras()
    assert list(folder.iterdir()) == []


# --- faults ----------------------------------------------------------------------------------------------------------


def test_nobody_answers(paths: Paths) -> None:
    host = Recording("http://127.0.0.1:9", paths)
    with pytest.raises(HostFailed, match=r"ComfyUI does not answer at http://127.0.0.1:9: start it there\."):
        host.require()
    assert "does not answer" in host.describe()["fault"]
    with host.training():
        host.refresh_loras()


def test_comfyui_goes_away_in_the_middle(fake: FakeComfyUI, host: Recording) -> None:
    def crash(number: int, step: int) -> None:
        if step == 1:
            fake.stop()

    fake.before_step = crash
    with pytest.raises(HostFailed, match=r"went away|does not answer"):
        host.img2img(JOB)


def test_its_models_are_known_while_it_is_away(fake: FakeComfyUI, host: Recording) -> None:
    known = host.checkpoints(), host.controls(Family.SD1), host.samplers()
    fake.stop()
    deadline = time.monotonic() + 20
    while "fault" not in host.describe() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (host.checkpoints(), host.controls(Family.SD1), host.samplers()) == known
    with pytest.raises(HostFailed, match=r"ComfyUI does not answer at .*: start it there"):
        host.img2img(JOB)


def test_a_node_fails(fake: FakeComfyUI, host: Recording) -> None:
    def fail(number: int, step: int) -> None:
        raise ValueError("mat1 and mat2 shapes cannot be multiplied\nsecond line")

    fake.before_step = fail
    said = "ComfyUI could not make the picture: KSamplerAdvanced: ValueError: mat1 and mat2 shapes cannot be multiplied"
    with pytest.raises(HostFailed, match=said):
        host.img2img(JOB)
    assert all(picture.shape == BLACK.shape for picture in fake.left)
    fake.before_step = lambda number, step: None
    assert host.img2img(JOB).image.shape == PICTURE.shape


@pytest.mark.parametrize(
    "error", [type("OutOfMemoryError", (RuntimeError,), {})("x"), RuntimeError("can't allocate memory: 9 GB")]
)
def test_it_runs_out_of_memory(fake: FakeComfyUI, host: Recording, error: Exception) -> None:
    def fail(number: int, step: int) -> None:
        raise error

    fake.before_step = fail
    with pytest.raises(HostFailed, match="ComfyUI has too little memory for the picture; choose a smaller size"):
        host.img2img(JOB)


def test_somebody_interrupts_it_in_comfyui(fake: FakeComfyUI, host: Recording) -> None:
    fake.before_step = lambda number, step: fake.interrupted.set()
    with pytest.raises(Cancelled, match="Interrupted in ComfyUI"):
        host.img2img(JOB)


def test_it_waits_for_the_work_of_others(fake: FakeComfyUI, host: Recording) -> None:
    fake.put()
    waited = host.img2img(JOB, lambda done, total: fake.others_end.set())
    assert waited.notice == "Other work in ComfyUI's queue came first: 1."
    assert host.img2img(JOB).notice == ""


def test_cancelling_while_it_waits_takes_only_ours(fake: FakeComfyUI, host: Recording) -> None:
    other = fake.put()

    def cancel(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        host.img2img(JOB, cancel)
    assert fake.queued() == ([other], [])
    assert not [call for call in fake.calls if call[0] == "interrupt"]
    assert all(picture.shape == BLACK.shape for picture in fake.left)


def test_cancelling_while_it_runs_interrupts_only_ours(fake: FakeComfyUI, host: Recording) -> None:
    fake.before_step = lambda number, step: step == 1 and fake.interrupted.wait(60)
    fake.others_end.set()

    def cancel(done: int, total: int) -> None:
        if done == 1:
            others.append(fake.put())
            raise Cancelled

    others: list[str] = []
    with pytest.raises(Cancelled):
        host.img2img(JOB, cancel)
    deadline = time.monotonic() + 20
    while others[0] not in fake.history and time.monotonic() < deadline:
        time.sleep(0.05)
    assert fake._history[others[0]]["status"]["completed"]
    assert fake.done == []


def test_somebody_takes_it_out_of_the_queue(fake: FakeComfyUI, host: Recording) -> None:
    fake.put()

    def remove(done: int, total: int) -> None:
        with fake._news:
            fake._pending.clear()

    with pytest.raises(Cancelled, match="Taken out of ComfyUI's queue"):
        host.img2img(JOB, remove)


def test_it_lets_go_of_its_models_for_a_training(fake: FakeComfyUI, host: Recording) -> None:
    with host.training():
        assert fake.calls == [("free", {"unload_models": True, "free_memory": True})]


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:8188", "http://127.0.0.1:8188"),
        ("localhost", "http://localhost:8188"),
        (" http://[::1]:80/ ", "http://[::1]:80"),
        ("https://127.1.2.3/comfy/", "https://127.1.2.3:443/comfy"),
    ],
)
def test_addresses_of_this_machine(given: str, url: str) -> None:
    assert address.read(given) == address.Address(url, here=True)


@pytest.mark.parametrize(
    "given", ["", "http://", "ftp://127.0.0.1", "http://127.0.0.1:x", "http://u:p@127.0.0.1", "http://127.0.0.1/?a=1"]
)
def test_what_is_no_address(given: str) -> None:
    with pytest.raises(InvalidRequest, match=r"is no address of a ComfyUI: give one like http://127\.0\.0\.1:8188"):
        address.read(given)


@pytest.mark.parametrize("given", ["http://192.168.1.4:8188", "comfy.example.com", "http://localhost.example.com"])
def test_photos_stay_on_this_machine_unless_the_user_says_otherwise(given: str) -> None:
    with pytest.raises(InvalidRequest, match="photos stay on this one"):
        address.read(given)
    assert not address.read(given, elsewhere=True).here
