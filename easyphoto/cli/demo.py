"""The main job from end to end on photographs that installed packages contain: six photos go in, portraits come out,
and their likeness is measured.

The person is Eileen Collins in ``skimage.data.astronaut()``. The six photos are made from this one picture with crops,
small turns, light and colour. The templates are Grace Hopper (matplotlib) and a group of six people (insightface), of
whom one gets the face.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from easyphoto import pictures
from easyphoto.cli import show
from easyphoto.cli.contact_sheet import Cell, Row, draw
from easyphoto.cli.streams import write_json
from easyphoto.config import Paths, PortraitConfig
from easyphoto.errors import AssetMissing, StorageFailed
from easyphoto.likeness import rounded, words
from easyphoto.ports import Embedding, Image, Likeness, Portrait, Vision

if TYPE_CHECKING:
    from easyphoto.service import EasyPhoto, PortraitResult

PERSON = "astronaut"
CONFIG = PortraitConfig(
    seed=1,
    first_diffusion_steps=20,
    first_denoising_strength=0.3,
    second_diffusion_steps=10,
    second_denoising_strength=0.2,
)
"""The gentlest strengths that users are offered: with stronger ones, the small model that ships blurs the face."""
GROUP_FACE = 5
"""Which of the six faces becomes the person's, counted from 0 and from left to right."""

WITHOUT_GROUP = (
    "The demo leaves out its group of six: the picture comes with the package insightface"
    " (pip install --no-deps insightface)."
)


def photograph(package: str, *parts: str) -> Image:
    """Return a picture inside an installed package. Raises :class:`AssetMissing` if the package isn't there."""
    spec = importlib.util.find_spec(package)
    roots = list(spec.submodule_search_locations or []) if spec else []
    path = Path(roots[0], *parts) if roots else None
    if path is None or not path.is_file():
        raise AssetMissing(
            f"The demo takes a picture from the package {package}, which isn't installed: pip install {package}."
        )
    return pictures.load(path)


