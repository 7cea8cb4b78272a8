"""Says in the LoRA's file and in the person's ``person.json`` how they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from easyphoto import families, likeness
from easyphoto.sd import lora as lora_files
from easyphoto.sd.lora import Layers
from easyphoto.training import captions
from easyphoto.training.planning import TrainingPlan
from easyphoto.training.spec import TrainingSpec
from easyphoto.training.standing import TrainingStanding
from easyphoto.training.state import Score


def lora_header(spec: TrainingSpec, plan: TrainingPlan, step: int, score: Score | None) -> dict[str, str]:
    """Return what the header of the file says of the LoRA of ``step``, beside what its layers tell."""
    config, header = spec.config, families.spec(spec.family).header
    like = "not validated"
    if score is not None:
        like = f"likeness {likeness.words(score.likeness)} (cosine {likeness.cosine_words(score.cosine)})"
    said = {
        "ss_output_name": spec.user_id,
        "ss_steps": str(step),
        "ss_max_train_steps": str(plan.steps),
        "ss_learning_rate": f"{config.learning_rate:g}",
        "ss_seed": str(config.seed),
        "ss_resolution": f"({config.resolution}, {config.resolution})",
        "ss_num_train_images": str(len(plan.photos)),
        "ss_sd_model_name": spec.checkpoint.name,
        "ss_training_comment": f"EasyPhoto: {like}",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": spec.user_id,
        "modelspec.architecture": f"{header.architecture or spec.family}/lora",
        "modelspec.trigger_phrase": captions.taught(spec),
    }
    if config.is_scene:
        said |= {"ep_lora_version": "scene", "ep_prompt": config.training_prefix_prompt}
    return said


def write_lora(path: Path, spec: TrainingSpec, layers: Layers, header: dict[str, str]) -> None:
    """Write a LoRA with its :func:`lora_header`. Raises ``StorageFailed``."""
    lora_files.write(path, layers, lora_files.metadata(spec.family, layers, header))


def marks(
    spec: TrainingSpec, plan: TrainingPlan, standing: TrainingStanding, score: Score | None, *, works: bool
) -> dict[str, Any]:
    """Return what ``person.json`` says of a training that has come so far and whose LoRA has this score."""
    config, base = spec.config, standing.base
    return {
        "family": spec.family.value,
        "base_model": spec.checkpoint.name,
        "likeness": None if score is None else score.likeness,
        "cosine": None if score is None else score.cosine,
        "likeness_without_lora": None if base is None else base.likeness,
        "embedder": standing.embedder,
        "works": works,
        "steps": standing.step,
        "planned": plan.steps,
        "rank": config.rank,
        "alpha": config.network_alpha,
        "scene": config.is_scene,
        "prompt": config.training_prefix_prompt if config.is_scene else "",
    }
