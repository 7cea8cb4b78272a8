"""The crop phase: it makes the square pictures that the network learns from, with their captions."""

from __future__ import annotations

from easyphoto import families, pictures
from easyphoto.events import Progress
from easyphoto.ports import Image
from easyphoto.storage.folders import LATENTS, PROCESSED, REFERENCE
from easyphoto.storage.triggers import TRIGGER
from easyphoto.training import captions, crops, photos, samples
from easyphoto.training.phase import Phase, Training
from easyphoto.training.phases.look import LoadedPhotos, Looked
from easyphoto.training.spec import TrainingSpec


class CropPhase(Phase):
    """Cuts the faces out of the photos, and then lets the photos go.

    It leaves the pictures with their captions, and the reference picture. If the pictures are encoded already, a
    resumed training cuts nothing again.
    """

    name = "crop"
    needs = (LoadedPhotos, Looked)
    leaves = (PROCESSED, REFERENCE)

    def run(self, training: Training) -> None:
        if not (training.folder / LATENTS).is_file():
            crop(training)
        training.drop(LoadedPhotos)


def crop(training: Training) -> None:
    """Write the pictures with their captions and the reference picture into the job folder."""
    spec, vision = training.spec, training.vision
    images, selection = training[LoadedPhotos].images, training[Looked].material.selection

    def on_photo(done: int, total: int) -> None:
        training.emit(Progress(stage="crops", step=done, total=total))
        training.end_if_asked()

    if selection is None:
        made = crops.scene_crops(list(images.values()), vision, spec.config, on_photo)
        reference = made[0].image
        texts = _captions(spec, images)
    else:
        ratio = families.spec(spec.family).learning.crop_ratio
        made = crops.person_crops(selection, images, vision, spec.config, ratio, on_photo)
        reference = crops.reference_picture(selection, images)
        texts = [TRIGGER] * len(made)
    samples.save(training.folder / PROCESSED, made, texts)
    pictures.save_jpg(training.job.reference, reference)


def _captions(spec: TrainingSpec, images: dict[str, Image]) -> list[str]:
    """Return the caption of each picture, in the order in which the pictures of a scene are made."""
    own = dict(zip((name for name, _ in spec.named_photos), spec.captions, strict=False))
    names = sorted(images, key=lambda name: photos.digest(images[name]))
    return [captions.taught(spec, own.get(name, "")) for name in names]
