"""Clips by the extension sd-webui-animatediff, where the WebUI has it.

The extension puts a motion module between the layers of the WebUI's model, and draws all frames as one batch of
pictures. What it is asked for is one argument of its script. It is told to keep the frames as pictures, in a folder
that is removed afterwards; clips of its own in the WebUI's outputs would be seen by nobody.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import dataclasses
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from easyphoto import families, naming
from easyphoto.catalog.model_folders import KINDS
from easyphoto.config import Family
from easyphoto.errors import AssetMissing, HostFailed
from easyphoto.families.spec import ControlModel
from easyphoto.hosts.webui import controlnet, generation, loras
from easyphoto.hosts.webui.border import WebUI, folder, loaded
from easyphoto.ports import ClipJob, Image, Img2Img, OnStep, RenderedClip, Txt2Img
from easyphoto.vision import geometry

RATE = 8
"""Frames a second, which the extension writes into its description of the clip."""
KEPT_LAST = 0.7
"""How much of the picture the last frame of a clip from one picture begins with; the first begins with all of it."""
FADE = 1.5
"""Between two pictures: the frames over which each fades, in clips. With this, the extension's own sum gives the first
picture 3/4 at the beginning and 1/4 at the end, as the embedded host does; the ends it sets to the pictures alone."""
_FORMAT = ["PNG"]
"""What the extension is to write; of this alone it leaves the frames among the pictures of the answer."""
_FOLDER_OPTION, _SAVE_OPTION = "animatediff_model_path", "animatediff_save_to_custom"


@dataclass(frozen=True)
class AnimateDiff:
    """The extension in one tab of the host. ``modules`` is the object that holds its motion module."""

    script: Any
    modules: Any


def find(webui: WebUI, img2img: bool) -> AnimateDiff | None:
    """The extension, or None where it isn't installed."""
    script = next((s for s in webui.runner(img2img).alwayson_scripts if str(s.title()).lower() == "animatediff"), None)
    held = getattr(loaded("scripts.animatediff_mm"), "mm_animatediff", None)
    if script is None or held is None or script.args_from is None:
        return None
    return AnimateDiff(script, held)


def motion_module(webui: WebUI, family: Family, wanted: str | Path | None) -> Path:
    """The file of the motion module that ``wanted`` names (a path is taken as it is), else of the best for ``family``,
    in the extension's own folder and in the WebUI's ``models/AnimateDiff``.

    Raises :class:`AssetMissing` in one sentence: without the extension, for a family for which there are no modules,
    and where there is no such file.
    """
    found = find(webui, img2img=False)
    if found is None:
        raise AssetMissing(
            "This WebUI draws no clips: install the extension sd-webui-animatediff in Extensions and restart, or give "
            "a clip, or run EasyPhoto by itself (`python -m easyphoto video`)."
        )
    animation = families.animation(family)
    if isinstance(wanted, Path):
        if not wanted.is_file():
            raise AssetMissing("There is no motion module at {path}.", path=wanted)
        return wanted
    folders = _folders(webui, found)
    known = [entry for place in folders for entry in naming.listed(place) if entry.value.is_file()]
    if wanted:
        path = naming.find(wanted, known, "motion module")
    else:
        fitting = (
            entry.value
            for name in animation.modules.names
            for entry in known
            if re.match(name, ControlModel.plain(naming.bare(entry.value.name)))
        )
        path = next(fitting, None)
    if path is None:
        raise AssetMissing(
            "To draw a clip, {family} models need a motion module like {published}: put it into {folder}.",
            family=families.spec(family).title,
            published=wanted or animation.modules.published,
            folder=folders[0],
        )
    return path


def _folders(webui: WebUI, found: AnimateDiff) -> list[Path]:
    return [folder(found.modules.get_model_dir()), folder(webui.paths.models_path) / KINDS["motion"]]


def animate(webui: WebUI, job: ClipJob, family: Family, on_step: OnStep | None) -> RenderedClip:
    """Draw a clip with a base model of ``family``. It waits its turn in the host's own queue.

    Raises :class:`AssetMissing` and :class:`InvalidRequest` for what is missing or wrong before it begins,
    :class:`Cancelled` when it was interrupted, and :class:`HostFailed` when the host or one of its extensions fails.
    """
    generation.check_stays_here(webui)
    img2img = job.image is not None
    path = motion_module(webui, family, job.motion)
    found = find(webui, img2img)
    assert found is not None
    held = bool(job.controls or job.frame_controls)
    nets = controlnet.find(webui, img2img) if held else None
    if held and nets is None:
        raise AssetMissing("ControlNet is not installed: install sd-webui-controlnet in Extensions and restart.")
    job = replace(job, loras=loras.placed(webui, job.loras))
    loras.check(webui, job.loras, job.prompt)
    if webui.shared.sd_model is None:
        raise HostFailed("The WebUI has no base model loaded: choose one at the top of its page.")
    with tempfile.TemporaryDirectory(prefix="easyphoto-clip-") as scratch:
        units = [] if nets is None else _units(webui, nets, job, family, Path(scratch))
        values = controlnet.arguments(webui, None, [], img2img)
        if nets is not None:
            values[nets.script.args_from : nets.script.args_from + len(units)] = units
        values[found.script.args_from] = argument(job, path)
        watched = _watched(webui, found, nets, img2img)

        def own(p: Any) -> None:
            p.outpath_samples = scratch
            p.override_settings |= {_FOLDER_OPTION: str(path.parent), _SAVE_OPTION: False}

        with webui.call_queue.queue_lock, _restored(webui, found):
            return webui.run(
                lambda: _result(job, generation.process(webui, _still(job), watched, values, on_step, own))
            )


