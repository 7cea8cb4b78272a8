"""Pictures from a loaded model: text to picture, picture to picture, inpainting.

The sampling follows what WebUIs do, so that settings mean here what they mean there: the number of steps of img2img,
classifier-free guidance, prompt weights, and a mask under which the original is put back into the *prediction of the
clean picture* at every step and pasted in pixels at the end. All randomness comes from one generator on the CPU seeded
with the job's seed, so on one machine equal jobs give equal pixels, and noise doesn't depend on the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from easyphoto.errors import InvalidRequest
from easyphoto.ports import Img2Img, OnStep, Rendered, Txt2Img
from easyphoto.sd import samplers, sampling
from easyphoto.sd.adapter import Cue
from easyphoto.sd.parts import Parts
from easyphoto.sd.pasting import blur, fitted, paste
from easyphoto.sd.sampling import ControlNets, Sampling

__all__ = ["blur", "fitted", "img2img", "paste", "txt2img"]


def txt2img(
    parts: Parts,
    job: Txt2Img,
    controlnets: ControlNets | None = None,
    on_step: OnStep | None = None,
    *,
    soft_control: bool = True,
    cues: Sequence[Cue] = (),
) -> Rendered:
    """Return a picture of (job.height, job.width) from text.

    Controls must be maps (``Control.is_map``) and have their model in ``controlnets``. The LoRAs are those that
    ``parts`` already holds: ``job.loras`` and the tags in the prompt aren't looked at. ``soft_control`` is ControlNet's
    "my prompt is more important". ``cues`` are those of the adapters that the UNet of ``parts`` wears.
    ``on_step`` is called after each step and may raise to end the work. Raises :class:`InvalidRequest` for a size that
    the model can't make and for an unknown sampler.
    """
    with torch.no_grad():
        work = Sampling.prepare(parts, job, controlnets or {}, soft=soft_control, cues=cues)
        latents = work.run(work.noise() * work.scheduler.init_noise_sigma, 0, on_step)
        return Rendered(sampling.picture(sampling.decode(parts, latents)), job.seed)


def img2img(
    parts: Parts,
    job: Img2Img,
    controlnets: ControlNets | None = None,
    on_step: OnStep | None = None,
    *,
    soft_control: bool = True,
    cues: Sequence[Cue] = (),
) -> Rendered:
    """Return a picture from ``job.image``, scaled to (job.height, job.width) if it is of another size; see
    :func:`txt2img`.

    It runs int(steps x strength) + 1 steps. With a mask, pixels where the blurred mask is 0 come back bit-identical.
    """
    if not 0 < job.denoising_strength <= 1:
        raise InvalidRequest(
            "The denoising strength must be above 0 and at most 1, not {denoising_strength}.",
            denoising_strength=job.denoising_strength,
        )
    with torch.no_grad():
        work = Sampling.prepare(parts, job, controlnets or {}, soft=soft_control, cues=cues)
        image = fitted(job.image, job.width, job.height)
        blurred = None if job.mask is None else blur(fitted(job.mask, job.width, job.height), job.mask_blur)
        original = sampling.encode_image(parts, image)
        work.known = image, original
        if blurred is not None:
            work.hold(original, blurred)
        begin = job.steps - samplers.steps_to_run(job.steps, job.denoising_strength)
        start = work.add_noise(original, work.noise(), begin)
        result = sampling.picture(sampling.decode(parts, work.run(start, begin, on_step)))
        if blurred is not None:
            result = paste(image, result, blurred)
        return Rendered(result, job.seed)
