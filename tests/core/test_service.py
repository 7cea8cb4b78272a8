"""Tests of the service with a host and a vision that do no real work: portraits, failures, replay and refusals."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from easyphoto import doctor, pictures
from easyphoto.config import SCENE_CONTROLS, Family, Paths, PortraitConfig, TrainConfig
from easyphoto.errors import AssetMissing, InvalidRequest, NoFace, NotFound, TooBusy
from easyphoto.events import Portrayed, TemplateFailed
from easyphoto.ports import BrokenModel, Checkpoint, Image
from easyphoto.service import MAX_CHECKS, EasyPhoto, PortraitRequest, TrainRequest
from tests.fakes import FakeHost, FakeVision, blank, draw_face


def face(who: int, size: int = 320) -> Image:
    return draw_face(blank(size, size), center=(size / 2, size / 2), width=size / 4, who=who)


def add_person(paths: Paths, name: str, who: int, base: str = "sd_v1", **marks: object) -> None:
    folder = paths.people / name
    pictures.save_jpg(folder / "ref_image.jpg", face(who))
    (folder / "person.json").write_text(json.dumps({"family": "sd1", **marks}))
    paths.loras.mkdir(parents=True, exist_ok=True)
    weights = {
        "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": np.zeros((2, 4), np.float32),
        "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": np.zeros((4, 2), np.float32),
        "lora_unet_mid_block_attentions_0_proj_in.alpha": np.ones((), np.float32),
    }
    save_file(weights, paths.loras / f"{name}.safetensors", {"ss_base_model_version": base, "ss_network_dim": "2"})


@pytest.fixture
def service(paths: Paths) -> EasyPhoto:
    add_person(paths, "小明", who=20)
    add_person(paths, "ann", who=60)
    return EasyPhoto(FakeHost(), FakeVision(), paths)


@pytest.fixture
def templates(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A face, no face, and a file that was cut off."""
    paths = tuple(tmp_path / f"{n}.png" for n in ("good", "empty", "cut"))
    pictures.save_png(paths[0], face(45))
    pictures.save_png(paths[1], blank(200, 200))
    paths[2].write_bytes(paths[0].read_bytes()[:200])
    return paths  # type: ignore[return-value]


QUICK = PortraitConfig(seed=5, first_diffusion_steps=2, second_diffusion_steps=2)


def test_a_bad_template_fails_alone(service: EasyPhoto, templates: tuple[Path, ...]) -> None:
    good, empty, cut = templates
    job = service.generate(PortraitRequest(("小明",), (empty, good, cut), QUICK))
    result = job.wait(60)
    assert [p.template for p in result.portraits] == [1]
    assert [(f.template, f.code) for f in result.failures] == [(0, "no_face"), (2, "invalid_request")]
    events = [e for _, e in job.events()]
    assert (
        sum(isinstance(e, Portrayed) for e in events) == 1 and sum(isinstance(e, TemplateFailed) for e in events) == 2
    )
    path = result.portraits[0].path
    assert path is not None and path.parent == service.paths.portraits
    assert np.array_equal(pictures.load(path), result.portraits[0].image)


def test_a_job_without_a_portrait_failed_and_says_why(service: EasyPhoto, templates: tuple[Path, ...]) -> None:
    _, empty, cut = templates
    job = service.generate(PortraitRequest(("ann",), (empty,), QUICK))
    with pytest.raises(NoFace, match=r"^No face was found in empty\.png\.$"):
        job.wait(60)
    assert job.state == "failed"
    several = service.generate(PortraitRequest(("ann",), (empty, cut), QUICK))
    with pytest.raises(
        InvalidRequest, match=r"None of the 2 portraits could be made; the first: No face .* empty\.png"
    ):
        several.wait(60)
    assert sum(isinstance(e, TemplateFailed) for _, e in several.events()) == 2


def test_a_portrait_can_be_made_again_from_its_file(service: EasyPhoto, templates: tuple[Path, ...]) -> None:
    config = replace(QUICK, batch_size=2, seed=-1)
    made = service.generate(PortraitRequest(("ann",), templates[:1], config)).wait(60)
    assert made.seed >= 0 and len({p.seed for p in made.portraits}) == 2
    second = made.portraits[1]
    assert second.path is not None
    again = service.generate(service.replay(second.path, templates[:1], {})).wait(60)
    assert len(again.portraits) == 1
    assert np.array_equal(again.portraits[0].image, second.image)
    changed = service.replay(second.path, templates[:1], {"lora_weights": 0.5})
    assert changed.config.lora_weights == 0.5
    with pytest.raises(InvalidRequest, match=r"good\.png"):
        service.replay(second.path, (), {})
    with pytest.raises(InvalidRequest):
        service.replay(second.path, templates[1:2], {})


