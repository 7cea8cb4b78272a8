"""Files that are written whole or not at all.

A new file is staged beside its place, under a name that no other process or thread uses, and then moved there. A reader
sees the old file or the new one, also after ``kill -9``. What must survive a power cut is flushed to the disk first.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from easyphoto.errors import StorageFailed
from easyphoto.filenames import shown

PART = ".part"
WINDOWS = os.name == "nt"
PATIENCE = (0.01, 0.05, 0.1, 0.3, 0.5)
"""Seconds between the tries to replace a file that somebody reads: Windows refuses that, and readers are soon done."""


def staging_name(path: Path) -> Path:
    """Return a path beside ``path`` that nobody else uses. Its name is hidden, and 38 bytes long however long that of
    ``path`` is."""
    return path.with_name(f".{uuid.uuid4().hex}{PART}")


@contextmanager
def staged(path: Path, *, folders: bool = True) -> Iterator[Path]:
    """Give a path to write to. When the block ends without an error, the file goes to ``path`` in one move; else it is
    removed.

    The folders above ``path`` are made, unless ``folders`` is False. OSErrors become :class:`StorageFailed` with one
    sentence.
    """
    try:
        if folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        beside = staging_name(path)
        try:
            yield beside
            flush(beside)
            replace(beside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        flush_folder(path.parent)
    except UnicodeEncodeError as error:
        raise StorageFailed("{shown} is no name that a file can have here.", shown=shown(path.name)) from error
    except OSError as error:
        raise not_written(path, error) from error


def write_bytes(path: Path, data: bytes, *, folders: bool = True) -> None:
    """Write a file whole or not at all. ``folders`` makes the folders above it. Raises :class:`StorageFailed`."""
    with staged(path, folders=folders) as beside:
        beside.write_bytes(data)


def write_json(path: Path, data: object) -> None:
    """Write plain data as JSON, whole or not at all. Raises :class:`StorageFailed`."""
    write_bytes(path, json.dumps(data, ensure_ascii=False, indent=1).encode())


def read_json(path: Path) -> Any:
    """Return the data of a JSON file. Raises OSError when it can't be read, and ValueError when it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def copy(source: Path, target: Path) -> None:
    """Copy a file to ``target`` whole or not at all. Raises :class:`StorageFailed`."""
    with staged(target) as beside:
        shutil.copyfile(source, beside)


def link(source: Path, target: Path) -> None:
    """Give a file a second name where the file system has such names, else copy it: checkpoints are large. Raises
    OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def move(source: Path, target: Path) -> None:
    """Put ``source`` in the place of ``target`` as a whole, also from one file system to another. Raises OSError."""
    try:
        replace(source, target)
    except OSError:
        if not source.is_file():
            raise
        beside = staging_name(target)
        try:
            shutil.copyfile(source, beside)
            flush(beside)
            replace(beside, target)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
        source.unlink()


def replace(source: Path, target: Path) -> None:
    """Put ``source`` in the place of ``target`` in one move. Raises OSError."""
    for pause in PATIENCE if WINDOWS else ():
        try:
            source.replace(target)
        except PermissionError:
            time.sleep(pause)
        else:
            return
    source.replace(target)


def put_new(part: Path, wanted: Path) -> Path:
    """Move the whole file ``part`` to ``wanted``, or where something lies there, to the same name with a number. Of two
    that come at once with one name, in whatever processes, neither takes the other's place. Returns where it lies now.
    Raises OSError."""
    number, path = 0, wanted
    while True:
        try:
            os.link(part, path)
        except FileExistsError:
            number += 1
            path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
        except OSError:
            # This file system has no second names for a file: looking first is the best that can be done there.
            if not os.path.lexists(path):
                part.replace(path)
                return path
            number += 1
            path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
        else:
            part.unlink()
            flush_folder(path.parent)
            return path


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link, but not what the link leads to. It is no error if
    nothing is there."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


def flush(path: Path) -> None:
    """Flush a file's content to the disk, where the system can do that."""
    with contextlib.suppress(OSError), path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can do that."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def not_written(path: Path, error: OSError) -> StorageFailed:
    """Return the error for a file that could not be written. Its sentence names the file and its folder, never the
    whole path."""
    name, folder = shown(path.name), shown(path.parent.name)
    return StorageFailed(
        "{name} could not be written to {folder}: {reason}.", name=name, folder=folder, reason=error.strerror or error
    )
