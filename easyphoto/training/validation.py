"""How much the LoRA's pictures look like the person: inpaint faces into templates and compare them with photos."""

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
from easyphoto.vision import geometry, largest, masks

log = logging.getLogger(__name__)

STRENGTH = 0.65
WORKS_FROM = 0.15
"""Calibrated likeness under which a LoRA that gained nothing did not work; ArcFace's 0.10 is about that."""
GAIN = 0.05
"""The least gain over the base model that is no accident."""


@dataclass(frozen=True, eq=False)
class ValidationTemplate:
    """A square crop around a face, what of it is repainted, and the name of its picture."""

    image: Image
    mask: Mask
    name: str


def prepare(paths: Sequence[Path], vision: Vision, side: int, ratio: float, count: int) -> list[ValidationTemplate]:
    """The first ``count`` pictures with a face, others are left out: the square of at most ``ratio`` faces around the
    largest, in ``side`` pixels."""
    found: list[ValidationTemplate] = []
    for path in paths:
        if len(found) == count:
            break
        image = pictures.load(path)
        face = largest(vision.detector.detect(image))
        if face is not None:
            found.append(_template(image, face, vision, ratio, side, path.stem))
    return found


def packaged() -> tuple[Path, ...]:
    """Portraits that installed packages carry, for when there is no other template."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or not found.submodule_search_locations:
        return ()
    path = Path(found.submodule_search_locations[0]) / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    return (path,) if path.is_file() else ()


class Validator:
    """Scores whatever LoRA the parts hold at the moment."""

    def __init__(
        self,
        parts: Parts,
        vision: Vision,
        templates: Sequence[ValidationTemplate],
        photos: Sequence[Embedding],
        seed: int,
    ) -> None:
        """``photos``: embeddings of the photos to compare with."""
        self._parts, self._vision, self._templates, self._photos = parts, vision, templates, photos
        self._seed = seed
        self._effort = families.spec(parts.family).learning.validation

    @property
    def embedder(self) -> str:
        return self._vision.embedder.name

    def score(self, step: int, folder: Path | None, name: str, on_step: OnStep | None = None) -> Score:
        """Render every template, compare, and write the pictures to ``folder``, if given, as ``<name>-<i>.jpg``. One
        that can't be written has no path and changes nothing else.

        The mean over the templates of the mean cosine to the photos; a picture without a face counts as a stranger's.
        """
        rendered = [self._render(template, on_step) for template in self._templates]
        cosines = [self.cosine(image) for image in rendered]
        calibration = self._vision.embedder.calibration
        paths = () if folder is None else _kept(folder, name, rendered)
        mean = float(np.mean(cosines))
        return Score(step, calibration.score(mean), mean, paths, tuple(cosines), self.embedder)

    def cosine(self, image: Image) -> float:
        """The mean cosine of the largest face to the photos; a stranger's when there is no face."""
        face = largest(self._vision.detector.detect(image))
        if face is None:
            return self._vision.embedder.calibration.stranger_mean
        embedding = self._vision.embedder.embed(image, face)
        return float(np.mean([float(np.dot(embedding, photo)) for photo in self._photos]))

    def _render(self, template: ValidationTemplate, on_step: OnStep | None) -> Image:
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
    """Whether the LoRA shows the person: alike enough, or clearly more alike than the base model's picture."""
    return best.likeness >= WORKS_FROM or (base is not None and best.likeness - base.likeness >= GAIN)


def measured_by(embedder: str, scores: Mapping[int, Score]) -> dict[int, Score]:
    """The scores whose numbers are ``embedder``'s; those of before it was written down count as its own."""
    return {step: score for step, score in scores.items() if embedder in ("", score.embedder) or not score.embedder}


def ranked(scores: Mapping[int, Score]) -> list[Score]:
    """The checkpoints (not the base model), most alike first; of equals, the later."""
    return sorted((s for s in scores.values() if s.step > 0), key=lambda s: (-s.cosine, -s.step))


def best_picture(scores: Sequence[Score]) -> Path | None:
    """The single most alike picture of those that were written."""
    pairs = [(value, path) for s in scores for value, path in zip(s.each, s.pictures, strict=True) if path]
    return Path(max(pairs)[1]) if pairs else None


def _kept(folder: Path, name: str, images: Sequence[Image]) -> tuple[str, ...]:
    """Where each picture is written, empty where it can't be."""
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


def _template(image: Image, face: Face, vision: Vision, ratio: float, side: int, name: str) -> ValidationTemplate:
    square = crops.square(face, ratio, (image.shape[0], image.shape[1]))
    part = geometry.resize(geometry.cut(image, square), (side, side))
    inside = geometry.in_crop(face, square, (side, side))
    whole = masks.close_holes(vision.parser.parse(part, inside).face)
    return ValidationTemplate(part, masks.dilate(whole, inside.width / 10), name)
