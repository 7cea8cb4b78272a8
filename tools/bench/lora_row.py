"""The LoRA row of evaluate.py: does a LoRA of six photos make strangers' templates look like the person?

For each identity (a held-out portrait, cropped as the portrait chain crops) six augmented crops are trained on with the
project's own trainer, framed as it frames photos, for STEPS steps with the other defaults of the bench family
(`easyphoto/families/bench.py`) and no validation; then the same templates (other held-out portraits, faces repainted at
strength 0.65) are rendered with and without the LoRA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from benchkit import SIZE, Faces, Image, Points, View, fast_bf16, find_project, say, sheet
from framing import mirrored

IDENTITIES, PHOTOS, STEPS, TEMPLATES = 20, 6, 300, 2
STRENGTH, RENDER_STEPS, GUIDANCE = 0.65, 15, 3.0
SAMPLER = "DPM++ 2M Karras"
Row = dict[str, Any]


def photos_of(picture: Image, seed: int) -> list[Image]:
    """Six crops of one portrait: 88 to 100% of its side, brighter or darker, half of them mirrored; no rotation."""
    rng = np.random.default_rng([13, seed])
    made = []
    for number in range(PHOTOS):
        side = round(SIZE * rng.uniform(0.88, 1.0))
        x, y = int(rng.integers(SIZE - side + 1)), int(rng.integers(SIZE - side + 1))
        cut = cv2.resize(picture[y : y + side, x : x + side], (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        cut = (cut.astype(np.float32) * rng.uniform(0.9, 1.1)).clip(0, 255).round().astype(np.uint8)
        made.append(mirrored(cut, None)[0] if number % 2 else cut)
    return made


def face_mask(landmarks: Points, width: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The hull of the 68 landmarks with the forehead, a tenth of the face's ``width`` wider, float32 in [0, 1]."""
    brows = landmarks[17:27] - np.array([0, 0.35 * (landmarks[8, 1] - landmarks[27, 1])], np.float32)
    hull = cv2.convexHull(np.concatenate([landmarks, brows]).astype(np.int32))
    canvas = np.zeros((SIZE, SIZE), np.float32)
    cv2.fillConvexPoly(canvas, hull, 1.0)
    reach = max(3, round(width / 10) | 1)
    wide: np.ndarray[Any, np.dtype[np.float32]] = cv2.dilate(canvas, np.ones((reach, reach), np.uint8))
    return wide


def scene(view: View, picture: Image) -> Scene:
    """A packed view as a template."""
    assert view.face is not None
    return Scene(picture, face_mask(np.array(view.landmarks, np.float32), view.face[2] - view.face[0]))


@dataclass(frozen=True, eq=False)
class Scene:
    """A template of 256 pixels a side, and where its face is repainted."""

    image: Image
    mask: np.ndarray[Any, np.dtype[np.float32]]


class Trial:
    """One identity: its LoRA, trained for so many steps with the other defaults of the bench family, and the pictures
    with and without it. Neither dlib nor a network of faces is used."""

    def __init__(self, model: Path, device: str, steps: int = STEPS) -> None:
        find_project()
        try:
            from easyphoto import sd
            from easyphoto.training import loop  # noqa: F401
        except ImportError as error:
            raise SystemExit(f"the LoRA row needs the project's trainer, easyphoto.training ({error})") from error
        self._model, self._device, self._steps = model, torch.device(device), steps
        self._sd: Any = sd

    def run(
        self, samples: Sequence[Any], scenes: Sequence[Scene], seed: int | None = None
    ) -> tuple[list[Image], list[Image]]:
        """Templates rendered without and with a LoRA of the samples. Another ``seed`` trains and renders otherwise;
        None is the trainer's own."""
        from easyphoto import families
        from easyphoto.config import Family
        from easyphoto.training import loop

        config = families.spec(Family.BENCH).train_config(max_train_steps=self._steps)
        config = config if seed is None else replace(config, seed=seed)
        parts = self._sd.load(self._model, device=self._device, dtype=torch.float32)
        lora, trainer = begun(parts, samples, config)
        with lora.silent():
            before = [painted(parts, one, seed or 0) for one in scenes]
        for _ in loop.steps(trainer, 1, self._steps, lambda: False):
            pass
        return before, [painted(parts, one, seed or 0) for one in scenes]


def begun(
    parts: Any, samples: Sequence[Any], config: Any, trained_by: Callable[..., Any] | None = None
) -> tuple[Any, Any]:
    """A new LoRA in the parts of the bench model, and what trains it on the samples: the project's own trainer, or what
    `trained_by` makes of the trainer's arguments."""
    if config.face_weight != 1 and any(sample.face is None for sample in samples):
        raise SystemExit(
            "Errors in the face are to count more, and these pictures don't say where it is: prepare them anew."
        )
    from accelerate import Accelerator

    from easyphoto.storage.triggers import TRIGGER
    from easyphoto.training import dataset, loop
    from easyphoto.training.lora import LoraShape, TrainedLora

    latents = dataset.encode(parts.vae, samples, lambda done, total: None)
    precision = "bf16" if fast_bf16(parts.device) else "no"
    accelerator = Accelerator(mixed_precision=precision, cpu=parts.device.type == "cpu")
    shape = LoraShape(config.rank, float(config.network_alpha))
    lora = TrainedLora(parts, shape, seed=config.seed, train_text=config.train_text_encoder)
    make = loop.Trainer if trained_by is None else trained_by
    return lora, make(parts, lora, latents, [TRIGGER] * len(samples), config, accelerator)


