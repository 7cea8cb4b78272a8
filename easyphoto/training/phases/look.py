"""The look phase: it judges the photos, chooses among them, and says what the training is about to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from easyphoto import families, pictures
from easyphoto.errors import InvalidRequest, StorageFailed, reason
from easyphoto.events import PhotosChecked, Progress, Started
from easyphoto.memory import MemoryPlan
from easyphoto.messages import Message
from easyphoto.ports import Image
from easyphoto.storage import files
from easyphoto.storage.folders import REPORT, SHEET
from easyphoto.training import crops, hardware, photo_coach, photo_sheet, photos, planning, state, validation
from easyphoto.training.phase import Phase, Training
from easyphoto.training.planning import TrainingPlan
from easyphoto.training.state import TrainState
from easyphoto.training.validation import ValidationTemplate


@dataclass(frozen=True, eq=False)
class LoadedPhotos:
    """The photos that could be read, upright, by the names that the user gave them."""

    images: dict[str, Image]


@dataclass(frozen=True, eq=False)
class Material:
    """What the training uses: the ``names`` of the photos by content, and for a person the ``selection``, which is None
    for a scene."""

    names: tuple[str, ...]
    selection: crops.Selection | None


@dataclass(frozen=True, eq=False)
class Looked:
    """What the training is about to do, and with what.

    ``earlier`` is the state that a resumed training goes on from, None for one that starts anew. ``fitted`` has the
    options that fit into the memory of ``device``.
    """

    material: Material
    templates: Sequence[ValidationTemplate]
    plan: TrainingPlan
    earlier: TrainState | None
    device: torch.device
    fitted: MemoryPlan


class LookPhase(Phase):
    """Looks at the photos, chooses among them, prepares the validation templates and makes the plan.

    It leaves the photo report in the person's folder. A resumed training looks again. The same photos give the same
    plan; if the plan is another one, the training is refused.
    """

    name = "look"
    makes = (LoadedPhotos, Looked)

    def run(self, training: Training) -> None:
        spec = training.spec
        material = choose(training)
        templates = _templates(training, material)
        plan = planning.make(spec, material.names, validated=bool(templates))
        earlier = _earlier(training, plan)
        device = hardware.device(spec)
        fitted = hardware.fit(spec, device)
        training.put(Looked(material, templates, plan, earlier, device, fitted))
        training.emit(Started(job=training.folder.name, what="train", plan=_described(training[Looked])))
        if fitted.changes or not fitted.fits:
            training.notice(fitted.sentence())


def choose(training: Training) -> Material:
    """Read the photos, write a report on them into the person's folder, and choose. Raises ``NoFace`` when no photo is
    good."""
    spec = training.spec
    images = _read(training)
    training.put(LoadedPhotos(images))
    if spec.config.is_scene:
        return Material(tuple(sorted(photos.digest(i) for i in images.values())), None)
    report = photos.report(list(images.items()), training.vision)
    for photo in report.photos:
        images[photo.name] = photos.upright(images[photo.name], photo)
    _show(training, report, images, None)
    selection = crops.select(report)
    _show(training, report, images, selection)
    if spec.config.validation:
        training.notice(_scored_against(selection))
    return Material(tuple(p.digest for p in selection.training), selection)


def _read(training: Training) -> dict[str, Image]:
    spec = training.spec
    images: dict[str, Image] = {}
    for index, (name, path) in enumerate(spec.named_photos):
        training.end_if_asked()
        try:
            images[name] = pictures.load(path, max_area=pictures.PHOTO_AREA, name=name)
        except InvalidRequest as error:
            training.notice(Message("A photo was left out: {error}", error=error))
        training.emit(Progress(stage="photos", step=index + 1, total=len(spec.photos)))
    if not images:
        raise InvalidRequest("None of the photos can be read.")
    return images


def _templates(training: Training, material: Material) -> list[ValidationTemplate]:
    spec = training.spec
    if not spec.config.validation or material.selection is None:
        return []
    learning = families.spec(spec.family).learning
    paths = spec.validation_templates or validation.packaged()
    count = learning.validation.templates
    found = validation.prepare(paths, training.vision, spec.config.resolution, learning.crop_ratio, count)
    if not found:
        training.notice(Message("There is no template with a face to validate on: the last checkpoint will be taken."))
    return found


def _earlier(training: Training, plan: TrainingPlan) -> TrainState | None:
    """Return the state to go on from. If there is none, remove what the phases of an earlier training left.

    Raises :class:`InvalidRequest` when the state is that of another training.
    """
    spec, job = training.spec, training.job
    earlier = state.load_state(training.folder) if spec.resume else None
    if earlier is not None and earlier.fingerprint != plan.fingerprint:
        raise InvalidRequest(
            "The earlier training was with other photos, settings or another base model: train again without resume."
        )
    if earlier is None:
        if spec.resume:
            training.notice(Message("There is no checkpoint to resume from: the training starts anew."))
        training.forget_earlier()
    if job.resumed.is_file():
        # Only now is it sure that the training goes on as it is asked; until here the first request stands.
        files.move(job.resumed, job.request)
    return earlier


def _described(looked: Looked) -> dict[str, Any]:
    """Return what the event says of the plan."""
    plan, selection = looked.plan, looked.material.selection
    chosen: dict[str, Any] = {} if selection is None else selection.to_mapping()
    return {
        "photos": len(plan.photos),
        "steps": plan.steps,
        "from_step": 0 if looked.earlier is None else looked.earlier.step,
        "checkpoints": len(plan.saves),
        "fusion": plan.fusion,
        "templates": [t.name for t in looked.templates],
        **chosen,
        "device": str(looked.device),
        "memory": looked.fitted.sentence(),
    }


def _show(
    training: Training, report: photos.PhotoReport, images: dict[str, Image], selection: crops.Selection | None
) -> None:
    """Write the report. The first time, tell of it, so that the user sees it even if no photo is good.

    What can't be written is left out with a notice, because the training needs none of it.
    """
    folder = training.spec.person_folder
    coaching = photo_coach.coach(report, training.vision.embedder.calibration).to_mapping()
    more = {"coach": coaching} | ({} if selection is None else {"selection": selection.to_mapping()})
    _spared(Message("The photo report"), lambda: report.save(folder / REPORT, **more), training)
    if selection is not None:
        return
    sheet = folder / SHEET
    drawn = _spared(Message("The sheet of the photos"), lambda: photo_sheet.save(sheet, report, images), training)
    training.emit(
        PhotosChecked(
            report=str(folder / REPORT),
            picture=str(sheet) if drawn else "",
            taken=len(report.taken),
            refused=len(report.refused),
        )
    )
    for warning in report.warnings:
        training.notice(warning)


def _spared(what: str, write: Callable[[], None], training: Training) -> bool:
    """Whether ``write`` could write. If it couldn't, a notice says so."""
    try:
        write()
    except StorageFailed as error:
        training.notice(Message("{what} failed and was left out: {reason}.", what=what, reason=reason(error)))
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
