"""EasyPhoto in a real WebUI on the CPU: install, boot, train two steps, generate with three ControlNet units.

    WEBUI_ROOT=/path/to/webui WEBUI_PYTHON=/path/to/venv/bin/python pytest -m host tests/hosts/test_real_webui.py

The WebUI needs this project in ``extensions/EasyPhoto`` (a copy or a link), ControlNet, and the models that
``make_narrow.py`` writes; without a network also CLIP's tokenizer in its cache and OpenPose's annotators.
``WEBUI_ARGS`` adds arguments, ``WEBUI_PORT`` (7899) is where it listens. What was run is recorded in docs/hosts.md.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from easyphoto.ports import Image

ROOT = Path(os.environ.get("WEBUI_ROOT", ""))
PYTHON = os.environ.get("WEBUI_PYTHON", str(ROOT / "venv" / "bin" / "python"))
PORT = int(os.environ.get("WEBUI_PORT", "7899"))
EXTENSION = ROOT / "extensions" / "EasyPhoto"
HELPER = Path(__file__).parent / "narrow_models"
BOOT = 900
WAIT = 3600
USER = "real test 测试"

pytestmark = [
    pytest.mark.host,
    pytest.mark.timeout(2 * WAIT),
    pytest.mark.skipif("WEBUI_ROOT" not in os.environ, reason="WEBUI_ROOT says no WebUI to test in"),
]


def forge() -> bool:
    return (ROOT / "modules_forge").is_dir()


def freeze() -> str:
    """Every package of the host with its version, pip and setuptools included."""
    ran = subprocess.run([PYTHON, "-m", "pip", "freeze", "--all"], capture_output=True, text=True, check=True)
    return ran.stdout


def log_has(text: str, path: Path) -> bool:
    return text in path.read_text(encoding="utf-8", errors="replace")


def ask(path: str, body: dict[str, Any] | None = None, method: str = "GET", timeout: float = 120) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}{path}", data, {"Content-Type": "application/json"}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        pytest.fail(f"{path} answered {error.code}: {error.read().decode()[:500]}")


def encoded(image: Image) -> str:
    buffer = io.BytesIO()
    PilImage.fromarray(image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def finished(job: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        state: dict[str, Any] = ask(f"/easyphoto/v1/jobs/{job['id']}")
        if state["state"] in ("finished", "failed", "cancelled"):
            return state
        time.sleep(2)
    pytest.fail(f"the job did not end within {WAIT} s: {state}")


@pytest.fixture(scope="module")
def installed() -> str:
    """Our environment made by install.py; the host's packages before that."""
    before = freeze()
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}"}
    as_the_webui_does = subprocess.run(
        [PYTHON, "install.py"], cwd=EXTENSION, env=variables, capture_output=True, text=True, check=True
    )
    assert as_the_webui_does.stderr == ""
    if "is ready" not in as_the_webui_does.stdout:
        subprocess.run([PYTHON, "install.py"], cwd=EXTENSION, check=True)
    return before


