"""Tests of the host for WebUIs on a fake WebUI, in both dialects of ControlNet."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from easyphoto.config import Family
from easyphoto.errors import AssetMissing, Cancelled, HostFailed, InvalidRequest
from easyphoto.hosts.webui.border import WebUI
from easyphoto.hosts.webui.host import WebUIHost
from easyphoto.messages import translated
from easyphoto.ports import Control, ControlRole, Host, Identity, IdentityKind, Image, Img2Img, LoraRef, Txt2Img
from easyphoto.vision import annotate
from tests.fakes import Looking, blank
from tests.hosts.conftest import MakeWebUI, write_checkpoint
from tests.hosts.fake_webui import A1111, CONTROL_MODELS, FORGE, NEO, REFORGE, ControlNetScript, FakeWebUI, parameters


def host_of(fake: FakeWebUI) -> WebUIHost:
    return WebUIHost(WebUI.load())


def img2img(**more: object) -> Img2Img:
    mask = np.zeros((64, 48), np.float32)
    mask[10:30, 10:30] = 0.5
    values: dict[str, object] = {
        "prompt": "a portrait",
        "negative_prompt": "ugly",
        "width": 48,
        "height": 64,
        "steps": 3,
        "seed": 77,
        "cfg_scale": 2.5,
        "image": blank(48, 64),
        "denoising_strength": 0.45,
        "mask": mask,
    }
    return Img2Img(**{**values, **more})  # type: ignore[arg-type]


def identity(kind: IdentityKind, picture: Image | None = None, weight: float = 1.0) -> Identity:
    shown = (blank(30, 40) if picture is None else picture, blank(10, 10))
    return Identity(kind, shown, np.ones(1, np.float32), "any", weight)


def lora(fake: FakeWebUI, name: str = "爱丽丝 1", content: bytes = b"weights") -> LoraRef:
    path = fake.root / "models" / "Lora" / f"{name}.safetensors"
    path.write_bytes(content)
    return LoraRef(path, 0.9)


def nothing_left_behind(fake: FakeWebUI) -> bool:
    return fake.lock.holder is None and fake.state.job == "" and fake.state.begun == fake.state.ended


def test_it_is_a_host(fake: FakeWebUI) -> None:
    host = host_of(fake)
    assert isinstance(host, Host)
    assert host.name == fake.dialect
    assert host.describe()["version"] == ("neo" if fake.dialect == NEO else "v1.10.1")


def test_a_job_reaches_the_processing_as_it_is(fake: FakeWebUI) -> None:
    job = img2img(loras=[lora(fake)])
    rendered = host_of(fake).img2img(job)
    (p,) = fake.pictures
    given = parameters(p)
    assert given["prompt"] == "a portrait <lora:爱丽丝 1:0.9>"
    expected = {
        "negative_prompt": "ugly",
        "seed": 77,
        "steps": 3,
        "cfg_scale": 2.5,
        "width": 48,
        "height": 64,
        "batch_size": 1,
        "n_iter": 1,
        "sampler_name": "DPM++ 2M SDE",
        "scheduler": "Karras",
        "denoising_strength": 0.45,
        "mask_blur": 8,
        "inpainting_fill": 1,
        "inpaint_full_res": False,
        "inpainting_mask_invert": 0,
        "resize_mode": 0,
        "do_not_save_samples": True,
        "do_not_save_grid": True,
    }
    assert {name: given[name] for name in expected} == expected
    np.testing.assert_array_equal(np.asarray(given["init_images"][0]), job.image)
    np.testing.assert_array_equal(np.asarray(given["mask"])[[0, 20], [0, 20]], [0, 128])
    assert rendered.seed == 77
    assert rendered.image.shape == (64, 48, 3)
    assert rendered.infotext.startswith("a portrait <lora:爱丽丝 1:0.9>\nSteps: 3")
    assert p.closed
    assert nothing_left_behind(fake)


def test_text_to_picture_and_a_sampler_without_schedule(fake: FakeWebUI) -> None:
    job = Txt2Img(prompt="a scene", width=64, height=32, steps=2, seed=1, sampler="Euler a")
    assert host_of(fake).txt2img(job).image.shape == (32, 64, 3)
    given = parameters(fake.pictures[0])
    assert (given["sampler_name"], given["scheduler"]) == ("Euler a", None)
    assert "init_images" not in given


def test_an_unknown_sampler_is_refused(fake: FakeWebUI) -> None:
    with pytest.raises(InvalidRequest, match="no sampler 'DPM 99'"):
        host_of(fake).img2img(img2img(sampler="DPM 99"))
    assert not fake.pictures


def test_other_scripts_of_the_tab_neither_run_nor_change(fake: FakeWebUI) -> None:
    runner = fake.img2img
    before = (list(runner.alwayson_scripts), list(runner.selectable_scripts), dict(runner.callback_map))
    places = [(s.args_from, s.args_to) for s in runner.alwayson_scripts]
    host_of(fake).img2img(img2img(controls=[Control(ControlRole.CANNY, blank(48, 64))]))
    assert runner.other.seen == []
    assert (runner.alwayson_scripts, runner.selectable_scripts, runner.callback_map) == before
    assert [(s.args_from, s.args_to) for s in runner.alwayson_scripts] == places
    assert runner.controlnet.__dict__.keys() == ControlNetScript(fake.dialect, 0, 0).__dict__.keys()


# --- controls --------------------------------------------------------------------------------------------------------


def test_three_controls_by_role(fake: FakeWebUI) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    host_of(fake).img2img(
        img2img(
            controls=[
                Control(ControlRole.CANNY, image, 0.5),
                Control(ControlRole.OPENPOSE, image, 0.5),
                Control(ControlRole.COLOR, image, 0.85),
            ]
        )
    )
    (applied,) = fake.img2img.controlnet.pictures
    none = "none" if fake.dialect == A1111 else "None"
    assert [(module, model, weight) for module, model, weight, _ in applied] == [
        (none, "control_v11p_sd15_canny_fp16", 0.5),
        ("openpose_full", "control_v11p_sd15_openpose", 0.5),
        (none, "control_sd15_random_color", 0.85),
    ]
    for (_, _, _, picture), expected in zip(
        applied, (annotate.canny(image), image, annotate.color(image)), strict=True
    ):
        np.testing.assert_array_equal(picture, expected)


def test_a_finished_map_is_not_made_again(fake: FakeWebUI) -> None:
    pose = blank(48, 64)
    host_of(fake).img2img(img2img(controls=[Control(ControlRole.OPENPOSE, pose, is_map=True)]))
    ((module, _, _, picture),) = fake.img2img.controlnet.pictures[0]
    assert module.lower() == "none"
    np.testing.assert_array_equal(picture, pose)


def test_units_that_are_not_needed_are_off(fake: FakeWebUI) -> None:
    host_of(fake).img2img(img2img())
    assert fake.img2img.controlnet.pictures == [[]]


def test_too_few_units_are_said_before_anything_runs_with_the_settings_name(make: MakeWebUI) -> None:
    fake = make(A1111, slots=1)
    host = host_of(fake)
    controls = [Control(ControlRole.CANNY, blank(48, 64)), Control(ControlRole.TILE, blank(48, 64))]
    with pytest.raises(InvalidRequest, match=r'needs 2 .* allows 1: raise "Multi-ControlNet: ControlNet unit number"'):
        host.img2img(img2img(controls=controls))
    assert host.control_limit() == 1
    assert fake.state.begun == 0


def test_a_setting_raised_without_restart_does_not_count(make: MakeWebUI) -> None:
    fake = make(A1111, slots=2)
    fake.options.data["control_net_unit_count"] = 5
    assert host_of(fake).control_limit() == 2


def test_a_role_without_model_is_said_by_role_and_model(fake: FakeWebUI) -> None:
    host = host_of(fake)
    with pytest.raises(AssetMissing, match=r"ip-adapter-face control needs .* like ip_adapter_full_face"):
        host.img2img(img2img(identities=[identity(IdentityKind.IP_ADAPTER_FACE)]))
    with pytest.raises(AssetMissing, match="no instantid control for sd1"):
        host.img2img(img2img(identities=[identity(IdentityKind.INSTANTID)]))
    roles = {ControlRole.CANNY, ControlRole.OPENPOSE, ControlRole.COLOR, ControlRole.TILE}
    assert host.controls(Family.SD1) == roles
    assert host.controls(Family.SDXL) == frozenset()
    assert host.identities(Family.SD1) == host.identities(Family.SDXL) == {}


def test_no_controlnet_at_all(fake: FakeWebUI) -> None:
    fake.img2img.alwayson_scripts.remove(fake.img2img.controlnet)
    host = host_of(fake)
    with pytest.raises(AssetMissing, match="ControlNet is not installed"):
        host.img2img(img2img(controls=[Control(ControlRole.CANNY, blank(48, 64))]))
    with pytest.raises(AssetMissing, match="ControlNet is not installed"):
        host.img2img(img2img(identities=[identity(IdentityKind.IP_ADAPTER_FACE)]))
    assert host.controls(Family.SD1) == frozenset()
    assert host.identities(Family.SD1) == {}
    assert host.control_limit() == 0
    assert host.img2img(img2img()).image.shape == (64, 48, 3), "without controls it still works"


def test_an_error_that_the_host_swallows_is_told(fake: FakeWebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ControlNetScript, "broken", "canny")
    with pytest.raises(HostFailed, match="made without it: RuntimeError: Sizes of tensors must match"):
        host_of(fake).img2img(img2img(steps=500, controls=[Control(ControlRole.CANNY, blank(48, 64))]))
    assert fake.state.sampling_step < 500, "the picture was stopped"
    assert nothing_left_behind(fake)


# --- identities ------------------------------------------------------------------------------------------------------

ADAPTERS = ("ip-adapter-full-face_sd15 [0a1b2c3d]",)
XL_ADAPTERS = (
    "control_instant_id_sdxl [0a1b2c3d]",
    "ip-adapter-plus-face_sdxl_vit-h [0a1b2c3d]",
    "ip-adapter_instant_id_sdxl [0a1b2c3d]",
)


@pytest.mark.parametrize("dialect", [A1111, FORGE])
def test_an_ip_adapter_is_one_unit_with_the_first_picture_of_the_person(make: MakeWebUI, dialect: str) -> None:
    fake = make(dialect, models=(*CONTROL_MODELS, *ADAPTERS))
    host, picture = host_of(fake), np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)
    assert host.identities(Family.SD1) == {IdentityKind.IP_ADAPTER_FACE: 1}
    canny = Control(ControlRole.CANNY, blank(48, 64), 0.5)
    host.img2img(img2img(controls=[canny], identities=[identity(IdentityKind.IP_ADAPTER_FACE, picture, 0.3)]))
    (applied,) = fake.img2img.controlnet.pictures
    assert [(model, weight) for _, model, weight, _ in applied] == [
        ("control_v11p_sd15_canny_fp16", 0.5),
        ("ip-adapter-full-face_sd15", 0.3),
    ]
    assert applied[1][0] == ("ip-adapter-auto" if dialect == A1111 else "CLIP-ViT-H (IPAdapter)")
    np.testing.assert_array_equal(applied[1][3], picture)


@pytest.mark.parametrize("dialect", [A1111, FORGE])
def test_instantid_is_who_it_is_and_then_where_the_face_stands(make: MakeWebUI, dialect: str) -> None:
    fake = make(dialect, models=XL_ADAPTERS)
    write_checkpoint(fake.root / "models" / "one.safetensors", 2048)
    host, picture = host_of(fake), np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)
    assert host.identities(Family.SDXL) == {IdentityKind.IP_ADAPTER_FACE: 1, IdentityKind.INSTANTID: 2}
    job = img2img(identities=[identity(IdentityKind.INSTANTID, picture, 0.5)])
    host.img2img(job)
    (who, place) = fake.img2img.controlnet.pictures[0]
    assert who[0] == ("instant_id_face_embedding" if dialect == A1111 else "InsightFace (InstantID)")
    assert (who[1:3], place[:3]) == (
        ("ip-adapter_instant_id_sdxl", 0.5),
        ("instant_id_face_keypoints", "control_instant_id_sdxl", 0.5),
    )
    np.testing.assert_array_equal(who[3], picture)
    np.testing.assert_array_equal(place[3], job.image)

    host.txt2img(Txt2Img(prompt="", width=64, height=32, steps=1, seed=1, sampler="Euler", identities=job.identities))
    (who, place) = fake.txt2img.controlnet.pictures[0]
    np.testing.assert_array_equal(who[3], picture)
    np.testing.assert_array_equal(place[3], picture)


def test_units_of_identities_count_among_those_that_the_settings_allow(make: MakeWebUI) -> None:
    fake = make(A1111, slots=2, models=XL_ADAPTERS)
    write_checkpoint(fake.root / "models" / "one.safetensors", 2048)
    both = [identity(IdentityKind.IP_ADAPTER_FACE), identity(IdentityKind.INSTANTID)]
    with pytest.raises(InvalidRequest, match=r"needs 3 ControlNet units and the WebUI allows 2"):
        host_of(fake).img2img(img2img(identities=both))
    assert fake.state.begun == 0


def test_a_kind_of_which_one_model_is_missing_is_not_served(make: MakeWebUI) -> None:
    host = host_of(make(A1111, models=XL_ADAPTERS[1:]))
    assert host.identities(Family.SDXL) == {IdentityKind.IP_ADAPTER_FACE: 1}


def test_maps_are_not_taken_for_the_picture(fake: FakeWebUI) -> None:
    del fake.options.data["control_net_no_detectmap"]
    rendered = host_of(fake).img2img(img2img(controls=[Control(ControlRole.TILE, blank(48, 64))]))
    assert rendered.image.min() == rendered.image.max() == 200


# --- base models, VAEs, LoRAs ----------------------------------------------------------------------------------------


def test_base_model_and_vae_hold_for_one_picture(fake: FakeWebUI) -> None:
    before = dict(fake.options.data)
    host_of(fake).img2img(img2img(checkpoint="two.safetensors", vae="good.vae.safetensors"))
    assert fake.used[0]["sd_model_checkpoint"] == "two.safetensors [abcdef0123]"
    if fake.dialect in (A1111, REFORGE):
        assert fake.used[0]["sd_vae"] == "good.vae.safetensors"
    else:
        assert fake.used[0]["forge_additional_modules"] == ["/vae/good.vae.safetensors"]
    assert fake.used[0]["img2img_color_correction"] is False
    assert fake.options.data == before


def test_they_are_put_back_when_the_picture_fails(fake: FakeWebUI) -> None:
    before = dict(fake.options.data)

    def fail(p: object) -> None:
        raise RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB")

    fake.before = fail
    with pytest.raises(HostFailed, match=r"could not make the picture: RuntimeError: CUDA out of memory\.$"):
        host_of(fake).img2img(img2img(checkpoint="two.safetensors"))
    assert fake.options.data == before
    assert nothing_left_behind(fake)


def test_unknown_base_model_and_vae(fake: FakeWebUI) -> None:
    with pytest.raises(AssetMissing, match=r"no VAE 'bad\.pt'"):
        host_of(fake).img2img(img2img(vae="bad.pt"))
    assert nothing_left_behind(fake)


def test_base_models_with_their_families_the_chosen_one_first(fake: FakeWebUI) -> None:
    models = fake.root / "models"
    for name, width in (("xl", 2048), ("two", 1024)):
        write_checkpoint(models / f"{name}.safetensors", width)
    (models / "old.ckpt").write_bytes(b"\x80\x02pickle")
    (models / "half.safetensors").write_bytes(b"\x10")
    listed = fake.modules["modules.sd_models"].checkpoints_list
    for name in ("xl.safetensors", "old.ckpt", "half.safetensors", "gone.safetensors"):
        listed[name] = type(fake.checkpoints[0])(str(models / name))
    fake.options.data["sd_model_checkpoint"] = "two.safetensors [abcdef0123]"
    host = host_of(fake)
    found = [(c.name, c.family) for c in host.checkpoints()]
    assert found == [("two.safetensors", Family.SD2), ("one.safetensors", Family.SD1), ("xl.safetensors", Family.SDXL)]
    broken = {b.name: b.reason for b in host.broken_checkpoints()}
    assert set(broken) == {"old.ckpt", "half.safetensors", "gone.safetensors"}
    assert "pickle" in broken["old.ckpt"] and "truncated" in broken["half.safetensors"]
    assert all(translated(reason, "zh") != reason for reason in broken.values()), "a page says it in its language"


@pytest.fixture
def alike(fake: FakeWebUI) -> FakeWebUI:
    """Base models whose names hold one another, with one that the host would take for others."""
    for name, width in (("a/model", 768), ("b/model", 2048), ("real_v51", 768), ("real_v5", 1024), ("model.v2", 2048)):
        write_checkpoint(fake.root / "models" / f"{name}.safetensors", width)
        fake.add_checkpoint(f"{name}.safetensors", shorthash=f"{width:010x}")
    return fake


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ("b/model.safetensors", "b/model.safetensors"),
        ("b/model", "b/model.safetensors"),
        ("b\\model", "b/model.safetensors"),
        ("real_v5", "real_v5.safetensors"),
        ("REAL_V5", "real_v5.safetensors"),
        ("real_v5.safetensors [0000000400]", "real_v5.safetensors"),
        ("0000000400", "real_v5.safetensors"),
        ("model.v2", "model.v2.safetensors"),
    ],
)
def test_a_base_model_is_the_one_that_was_named(alike: FakeWebUI, wanted: str, taken: str) -> None:
    host_of(alike).img2img(img2img(checkpoint=wanted))
    assert alike.used[0]["sd_model_checkpoint"].split(" [")[0] == taken


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("model", r"a/model\.safetensors and b/model\.safetensors"),
        ("real_v5.9", "no base model 'real_v5.9'"),
        ("real", "no base model 'real'"),
        ("model.v", "no base model"),
    ],
)
def test_a_base_model_that_is_none_or_two_is_refused(alike: FakeWebUI, wanted: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        host_of(alike).img2img(img2img(checkpoint=wanted))
    assert not alike.pictures


def test_on_windows_names_have_backslashes(fake: FakeWebUI) -> None:
    write_checkpoint(fake.root / "models" / "sub" / "mine.safetensors")
    fake.add_checkpoint("sub/mine.safetensors", separator="\\")
    for wanted in ("sub/mine", "sub\\mine", "mine.safetensors"):
        host_of(fake).img2img(img2img(checkpoint=wanted))
        assert fake.used[-1]["sd_model_checkpoint"] == "sub\\mine.safetensors [abcdef0123]"


def test_two_vaes_of_one_name_are_both_named(fake: FakeWebUI) -> None:
    for folder in ("x", "y"):
        place = fake.root / "models" / "VAE" / folder / "good.vae.safetensors"
        place.parent.mkdir(parents=True)
        place.write_bytes(b"")
    with pytest.raises(InvalidRequest, match=r"x/good\.vae\.safetensors and y/good\.vae\.safetensors"):
        host_of(fake).img2img(img2img(vae="good.vae"))


def test_a_tag_in_the_prompt_must_mean_one_lora(fake: FakeWebUI) -> None:
    host = host_of(fake)
    with pytest.raises(AssetMissing, match="no LoRA nobody"):
        host.img2img(img2img(prompt="a <lora:nobody:1>"))
    for folder in ("a", "b"):
        (fake.root / "models" / "Lora" / folder).mkdir()
        lora(fake, f"{folder}/twin")
    with pytest.raises(InvalidRequest, match=r"a/twin\.safetensors and b/twin\.safetensors"):
        host.img2img(img2img(prompt="a <lora:twin:1>"))
    last = fake.root / "models" / "Lora" / "b" / "twin.safetensors"
    host.img2img(img2img(loras=[LoraRef(last, 1.0)]))
    with pytest.raises(InvalidRequest, match=r"Two LoRAs are called twin.*a/twin\.safetensors and b/twin\.safetensors"):
        host.img2img(img2img(loras=[LoraRef(last.parents[1] / "a" / "twin.safetensors", 1.0)]))
    assert len(fake.pictures) == 1


def test_a_lora_folder_may_be_given_from_where_the_host_was_started(
    fake: FakeWebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fake.root)
    fake.modules["modules.shared"].cmd_opts.lora_dir = "models/Lora"
    for folder in ("a", "b"):
        (fake.root / "models" / "Lora" / folder).mkdir()
        lora(fake, f"{folder}/twin")
    with pytest.raises(InvalidRequest, match=r"a/twin\.safetensors and b/twin\.safetensors"):
        host_of(fake).img2img(img2img(loras=[LoraRef(fake.root / "models" / "Lora" / "a" / "twin.safetensors", 1.0)]))


def test_a_lora_that_is_not_there_or_not_the_one(fake: FakeWebUI, tmp_path: Path) -> None:
    host, ours = host_of(fake), lora(fake)
    ours.path.unlink()
    with pytest.raises(AssetMissing, match=r"爱丽丝 1\.safetensors is missing"):
        host.img2img(img2img(loras=[ours]))
    elsewhere = tmp_path / "elsewhere.safetensors"
    elsewhere.write_bytes(b"weights")
    with pytest.raises(AssetMissing, match="must lie in the WebUI's LoRA folder"):
        host.img2img(img2img(loras=[LoraRef(elsewhere, 1.0)]))
    lora(fake, "elsewhere")
    with pytest.raises(InvalidRequest, match="Two LoRAs are called elsewhere"):
        host.img2img(img2img(loras=[LoraRef(elsewhere, 1.0)]))
    assert not fake.pictures


def test_what_the_reward_taught_gets_a_second_name_where_the_host_looks(fake: FakeWebUI, tmp_path: Path) -> None:
    """It lies in the person's folder, and a host knows only what lies among its LoRAs."""
    host, name = host_of(fake), "爱丽丝 1-reward"
    small = tmp_path / "爱丽丝 1" / "user_weights" / f"{name}.safetensors"
    small.parent.mkdir(parents=True)
    there = fake.root / "models" / "Lora" / "easyphoto-rewards" / small.name
    for content in (b"weights", b"others"):  # the second one is of a later training
        small.unlink(missing_ok=True)
        small.write_bytes(content)
        host.img2img(img2img(loras=[lora(fake), LoraRef(small, 0.5)]))
        assert there.read_bytes() == content
        assert parameters(fake.pictures[-1])["prompt"] == f"a portrait <lora:爱丽丝 1:0.9> <lora:{name}:0.5>"


