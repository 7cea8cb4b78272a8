"""A WebUI that costs nothing and behaves like AUTOMATIC1111 or Forge where it matters to an extension.

It is strict where the real ones are, and keeps their traps: what a script raises is swallowed, a LoRA that is missing
is passed over, Forge's main loop drops exceptions, options are put back after a picture, and detected maps lie among
the pictures. A base model is looked up by any part of its title, and of two LoRAs of one name the last one counts.
"""

from __future__ import annotations

import base64
import io
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from easyphoto.errors import EasyPhotoError
from easyphoto.storage.headers import read_header

CONTROL_MODELS = (
    "control_sd15_random_color [0a1b2c3d]",
    "control_v11f1e_sd15_tile [0a1b2c3d]",
    "control_v11p_sd15_canny_fp16 [0a1b2c3d]",
    "control_v11p_sd15_openpose [0a1b2c3d]",
)
A1111, FORGE, REFORGE, NEO = "AUTOMATIC1111", "Forge", "reForge", "Forge Neo"
PROMPT_FIRST = {REFORGE: "Prefer Prompt"}
"""What the mode "My prompt is more important" is called where it has another name."""
VERSIONS = {NEO: "neo"}


class Options:
    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.labels: dict[str, Any] = {}

    def add_option(self, key: str, info: Any) -> None:
        self.labels[key] = info
        self.data.setdefault(key, info.default)


class OptionInfo:
    def __init__(self, default: Any = None, label: str = "", section: tuple[str, str] | None = None) -> None:
        self.default, self.label, self.section = default, label, section

    def info(self, text: str) -> OptionInfo:
        self.explanation = text
        return self


class State:
    def __init__(self) -> None:
        self.job, self.begun, self.ended = "", 0, 0
        self.interrupted = self.skipped = self.stopping_generation = False
        self.sampling_step, self.sampling_steps = 20, 20  # left over from the last picture
        self.previews = True
        self.period = 10
        self.current_image: Any = None
        self.current_image_sampling_step = 0

    def begin(self, job: str = "") -> None:
        self.job, self.interrupted, self.skipped, self.stopping_generation = job, False, False, False
        self.current_image = None
        self.current_image_sampling_step = 0
        self.begun += 1

    def set_current_image(self) -> None:
        """As in A1111: it makes a preview when it is asked, unless the user's settings say no or too few steps have
        passed since the last one."""
        if self.previews and self.sampling_step - self.current_image_sampling_step >= self.period:
            self.current_image_sampling_step = self.sampling_step
            self.current_image = PilImage.new("RGBA", (32, 24), (self.sampling_step % 256, 0, 0, 255))

    def end(self) -> None:
        self.job = ""
        self.ended += 1

    def interrupt(self) -> None:
        self.interrupted = True


class Lock:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.holder: threading.Thread | None = None

    def __enter__(self) -> None:
        self._lock.acquire()
        self.holder = threading.current_thread()

    def __exit__(self, *_: object) -> None:
        self.holder = None
        self._lock.release()


class Script:
    """An always-on script; ``seen`` keeps the arguments of each picture."""

    def __init__(self, title: str, start: int, end: int) -> None:
        self._title, self.args_from, self.args_to = title, start, end
        self.seen: list[tuple[Any, ...]] = []

    def title(self) -> str:
        return self._title

    def process(self, p: Any, *args: Any) -> None:
        self.seen.append(args)


