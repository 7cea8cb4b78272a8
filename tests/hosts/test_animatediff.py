"""Tests of clips in a WebUI that has sd-webui-animatediff, on a fake WebUI."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from easyphoto.config import Family
from easyphoto.errors import AssetMissing, Cancelled, HostFailed
from easyphoto.hosts.webui.border import WebUI
from easyphoto.hosts.webui.host import WebUIHost
from easyphoto.ports import Animator, Checkpoint, ClipJob, Control, ControlRole
from tests.fakes import blank
from tests.hosts.conftest import MakeWebUI
from tests.hosts.fake_webui import A1111, ControlNetScript, FakeWebUI, Script, parameters

PARAMETERS = {
    *("model", "enable", "video_length", "fps", "loop_number", "closed_loop", "batch_size", "stride", "overlap"),
    *("format", "interp", "interp_x", "video_source", "video_path", "mask_path", "freeinit_enable", "freeinit_filter"),
    *("freeinit_ds", "freeinit_dt", "freeinit_iters", "latent_power", "latent_scale", "last_frame"),
    *("latent_power_last", "latent_scale_last", "request_id"),
}
"""What the extension's AnimateDiffProcess takes; it knows no other name."""


class Mode(Enum):
    """Where a unit of sd-webui-controlnet takes its pictures from."""

    SIMPLE = "simple"
    BATCH = "batch"


class Modules:
    """The extension's holder of the motion module, which lies in the model from the first hook to the last."""

    mm_injected = False

    def __init__(self, place: Path) -> None:
        self.place, self.parameters, self.restored = place, [], 0  # type: ignore[var-annotated]

    def get_model_dir(self) -> str:
        return str(self.place)

    def set_ad_params(self, parameters: Any) -> None:
        self.parameters.append(parameters)

    def restore(self, sd_model: object) -> None:
        type(self).mm_injected = False
        self.restored += 1


class AnimateDiffScript(Script):
    """Makes a batch of the picture, as the extension does; with ``fault`` it fails with the module in the model."""

    fault = ""

    def __init__(self, modules: Modules, fake: FakeWebUI, start: int) -> None:
        super().__init__("AnimateDiff", start, start + 1)
        self.modules, self.fake = modules, fake

    def process(self, p: Any, *args: Any) -> None:
        super().process(p, *args)
        (given,) = args
        assert set(given) <= PARAMETERS and given["enable"] and "PNG" in given["format"]
        assert p.is_api, "the extension reads a dictionary from the API alone"
        self.modules.set_ad_params(given)
        folder = Path(self.fake.options.data["animatediff_model_path"])
        if not (folder / given["model"]).is_file():
            raise RuntimeError("Please download models manually.")
        type(self.modules).mm_injected = True
        if self.fault:
            raise RuntimeError(self.fault)
        p.batch_size = max(given["video_length"], given["batch_size"])

    def postprocess(self, p: Any) -> None:
        self.modules.restore(p.sd_model)


@pytest.fixture
def fake(make: MakeWebUI) -> FakeWebUI:
    return make(A1111)


@pytest.fixture
def modules(fake: FakeWebUI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Modules:
    """The extension in both tabs, with one module in its own folder."""
    place = tmp_path / "extension" / "model"
    place.mkdir(parents=True)
    (place / "mm_sd15_v3.safetensors").write_bytes(b"module")
    held = Modules(place)
    holder = ModuleType("scripts.animatediff_mm")
    holder.mm_animatediff = held  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, holder.__name__, holder)
    monkeypatch.setattr(Modules, "mm_injected", False)
    fake.options.data |= {"animatediff_model_path": str(place), "animatediff_save_to_custom": True}
    for runner in (fake.txt2img, fake.img2img):
        runner.inputs.append(type("Component", (), {"value": None})())
        runner.alwayson_scripts.append(AnimateDiffScript(held, fake, len(runner.inputs) - 1))
    counted = iter(range(1000))
    fake.paint = lambda p: np.full((p.height, p.width, 3), next(counted), np.uint8)
    return held


@pytest.fixture
def host(fake: FakeWebUI) -> WebUIHost:
    return WebUIHost(WebUI.load())


def asked(**more: Any) -> ClipJob:
    values = {"prompt": "she smiles", "width": 64, "height": 48, "steps": 3, "seed": 9, "frames": 20, **more}
    return ClipJob(**values)


def given(fake: FakeWebUI, *, img2img: bool = False) -> dict[str, Any]:
    runner = fake.img2img if img2img else fake.txt2img
    found: dict[str, Any] = runner.alwayson_scripts[-1].seen[-1][0]
    return found


def checkpoint(family: Family = Family.SD1) -> Checkpoint:
    return Checkpoint("one", Path("one.safetensors"), family)


def test_a_clip_from_text(fake: FakeWebUI, modules: Modules, host: WebUIHost) -> None:
    assert isinstance(host, Animator)
    told: list[tuple[int, int]] = []
    made = host.animate(asked(), lambda step, total: told.append((step, total)))
    assert [int(frame.mean()) for frame in made.frames] == list(range(20)) and made.frames[0].shape == (48, 64, 3)
    assert made.seed == 9 and made.infotext.startswith("she smiles") and told[-1] == (3, 3)
    said = given(fake)
    expected = {"video_length": 20, "batch_size": 16, "overlap": 4, "stride": 1, "closed_loop": "N", "fps": 8}
    assert {name: said[name] for name in expected} == expected and said["model"] == "mm_sd15_v3.safetensors"
    used, p = fake.used[-1], fake.pictures[-1]
    assert (used["animatediff_model_path"], used["animatediff_save_to_custom"]) == (str(modules.place), False)
    assert p.do_not_save_samples and not Path(p.outpath_samples).exists()
    assert not hasattr(p, "init_images") and fake.txt2img.other.seen == []
    # nothing of the clip is left for the next picture
    assert not modules.mm_injected and modules.parameters[-1] is None
    assert fake.options.data["animatediff_save_to_custom"] is True


