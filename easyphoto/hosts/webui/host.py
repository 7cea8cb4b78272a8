"""The WebUI as a :class:`easyphoto.ports.Host`."""

from __future__ import annotations

import contextlib
import logging
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from easyphoto import checkpoint as checkpoints
from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.hosts.webui import animatediff, base_models, controlnet, generation, loras
from easyphoto.hosts.webui.border import WebUI, installed_version, loaded
from easyphoto.messages import Message
from easyphoto.ports import (
    BrokenModel,
    Checkpoint,
    ClipJob,
    ControlRole,
    IdentityKind,
    Img2Img,
    OnStep,
    Rendered,
    RenderedClip,
    Txt2Img,
    Vision,
)
from easyphoto.vision.face_on_white import largest_on_white

log = logging.getLogger(__name__)

_Stamp = tuple[float, int]


class WebUIHost:
    """Makes pictures by the processing of the WebUI in whose process EasyPhoto runs. ``vision`` prepares the pictures
    that an IP-Adapter is shown; without it, they are shown as they are."""

    def __init__(self, webui: WebUI, vision: Vision | None = None) -> None:
        self._webui = webui
        self._vision = vision
        self._looked: dict[Path, tuple[_Stamp, Family | str]] = {}
        self.name = webui.name

    # --- pictures ----------------------------------------------------------------------------------------------------

    def txt2img(self, job: Txt2Img, on_step: OnStep | None = None) -> Rendered:
        return generation.render(self._webui, self._prepared(job), self._family_of(job), on_step)

    def img2img(self, job: Img2Img, on_step: OnStep | None = None) -> Rendered:
        return generation.render(self._webui, self._prepared(job), self._family_of(job), on_step)

    def _prepared(self, job: Txt2Img) -> Txt2Img:
        """The job in which IP-Adapters are shown the face alone, on white. A unit takes the first picture only, and
        InstantID sees the whole picture."""
        vision = self._vision
        if vision is None or not job.identities:
            return job
        return replace(
            job,
            identities=[
                replace(one, pictures=(largest_on_white(one.pictures[0], vision),))
                if one.kind is IdentityKind.IP_ADAPTER_FACE
                else one
                for one in job.identities
            ],
        )

    # --- clips -------------------------------------------------------------------------------------------------------

    def motion_module(self, checkpoint: Checkpoint, wanted: str | Path | None = None) -> Path:
        return animatediff.motion_module(self._webui, checkpoint.family, wanted)

    def animate(self, job: ClipJob, on_step: OnStep | None = None) -> RenderedClip:
        return animatediff.animate(self._webui, job, self._family_of(job), on_step)

    # --- what is there -----------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[Checkpoint]:
        """The base models that the WebUI lists and whose family is known. The others are in
        :meth:`broken_checkpoints`."""
        found = []
        for entry in base_models.listed(self._webui):
            path = Path(entry.value.filename)
            family = self._look(path)
            if isinstance(family, Family):
                found.append(Checkpoint(entry.name, path, family, entry.aliases))
        current = self._current()
        return sorted(found, key=lambda c: current is None or c.path != current)

    def broken_checkpoints(self) -> list[BrokenModel]:
        """The base models that the WebUI lists and EasyPhoto can't use, each with the reason."""
        looked = [(entry.name, self._look(Path(entry.value.filename))) for entry in base_models.listed(self._webui)]
        return [BrokenModel(name, reason) for name, reason in looked if not isinstance(reason, Family)]

    def controls(self, family: Family) -> frozenset[ControlRole]:
        found = controlnet.find(self._webui, img2img=True)
        return found.roles(family) if found is not None else frozenset()

    def identities(self, family: Family) -> Mapping[IdentityKind, int]:
        found = controlnet.find(self._webui, img2img=True)
        return found.identities(family) if found is not None else {}

    def adapter_files(self, family: Family, kind: IdentityKind) -> Sequence[Path | str]:
        found = controlnet.find(self._webui, img2img=True)
        return found.names_serving(family, kind) if found is not None else []

    def control_limit(self) -> int | None:
        found = controlnet.find(self._webui, img2img=True)
        return found.slots if found is not None else 0

    def samplers(self) -> list[str]:
        """The WebUI's samplers. Where the schedule is a choice of its own, each is listed with the Karras schedule
        too."""
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
        """A context in which the model is not on the GPU; it comes back afterwards. A host that doesn't load it by
        itself when it is needed can't make pictures without it, so its other tabs wait until then."""
        if self._webui.on_cpu:
            yield
            return
        models, back = self._webui.sd_models, self._webui.dialect.takes_back
        turn = contextlib.nullcontext() if back is None else self._webui.call_queue.queue_lock
        with turn:
            self._webui.run(self._unload)
            try:
                yield
            finally:
                if back is not None and hasattr(models, back) and self._webui.shared.sd_model is not None:
                    getattr(models, back)(self._webui.shared.sd_model)

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
        """The file of the base model that the WebUI takes when nobody names one."""
        info = base_models.current(self._webui)
        return None if info is None else Path(info.filename)

    def _family_of(self, job: Txt2Img) -> Family:
        path = Path(base_models.find(self._webui, job.checkpoint).filename) if job.checkpoint else self._current()
        family = Message("no base model is chosen") if path is None else self._look(path)
        if not isinstance(family, Family):
            raise InvalidRequest(
                "The base model {checkpoint} can't be used: {family}", checkpoint=job.checkpoint or path, family=family
            )
        return family

    def _look(self, path: Path) -> Family | str:
        """The family of a file, or the reason why it is no checkpoint that can be used. The header of a file is read
        once for as long as the file stays the same."""
        try:
            facts = path.stat()
        except OSError:
            return Message("There is no file {path}.", path=path.name)
        stamp = (facts.st_mtime, facts.st_size)
        known = self._looked.get(path)
        if known is None or known[0] != stamp:
            known = (stamp, _family_or_reason(path))
            self._looked[path] = known
        return known[1]


def _family_or_reason(path: Path) -> Family | str:
    try:
        info = checkpoints.inspect(path)
    except InvalidRequest as error:
        log.info("%s is left out: %s", path.name, error)
        return error.message
    return (
        info.family
        if info.kind == "checkpoint"
        else Message("{path} is {kind}, not a checkpoint.", path=path.name, kind=checkpoints.A[info.kind])
    )


def _devices() -> Any:
    from modules import devices

    return devices
