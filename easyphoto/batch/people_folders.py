"""A folder of folders, one person each: who is to be trained, who is trained already, and who was stopped half-way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from easyphoto import pictures
from easyphoto.batch.faults import Fault, WrongRows
from easyphoto.batch.given import look_at
from easyphoto.config import TrainConfig
from easyphoto.errors import EasyPhotoError, InvalidRequest, NotFound
from easyphoto.filenames import shown
from easyphoto.imaging import folder
from easyphoto.messages import Message
from easyphoto.ports import Checkpoint
from easyphoto.service import EasyPhoto, TrainRequest, photo_names
from easyphoto.storage import names

Standing = Literal["trained", "stopped", "new"]


@dataclass(frozen=True, eq=False)
class PersonToTrain:
    """One folder: the request for its training, and what that comes to."""

    request: TrainRequest
    config: TrainConfig
    checkpoint: Checkpoint

    @property
    def user_id(self) -> str:
        return self.request.user_id

    @property
    def steps(self) -> float:
        return float(self.config.steps(len(self.request.photos)))


def require(
    root: Path, service: EasyPhoto, config: TrainConfig, chosen: frozenset[str]
) -> tuple[tuple[PersonToTrain, ...], list[str]]:
    """Everybody in the folders of ``root``, by name, and what was passed over in them. :class:`WrongRows` with the
    fault of every folder that can't be trained from; nothing is queued."""
    found: list[PersonToTrain] = []
    faults: list[Fault] = []
    notices: list[str] = []
    called: list[str] = []
    for path in _folders(root):
        try:
            other = names.alike(path.name, called)
            if other is not None:
                raise InvalidRequest("The name is too much like {other!r}: rename one of them.", other=shown(other))
            called.append(path.name)
            found.append(_person(path, service, config, chosen, notices))
        except EasyPhotoError as error:
            faults.append(Fault(0, Message("{folder}: {error}", folder=shown(path.name), error=error)))
    if faults:
        raise WrongRows(shown(root.name), faults)
    return tuple(found), notices


def _folders(root: Path) -> list[Path]:
    try:
        if not root.is_dir():
            raise InvalidRequest("{path} is no folder: give one with a folder for each person.", path=shown(root.name))
        found = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise InvalidRequest(
            "The folder {path} can't be read: {reason}.", path=shown(root.name), reason=error.strerror or error
        ) from error
    if not found:
        raise InvalidRequest(
            "There are no folders in {path}: give one with a folder for each person.", path=shown(root.name)
        )
    return found


def _person(
    path: Path, service: EasyPhoto, config: TrainConfig, chosen: frozenset[str], notices: list[str]
) -> PersonToTrain:
    try:
        listing = folder.listing(path)
    except OSError as error:
        raise InvalidRequest(
            "The folder {path} can't be read: {reason}.", path=shown(path.name), reason=error.strerror or error
        ) from error
    if listing.notice:
        notices.append(Message("{folder}: {error}", folder=shown(path.name), error=listing.notice))
    if not listing.pictures:
        raise InvalidRequest("There are no pictures in the folder {path}.", path=shown(path.name))
    request = TrainRequest(path.name, listing.pictures, config, chosen=chosen)
    accepted, checkpoint = service.accept_training(request)
    _require_one(listing.pictures)
    return PersonToTrain(replace(request, user_id=names.user_id(path.name)), accepted, checkpoint)


def _require_one(photos: Sequence[Path]) -> None:
    """Raise :class:`InvalidRequest` where none of the photos can be read."""
    for photo in photos:
        try:
            look_at(photo)
        except InvalidRequest:
            continue
        return
    raise InvalidRequest("None of the photos can be read.")


def standing(person: PersonToTrain, service: EasyPhoto) -> Standing:
    """Whether somebody is ``trained`` with these photos and options, was ``stopped`` half-way with them, or neither.

    Their photos are read to be compared with those that the earlier training kept.
    """
    home = service.people.at(person.user_id)
    if not _same(person, service):
        return "new"
    if home.job.state.is_file():
        return "stopped"
    if home.job.photos.is_dir() or home.job.earlier.is_dir():
        return "new"  # it was cut off before there was anything to go on from
    try:
        known = service.people.get(person.user_id)
    except NotFound:
        return "new"
    return "new" if known.fault or known.cancelled else "trained"


def _same(person: PersonToTrain, service: EasyPhoto) -> bool:
    from easyphoto.training import resume

    home = service.people.at(person.user_id)
    try:
        before = resume.earlier(home.job)
    except InvalidRequest:
        return False
    if before is None or before.checkpoint.absolute() != person.checkpoint.path.absolute():
        return False
    if replace(before.config, sd_model_checkpoint="") != replace(person.config, sd_model_checkpoint=""):
        return False
    kept = home.photos()
    files = dict(zip(photo_names(person.request.photos), person.request.photos, strict=True))
    if len(kept) != len(before.names) or not set(before.names) <= set(files):
        return False
    return all(
        _upright(files[name]) == path.read_bytes() for name, path in zip(before.names, kept, strict=True)
    ) and all(_upright(photo) is None for name, photo in files.items() if name not in before.names)


def _upright(photo: object) -> bytes | None:
    """A photo as a training keeps it; None where it can't be read, and is left out."""
    if not isinstance(photo, Path):
        return None
    try:
        return pictures.jpg_bytes(pictures.load(photo, max_area=pictures.PHOTO_AREA))
    except InvalidRequest:
        return None
