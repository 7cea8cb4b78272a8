"""The child's work from beginning to end: photos, latents, steps with validation, fusion, and everything in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from easyphoto import families, memory
from easyphoto.config import TrainConfig
from easyphoto.errors import Cancelled, InvalidRequest
from easyphoto.events import Listener, Notice, Progress, Started
from easyphoto.memory import MemoryPlan
from easyphoto.messages import Message
from easyphoto.ports import Vision
from easyphoto.storage import files
from easyphoto.storage.folders import LATENTS, PROCESSED, SCORES, STATE, VALIDATION, WEIGHTS, JobFolder
from easyphoto.training import dataset, loop, planning, prepare, samples, state, validation
from easyphoto.training.lora import LoraShape, TrainedLora
from easyphoto.training.planning import TrainingPlan
from easyphoto.training.prepare import Stop
from easyphoto.training.session import Session
from easyphoto.training.spec import TrainingResult, TrainingSpec

if TYPE_CHECKING:
    from easyphoto.sd.parts import Parts


def run(spec: TrainingSpec, folder: Path, emit: Listener, stop: Stop) -> TrainingResult:
    """Train as ``spec`` says, in the job ``folder``. Raises errors of ``easyphoto.errors``; :class:`Cancelled` when
    ``stop`` said so, after the last checkpoint was saved."""
    from easyphoto.vision import registry

    vision = registry.create(spec.models, commercial_only=spec.commercial_only)
    material, images = prepare.look(spec, vision, emit, stop)
    templates = _templates(spec, material, vision, emit)
    plan = planning.make(spec, material.names, validated=bool(templates))
    earlier = _earlier(spec, folder, plan, emit)
    device = _device(spec)
    fitted = _fit(spec, device)
    told = _told(plan, material, templates, earlier)
    emit(Started(job=folder.name, what="train", plan={**told, "device": str(device), "memory": fitted.sentence()}))
    if fitted.changes or not fitted.fits:
        emit(Notice(message=fitted.sentence()))
    if not (folder / LATENTS).is_file():
        prepare.crop(spec, material, images, vision, emit, folder)
    del images
    config = fitted.config
    accelerator = _accelerator(config, device)
    parts = _load(spec, device, accelerator.mixed_precision, by_role=fitted.by_role)
    latents, captions = _latents(parts, folder, emit, stop)
    lora = TrainedLora(
        parts,
        LoraShape(config.rank, float(config.network_alpha)),
        seed=config.seed,
        train_text=config.train_text_encoder,
    )
    trainer = loop.Trainer(parts, lora, latents, captions, config, accelerator)
    validator = None
    if templates and material.selection is not None:
        validator = validation.Validator(parts, vision, templates, material.selection.embeddings, config.seed)
    session = Session(spec, folder, plan, (lora, trainer, validator), emit, stop)
    if earlier is not None:
        session.restore(earlier)
    session.train()
    return session.finish()


def _templates(
    spec: TrainingSpec, material: prepare.Material, vision: Vision, emit: Listener
) -> list[validation.ValidationTemplate]:
    if not spec.config.validation or material.selection is None:
        return []
    effort = families.spec(spec.family).learning.validation
    paths = spec.validation_templates or validation.packaged()
    ratio = families.spec(spec.family).learning.crop_ratio
    found = validation.prepare(paths, vision, spec.config.resolution, ratio, effort.templates)
    if not found:
        emit(
            Notice(
                message=Message("There is no template with a face to validate on: the last checkpoint will be taken.")
            )
        )
    return found


def _earlier(spec: TrainingSpec, folder: Path, plan: TrainingPlan, emit: Listener) -> state.TrainState | None:
    """The state to go on from. Raises :class:`InvalidRequest` when it is of another training."""
    earlier = state.load_state(folder) if spec.resume else None
    if earlier is not None and earlier.fingerprint != plan.fingerprint:
        raise InvalidRequest(
            "The earlier training was with other photos, settings or another base model: train again without resume."
        )
    if earlier is None:
        if spec.resume:
            emit(Notice(message=Message("There is no checkpoint to resume from: the training starts anew.")))
        for name in (SCORES, STATE, LATENTS, WEIGHTS, VALIDATION):
            files.remove(folder / name)
    job = JobFolder(folder)
    if job.resumed.is_file():
        # Only now is it sure that the training goes on as it is asked; until here the first request stands.
        files.move(job.resumed, job.request)
    return earlier


def _told(
    plan: TrainingPlan,
    material: prepare.Material,
    templates: Sequence[validation.ValidationTemplate],
    earlier: state.TrainState | None,
) -> dict[str, Any]:
    chosen: dict[str, Any] = {} if material.selection is None else material.selection.to_mapping()
    return {
        "photos": len(plan.photos),
        "steps": plan.steps,
        "from_step": 0 if earlier is None else earlier.step,
        "checkpoints": len(plan.saves),
        "fusion": plan.fusion,
        "templates": [t.name for t in templates],
        **chosen,
    }


def _device(spec: TrainingSpec) -> torch.device:
    if spec.device:
        return torch.device(spec.device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _fit(spec: TrainingSpec, device: torch.device) -> MemoryPlan:
    """How to train within the device's free memory; what is learned stays the same."""
    available = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    return memory.plan(spec.config, spec.family, loop.precision(spec.config, device), available)


def _accelerator(config: TrainConfig, device: torch.device) -> Any:
    from accelerate import Accelerator

    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return Accelerator(
        mixed_precision=loop.precision(config, device),
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        cpu=device.type == "cpu",
    )


def _load(spec: TrainingSpec, device: torch.device, mixed: str, *, by_role: bool) -> Parts:
    from easyphoto import sd
    from easyphoto.sd import tokenizers
    from easyphoto.sd.placement import Placement

    parts = sd.load(
        spec.checkpoint,
        device="cpu" if by_role else device,
        dtype=loop.weight_type(mixed),
        vae=spec.vae,
        tokenizers=tokenizers.folders(spec.models, spec.checkpoint),
    )
    if by_role:
        parts.placement = Placement(device, by_role=True)
    return parts


def _latents(parts: Parts, folder: Path, emit: Listener, stop: Stop) -> tuple[dataset.LatentSet, list[str]]:
    """The latents and captions of the processed pictures; encoded once, then read from the job folder."""

    def told(done: int, total: int) -> None:
        if stop():
            raise Cancelled("The training was stopped.")
        emit(Progress(stage="latents", step=done, total=total))

    processed, captions = samples.load(folder / PROCESSED)
    path = folder / LATENTS
    if path.is_file():
        return dataset.LatentSet.load(path), captions
    parts.placement.use(parts.vae)
    made = dataset.encode(parts.vae, processed, told)
    made.save(path)
    # What was just written is read back, so that a resumed training sees the very same numbers.
    return dataset.LatentSet.load(path), captions
