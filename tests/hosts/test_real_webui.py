"""EasyPhoto in a real WebUI on the CPU: install, boot, train two steps, generate with three ControlNet units.

    WEBUI_ROOT=/path/to/webui WEBUI_PYTHON=/path/to/venv/bin/python pytest -m host tests/hosts/test_real_webui.py

The WebUI needs this project in ``extensions/EasyPhoto`` (a copy or a link), ControlNet, and the models that
``make_narrow.py`` writes; without a network also CLIP's tokenizer in its cache and OpenPose's annotators.
``WEBUI_ARGS`` adds arguments, ``WEBUI_PORT`` (7899) is where it listens, ``WEBUI_PICTURES`` a folder for screenshots.
With Chromium and selenium the same is done again by clicking in the tabs. What was run is recorded in docs/hosts.md.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from easyphoto.config import REF_MODES, Family
from easyphoto.families.spec import ControlModel
from easyphoto.hosts.webui.controlnet import COUNT_LABEL, COUNT_OPTION, role_models
from easyphoto.hosts.webui.settings_page import DEFAULTS
from easyphoto.ports import IdentityKind, Image
from tests.hosts.short_jobs import FEW, SHORT
from tests.hosts.webui_page import WebUIPage
from tests.ui import browser

ROOT = Path(os.environ.get("WEBUI_ROOT", ""))
PYTHON = os.environ.get("WEBUI_PYTHON", str(ROOT / "venv" / "bin" / "python"))
PORT = int(os.environ.get("WEBUI_PORT", "7899"))
ARGUMENTS = shlex.split(os.environ.get("WEBUI_ARGS", ""))
DATA = Path(dict(pairwise(ARGUMENTS)).get("--data-dir", ROOT))
EXTENSION = ROOT / "extensions" / "EasyPhoto"
HELPER = Path(__file__).parent / "narrow_models"
STARTED, STOPPED = "Startup time: ", "the old server has stopped"
"""What a WebUI prints once it is complete, and what that extension prints between the two servers of a "Reload UI"."""
BOOT = 900
WAIT = 3600
USER = "real test 测试"
CLICKED = "clicked 点击"
TRAINING, PORTRAITS = "#easyphoto_train_progress", "#easyphoto_generate_progress"
DETECTS = "face_yolov8n.pt"
OTHER, VAE = "narrow-sd15-other.safetensors", "narrow.vae.safetensors"
CONTROLS = ("control_v11p_sd15_canny", "control_v11p_sd15_openpose", "control_sd15_random_color")
BRIEF = {"seed": 7, **FEW}
ADAPTER = "ip-adapter-full-face_sd15"
SHOWN = "only shown 看"
"""Who is added from a photo, without a training."""
WIDE = "400"
"""How wide Forge Neo's log is to be: it would break the names of models at the 80th column."""
PEOPLE, LEGACY_TRAIN = "/easyphoto/v1/people", "/easyphoto/easyphoto_train_forward"
PORTRAIT = "/easyphoto/v1/jobs/portrait"
CLIENTS = 40
AT_ONCE, LETS_GO = 5.0, 15.0
"""Seconds in which a route answers beside waiting clients, and in which a server that reloads lets go of them. How long
the WebUI then takes to build its page is the machine's affair."""

pytestmark = [
    pytest.mark.host,
    pytest.mark.timeout(2 * WAIT),
    pytest.mark.skipif("WEBUI_ROOT" not in os.environ, reason="WEBUI_ROOT says no WebUI to test in"),
]


@dataclass(frozen=True)
class Kind:
    """What a test has to know of a WebUI: what it is called, in sentences and in names of files, how it is started on
    the CPU, and whether its VAE is one of ``additional_modules``."""

    name: str
    file: str
    flags: tuple[str, ...]
    modules: bool = False


