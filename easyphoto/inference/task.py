"""What a portrait job consists of, and what is checked before anything is rendered."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from easyphoto import pictures
from easyphoto.config import SCENE_CONTROLS, Chosen, PortraitConfig
from easyphoto.errors import EasyPhotoError, InvalidRequest
from easyphoto.filenames import shown
from easyphoto.inference.gallery import Gallery, remembered
from easyphoto.messages import Message
from easyphoto.people import Person
from easyphoto.ports import Alpha, Checkpoint, Embedding, Image, Vision

TemplatePicture: TypeAlias = np.ndarray | Path | bytes  # type: ignore[type-arg]
"""A template: pixels, a file, or the bytes of one."""

OnNotice: TypeAlias = Callable[[str], None]
"""A function that gives the user a message which stops nothing."""

SEEDS = 2**32


def _silent(message: str) -> None:
    """Drop the message: nobody listens."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Subject:
    """A person who is to be portrayed.

    ``reference`` is the picture from which the face fusion takes the face, and ``face_id`` the best picture of the
    training, which is laid over the template's face for the controls. ``mean`` is the mean embedding of the photos, for
    the likeness; where it is None the embedding of the reference serves. ``gallery`` holds the photos: fusion takes the
    face from one of them where a template's head looks another way than the reference, and the likeness is measured
    against each of them. Without a gallery ``reference`` and ``mean`` serve. Without ``lora`` the person is known by
    the pictures alone, and where ``untrained`` says so an adapter is asked for in its place. ``shown`` is the picture
    that the adapter is shown instead of the person's own. ``works`` is False for a person whose training was marked as
    failed. ``reward`` is the small LoRA that the reward taught. ``folder`` is the person's folder, in which is kept
    what the photos show.
    """

    user_id: str
    lora: Path | None
    reference: Image
    face_id: Image
    mean: Embedding | None = None
    works: bool = True
    gallery: Gallery | None = None
    untrained: bool = False
    shown: Image | None = None
    reward: Path | None = None
    folder: Path | None = None


@dataclass(frozen=True, eq=False)
class Unusable:
    """A person who was chosen and can't be portrayed. The templates that need the person fail with ``error``."""

    user_id: str
    error: EasyPhotoError


@dataclass(frozen=True, eq=False, kw_only=True)
class PortraitTask:
    """One job: portraits of ``people`` on every template.

    ``people`` has one entry for each face of a template, from left to right; None leaves that face alone. Without
    templates the pictures are made from the text of ``config``, for the first person. ``lora_folder`` is where the
    host's LoRAs lie, ``scene`` is the LoRA of a scene, and ``pose_template`` the picture whose pose a text portrait
    takes. Each portrait is saved in ``folder`` where that is given. ``commercial_only`` leaves out LoRAs that may not
    be used commercially.
    ``chosen`` names the fields of ``config`` that the user gave a value to.
    """

    templates: tuple[TemplatePicture, ...]
    people: tuple[Subject | Unusable | None, ...]
    config: PortraitConfig
    checkpoint: Checkpoint
    lora_folder: Path | None = None
    scene: Path | None = None
    pose_template: Image | None = None
    folder: Path | None = None
    commercial_only: bool = False
    chosen: Chosen = None
    job: str = ""
    """The id of the request that the portraits are made for; stands in their recipes."""
    origin: str = ""
    """Over which way the request came; stands in the recipes where it is not empty."""
    done: frozenset[tuple[int, int]] = frozenset()
    """(index of the template, seed) of the portraits that have been made before and are not made again."""
    by_likeness: bool = False
    """Whether each face is given to whoever of ``people`` is most like it, instead of from left to right."""
    keep_stages: bool = True
    """Whether the portraits keep the pictures of their stages. Each is a picture of the template's size, and takes as
    long to paste as the portrait itself."""

    @property
    def subjects(self) -> list[Subject]:
        return [person for person in self.people if isinstance(person, Subject)]


@dataclass(frozen=True, eq=False)
class LoadedTemplate:
    """A template that was read. ``sha256`` is that of the file, or of the pixels where there is no file. ``alpha``
    means what it means in :class:`easyphoto.ports.Portrait`."""

    image: Image
    name: str
    sha256: str
    alpha: Alpha | None = None


