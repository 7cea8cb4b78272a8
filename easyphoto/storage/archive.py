"""Shared people: the zip file in which a person travels. It is written here, and read whoever wrote it.

Such a file may come from a stranger. There is a list of what may be in it. Everything else, and everything that is too
large, packed too tightly, encrypted, present twice, or leads to another folder, is refused with one sentence before a
byte is written.
"""

from __future__ import annotations

import json
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from easyphoto.errors import InvalidRequest, StorageFailed
from easyphoto.messages import Message
from easyphoto.storage import files, names
from easyphoto.storage.folders import (
    BACKUP,
    BEST,
    MARKS,
    MEAN,
    PROCESSED,
    REFERENCE,
    REPORT,
    SHEET,
    VALIDATION,
    WEIGHTS,
)

NAME, LORA, FILES = "user_id.txt", "lora.safetensors", "files"
MAX_MEMBERS = 2000
MAX_DIRECTORY = 4 * 2**20
"""The largest list of members, in bytes: it is read whole before anything can be said of it."""
MAX_ALL = 4 * 2**30
MAX_RATIO = 100
"""How many times larger than in the file a member may be; pictures and weights hardly shrink at all."""
FREE_RATIO = 16 * 2**20
"""A member of fewer bytes than this may have any ratio."""
_PICTURE, _TEXT = 64 * 2**20, 4 * 2**20
_CHUNK = 2**20
_NAME = r"[^/]{1,200}"
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, LookupError, ValueError)
"""What the standard library raises for zip files that are damaged, cut off, encrypted or made to confuse it."""


@dataclass(frozen=True)
class _Rule:
    """Which members may be there. If ``kept`` is False, older files have them, and they are not unpacked."""

    pattern: re.Pattern[str]
    size: int
    kept: bool = True


def _rule(path: str, size: int, *, kept: bool = True) -> _Rule:
    return _Rule(re.compile(path), size, kept)


ALLOWED = (
    _rule(re.escape(NAME), 2**10),
    _rule(re.escape(LORA), MAX_ALL),
    _rule(f"{FILES}/{re.escape(MARKS)}", _TEXT),
    _rule(f"{FILES}/{re.escape(REFERENCE)}", _PICTURE),
    _rule(f"{FILES}/{PROCESSED}/metadata\\.jsonl", _TEXT),
    _rule(f"{FILES}/{PROCESSED}/train/{_NAME}\\.jpg", _PICTURE),
    _rule(f"{FILES}/{WEIGHTS}/{BEST}/{_NAME}\\.(jpg|png)", _PICTURE),
    _rule(f"{FILES}/{WEIGHTS}/{VALIDATION}/{_NAME}\\.(jpg|png)", _PICTURE),
    _rule(f"{FILES}/{WEIGHTS}/{_NAME}-reward\\.safetensors", MAX_ALL),
    _rule(f"{FILES}/({re.escape(REPORT)}|{re.escape(MEAN)})", _PICTURE, kept=False),
    _rule(f"{FILES}/{re.escape(SHEET)}", _PICTURE, kept=False),
    _rule(f"{FILES}/{WEIGHTS}/{BEST}/{_NAME}\\.safetensors", MAX_ALL, kept=False),
)
_FOLDERS = frozenset(
    f"{folder}/"
    for folder in (
        FILES,
        f"{FILES}/{PROCESSED}",
        f"{FILES}/{PROCESSED}/train",
        f"{FILES}/{WEIGHTS}",
        f"{FILES}/{WEIGHTS}/{BEST}",
        f"{FILES}/{WEIGHTS}/{VALIDATION}",
    )
)


# --- writing ---------------------------------------------------------------------------------------------------------


def members_of(folder: Path) -> list[tuple[Path, str]]:
    """Return the files of a person's folder that travel, with their names inside the zip. Raises OSError when they
    can't be listed."""
    found = []
    for top in sorted(folder.iterdir()):
        if top.name in (BACKUP, "job") or top.is_symlink():
            continue
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            inside = str(PurePosixPath(FILES, *path.relative_to(folder).parts))
            if path.is_file() and not path.is_symlink() and (rule := _rule_of(inside)) is not None and rule.kept:
                found.append((path, inside))
    return found


