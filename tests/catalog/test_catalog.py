"""Tests of the catalog, of plans, of finding what is there, of checksums and licences, and of the command line."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from easyphoto.catalog import Asset, Catalog, Folders
from easyphoto.catalog.addresses import expand
from easyphoto.catalog.assets import read
from easyphoto.catalog.download_plan import size
from easyphoto.catalog.locate import destination
from easyphoto.catalog.model_folders import KINDS
from easyphoto.cli.main import main
from easyphoto.config import Paths
from easyphoto.errors import NotFound
from tests.catalog.conftest import onnx_like, safetensors_like

Make = Callable[..., Catalog]
ORIGINAL = [
    # what the original extension places, by the names that it gives them (docs/weights.md lists what is left out)
    "Chilloutmix-Ni-pruned-fp16-fix.safetensors",
    "control_v11p_sd15_canny.pth",
    "control_v11p_sd15_openpose.pth",
    "control_v11f1e_sd15_tile.pth",
    "control_sd15_random_color.pth",
    "FilmVelvia3.safetensors",
    "SDXL_1.0_ArienMixXL_v2.0.safetensors",
    "madebyollin-sdxl-vae-fp16-fix.safetensors",
    "diffusers_xl_canny_mid.safetensors",
    "thibaud_xl_openpose_256lora.safetensors",
    "body_pose_model.pth",
    "hand_pose_model.pth",
    "facenet.pth",
    "face_skin.pth",
    "w600k_r50.onnx",
    "2d106det.onnx",
    "det_10g.onnx",
    "vae-ft-mse-840000-ema-pruned.ckpt",
]


@pytest.fixture
def catalog() -> Catalog:
    return Catalog.load()


def test_the_list_is_sound(catalog: Catalog) -> None:
    assert len(catalog.assets) >= 30
    places = [destination(a, Folders.under(Path("m"))) for a in catalog.assets.values()]
    assert len(set(places)) == len(places), "two assets would go to the same file"
    for asset in catalog.assets.values():
        assert Path(asset.file).name == asset.file and ".." not in asset.under
        assert (asset.sha256 is None) == (asset.sha256_from == ""), asset.name
        assert asset.sha256 is None or not asset.about, f"{asset.name}: who knows the checksum knows the size"
        for url in asset.urls({}):
            assert urlsplit(url).scheme == "https" and urlsplit(url).path.count("//") == 0, url
        assert len(set(asset.urls({}))) >= 2
        if asset.instead:
            assert catalog.assets[asset.instead].commercial and not asset.commercial


def test_every_asset_belongs_to_a_feature(catalog: Catalog) -> None:
    named = {n for b in catalog.bundles.values() for n in b.assets} | {
        a.instead for a in catalog.assets.values() if a.instead
    }
    assert named == set(catalog.assets)


@pytest.mark.parametrize("file", ORIGINAL)
def test_what_the_original_places_is_known(catalog: Catalog, file: str) -> None:
    assert any(file == a.file or file in a.also for a in catalog.assets.values())


def test_sources_become_addresses() -> None:
    assert expand(["hf:o/n/a/b.bin", "ms:o/n/b.bin", "ms-api:o/n/a/b.bin", "oss:b.bin", "https://h/b"], {}) == [
        "https://huggingface.co/o/n/resolve/main/a/b.bin",
        "https://www.modelscope.cn/models/o/n/resolve/master/b.bin",
        "https://www.modelscope.cn/api/v1/models/o/n/repo?Revision=master&FilePath=a%2Fb.bin",
        "https://pai-aigc-photog.oss-cn-hangzhou.aliyuncs.com/webui/b.bin",
        "https://h/b",
        "https://hf-mirror.com/o/n/resolve/main/a/b.bin",
    ]
    assert expand(["hf:o/n/b"], {"HF_ENDPOINT": "https://near/"})[0] == "https://near/o/n/resolve/main/b"
    with pytest.raises(ValueError, match="unknown kind"):
        expand(["ftp:a/b/c"], {})


def test_a_list_that_contradicts_itself_is_refused(tmp_path: Path, catalog: Catalog) -> None:
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"assets": [], "bundles": [{"name": "b", "what": "", "assets": ["gone"]}]}))
    with pytest.raises(ValueError, match="gone"):
        read(file)
    with pytest.raises(ValueError, match="two addresses"):
        replace(catalog.assets["sd15"], sources=("https://h/c",))
    with pytest.raises(ValueError, match="sha256"):
        replace(catalog.assets["sd15"], sha256="ABC")


def test_an_unknown_feature_is_said_with_the_known_ones(catalog: Catalog, folders: Folders) -> None:
    with pytest.raises(NotFound, match="sd1-portrait"):
        catalog.plan("sd9", folders)


def test_a_plan_says_bytes_and_licences(catalog: Catalog, folders: Folders) -> None:
    plan = catalog.plan("likeness", folders)
    assert plan.bytes == 16_923_827 + 174_383_860 and plan.exact
    assert list(plan.licences) == ["InsightFace models: non-commercial research only"]
    assert plan.sentence() == "likeness: 2 files to download, 191.3 MB."
    assert not folders.root.exists(), "a plan leaves no trace"
    assert "about" in catalog.plan("sd1-portrait", folders).sentence()


def test_commercial_use_only_replaces_or_leaves_out(catalog: Catalog, folders: Folders) -> None:
    for name in catalog.bundles:
        plan = catalog.plan(name, folders, commercial_only=True)
        assert all(a.commercial for a in plan.missing), name
    plan = catalog.plan("sd1-portrait", folders, commercial_only=True)
    assert "sd15" in {a.name for a in plan.missing} and {a.name for a in plan.left_out} == {"film-velvia"}
    assert not catalog.plan("likeness", folders, commercial_only=True).missing


def place(folders: Folders, path: str, body: bytes) -> Path:
    file = folders.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(body)
    return file


def test_a_file_is_found_by_name_in_any_folder_of_the_host(make: Make, folders: Folders, tmp_path: Path) -> None:
    body = onnx_like()
    elsewhere = tmp_path / "webui" / "extensions" / "cn" / "models"
    elsewhere.mkdir(parents=True)
    (elsewhere / "W.onnx").write_bytes(body)
    assert make(body).plan("all", folders).missing
    wide = Folders.of(Paths.standalone(tmp_path / "data"), also=[tmp_path / "webui"])
    (found,) = make(body).plan("all", wide).present
    assert (found.path.name, found.how) == ("W.onnx", "name")


def test_a_file_is_found_by_checksum_under_any_name(make: Make, folders: Folders) -> None:
    body = onnx_like()
    there = place(folders, "deep/er/renamed.bin", body)
    (found,) = make(body).plan("all", folders).present
    assert (found.path, found.how) == (there.resolve(), "hash")
    assert make(body).plan("all", folders, hashing=False).missing


def test_folders_named_in_the_environment_are_looked_through(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "w.onnx").write_bytes(onnx_like())
    monkeypatch.setenv("EASYPHOTO_MODEL_FOLDERS", f"{tmp_path / 'store'}{os.pathsep}{tmp_path / 'none'}")
    assert make(onnx_like()).plan("all", Folders.of(Paths.standalone(tmp_path / "data"))).present


def test_links_in_a_circle_are_followed_once(make: Make, folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "w.onnx").write_bytes(onnx_like())
    folders.root.mkdir(parents=True)
    (folders.root / "link").symlink_to(tmp_path / "far")
    (folders.root / "self").symlink_to(folders.root)
    assert make(onnx_like()).plan("all", folders).present


@pytest.mark.parametrize(
    ("file", "body", "says"),
    [
        ("w.onnx", onnx_like()[:-10], "49,990 bytes where the published file has 50,000"),
        ("w.onnx", onnx_like(seed=2), "not the file that is expected"),
        ("w.onnx", b"<html>" + onnx_like()[6:], "web page"),
        ("w.onnx", b"", "0 bytes"),
    ],
)
def test_a_wrong_file_is_unusable_and_missing(make: Make, folders: Folders, file: str, body: bytes, says: str) -> None:
    place(folders, file, body)
    plan = make(onnx_like()).plan("all", folders)
    assert len(plan.missing) == 1 and says in str(plan.unusable[0])


def test_another_file_that_serves_is_taken_when_it_is_sound(make: Make, folders: Folders) -> None:
    catalog = make(onnx_like())
    catalog.assets["w"] = replace(catalog.assets["w"], also=("w_fp16.safetensors",))
    other = place(folders, "ControlNet/w_fp16.safetensors", safetensors_like()[:-5])
    assert catalog.plan("all", folders).missing
    other.write_bytes(safetensors_like())
    assert not catalog.plan("all", folders).missing


def test_common_names_are_looked_for_in_their_own_folder_only(make: Make, folders: Folders) -> None:
    catalog = make(onnx_like(), under="owner/model", by_folder=True)
    place(folders, "other/w.onnx", onnx_like(seed=3))
    assert not catalog.plan("all", folders).unusable
    place(folders, "somewhere/model/w.onnx", onnx_like())
    assert catalog.plan("all", folders).present


def test_checksums_are_computed_once_and_again_when_the_file_changes(
    make: Make, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    from easyphoto.catalog import records

    file = place(folders, "w.onnx", onnx_like())
    calls: list[Path] = []
    real = records.sha256_of

    def counted(path: Path, cancelled: Callable[[], bool] | None = None) -> str:
        calls.append(path)
        return real(path, cancelled)

    monkeypatch.setattr(records, "sha256_of", counted)
    for _ in range(3):
        assert make(onnx_like()).plan("all", folders).present
    assert len(calls) == 1
    file.write_bytes(onnx_like(seed=5))
    assert make(onnx_like()).plan("all", folders).missing
    assert len(calls) == 2


def test_verify_reads_again_and_finds_what_changed_without_a_trace(make: Make, folders: Folders) -> None:
    """A flipped bit with the old size and date: a plan trusts its memory, verify does not."""
    file = place(folders, "w.onnx", onnx_like())
    catalog = make(onnx_like())
    assert catalog.plan("all", folders).present
    stamp = file.stat()
    file.write_bytes(onnx_like()[:-1] + b"\x00")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert catalog.plan("all", folders).present
    (verdict,) = catalog.verify(folders)
    assert verdict.reason and "not the file that is expected" in verdict.reason
    assert catalog.plan("all", folders).missing, "what verify found out is remembered"


def test_a_damaged_record_is_no_record(make: Make, folders: Folders) -> None:
    place(folders, "weights.json", b'{"known": {"w": ')
    place(folders, "w.onnx", onnx_like())
    assert make(onnx_like()).plan("all", folders).present
    assert json.loads((folders.root / "weights.json").read_text())["files"]


def test_path_gives_what_a_backend_may_load(make: Make, folders: Folders) -> None:
    catalog = make(onnx_like())
    assert catalog.path("w", folders) is None
    file = place(folders, "w.onnx", onnx_like())
    assert catalog.path("w", folders) == file.resolve()


def test_folders_are_those_of_a_webui(tmp_path: Path) -> None:
    folders = Folders.of(Paths.standalone(tmp_path), moved={"controlnet": tmp_path / "cn"})
    assert folders.destinations["checkpoint"] == tmp_path.resolve() / "models" / "Stable-diffusion"
    assert folders.destinations["controlnet"] == tmp_path / "cn"
    assert set(folders.destinations) == set(KINDS)


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 B"), (1500, "2 kB"), (1_445_234_681, "1.4 GB"), (5e12, "5000.0 GB")]
)
def test_sizes_for_people(count: float, text: str) -> None:
    assert size(count) == text


def test_the_command_line_lists_plans_verifies_and_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EASYPHOTO_OFFLINE", "1")
    assert main(["models", "list", "--data", str(tmp_path)]) == 0
    assert "sd1-portrait" in capsys.readouterr().out
    assert main(["models", "plan", "enhance", "--data", str(tmp_path), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["bytes"] == 284_244_491 + 67_061_725 and len(plan["missing"]) == 2
    assert main(["models", "fetch", "enhance", "--data", str(tmp_path)]) == 4
    assert "Offline" in capsys.readouterr().err
    assert main(["models", "plan", "nothing", "--data", str(tmp_path)]) == 2
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "u2net.onnx").write_bytes(onnx_like())
    capsys.readouterr()
    assert main(["models", "verify", "--data", str(tmp_path)]) == 1
    assert "bytes where the published file has" in capsys.readouterr().out


def test_the_command_line_fetches(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = make(onnx_like())
    monkeypatch.setattr(Catalog, "load", lambda: catalog)
    assert main(["models", "fetch", "all", "--data", str(tmp_path), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["kind"] == "progress" and lines[-1]["missing"] == []
    got = (tmp_path / "models" / "w.onnx").read_bytes()
    assert hashlib.sha256(got).hexdigest() == catalog.assets["w"].sha256


def test_assets_are_values() -> None:
    assert isinstance(hash(next(iter(Catalog.load().assets.values()))), int) and Asset.__dataclass_fields__


def test_the_page_of_weights_keeps_step_with_the_catalog() -> None:
    root = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location("weights_tool", root / "tools" / "weights.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert (root / "docs" / "weights.md").read_text(encoding="utf-8") == tool.document(), "run tools/weights.py"
