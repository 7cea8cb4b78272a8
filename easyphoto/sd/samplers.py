"""Samplers by the names that WebUIs give them, made of diffusers' schedulers."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from easyphoto.errors import InvalidRequest

_BETAS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type")
_ZERO_SNR = "rescale_betas_zero_snr"


def _table() -> dict[str, Callable[[dict[str, Any]], Any]]:
    import diffusers as d

    def of(cls: Any, **options: Any) -> Callable[[dict[str, Any]], Any]:
        accepted = inspect.signature(cls.__init__).parameters

        def make(betas: dict[str, Any]) -> Any:
            known = {key: value for key, value in {**betas, **options}.items() if key in accepted}
            return cls(**known)

        return make

    # WebUIs space the noise levels evenly over the training steps ("linspace") or by Karras' rule between the ends.
    even = {"timestep_spacing": "linspace"}
    karras = {**even, "use_karras_sigmas": True}
    dpm = d.DPMSolverMultistepScheduler
    return {
        "DPM++ 2M SDE Karras": of(dpm, algorithm_type="sde-dpmsolver++", **karras),
        "DPM++ 2M Karras": of(dpm, algorithm_type="dpmsolver++", **karras),
        "Euler a": of(d.EulerAncestralDiscreteScheduler, **even),
        "Euler": of(d.EulerDiscreteScheduler, **even),
        "DDIM": of(d.DDIMScheduler, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        "LCM": of(d.LCMScheduler, clip_sample=False),
        "UniPC": of(d.UniPCMultistepScheduler, **even),
    }


SAMPLERS = ("DPM++ 2M SDE Karras", "DPM++ 2M Karras", "Euler a", "Euler", "DDIM", "LCM", "UniPC")
"""The names of the samplers, the default first."""


def create(name: str, config: Mapping[str, Any]) -> Any:
    """Return a fresh scheduler for the sampler ``name``, with the betas and the prediction type of a model's
    ``config``."""
    table = _table()
    if name not in table:
        raise InvalidRequest("There is no sampler {name!r}; there are {known}.", name=name, known=", ".join(SAMPLERS))
    betas = {key: config[key] for key in (*_BETAS, _ZERO_SNR) if config.get(key) is not None}
    with quiet():
        return table[name](betas)


def set_steps(scheduler: Any, steps: int, device: Any) -> None:
    """Lay out ``steps`` noise levels. LCM's own schedule of 50 is stretched where more are asked for."""
    more = {}
    if "original_inference_steps" in inspect.signature(scheduler.set_timesteps).parameters:
        more["original_inference_steps"] = max(50, steps)
    with quiet():
        scheduler.set_timesteps(steps, device=device, **more)


def steps_to_run(steps: int, strength: float) -> int:
    """Return how many of ``steps`` img2img runs at ``strength``: int(steps x strength) + 1 as in WebUIs, and at most
    all."""
    return min(int(min(strength, 0.999) * steps) + 1, steps)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence a warning of numpy 2 about how diffusers turns a tensor into an array; the array is right."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="__array__ implementation", category=DeprecationWarning)
        yield