def write(file: Path, user_id: str, folder: Path, lora: Path | None) -> None:
    """Pack a person into the zip ``file``, whole or not at all; a file that is there stays until the new one is
    complete. ``lora`` is None for somebody who was never trained.

    Raises :class:`InvalidRequest` when a file of the person can't be read, and :class:`StorageFailed` when the zip
    can't be written.
    """
    if file.is_dir():
        raise StorageFailed("{file} is a folder: name the file to export to.", file=file.name)
    if not file.absolute().parent.is_dir():
        raise StorageFailed(
            "There is no folder {parent} to export to: make it first.", parent=file.absolute().parent.name
        )
    try:
        members = [*([] if lora is None else [(lora, LORA)]), *members_of(folder)]
    except OSError as error:
        raise _unread(user_id, folder.name, error) from error
    with files.staged(file) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_member(NAME), user_id)
        for path, inside in members:
            _pack(archive, path, inside, user_id)


def _member(inside: str) -> zipfile.ZipInfo:
    """Return an entry whose time is that of the format's beginning, so that the same person always makes the same
    file."""
    info = zipfile.ZipInfo(inside)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info


def _pack(archive: zipfile.ZipFile, path: Path, inside: str, user_id: str) -> None:
    """Add one file to the zip."""
    info = _member(inside)
    try:
        source = path.open("rb")
    except OSError as error:
        raise _unread(user_id, path.name, error) from error
    with source:
        info.file_size = path.stat().st_size
        with archive.open(info, "w") as target:
            while True:
                try:
                    block = source.read(_CHUNK)
                except OSError as error:
                    raise _unread(user_id, path.name, error) from error
                if not block:
                    break
                target.write(block)


def _unread(user_id: str, name: str, error: OSError) -> InvalidRequest:
    return InvalidRequest(
        "{user_id} can't be exported: {name} can't be read ({reason}).",
        user_id=user_id,
        name=name,
        reason=error.strerror or error,
    )


# --- reading ---------------------------------------------------------------------------------------------------------


class Archive:
    """A zip file whose list of members was found good. ``user_id`` is whom it holds, and ``trained`` says whether their
    LoRA is in it."""

    def __init__(self, file: Path, opened: zipfile.ZipFile) -> None:
        self._file, self._zip = file, opened
        self._members = _checked(file, opened.infolist())
        self.trained = LORA in self._members
        if NAME not in self._members or not (self.trained or self._says_untrained()):
            raise InvalidRequest("{file} is not a person that was exported from here.", file=file.name)
        with _one_sentence(file):
            name = self._zip.read(self._members[NAME])
        try:
            raw = name.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest("{file} is not a person that was exported from here.", file=file.name) from error
        self.user_id = names.user_id(raw)

    def _says_untrained(self) -> bool:
        """Whether the marks say that this is somebody who was never trained."""
        marks = self._members.get(f"{FILES}/{MARKS}")
        if marks is None:
            return False
        with _one_sentence(self._file):
            data = self._zip.read(marks)
        try:
            said = json.loads(data)
        except (ValueError, RecursionError):
            return False
        return isinstance(said, dict) and said.get("trained") is False and not said.get("scene")

    def unpack(self, folder: Path) -> list[Path]:
        """Write the members that belong into a person's folder to ``folder``, and return their paths. Raises
        :class:`StorageFailed` when the disk doesn't take them."""
        written = []
        for inside, info in self._members.items():
            rule = _rule_of(inside)
            if inside not in (NAME, LORA) and rule is not None and rule.kept:
                target = folder.joinpath(*PurePosixPath(inside).parts[1:])
                self._copy(info, target)
                written.append(target)
        return written

    def unpack_lora(self, target: Path) -> None:
        """Write the LoRA to ``target``. Raises :class:`StorageFailed` when the disk doesn't take it."""
        self._copy(self._members[LORA], target)

    def _copy(self, info: zipfile.ZipInfo, target: Path) -> None:
        left = info.file_size
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("xb")
        except OSError as error:
            raise files.not_written(target, error) from error
        with _one_sentence(self._file), file, self._zip.open(info) as source:
            # The declared size was checked; whatever the data says, no more than that is written.
            while left > 0 and (block := source.read(min(_CHUNK, left))):
                left -= len(block)
                try:
                    file.write(block)
                except OSError as error:
                    raise files.not_written(target, error) from error
            if left or source.read(1):
                raise InvalidRequest("{file} is damaged or cut off.", file=self._file.name)


