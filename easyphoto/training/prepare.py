"""The first part of a training: from photos to the pictures and embeddings that the rest works on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from easyphoto import families, pictures
from easyphoto.errors import Cancelled, InvalidRequest, StorageFailed, reason
from easyphoto.events import Listener, Notice, PhotosChecked, Progress
from easyphoto.messages import Message
from easyphoto.ports import Image, Vision
from easyphoto.storage.folders import PROCESSED, REFERENCE, REPORT, SHEET
from easyphoto.storage.triggers import SCENE_TRIGGER, TRIGGER
from easyphoto.training import crops, photo_sheet, photos, samples
from easyphoto.training.spec import TrainingSpec

Stop = Callable[[], bool]
"""Whether the training shall end."""


@dataclass(frozen=True, eq=False)
class Material:
    """What is trained on: the ``names`` of the photos by content, and for a person the ``selection``, None for a
    scene."""

    names: tuple[str, ...]
    selection: crops.Selection | None


def look(spec: TrainingSpec, vision: Vision, emit: Listener, stop: Stop) -> tuple[Material, dict[str, Image]]:
    """Read the photos, report on them into the person's folder, and choose. Raises ``NoFace`` when none is good."""
    images: dict[str, Image] = {}
    for index, (name, path) in enumerate(spec.named_photos):
        _leave_if(stop)
        try:
            images[name] = pictures.load(path, max_area=pictures.PHOTO_AREA, name=name)
        except InvalidRequest as error:
            emit(Notice(message=Message("A photo was left out: {error}", error=error)))
        emit(Progress(stage="photos", step=index + 1, total=len(spec.photos)))
    if not images:
        raise InvalidRequest("None of the photos can be read.")
    if spec.config.is_scene:
        return Material(tuple(sorted(photos.digest(i) for i in images.values())), None), images
    report = photos.report(list(images.items()), vision)
    for photo in report.photos:
        images[photo.name] = photos.upright(images[photo.name], photo)
    _show(spec.person_folder, report, images, emit, None)
    selection = crops.select(report)
    _show(spec.person_folder, report, images, emit, selection)
    if spec.config.validation:
        emit(Notice(message=_scored_against(selection)))
    return Material(tuple(p.digest for p in selection.training), selection), images


def crop(
    spec: TrainingSpec, material: Material, images: dict[str, Image], vision: Vision, emit: Listener, folder: Path
) -> None:
    """Write the processed pictures with their captions and the reference picture into the job folder."""

    def told(done: int, total: int) -> None:
        emit(Progress(stage="crops", step=done, total=total))

    if material.selection is None:
        made = crops.scene_crops(list(images.values()), vision, spec.config, told)
        reference = made[0].image
    else:
        ratio = families.spec(spec.family).learning.crop_ratio
        made = crops.person_crops(material.selection, images, vision, spec.config, ratio, told)
        reference = crops.reference_picture(material.selection, images)
    said = [TRIGGER] * len(made) if material.selection is not None else _captions(spec, images)
    samples.save(folder / PROCESSED, made, said)
    pictures.save_jpg(folder / REFERENCE, reference)


def caption(spec: TrainingSpec, own: str = "") -> str:
    """The text of a picture: the trigger for a person; for a scene what was written of this picture (``own``), else of
    the scene, and the words that wake its LoRA."""
    if not spec.config.is_scene:
        return TRIGGER
    said = (own.strip() or spec.config.training_prefix_prompt.strip()).strip(" ,")
    return said if SCENE_TRIGGER in said else ", ".join(part for part in (said, SCENE_TRIGGER) if part)


def _captions(spec: TrainingSpec, images: dict[str, Image]) -> list[str]:
    """The caption of each picture, in the order in which a scene's pictures are made."""
    own = dict(zip((name for name, _ in spec.named_photos), spec.captions, strict=False))
    return [caption(spec, own.get(name, "")) for name in sorted(images, key=lambda name: photos.digest(images[name]))]


def _show(
    folder: Path,
    report: photos.PhotoReport,
    images: dict[str, Image],
    emit: Listener,
    selection: crops.Selection | None,
) -> None:
    """Write the report; the event comes with the first writing, so that it is seen even where no photo is good. What
    of it can't be written is left out with a notice: the training needs none of it."""
    more = {} if selection is None else {"selection": selection.to_mapping()}
    _spared(Message("The photo report"), lambda: report.save(folder / REPORT, **more), emit)
    if selection is None:
        drawn = _spared(
            Message("The sheet of the photos"), lambda: photo_sheet.save(folder / SHEET, report, images), emit
        )
        emit(
            PhotosChecked(
                report=str(folder / REPORT),
                picture=str(folder / SHEET) if drawn else "",
                taken=len(report.taken),
                refused=len(report.refused),
            )
        )
        for warning in report.warnings:
            emit(Notice(message=warning))


def _spared(what: str, write: Callable[[], None], emit: Listener) -> bool:
    """Whether it could be written; if not, a notice says so."""
    try:
        write()
    except StorageFailed as error:
        emit(Notice(message=Message("{what} failed and was left out: {reason}.", what=what, reason=reason(error))))
        return False
    return True


def _scored_against(selection: crops.Selection) -> str:
    names = ", ".join(p.name for p in selection.held_out)
    if names:
        return Message("Likeness is scored against photos that are not trained on: {photos}.", photos=names)
    enough = crops.HOLD_OUT_FROM
    return Message(
        "Likeness is scored against the training photos, which flatters it; from {enough} photos on, one is held out.",
        enough=enough,
    )


def _leave_if(stop: Stop) -> None:
    if stop():
        raise Cancelled("The training was stopped.")
