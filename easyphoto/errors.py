"""The kinds of error that reach a user.

Each carries one clear sentence. The edges turn the kind into a message (UI), a status with ``code`` (API) or an exit
status (CLI); nothing else in the program needs to know how an error is shown.

    raise NotFound("There is no person {name!r}.", name=name)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from easyphoto.messages import Message


class EasyPhotoError(Exception):
    """Something went wrong that the user can be told in one sentence.

    The sentence is given as a template and the values of its places, or as a message that was made already.
    """

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    exit_status: ClassVar[int] = 1

    def __init__(self, template: str = "", /, **values: object) -> None:
        self.message = template if isinstance(template, Message) and not values else Message(template, **values)
        super().__init__(self.message)


class InvalidRequest(EasyPhotoError):
    """What was asked for can't be done as asked: a bad value, a broken picture, families that don't fit."""

    code = "invalid_request"
    http_status = 422
    exit_status = 2


class NoFace(InvalidRequest):
    """A picture that needs a face has none that we can find."""

    code = "no_face"
    exit_status = 3


class NotFound(InvalidRequest):
    """A person, template, job or file with that name does not exist."""

    code = "not_found"
    http_status = 404


class AssetMissing(EasyPhotoError):
    """A weight, package or environment that this feature needs isn't there; the sentence says how to get it."""

    code = "asset_missing"
    http_status = 409
    exit_status = 4


class TrainingFailed(EasyPhotoError):
    """The trainer ended without a LoRA; the sentence holds its last error."""

    code = "training_failed"
    exit_status = 5


class HostFailed(EasyPhotoError):
    """The engine could not make the picture, or made it without a control that was asked for."""

    code = "host_failed"
    exit_status = 6


class VisionFailed(EasyPhotoError):
    """Something that sees faces broke or died: a native library's crash, a worker that was killed."""

    code = "vision_failed"
    exit_status = 8


class StorageFailed(EasyPhotoError):
    """A file could not be written: a full disk, a read-only folder."""

    code = "storage_failed"
    http_status = 507
    exit_status = 7


class TooBusy(EasyPhotoError):
    """As much as can wait does so already; the same request may be taken later."""

    code = "too_busy"
    http_status = 429
    exit_status = 9


class Cancelled(EasyPhotoError):
    """The user stopped it."""

    code = "cancelled"
    http_status = 409
    exit_status = 130


def of(code: str, default: type[EasyPhotoError] = EasyPhotoError) -> type[EasyPhotoError]:
    """Return the kind of error that has this ``code``, and ``default`` where none has it."""
    return next((kind for kind in kinds() if kind.code == code), default)


def kinds(kind: type[EasyPhotoError] = EasyPhotoError) -> Iterator[type[EasyPhotoError]]:
    """Yield ``kind`` and every kind of error below it, those of other modules too; each one comes after the kind that
    it is a case of."""
    yield kind
    for below in kind.__subclasses__():
        yield from kinds(below)


_FOLDERS = re.compile(r"(?<!\w)(?:[A-Za-z]:)?[\\/](?:[^\s\\/:'\"]+[\\/])+")


def reason(error: BaseException) -> str:
    """Return what an exception says, as the end of a sentence: one line, without full stop, and without the folders of
    this machine."""
    if isinstance(error, EasyPhotoError):
        whole = error.message
        return Message(whole.template.rstrip(". "), **whole.values) if whole.values else Message(whole.rstrip(". "))
    said = (error.strerror or "") if isinstance(error, OSError) else str(error)
    line = next((line.strip() for line in said.splitlines() if line.strip()), "")
    return _FOLDERS.sub("", line).rstrip(". ") or type(error).__name__
