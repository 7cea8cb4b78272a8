"""Measures how much the LoRA's pictures look like the person: it paints faces into templates and compares them with
photos."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from easyphoto import families, pictures
from easyphoto.errors import StorageFailed
from easyphoto.ports import Embedding, Face, Image, Img2Img, Mask, OnStep, Vision
from easyphoto.sd import render
from easyphoto.sd.parts import Parts
from easyphoto.storage.triggers import TRIGGER
from easyphoto.training import crops
from easyphoto.training.state import Score
from easyphoto.vision import damage, geometry, landmarks, largest, masks

log = logging.getLogger(__name__)

STRENGTH = 0.65
WORKS_FROM = 0.15
"""A LoRA that gained nothing did not work if its calibrated likeness is below this. (ArcFace's cosine of 0.10 is a
likeness of 0.09.)"""
GAIN = 0.05
"""The least gain over the base model that is not an accident."""


@dataclass(frozen=True, eq=False)
class ValidationTemplate:
    """A square crop around a face, the part of it that is painted anew, the name of its picture, and the face as it was
    found in there."""

    image: Image
    mask: Mask
    name: str
    face: Face | None = None


def prepare(paths: Sequence[Path], vision: Vision, side: int, ratio: float, count: int) -> list[ValidationTemplate]:
    """Return the first ``count`` pictures that show a face, and leave out the others. Each is cut to the square of at
    most ``ratio`` faces around its largest face, and brought to ``side`` pixels."""
    found: list[ValidationTemplate] = []
    for path in paths:
        if len(found) == count:
            break
        image = pictures.load(path)
        face = largest(vision.detector.detect(image))
        if face is not None:
            found.append(around(image, face, vision, ratio, side, path.stem))
    return found


def packaged() -> tuple[Path, ...]:
    """Return portraits that installed packages carry, which serve if there is no other template."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or not found.submodule_search_locations:
        return ()
    path = Path(found.submodule_search_locations[0]) / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    return (path,) if path.is_file() else ()


class Validator:
    """Scores the LoRA that the parts hold at the moment."""

    def __init__(
        self,
        parts: Parts,
        vision: Vision,
        templates: Sequence[ValidationTemplate],
        photos: Sequence[Embedding],
        seed: int,
    ) -> None:
        """``photos`` are the embeddings of the photos that pictures are compared with."""
        self._parts, self._vision, self._templates, self._photos = parts, vision, templates, photos
        self._seed = seed
        self._effort = families.spec(parts.family).learning.validation

    @property
    def embedder(self) -> str:
        return self._vision.embedder.name

    def score(self, step: int, folder: Path | None, name: str, on_step: OnStep | None = None) -> Score:
        """Render every template, compare the pictures with the photos, and return the score.

        The score is the mean over the templates of the mean cosine to the photos. A picture without a face counts as
        that of a stranger, and so does one whose face is torn (:func:`easyphoto.vision.damage.torn`). If ``folder`` is
        given, the pictures are written there as ``<name>-<i>.jpg``. A picture that can't be written has no path, and
        that changes nothing else."""
        rendered = [self.render(template, on_step) for template in self._templates]
        cosines = [self.cosine(image, template) for image, template in zip(rendered, self._templates, strict=True)]
        calibration = self._vision.embedder.calibration
        paths = () if folder is None else _kept(folder, name, rendered)
        mean = float(np.mean(cosines))
        return Score(step, calibration.score(mean), mean, paths, tuple(cosines), self.embedder)

    def cosine(self, image: Image, template: ValidationTemplate | None = None) -> float:
        """Return the mean cosine of the largest face to the photos, or that of a stranger when there is no face, or
        when the face that was painted into ``template`` is torn."""
        face = largest(self._vision.detector.detect(image))
        if face is None or (template is not None and self._torn(image, face, template)):
            return self._vision.embedder.calibration.stranger_mean
        embedding = self._vision.embedder.embed(image, face)
        return float(np.mean([float(np.dot(embedding, photo)) for photo in self._photos]))

    def _torn(self, image: Image, face: Face, template: ValidationTemplate) -> bool:
        if template.face is None:
            return False
        before = landmarks.of(self._vision, template.image, template.face)
        return damage.torn(image, landmarks.of(self._vision, image, face), template.image, before)

    def render(self, template: ValidationTemplate, on_step: OnStep | None = None) -> Image:
        """Paint a face into one template with what the parts hold at the moment."""
        side = template.image.shape[0]
        job = Img2Img(
            prompt=TRIGGER,
            width=side,
            height=side,
            steps=self._effort.steps,
            sampler=self._effort.sampler,
            cfg_scale=self._effort.cfg_scale,
            seed=self._seed,
            image=template.image,
            denoising_strength=STRENGTH,
            mask=template.mask,
            mask_blur=max(1, side // 64),
        )
        return render.img2img(self._parts, job, None, on_step).image


def works(best: Score, base: Score | None) -> bool:
    """Whether the LoRA shows the person: it is alike enough, or clearly more alike than the picture of the base
    model."""
    return best.likeness >= WORKS_FROM or (base is not None and best.likeness - base.likeness >= GAIN)


def measured_by(embedder: str, scores: Mapping[int, Score]) -> dict[int, Score]:
    """Return the scores that ``embedder`` measured. Scores from before the embedder was written down count as its
    own."""
    return {step: score for step, score in scores.items() if embedder in ("", score.embedder) or not score.embedder}


def ranked(scores: Mapping[int, Score]) -> list[Score]:
    """Return the scores of the checkpoints, without the base model's, the most alike first. Of equals the later comes
    first."""
    return sorted((s for s in scores.values() if s.step > 0), key=lambda s: (-s.cosine, -s.step))


def best_picture(scores: Sequence[Score]) -> Path | None:
    """Return the most alike single picture of those that were written."""
    pairs = [(value, path) for s in scores for value, path in zip(s.each, s.pictures, strict=True) if path]
    return Path(max(pairs)[1]) if pairs else None


def _kept(folder: Path, name: str, images: Sequence[Image]) -> tuple[str, ...]:
    """Return where each picture was written, and an empty path for one that can't be written."""
    paths = []
    for index, image in enumerate(images):
        path = folder / f"{name}-{index}.jpg"
        try:
            pictures.save_jpg(path, image)
        except StorageFailed as error:
            log.warning("%s", error)
            paths.append("")
        else:
            paths.append(str(path))
    return tuple(paths)


def around(image: Image, face: Face, vision: Vision, ratio: float, side: int, name: str) -> ValidationTemplate:
    """Return the square of at most ``ratio`` faces around a face of a picture, at ``side`` pixels."""
    square = crops.square(face, ratio, (image.shape[0], image.shape[1]))
    part = geometry.resize(geometry.cut(image, square), (side, side))
    inside = geometry.in_crop(face, square, (side, side))
    whole = masks.close_holes(vision.parser.parse(part, inside).face)
    return ValidationTemplate(part, masks.dilate(whole, inside.width / 10), name, inside)
