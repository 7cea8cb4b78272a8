"""What is written of a photo in a text file beside it: ``beach.txt`` for ``beach.jpg``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from easyphoto.errors import InvalidRequest

ENDING = ".txt"
LONGEST = 2000
"""Characters of a caption; no text encoder reads as many."""


def split(paths: Sequence[Path]) -> tuple[list[Path], dict[str, str]]:
    """Uploaded files apart: the photos, and the captions among them by the stem that photo and text have in common."""
    texts = {path.stem: text for path in paths if _is_text(path) and (text := read(path))}
    return [path for path in paths if not _is_text(path)], texts


def beside(photo: Path) -> str:
    """The caption in the text file beside a photo, empty when there is none."""
    text = photo.with_suffix(ENDING)
    return read(text) if text.is_file() else ""


def read(path: Path) -> str:
    """A caption's words in one line. Raises :class:`InvalidRequest` when the file is no text."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return " ".join(file.read(LONGEST).split())
    except (OSError, ValueError) as error:
        raise InvalidRequest("The caption {path} can't be read: it must be a text in UTF-8.", path=path.name) from error


def _is_text(path: Path) -> bool:
    return path.suffix.lower() == ENDING
