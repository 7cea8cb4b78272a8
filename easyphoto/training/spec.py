"""What a training is asked to do, and what it returns, as values that can be written to a JSON file and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from easyphoto import families
from easyphoto.config import Family, TrainConfig, from_mapping
from easyphoto.errors import InvalidRequest


@dataclass(frozen=True)
class TrainingSpec:
    """The request for one training. ``photos`` are upright pictures that can be read. ``checkpoint`` is the base model,
    which belongs to ``family``.

    The finished LoRA goes to ``lora_path``, and everything else of the person lies in ``person_folder``. ``models`` is
    the folder of the downloaded weights. ``python`` is the interpreter that has torch and diffusers, or None for the
    one that runs now. ``resume`` means to go on from the last checkpoint in the job folder. ``device`` is a torch
    device, or None for the best one. ``commercial_only`` leaves out vision that may not be used commercially. ``names``
    are what the user called the photos, in their order and each once. ``captions`` say what the photos of a scene show,
    in their order; a caption is empty if nothing was written of its photo.
    """

    user_id: str
    photos: tuple[Path, ...]
    config: TrainConfig
    checkpoint: Path
    family: Family
    person_folder: Path
    lora_path: Path
    models: Path
    validation_templates: tuple[Path, ...] = ()
    python: Path | None = None
    resume: bool = False
    vae: Path | None = None
    device: str | None = None
    commercial_only: bool = False
    names: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()

    @property
    def named_photos(self) -> list[tuple[str, Path]]:
        """Each photo with the name that the user gave it, or with the name of its file if that isn't known."""
        if len(self.names) != len(self.photos):
            return [(path.name, path) for path in self.photos]
        return list(zip(self.names, self.photos, strict=True))

    def to_json(self) -> str:
        """Return the request as JSON, with absolute paths because the child has another working directory."""
        return json.dumps(asdict(self), default=lambda path: str(path.absolute()), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> TrainingSpec:
        """Return the request that a text holds. Raises :class:`InvalidRequest` when the text is not one."""
        try:
            data = json.loads(text)
            return cls(
                user_id=data["user_id"],
                photos=tuple(Path(p) for p in data["photos"]),
                config=from_mapping(TrainConfig, data["config"]),
                checkpoint=Path(data["checkpoint"]),
                family=families.named(data["family"]),
                person_folder=Path(data["person_folder"]),
                lora_path=Path(data["lora_path"]),
                models=Path(data["models"]),
                validation_templates=tuple(Path(p) for p in data["validation_templates"]),
                python=_path(data["python"]),
                resume=bool(data["resume"]),
                vae=_path(data["vae"]),
                device=data["device"],
                commercial_only=bool(data.get("commercial_only", False)),
                names=tuple(str(name) for name in data.get("names", ())),
                captions=tuple(str(text) for text in data.get("captions", ())),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidRequest("The job file of the training can't be read ({error}).", error=error) from error


@dataclass(frozen=True)
class TrainingResult:
    """What a training made. ``likeness`` is calibrated and ``cosine`` is raw. Both are None if nothing could be scored.

    ``works`` is False if the validation says that the LoRA does not show the person. ``panel`` is what
    :class:`easyphoto.measures.likeness_panel.LikenessPanel` says of the likeness, as plain JSON data, or None if
    nothing was validated.
    """

    lora: Path
    reference: Path
    face_id: Path | None
    works: bool
    steps: int
    likeness: float | None = None
    cosine: float | None = None
    embedder: str = ""
    panel: dict[str, Any] | None = None

    def to_mapping(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> TrainingResult:
        values = dict(data)
        for name in ("lora", "reference"):
            values[name] = Path(values[name])
        values["face_id"] = _path(values["face_id"])
        return cls(**values)


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)