def check(task: PortraitTask) -> None:
    """Raise :class:`InvalidRequest`, with one sentence, when the task can't work on any template."""
    if not task.subjects:
        for person in task.people:
            if isinstance(person, Unusable):
                raise person.error
        raise InvalidRequest("Choose at least one person: every face is set to none.")
    if task.templates:
        return
    if not task.config.text_to_image_input_prompt.strip() and task.scene is None:
        raise InvalidRequest("Choose a template, or write what the picture should show.")
    if task.config.t2i_control_way == SCENE_CONTROLS[2] and task.pose_template is None:
        raise InvalidRequest(
            "{t2i_control_way!r} needs a picture to take the pose from.", t2i_control_way=task.config.t2i_control_way
        )


def with_seed(config: PortraitConfig) -> PortraitConfig:
    """``config`` with a drawn seed in place of -1, such that the last portrait of a batch has a seed too."""
    if config.seed >= 0:
        return config
    return replace(config, seed=secrets.randbelow(SEEDS - config.batch_size))


def read(picture: TemplatePicture, index: int) -> LoadedTemplate:
    """Read and hash a template. Raises :class:`InvalidRequest` when it is no picture."""
    if isinstance(picture, np.ndarray):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or min(picture.shape[:2]) < 8:
            raise InvalidRequest("Template {index} is not an RGB picture of 8 bits.", index=index + 1)
        return LoadedTemplate(picture, f"template {index + 1}", hash_image(picture))
    name = shown(picture.name) if isinstance(picture, Path) else f"Template {index + 1}"
    made = pictures.read(picture, name=name)
    if isinstance(picture, Path):
        return LoadedTemplate(made.image, name, hashlib.sha256(picture.read_bytes()).hexdigest(), made.alpha)
    return LoadedTemplate(made.image, f"template {index + 1}", hashlib.sha256(picture).hexdigest(), made.alpha)


def hash_image(image: Image) -> str:
    """The SHA-256 of the shape and the pixels."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def seat(person: Person, vision: Vision, notice: OnNotice) -> Subject | Unusable:
    """:func:`subject`, or why there is none: one person's damaged files are no fault of the others'."""
    try:
        return subject(person, vision, notice)
    except EasyPhotoError as error:
        return Unusable(person.user_id, error)


def guest(user_id: str, picture: Image) -> Subject:
    """Somebody who is known by one picture alone."""
    return Subject(user_id=user_id, lora=None, reference=picture, face_id=picture, untrained=True, shown=picture)


def subject(person: Person, vision: Vision, notice: OnNotice = _silent) -> Subject:
    """Read the pictures of a trained person. A damaged file that can be done without (the best picture, one of many
    photos) is left out with a ``notice``. Raises :class:`InvalidRequest`, which names the person, when the reference
    picture can't be read."""
    try:
        reference = pictures.load(person.reference)
    except InvalidRequest as error:
        raise InvalidRequest(
            "The pictures of {user_id} can't be used: {error}", user_id=person.user_id, error=error
        ) from error
    unread: list[str] = []
    photos = [*person.photos(), person.reference]
    gallery = remembered(photos, person.folder / "embedding.json", vision, unread.append)
    if unread:
        notice(
            Message(
                "Of the photos of {user_id} these can't be read and don't count: {photos}.",
                user_id=person.user_id,
                photos=", ".join(unread),
            )
        )
    return Subject(
        user_id=person.user_id,
        lora=person.lora if person.trained else None,
        reference=reference,
        face_id=_face_id(person, reference, notice),
        mean=gallery.mean,
        gallery=gallery,
        works=person.works,
        untrained=not person.trained,
        reward=person.reward,
        folder=person.folder,
    )


def _face_id(person: Person, reference: Image, notice: OnNotice) -> Image:
    if person.face_id is None:
        return reference
    try:
        return pictures.load(person.face_id)
    except InvalidRequest as error:
        notice(
            Message(
                "The best picture of {user_id} can't be used, the reference picture serves: {error}",
                user_id=person.user_id,
                error=error,
            )
        )
        return reference


def names(people: Sequence[Subject | Unusable | None]) -> list[str]:
    """The user ids; ``none`` stands for a face that is left alone."""
    return ["none" if person is None else person.user_id for person in people]
