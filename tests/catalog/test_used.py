"""Tests that every file that is offered for download is looked up by some code of the program."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from easyphoto import families
from easyphoto.catalog import Asset, Catalog, Folders
from easyphoto.catalog.model_folders import KINDS
from easyphoto.catalog.weights import Weights
from easyphoto.cli.main import main
from easyphoto.config import Paths
from easyphoto.errors import NotFound
from easyphoto.families.spec import ControlModel
from easyphoto.hosts.embedded import library
from easyphoto.jobs import JobQueue
from easyphoto.sd import tokenizers
from easyphoto.templates import fetched_gallery
from easyphoto.vision.registry import BACKENDS
from tests.fakes import FakeVision

PLANNED = ("instantid-preprocessor",)
LISTED = {"checkpoint", "vae"}
"""Kinds of folders whose every file a user chooses from a list."""


def by_the_library(asset: Asset) -> bool:
    """Chosen from a list, found by its published name, or taken as the image encoder."""
    served = (*library.DRAWN, *library.SERVED)
    models = [m for spec in families.known() for role in served for m in spec.control_models.get(role, ())]
    published = [name for model in models for name in model.names]
    encoder = KINDS[asset.folder] == library.IMAGE_ENCODERS and asset.file in library.IMAGE_ENCODER_FILES
    return encoder or asset.folder in LISTED or any(library.called(Path(asset.file), name) for name in published)


def by_the_motion_files(asset: Asset) -> bool:
    animations = [spec.animation for spec in families.known() if spec.animation is not None]
    names = [name for animation in animations for name in animation.modules.names]
    return any(library.called(Path(asset.file), name) for name in names)


def by_controlnet(asset: Asset) -> bool:
    """A model that a role of control takes in a WebUI, or what the WebUI's own openpose preprocessor loads."""
    patterns = [
        p for spec in families.known() for models in spec.control_models.values() for m in models for p in m.names
    ]
    name = ControlModel.plain(Path(asset.file).stem)
    return asset.folder == "openpose" or any(re.match(pattern, name) for pattern in patterns)


def by_the_plan(asset: Asset) -> bool:
    drawings = [spec.drawing for spec in families.known()]
    names = {lora.name for d in drawings for lora in (d.film_look, d.lcm) if lora is not None}
    return Path(asset.file).stem in names


def by_the_registry(asset: Asset) -> bool:
    return any(asset.name in backend.assets for backend in BACKENDS)


def by_the_gallery(asset: Asset) -> bool:
    return any(asset.name == name for row in fetched_gallery.rows() for name, _ in row.parts)


def by_the_tokenizers(asset: Asset) -> bool:
    return asset.file in tokenizers.FILES


LOOKS: Mapping[str, Callable[[Asset], bool]] = {
    "easyphoto.hosts.embedded.library": by_the_library,
    "easyphoto.hosts.embedded.motion_files": by_the_motion_files,
    "easyphoto.hosts.webui.controlnet": by_controlnet,
    "easyphoto.inference.plan": by_the_plan,
    "easyphoto.sd.tokenizers": by_the_tokenizers,
    "easyphoto.vision.registry": by_the_registry,
    "easyphoto.templates.fetched_gallery": by_the_gallery,
}


@pytest.mark.parametrize("name", Catalog.load().offered)
def test_every_file_of_a_feature_is_looked_up_by_the_code_that_it_names(name: str) -> None:
    catalog = Catalog.load()
    bundle = catalog.offered[name]
    assert bundle.used_by, "a feature knows its code"
    unused = [a for a in bundle.assets if not any(LOOKS[module](catalog.assets[a]) for module in bundle.used_by)]
    assert unused == []
    idle = [m for m in bundle.used_by if not any(LOOKS[m](catalog.assets[a]) for a in bundle.assets)]
    assert idle == []


def test_every_asset_of_a_backend_is_offered() -> None:
    offered = {asset for bundle in Catalog.load().offered.values() for asset in bundle.assets}
    assert {asset for backend in BACKENDS for asset in backend.assets} <= offered


@pytest.mark.parametrize("name", [*PLANNED, "antelope-genderage", "antelope-1k3d68"])
def test_what_has_no_code_is_neither_listed_nor_fetched(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog, folders = Catalog.load(), Folders.under(tmp_path / "models")
    with pytest.raises(NotFound, match=f"Nothing uses the weights of {name} yet"):
        catalog.fetch(name, folders, offline=True)
    weights = Weights(catalog, lambda: folders, JobQueue(), lambda: False, lambda: None)
    assert name not in [needs.bundle.name for needs in weights.features()]
    for ask in (weights.needs, lambda wanted: weights.fetch([wanted])):
        with pytest.raises(NotFound):
            ask(name)
    for command in ("plan", "fetch"):
        assert main(["models", command, name, "--data", str(tmp_path)]) == NotFound.exit_status
    capsys.readouterr()
    assert main(["models", "list", "--json", "--data", str(tmp_path)]) == 0
    assert name not in json.loads(capsys.readouterr().out)
    assert weights.serving(FakeVision()), "the rest goes on"
    assert Paths.standalone(tmp_path).models == tmp_path / "models"


def test_advice_names_folders_as_everybody_sees_them(tmp_path: Path) -> None:
    from easyphoto.errors import AssetMissing

    folders = Folders.under(tmp_path / "models")
    with pytest.raises(AssetMissing, match=r"u2net\.onnx in models") as caught:
        Catalog.load().fetch("saliency", folders, offline=True)
    assert str(tmp_path) not in str(caught.value)
