"""The encode phase: it loads the base model and makes latents of the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from easyphoto.events import Progress
from easyphoto.storage.folders import LATENTS, PROCESSED
from easyphoto.training import dataset, hardware, samples
from easyphoto.training.dataset import LatentSet
from easyphoto.training.phase import Phase, Training
from easyphoto.training.phases.look import Looked

if TYPE_CHECKING:
    from accelerate import Accelerator

    from easyphoto.sd.parts import Parts


@dataclass(frozen=True, eq=False)
class Encoded:
    """The ``parts`` of the base model, the ``accelerator`` of the device, and the ``latents`` of the pictures. There is
    one caption for each picture, which is half as many as there are latents."""

    parts: Parts
    accelerator: Accelerator
    latents: LatentSet
    captions: list[str]


class EncodePhase(Phase):
    """Loads the base model and encodes the pictures.

    It needs the pictures that the phase before it left on the disk, and leaves their latents. A resumed training reads
    the latents.
    """

    name = "encode"
    needs = (Looked,)
    makes = (Encoded,)
    leaves = (LATENTS,)

    def run(self, training: Training) -> None:
        looked = training[Looked]
        accelerator = hardware.accelerator(looked.fitted.config, looked.device)
        by_role = looked.fitted.by_role
        parts = hardware.load(training.spec, looked.device, accelerator.mixed_precision, by_role=by_role)
        latents, captions = _latents(training, parts)
        training.put(Encoded(parts, accelerator, latents, captions))


def _latents(training: Training, parts: Parts) -> tuple[LatentSet, list[str]]:
    def on_image(done: int, total: int) -> None:
        training.end_if_asked()
        training.emit(Progress(stage="latents", step=done, total=total))

    processed, captions = samples.load(training.folder / PROCESSED)
    path = training.folder / LATENTS
    if not path.is_file():
        parts.placement.use(parts.vae)
        dataset.encode(parts.vae, processed, on_image).save(path)
    # What was just written is read back, so that a resumed training sees the very same numbers.
    return LatentSet.load(path), captions