def test_requests_that_cannot_work_are_refused_before_they_wait(
    service: EasyPhoto, templates: tuple[Path, ...]
) -> None:
    for request, error in [
        (PortraitRequest(("nobody here",), templates), NotFound),
        (PortraitRequest(("none", "none"), templates), InvalidRequest),
        (PortraitRequest(("ann",), ()), InvalidRequest),
        (PortraitRequest(("../ann",), templates), InvalidRequest),
        (PortraitRequest(("ann",), templates, PortraitConfig(sd_model_checkpoint="missing")), InvalidRequest),
    ]:
        with pytest.raises(error):
            service.generate(request)
    for training in (TrainRequest("ann", ()), TrainRequest("..", (templates[0],)), TrainRequest("ann", templates * 40)):
        with pytest.raises(InvalidRequest):
            service.train(training)
    assert service.jobs.list() == []


def test_scenes_and_people_are_told_apart_and_fail_early(service: EasyPhoto, templates: tuple[Path, ...]) -> None:
    add_person(service.paths, "beach", who=30, scene=True, prompt="palms")
    add_person(service.paths, "xl beach", who=30, base="sdxl_base_v1-0", scene=True)
    text = replace(QUICK, text_to_image_input_prompt="a man", text_to_image_width=256, text_to_image_height=320)
    for request, kind, words in [
        (PortraitRequest(("beach",), templates[:1], QUICK), InvalidRequest, "beach is a scene"),
        (PortraitRequest(("ann",), (), replace(text, scene_id="ann")), InvalidRequest, "ann is a person"),
        (PortraitRequest(("ann",), (), replace(text, scene_id="moon")), NotFound, "no scene 'moon'"),
        (PortraitRequest(("ann",), (), replace(text, scene_id="xl beach")), InvalidRequest, "The scene xl beach"),
        (PortraitRequest(("ann",), (), replace(text, lcm_accelerate=True)), AssetMissing, "lcm_lora_sd15"),
        (PortraitRequest(("ann",), templates[:1], replace(QUICK, lcm_accelerate=True)), AssetMissing, "lcm_lora"),
        (PortraitRequest(("ann",), (), replace(text, t2i_control_way=SCENE_CONTROLS[2])), InvalidRequest, "a picture"),
    ]:
        with pytest.raises(kind, match=words):
            service.generate(request)
    assert isinstance(service.host, FakeHost) and service.host.jobs == [] and service.jobs.list() == []
    service.host.roles = frozenset()
    with pytest.raises(AssetMissing, match="openpose ControlNet for sd1"):
        service.generate(PortraitRequest(("ann",), (), replace(text, t2i_control_way=SCENE_CONTROLS[1])))


def test_a_scene_needs_no_prompt(service: EasyPhoto) -> None:
    assert isinstance(service.host, FakeHost)
    for name, prompt, begins in [
        ("beach", "palm trees", "palm trees, special_scene, scene"),
        ("s", "", "special_scene"),
    ]:
        add_person(service.paths, name, who=30, scene=True, prompt=prompt)
        small = replace(QUICK, scene_id=name, text_to_image_width=256, text_to_image_height=320)
        service.host.jobs.clear()
        assert service.generate(PortraitRequest(("ann",), (), small)).wait(60).portraits
        assert service.host.jobs[0].prompt.startswith(begins)
        assert [ref.name for ref in service.host.jobs[0].loras] == [name, "ann"]


def test_a_lora_of_another_family_never_renders(service: EasyPhoto, templates: tuple[Path, ...]) -> None:
    add_person(service.paths, "xl", who=30, base="sdxl_base_v1-0")
    with pytest.raises(InvalidRequest):
        service.generate(PortraitRequest(("xl",), templates[:1], QUICK)).wait(60)
    assert isinstance(service.host, FakeHost) and service.host.jobs == []


def test_defaults_of_a_training_follow_the_base_model(service: EasyPhoto) -> None:
    assert service.train_config({}) == TrainConfig()
    assert service.train_config({"train_mode_choose": "Train Scene Lora"}).rank == 256
    assert service.train_config({"rank": 8}).rank == 8


def test_own_templates_come_and_go(service: EasyPhoto) -> None:
    shipped = [t.name for t in service.templates.list()]
    service.templates.add("我的", face(1))
    assert [t.name for t in service.templates.list()] == [*shipped, "我的"]
    with pytest.raises(InvalidRequest):
        service.templates.add("我的", face(1))
    service.templates.delete("我的")
    assert [t.name for t in service.templates.list()] == shipped == ["grace-hopper", "astronaut"]
    with pytest.raises(InvalidRequest, match="came with the program"):
        service.templates.delete("astronaut")


