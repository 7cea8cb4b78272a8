"""The main job on the model that ships: a face in every portrait, more like the person, everything else untouched.

It runs the demo, which takes minutes; with EASYPHOTO_DEMO set to the folder of a demo that was run, it looks there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easyphoto import pictures
from easyphoto.cli.demo import GROUP_FACE, PERSON
from easyphoto.inference import recipe
from easyphoto.ports import Face, Image
from easyphoto.vision import registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "EASYPHOTO_DEMO" in os.environ:
        return Path(os.environ["EASYPHOTO_DEMO"])
    out = tmp_path_factory.mktemp("demo") / "out"
    subprocess.run([sys.executable, "-m", "easyphoto", "demo", "--json", "--out", str(out)], check=True)
    return out


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "demo.json").read_text())
    return read


def faces(image: Image) -> list[Face]:
    return registry.create(Path("models")).detector.detect(image)


def test_every_portrait_has_its_face_and_is_more_like_the_person_than_the_template(facts: dict[str, Any]) -> None:
    assert [row["template"] for row in facts["portraits"]] == ["single", "group"]
    for row in facts["portraits"]:
        likeness = row["likeness"]
        assert all(value is not None for value in likeness.values()), "a face is found at every stage"
        assert likeness["final"] > likeness["template"] + 0.1


def test_only_the_crop_around_the_face_changes(folder: Path, facts: dict[str, Any]) -> None:
    for row in facts["portraits"]:
        template = pictures.load(folder / "templates" / f"{row['template']}.png")
        portrait = pictures.load(Path(row["file"]))
        assert portrait.shape == template.shape
        found = faces(template)
        changed = (portrait != template).any(axis=2)
        face = found[0 if row["template"] == "single" else GROUP_FACE]
        rows, columns = np.nonzero(changed)
        reach = 2.0 * max(face.width, face.height)
        assert abs(columns - face.center[0]).max() < reach
        assert abs(rows - face.center[1]).max() < reach
        for other in found:
            if other is not face:
                left, top, right, bottom = (round(v) for v in other.box)
                assert not changed[top:bottom, left:right].any(), "another face was touched"


def test_the_portraits_hold_their_recipe_and_the_person_is_whole(folder: Path, facts: dict[str, Any]) -> None:
    for row in facts["portraits"]:
        read = recipe.read(Path(row["file"]))
        assert PERSON in read.user_ids and read.seed == row["seed"]
    person = folder / "outputs" / "easyphoto-user-id-infos" / PERSON
    assert json.loads((person / "person.json").read_text())["family"] == "bench"
    assert (folder / "models" / "Lora" / f"{PERSON}.safetensors").stat().st_size > 100_000
    assert facts["seconds"]["all"] < 1200 and facts["peak_memory_gb"] < 4
