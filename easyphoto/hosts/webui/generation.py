"""Makes one picture by the WebUI's own processing, in the same way as the WebUI's API does."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image as PilImage

from easyphoto.config import Family
from easyphoto.errors import AssetMissing, Cancelled, EasyPhotoError, HostFailed, InvalidRequest
from easyphoto.hosts.webui import base_models, controlnet, loras
from easyphoto.hosts.webui.border import WebUI, loaded
from easyphoto.ports import Img2Img, OnStep, PreviewWatcher, Rendered, Txt2Img

log = logging.getLogger(__name__)

JOB = "easyphoto"
POLL = 0.1
"""How many seconds lie between two looks at the step that the host has reached."""
REMIND = 1.0
"""After how many seconds a step that has not changed is told again. Whoever listens may want to stop the picture."""
PERIODS = 1000
"""More steps than a host's setting may ask for between two live previews."""
NEUTRAL = {
    "img2img_color_correction": False,
    "img2img_fix_steps": False,
    "return_mask": False,
    "return_mask_composite": False,
    "control_net_no_detectmap": True,
}
"""The values of those settings with which a user could change a portrait or add pictures to it. They hold for our one
picture."""


def render(webui: WebUI, job: Txt2Img, family: Family, on_step: OnStep | None) -> Rendered:
    """Make the picture of a job with a base model of ``family``. It waits its turn in the host's own queue.

    Raises :class:`Cancelled` when the picture was interrupted, here or in the host. Raises :class:`HostFailed` when the
    host fails, or when it has made the picture without a control or a LoRA. Raises :class:`AssetMissing` or
    :class:`InvalidRequest` for what is known to be missing or wrong before it begins.
    """
    check_stays_here(webui)
    img2img = isinstance(job, Img2Img)
    found = controlnet.find(webui, img2img)
    if (job.controls or job.identities) and found is None:
        raise AssetMissing("ControlNet is not installed: install sd-webui-controlnet in Extensions and restart.")
    units = found.units(job, family) if found is not None else []
    job = replace(job, loras=loras.placed(webui, job.loras))
    loras.check(webui, job.loras, job.prompt)
    # This waits until the host has loaded its model. A picture that is made before that breaks the host for good.
    if webui.shared.sd_model is None:
        raise HostFailed("The WebUI has no base model loaded: choose one at the top of its page.")
    watched = controlnet.watched(webui, found, img2img)
    script_arguments = controlnet.arguments(webui, found, units, img2img)
    with webui.call_queue.queue_lock:
        return webui.run(lambda: _result(job, process(webui, job, watched, script_arguments, on_step)))


def check_stays_here(webui: WebUI) -> None:
    """Raise :class:`InvalidRequest` where the WebUI would have another server draw."""
    away = webui.dialect.sends_away
    if away is not None and webui.option(away[0]) == away[1]:
        raise InvalidRequest(
            "The WebUI draws by the server of somebody else: choose its own models at the top of its page."
        )


def process(
    webui: WebUI,
    job: Txt2Img,
    watched: controlnet.Watched,
    script_arguments: list[Any],
    on_step: OnStep | None,
    change: Callable[[Any], None] = lambda _: None,
) -> Any:
    """What the host's processing makes of a job, inside the host's queue; ``change`` may change its parameters."""
    shared = webui.shared
    with contextlib.closing(_parameters(webui, job)) as p:
        change(p)
        # This comes before the scripts, or the built-in ones put the page's sampler, steps and seed over ours.
        p.is_api = True
        p.scripts = watched.runner
        watched.runner.process = _at_its_own_size(watched.runner.process, job)
        p.script_args = tuple(script_arguments)
        shared.state.begin(job=JOB)
        try:
            with _steps_reported(shared.state, on_step):
                processed = _guarded(webui, p, job)
            watched.check()
            if shared.state.interrupted or shared.state.skipped or getattr(shared.state, "stopping_generation", False):
                raise Cancelled("Interrupted in the WebUI.")
            loras.check_applied(webui, job.loras, job.prompt, _comments(p))
            return processed
        finally:
            shared.state.end()
            shared.total_tqdm.clear()


def _at_its_own_size(process_scripts: Callable[[Any], None], job: Txt2Img) -> Callable[[Any], None]:
    """The method with which a host lets its scripts look at a picture before it begins, with the job's size put back:
    a host may have brought both sides to multiples of 64 just before."""

    def process_scripts_at_size(p: Any) -> None:
        p.width, p.height = job.width, job.height
        process_scripts(p)

    return process_scripts_at_size


def _guarded(webui: WebUI, p: Any, job: Txt2Img) -> Any:
    try:
        return webui.processing.process_images(p)
    except EasyPhotoError:
        raise
    except Exception as error:
        log.exception("the WebUI failed")
        if type(error).__name__ == "NansException":
            loras.check_numbers(job.loras)
        text = str(error).strip().splitlines() or [""]
        raise HostFailed(
            "The WebUI could not make the picture: {kind}: {text}", kind=type(error).__name__, text=text[0][:300]
        ) from error