@contextmanager
def _one_sentence(file: Path) -> Iterator[None]:
    """Turn what reading the zip raises into :class:`InvalidRequest`. Only the code that reads the zip stands in the
    block, so that a mistake of the program isn't taken for a broken file."""
    try:
        yield
    except _BROKEN as error:
        raise InvalidRequest(
            "{file} is damaged, cut off or not a person that was exported from here.", file=file.name
        ) from error


@contextmanager
def reading(file: Path) -> Iterator[Archive]:
    """Open a shared person. Raises :class:`InvalidRequest` with one sentence when the file is no such thing, and for
    what can't be read in the block."""
    try:
        if not file.is_file():
            what = Message("is a folder, not a file") if file.is_dir() else Message("does not exist")
            raise InvalidRequest("{file} {what}.", file=file.name, what=what)
        _check_directory(file)
        with _one_sentence(file):
            opened = zipfile.ZipFile(file)
        with opened:
            yield Archive(file, opened)
    except OSError as error:
        raise InvalidRequest(
            "{file} can't be read: {reason}.", file=file.name, reason=error.strerror or error
        ) from error


def _check_directory(file: Path) -> None:
    """Refuse a list of members that is so long that reading it takes the memory away."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        opened.seek(max(0, size - (2**16 + 22 + 20)))
        tail = opened.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < 22:
        raise InvalidRequest("{file} is not a person that was exported from here.", file=file.name)
    members = int.from_bytes(tail[at + 10 : at + 12], "little")
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    if members > MAX_MEMBERS or length > MAX_DIRECTORY or b"PK\6\7" in tail[max(0, at - 20) : at]:
        raise InvalidRequest(
            "{file} holds more than a person has: at most {max_members} files.", file=file.name, max_members=MAX_MEMBERS
        )


def _checked(file: Path, infos: Sequence[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name. Raises :class:`InvalidRequest` for the first one that may not be there."""
    found: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    if len(infos) > MAX_MEMBERS:
        raise InvalidRequest(
            "{file} holds more than a person has: at most {max_members} files.", file=file.name, max_members=MAX_MEMBERS
        )
    for info in infos:
        fault = _fault(info)
        if not fault and (same := names.key(info.filename)) in seen:
            fault = Message("is there twice")
        if fault:
            raise InvalidRequest(
                "{file} was not unpacked: {shown} {fault}.",
                file=file.name,
                shown=_shown(info.orig_filename),
                fault=fault,
            )
        seen.add(same)
        if not info.is_dir():
            found[info.filename] = info
    if sum(info.file_size for info in found.values()) > MAX_ALL:
        raise InvalidRequest(
            "{file} holds more than a person has: at most {max_all} GB.", file=file.name, max_all=MAX_ALL // 2**30
        )
    return found


def _fault(info: zipfile.ZipInfo) -> str:
    """Return why a member may not be there; empty when it may."""
    name = info.orig_filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    if name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
        return Message("leads outside")
    if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        return Message("is a link or a device and no file")
    if info.is_dir():
        return "" if name in _FOLDERS else Message("is no part of a person")
    rule = _rule_of(name)
    if name != info.filename or rule is None:
        return Message("is no part of a person")
    if info.flag_bits & 0x1:
        return Message("is protected with a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return Message("is packed in a way that isn't read")
    if info.file_size > rule.size or info.file_size > FREE_RATIO + MAX_RATIO * info.compress_size:
        return Message("is too large")
    return ""


def _rule_of(inside: str) -> _Rule | None:
    """Return the rule that allows a member, None when there is none."""
    if not all(names.portable(part) for part in inside.split("/")):
        return None
    return next((rule for rule in ALLOWED if rule.pattern.fullmatch(inside)), None)


def _shown(name: str) -> str:
    """Return a member's name as it can stand in a sentence."""
    plain = "".join(c if c.isprintable() else "?" for c in name)
    return plain if len(plain) <= 80 else plain[:77] + "..."