def painted(parts: Any, one: Scene, seed: int, steps: int = RENDER_STEPS) -> Image:
    """A template whose face is repainted with what the parts hold at the moment."""
    from easyphoto.ports import Img2Img
    from easyphoto.sd import render
    from easyphoto.storage.triggers import TRIGGER

    job = Img2Img(
        prompt=TRIGGER,
        width=SIZE,
        height=SIZE,
        steps=steps,
        sampler=SAMPLER,
        cfg_scale=GUIDANCE,
        seed=5 + seed,
        image=one.image,
        denoising_strength=STRENGTH,
        mask=one.mask,
        mask_blur=4,
    )
    return render.img2img(parts, job).image


def framed_sample(photo: Image, face: Any, vision: Any) -> Any:
    """A photo with its :class:`easyphoto.ports.Face` as the trainer gets it: with room around a face that fills it, and
    with where the face is."""
    from easyphoto import families
    from easyphoto.config import Family
    from easyphoto.training import crops
    from easyphoto.training.samples import Sample

    framed, _, known = crops.framed(photo, face, families.spec(Family.BENCH).learning.crop_ratio)
    return with_face(Sample(cv2.resize(framed, (SIZE, SIZE), interpolation=cv2.INTER_AREA), known), vision)


def with_face(sample: Any, vision: Any) -> Any:
    """A sample with where its face is, by the parser of ``vision``; nowhere if none is found. A training asks for it in
    which an error in the face counts more than one elsewhere."""
    from easyphoto.training import crops
    from easyphoto.vision import largest, masks

    face = largest(vision.detector.detect(sample.image))
    shown = masks.empty((SIZE, SIZE)) if face is None else crops.face_in(sample.image, face, vision)
    return replace(sample, face=shown)


def sample_of(faces: Faces, photo: Image, vision: Any) -> Any:
    """A photo as the trainer gets it; one without a face as it is."""
    from easyphoto.ports import Face
    from easyphoto.training.samples import Sample

    found = faces.find(photo)
    if found is None:
        return with_face(Sample(photo), vision)
    box, points = found
    return framed_sample(photo, Face(tuple(box.tolist()), points[:5]), vision)


def cosine(bench: Any, own: Any, picture: Image) -> float | None:
    """Cosine of the face's embedding to the person's, None without a face."""
    other = bench.faces.embedding(picture)
    return None if other is None else float(own @ other / np.linalg.norm(own) / np.linalg.norm(other))


def interval(gains: Sequence[float]) -> list[float]:
    """95% bootstrap interval of the median."""
    medians = np.median(np.random.default_rng(0).choice(gains, (2000, len(gains))), axis=1)
    return [round(float(value), 4) for value in np.percentile(medians, [2.5, 97.5])]


def likeness(bench: Any, person: Image, pictures: list[Image]) -> tuple[float, float]:
    """Mean cosine of dlib's embeddings to the person, and the share of pictures with a face (others count as 0.75,
    about a stranger's)."""
    own = bench.faces.embedding(person)
    values = [value for picture in pictures if (value := cosine(bench, own, picture)) is not None]
    found = len(values) / len(pictures)
    return float(np.mean(values + [0.75] * (len(pictures) - len(values)))), found


def cast(bench: Any, count: int) -> tuple[list[tuple[View, Image]], list[tuple[View, Image]]]:
    """`count` people and, apart from them, the strangers of four sets of templates."""
    usable = [item for item in bench.crops if "sunglasses" not in item[0].caption]
    strangers = usable[:: len(usable) // (4 * TEMPLATES)][: 4 * TEMPLATES]
    others = [item for item in usable if all(item[0] is not view for view, _ in strangers)]
    return others[:: len(others) // count][:count], strangers


def measure(bench: Any) -> Row:
    """Run all identities and sum up."""
    find_project()
    from easyphoto.vision import registry

    count = IDENTITIES if bench.limit <= 0 else min(bench.limit, IDENTITIES)
    people, strangers = cast(bench, count)
    trial, vision = Trial(Path(bench.model), str(bench.device)), registry.create(bench.models)
    gains, closed, found, rows = [], [], [], []
    for number, (_, picture) in enumerate(people):
        first = number % 4
        templates = strangers[first * TEMPLATES : (first + 1) * TEMPLATES]
        samples = [sample_of(bench.faces, photo, vision) for photo in photos_of(picture, number)]
        before, after = trial.run(samples, [scene(view, image) for view, image in templates])
        base, base_found = likeness(bench, picture, before)
        gained, gained_found = likeness(bench, picture, after)
        same, _ = likeness(bench, picture, photos_of(picture, number))
        gains.append(gained - base)
        closed.append((gained - base) / max(1e-3, same - base))
        found.append((base_found, gained_found))
        rows.append([picture, templates[0][1], before[0], after[0]])
        say(f"identity {number + 1} of {count}: {base:.3f} to {gained:.3f} (same person {same:.3f})")
    sheet([[p for row in rows[i : i + 3] for p in row] for i in range(0, len(rows), 3)], bench.out / "lora.jpg")
    shares = np.mean(found, axis=0)
    return {
        "identities": count,
        "steps": STEPS,
        "median_gain": round(float(np.median(gains)), 4),
        "interval": interval(gains),
        "median_gap_closed": round(float(np.median(closed)), 4),
        "face_found_without_and_with": [round(float(v), 4) for v in shares],
    }
