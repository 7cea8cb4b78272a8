"""The WebUI as a host: see :class:`easyphoto.ports.Host`."""

from __future__ import annotations

import contextlib
import logging
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from easyphoto import checkpoint as checkpoints
from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.hosts.webui import controlnet, generation, loras
from easyphoto.hosts.webui.border import WebUI, installed_version, loaded
from easyphoto.ports import Checkpoint, ControlRole, Img2Img, OnStep, Rendered, Txt2Img

log = logging.getLogger(__name__)

_Stamp = tuple[float, int]


class WebUIHost:
    """Drives the processing of the WebUI that this process is."""

    def __init__(self, webui: WebUI) -> None:
        self._webui = webui
        self._families: dict[Path, tuple[_Stamp, Family | None]] = {}
        self.name = webui.name

    # --- pictures ----------------------------------------------------------------------------------------------------

    def txt2img(self, job: Txt2Img, on_step: OnStep | None = None) -> Rendered:
        return generation.render(self._webui, job, self._family_of(job), on_step)

    def img2img(self, job: Img2Img, on_step: OnStep | None = None) -> Rendered:
        return generation.render(self._webui, job, self._family_of(job), on_step)

    # --- what is there -----------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[Checkpoint]:
        """What the WebUI lists and we can tell the family of: pickled ``.ckpt`` files are left out."""
        found = []
        for info in self._webui.sd_models.checkpoints_list.values():
            path = Path(info.filename)
            family = self._family(path)
            if family is not None:
                found.append(Checkpoint(str(info.name), path, family))
        current = self._current()
        return sorted(found, key=lambda c: current is None or c.path != current)

    def controls(self, family: Family) -> frozenset[ControlRole]:
        found = controlnet.find(self._webui, img2img=True)
        return found.roles(family) if found is not None else frozenset()

    def control_limit(self) -> int | None:
        found = controlnet.find(self._webui, img2img=True)
        return found.slots if found is not None else 0

    def samplers(self) -> list[str]:
        """The WebUI's samplers, and each with the Karras schedule where that is chosen apart."""
        names = list(self._webui.sd_samplers.all_samplers_map)
        if loaded("modules.sd_schedulers") is None:
            return names
        return [*names, *(f"{name} Karras" for name in names)]

    def describe(self) -> Mapping[str, Any]:
        versions = {name: installed_version(name) for name in ("torch", "gradio", "transformers", "numpy")}
        flag = loaded("controlnet_version", "scripts.controlnet_version")
        return {
            "host": self.name,
            "version": self._webui.version,
            "controlnet": getattr(flag, "version_flag", "built in" if self.control_limit() else None),
            "device": str(_devices().device),
            "precision": str(_devices().dtype).removeprefix("torch."),
            "python": platform.python_version(),
            **versions,
        }

    # --- training ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """On a GPU, the model leaves it and comes back afterwards. AUTOMATIC1111 can't generate without it, so there
        other tabs wait until then; Forge loads it by itself when it is needed."""
        if self._webui.on_cpu:
            yield
            return
        models = self._webui.sd_models
        comes_back_by_itself = hasattr(models, "forge_model_reload")
        turn = contextlib.nullcontext() if comes_back_by_itself else self._webui.call_queue.queue_lock
        with turn:
            self._webui.run(self._unload)
            try:
                yield
            finally:
                if hasattr(models, "send_model_to_device") and self._webui.shared.sd_model is not None:
                    models.send_model_to_device(self._webui.shared.sd_model)

    def _unload(self) -> None:
        self._webui.sd_models.unload_model_weights()
        found = controlnet.find(self._webui, img2img=True)
        if found is not None and hasattr(found.script, "clear_control_model_cache"):
            found.script.clear_control_model_cache()
        _devices().torch_gc()

    def refresh_loras(self) -> None:
        loras.refresh(self._webui)

    # --- families ----------------------------------------------------------------------------------------------------

    def _current(self) -> Path | None:
        chosen = self._webui.option("sd_model_checkpoint")
        info = self._webui.sd_models.get_closet_checkpoint_match(chosen) if chosen else None
        return None if info is None else Path(info.filename)

    def _family_of(self, job: Txt2Img) -> Family:
        info = self._webui.sd_models.get_closet_checkpoint_match(job.checkpoint) if job.checkpoint else None
        path = Path(info.filename) if info is not None else self._current()
        family = None if path is None else self._family(path)
        if family is None:
            raise InvalidRequest(f"The base model {job.checkpoint or path} is of a kind that EasyPhoto doesn't know.")
        return family

    def _family(self, path: Path) -> Family | None:
        """The family of a file, None for what isn't a whole Stable Diffusion checkpoint. Reads a file's head once."""
        if path.suffix.lower() != ".safetensors" or not path.is_file():
            return None
        facts = path.stat()
        stamp = (facts.st_mtime, facts.st_size)
        known = self._families.get(path)
        if known is None or known[0] != stamp:
            known = (stamp, _read_family(path))
            self._families[path] = known
        return known[1]


def _read_family(path: Path) -> Family | None:
    try:
        info = checkpoints.inspect(path)
    except InvalidRequest as error:
        log.info("%s is left out: %s", path.name, error)
        return None
    return info.family if info.kind == "checkpoint" else None


def _devices() -> Any:
    from modules import devices

    return devices