def photos(portrait: Image, count: int = 6, seed: int = 7) -> list[Image]:
    """Return photos that look as if they were taken one after another: with other crops, turns of up to 6 degrees,
    other light and colour, and one mirror image.

    ``portrait`` is turned about its upper half, and its border is mirrored so that the training learns no black corner.
    """
    random = np.random.default_rng(seed)
    height, width = portrait.shape[:2]
    taken = []
    for i in range(count):
        turn = cv2.getRotationMatrix2D((width * 0.45, height * 0.3), random.uniform(-6, 6), random.uniform(1.0, 1.15))
        turn[:, 2] += random.uniform(-0.03, 0.03, 2) * (width, height)
        photo = cv2.warpAffine(
            portrait, turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
        light = photo.astype(np.float32) / 255
        light = light ** random.uniform(0.8, 1.25) * random.uniform(0.92, 1.06, 3)
        photo = np.rint(light.clip(0, 1) * 255).astype(np.uint8)
        taken.append(np.ascontiguousarray(photo[:, ::-1]) if i % 3 == 2 else photo)
    return taken


@dataclass(frozen=True)
class Scene:
    """One template of the demo: who goes onto which face, and which face is measured."""

    name: str
    template: Image
    user_ids: tuple[str, ...]
    face: int


def scenes() -> list[Scene]:
    """Return the template with one face, and the group if the package that contains its picture is installed."""
    found = [Scene("single", photograph("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg"), (PERSON,), 0)]
    with contextlib.suppress(AssetMissing):
        group = photograph("insightface", "data", "images", "t1.jpg")
        found.append(Scene("group", group, ("none",) * GROUP_FACE + (PERSON,), GROUP_FACE))
    return found


def run(paths: Paths, out: Path | None, *, as_json: bool) -> int:
    """Train, make the portraits, measure them and draw the contact sheet. Returns the exit status."""
    from easyphoto.cli.standalone import build
    from easyphoto.service import TrainRequest

    began = time.monotonic()
    out = (out or paths.outputs / "demo").resolve()
    shutil.rmtree(out, ignore_errors=True)
    service = build(replace(paths, outputs=out / "outputs", loras=out / "models" / "Lora"))
    templates = scenes()
    if len(templates) < 2:
        sys.stderr.write(f"{WITHOUT_GROUP}\n")
    taken = photos(photograph("skimage", "data", "astronaut.png"))
    files = tuple(out / "photos" / f"{i}.png" for i in range(len(taken)))
    for file, photo in zip(files, taken, strict=True):
        pictures.save_png(file, photo)

    validation = out / "templates" / "single.png"
    pictures.save_png(validation, templates[0].template)
    request = TrainRequest(PERSON, files, validation_templates=(validation,))
    person = show.follow(service.train(request), as_json=as_json)
    trained = time.monotonic()
    measure = Measure(service.vision, person.photos())
    rows, numbers = [], []
    for scene in templates:
        portrait = _portrait(service, scene, CONFIG, as_json)
        plain = _portrait(service, scene, replace(CONFIG, lora_weights=0.0), as_json)
        row, measured = _row(scene, portrait, plain, measure)
        rows.append(row)
        numbers.append(measured)
    head = Row("photos", [Cell(photo, "") for photo in taken])
    footer = f"likeness by {service.vision.embedder.name}: 0 a stranger, 1 the same person"
    sheets = [("contact-sheet.jpg", [head, *rows]), *((f"contact-sheet-{row.title}.jpg", [head, row]) for row in rows)]
    for name, part in sheets:
        _keep_sheet(out / name, draw(part, footer))
    facts: dict[str, Any] = {
        "seconds": {"training": round(trained - began, 1), "all": round(time.monotonic() - began, 1)},
        "peak_memory_gb": _peak_memory(),
        "embedder": service.vision.embedder.name,
        "portraits": numbers,
    }
    pictures.write_bytes(out / "demo.json", json.dumps(facts, indent=1).encode())
    if as_json:
        write_json(facts)
    else:
        print(_table(numbers, service.vision.embedder.name))
        print(f"\n{facts['seconds']['all']:.0f} s in all. Look at {out / 'contact-sheet.jpg'}")
    return 0


def _keep_sheet(path: Path, sheet: Image) -> None:
    """Write a contact sheet. If that fails, say so and go on, because the portraits have been made and measured."""
    try:
        pictures.save_jpg(path, sheet, quality=88)
    except StorageFailed as error:
        sys.stderr.write(f"A contact sheet was left out: {error}\n")


class Measure:
    """Measures how much a face in a picture looks like the person."""

    def __init__(self, vision: Vision, photos: list[Path]) -> None:
        self._vision = vision
        self._mean = self._embedding_of([pictures.load(p) for p in photos])

    def _embedding_of(self, images: list[Image]) -> Embedding:
        found = []
        for image in images:
            faces = self._vision.detector.detect(image)
            if faces:
                found.append(self._vision.embedder.embed(image, max(faces, key=lambda f: f.width)))
        mean: Embedding = np.mean(found, axis=0)
        return mean / np.linalg.norm(mean)

    def face(self, image: Image, where: tuple[float, float]) -> Likeness | None:
        """Return the likeness of the face that is nearest to a point, or None if no face lies within its own width of
        it."""
        faces = self._vision.detector.detect(image)
        near = min(faces, key=lambda f: np.hypot(f.center[0] - where[0], f.center[1] - where[1]), default=None)
        if near is None or np.hypot(near.center[0] - where[0], near.center[1] - where[1]) > near.width:
            return None
        cosine = float(self._vision.embedder.embed(image, near) @ self._mean)
        calibration = self._vision.embedder.calibration
        return Likeness(cosine, calibration.score(cosine), self._vision.embedder.name)

    def center(self, image: Image, face: int) -> tuple[float, float]:
        return self._vision.detector.detect(image)[face].center


def _portrait(service: EasyPhoto, scene: Scene, config: PortraitConfig, as_json: bool) -> Portrait:
    from easyphoto.service import PortraitRequest

    source = service.paths.outputs.parent / "templates" / f"{scene.name}.png"
    if not source.exists():
        pictures.save_png(source, scene.template)
    request = PortraitRequest(scene.user_ids, (source,), config, keep_stages=True)
    result: PortraitResult = show.follow(service.generate(request), as_json=as_json)
    if not result.portraits:
        from easyphoto.errors import HostFailed

        raise HostFailed(f"The demo made no portrait on the {scene.name} template: {result.failures[0].message}")
    return result.portraits[0]


STAGES = (("template", "template"), ("fusion", "fusion only"), ("first", "first pass"), ("final", "final"))


def _row(scene: Scene, portrait: Portrait, plain: Portrait, measure: Measure) -> tuple[Row, dict[str, Any]]:
    """Return the stages of a portrait as cells with the likeness under each, and the same likenesses as numbers."""
    where = measure.center(scene.template, scene.face)
    pictures_ = {"template": scene.template, **portrait.stages, "final": portrait.image}
    pictures_["without LoRA"] = plain.image
    cells: list[Cell] = []
    facts: dict[str, Any] = {"template": scene.name, "seed": portrait.seed, "file": str(portrait.path)}
    likeness: dict[str, float | None] = {}
    for key, title in (*STAGES, ("without LoRA", "LoRA weight 0")):
        if key not in pictures_:
            continue
        scale = pictures_[key].shape[1] / scene.template.shape[1]
        found = measure.face(pictures_[key], (where[0] * scale, where[1] * scale))
        likeness[title] = None if found is None else rounded(found.score, 3)
        cells.append(Cell(pictures_[key], f"{title}: {'no face' if found is None else words(found.score)}"))
    return Row(scene.name, cells), {**facts, "likeness": likeness}


def _table(numbers: list[dict[str, Any]], embedder: str) -> str:
    titles = [title for _, title in STAGES] + ["LoRA weight 0"]
    lines = [f"Likeness to the person by {embedder} (0 a stranger, 1 the same person)", ""]
    lines.append("".join(["template".ljust(12), *(t.rjust(15) for t in titles)]))
    for row in numbers:
        scores = row["likeness"]
        cells = [words(scores.get(t)) for t in titles]
        lines.append("".join([str(row["template"]).ljust(12), *(c.rjust(15) for c in cells)]))
    return "\n".join(lines)


def _peak_memory() -> float | None:
    """Return the largest memory that this process has used plus that of its largest child, in GB; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round((own + child) / 2**20, 2)