def test_a_lora_that_the_host_passes_over_is_told(fake: FakeWebUI) -> None:
    with pytest.raises(HostFailed, match="could not load the LoRA 爱丽丝 1"):
        host_of(fake).img2img(img2img(loras=[lora(fake, content=b"broken")]))


def test_a_new_lora_is_looked_for_and_an_old_one_forgotten(fake: FakeWebUI) -> None:
    host_of(fake).refresh_loras()
    assert fake.moves[-1] == "looked for LoRAs"
    if fake.dialect in (FORGE, REFORGE):
        assert fake.moves[-2] == "forgot LoRAs"
        assert fake.modules["modules.sd_models"].model_data.sd_model.current_lora_hash is None


# --- progress and interruption ---------------------------------------------------------------------------------------


def test_steps_are_told_in_order_up_to_the_last(fake: FakeWebUI) -> None:
    told: list[tuple[int, int]] = []
    host_of(fake).img2img(img2img(steps=120), lambda step, total: told.append((step, total)))
    assert told == sorted(told)
    assert told[0][0] < 120, "not the last picture's count"
    assert told[-1] == (120, 120)
    assert len(told) > 2


def test_the_hosts_own_previews_are_shown(fake: FakeWebUI) -> None:
    looking = Looking()
    host_of(fake).img2img(img2img(steps=120), looking)
    assert looking.told[-1] == (120, 120)
    assert {picture.shape for picture in looking.seen} == {(24, 32, 3)}
    assert len(looking.seen) > 2