class ControlNetScript(Script):
    """Decodes its units as both dialects do; ``broken`` names a role's model that fails while it runs."""

    broken = ""
    cleared = 0

    def __init__(self, dialect: str, start: int, end: int, models: Sequence[str] = CONTROL_MODELS) -> None:
        super().__init__("ControlNet", start, end)
        self.dialect, self.models, self.mode = dialect, models, modes(dialect)
        self.pictures: list[list[tuple[str, str, float, np.ndarray[Any, Any]]]] = []

    def clear_control_model_cache(self) -> None:
        type(self).cleared += 1

    def process(self, p: Any, *args: Any) -> None:
        super().process(p, *args)
        units = [unit for unit in args if unit["enabled"]]
        assert len(args) == self.args_to - self.args_from
        applied: list[tuple[str, str, float, np.ndarray[Any, Any]]] = []
        p.infotext += "".join(f", ControlNet: {unit['model']}" for unit in units)
        for unit in units:
            known = preprocessors(self.dialect)
            if unit["module"] not in known:
                raise ValueError(f"module({unit['module']}) not found in supported modules.")
            if unit["model"] not in self.models:
                raise ValueError(f"model {unit['model']} not found")
            assert unit["control_mode"] == self.mode.PROMPT.value
            _check_adapter(unit["module"].lower(), unit["model"], [model for _, model, _, _ in applied])
            if self.broken and self.broken in unit["model"]:
                raise RuntimeError("Sizes of tensors must match")
            picture = np.array(PilImage.open(io.BytesIO(base64.b64decode(unit["image"]))))
            applied.append((unit["module"], unit["model"].split(" [")[0], unit["weight"], picture))
            p.maps.append(PilImage.fromarray(picture))
        self.pictures.append(applied)


def _check_adapter(module: str, model: str, before: list[str]) -> None:
    """What the extension needs of its adapters: "auto" takes the preprocessor by the model's published name, each model
    of InstantID its own, and InstantID's ControlNet uses what its adapter saw, in a unit before it."""
    if module == "ip-adapter-auto" and not re.match(r"ip-adapter[-_](plus|full|faceid|clip|instant)", model):
        raise ValueError(f"Cannot find preset for {model}.")
    if model.startswith("ip-adapter_instant_id"):
        assert module in ("instant_id_face_embedding", "insightface (instantid)")
    if model.startswith("control_instant_id"):
        assert module == "instant_id_face_keypoints"
        if not any(name.startswith("ip-adapter_instant_id") for name in before):
            raise RuntimeError("InstantID's ControlNet has no projected embedding of its adapter")


def _alias(file: Path) -> str:
    """What a LoRA calls itself in its metadata, else its file's name."""
    try:
        metadata = read_header(file).metadata
    except EasyPhotoError:
        return file.stem
    return metadata.get("ss_output_name", file.stem)


def preprocessors(dialect: str) -> tuple[str, ...]:
    if dialect == A1111:
        instantid = ("instant_id_face_keypoints", "instant_id_face_embedding")
        return ("none", "canny", "openpose", "openpose_full", "ip-adapter-auto", *instantid)
    instantid = ("InsightFace (InstantID)", "instant_id_face_keypoints")
    return ("None", "canny", "openpose_full", "CLIP-ViT-H (IPAdapter)", *instantid)


def modes(dialect: str) -> Any:
    words = {"BALANCED": "Balanced", "PROMPT": PROMPT_FIRST.get(dialect, "My prompt is more important")}
    return Enum("ControlMode", words)


class Runner:
    def __init__(self, dialect: str, slots: int, models: Sequence[str]) -> None:
        self.controlnet = ControlNetScript(dialect, 3, 3 + slots, models)
        self.other = Script("ADetailer", 1, 3)
        self.alwayson_scripts: list[Script] = [self.other, self.controlnet]
        self.selectable_scripts: list[Script] = [Script("X/Y/Z plot", 3 + slots, 4 + slots)]
        self.callback_map: dict[str, Any] = {"script_process": (2, list(self.alwayson_scripts))}
        self.inputs = [None, *(SimpleNamespace(value=v) for v in (True, "face_yolov8n", *([None] * slots), 7))]

    def process(self, p: Any) -> None:
        cached = self.callback_map.get("script_process")
        scripts = cached[1] if cached and cached[0] == len(self.alwayson_scripts) else self.alwayson_scripts
        for script in scripts:
            try:
                script.process(p, *p.script_args[script.args_from : script.args_to])
            except Exception as error:  # noqa: BLE001 - as the real ones do
                print("*** Error running process:", error)


