"""Where the files of a person and of a training lie: every name is in this one place.

The layout is that of the original extension wherever that has the same thing, so that people who were trained with it
are found.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

JOB, RESUMED, EVENTS, ERROR, CANCEL, LOG = (
    "job.json",
    "resume.json",
    "events.jsonl",
    "error.txt",
    "cancel",
    "worker.log",
)
PARENT_LOCK, WORKER_LOCK = "parent.lock", "worker.lock"
STATE, SCORES, LATENTS, FUSED = "state.pt", "scores.json", "latents.safetensors", "fused.safetensors"
REFERENCE, MARKS = "ref_image.jpg", "person.json"
WEIGHTS, PROCESSED, VALIDATION, BEST = "user_weights", "processed_images", "validation", "best_outputs"
PHOTOS, TEMPLATES, BACKUP = "photos", "templates", "original_backup"
REPORT, SHEET, MEAN = "photo_report.json", "photo_report.jpg", "embedding.json"
EARLIER, EARLIER_WHOLE = "earlier", "whole"
STAGED = "staged-"
SEEN_PHOTOS = "likeness.json"
"""How each embedder describes the photos of a person: beside the checkpoints, as the training saw them, and in the
person's folder, as portraits saw the crops."""
PHASES = "phases"
QUEUED = "queued.txt"
REWARDS = "easyphoto-rewards"
"""The folder among a host's LoRAs in which what the reward taught has a second name, for hosts that look nowhere
else."""


def reward_name(user_id: str) -> str:
    """What the small LoRA is called that the reward taught, in a person's folder of weights. Hosts know a LoRA by the
    name of its file, so the name has to be the person's."""
    return f"{user_id}-reward.safetensors"


@dataclass(frozen=True)
class JobFolder:
    """The folder of a training: what the training was asked to do, what it reports, and what it goes on from when it is
    resumed."""

    path: Path

    @property
    def request(self) -> Path:
        """What the training was asked to do, see ``training.spec``."""
        return self.path / JOB

    @property
    def resumed(self) -> Path:
        """What a resumed training is asked to do. It takes the place of :attr:`request` once the training really goes
        on."""
        return self.path / RESUMED

    @property
    def parent_lock(self) -> Path:
        return self.path / PARENT_LOCK

    @property
    def worker_lock(self) -> Path:
        return self.path / WORKER_LOCK

    @property
    def state(self) -> Path:
        return self.path / STATE

    @property
    def reference(self) -> Path:
        return self.path / REFERENCE

    @property
    def photos(self) -> Path:
        """The photos of this training, turned upright. They become the person's when the training is published."""
        return self.path / PHOTOS

    @property
    def templates(self) -> Path:
        """The validation templates that the user gave."""
        return self.path / TEMPLATES

    @property
    def phases(self) -> Path:
        """What phases that come from elsewhere go on from when the training is resumed."""
        return self.path / PHASES

    def phase(self, name: str) -> Path:
        """The folder of one phase that comes from elsewhere."""
        return self.phases / name

    @property
    def queued(self) -> Path:
        """The id of the request in the queue that this training was begun for."""
        return self.path / QUEUED

    def is_of(self, request: str) -> bool:
        """Whether what lies here was begun for the request of that id."""
        try:
            return self.queued.read_text(encoding="utf-8") == request
        except (OSError, ValueError):
            return False

    @property
    def earlier(self) -> Path:
        """What the training before this one would go on from. It lies here until this training has saved a state
        itself."""
        return self.path / EARLIER

    def texts(self, field: str) -> tuple[str, ...]:
        """Return the list of texts that stands under ``field`` in :attr:`request`; it is empty where that can't be
        read."""
        try:
            return tuple(str(value) for value in json.loads(self.request.read_text(encoding="utf-8"))[field])
        except (OSError, ValueError, KeyError, TypeError):
            return ()


@dataclass(frozen=True)
class PersonFolder:
    """The folder of one person."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def job(self) -> JobFolder:
        return JobFolder(self.path / "job")

    @property
    def reference(self) -> Path:
        """The photo of the person that is the most frontal and typical one."""
        return self.path / REFERENCE

    @property
    def marks(self) -> Path:
        """What is recorded of the person: family, base model, likeness, and whether the LoRA works."""
        return self.path / MARKS

    @property
    def backup(self) -> Path:
        """The photos that were uploaded for the training that made the LoRA, turned upright."""
        return self.path / BACKUP

    @property
    def crops(self) -> Path:
        """The face crops that the person was trained on."""
        return self.path / PROCESSED / "train"

    @property
    def best(self) -> Path:
        """The best picture of the training and a copy of its LoRA."""
        return self.path / WEIGHTS / BEST

    @property
    def reward(self) -> Path:
        """The small LoRA that the reward taught, where one was kept."""
        return self.path / WEIGHTS / reward_name(self.name)

    def photos(self) -> list[Path]:
        """Return the photos that a training goes on with: those of the last training, else those of the person."""
        for folder in (self.job.photos, self.backup):
            found = sorted(folder.glob("*.jpg"), key=lambda p: (len(p.stem), p.stem))
            if found:
                return found
        return []

    def drop_if_empty(self) -> None:
        """Remove the folder if nothing was ever put into it, because a name without files belongs to nobody."""
        with contextlib.suppress(OSError):
            self.job.path.rmdir()
        with contextlib.suppress(OSError):
            self.path.rmdir()