@pytest.fixture(scope="module")
def webui(installed: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running WebUI; its log."""
    log = tmp_path_factory.mktemp("webui") / "log.txt"
    link = ROOT / "extensions" / HELPER.name
    link.symlink_to(HELPER, target_is_directory=True)
    arguments = ["--skip-prepare-environment", "--skip-torch-cuda-test", "--api", "--port", str(PORT)]
    arguments += ["--no-download-sd-model", "--disable-nan-check"]
    arguments += ["--always-cpu"] if forge() else ["--use-cpu", "all", "--no-half", "--opt-sdp-attention"]
    arguments += os.environ.get("WEBUI_ARGS", "").split()
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [PYTHON, "launch.py", *arguments], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            wait_for(process, log)
            yield log
        finally:
            process.terminate()
            process.wait(60)
    finally:
        link.unlink()


def wait_for(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + BOOT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/easyphoto/v1/people", timeout=30):
                return
        except OSError:
            time.sleep(2)
    pytest.fail(f"the WebUI did not come up:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="module")
def person(webui: Path) -> dict[str, Any]:
    from skimage import data

    face = np.ascontiguousarray(data.astronaut()[0:320, 60:380])
    photos = [face, face[:, ::-1], np.clip(face * 1.15, 0, 255).astype(np.uint8), face[10:, :310], face[:310, 10:]]
    job = ask(
        "/easyphoto/v1/jobs/train",
        {
            "user_id": USER,
            "photos": [encoded(np.ascontiguousarray(p)) for p in photos],
            "options": {
                "sd_model_checkpoint": "narrow-sd15.safetensors",
                "resolution": 128,
                "max_train_steps": 2,
                "val_and_checkpointing_steps": 2,
                "train_batch_size": 1,
                "gradient_accumulation_steps": 1,
                "rank": 4,
                "network_alpha": 2,
                "validation": False,
            },
        },
        "POST",
    )
    return finished(job)


def test_the_hosts_packages_are_as_they_were(installed: str) -> None:
    assert freeze() == installed


def test_it_boots_with_the_extension(webui: Path) -> None:
    assert not log_has("Error executing callback", webui)
    assert not log_has("EasyPhoto's tab could not be built", webui)
    status = ask("/easyphoto/v1/status")
    assert status["host"] == ("Forge" if forge() else "AUTOMATIC1111")
    assert "narrow-sd15.safetensors" in [c["name"] for c in status["checkpoints"]]
    names = [c["props"].get("label") for c in ask("/config")["components"] if c.get("props")]
    assert "EasyPhoto" in names, "the tab is there"


def test_two_steps_of_training(person: dict[str, Any]) -> None:
    assert person["state"] == "finished", person["error"]
    assert USER in [p["user_id"] for p in ask("/easyphoto/v1/people")]


def test_a_portrait_with_three_controls(person: dict[str, Any], webui: Path) -> None:
    before = ask("/sdapi/v1/options")["sd_model_checkpoint"]
    job = ask(
        "/easyphoto/v1/jobs/portrait",
        {
            "user_ids": [USER],
            "presets": ["astronaut"],
            "options": {"seed": 7, "first_diffusion_steps": 3, "second_diffusion_steps": 4},
        },
        "POST",
    )
    done = finished(job)
    assert (done["state"], done["failures"]) == ("finished", []), done
    for model in ("control_v11p_sd15_canny", "control_v11p_sd15_openpose", "control_sd15_random_color"):
        assert log_has(model, webui), model
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/easyphoto/v1/jobs/{job['id']}/pictures/0") as answer:
        portrait = PilImage.open(io.BytesIO(answer.read()))
    assert f"<lora:{USER}:0.9>" in portrait.info["parameters"]
    info = ask("/sdapi/v1/png-info", {"image": encoded_file(portrait)}, "POST")
    assert info["parameters"]["Seed"] in (7, "7"), "PNG Info reads it"
    assert ask("/sdapi/v1/options")["sd_model_checkpoint"] == before


def encoded_file(picture: PilImage.Image) -> str:
    from PIL.PngImagePlugin import PngInfo

    buffer, texts = io.BytesIO(), PngInfo()
    texts.add_text("parameters", picture.info["parameters"])
    picture.save(buffer, "PNG", pnginfo=texts)
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_missing_base_model_is_said(webui: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="answered 4"):
        ask(
            "/easyphoto/v1/jobs/portrait",
            {"user_ids": [USER], "presets": ["astronaut"], "options": {"sd_model_checkpoint": "nothing.safetensors"}},
            "POST",
        )


def test_the_people_go_when_they_are_deleted(person: dict[str, Any]) -> None:
    urllib.request.urlopen(
        urllib.request.Request(
            f"http://127.0.0.1:{PORT}/easyphoto/v1/people/{urllib.parse.quote(USER)}", method="DELETE"
        )
    ).close()
    assert USER not in [p["user_id"] for p in ask("/easyphoto/v1/people")]
