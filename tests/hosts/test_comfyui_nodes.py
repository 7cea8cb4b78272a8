"""The nodes for ComfyUI against a real EasyPhoto server. Of ComfyUI itself there is what these nodes use of it."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import FastAPI

from easyphoto.api import routes
from easyphoto.config import Paths
from easyphoto.pictures import load
from easyphoto.service import EasyPhoto
from tests.acting import acting_service, photos_in, templates_in
from tests.serving import served

PACKAGE = Path(__file__).parents[2] / "comfyui"


class Interrupt(BaseException):
    """What ComfyUI raises when its user interrupts."""


class Comfy:
    """The parts of ComfyUI that a node calls: a bar of progress, and whether its user has interrupted."""

    def __init__(self) -> None:
        self.interrupted = threading.Event()
        self.steps: list[tuple[int, int]] = []

    def modules(self) -> dict[str, ModuleType]:
        comfy = self

        class ProgressBar:
            def __init__(self, total: int) -> None:
                assert total > 0

            def update_absolute(self, value: int, total: int | None = None) -> None:
                comfy.steps.append((value, total or 0))

        def check() -> None:
            if comfy.interrupted.is_set():
                raise Interrupt

        root, utils, management = ModuleType("comfy"), ModuleType("comfy.utils"), ModuleType("comfy.model_management")
        utils.ProgressBar = ProgressBar  # type: ignore[attr-defined]
        management.throw_exception_if_processing_interrupted = check  # type: ignore[attr-defined]
        return {"comfy": root, "comfy.utils": utils, "comfy.model_management": management}


@pytest.fixture
def comfy(monkeypatch: pytest.MonkeyPatch) -> Comfy:
    made = Comfy()
    for name, module in made.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


@pytest.fixture
def package(comfy: Comfy, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The folder as ComfyUI imports it: under a name that is its path."""
    name = str(PACKAGE)
    spec = importlib.util.spec_from_file_location(name, PACKAGE / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def service(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> EasyPhoto:
    return acting_service(paths, monkeypatch)


@pytest.fixture
def server(service: EasyPhoto) -> Iterator[str]:
    app = FastAPI()
    routes.mount(app, service)
    with served(app) as url:
        yield url


def batches(files: list[Path]) -> list[torch.Tensor]:
    """Pictures of several sizes as ComfyUI passes them to a node that takes a list: each as a batch of one."""
    return [torch.from_numpy(load(path).astype(np.float32) / 255)[None] for path in files]


def test_a_person_is_trained_and_drawn(package: Any, comfy: Comfy, server: str, tmp_path: Path) -> None:
    nodes = package.NODE_CLASS_MAPPINGS
    photos, templates = batches(photos_in(tmp_path / "photos")), batches(templates_in(tmp_path / "templates")[:1])
    (person,) = nodes["EasyPhotoTrain"]().train(photos, ["ann"], [server], [False])
    assert person == (server, "ann")
    assert nodes["EasyPhotoPerson"]().find(["ann"], [server]) == (person,)
    portraits, likeness = nodes["EasyPhotoPortrait"]().make([person], templates, [7], ["{}"])
    assert len(portraits) == len(templates)
    assert [portrait.shape for portrait in portraits] == [template.shape for template in templates]
    told = nodes["EasyPhotoLikeness"]().tell(likeness)["result"]
    assert 0 < told[0] <= 1 and told[2].startswith("1: ")
    assert comfy.steps


def test_somebody_who_is_trained_is_not_trained_again(
    package: Any, server: str, service: EasyPhoto, tmp_path: Path
) -> None:
    train, photos = package.NODE_CLASS_MAPPINGS["EasyPhotoTrain"](), batches(photos_in(tmp_path / "photos"))
    for again, jobs in ((False, 1), (False, 1), (True, 2)):
        train.train(photos, ["ann"], [server], [again])
        assert len(service.jobs.list()) == jobs


def test_faults_are_one_sentence(package: Any, server: str, tmp_path: Path) -> None:
    nodes = package.NODE_CLASS_MAPPINGS
    with pytest.raises(RuntimeError, match="There is no person 'bob': train them, or connect photos"):
        nodes["EasyPhotoPerson"]().find(["bob"], [server])
    with pytest.raises(RuntimeError, match=r"does not answer at .*: start it with `easyphoto serve`"):
        nodes["EasyPhotoPerson"]().find(["bob"], ["http://127.0.0.1:9"])
    with pytest.raises(RuntimeError, match=r"comfy\.example\.com is another machine, and photos stay on this one"):
        nodes["EasyPhotoPerson"]().find(["bob"], ["https://comfy.example.com"])
    templates = batches(templates_in(tmp_path / "templates"))
    with pytest.raises(RuntimeError, match="bob"):
        nodes["EasyPhotoPortrait"]().make([(server, "bob")], templates, [7])
    with pytest.raises(RuntimeError, match="The options are no JSON"):
        nodes["EasyPhotoPortrait"]().make([(server, "bob")], templates, [7], ["{steps"])


def test_a_comfyui_does_not_wait_for_itself(
    package: Any, server: str, service: EasyPhoto, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(service.host, "name", "comfyui", raising=False)
    with pytest.raises(RuntimeError, match="start another `easyphoto serve` without --comfyui"):
        package.NODE_CLASS_MAPPINGS["EasyPhotoPortrait"]().make([(server, "ann")], batches(templates_in(tmp_path)), [7])
    assert service.jobs.list() == []


def test_an_interrupt_cancels_the_job(
    package: Any, comfy: Comfy, server: str, service: EasyPhoto, tmp_path: Path
) -> None:
    comfy.interrupted.set()
    photos = batches(photos_in(tmp_path / "photos"))
    service.jobs.pause()
    with pytest.raises(Interrupt):
        package.NODE_CLASS_MAPPINGS["EasyPhotoTrain"]().train(photos, ["ann"], [server], [False])
    deadline = time.monotonic() + 20
    while (state := service.jobs.list()[0].state) != "cancelled" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state == "cancelled"


def test_the_example_asks_for_nodes_that_are_there(package: Any) -> None:
    workflow = json.loads((PACKAGE / "example_workflows" / "portrait.json").read_text(encoding="utf-8"))
    ours = {node["type"] for node in workflow["nodes"] if node["type"].startswith("EasyPhoto")}
    assert ours == {"EasyPhotoPerson", "EasyPhotoPortrait", "EasyPhotoLikeness"} < set(package.NODE_CLASS_MAPPINGS)
    for node in workflow["nodes"]:
        if node["type"] in ours:
            declared = package.NODE_CLASS_MAPPINGS[node["type"]].INPUT_TYPES()
            names = {**declared.get("required", {}), **declared.get("optional", {})}
            assert {entry["name"] for entry in node["inputs"]} <= set(names)


def test_it_imports_nothing_but_the_standard_library_until_a_node_runs() -> None:
    import subprocess

    code = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import comfyui; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert not {"easyphoto", "numpy", "torch", "requests", "PIL"} & set(ran.stdout.split())


def test_a_soft_control_weighs_each_block(package: Any) -> None:
    class Net:
        def copy(self) -> Net:
            return Net()

        def control_merge(self, control: dict[str, list[Any]], **_: Any) -> dict[str, list[Any]]:
            return control

    (soft,) = package.NODE_CLASS_MAPPINGS["EasyPhotoSoftControl"]().soften(Net())
    found = {"output": [1.0] * 12, "middle": [1.0], "input": []}
    merged = soft.copy().control_merge(found, control_prev=None, output_dtype=None)
    assert merged["middle"] == [1.0]
    np.testing.assert_allclose(merged["output"], [0.825 ** (12 - index) for index in range(12)])
    assert Net().control_merge({"output": [1.0]}) == {"output": [1.0]}
