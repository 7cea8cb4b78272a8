"""The publish phase: what the training made becomes the person's."""

from __future__ import annotations

from typing import Any

from easyphoto import likeness
from easyphoto.messages import Message
from easyphoto.storage.folders import FUSED, SEEN_PHOTOS, PersonFolder
from easyphoto.training import handover, labels, likeness_report, validation
from easyphoto.training.phase import Phase, Training
from easyphoto.training.phases.fuse import FusedLora
from easyphoto.training.phases.look import Looked
from easyphoto.training.phases.train import Trained
from easyphoto.training.spec import TrainingResult


class PublishPhase(Phase):
    """Puts everything in its place at once, says whether the LoRA works, and removes what only a resume would need.

    It can't be cancelled. If it is killed, the person is as before, or the next one who looks finishes the work; a
    resumed training publishes again.
    """

    name = "publish"
    needs = (Looked, Trained, FusedLora)
    makes = (TrainingResult,)
    leaves = (FUSED, SEEN_PHOTOS)

    def run(self, training: Training) -> None:
        spec, plan, folder = training.spec, training[Looked].plan, training.folder
        standing, fused = training[Trained].standing, training[FusedLora]
        score = fused.score
        works = score is None or validation.works(score, standing.base)
        scored = [*validation.ranked(standing.scores), *([score] if score else [])]
        picture = validation.best_picture(scored)
        panel = _panel(training)
        told = {} if panel is None else {"panel": panel}
        marks = labels.marks(spec, plan, standing, score, works=works) | told | training.marks
        path = folder / FUSED
        labels.write_lora(path, spec, fused.layers, labels.lora_header(spec, plan, standing.step, score))
        face_id = handover.everything(spec, folder, path, picture, marks, training.attachments)
        path.unlink()
        (folder / SEEN_PHOTOS).unlink(missing_ok=True)
        if score is not None and not works:
            training.notice(
                Message(
                    "The training did not work: the likeness is {words} ({works_from} at least) and "
                    "training did not raise it. Try other photos or more steps.",
                    words=likeness.words(score.likeness),
                    works_from=validation.WORKS_FROM,
                )
            )
        handover.clear(folder)
        training.put(
            TrainingResult(
                lora=spec.lora_path,
                reference=PersonFolder(spec.person_folder).reference,
                face_id=face_id,
                works=works,
                steps=standing.step,
                likeness=None if score is None else score.likeness,
                cosine=None if score is None else score.cosine,
                embedder=standing.embedder,
                panel=panel,
            )
        )


def _panel(training: Training) -> dict[str, Any] | None:
    """Return the likeness panel as plain JSON data, or None where nothing was validated."""
    looked, fused = training[Looked], training[FusedLora]
    selection, base = looked.material.selection, training[Trained].standing.base
    if selection is None or fused.score is None:
        return None
    found = likeness_report.panel(training, selection, looked.templates, fused.score, base)
    return None if found is None else found.to_mapping()