@dataclass
class Txt2ImgProcessing:
    sd_model: Any = None
    outpath_samples: Any = None
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = -1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    batch_size: int = 1
    n_iter: int = 1
    sampler_name: str | None = None
    scheduler: str | None = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    override_settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.is_api = False
        self.closed = False
        self.comments: dict[str, int] = {}
        self.maps: list[Any] = []
        self.infotext = ""
        self._scripts: Any = None

    @property
    def scripts(self) -> Any:
        return self._scripts

    @scripts.setter
    def scripts(self, runner: Any) -> None:
        if not self.is_api:
            self.sampler_name, self.steps, self.seed = "Euler", 20, -1
        self._scripts = runner

    def close(self) -> None:
        self.closed = True


@dataclass
class Img2ImgProcessing(Txt2ImgProcessing):
    init_images: list[Any] = field(default_factory=list)
    resize_mode: int = 0
    denoising_strength: float = 0.75
    mask: Any = None
    mask_blur: int = 4
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpainting_mask_invert: int = 0


@dataclass
class CheckpointInfo:
    """``name``: the path below ``folder``, with the separator of the system that the host runs on."""

    filename: str
    folder: str = ""
    separator: str = "/"
    shorthash: str = "abcdef0123"

    @property
    def name(self) -> str:
        path = Path(self.filename)
        parts = path.relative_to(self.folder).parts if self.folder else (path.name,)
        return self.separator.join(parts)

    @property
    def title(self) -> str:
        return f"{self.name} [{self.shorthash}]"