def test_a_pass_has_previews_however_seldom_the_hosts_page_shows_one(fake: FakeWebUI) -> None:
    fake.state.period = 32
    looking = Looking()
    host_of(fake).img2img(img2img(steps=30), looking)
    assert looking.seen


def test_previews_that_the_user_switched_off_in_the_host_stay_off(fake: FakeWebUI) -> None:
    fake.state.previews = False
    looking = Looking()
    host_of(fake).img2img(img2img(steps=120), looking)
    assert looking.seen == []


def test_stopping_from_a_listener_interrupts_the_host(fake: FakeWebUI) -> None:
    def stop(step: int, total: int) -> None:
        if step:
            raise Cancelled("The user stopped it.")

    with pytest.raises(Cancelled, match="The user stopped it"):
        host_of(fake).img2img(img2img(steps=5000), stop)
    assert fake.state.interrupted
    assert fake.state.sampling_step < 5000
    assert nothing_left_behind(fake)


def test_the_hosts_own_interrupt_button(fake: FakeWebUI) -> None:
    fake.before = lambda p: threading.Timer(0.1, fake.state.interrupt).start()
    with pytest.raises(Cancelled, match="Interrupted in the WebUI"):
        host_of(fake).img2img(img2img(steps=5000))


def test_forge_generates_on_its_main_loop(make: MakeWebUI) -> None:
    fake = make(FORGE)
    thread = threading.Thread(target=lambda: host_of(fake).img2img(img2img()), name="job")
    thread.start()
    thread.join()
    assert fake.threads == ["forge-main"]


# --- training --------------------------------------------------------------------------------------------------------


def test_the_model_leaves_the_gpu_and_comes_back_whatever_happens(make: MakeWebUI) -> None:
    fake = make(A1111, device="cuda:0")
    host = host_of(fake)
    with pytest.raises(ZeroDivisionError), host.training():
        assert fake.moves == ["unloaded"]
        assert fake.lock.holder is not None, "generating now would break"
        raise ZeroDivisionError
    assert fake.moves == ["unloaded", "loaded"]
    assert nothing_left_behind(fake)


def test_forge_needs_no_lock_while_training(make: MakeWebUI) -> None:
    fake = make(FORGE, device="cuda:0")
    with host_of(fake).training():
        assert fake.moves == ["unloaded"]
        assert fake.lock.holder is None


def test_on_the_cpu_nothing_has_to_go(fake: FakeWebUI) -> None:
    with host_of(fake).training():
        assert fake.moves == []
        assert fake.lock.holder is None
