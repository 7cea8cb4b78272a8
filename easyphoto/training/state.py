"""What a training leaves on disk while it runs, so that it can go on after it was killed.

The job folder holds ``state.pt`` (the LoRA in full precision, the optimiser, the step), ``scores.json`` (the score of
each checkpoint) and ``user_weights/checkpoint-<step>.safetensors``. Each file is written beside its place and then
moved there.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easyphoto import pictures
from easyphoto.errors import InvalidRequest
from easyphoto.storage.folders import SCORES, STATE, WEIGHTS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "SCORES",
    "STATE",
    "WEIGHTS",
    "Score",
    "TrainState",
    "checkpoint_path",
    "checkpoints",
    "load_scores",
    "load_state",
    "save_scores",
    "save_state",
]


@dataclass(frozen=True)
class TrainState:
    """Everything that the next step follows from. ``fingerprint`` says what was trained on. A training that has another
    fingerprint can't go on from this state."""

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    fingerprint: str


@dataclass(frozen=True)
class Score:
    """The score of the checkpoint at ``step``. Step 0 is the base model without the LoRA."""

    step: int
    likeness: float
    cosine: float
    pictures: tuple[str, ...] = ()
    """The path of each picture, empty for one that could not be written."""
    each: tuple[float, ...] = ()
    """The raw cosine of each picture."""
    embedder: str = ""
    """The embedder that measured the numbers. It is empty in scores from before it was written down."""

    def __float__(self) -> float:
        """Return the number that checkpoints are ranked by, which is the raw cosine."""
        return self.cosine


def save_state(folder: Path, state: TrainState) -> None:
    """Write the state. Raises ``StorageFailed``."""
    import torch

    buffer = io.BytesIO()
    torch.save(vars(state), buffer)
    pictures.write_bytes(folder / STATE, buffer.getvalue())


def load_state(folder: Path) -> TrainState | None:
    """Return the last state, or None when there is none. Raises :class:`InvalidRequest` when it can't be read."""
    import torch

    path = folder / STATE
    if not path.is_file():
        return None
    try:
        return TrainState(**torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, TypeError, ValueError, EOFError, pickle.PickleError, zipfile.BadZipFile) as error:
        raise InvalidRequest("The state of the earlier training can't be read: train again without resume.") from error


def save_scores(folder: Path, scores: Mapping[int, Score]) -> None:
    """Write all scores so far. Raises ``StorageFailed``."""
    rows = [asdict(scores[step]) for step in sorted(scores)]
    pictures.write_bytes(folder / SCORES, json.dumps(rows, ensure_ascii=False, indent=1).encode())


def load_scores(folder: Path) -> dict[int, Score]:
    """Return the scores so far by step. Raises :class:`InvalidRequest` when they can't be read."""
    path = folder / SCORES
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        fields = [{**row, "pictures": tuple(row["pictures"]), "each": tuple(row["each"])} for row in rows]
        return {row["step"]: Score(**row) for row in fields}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidRequest("The scores of the earlier training can't be read: train again without resume.") from error


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / WEIGHTS / f"checkpoint-{step}.safetensors"


def checkpoints(folder: Path) -> dict[int, Path]:
    """Return the files of the saved LoRAs by step."""
    found = (folder / WEIGHTS).glob("checkpoint-*.safetensors")
    named = {p.stem.removeprefix("checkpoint-"): p for p in found}
    return {int(step): path for step, path in sorted(named.items()) if step.isdigit()}
