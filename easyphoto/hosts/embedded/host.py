"""The embedded host: a :class:`easyphoto.ports.Host` that runs the parts of diffusers in this process."""

from __future__ import annotations

import importlib.metadata
import logging
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from easyphoto import checkpoint, families, memory
from easyphoto.config import Family, Paths
from easyphoto.errors import AssetMissing, HostFailed
from easyphoto.hosts.embedded import annotators, library, motion_files
from easyphoto.hosts.embedded.device import choose, free_memory, precision
from easyphoto.hosts.infotexts import infotext
from easyphoto.messages import Message
from easyphoto.ports import (
    BrokenModel,
    Checkpoint,
    ClipJob,
    Control,
    ControlRole,
    Identity,
    IdentityKind,
    Image,
    Img2Img,
    OnStep,
    Rendered,
    RenderedClip,
    Txt2Img,
    Vision,
)
from easyphoto.sd import prompt as prompts
from easyphoto.sd.samplers import SAMPLERS

if TYPE_CHECKING:
    import torch

    from easyphoto.hosts.embedded.loaded_models import Models
    from easyphoto.sd.adapter import Cue

log = logging.getLogger(__name__)
_Job = TypeVar("_Job", bound=Txt2Img)

_PACKAGES = ("torch", "diffusers", "transformers")