RANDOM = ("--no-download-sd-model", "--disable-nan-check")
A1111 = Kind("AUTOMATIC1111", "a1111", ("--use-cpu", "all", "--no-half", "--opt-sdp-attention", *RANDOM))
FORGE = Kind("Forge", "forge", ("--always-cpu", *RANDOM), modules=True)
NEO = Kind("Forge Neo", "neo", ("--cpu", "--use-pytorch-cross-attention"), modules=True)
REFORGE = Kind("reForge", "reforge", ("--always-cpu", *RANDOM))


def kind() -> Kind:
    """The WebUI in ``WEBUI_ROOT``, by its files."""
    version = ROOT / "modules_forge" / "forge_version.py"
    if not version.is_file():
        return A1111
    if not (ROOT / "backend").is_dir():
        return REFORGE
    return NEO if '"neo"' in version.read_text(encoding="utf-8") else FORGE


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


def answered(
    path: str, body: bytes | None = None, headers: dict[str, str] | None = None, timeout: float = 120
) -> tuple[int, str]:
    """The status and the body of an answer, whatever it is."""
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


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


def portrait(user_id: str, **options: object) -> dict[str, Any]:
    """What asks for a short portrait of a person on a preset."""
    return {"user_ids": [user_id], "presets": ["astronaut"], "options": {**BRIEF, **options}}


def picture_of(sent: dict[str, Any]) -> tuple[PilImage.Image, list[str]]:
    """The portrait that was asked for, and the notices about ControlNet and adapters that it came with."""
    job = ask(PORTRAIT, sent, "POST")
    done = finished(job)
    assert (done["state"], done["failures"]) == ("finished", []), done
    status, told = answered(f"/easyphoto/v1/jobs/{job['id']}/events")
    assert status == 200
    events = [json.loads(line.removeprefix("data: ")) for line in told.splitlines() if line.startswith("data: ")]
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/easyphoto/v1/jobs/{job['id']}/pictures/0") as answer:
        made = PilImage.open(io.BytesIO(answer.read()))
    said = [event["message"] for event in events if event["kind"] == "notice"]
    return made, [notice for notice in said if "ControlNet" in notice or "adapter" in notice]


def add(user_id: str) -> None:
    """Add a person from a photo, without a training, also where a run that was stopped left one."""
    if user_id in [p["user_id"] for p in ask(PEOPLE)]:
        delete(user_id)
    ask(PEOPLE, {"user_id": user_id, "photos": [encoded(photos()[0])]}, "POST", timeout=WAIT)


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


@contextmanager
def booted(log: Path, *flags: str) -> Iterator[None]:
    """The WebUI with these flags, once EasyPhoto's routes answer."""
    link = ROOT / "extensions" / HELPER.name
    link.symlink_to(HELPER, target_is_directory=True)
    arguments = ["--skip-prepare-environment", "--skip-torch-cuda-test", "--port", str(PORT)]
    arguments += [*kind().flags, *flags, *ARGUMENTS]
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [PYTHON, "launch.py", *arguments],
                cwd=ROOT,
                env={**os.environ, "COLUMNS": WIDE},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(process, log)
            yield
        finally:
            process.terminate()
            process.wait(60)
    finally:
        link.unlink()


@contextmanager
def allowing(units: int) -> Iterator[None]:
    """The settings of a WebUI that doesn't run, with so many ControlNet units for a picture; they are put back after
    it has stopped."""
    file = DATA / "config.json"
    settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    before = settings.get(COUNT_OPTION, 3)
    file.write_text(json.dumps(settings | {COUNT_OPTION: units}, indent=4), encoding="utf-8")
    try:
        yield
    finally:
        settings = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(settings | {COUNT_OPTION: before}, indent=4), encoding="utf-8")


def adapter_file() -> Path:
    """The IP-Adapter that make_narrow.py writes. The test is skipped where it isn't."""
    file = ROOT / "models" / "ControlNet" / f"{ADAPTER}.safetensors"
    if not file.is_file():
        pytest.skip(f"make_narrow.py has not written {file.name} here")
    return file


