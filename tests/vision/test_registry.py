"""Tests of which backend serves a role, and of what happens if the one that was wanted can't."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from easyphoto.catalog import Folders, catalog
from easyphoto.errors import AssetMissing, InvalidRequest
from easyphoto.vision import registry
from easyphoto.vision.backend import ROLES, Backend, Context
from easyphoto.vision.registry import LocalVision


def backend(name: str, made: Any = None, role: str = "enhancer", **more: Any) -> Backend:
    def factory(context: Context) -> Any:
        if isinstance(made, Exception):
            raise made
        return made or f"{name} in {context.models.name}"

    return Backend(name, role, factory, "MIT", more.pop("commercial", True), **more)


def test_every_role_is_served_without_a_download(tmp_path: Path) -> None:
    served = registry.create(tmp_path).backends()
    assert set(served) == set(ROLES)


def test_asking_loads_nothing(tmp_path: Path) -> None:
    vision = LocalVision(tmp_path, [backend("broken", RuntimeError("no"))], {})
    assert vision.backends() == {"enhancer": "broken"}
    assert vision.notices == []


def test_the_best_that_is_there_serves(tmp_path: Path) -> None:
    table = [
        backend("needs", weights=("big.onnx",)),
        backend("package", packages=("no_such_module",)),
        backend("plain"),
    ]
    assert LocalVision(tmp_path, table, {}).enhancer == f"plain in {tmp_path.name}"
    (tmp_path / "big.onnx").write_bytes(b"weights")
    vision = LocalVision(tmp_path, table, {})
    assert vision.backends()["enhancer"] == "needs"
    assert vision.enhancer == f"needs in {tmp_path.name}"
    assert vision.enhancer is vision.enhancer
    assert vision.notices == []


def test_a_wanted_backend_that_lacks_its_weights_is_noticed_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = [backend("plain"), backend("needs", weights=("big.onnx",))]
    with caplog.at_level(logging.WARNING):
        vision = LocalVision(tmp_path, table, {"enhancer": "needs"})
        assert vision.enhancer and vision.enhancer
    assert vision.backends()["enhancer"] == "plain"
    assert len(vision.notices) == 1 and "big.onnx" in vision.notices[0]
    assert [r.message for r in caplog.records] == vision.notices


def test_a_backend_that_breaks_gives_way(tmp_path: Path) -> None:
    vision = LocalVision(tmp_path, [backend("broken", RuntimeError("half a file")), backend("plain")], {})
    assert vision.enhancer == f"plain in {tmp_path.name}"
    assert vision.backends()["enhancer"] == "plain"
    assert len(vision.notices) == 1 and "half a file" in vision.notices[0]


def test_no_backend_at_all_is_a_sentence(tmp_path: Path) -> None:
    vision = LocalVision(tmp_path, [backend("package", packages=("no_such_module",))], {})
    assert vision.backends() == {}
    with pytest.raises(AssetMissing, match="no_such_module"):
        _ = vision.enhancer


def test_unknown_names_and_roles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no enhancer named magic; there are plain"):
        LocalVision(tmp_path, [backend("plain")], {"enhancer": "magic"})
    with pytest.raises(InvalidRequest, match="no vision role named enhance"):
        LocalVision(tmp_path, [backend("plain")], {"enhance": "plain"})


def test_what_is_not_commercial_can_be_kept_off(tmp_path: Path) -> None:
    table = [backend("research", commercial=False), backend("plain")]
    assert LocalVision(tmp_path, table, {}).backends()["enhancer"] == "research"
    assert LocalVision(tmp_path, table, {}, commercial_only=True).backends()["enhancer"] == "plain"
    wanted = LocalVision(tmp_path, table, {"enhancer": "research"}, commercial_only=True)
    assert wanted.backends()["enhancer"] == "plain" and len(wanted.notices) == 1
    assert set(registry.create(tmp_path, commercial_only=True).backends()) == set(ROLES)


def test_released_models_load_again(tmp_path: Path) -> None:
    loaded: list[int] = []

    def factory(context: Context) -> Any:
        loaded.append(1)
        return object()

    vision = LocalVision(tmp_path, [Backend("plain", "enhancer", factory, "MIT", True)], {})
    first = vision.enhancer
    vision.release()
    assert vision.enhancer is not first
    assert len(loaded) == 2


def test_a_job_can_prefer_another_backend_and_shares_what_is_loaded(tmp_path: Path) -> None:
    loaded: list[str] = []

    def named(name: str, **more: Any) -> Backend:
        def factory(context: Context) -> Any:
            loaded.append(name)
            return name

        return Backend(name, "enhancer", factory, "MIT", more.pop("commercial", True), **more)

    table = [named("first"), named("second"), named("absent", weights=("big.onnx",)), named("paid", commercial=False)]
    vision = LocalVision(tmp_path, table, {}, commercial_only=True)
    assert vision.enhancer == "first" and vision.preferring({"enhancer": "second"}).enhancer == "second"
    assert vision.preferring({"enhancer": "first"}).enhancer == "first" and vision.enhancer == "first"
    assert loaded == ["first", "second"]
    assert vision.preferring({"enhancer": "absent"}).backends() == {"enhancer": "first"}
    assert vision.preferring({"enhancer": "paid"}).backends() == {"enhancer": "first"}
    with pytest.raises(InvalidRequest, match="no enhancer named magic"):
        vision.preferring({"enhancer": "magic"})
    view = vision.preferring({"enhancer": "second"})
    vision.release()
    assert view.enhancer == "second" and loaded == ["first", "second", "second"]
    (tmp_path / "big.onnx").write_bytes(b"weights")
    vision.release()
    assert vision.preferring({"enhancer": "absent"}).enhancer == "absent"


def test_the_folders_are_walked_once_however_many_files_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Lora").mkdir()
    for i in range(20):
        (tmp_path / "Lora" / f"{i}.safetensors").write_bytes(b"another's")
    walked: list[Path] = []

    class Counted(catalog.Index):
        def __init__(self, folders: Folders) -> None:
            walked.append(folders.root)
            super().__init__(folders)

    monkeypatch.setattr(catalog, "Index", Counted)
    vision = registry.create(tmp_path)
    assert vision.backends()["embedder"] == "dlib-resnet"
    assert len(walked) == 1
    assert isinstance(vision, LocalVision)
    vision.describe()
    assert len(walked) == 3, "once for who serves, once for what is lacking"
