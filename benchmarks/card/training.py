"""Trainings on the card: steps in this process, the trainer's own process, and the plans for small memories."""

from __future__ import annotations

import importlib.util
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState

from benchmarks.card.drawing import BUDGETS
from benchmarks.card.setting import Setting
from easyphoto import families, memory, pictures, sd
from easyphoto.config import Family, TrainConfig
from easyphoto.errors import EasyPhotoError
from easyphoto.events import Event, Notice, Progress, Started, Validated
from easyphoto.sd.placement import Placement
from easyphoto.training import dataset, hardware, job, loop
from easyphoto.training.lora import LoraShape, TrainedLora
from easyphoto.training.spec import TrainingSpec
from tests.fakes import blank, draw_face

WARM, COUNTED = 3, 6
PICTURES = 8


def config_of(setting: Setting, family: Family, precision: str, **chosen: Any) -> TrainConfig:
    """The family's default training at the side of this setting."""
    small = {"rank": 4, "network_alpha": 2} if setting.tiny else {}
    return families.spec(family).train_config(
        resolution=setting.side(family), mixed_precision=precision, **{**small, **chosen}
    )


class Course:
    """A loaded model with a LoRA beside it, on which trainings with different options do some steps each."""

    def __init__(self, setting: Setting, family: Family, precision: str) -> None:
        self.setting, self.family, self.precision = setting, family, precision
        tokens = [setting.tokenizers(family)]
        self._parts = sd.load(
            setting.checkpoint(family), device="cpu", dtype=loop.weight_type(precision), tokenizers=tokens
        )
        config = config_of(setting, family, precision)
        shape = LoraShape(config.rank, float(config.network_alpha))
        self._lora = TrainedLora(self._parts, shape, seed=1, train_text=config.train_text_encoder)
        side = setting.side(family)
        mean = torch.randn(2 * PICTURES, 4, side // 8, side // 8, generator=torch.Generator().manual_seed(1))
        self._latents = dataset.LatentSet(mean, torch.full_like(mean, 0.1), side)

    def trainer(self, config: TrainConfig, *, by_role: bool = False) -> loop.Trainer:
        """Put the parts where a training with these options has them, and return what does its steps."""
        self.put_away()
        self._parts.placement = Placement(self.setting.device, by_role=by_role)
        if not by_role:
            self._parts.placement.use(*self._modules())
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        accelerator = hardware.accelerator(config, torch.device(self.setting.device))
        captions = ["easyphoto_face, easyphoto, 1person"] * PICTURES
        return loop.Trainer(self._parts, self._lora, self._latents, captions, config, accelerator)

    def put_away(self) -> None:
        for module in self._modules():
            module.to("cpu")
            for parameter in module.parameters():
                parameter.grad = None
        self.setting.clear()

    def _modules(self) -> list[Any]:
        return [self._parts.unet, self._parts.vae, *self._parts.text_encoders]

    def run(self, config: TrainConfig, *, by_role: bool = False, count: int = WARM + COUNTED) -> dict[str, Any]:
        """Do ``count`` steps and return their seconds, the losses and the peaks of memory."""
        count = 2 if self.setting.tiny else count
        trainer = self.trainer(config, by_role=by_role)
        seconds, losses = [], []
        for number in range(1, count + 1):
            begin = time.perf_counter()
            losses.append(trainer.step(number))
            self.setting.sync()
            seconds.append(time.perf_counter() - begin)
        counted = seconds[min(WARM, count - 1) :]
        pictures = config.train_batch_size * config.gradient_accumulation_steps
        return {
            "batch": config.train_batch_size,
            "accumulation": config.gradient_accumulation_steps,
            "checkpointing": config.gradient_checkpointing,
            "optimizer": config.optimizer,
            "first_step_seconds": round(seconds[0], 3),
            "step_seconds": round(statistics.median(counted), 4),
            "from": round(min(counted), 4),
            "to": round(max(counted), 4),
            "pictures_a_second": round(pictures / statistics.median(counted), 2),
            "losses": [round(loss, 4) for loss in losses],
            **self.setting.peaks(),
        }


def course_of(setting: Setting, family: Family, precision: str) -> Course:
    """Return the course of the setting, which is kept from one part of the check to the next."""
    return setting.kept(("course", family, precision), lambda: Course(setting, family, precision))


def steps(setting: Setting, family: Family) -> dict[str, Any]:
    """Do steps in each precision: by the defaults, with one picture, with checkpointing, with other optimisers."""
    told: dict[str, Any] = {"bitsandbytes": importlib.util.find_spec("bitsandbytes") is not None}
    one: dict[str, Any] = {"train_batch_size": 1, "gradient_accumulation_steps": 1}
    variants: dict[str, dict[str, Any]] = {
        "defaults": {"gradient_accumulation_steps": 1},
        "one picture": one,
        "one picture, checkpointing": {**one, "gradient_checkpointing": True},
        "one picture, adafactor": {**one, "optimizer": "adafactor"},
        "one picture, adamw8bit": {**one, "optimizer": "adamw8bit"},
    }
    for precision in reversed(setting.precisions()):
        course = course_of(setting, family, precision)
        for name, chosen in variants.items():
            if precision != setting.precisions()[0] and name not in ("defaults", "one picture"):
                continue
            config = config_of(setting, family, precision, **chosen)
            try:
                need = memory.plan(config, family, precision, None).need
                told[f"{precision}, {name}"] = {"planned_gb": round(need.total / 1e9, 3), **course.run(config)}
            except EasyPhotoError as error:
                told[f"{precision}, {name}"] = {"not_run": str(error)}
            except torch.OutOfMemoryError:
                told[f"{precision}, {name}"] = {"not_run": "out of memory"}
        course.put_away()
    return told


def plans(setting: Setting, family: Family) -> dict[str, Any]:
    """Do steps within made-up memories by the defaults of the family, and compare the peaks with the plans."""
    precision = setting.precisions()[0]
    course = course_of(setting, family, precision)
    asked = config_of(setting, family, precision)
    told: dict[str, Any] = {}
    for budget in BUDGETS:
        plan = memory.plan(asked, family, precision, round(budget * 1e9))
        # One part of a step is enough for the peak: the accumulation repeats it.
        config = replace(plan.config, gradient_accumulation_steps=1)
        course.put_away()
        with setting.limited(budget):
            try:
                outcome = course.run(config, by_role=plan.by_role, count=2)
            except torch.OutOfMemoryError:
                outcome = {"error": "out of memory", **setting.peaks()}
        told[f"{budget} GB"] = {
            "planned_gb": round(plan.need.total / 1e9, 3),
            "fits": plan.fits,
            "changes": list(map(str, plan.changes)),
            **outcome,
        }
    course.put_away()
    return told


def profiled(setting: Setting, family: Family) -> tuple[dict[str, Any], str]:
    """Profile two warm steps with one picture each."""
    from benchmarks.card.profiling import profile

    precision = setting.precisions()[0]
    course = course_of(setting, family, precision)
    config = config_of(setting, family, precision, train_batch_size=1, gradient_accumulation_steps=1)
    step = course.trainer(config).step
    for number in (1, 2, 3):
        step(number)
    made = profile(setting, lambda: [step(number) for number in (4, 5)])
    course.put_away()
    return made


class Diary:
    """Notes when things happened in a training."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()
        self.plan: dict[str, Any] = {}
        self.notices: list[str] = []
        self.stages: dict[str, list[float]] = {}
        self.validations: list[float] = []
        self.steps: list[float] = []

    def __call__(self, event: Event) -> None:
        now = round(time.perf_counter() - self._begin, 3)
        if isinstance(event, Started):
            self.plan = event.plan
        elif isinstance(event, Notice):
            self.notices.append(str(event.message))
        elif isinstance(event, Validated):
            self.validations.append(now)
        elif isinstance(event, Progress):
            first, _ = self.stages.setdefault(event.stage, [now, now])
            self.stages[event.stage] = [first, now]
            if event.stage == "train":
                self.steps.append(now)


def whole(setting: Setting, family: Family) -> dict[str, Any]:
    """A whole training in the trainer's own process, with played vision: photos, crops, latents, steps, validation,
    fusion, LoRA."""
    folder = setting.work / "person"
    setting.paths.loras.mkdir(parents=True, exist_ok=True)
    count = 20 if setting.on_card else 4
    chosen = {"max_train_steps": count, "val_and_checkpointing_steps": count // 2, "skin_retouching_bool": False}
    spec = TrainingSpec(
        user_id=f"person-{family.value}",
        photos=_faces(folder / "photos", count=5, who=20),
        config=config_of(setting, family, "auto", **chosen),
        checkpoint=setting.checkpoint(family),
        family=family,
        person_folder=folder / family.value,
        lora_path=setting.paths.loras / f"person-{family.value}.safetensors",
        models=setting.paths.models,
        validation_templates=_faces(folder / "templates", count=1, who=40),
        device=setting.device,
    )
    job_folder = spec.person_folder / "job"
    job_folder.mkdir(parents=True, exist_ok=True)
    diary, begin = Diary(), time.perf_counter()
    try:
        result = job.run(spec, job_folder, diary, lambda: False, module="benchmarks.card.trainer")
    except EasyPhotoError as error:
        words = [f for f in (job_folder / "error.txt", *job_folder.glob("*.log")) if f.is_file()]
        raise RuntimeError("\n".join([str(error), *(f.read_text(errors="replace")[-4000:] for f in words)])) from error
    # Events are looked for every tenth of a second, so the mean of those before the first validation counts.
    plain = diary.steps[: count // 2]
    return {
        "seconds": round(time.perf_counter() - begin, 2),
        "first_step_after_seconds": diary.steps[0],
        "step_seconds": round((plain[-1] - plain[0]) / (len(plain) - 1), 3),
        "stages_from_to": diary.stages,
        "validations_at": diary.validations,
        "lora_mb": round(result.lora.stat().st_size / 1e6, 1),
        "plan": diary.plan,
        "notices": diary.notices,
    }


def _faces(folder: Path, count: int, who: int) -> tuple[Path, ...]:
    """Write pictures of a played person, each a little different, and return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for index in range(count):
        shade = blank(384 + 8 * index, 400, 90 + 20 * index)
        made.append(folder / f"{index}.png")
        pictures.save_png(made[-1], draw_face(shade, (180 + 6 * index, 170 + 9 * index), 120 + 4 * index, who))
    return tuple(made)