@pytest.fixture(scope="module")
def webui(installed: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running WebUI that allows as many units as a pass of SD1 with an adapter needs; its log."""
    log = tmp_path_factory.mktemp("webui") / "log.txt"
    with allowing(4), booted(log, "--api"):
        yield log


def wait_for(process: subprocess.Popen[bytes], log: Path) -> None:
    """Gradio answers 404 until the routes are mounted, which they are one after another."""
    deadline, last = time.monotonic() + BOOT, "nothing was asked"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            found = [
                answered(path, timeout=30)[0] for path in (PEOPLE, LEGACY_TRAIN)
            ]  # one of the first, one of the last
            if 404 not in found:
                return
            last = f"it answered {found}"
        except OSError as error:  # it doesn't listen yet
            last = repr(error)
        time.sleep(2)
    pytest.fail(f"the WebUI did not come up, at last {last}:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="module")
def person(webui: Path) -> dict[str, Any]:
    options = {"sd_model_checkpoint": "narrow-sd15.safetensors", "validation": False, **SHORT}
    sent = {"user_id": USER, "photos": [encoded(p) for p in photos()], "options": options}
    return finished(ask("/easyphoto/v1/jobs/train", sent, "POST"))


def photos() -> list[Image]:
    from skimage import data

    face = np.ascontiguousarray(data.astronaut()[0:320, 60:380])
    bright = np.clip(face * 1.15, 0, 255).astype(np.uint8)
    return [np.ascontiguousarray(p) for p in (face, face[:, ::-1], bright, face[10:, :310], face[:310, 10:])]


def test_the_hosts_packages_are_as_they_were(installed: str) -> None:
    assert freeze() == installed


def test_without_an_api_the_routes_say_so(installed: str, tmp_path: Path) -> None:
    with booted(tmp_path / "log.txt"):
        for path, body in ((PEOPLE, None), (LEGACY_TRAIN, b"{}"), ("/easyphoto/v1/jobs/train", b"{}")):
            status, text = answered(path, body)
            assert status == 403
            assert json.loads(text)["message"] == "EasyPhoto's HTTP API is off: start the WebUI with --api."
        assert answered("/")[0] == 200


def test_what_an_adapter_lacks_is_said(installed: str, tmp_path: Path) -> None:
    """Its model, by a portrait that is refused, and a fourth unit, by a notice that names the setting."""
    file, aside = adapter_file(), tmp_path / f"{ADAPTER}.safetensors"
    shutil.move(file, aside)
    try:
        with allowing(3), booted(tmp_path / "missing.txt", "--api"):
            add(SHOWN)
            refused = portrait(SHOWN, ref_mode_choose=REF_MODES[1])
            status, text = answered(PORTRAIT, json.dumps(refused).encode(), {"Content-Type": "application/json"})
            assert status == 409
            assert json.loads(text)["message"].startswith(
                "ref_mode_choose leaves the LoRA out, and IP-Adapter Face isn't there for sd1 models: get its files"
            )
    finally:
        shutil.move(aside, file)
    with allowing(3), booted(tmp_path / "few.txt", "--api"):
        _, said = picture_of(portrait(SHOWN))
        delete(SHOWN)
    assert [notice.split(" in Settings")[0] for notice in said] == [
        f'The host allows 3 ControlNet units and 4 are wanted: raise "{COUNT_LABEL}"'
    ]


def test_it_boots_with_the_extension(webui: Path) -> None:
    assert not log_has("Error executing callback", webui)
    assert not log_has("EasyPhoto's tab could not be built", webui)
    assert not log_has("Error loading script: controlnet.py", webui), "without it portraits have no controls"
    status = ask("/easyphoto/v1/status")
    assert status["host"] == kind().name
    assert "narrow-sd15.safetensors" in [c["name"] for c in status["checkpoints"]]
    names = [c["props"].get("label") for c in ask("/config")["components"] if c.get("props")]
    assert "EasyPhoto" in names, "the tab is there"


@pytest.mark.parametrize("path", ["/easyphoto/v1/jobs/train", LEGACY_TRAIN])
def test_no_other_site_comes_in(webui: Path, path: str) -> None:
    body, json_type = b'{"user_id": "evil"}', {"Content-Type": "application/json"}
    evil = "https://evil.example"
    refused = {
        "origin": {**json_type, "Origin": evil},
        "origin and text": {"Content-Type": "text/plain", "Origin": evil},
        "a browser's mark": {**json_type, "Sec-Fetch-Site": "cross-site"},
        "host": {**json_type, "Host": "evil.example"},
        "host with its port": {**json_type, "Host": f"evil.example:{PORT}"},
    }
    before = {job["id"] for job in ask("/easyphoto/v1/jobs")}  # the queue outlives the WebUI, and one may go on
    assert {what: answered(path, body, headers)[0] for what, headers in refused.items()} == dict.fromkeys(refused, 403)
    assert answered(path, body, {"Content-Type": "text/plain"})[0] == 415
    for headers in ({"Origin": evil}, {"Host": "evil.example"}):
        assert answered(PEOPLE, None, headers)[0] == 403
    assert {job["id"] for job in ask("/easyphoto/v1/jobs")} == before


def test_two_steps_of_training(person: dict[str, Any]) -> None:
    assert person["state"] == "finished", person["error"]
    assert USER in [p["user_id"] for p in ask("/easyphoto/v1/people")]


@pytest.fixture(scope="module")
def shown(webui: Path) -> Iterator[str]:
    """The user id of a person without a training."""
    adapter_file()
    add(SHOWN)
    yield SHOWN
    delete(SHOWN)


def test_a_person_without_a_training_comes_by_the_adapter(shown: str, webui: Path) -> None:
    """Four units run in the first pass: with little of the adapter the same seed gives another picture."""
    much, said = picture_of(portrait(shown, ipa_only_weight=1.0))
    assert said == []
    assert all(log_has(model, webui) for model in (*CONTROLS, ADAPTER))
    little, _ = picture_of(portrait(shown, ipa_only_weight=0.05))
    assert much.size == little.size
    apart = np.abs(np.asarray(much, np.int16) - np.asarray(little, np.int16))
    assert apart.max() > 8, "the adapter took part"
    assert "<lora:" not in much.info["parameters"]


def test_the_adapter_steadies_a_lora(person: dict[str, Any], webui: Path) -> None:
    adapter_file()
    before = webui.read_text(errors="replace").count(ADAPTER)
    made, said = picture_of(portrait(USER, id_control=True, ipa_weight=0.5))
    assert said == []
    assert f"<lora:{USER}:0.9>" in made.info["parameters"]
    assert webui.read_text(errors="replace").count(ADAPTER) > before


def test_the_host_has_the_preprocessors_of_instantid(webui: Path) -> None:
    """Under the names that its units ask for, also where insightface isn't there. ``test_real_webui_sdxl.py`` runs
    them."""
    modules = {ControlModel.plain(name) for name in ask("/controlnet/module_list")["module_list"]}
    wanted = role_models(Family.SDXL, IdentityKind.INSTANTID)
    assert len(wanted) == 2
    for serving in wanted:
        assert modules & set(serving.modules), serving.modules


def test_a_portrait_with_three_controls(person: dict[str, Any], webui: Path) -> None:
    before = ask("/sdapi/v1/options")["sd_model_checkpoint"]
    made, _ = picture_of(portrait(USER))
    assert all(log_has(model, webui) for model in CONTROLS)
    assert f"<lora:{USER}:0.9>" in made.info["parameters"]
    info = ask("/sdapi/v1/png-info", {"image": encoded_file(made)}, "POST")
    assert info["parameters"]["Seed"] in (7, "7"), "PNG Info reads it"
    assert ask("/sdapi/v1/options")["sd_model_checkpoint"] == before


def test_another_extension_works_beside(person: dict[str, Any]) -> None:
    """ADetailer, where it is installed: it mends the WebUI's own pictures as before, and stays out of portraits."""
    runs_on_all = [name.lower() for name in ask("/sdapi/v1/scripts")["img2img"]]
    if "adetailer" not in runs_on_all:
        pytest.skip("ADetailer is not installed")
    mends = {"ad_model": DETECTS, "ad_confidence": 0.01, "ad_denoising_strength": 0.3}
    plain = {"prompt": "a cat", "steps": 2, "width": 128, "height": 128, "seed": 3}
    asked = {**plain, "alwayson_scripts": {"ADetailer": {"args": [True, False, mends]}}}
    made = ask("/sdapi/v1/txt2img", asked, "POST", timeout=WAIT)
    assert f"ADetailer model: {DETECTS}" in json.loads(made["info"])["infotexts"][0]
    beside, _ = picture_of(portrait(USER))
    assert "ADetailer" not in beside.info["parameters"]


def encoded_file(picture: PilImage.Image) -> str:
    from PIL.PngImagePlugin import PngInfo

    buffer, texts = io.BytesIO(), PngInfo()
    texts.add_text("parameters", picture.info["parameters"])
    picture.save(buffer, "PNG", pnginfo=texts)
    return base64.b64encode(buffer.getvalue()).decode()


def test_interrupting_leaves_the_webui_as_it_was(person: dict[str, Any]) -> None:
    """Another checkpoint for the portrait, "interrupt" of the WebUI in its middle: the user's own is back, with the VAE
    that was chosen for it."""
    vae = {"forge_additional_modules": [str(ROOT / "models" / "VAE" / VAE)]} if kind().modules else {"sd_vae": VAE}
    ask("/sdapi/v1/options", vae, "POST")
    chosen = {"sd_model_checkpoint", "img2img_color_correction", "control_net_no_detectmap", *vae}
    before = {name: value for name, value in ask("/sdapi/v1/options").items() if name in chosen}
    plain = {"prompt": "a cat", "steps": 2, "width": 128, "height": 128, "seed": 3}
    first = ask("/sdapi/v1/txt2img", plain, "POST", timeout=WAIT)
    options = {"sd_model_checkpoint": OTHER, "first_diffusion_steps": 100, "first_denoising_strength": 0.9}
    sent = {"user_ids": [USER], "presets": ["astronaut"], "options": options}
    job = ask("/easyphoto/v1/jobs/portrait", sent, "POST")
    deadline = time.monotonic() + WAIT
    while ask("/sdapi/v1/progress?skip_current_image=true")["state"]["sampling_step"] < 2:
        assert time.monotonic() < deadline
        assert ask(f"/easyphoto/v1/jobs/{job['id']}")["state"] in ("queued", "running")
        time.sleep(0.2)
    ask("/sdapi/v1/interrupt", {}, "POST")
    assert finished(job)["state"] == "cancelled"
    assert {name: value for name, value in ask("/sdapi/v1/options").items() if name in chosen} == before
    again = ask("/sdapi/v1/txt2img", plain, "POST", timeout=WAIT)
    assert json.loads(again["info"])["sd_model_hash"] == json.loads(first["info"])["sd_model_hash"]
    assert pixels(again) == pixels(first)


def pixels(answer: dict[str, Any]) -> bytes:
    return PilImage.open(io.BytesIO(base64.b64decode(answer["images"][0]))).tobytes()


def test_a_missing_base_model_is_said(webui: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="answered 4"):
        ask(
            "/easyphoto/v1/jobs/portrait",
            {"user_ids": [USER], "presets": ["astronaut"], "options": {"sd_model_checkpoint": "nothing.safetensors"}},
            "POST",
        )


def delete(user_id: str) -> None:
    address = f"http://127.0.0.1:{PORT}{PEOPLE}/{urllib.parse.quote(user_id)}"
    urllib.request.urlopen(urllib.request.Request(address, method="DELETE")).close()


def test_the_people_go_when_they_are_deleted(person: dict[str, Any]) -> None:
    delete(USER)
    assert USER not in [p["user_id"] for p in ask("/easyphoto/v1/people")]


# --- by clicking -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(webui: Path) -> Iterator[WebUIPage]:
    if reason := browser.missing():
        pytest.skip(reason)
    with WebUIPage(f"http://127.0.0.1:{PORT}/?__theme=light", size=(1280, 1100)) as page:
        yield page


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return Path(os.environ.get("WEBUI_PICTURES", tmp_path))


def named(what: str) -> str:
    return f"{kind().file}-{what}.png"


def test_training_by_clicking(page: WebUIPage, pictures: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.png" for n in range(len(photos()))]
    for file, photo in zip(files, photos(), strict=True):
        PilImage.fromarray(photo).save(file)
    page.upload("easyphoto_train_upload", files)
    page.wait_for("#easyphoto_train_report figure.taken", len(files))
    page.give("#easyphoto_train_user_id", CLICKED)
    page.start("train", SHORT)
    page.wait_for(f"{TRAINING} [data-state=running] .easyphoto-bar")
    page.wait_for(f"{TRAINING} [data-state=running] svg")
    page.wait_for(f"{TRAINING} [data-state=finished] circle.likeness", 2)
    assert CLICKED in page.text(TRAINING)
    page.picture(pictures / named("train"))
    assert CLICKED in [p["user_id"] for p in ask("/easyphoto/v1/people")]
    assert (DATA / "outputs" / "easyphoto-user-id-infos" / CLICKED / "ref_image.jpg").is_file()


def test_a_portrait_by_clicking(page: WebUIPage, webui: Path, pictures: Path) -> None:
    """With the person that was trained by clicking, who is there without a reload."""
    before = {model: webui.read_text(errors="replace").count(model) for model in CONTROLS}
    page.tab(1)
    page.choose("#easyphoto_generate_user_1", CLICKED)
    page.start("generate", BRIEF)
    page.wait_for(f"{PORTRAITS} [data-state=running] .easyphoto-bar")
    page.wait_for(f"{PORTRAITS} [data-state=finished]")
    page.wait_for("#easyphoto_generate_portraits img")
    page.wait(lambda: f"<lora:{CLICKED}:0.9>" in page.value("#easyphoto_generate_recipe"))
    page.picture(pictures / named("generate"))
    assert {model: webui.read_text(errors="replace").count(model) > n for model, n in before.items()} == dict.fromkeys(
        CONTROLS, True
    )


def test_the_settings_page(page: WebUIPage, pictures: Path) -> None:
    """Every setting is there, and the number of user ids holds from the next load of the page on."""
    page.top_tab("Settings")
    page.settings_section("EasyPhoto")
    shown = page.text("#tab_settings")
    assert [label for _, label, _ in DEFAULTS.values() if label not in shown] == []
    page.picture(pictures / named("settings"))
    try:
        page.give("#setting_easyphoto_faces", 3)
        page.press("#settings_submit")
        # Not from the API: in Forge, /sdapi/v1/options leaves out what extensions register.
        page.wait(lambda: "easyphoto_faces" in page.text("#settings_result"))
        page.open()
        page.tab(1)
        page.wait(lambda: page.one("#easyphoto_generate_user_3").is_displayed())
        assert not page.one("#easyphoto_generate_user_4").is_displayed()
    finally:
        ask("/sdapi/v1/options", {"easyphoto_faces": 1}, "POST")


def test_what_a_page_keeps_and_who_is_deleted_by_clicking(page: WebUIPage, pictures: Path) -> None:
    """The photos and the finished training are there after a reload; a second face asks for a second user id; a person
    is deleted after a second question."""
    page.open()
    page.wait_for("#easyphoto_train_report figure.taken", len(photos()))
    page.wait_for(f"{TRAINING} [data-state=finished]")
    page.tab(1)
    page.give("#easyphoto_generate_faces", 2)
    page.wait(lambda: page.one("#easyphoto_generate_user_2").is_displayed())
    page.unfold()
    page.choose("#easyphoto_people_who", CLICKED)
    page.press("#easyphoto_people_delete")
    page.wait(lambda: page.one("#easyphoto_people_sure").is_displayed())
    page.picture(pictures / named("delete"))
    page.press("#easyphoto_people_sure")
    page.wait(lambda: CLICKED in page.text("#easyphoto_people_note"))
    assert CLICKED not in [p["user_id"] for p in ask(PEOPLE)]
    page.tab(2)
    page.wait_for("#easyphoto_weights_needs .easyphoto-needs")
    page.picture(pictures / named("weights"))
    assert [c for c in page.complaints() if "easyphoto" in c.lower()] == []


def test_waiting_clients_hold_up_neither_routes_nor_a_reload(page: WebUIPage, webui: Path) -> None:
    """Forty clients of the original wait, one for a training that runs: everything else is answered at once, and after
    "Reload UI" the tabs are back, while the training goes on."""
    options = {"sd_model_checkpoint": "narrow-sd15.safetensors", "validation": False, **SHORT}
    options |= {"max_train_steps": 2000, "val_and_checkpointing_steps": 2000}
    known = {job["id"] for job in ask("/easyphoto/v1/jobs")}
    pictures = [encoded(p) for p in photos()]
    with ThreadPoolExecutor(CLIENTS) as pool:
        try:
            clients = [pool.submit(client, {"instance_images": pictures, **options}, n) for n in range(CLIENTS)]
            while len(mine(known)) < CLIENTS:
                assert [c.result() for c in clients if c.done()] == [], "all of them wait"
                time.sleep(1)
            page.wait(lambda: any((job["progress"] or {}).get("stage") == "train" for job in running(known)))
            for path in ("/internal/ping", "/config", "/sdapi/v1/options", PEOPLE, "/easyphoto/v1/status"):
                begun = time.monotonic()
                assert answered(path)[0] == 200
                assert time.monotonic() - begun < AT_ONCE, path
            stopped, back = reload(page, webui)
            print(f"stopped after {stopped:.1f} s, back after {back:.1f} s")
            assert stopped < LETS_GO
            assert {c.result(LETS_GO)[0] for c in clients} == {200}
            assert any("The server stops before the job has ended." in c.result()[1] for c in clients)
            assert running(known), "the training goes on"
        finally:
            for job in reversed(mine(known)):
                ask(f"/easyphoto/v1/jobs/{job['id']}", method="DELETE")
                finished(job)
            for stopped_half_way in [p["user_id"] for p in ask(PEOPLE) if p["user_id"].startswith("waits ")]:
                delete(stopped_half_way)
    page.open()
    for number in (1, 2, 0):
        page.tab(number)
    assert page.one("#easyphoto_train_start").is_displayed()


def client(fields: dict[str, Any], number: int) -> tuple[int, str]:
    body = json.dumps({"user_id": f"waits {number}", **fields}).encode()
    return answered(LEGACY_TRAIN, body, {"Content-Type": "application/json"}, timeout=WAIT)


def mine(known: set[str]) -> list[dict[str, Any]]:
    return [job for job in ask("/easyphoto/v1/jobs") if job["id"] not in known]


def running(known: set[str]) -> list[dict[str, Any]]:
    return [job for job in mine(known) if job["state"] == "running"]


def reload(page: WebUIPage, log: Path) -> tuple[float, float]:
    """Press "Reload UI"; the seconds until the old server has stopped and until the new one is complete.

    Nobody asks before it says so, and the page, which would, is left: AUTOMATIC1111 ends with "Cannot add middleware
    after an application has started" if any request comes while it puts the new server together.
    """
    begun, before = time.monotonic(), (seen(STOPPED, log), seen(STARTED, log))
    page.script("document.getElementById('settings_restart_gradio').click()")
    time.sleep(1)
    page.driver.get("about:blank")
    stopped = until_seen(STOPPED, before[0], log) - begun
    back = until_seen(STARTED, before[1], log) - begun
    assert answered(PEOPLE)[0] == 200
    return stopped, back


def until_seen(text: str, before: int, log: Path) -> float:
    """The time at which ``text`` is in the log once more."""
    deadline = time.monotonic() + BOOT
    while seen(text, log) == before:
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
        time.sleep(0.1)
    return time.monotonic()


def seen(text: str, log: Path) -> int:
    return log.read_text(encoding="utf-8", errors="replace").count(text)
