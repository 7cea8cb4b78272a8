"""ComfyUI as a :class:`easyphoto.ports.Host`."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from easyphoto import checkpoint
from easyphoto.config import Family, Paths
from easyphoto.errors import AssetMissing, HostFailed
from easyphoto.hosts.comfyui import following, graph, sampler_names
from easyphoto.hosts.comfyui.address import Address
from easyphoto.hosts.comfyui.client import ComfyPicture, ComfyUIClient
from easyphoto.hosts.comfyui.model_shelf import ModelShelf
from easyphoto.hosts.embedded import annotators
from easyphoto.hosts.infotexts import infotext
from easyphoto.messages import Message, joined
from easyphoto.ports import (
    BrokenModel,
    Checkpoint,
    ControlRole,
    IdentityKind,
    Image,
    Img2Img,
    OnStep,
    Rendered,
    Txt2Img,
    Vision,
)
from easyphoto.sd import prompt as prompts
from easyphoto.sd.pasting import blur, fitted, paste

log = logging.getLogger(__name__)

_SAMPLER_NODE = "KSamplerAdvanced"
_BLANK = np.zeros((1, 1, 3), np.uint8)


class ComfyUIHost:
    """Makes pictures in a running ComfyUI.

    ``paths`` says where the LoRAs of this program lie. ``vision`` finds the faces of the openpose maps; all maps are
    drawn here. ``root`` is ComfyUI's folder as this machine sees it, None where the paths that ComfyUI gives are right.

    The pictures of a job lie in ComfyUI's temporary folder while it works on them. When the job is over, each of them
    is overwritten with a single black pixel, and the prompt leaves ComfyUI's history. One picture is made at a time.
    """

    name = "comfyui"

    def __init__(self, address: Address, paths: Paths, vision: Vision, root: Path | None = None) -> None:
        self._client = ComfyUIClient(address)
        self._paths = paths
        self._vision = vision
        self._shelf = ModelShelf(self._client, root)
        self._lock = threading.RLock()
        self._nodes: dict[str, Mapping[str, Any]] = {}
        self._folder = f"easyphoto-{uuid.uuid4().hex[:12]}"

    def require(self) -> None:
        """Raise :class:`HostFailed` with one sentence unless a ComfyUI answers."""
        self._client.stats()

    # --- pictures ----------------------------------------------------------------------------------------------------

    def txt2img(self, job: Txt2Img, on_step: OnStep | None = None) -> Rendered:
        return self._render(job, on_step)

    def img2img(self, job: Img2Img, on_step: OnStep | None = None) -> Rendered:
        return self._render(job, on_step)

    def _render(self, job: Txt2Img, on_step: OnStep | None) -> Rendered:
        with self._lock:
            asked, chosen = job, self._shelf.find(job.checkpoint)
            if job.identities:
                raise AssetMissing(
                    "ComfyUI has no adapter for {kinds}.", kinds=", ".join(sorted(i.kind.value for i in job.identities))
                )
            job, tagged = self._resolved(job)
            sampler = sampler_names.named(job.sampler, *self._sampling_choices())
            files = self._files(job, chosen, tagged)
            pictures, blurred = self._pictures(job, chosen.family)
            names = graph.NamedPictures(
                **{name: self._stored(name).annotated for name in ("image", "mask") if name in pictures},
                controls=[self._stored(f"control{n}").annotated for n in range(len(job.controls))],
            )
            soft = bool(job.controls) and self._has(graph.SOFT)
            made = graph.of(job, sampler, files, names, soft=soft, run=uuid.uuid4().hex)
            self._require_nodes(graph.kinds(made))
            image, behind = self._made(made, pictures, graph.steps_to_run(job), on_step)
            if image.shape[:2] != (job.height, job.width):
                got, wanted = f"{image.shape[1]} x {image.shape[0]}", f"{job.width} x {job.height}"
                raise HostFailed("ComfyUI gave back a picture of {got} pixels, not {wanted}.", got=got, wanted=wanted)
            if blurred is not None:
                image = paste(pictures["image"], image, blurred)
            return Rendered(image, job.seed, infotext(asked, job.seed, chosen), _notice(job, behind, soft=soft))

    def _resolved(self, job: Txt2Img) -> tuple[Txt2Img, list[prompts.LoraTag]]:
        """The job with a seed and with prompts that hold no tags, and the tags of its prompt."""
        prompt, tags = prompts.split_loras(job.prompt)
        negative, _ = prompts.split_loras(job.negative_prompt)
        seed = job.seed if job.seed >= 0 else secrets.randbelow(2**32)
        return replace(job, prompt=prompt, negative_prompt=negative, seed=seed), tags

    def _files(self, job: Txt2Img, chosen: Checkpoint, tagged: Sequence[prompts.LoraTag]) -> graph.NamedFiles:
        """ComfyUI's names of all models of the job. Each of them is there."""
        loras = [(self._shelf.tagged_lora(tag.name), tag.weight) for tag in tagged]
        for ref in job.loras:
            checkpoint.require_same_family(ref.path, chosen)
            loras.append((self._shelf.place_lora(ref.path, self._paths.loras), ref.weight))
        nets = [(control.role, self._shelf.controlnet(chosen.family, control.role)) for control in job.controls]
        missing = sorted({role.value for role, net in nets if net is None})
        if missing:
            raise AssetMissing(
                "ComfyUI has no {roles} ControlNet for {family} checkpoints: put it into its folder models/controlnet.",
                roles=", ".join(missing),
                family=chosen.family.value,
            )
        return graph.NamedFiles(
            self._shelf.checkpoint_name(chosen),
            self._shelf.vae(job.vae),
            loras,
            [net for _, net in nets if net is not None],
        )

    def _pictures(self, job: Txt2Img, family: Family) -> tuple[dict[str, Image], Any]:
        """The pictures that the nodes of a job load, by their names, and the blurred mask where there is one."""
        size = (job.height, job.width)
        maps = [annotators.as_map(control, family, size, self._vision).image for control in job.controls]
        pictures = {f"control{number}": picture for number, picture in enumerate(maps)}
        if not isinstance(job, Img2Img):
            return pictures, None
        pictures["image"] = fitted(job.image, job.width, job.height)
        if job.mask is None:
            return pictures, None
        blurred = blur(fitted(job.mask, job.width, job.height), job.mask_blur)
        pictures["mask"] = graph.cells(blurred)
        return pictures, blurred

    def _made(
        self, made: graph.Graph, pictures: Mapping[str, Image], steps: int, on_step: OnStep | None
    ) -> tuple[Image, int]:
        """The picture of a graph, and how many prompts of others came first. Nothing that can be seen of it stays."""
        stored = [self._stored(name) for name in pictures]
        try:
            for name, picture in pictures.items():
                self._client.upload(self._stored(name), _png(picture))
            found = following.run(self._client, made, steps, on_step)
            stored.append(found.picture)
            return _read(self._client.view(found.picture)), found.behind
        finally:
            self._wipe(stored)

    def _wipe(self, stored: Sequence[ComfyPicture]) -> None:
        blank = _png(_BLANK)
        for picture in stored:
            try:
                self._client.upload(picture, blank)
            except HostFailed as error:
                log.warning("a picture stays in ComfyUI's temporary folder until it starts again: %s", error)
                return

    def _stored(self, name: str) -> ComfyPicture:
        return ComfyPicture(f"{name}.png", self._folder, "temp")

    # --- what it has -------------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[Checkpoint]:
        return self._shelf.checkpoints()

    def broken_checkpoints(self) -> list[BrokenModel]:
        return self._shelf.broken()

    def controls(self, family: Family) -> frozenset[ControlRole]:
        return frozenset(role for role in ControlRole if self._shelf.controlnet(family, role) is not None)

    def identities(self, family: Family) -> Mapping[IdentityKind, int]:
        """None: ComfyUI itself has no adapters for identities."""
        return {}

    def samplers(self) -> list[str]:
        samplers, schedulers = self._sampling_choices()
        return [
            name
            for name, row in sampler_names.BY_NAME.items()
            if row.sampler in samplers and row.scheduler in schedulers
        ]

    def control_limit(self) -> int | None:
        return None

    def describe(self) -> Mapping[str, Any]:
        try:
            stats, soft = self._client.stats(), self._has(graph.SOFT)
        except HostFailed as error:
            return {"host": self.name, "address": str(self._client.address), "fault": str(error)}
        system, devices = stats["system"], stats.get("devices") or [{}]
        return {
            "host": self.name,
            "address": str(self._client.address),
            "version": system.get("comfyui_version"),
            "device": devices[0].get("name"),
            "torch": system.get("pytorch_version"),
            "python": str(system.get("python_version", "")).partition(" ")[0],
            "soft controls": soft,
        }

    # --- training ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """A context in which this program asks for no picture. ComfyUI lets go of its models before, and loads them
        again when a picture needs them, also if that comes from others."""
        with self._lock:
            try:
                self._client.free()
            except HostFailed as error:  # the training doesn't need ComfyUI
                log.info("ComfyUI keeps its models: %s", error)
            yield

    def refresh_loras(self) -> None:
        """Takes LoRAs that were deleted or trained again from ComfyUI's folder."""
        try:
            self._shelf.sweep_loras(self._paths.loras)
        except HostFailed as error:
            log.warning("LoRAs that were deleted stay in ComfyUI's folder: %s", error)

    # --- nodes -------------------------------------------------------------------------------------------------------

    def _sampling_choices(self) -> tuple[list[str], list[str]]:
        """The names of ComfyUI's samplers and of its schedules."""
        self._require_nodes([_SAMPLER_NODE])
        inputs = self._nodes[_SAMPLER_NODE]["input"]["required"]
        return _choices(inputs["sampler_name"]), _choices(inputs["scheduler"])

    def _has(self, kind: str) -> bool:
        if kind not in self._nodes:
            found = self._client.node(kind)
            if found is not None:
                self._nodes[kind] = found
        return kind in self._nodes

    def _require_nodes(self, kinds: Sequence[str]) -> None:
        missing = [kind for kind in kinds if not self._has(kind)]
        if missing:
            raise AssetMissing(
                "This ComfyUI lacks the nodes {nodes}, which come with every current one: update it.",
                nodes=", ".join(missing),
            )


def _choices(declared: Sequence[Any]) -> list[str]:
    """The choices of an input, as nodes of either of ComfyUI's two kinds declare them."""
    first = declared[0]
    return [str(choice) for choice in (first if isinstance(first, list) else declared[1].get("options", ()))]


def _notice(job: Txt2Img, behind: int, *, soft: bool) -> str:
    """What is worth knowing about how a picture was made, "" for nothing."""
    said = []
    if behind:
        said.append(Message("Other work in ComfyUI's queue came first: {behind}.", behind=behind))
    if job.controls and not soft:
        said.append(
            Message(
                "ComfyUI's own nodes hold a picture more tightly to its template than elsewhere: copy the folder "
                "comfyui of EasyPhoto to ComfyUI's custom_nodes as easyphoto for controls that leave room for the face."
            )
        )
    return joined(said, " ") if said else ""


def _png(picture: Image) -> bytes:
    file = BytesIO()
    PilImage.fromarray(picture).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def _read(png: bytes) -> Image:
    try:
        with PilImage.open(BytesIO(png)) as picture:
            return np.asarray(picture.convert("RGB"), np.uint8).copy()
    except (OSError, ValueError) as error:
        raise HostFailed("ComfyUI gave back no picture; its log says why.") from error
