"""Tests of the embedded host from end to end, on tiny random models."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from easyphoto import ports, sd
from easyphoto.config import Family, Paths
from easyphoto.errors import AssetMissing, Cancelled, HostFailed, InvalidRequest, NotFound
from easyphoto.hosts.embedded import EmbeddedHost, annotators
from easyphoto.ports import Control, ControlRole, Identity, IdentityKind, Image, Img2Img, LoraRef, Txt2Img
from easyphoto.sd import lora, render
from tests import tiny
from tests.fakes import FakeVision, blank, draw_face

SIDE = 64


def text_job(**more: Any) -> Txt2Img:
    return Txt2Img(**{"prompt": "a photo", "width": SIDE, "height": SIDE, "steps": 3, "seed": 3, **more})


@pytest.fixture
def face() -> Image:
    return draw_face(blank(SIDE, SIDE), (32, 30), 24)


def a_lora(paths: Paths, parts: sd.Parts, name: str, family: Family = Family.BENCH, **more: Any) -> Path:
    layers = tiny.lora_layers(parts, **{"scale": 0.3, **more})
    path = paths.loras / f"{name}.safetensors"
    lora.write(path, layers, lora.metadata(family, layers))
    return path


def test_it_is_a_host(host: EmbeddedHost) -> None:
    assert isinstance(host, ports.Host)
    assert host.controls(Family.BENCH) == {
        ControlRole.CANNY,
        ControlRole.OPENPOSE,
        ControlRole.COLOR,
        ControlRole.TILE,
    }
    assert host.controls(Family.SD1) == set()
    assert host.describe()["precision"] == "float32"
    assert host.control_limit() is None


@pytest.mark.thorough
def test_the_whole_of_a_pass(host: EmbeddedHost, paths: Paths, bench_parts: sd.Parts, face: Image) -> None:
    a_lora(paths, bench_parts, "某人")
    film = a_lora(paths, bench_parts, "film", seed=3)
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[20:40, 20:44] = 1
    job = Img2Img(
        prompt="a (photo:1.2) <lora:某人:0.8>",
        negative_prompt="dark",
        width=SIDE,
        height=SIDE,
        steps=6,
        seed=11,
        loras=[LoraRef(film, 0.65)],
        controls=[Control(role, face, 0.5) for role in host.controls(Family.BENCH)],
        image=face,
        denoising_strength=0.5,
        mask=mask,
        mask_blur=2,
    )
    steps: list[tuple[int, int]] = []
    first = host.img2img(job, lambda done, total: steps.append((done, total)))
    assert np.array_equal(first.image, host.img2img(job).image)
    outside = render.blur(mask, 2) == 0
    assert np.array_equal(first.image[outside], face[outside])
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert first.seed == 11
    assert first.infotext.splitlines()[0] == "a (photo:1.2) <lora:某人:0.8> <lora:film:0.65>"
    assert "Negative prompt: dark" in first.infotext
    assert "Sampler: DPM++ 2M SDE Karras" in first.infotext


def test_a_tag_and_a_reference_are_the_same_lora(host: EmbeddedHost, paths: Paths, bench_parts: sd.Parts) -> None:
    path = a_lora(paths, bench_parts, "her")
    plain = host.txt2img(text_job()).image
    by_tag = host.txt2img(text_job(prompt="a photo<lora:her:0.7>")).image
    by_reference = host.txt2img(text_job(loras=[LoraRef(path, 0.7)])).image
    assert np.array_equal(by_tag, by_reference)
    assert not np.array_equal(by_tag, plain)
    assert np.array_equal(host.txt2img(text_job()).image, plain)
    assert not np.array_equal(host.txt2img(text_job(loras=[LoraRef(path, 0.3)])).image, by_tag)


def test_several_loras_add_up(host: EmbeddedHost, paths: Paths, bench_parts: sd.Parts) -> None:
    one, two = (a_lora(paths, bench_parts, name, seed=seed) for name, seed in (("one", 5), ("two", 6)))
    only_one = host.txt2img(text_job(loras=[LoraRef(one, 1)])).image
    both = host.txt2img(text_job(prompt="a photo<lora:two:0.5>", loras=[LoraRef(one, 1)])).image
    assert not np.array_equal(both, only_one)
    assert not np.array_equal(both, host.txt2img(text_job(loras=[LoraRef(two, 0.5)])).image)


def test_a_lora_that_changed_on_disk_is_read_again(host: EmbeddedHost, paths: Paths, bench_parts: sd.Parts) -> None:
    import os

    path = a_lora(paths, bench_parts, "her", seed=1)
    before = host.txt2img(text_job(loras=[LoraRef(path, 1)])).image
    a_lora(paths, bench_parts, "her", seed=2)
    os.utime(path, (2e9, 2e9))
    assert not np.array_equal(host.txt2img(text_job(loras=[LoraRef(path, 1)])).image, before)


def test_a_missing_lora_is_named(host: EmbeddedHost, tmp_path: Path) -> None:
    with pytest.raises(AssetMissing, match="nobody"):
        host.txt2img(text_job(prompt="<lora:nobody:1>"))
    with pytest.raises(NotFound, match="gone"):
        host.txt2img(text_job(loras=[LoraRef(tmp_path / "gone.safetensors", 1)]))


@pytest.mark.parametrize("width", [768, 2048])
@pytest.mark.parametrize("declared", [Family.SD1, Family.BENCH])
def test_another_familys_lora_is_refused_before_anything_loads(
    host: EmbeddedHost, paths: Paths, width: int, declared: Family
) -> None:
    path, layers = paths.loras / "other.safetensors", tiny.lora_of_width(width)
    lora.write(path, layers, lora.metadata(declared, layers))
    with pytest.raises(InvalidRequest, match=r"other\.safetensors.*doesn't fit bench"):
        host.txt2img(text_job(loras=[LoraRef(path, 1)]))
    assert host._held().loaded is None


def test_a_truncated_lora_is_refused(host: EmbeddedHost, paths: Paths, bench_parts: sd.Parts) -> None:
    path = a_lora(paths, bench_parts, "cut")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InvalidRequest, match=r"cut\.safetensors"):
        host.txt2img(text_job(loras=[LoraRef(path, 1)]))


def test_a_lora_of_wrong_shapes_is_named(host: EmbeddedHost, paths: Paths, tmp_path: Path) -> None:
    wide = sd.load(tiny.folder(tmp_path / "wide", channels=(64, 64)), device="cpu", dtype=torch.float32)
    path = a_lora(paths, wide, "wide")
    before = host.txt2img(text_job()).image
    with pytest.raises(InvalidRequest, match=r"wide\.safetensors"):
        host.txt2img(text_job(loras=[LoraRef(path, 1)]))
    assert np.array_equal(host.txt2img(text_job()).image, before)


def test_a_cancel_passes_through_and_the_next_picture_is_right(host: EmbeddedHost) -> None:
    before = host.txt2img(text_job()).image

    def stop(done: int, total: int) -> None:
        raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        host.txt2img(text_job(), stop)
    assert np.array_equal(host.txt2img(text_job()).image, before)


def test_checkpoints_are_listed_the_default_first_and_broken_ones_left_out(host: EmbeddedHost, paths: Paths) -> None:
    root = paths.models / "Stable-diffusion"
    tiny.folder(root / "sub" / "Mine 1.5", seed=4)
    (root / "broken.safetensors").write_bytes(b"<html>")
    (root / "old.ckpt").write_bytes(b"PK")
    assert [(c.name, c.family) for c in host.checkpoints()] == [("bench", Family.BENCH), ("sub/Mine 1.5", Family.BENCH)]
    assert not np.array_equal(
        host.txt2img(text_job(checkpoint="sub/Mine 1.5")).image, host.txt2img(text_job(checkpoint="bench")).image
    )
    with pytest.raises(InvalidRequest, match="web page"):
        host.txt2img(text_job(checkpoint="broken"))
    with pytest.raises(InvalidRequest, match=r"old\.ckpt is a pickle"):
        host.txt2img(text_job(checkpoint="old"))
    with pytest.raises(NotFound, match="nothing"):
        host.txt2img(text_job(checkpoint="nothing"))


def test_what_is_broken_among_the_checkpoints_is_listed_with_the_reason(host: EmbeddedHost, paths: Paths) -> None:
    root = paths.models / "Stable-diffusion"
    whole = paths.bench / "unet" / "diffusion_pytorch_model.safetensors"
    (root / "page.safetensors").write_bytes(b"<!doctype html>")
    (root / "pointer.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    (root / "empty.SAFETENSORS").write_bytes(b"")
    (root / "cut.safetensors").write_bytes(whole.read_bytes()[:-1])
    (root / "head.safetensors").write_bytes(whole.read_bytes()[:300])
    (root / "folder.safetensors").mkdir()
    (root / "gone.safetensors").symlink_to(root / "nothing")
    (root / "old.ckpt").write_bytes(b"PK")
    (root / "vae beside.vae.safetensors").write_bytes(b"")
    lora.write(root / "style.safetensors", layers := tiny.lora_of_width(768), lora.metadata(Family.SD1, layers))
    told = {broken.name: broken.reason for broken in host.broken_checkpoints()}
    words = {
        "page.safetensors": "web page",
        "pointer.safetensors": "LFS",
        "empty.SAFETENSORS": "empty",
        "cut.safetensors": "bytes of weights instead of",
        "head.safetensors": "truncated within its header",
        "folder.safetensors": "folder",
        "gone.safetensors": "link",
        "old.ckpt": "pickle",
        "style.safetensors": "is a LoRA",
    }
    assert told.keys() == words.keys()
    assert {name for name, reason in told.items() if words[name] not in reason or name not in reason} == set()
    assert [c.name for c in host.checkpoints()] == ["bench"]
    with pytest.raises(InvalidRequest, match="LFS"):
        host.txt2img(text_job(checkpoint="pointer"))


def test_when_all_are_broken_the_sentence_names_them(paths: Paths, tmp_path: Path) -> None:
    from dataclasses import replace

    (paths.models / "Stable-diffusion" / "page.safetensors").write_bytes(b"<html>")
    host = EmbeddedHost(replace(paths, bench=tmp_path / "no"), FakeVision(), device="cpu")
    with pytest.raises(AssetMissing, match=r"page\.safetensors .* web page"):
        host.txt2img(text_job())


@pytest.mark.thorough
def test_a_checkpoint_is_the_one_that_was_named(host: EmbeddedHost, paths: Paths) -> None:
    root = paths.models / "Stable-diffusion"
    for seed, name in enumerate(("a/model", "b/model", "real_v5"), 20):
        tiny.folder(root / name, seed=seed)
    pictures = {c.name: host.txt2img(text_job(checkpoint=c.name)).image for c in host.checkpoints()}
    assert not np.array_equal(pictures["a/model"], pictures["b/model"])
    made = host.txt2img(text_job(checkpoint="b\\model"))
    assert np.array_equal(made.image, pictures["b/model"])
    with pytest.raises(InvalidRequest, match="a/model and b/model"):
        host.txt2img(text_job(checkpoint="model"))
    for missing in ("real_v5.9", "real_v5.v2", "real"):
        with pytest.raises(NotFound, match=missing):
            host.txt2img(text_job(checkpoint=missing))
    assert "Model: real_v5" in host.txt2img(text_job(checkpoint="real_v5")).infotext


def test_loras_and_vaes_of_one_name_in_two_folders(
    host: EmbeddedHost, paths: Paths, bench_parts: sd.Parts, tmp_path: Path
) -> None:
    for seed, name in enumerate(("a/her", "b/her", "her.v2"), 30):
        (paths.loras / name).parent.mkdir(exist_ok=True)
        a_lora(paths, bench_parts, name, seed=seed)
    second = host.txt2img(text_job(loras=[LoraRef(paths.loras / "b" / "her.safetensors", 1)])).image
    assert np.array_equal(host.txt2img(text_job(prompt="a photo<lora:b/her:1>")).image, second)
    with pytest.raises(InvalidRequest, match=r"a/her\.safetensors and b/her\.safetensors"):
        host.txt2img(text_job(prompt="<lora:her:1>"))
    with pytest.raises(AssetMissing, match=r"her\.v3.*Did you mean"):
        host.txt2img(text_job(prompt="<lora:her.v3:1>"))
    for name in ("x", "y"):
        tiny.folder(tmp_path / name, seed=8)
        (paths.models / "VAE" / name).mkdir()
        (tmp_path / name / "vae").rename(paths.models / "VAE" / name / "better")
    with pytest.raises(InvalidRequest, match="x/better and y/better"):
        host.txt2img(text_job(vae="better"))


def test_a_broken_copy_of_a_controlnet_hides_no_whole_one(host: EmbeddedHost, paths: Paths) -> None:
    from easyphoto.hosts.embedded import library

    root = paths.models / "ControlNet"
    (root / "a").mkdir()
    (root / "a" / "control_v11p_sd15_canny.safetensors").write_bytes(b"<html>")
    assert library.controlnet(paths, Family.SD1, ControlRole.CANNY) is not None
    tiny.controlnet(root / "b" / "control_v11p_sd15_canny", width=768)
    assert library.controlnet(paths, Family.SD1, ControlRole.CANNY) == root / "b" / "control_v11p_sd15_canny"


def test_without_any_checkpoint_it_says_where_to_put_one(paths: Paths, tmp_path: Path) -> None:
    from dataclasses import replace

    host = EmbeddedHost(replace(paths, bench=tmp_path / "no"), FakeVision(), device="cpu")
    assert host.checkpoints() == []
    with pytest.raises(AssetMissing, match="Stable-diffusion"):
        host.txt2img(text_job())


def test_published_controlnets_are_found_by_their_names(host: EmbeddedHost, paths: Paths) -> None:
    root = paths.models / "ControlNet"
    for name in (
        "control_v11p_sd15_canny_fp16.safetensors",
        "control_sd15_random_color.pth",
        "thibaud_xl_openpose_256lora.safetensors",
        "OpenPoseXL2.safetensors",
        "unrelated.safetensors",
    ):
        (root / name).write_bytes(b"")
    tiny.controlnet(root / "more" / "control_v11f1e_sd15_tile")
    assert host.controls(Family.SD1) == {ControlRole.CANNY, ControlRole.COLOR, ControlRole.TILE}
    assert host.controls(Family.SDXL) == {ControlRole.OPENPOSE}
    assert host.controls(Family.SD2) == set()


def test_links_that_go_in_circles_and_closed_folders_hide_nothing(host: EmbeddedHost, paths: Paths) -> None:
    root = paths.models / "Stable-diffusion"
    tiny.folder(root / "sub" / "mine", seed=4)
    for name in ("again", "and again"):
        (root / "sub" / name).symlink_to(root, target_is_directory=True)
    closed = root / "closed"
    closed.mkdir()
    closed.chmod(0)
    try:
        assert [c.name for c in host.checkpoints()] == ["bench", "sub/mine"]
    finally:
        closed.chmod(0o700)


def test_a_control_that_it_lacks_is_an_error_not_a_picture(host: EmbeddedHost, face: Image) -> None:
    assert host.identities(Family.SDXL) == {}
    with pytest.raises(AssetMissing, match="instantid"):
        host.txt2img(text_job(identities=[Identity(IdentityKind.INSTANTID, (face,), np.ones(1, np.float32), "any")]))


@pytest.mark.thorough
def test_a_vae_by_name(host: EmbeddedHost, paths: Paths, tmp_path: Path) -> None:
    tiny.folder(tmp_path / "other", seed=8)
    (tmp_path / "other" / "vae").rename(paths.models / "VAE" / "better")
    plain = host.txt2img(text_job()).image
    assert not np.array_equal(host.txt2img(text_job(vae="better")).image, plain)
    assert np.array_equal(host.txt2img(text_job(vae="Automatic")).image, plain)
    with pytest.raises(AssetMissing, match="worse"):
        host.txt2img(text_job(vae="worse"))


def test_models_stay_until_training_needs_the_memory(host: EmbeddedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Path] = []
    load = sd.load
    monkeypatch.setattr(sd, "load", lambda path, **more: (loads.append(path), load(path, **more))[1])
    before = host.txt2img(text_job()).image
    host.txt2img(text_job())
    assert len(loads) == 1
    with host.training():
        assert host._held().loaded is None
    assert np.array_equal(host.txt2img(text_job()).image, before)
    assert len(loads) == 2


def test_a_picture_asked_for_during_training_waits(host: EmbeddedHost) -> None:
    done = threading.Event()

    def draw() -> None:
        host.txt2img(text_job())
        done.set()

    with host.training():
        thread = threading.Thread(target=draw)
        thread.start()
        assert not done.wait(0.2)
    thread.join(60)
    assert done.is_set()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried ..."), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "memory"),
        (MemoryError(), "memory"),
        (RuntimeError("shapes\nof matrices"), "shapes"),
        (FloatingPointError("numbers that are no picture"), "no picture"),
    ],
)
def test_what_the_engine_raises_becomes_one_sentence(
    host: EmbeddedHost, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    before = host.txt2img(text_job()).image

    def fail(*args: Any, **more: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(render, "txt2img", fail)
        with pytest.raises(HostFailed, match=words) as caught:
            host.txt2img(text_job())
    assert "\n" not in str(caught.value)
    assert np.array_equal(host.txt2img(text_job()).image, before)


def with_nan(path: Path) -> None:
    """Makes the first matrix of a safetensors file NaN."""
    from safetensors.torch import load_file, save_file

    state = load_file(path)
    name = max(state, key=lambda key: state[key].numel())
    state[name] = torch.full_like(state[name], float("nan"))
    save_file(state, path, metadata={"format": "pt"})


@pytest.mark.thorough
def test_a_picture_of_nan_names_the_file_that_holds_them(
    host: EmbeddedHost, paths: Paths, bench_parts: sd.Parts, tmp_path: Path, face: Image
) -> None:
    root = paths.models / "Stable-diffusion"
    for name in ("bad unet", "bad vae"):
        tiny.folder(root / name, seed=4)
        with_nan(next((root / name / name.split()[1]).glob("*.safetensors")))
    with pytest.raises(HostFailed, match="The checkpoint bad unet is broken"):
        host.txt2img(text_job(checkpoint="bad unet"))
    with pytest.raises(HostFailed, match="The VAE inside bad vae is broken"):
        host.txt2img(text_job(checkpoint="bad vae"))
    tiny.folder(tmp_path / "other", seed=8)
    (tmp_path / "other" / "vae").rename(paths.models / "VAE" / "worse")
    with_nan(next((paths.models / "VAE" / "worse").glob("*.safetensors")))
    with pytest.raises(HostFailed, match="The VAE worse is broken"):
        host.txt2img(text_job(checkpoint="bench", vae="worse"))
    path = a_lora(paths, bench_parts, "nan")
    with_nan(path)
    with pytest.raises(InvalidRequest, match=r"The LoRA nan\.safetensors is broken.*NaN"):
        host.txt2img(text_job(checkpoint="bench", loras=[LoraRef(path, 1)]))
    huge = a_lora(paths, bench_parts, "huge", scale=100)
    with pytest.raises(HostFailed, match=r"The LoRA huge\.safetensors changes the model beyond"):
        host.txt2img(text_job(checkpoint="bench", loras=[LoraRef(huge, 1e38)]))
    assert host.txt2img(text_job(checkpoint="bench")).image.any()


def test_a_seed_of_minus_one_is_drawn_and_reported(host: EmbeddedHost) -> None:
    first = host.txt2img(text_job(seed=-1))
    assert first.seed >= 0
    assert f"Seed: {first.seed}" in first.infotext
    assert np.array_equal(host.txt2img(text_job(seed=first.seed)).image, first.image)


@pytest.mark.parametrize("role", [ControlRole.CANNY, ControlRole.OPENPOSE, ControlRole.COLOR, ControlRole.TILE])
@pytest.mark.parametrize("family", [Family.BENCH, Family.SD1])
def test_maps_are_drawn_at_the_size_of_the_picture(role: ControlRole, family: Family, face: Image) -> None:
    made = annotators.as_map(Control(role, face, 0.3), family, (96, 128), FakeVision())
    assert made.image.shape == (96, 128, 3)
    assert made.image.dtype == np.uint8
    assert (made.is_map, made.weight) == (True, 0.3)
    again = annotators.as_map(made, family, (96, 128), FakeVision())
    assert np.array_equal(again.image, made.image)
    if role is ControlRole.OPENPOSE:
        assert made.image.max() == 255


def test_importing_the_host_costs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, easyphoto.hosts.embedded; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