def test_a_short_clip_is_one_batch_of_its_own_length(fake: FakeWebUI, modules: Modules, host: WebUIHost) -> None:
    assert len(host.animate(asked(frames=5)).frames) == 5
    assert (given(fake)["batch_size"], fake.pictures[-1].batch_size) == (5, 5)


def test_a_clip_from_one_picture_and_between_two(fake: FakeWebUI, modules: Modules, host: WebUIHost) -> None:
    first, last = blank(30, 40, gray=60), blank(80, 20, gray=200)
    host.animate(asked(frames=16, image=first, denoising_strength=0.65))
    p = parameters(fake.pictures[-1])
    assert p["init_images"][0].size == (64, 48) and p["denoising_strength"] == 0.65 and p["mask"] is None
    said = given(fake, img2img=True)
    shares = [1 - at / said["latent_scale"] for at in (0, 15)]  # the extension's own sum, for a power of 1
    np.testing.assert_allclose(shares, [1, 0.7])
    assert "last_frame" not in said

    host.animate(asked(frames=16, image=first, last_image=last))
    said = given(fake, img2img=True)
    assert said["last_frame"].size == (64, 48)
    early = np.array([1 - at / said["latent_scale"] for at in range(16)])
    late = np.array([1 - at / said["latent_scale_last"] for at in range(16)])[::-1]
    share = early / (early + late)  # which it makes of the two where they are more than 1 together
    np.testing.assert_allclose(share, np.linspace(3 / 4, 1 / 4, 16))
    assert (early + late > 1).all()


def test_each_frame_has_a_control_of_its_own(
    fake: FakeWebUI, modules: Modules, host: WebUIHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def process(script: ControlNetScript, p: Any, *units: Any) -> None:
        assert units[0].image is None and [unit.enabled for unit in units] == [True, False, False]
        assert [unit.input_mode for unit in units] == [Mode.BATCH, Mode.SIMPLE, Mode.SIMPLE]
        folder = Path(units[0].batch_images)
        seen.extend(int(np.asarray(_open(path)).mean()) for path in sorted(folder.iterdir()))

    def unit(given: dict[str, Any]) -> SimpleNamespace:
        return SimpleNamespace(**given, input_mode=Mode.SIMPLE)

    external = fake.modules["internal_controlnet.external_code"]
    monkeypatch.setattr(external, "to_processing_unit", unit, raising=False)

    monkeypatch.setattr(ControlNetScript, "process", process)
    frames = [[Control(ControlRole.COLOR, np.full((8, 8, 3), 10 * at, np.uint8))] for at in range(4)]
    host.animate(asked(frames=4, frame_controls=frames))
    assert seen == [0, 10, 20, 30]


def _open(path: Path) -> Any:
    with PilImage.open(path) as picture:
        return picture.copy()


def test_what_goes_wrong_in_the_extension_is_said_and_leaves_the_model_as_it_was(
    fake: FakeWebUI, modules: Modules, host: WebUIHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnimateDiffScript, "fault", "Motion module incompatible with SD.")
    with pytest.raises(HostFailed, match="AnimateDiff failed, so no clip was drawn: RuntimeError: Motion module"):
        host.animate(asked())
    assert not modules.mm_injected and modules.restored == 1 and fake.lock.holder is None


def test_a_clip_that_is_interrupted_is_cancelled(fake: FakeWebUI, modules: Modules, host: WebUIHost) -> None:
    fake.before = lambda p: fake.state.interrupt()
    with pytest.raises(Cancelled):
        host.animate(asked())
    assert not modules.mm_injected


def test_fewer_frames_than_asked_for_are_no_clip(fake: FakeWebUI, modules: Modules, host: WebUIHost) -> None:
    fake.txt2img.alwayson_scripts[-1].process = lambda p, *_: None  # type: ignore[method-assign]
    with pytest.raises(HostFailed, match="gave back 1 frames, not 20"):
        host.animate(asked())


def test_which_module_is_taken(fake: FakeWebUI, modules: Modules, host: WebUIHost) -> None:
    own = fake.root / "models" / "AnimateDiff"
    own.mkdir(parents=True)
    assert host.motion_module(checkpoint()).name == "mm_sd15_v3.safetensors"
    (own / "mm_sd_v15_v2.ckpt").write_bytes(b"module")
    assert host.motion_module(checkpoint()) == own / "mm_sd_v15_v2.ckpt"
    assert host.motion_module(checkpoint(), "mm_sd15_v3") == modules.place / "mm_sd15_v3.safetensors"
    host.animate(asked(motion=own / "mm_sd_v15_v2.ckpt"))
    assert fake.used[-1]["animatediff_model_path"] == str(own)
    for family, wanted, words in [
        (Family.SD1, "nothing", "need a motion module like nothing: put it into"),
        (Family.SD1, own / "none.ckpt", "There is no motion module at"),
        (Family.SDXL, None, "SDXL models need a motion module like mm_sdxl_v10_beta"),
        (Family.SD2, None, "There are no motion modules for"),
    ]:
        with pytest.raises(AssetMissing, match=words):
            host.motion_module(checkpoint(family), wanted)


def test_without_the_extension_one_sentence_says_what_to_do(host: WebUIHost) -> None:
    with pytest.raises(AssetMissing, match="This WebUI draws no clips: install the extension sd-webui-animatediff"):
        host.motion_module(checkpoint())
