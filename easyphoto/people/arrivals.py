"""Whether somebody who came in a file can be used: looked at in a staging folder, before anything is a person's."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import Image as Pillow

from easyphoto import checkpoint, pictures
from easyphoto.errors import EasyPhotoError, InvalidRequest, StorageFailed
from easyphoto.people import marks
from easyphoto.people.file_faults import GLANCE
from easyphoto.storage import archive
from easyphoto.storage.folders import PersonFolder

MAX_PIXELS = 10**9
"""The most pixels that all pictures of a shared person may have together."""


def unpack(shared: archive.Archive, file: Path, stage: PersonFolder) -> None:
    """Unpack ``shared``, the content of ``file``, into the staging folder, and look whether it is what it says.

    :class:`InvalidRequest` when it isn't, :class:`StorageFailed` when the disk doesn't take it.
    """
    written = shared.unpack(stage.path)
    try:
        lora = stage.path / archive.LORA
        if shared.trained:
            shared.unpack_lora(lora)
        said = marks.read(stage.marks) or marks.of_scene(lora)
        if shared.trained and checkpoint.inspect(lora).kind != "lora":
            raise InvalidRequest("{lora} is no LoRA.", lora=lora.name)
        if shared.trained and said.get("trained") is False:
            raise InvalidRequest("It has a LoRA and says that nobody was trained.")
        if not stage.reference.is_file() and not said.get("scene"):
            raise InvalidRequest("There is no reference picture.")
        _check_pictures([path for path in written if path.suffix in (".jpg", ".png")])
        for path in written:
            if path.suffix == ".jsonl":
                _check_lines(path)
    except StorageFailed:
        raise
    except EasyPhotoError as error:
        raise InvalidRequest("{file} holds nobody who can be used: {error}", file=file.name, error=error) from error


def _check_pictures(paths: Sequence[Path]) -> None:
    """Check that all pictures are whole JPEGs or PNGs, and not so large together that looking takes for ever. Raises
    :class:`InvalidRequest`."""
    pixels = 0
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Pillow.open(path, formats=("JPEG", "PNG")) as opened:
                    pixels += opened.width * opened.height
        except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
            raise InvalidRequest("{path} is not a picture that can be read.", path=path.name) from error
        if pixels > MAX_PIXELS:
            raise InvalidRequest(
                "Its pictures have more than {max_pixels} million pixels.", max_pixels=MAX_PIXELS // 10**6
            )
        pictures.load(path, max_side=GLANCE)


def _check_lines(path: Path) -> None:
    """Check that every line is a JSON object. Raises :class:`InvalidRequest`."""
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            if not isinstance(json.loads(line), dict):
                raise InvalidRequest("{path} is damaged.", path=path.name)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("{path} is damaged.", path=path.name) from error