def test_a_photo_that_cannot_be_read_gets_a_verdict_like_any_other(service: EasyPhoto, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        pictures.save_jpg(tmp_path / folder / "photo.jpg", face(20 if folder == "a" else 25))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a" / "photo.jpg").read_bytes()[:400])
    report = service.check_photos(
        [tmp_path / "a" / "photo.jpg", tmp_path / "cut.jpg", tmp_path / "b" / "photo.jpg", b""]
    )
    verdicts = {p.name: p.verdict.value for p in report.photos}
    assert set(verdicts) == {"photo.jpg", "photo.jpg (2)", "cut.jpg", "photo 4"}
    assert verdicts["cut.jpg"] == verdicts["photo 4"] == "unreadable" and verdicts["photo.jpg"] != "unreadable"
    assert next(p.reason for p in report.photos if p.name == "cut.jpg").startswith("cut.jpg is")
    assert "unreadable" in {p.verdict.value for p in service.check_photos([b"no picture"]).photos}


def test_what_was_made_is_remembered_without_its_pixels(service: EasyPhoto, templates: tuple[Path, ...]) -> None:
    job = service.generate(PortraitRequest(("ann",), (templates[0].read_bytes(),), QUICK))
    (portrait,) = job.wait(60).portraits
    assert job.holds == 0
    assert portrait.path is not None and portrait.image.shape == pictures.load(portrait.path).shape
    assert not any(isinstance(value, np.ndarray) for value in vars(portrait).values())
    assert replace(portrait, image=blank(8, 8)).image.shape == (8, 8, 3)


def test_photos_are_looked_at_for_a_few_at_a_time(service: EasyPhoto, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(*_: object) -> None:
        begun.release()
        go_on.wait(60)

    monkeypatch.setattr("easyphoto.service.EasyPhoto._check_photos", slow)
    looking = [threading.Thread(target=service.check_photos, args=((),)) for _ in range(MAX_CHECKS)]
    for thread in looking:
        thread.start()
        assert begun.acquire(timeout=10)
    with pytest.raises(TooBusy):
        service.check_photos(())
    go_on.set()
    for thread in looking:
        thread.join(10)
    service.check_photos(())


class HostWithBroken(FakeHost):
    def broken_checkpoints(self) -> list[BrokenModel]:
        return [
            BrokenModel("page.safetensors", "page.safetensors is not a whole safetensors file: it is a web page."),
            BrokenModel("sub/cut.safetensors", "cut.safetensors is not a whole safetensors file: it is empty."),
        ]


def test_a_broken_base_model_is_told_with_its_reason(tmp_path: Path) -> None:
    service = EasyPhoto(HostWithBroken(), FakeVision(), Paths.standalone(tmp_path))
    assert [b.name for b in service.broken_checkpoints()] == ["page.safetensors", "sub/cut.safetensors"]
    for name in ("page", "page.safetensors"):
        with pytest.raises(InvalidRequest, match="web page"):
            service.checkpoint(name)
    assert service.checkpoint("").name == "fake"
    rows = {f.what: (f.status, f.advice) for f in doctor.examine(service.host, service.vision, service.paths)}
    status, advice = rows["base model page.safetensors"]
    assert status == "missing" and "web page" in advice
    service = EasyPhoto(HostWithBroken(available=()), FakeVision(), Paths.standalone(tmp_path))
    for name in ("", "anything"):
        with pytest.raises(InvalidRequest, match=r"page\.safetensors is .*cut\.safetensors is"):
            service.checkpoint(name)
    assert EasyPhoto(FakeHost(), FakeVision(), Paths.standalone(tmp_path)).broken_checkpoints() == []


def test_a_base_model_is_the_one_that_was_named(tmp_path: Path) -> None:
    known = [
        Checkpoint("a/model.safetensors", Path("a/model.safetensors"), Family.SD1),
        Checkpoint("b\\model.safetensors", Path("b/model.safetensors"), Family.SDXL, ("0a1b2c3d",)),
        Checkpoint("real_v5.safetensors", Path("real_v5.safetensors"), Family.SD1),
    ]
    service = EasyPhoto(FakeHost(available=known), FakeVision(), Paths.standalone(tmp_path))
    for wanted in ("b/model", "b\\model.safetensors", "b/model.safetensors [0a1b2c3d]", "0a1b2c3d"):
        assert service.checkpoint(wanted).family is Family.SDXL
    assert service.checkpoint("REAL_V5").name == "real_v5.safetensors"
    with pytest.raises(InvalidRequest, match=r"a/model\.safetensors and b"):
        service.checkpoint("model")
    for wanted in ("real_v5.9", "model.v2", "real"):
        with pytest.raises(InvalidRequest, match="no base model"):
            service.checkpoint(wanted)
