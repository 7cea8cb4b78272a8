"""Goes on with an earlier training: takes over its options, and says which of the chosen options can't be changed
now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from easyphoto.config import Declared, TrainConfig, declared
from easyphoto.errors import InvalidRequest
from easyphoto.messages import Message, joined
from easyphoto.storage.folders import JobFolder
from easyphoto.training.spec import TrainingSpec

FREE = frozenset(
    {
        "sd_model_checkpoint",
        "validation",
        "patience",
        "fusion",
        "dataloader_num_workers",
        "max_train_steps",
        "steps_per_photos",
        "val_and_checkpointing_steps",
        "gradient_checkpointing",
        "enable_rl",
        "max_rl_time",
        "max_rl_steps",
        "timestep_fraction",
    }
)
"""The options that may be changed when a training goes on: none of them would have changed a step that was done. The
base model is among them because only its name is an option. What counts is its file."""
DEFAULTING = frozenset({"training_style"})
"""The options that only say what is the default of others. No step follows from them, so they don't tell two trainings
apart. But a training that goes on keeps all of its options, and what was said of them stays true."""


def earlier(job: JobFolder) -> TrainingSpec | None:
    """Return what the earlier training was asked to do, or None when there was none. Raises :class:`InvalidRequest`
    when that can't be read."""
    try:
        text = job.request.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            "The job file of the earlier training can't be read: train again without resume."
        ) from error
    return TrainingSpec.from_json(text)


def options(before: TrainConfig, wanted: TrainConfig, chosen: frozenset[str]) -> TrainConfig:
    """Return the options to go on with: those of the earlier training, changed where a ``chosen`` option may be
    changed.

    Raises :class:`InvalidRequest`, which names every chosen option that differs and would have changed the steps.
    """
    others = [d for d in declared(TrainConfig) if d.name in chosen and _value(d, before) != _value(d, wanted)]
    fixed = [d for d in others if d.name not in FREE]
    if fixed:
        raise other_options([(d.name, _value(d, before), _value(d, wanted)) for d in fixed])
    return replace(before, **{d.name: _value(d, wanted) for d in others if d.name != "sd_model_checkpoint"})


def other_options(differences: list[tuple[str, object, object]]) -> InvalidRequest:
    """Return the error for options (name, earlier value, wanted value) that keep a training from going on."""
    named = joined([Message("{name} was {was} and is {now} now", name=n, was=w, now=i) for n, w, i in differences])
    return InvalidRequest(
        "The earlier training can't go on with other options ({named}): leave them as they were.", named=named
    )


def _value(d: Declared, config: TrainConfig) -> Any:
    return getattr(config, d.name)