def argument(job: ClipJob, path: Path) -> dict[str, Any]:
    """What the extension's script is given, by the names of its own parameters."""
    given: dict[str, Any] = {
        "model": path.name,
        "enable": True,
        "video_length": job.frames,
        "fps": RATE,
        "closed_loop": "N",
        "batch_size": min(job.context, job.frames),
        "stride": 1,
        "overlap": job.overlap,
        "format": _FORMAT,
    }
    steps = max(job.frames - 1, 1)
    if job.last_image is not None:
        return {
            **given,
            "last_frame": PilImage.fromarray(geometry.resize(job.last_image, (job.height, job.width))),
            "latent_scale": FADE * steps,
            "latent_scale_last": FADE * steps,
        }
    return {**given, "latent_scale": steps / (1 - KEPT_LAST)} if job.image is not None else given


def _still(job: ClipJob) -> Txt2Img:
    """The picture that the extension makes a clip of."""
    shared = {f.name: getattr(job, f.name) for f in dataclasses.fields(Txt2Img)}
    if job.image is None:
        return Txt2Img(**shared)
    image = geometry.resize(job.image, (job.height, job.width))
    return Img2Img(**shared, image=image, denoising_strength=job.denoising_strength)


def _units(webui: WebUI, nets: controlnet.ControlNet, job: ClipJob, family: Family, scratch: Path) -> list[Any]:
    """The units of ControlNet. One whose picture differs from frame to frame names the folder of its pictures.

    The extension looks into them before ControlNet does, and expects ControlNet's own objects there."""
    external = loaded(*webui.dialect.controls.modules)
    make = getattr(external, "to_processing_unit", lambda unit: unit)
    if not job.frame_controls:
        return [make(unit) for unit in nets.units(job, family)]
    columns = zip(*(nets.units(replace(job, controls=row), family) for row in job.frame_controls), strict=True)
    units = []
    for number, column in enumerate(columns):
        unit = make(column[0])
        if column[0]["enabled"]:
            place = scratch / f"control-{number}"
            place.mkdir()
            for index, one in enumerate(column):
                (place / f"{index:06}.png").write_bytes(base64.b64decode(one["image"]))
            unit.image, unit.batch_images = None, str(place)
            unit.input_mode = type(unit.input_mode).BATCH
        units.append(unit)
    return units


@dataclass
class _Watched(controlnet.Watched):
    """A runner that has the extension's script beside ControlNet's, and what went wrong in either."""

    moving: list[str] = field(default_factory=list)

    def check(self) -> None:
        if self.moving:
            raise HostFailed("AnimateDiff failed, so no clip was drawn: {fault}", fault=self.moving[0])
        super().check()


def _watched(webui: WebUI, found: AnimateDiff, nets: controlnet.ControlNet | None, img2img: bool) -> _Watched:
    still = controlnet.watched(webui, nets, img2img)
    result = _Watched(still.runner, still.interrupt, still.faults)
    own = controlnet.Watched(still.runner, still.interrupt, result.moving)
    script = copy.copy(found.script)
    for method in controlnet.METHODS:
        if hasattr(script, method):
            setattr(script, method, own.recording(getattr(script, method)))
    # Before ControlNet's, which it tells of the pictures for each frame.
    result.runner.alwayson_scripts = [script, *result.runner.alwayson_scripts]
    return result


@contextlib.contextmanager
def _restored(webui: WebUI, found: AnimateDiff) -> Iterator[None]:
    """A context behind which the host's model is as it was. A clip that fails leaves the motion module in the model,
    and the extension would take it out only with the next picture that its own tab makes."""
    try:
        yield
    finally:
        if getattr(type(found.modules), "mm_injected", False):
            webui.run(lambda: found.modules.restore(webui.shared.sd_model))
        found.modules.set_ad_params(None)


def _result(job: ClipJob, processed: Any) -> RenderedClip:
    first = processed.index_of_first_image
    made = processed.images[first : first + job.frames]
    if len(made) < job.frames or not all(isinstance(image, PilImage.Image) for image in made):
        raise HostFailed("The WebUI gave back {got} frames, not {wanted}.", got=len(made), wanted=job.frames)
    frames: list[Image] = [np.asarray(image.convert("RGB"), np.uint8).copy() for image in made]
    size = frames[0].shape[:2]
    if size != (job.height, job.width):
        got, wanted = f"{size[1]} x {size[0]}", f"{job.width} x {job.height}"
        raise HostFailed("The WebUI gave back a picture of {got} pixels, not {wanted}.", got=got, wanted=wanted)
    infotexts = processed.infotexts or [""]
    seeds = processed.all_seeds or [job.seed]
    return RenderedClip(frames, int(seeds[0]), str(infotexts[0]))
