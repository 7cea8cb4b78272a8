"""The captions of a training: what the user wrote of a photo in a text file beside it (``beach.txt`` for
``beach.jpg``), and what the network is taught."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from easyphoto.errors import InvalidRequest
from easyphoto.storage.triggers import SCENE_TRIGGER, TRIGGER
from easyphoto.training.spec import TrainingSpec

ENDING = ".txt"
LONGEST = 2000
"""The most characters that are read of a caption. No text encoder reads as many."""


def split(paths: Sequence[Path]) -> tuple[list[Path], dict[str, str]]:
    """Return the uploaded files apart: the photos, and the captions by the stem that a photo and its text have in
    common."""
    texts = {path.stem: text for path in paths if is_text(path) and (text := read(path))}
    return [path for path in paths if not is_text(path)], texts


def beside(photo: Path) -> str:
    """Return the caption in the text file beside a photo, empty when there is none."""
    texts = [photo.with_suffix(ending) for ending in (ENDING, ENDING.upper())]
    return next((read(text) for text in texts if text.is_file()), "")


def read(path: Path) -> str:
    """Return the words of a caption in one line. Raises :class:`InvalidRequest` when the file is not a text."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return " ".join(file.read(LONGEST).split())
    except (OSError, ValueError) as error:
        raise InvalidRequest("The caption {path} can't be read: it must be a text in UTF-8.", path=path.name) from error


def is_text(path: Path) -> bool:
    """Whether the file is a caption, which its name tells."""
    return path.suffix.lower() == ENDING


def taught(spec: TrainingSpec, own: str = "") -> str:
    """Return the caption that a picture is trained with.

    That is the trigger for a person. For a scene it is what the user wrote of this picture (``own``), or else of the
    scene, followed by the words that wake its LoRA.
    """
    if not spec.config.is_scene:
        return TRIGGER
    said = (own.strip() or spec.config.training_prefix_prompt.strip()).strip(" ,")
    return said if SCENE_TRIGGER in said else ", ".join(part for part in (said, SCENE_TRIGGER) if part)
