"""SDXL in a real WebUI on the CPU: its IP-Adapter and InstantID, by units that EasyPhoto makes.

They are run as ``test_real_webui.py`` is, after ``make_narrow_sdxl.py``. InstantID also wants insightface in the
WebUI's Python, and takes what that script writes for antelopev2's networks: they find a face in the middle of every
picture, so nothing is said here of whose face it is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easyphoto.config import ID_METHODS
from easyphoto.hosts.webui.controlnet import COUNT_LABEL
from easyphoto.ports import Image
from tests.hosts import make_narrow_sdxl as narrow
from tests.hosts import test_real_webui as real
from tests.hosts.short_jobs import SHORT

pytestmark = real.pytestmark
installed = real.installed
"""The fixture: EasyPhoto's own environment is there."""

CHECKPOINT = f"{narrow.CHECKPOINT}.safetensors"
ONCE = {
    "sd_model_checkpoint": CHECKPOINT,
    "enable_second_diffusion": False,
    "first_diffusion_steps": 2,
    "first_denoising_strength": 0.9,
}
"""One pass of two steps, the first of them in noise: a picture of SDXL takes its time on a small machine. The WebUI's
DPM++ 2M SDE fails with a single step; InstantID's Euler doesn't."""
BY_INSTANTID = {"no_user_lora_mode": ID_METHODS[1], "first_diffusion_steps": 1}
SHOWN, TRAINED = "sdxl shown 看", "sdxl real test 测试"
NETWORKS = real.ROOT / "extensions" / "sd-webui-controlnet" / "annotator" / "downloads" / "insightface"
TOO_FEW = 'The host allows {} ControlNet units and {} are wanted: raise "' + COUNT_LABEL + '"'
VISIBLE = 8


@pytest.fixture(scope="module", autouse=True)
def _written() -> None:
    if not (real.ROOT / "models" / "Stable-diffusion" / CHECKPOINT).is_file():
        pytest.skip(f"make_narrow_sdxl.py has not written {CHECKPOINT} here")


@pytest.fixture(scope="module")
def webui(installed: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running WebUI with as many units as a pass of SDXL with InstantID needs; its log."""
    log = tmp_path_factory.mktemp("webui") / "log.txt"
    with real.allowing(3), real.booted(log, "--api"):
        yield log


@pytest.fixture(scope="module")
def shown(webui: Path) -> Iterator[str]:
    """The user id of a person without a training."""
    real.add(SHOWN)
    yield SHOWN
    real.delete(SHOWN)


@pytest.fixture(scope="module")
def trained(webui: Path) -> Iterator[str]:
    """The user id of a person with a LoRA for SDXL."""
    options = {"sd_model_checkpoint": CHECKPOINT, "validation": False, **SHORT}
    sent = {"user_id": TRAINED, "photos": [real.encoded(p) for p in real.photos()], "options": options}
    done = real.finished(real.ask("/easyphoto/v1/jobs/train", sent, "POST"))
    assert done["state"] == "finished", done["error"]
    yield TRAINED
    real.delete(TRAINED)


def needs_insightface() -> None:
    """Skip the test where the WebUI has nothing that finds the face for InstantID."""
    if not (NETWORKS / "models" / "antelopev2" / "scrfd_10g_bnkps.onnx").is_file():
        pytest.skip("make_narrow_sdxl.py has written nothing in antelopev2's place here")
    found = subprocess.run([real.PYTHON, "-c", "import insightface.app"], check=False, capture_output=True)
    if found.returncode != 0:
        pytest.skip("the WebUI's Python has no insightface")


def made(user_id: str, **options: object) -> tuple[Image, str, list[str]]:
    """The pixels of a portrait, its parameters, and what was said of units and adapters."""
    picture, said = real.picture_of(real.portrait(user_id, **{**ONCE, **options}))
    return np.asarray(picture), picture.info["parameters"], said


def apart(one: Image, other: Image) -> int:
    """By how much two pictures differ where they do most, which is printed."""
    away = np.abs(one.astype(np.int16) - other.astype(np.int16))
    print(f"apart by {away.max()}, {away.mean():.3f} in the mean, {(away.max(-1) > 0).mean():.1%} of the pixels")
    return int(away.max())


def seen(log: Path, *words: str) -> dict[str, int]:
    text = log.read_text(errors="replace")
    return {word: text.count(word) for word in words}


@pytest.mark.parametrize(("units", "options"), [(1, {}), (2, BY_INSTANTID)], ids=["ip-adapter", "instantid"])
def test_a_unit_too_few_is_said(installed: str, tmp_path: Path, units: int, options: dict[str, Any]) -> None:
    """The portrait comes with the canny unit alone, and the notice names the setting. These come before the tests with
    a WebUI of their own, which listens at the same place."""
    with real.allowing(units), real.booted(tmp_path / "few.txt", "--api"):
        real.add(SHOWN)
        _, _, said = made(SHOWN, **options)
        real.delete(SHOWN)
    assert [notice.split(" in Settings")[0] for notice in said] == [TOO_FEW.format(units, units + 1)]
    assert seen(tmp_path / "few.txt", narrow.CANNY)[narrow.CANNY]
    assert not any(seen(tmp_path / "few.txt", narrow.ADAPTER, *narrow.INSTANTID).values())


def test_a_person_without_a_training_comes_by_the_ip_adapter(shown: str, webui: Path) -> None:
    much, parameters, said = made(shown, ipa_only_weight=1.0)
    assert said == [] and "<lora:" not in parameters
    assert all(seen(webui, narrow.CANNY, narrow.ADAPTER).values())
    little, _, _ = made(shown, ipa_only_weight=0.05)
    assert apart(much, little) > VISIBLE, "the adapter took part"


def test_a_person_without_a_training_comes_by_instantid(shown: str, webui: Path) -> None:
    """Both of its units take part: with little of either the same seed gives another picture."""
    needs_insightface()
    whole: dict[str, Any] = {**BY_INSTANTID, "instantid_only_ipa_weight": 1.0, "instantid_only_id_weight": 1.0}
    both, parameters, said = made(shown, **whole)
    assert said == [] and "<lora:" not in parameters
    words = (narrow.CANNY, *narrow.INSTANTID, "instant_id_face_embedding", "instant_id_face_keypoints")
    assert all(seen(webui, *words).values())
    for weight in ("instantid_only_ipa_weight", "instantid_only_id_weight"):
        less, _, _ = made(shown, **{**whole, weight: 0.05})
        assert apart(both, less) > VISIBLE, weight


def test_adapters_beside_a_lora(trained: str, webui: Path) -> None:
    """InstantID has a sampler of its own, so its portrait differs from that of the LoRA in any case."""
    needs_insightface()
    alone, _, _ = made(trained)
    beside = {"id_control": True, "ipa_weight": 0.8, "instantid_ipa_weight": 0.8, "instantid_id_weight": 0.8}
    for method, model in ((ID_METHODS[0], narrow.ADAPTER), (ID_METHODS[1], narrow.INSTANTID[0])):
        before = seen(webui, model)[model]
        steadied, parameters, said = made(trained, **beside, id_control_method=method)
        assert said == [] and f"<lora:{TRAINED}:0.9>" in parameters
        assert seen(webui, model)[model] > before
        assert method == ID_METHODS[1] or apart(alone, steadied) > VISIBLE