class FakeWebUI:
    """``install`` puts the modules where an extension would find them. ``before`` runs inside each picture."""

    def __init__(
        self, dialect: str, root: Path, *, slots: int = 3, device: str = "cpu", models: Sequence[str] = CONTROL_MODELS
    ) -> None:
        self.dialect, self.root, self.device, self.control_models = dialect, root, device, models
        self.state, self.lock = State(), Lock()
        options = {"sd_model_checkpoint": "one.safetensors [abcdef0123]", "sd_vae": "Automatic"}
        options |= {
            "control_net_unit_count": slots,
            "img2img_color_correction": True,
            "control_net_no_detectmap": False,
        }
        if dialect in (FORGE, NEO):
            options["forge_additional_modules"] = []
        if dialect == NEO:
            options["forge_model_mode"] = "local"
        self.options = Options(options)
        self.txt2img, self.img2img = Runner(dialect, slots, models), Runner(dialect, slots, models)
        self.pictures: list[Any] = []
        self.used: list[dict[str, Any]] = []
        self.threads: list[str] = []
        self.before: Callable[[Any], None] = lambda p: None
        self.paint: Callable[[Any], Any] = lambda p: np.full((p.height, p.width, 3), 200, np.uint8)
        self.moves: list[str] = []
        self.callbacks: dict[str, Any] = {}
        self.checkpoints = [CheckpointInfo(str(root / "models" / f"{n}.safetensors")) for n in ("one", "two")]
        self.networks = self._networks()
        self.modules = self._modules()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeWebUI:
        import sys

        for name, module in self.modules.items():
            monkeypatch.setitem(sys.modules, name, module)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(self.modules[parent], child, module)
        return self

    # --- modules -----------------------------------------------------------------------------------------------------

    def _modules(self) -> dict[str, ModuleType]:
        models = SimpleNamespace(sd_model=object())
        found: dict[str, dict[str, Any]] = {
            "modules": {},
            "modules.shared": {
                "opts": self.options,
                "OptionInfo": OptionInfo,
                "state": self.state,
                "sd_model": models.sd_model,
                "total_tqdm": SimpleNamespace(clear=lambda: None),
                "cmd_opts": SimpleNamespace(lora_dir=str(self.root / "models" / "Lora"), api=True, api_auth=None),
            },
            "modules.processing": {
                "StableDiffusionProcessingTxt2Img": Txt2ImgProcessing,
                "StableDiffusionProcessingImg2Img": Img2ImgProcessing,
                "process_images": self.process_images,
            },
            "modules.scripts": {"scripts_txt2img": self.txt2img, "scripts_img2img": self.img2img},
            "modules.sd_models": {
                "checkpoints_list": {c.title: c for c in self.checkpoints},
                "get_closet_checkpoint_match": self._match,
                "unload_model_weights": lambda: self.moves.append("unloaded"),
                "model_data": models,
            },
            "modules.sd_samplers": {"all_samplers_map": {"DPM++ 2M SDE": 1, "Euler a": 1, "Euler": 1}},
            "modules.sd_schedulers": {
                "schedulers": [SimpleNamespace(label=label) for label in ("Automatic", "Karras", "SGM Uniform")]
            },
            "modules.sd_vae": {"vae_dict": {"good.vae.safetensors": str(self.root / "good.vae.safetensors")}},
            "modules.call_queue": {"queue_lock": self.lock},
            "modules.paths": {
                "script_path": str(self.root),
                "data_path": str(self.root),
                "models_path": str(self.root / "models"),
            },
            "modules.devices": {"device": self.device, "dtype": "torch.float16", "torch_gc": lambda: None},
            "modules.launch_utils": {"git_tag": lambda: VERSIONS.get(self.dialect, "v1.10.1")},
            "modules.script_callbacks": {
                f"on_{name}": lambda f, n=name: self.callbacks.__setitem__(n, f)
                for name in ("ui_settings", "ui_tabs", "app_started")
            },
            "networks": self.networks,
        }
        if self.dialect == A1111:
            found["modules.sd_models"]["send_model_to_device"] = lambda model: self.moves.append("loaded")
            found["internal_controlnet"] = {}
            found["internal_controlnet.external_code"] = {
                "ControlMode": modes(A1111),
                "get_models": lambda: list(self.control_models),
                "get_modules": lambda: list(preprocessors(A1111)),
            }
        else:
            models.sd_model = SimpleNamespace(current_lora_hash="[['a.safetensors', 1]]")
            found["modules_forge"] = {}
            found["modules_forge.main_thread"] = {"run_and_wait_result": self._on_main_loop}
            if self.dialect == REFORGE:
                found["modules.sd_models"]["send_model_to_device"] = lambda model: None
                found["modules.sd_models"]["load_model_to_device"] = lambda model: self.moves.append("loaded")
            else:
                found["modules.sd_models"]["forge_model_reload"] = lambda: None
                vaes = {"good.vae.safetensors": "/vae/good.vae.safetensors"}
                found["modules_forge.main_entry"] = {"module_list": vaes}
            found["lib_controlnet"] = {}
            found["lib_controlnet.external_code"] = {"ControlMode": modes(self.dialect)}
            found["lib_controlnet.global_state"] = {
                "get_all_controlnet_names": lambda: ["None", *self.control_models],
                "get_sorted_preprocessors": lambda: dict.fromkeys(preprocessors(FORGE)),
            }
        result = {}
        for name, contents in found.items():
            result[name] = ModuleType(name)
            vars(result[name]).update(contents)
        return result

    def add_checkpoint(self, name: str, *, separator: str = "/", shorthash: str = "abcdef0123") -> CheckpointInfo:
        """List the file ``models/NAME``, which may not be there."""
        models = self.root / "models"
        info = CheckpointInfo(str(models / name), str(models), separator, shorthash)
        self.checkpoints.append(info)
        self.modules["modules.sd_models"].checkpoints_list[info.title] = info
        return info

    def _match(self, wanted: str) -> CheckpointInfo | None:
        """As the real ones do: a name that is known, else the shortest title that holds the text."""
        known = self.modules["modules.sd_models"].checkpoints_list.values()
        exact = [c for c in known if wanted in (c.title, c.name, c.shorthash, Path(c.name).stem)]
        if exact:
            return exact[-1]
        for text in (wanted, re.sub(r"\s*\[[^]]+]\s*$", "", wanted)):
            found = sorted((c for c in known if text in c.title), key=lambda c: len(c.title))
            if found:
                return found[0]
        return None

    def _networks(self) -> dict[str, Any]:
        table: dict[str, Any] = {}
        aliases: dict[str, Any] = {}
        forbidden: dict[str, int] = {}
        folder = self.root / "models" / "Lora"
        loaded: list[Any] = []

        def look() -> None:
            self.moves.append("looked for LoRAs")
            for known in (table, aliases, forbidden):
                known.clear()
            for file in sorted(folder.glob("**/*.safetensors")):
                entry = SimpleNamespace(name=file.stem, filename=str(file), alias=_alias(file))
                table[entry.name] = entry
                if entry.alias in aliases:
                    forbidden[entry.alias.lower()] = 1
                aliases[entry.name] = aliases[entry.alias] = entry

        def cached(name: str) -> None: ...

        cached.cache_clear = lambda: self.moves.append("forgot LoRAs")  # type: ignore[attr-defined]
        more = {"load_lora_state_dict": cached} if self.dialect in (FORGE, REFORGE) else {}
        return {
            "available_networks": table,
            "available_network_aliases": aliases,
            "forbidden_network_aliases": forbidden,
            "loaded_networks": loaded,
            "list_available_networks": look,
            **more,
        }

    # --- what it does ------------------------------------------------------------------------------------------------

    def process_images(self, p: Any) -> Any:
        assert self.lock.holder is not None, "generating outside the queue"
        assert self.state.job, "generating outside of begin and end"
        assert not p.closed
        self.threads.append(threading.current_thread().name)
        stored = {k: self.options.data[k] for k in p.override_settings if k in self.options.data}
        try:
            self.options.data.update(p.override_settings)
            self.used.append(dict(self.options.data))
            self.before(p)
            if self.dialect == NEO:
                p.width, p.height = (max((side + 32) // 64 * 64, 64) for side in (p.width, p.height))
            p.scripts.process(p)
            self._apply_loras(p)
            self._sample(p)
        finally:
            self.options.data.update(stored)
        self.pictures.append(p)
        made = [PilImage.fromarray(self.paint(p)) for _ in range(p.batch_size)]
        grid = [] if p.do_not_save_grid else [PilImage.new("RGB", (9, 9))]
        maps = [] if self.used[-1].get("control_net_no_detectmap") else p.maps
        return SimpleNamespace(
            images=[*grid, *made, *maps],
            index_of_first_image=len(grid),
            all_seeds=[p.seed],
            infotexts=[f"{p.prompt}\nSteps: {p.steps}{p.infotext}"],
        )

    def _apply_loras(self, p: Any) -> None:
        self.networks["loaded_networks"].clear()
        for name in re.findall(r"<lora:([^:>]+):", p.prompt):
            forbidden = name.lower() in self.networks["forbidden_network_aliases"]
            entry = self.networks["available_networks" if forbidden else "available_network_aliases"].get(name)
            if entry is not None and Path(entry.filename).read_bytes() != b"broken":
                self.networks["loaded_networks"].append(SimpleNamespace(name=name, mentioned_name=name))

    def _sample(self, p: Any) -> None:
        self.state.sampling_steps = p.steps
        for step in range(p.steps):
            if self.state.interrupted:
                return
            self.state.sampling_step = step + 1
            threading.Event().wait(0.005)

    def _on_main_loop(self, work: Callable[[], Any]) -> Any:
        result: list[Any] = []

        def loop() -> None:
            try:
                result.append(work())
            except Exception as error:  # noqa: BLE001 - as the real one does
                print("the main loop swallows", error)

        thread = threading.Thread(target=loop, name="forge-main")
        thread.start()
        thread.join()
        return result[0] if result else None


def parameters(p: Any) -> dict[str, Any]:
    """What a picture was asked for, without what is the host's own."""
    return {f.name: getattr(p, f.name) for f in fields(p) if f.name not in ("sd_model", "outpath_samples")}