def _parameters(webui: WebUI, job: Txt2Img) -> Any:
    kind = (
        webui.processing.StableDiffusionProcessingImg2Img
        if isinstance(job, Img2Img)
        else webui.processing.StableDiffusionProcessingTxt2Img
    )
    options: dict[str, Any] = {
        "sd_model": webui.shared.sd_model,
        "prompt": loras.prompt_with(job.prompt, job.loras),
        "negative_prompt": job.negative_prompt,
        "seed": job.seed,
        "steps": job.steps,
        "cfg_scale": job.cfg_scale,
        "width": job.width,
        "height": job.height,
        "batch_size": 1,
        "n_iter": 1,
        "do_not_save_samples": True,
        "do_not_save_grid": True,
        "override_settings": _overrides(webui, job),
        **_sampler(webui, job.sampler, {f.name for f in dataclasses.fields(kind)}),
    }
    if isinstance(job, Img2Img):
        options |= {
            "init_images": [PilImage.fromarray(job.image)],
            "resize_mode": 0,
            "denoising_strength": job.denoising_strength,
        }
        if job.mask is not None:
            options |= {
                "mask": PilImage.fromarray((job.mask * 255).round().clip(0, 255).astype(np.uint8), "L"),
                "mask_blur": job.mask_blur,
                "inpainting_fill": 1,
                "inpaint_full_res": False,
                "inpainting_mask_invert": 0,
            }
    return kind(**options)


def _overrides(webui: WebUI, job: Txt2Img) -> dict[str, Any]:
    """The settings that hold for this picture alone. The host puts the user's own back afterwards, whatever happens."""
    data = webui.shared.opts.data
    settings: dict[str, Any] = {key: value for key, value in NEUTRAL.items() if key in data}
    if job.checkpoint:
        settings["sd_model_checkpoint"] = base_models.find(webui, job.checkpoint).title
    if job.vae:
        settings |= _vae(webui, job.vae)
    return settings


def _vae(webui: WebUI, name: str) -> dict[str, Any]:
    choice = webui.dialect.vae
    if name in ("Automatic", "None"):
        return {choice.option: [] if choice.many else name}
    module = loaded(choice.module)
    known = {} if module is None else getattr(module, choice.table)
    found = base_models.find_vae(webui, name, known)
    return {choice.option: [known[found]] if choice.many else found}


def _sampler(webui: WebUI, wanted: str, fields: set[str]) -> dict[str, str]:
    """The parameters that ask the host for the sampler of a name like "Euler a" or "DPM++ 2M SDE Karras": its sampler,
    and the schedule where that is a parameter of its own."""
    known = webui.sd_samplers.all_samplers_map
    if wanted in known:
        return {"sampler_name": wanted}
    schedulers = loaded("modules.sd_schedulers")
    if schedulers is not None and "scheduler" in fields:
        for schedule in schedulers.schedulers:
            name = wanted.removesuffix(f" {schedule.label}")
            if name != wanted and name in known:
                return {"sampler_name": name, "scheduler": schedule.label}
    raise InvalidRequest("The WebUI has no sampler {wanted!r}.", wanted=wanted)


def _comments(p: Any) -> list[str]:
    comments = getattr(p, "comments", None) or {}
    return [str(comment) for comment in comments]


def _result(job: Txt2Img, processed: Any) -> Rendered:
    """The first picture that was made from a seed. Grids and the maps of controls may lie before and behind it."""
    index = int(getattr(processed, "index_of_first_image", 0))
    if processed is None or len(processed.images) <= index:
        raise HostFailed("The WebUI gave back no picture; its log says why.")
    image = np.asarray(processed.images[index].convert("RGB"), np.uint8)
    if image.shape[:2] != (job.height, job.width):
        got, wanted = f"{image.shape[1]} x {image.shape[0]}", f"{job.width} x {job.height}"
        raise HostFailed("The WebUI gave back a picture of {got} pixels, not {wanted}.", got=got, wanted=wanted)
    infotexts = processed.infotexts or [""]
    seeds = processed.all_seeds or [job.seed]
    return Rendered(image.copy(), int(seeds[0]), str(infotexts[0]))


# --- progress --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _steps_reported(state: Any, on_step: OnStep | None) -> Iterator[None]:
    """A context in which a thread tells ``on_step`` of the host's steps. If ``on_step`` raises, the host is interrupted
    and the exception is raised again here."""
    if on_step is None:
        yield
        return
    tell = on_step
    done = threading.Event()
    problem: list[BaseException] = []
    # Until the sampler starts, the host's count is still that of the last picture.
    state.sampling_step, state.sampling_steps = 0, 0

    def watch() -> None:
        reported, previewed, at, shown = -1, -1, 0.0, None
        while not done.wait(POLL):
            step, total = int(state.sampling_step), max(int(state.sampling_steps), 1)
            if step == reported and time.monotonic() - at < REMIND:
                continue
            reported, at = step, time.monotonic()
            try:
                tell(min(step, total), total)
                if step != previewed and isinstance(tell, PreviewWatcher) and tell.wants_preview():
                    shown, before = _live_preview(state), shown
                    if shown is not None and shown is not before:
                        previewed = step  # until the next one the host would only make the same picture again
                        tell.preview(np.asarray(shown.convert("RGB"), np.uint8))
            except BaseException as error:  # noqa: BLE001 - raised again where the host's work ends
                problem.append(error)
                state.interrupt()
                return

    thread = threading.Thread(target=watch, name="easyphoto-steps", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if problem:
        raise problem[0]
    total = max(int(state.sampling_steps), 1)
    tell(total, total)


def _live_preview(state: Any) -> PilImage.Image | None:
    """The host's own live preview of what it samples, None where it has none or the user has switched it off. The host
    makes a new one when it is asked, in the way that its settings say. How often its own page shows one, every ten
    steps as a rule, does not count: a pass of a portrait has hardly more."""
    if hasattr(state, "set_current_image"):
        state.current_image_sampling_step = state.sampling_step - PERIODS  # or it waits until enough have passed
        state.set_current_image()
    found = getattr(state, "current_image", None)
    return found if isinstance(found, PilImage.Image) else None