class EmbeddedHost:
    """Stable Diffusion without a WebUI.

    ``paths`` says where checkpoints, ControlNets, VAEs and LoRAs lie. ``vision`` finds the faces of the openpose maps.
    Where ``device`` or ``dtype`` is None, the host takes what suits the machine. ``budget`` is how many bytes of the
    device's memory it may take; None means all that is free. Where that is too little for everything at once, each part
    of the model is on the device only while it works.

    The host loads nothing before the first picture, and keeps the models until :meth:`training` needs the memory. It
    makes one picture at a time: calls from several threads wait for one another.

    On one machine and with one number of threads, equal jobs give equal pixels. Controls act like those of a WebUI that
    is set to "my prompt is more important".
    """

    name = "embedded"

    def __init__(
        self,
        paths: Paths,
        vision: Vision,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        budget: int | None = None,
    ) -> None:
        self._paths = paths
        self._vision = vision
        self._asked = (device, dtype)
        self._budget = budget
        self._models: Models | None = None
        self._lock = threading.RLock()

    # --- pictures ----------------------------------------------------------------------------------------------------

    def txt2img(self, job: Txt2Img, on_step: OnStep | None = None) -> Rendered:
        return self._render(job, on_step)

    def img2img(self, job: Img2Img, on_step: OnStep | None = None) -> Rendered:
        return self._render(job, on_step)

    def _render(self, job: Txt2Img, on_step: OnStep | None) -> Rendered:
        from easyphoto.sd import adapter, render

        with self._lock, _one_sentence():
            models = self._held()
            chosen = self._checkpoint(job.checkpoint)
            asked = job
            files = self._adapter_files(job, chosen.family)
            job, loras = self._resolve(job, chosen)
            nets = self._control_files(job.controls, chosen.family) | self._placing_nets(job, chosen.family)
            vae = library.find_vae(self._paths, job.vae)
            size = (job.height, job.width)
            maps = [annotators.as_map(c, chosen.family, size, self._vision) for c in job.controls]
            job = replace(job, controls=maps)
            parts = models.parts(chosen, vae)
            cues = self._cues(job, models, files)
            plan = self._plan(chosen.family, size, len(nets), models.idle(nets))
            controlnets = {role: models.controlnet(role, path) for role, path in nets.items()}
            models.place(parts, controlnets.values(), plan)
            models.wear(parts, loras)
            try:
                with adapter.worn(parts.unet, cues):
                    told: dict[str, Any] = {"cues": cues} if cues else {}
                    if isinstance(job, Img2Img):
                        rendered = render.img2img(parts, job, controlnets, on_step, **told)
                    else:
                        rendered = render.txt2img(parts, job, controlnets, on_step, **told)
            except FloatingPointError as error:
                used = {path: controlnets[role] for role, path in nets.items()}
                fault = models.fault(parts, vae, [path for path, _ in loras], used)
                raise HostFailed(fault or _NO_PICTURE) from error
            return replace(rendered, infotext=infotext(asked, job.seed, chosen), notice=plan.notice())

    # --- clips -------------------------------------------------------------------------------------------------------

    def motion_module(self, checkpoint: Checkpoint, wanted: str | Path | None = None) -> Path:
        return motion_files.find(self._paths, checkpoint.family, wanted)

    def animate(self, job: ClipJob, on_step: OnStep | None = None) -> RenderedClip:
        from easyphoto.sd import clip_render

        with self._lock, _one_sentence():
            models = self._held()
            chosen = self._checkpoint(job.checkpoint)
            asked = job
            path = self.motion_module(chosen, job.motion)
            job, loras = self._resolve(job, chosen)
            controls = [*job.controls, *(job.frame_controls[0] if job.frame_controls else ())]
            nets = self._control_files(controls, chosen.family)
            vae = library.find_vae(self._paths, job.vae)
            job = self._mapped(job, chosen.family)
            parts = models.parts(chosen, vae)
            unet = models.moving(parts, path)
            animation = families.spec(chosen.family).animation
            noise = dict(animation.noise) if animation is not None else {}
            moving = replace(parts, unet=unet, scheduler_config={**parts.scheduler_config, **noise})
            plan = self._plan(
                chosen.family, (job.height, job.width), len(nets), models.idle(nets), _clip_need(job, unet)
            )
            controlnets = {role: models.controlnet(role, file) for role, file in nets.items()}
            models.wear(parts, loras)
            try:
                with models.in_motion(parts, unet):
                    models.place(moving, controlnets.values(), plan)
                    frames = clip_render.animate(moving, job, controlnets, on_step)
            except FloatingPointError as error:
                used = {file: controlnets[role] for role, file in nets.items()}
                fault = models.fault(parts, vae, [file for file, _ in loras], used)
                raise HostFailed(fault or _NO_PICTURE) from error
            return RenderedClip(frames, job.seed, infotext(asked, job.seed, chosen), plan.notice())

    def repaint_clip(self, job: ClipJob, on_step: OnStep | None = None) -> RenderedClip:
        return self.animate(job, on_step)

    def _mapped(self, job: ClipJob, family: Family) -> ClipJob:
        """``job`` with the maps of its controls in place of the pictures that they are taken from."""
        size = (job.height, job.width)

        def maps(controls: Sequence[Control]) -> list[Control]:
            return [annotators.as_map(control, family, size, self._vision) for control in controls]

        return replace(job, controls=maps(job.controls), frame_controls=[maps(row) for row in job.frame_controls])

    def _plan(
        self,
        family: Family,
        size: tuple[int, int],
        controls: int,
        idle: int = 0,
        clip: memory.ClipNeed | None = None,
    ) -> memory.RenderPlan:
        """The plan by which a picture of ``size``, which is (height, width), or a clip, will fit into the device's
        memory."""
        device, dtype = choose(*self._asked)
        return memory.plan_rendering(
            family,
            width=size[1],
            height=size[0],
            controls=controls,
            precision=precision(dtype),
            available=free_memory(device) if self._budget is None else self._budget,
            idle=idle,
            clip=clip,
        )

    def _held(self) -> Models:
        if self._models is None:
            from easyphoto.hosts.embedded.loaded_models import Models

            self._models = Models(self._paths, *choose(*self._asked))
        return self._models

    def _checkpoint(self, name: str | None) -> Checkpoint:
        held = self._held().loaded
        if name is None and held is not None and held.path.exists():
            return held
        return library.find_checkpoint(self._paths, name)

    def _resolve(self, job: _Job, chosen: Checkpoint) -> tuple[_Job, list[tuple[Path, float]]]:
        """The job with a seed and with prompts that hold no tags, and all its LoRAs. Each of them is there and belongs
        to the family of the checkpoint."""
        prompt, tags = prompts.split_loras(job.prompt)
        negative, _ = prompts.split_loras(job.negative_prompt)
        loras = [(library.find_lora(self._paths, tag.name), tag.weight) for tag in tags]
        loras += [(ref.path, ref.weight) for ref in job.loras]
        for path, _ in loras:
            checkpoint.require_same_family(path, chosen)
        seed = job.seed if job.seed >= 0 else secrets.randbelow(2**32)
        return replace(job, prompt=prompt, negative_prompt=negative, seed=seed), loras

    def _placing_nets(self, job: Txt2Img, family: Family) -> dict[ControlRole | IdentityKind, Path]:
        """The ControlNets of those identities that hold the face in its place."""
        wanted = {one.kind for one in job.identities if one.placing > 0}
        found = {kind: library.placing_net(self._paths, family, kind) for kind in wanted}
        return {kind: path for kind, path in found.items() if path is not None}

    def _control_files(self, controls: Sequence[Control], family: Family) -> dict[ControlRole | IdentityKind, Path]:
        files: dict[ControlRole | IdentityKind, Path] = {}
        for control in controls:
            path = library.controlnet(self._paths, family, control.role)
            if path is None:
                raise AssetMissing(
                    "There is no {role} ControlNet for {family} checkpoints.",
                    role=control.role.value,
                    family=family.value,
                )
            files[control.role] = path
        return files

    def _adapter_files(self, job: Txt2Img, family: Family) -> list[Path]:
        """The file of the adapter of each identity."""
        found = [library.adapter(self._paths, family, identity.kind) for identity in job.identities]
        missing = {i.kind.value for i, path in zip(job.identities, found, strict=True) if path is None}
        if missing:
            raise AssetMissing("The embedded host has no adapter for {kinds}.", kinds=", ".join(sorted(missing)))
        return [path for path in found if path is not None]

    def _cues(self, job: Txt2Img, models: Models, files: Sequence[Path]) -> list[Cue]:
        """What the adapters are told, in the order of the job's identities."""
        from easyphoto.hosts.embedded import adapters, instant_id

        def see(picture: Image, patches: bool) -> adapters.Seen:
            encoder = library.image_encoder(self._paths)
            if encoder is None:
                raise AssetMissing(
                    "The image encoder of IP-Adapter is missing: `python -m easyphoto models fetch {asset}` gets it "
                    "into models/{folder}.",
                    asset="clip-vit-h",
                    folder=library.IMAGE_ENCODERS,
                )
            return models.see(encoder, picture, patches)

        def cue(identity: Identity, path: Path) -> Cue:
            if identity.kind is IdentityKind.INSTANTID:
                return instant_id.cue(identity, models.adapter(path), self._vision, job)
            return adapters.cue(identity, models.adapter(path), self._vision, see)

        return [cue(identity, path) for identity, path in zip(job.identities, files, strict=True)]

    # --- what it has -------------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[Checkpoint]:
        return library.checkpoints(self._paths)

    def broken_checkpoints(self) -> list[BrokenModel]:
        return library.broken_checkpoints(self._paths)

    def controls(self, family: Family) -> frozenset[ControlRole]:
        return frozenset(r for r in ControlRole if library.controlnet(self._paths, family, r) is not None)

    def identities(self, family: Family) -> Mapping[IdentityKind, int]:
        return {kind: 1 for kind in IdentityKind if library.adapter(self._paths, family, kind) is not None}

    def adapter_files(self, family: Family, kind: IdentityKind) -> Sequence[Path | str]:
        found = library.adapter(self._paths, family, kind), library.placing_net(self._paths, family, kind)
        return [] if found[0] is None else [path for path in found if path is not None]

    def samplers(self) -> list[str]:
        return list(SAMPLERS)

    def control_limit(self) -> int | None:
        return None

    @contextmanager
    def training(self) -> Iterator[None]:
        """A context that lets go of all models. A picture that is asked for meanwhile waits until the training is
        over."""
        with self._lock:
            if self._models is not None:
                self._models.release()
            yield

    def refresh_loras(self) -> None:
        """There is nothing to do: the host looks for a LoRA's file whenever a picture asks for it."""

    def describe(self) -> Mapping[str, Any]:
        import torch

        device, dtype = choose(*self._asked)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        versions = {package: importlib.metadata.version(package) for package in _PACKAGES}
        threads = {"threads": torch.get_num_threads()} if device.type == "cpu" else {}
        return {
            "host": self.name,
            "device": name,
            "precision": str(dtype).removeprefix("torch."),
            **threads,
            **self._memory_plan(),
            **versions,
        }

    def _memory_plan(self) -> dict[str, str]:
        """The sentence of the memory plan for the checkpoint that is in use, at the size of its family and with as many
        controls as the chain takes."""
        try:
            chosen = self._checkpoint(None)
        except AssetMissing:
            return {}
        side = families.spec(chosen.family).train_config().resolution
        return {"memory": self._plan(chosen.family, (side, side), _CONTROLS).sentence()}


def _clip_need(job: ClipJob, unet: Any) -> memory.ClipNeed:
    """What drawing ``job`` with ``unet`` needs more than a picture does."""
    layers = sum(weight.numel() for name, weight in unet.named_parameters() if "motion_modules" in name)
    return memory.ClipNeed(frames=min(job.frames, job.context), motion=layers)


_CONTROLS = 3


@contextmanager
def _one_sentence() -> Iterator[None]:
    """A context that turns what the libraries of the engine raise into one sentence, which tells the user what to
    do."""
    import torch

    try:
        yield
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        raise HostFailed(_OUT_OF_MEMORY) from error
    except RuntimeError as error:
        if "allocate memory" in str(error):
            raise HostFailed(_OUT_OF_MEMORY) from error
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise HostFailed("The engine failed: {first}", first=first) from error


_NO_PICTURE = Message(
    "The model made numbers that are no picture, though no file holds broken ones: lower "
    "the weights of LoRAs and controls, or try another checkpoint."
)
_OUT_OF_MEMORY = Message("The picture needs more memory than there is; choose a smaller size or close other programs.")
