"""Measure the bench checkpoint on the held-out portraits: one JSON, one contact sheet a row.

    python tools/bench/evaluate.py --pack build/bench/pack.npz --model models/bench --out build/bench/evaluation
    python tools/bench/evaluate.py --limit 8 --rows vae,img2img        # a subset, for CI

Every row prints what was reached beside what is asked. Distances are Euclidean distances of dlib's face embeddings.
Nothing here may be used to choose weights or settings: the portraits are held out. Each counts once, as a whole picture
where its face is not too small for that; `chain_crops` are the same people cut as the portrait chain cuts them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from benchkit import (
    MODEL_DIR,
    PORTRAITS,
    ROOT,
    SIZE,
    WORK,
    Faces,
    Image,
    Pack,
    Points,
    View,
    control_image,
    find_project,
    say,
    sheet,
    to_pictures,
    to_tensor,
)
from PIL import Image as Pil

STEPS, GUIDANCE, STRENGTH = 30, 2.0, 0.45
TEXT_GUIDANCE = 3.0
PROMPT = "portrait photo of a person"
PLAIN_PROMPTS = (
    "portrait photo of a man",
    "portrait photo of a woman",
    "portrait photo of a old man",
    "portrait photo of a young woman",
    "portrait photo of a person, smiling",
    "portrait photo of a man with beard",
    "portrait photo of a woman with long black hair",
    "portrait photo of a adult asian",
)
Row = dict[str, Any]
Portrait = tuple[View, Image]
CLOSE = 0.4
"""From this share of the width up a face is as large as the chain's crops of 2 to 2.5 times its box make it."""


class Bench:
    """The checkpoint's pipelines, the held-out views that show a face, and the face tools."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.model, self.out, self.limit = options.model, options.out, options.limit
        self._options = options
        self.portraits: Path = options.portraits
        self.device = torch.device(options.device)
        self.faces = Faces()
        self.pack = Pack(options.pack)
        self.views: list[Portrait] = []
        self._crops: dict[str, Portrait] = {}
        seen: set[str] = set()
        for index in self.pack.indices(held=True):
            view, picture = self.pack.views[index], self.pack.image(index)
            if view.face is None or self.faces.embedding(picture) is None:
                continue
            if view.file not in seen:
                seen.add(view.file)
                self.views.append((view, picture))
            if view.face[2] - view.face[0] >= CLOSE * SIZE:
                self._crops[view.file] = view, picture
        self._base: Any = None

    @property
    def models(self) -> Path:
        """The models folder with the reporter of the chain's row, and the parser of the LoRA's."""
        return Path(self._options.models)

    @property
    def base(self) -> Any:
        """The text-to-image pipeline."""
        if self._base is None:
            from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

            pipe = StableDiffusionPipeline.from_pretrained(
                self.model, torch_dtype=torch.float32, local_files_only=True, safety_checker=None
            )
            # DPM++ 2M Karras: of three samplers the one that kept training portraits nearest to themselves
            pipe.scheduler = DPMSolverMultistepScheduler.from_config(
                pipe.scheduler.config, algorithm_type="dpmsolver++", use_karras_sigmas=True
            )
            pipe.set_progress_bar_config(disable=True)
            self._base = pipe.to(self.device)
        return self._base

    def pipeline(self, name: str, controls: Sequence[str] = ()) -> Any:
        """A pipeline class of diffusers over the same weights, with ControlNets by kind."""
        import diffusers
        from diffusers import ControlNetModel

        if not controls:
            pipe = getattr(diffusers, name)(**self.base.components, requires_safety_checker=False)
        else:
            nets = [ControlNetModel.from_pretrained(self.model / "controlnet" / kind).float() for kind in controls]
            pipe = getattr(diffusers, name)(**self.base.components, controlnet=nets, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(self.device)

    def text_pipeline(self, name: str, controls: Sequence[str] = ()) -> Any:
        """The same with the project's sampler for pictures from text."""
        from diffusers import EulerAncestralDiscreteScheduler

        pipe = self.pipeline(name, controls)
        pipe.scheduler = EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config, timestep_spacing="linspace")
        return pipe

    def chosen(self) -> list[Portrait]:
        """The held-out portraits of this evaluation."""
        every = 1 if self.limit <= 0 else max(1, len(self.views) // self.limit)
        return self.views[::every][: self.limit or None]

    @property
    def crops(self) -> list[Portrait]:
        """All held-out portraits as the chain crops them, where they are large enough for that."""
        return list(self._crops.values())

    def with_crops(self) -> tuple[list[Portrait], list[int]]:
        """The chosen portraits, then those of their crops that are not among them; and where the crops are."""
        portraits, places = self.chosen(), []
        for place, (view, _) in enumerate(list(portraits)):
            crop = self._crops.get(view.file)
            if crop is None:
                continue
            if crop[0] is view:
                places.append(place)
            else:
                places.append(len(portraits))
                portraits.append(crop)
        return portraits, places


def generators(count: int, first: int) -> list[torch.Generator]:
    """One generator a picture, so that a picture is the same in any batch."""
    return [torch.Generator().manual_seed(first + i) for i in range(count)]


def in_batches(total: int, make: Callable[[int, int], list[Image]], size: int = 8) -> list[Image]:
    """Pictures of `make(start, stop)` in batches."""
    pictures: list[Image] = []
    for start in range(0, total, size):
        pictures += make(start, min(total, start + size))
    return pictures


def pictures_of(output: Any) -> list[Image]:
    """RGB uint8 pictures of a pipeline's output (output_type="np")."""
    return [(picture * 255).round().clip(0, 255).astype(np.uint8) for picture in output.images]


def conditions_of(pictures: Sequence[Image]) -> torch.Tensor:
    """A batch of condition pictures for one of several ControlNets, which take no lists: N x 3 x H x W in [0, 1]."""
    return (to_tensor(pictures) + 1) / 2


def sharpness(picture: Image) -> float:
    """Standard deviation of the Laplacian of the grey picture."""
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64), cv2.CV_64F).std())


def inner_sharpness(picture: Image, view: View) -> float:
    """Sharpness inside the view's face box."""
    assert view.face is not None
    x0, y0, x1, y1 = (int(v) for v in np.clip(view.face, 0, picture.shape[0]))
    return sharpness(np.ascontiguousarray(picture[y0:y1, x0:x1]))


def distances(bench: Bench, inputs: Sequence[Image], outputs: Sequence[Image]) -> list[float | None]:
    """Embedding distance of each pair; None where the output shows no face."""
    result: list[float | None] = []
    for before, after in zip(inputs, outputs, strict=True):
        first, second = bench.faces.embedding(before), bench.faces.embedding(after)
        result.append(None if first is None or second is None else float(np.linalg.norm(first - second)))
    return result


def summary(values: Sequence[float | None]) -> Row:
    """Share found, median and 95th percentile of the distances."""
    found = [value for value in values if value is not None]
    return {
        "pairs": len(values),
        "face_found": round(len(found) / max(1, len(values)), 4),
        "median_distance": round(float(np.median(found)), 4) if found else None,
        "p95_distance": round(float(np.percentile(found, 95)), 4) if found else None,
    }


def kept(values: Sequence[float | None]) -> Row:
    """What `summary` says, and the share of pictures that are the same person beyond doubt."""
    near = [value is not None and value < 0.35 for value in values]
    return {"distance_under_0.35": round(float(np.mean(near)), 4), **summary(values)}


def round_trip(bench: Bench, inputs: Sequence[Image]) -> list[Image]:
    """The pictures as the VAE gives them back."""

    def make(start: int, stop: int) -> list[Image]:
        with torch.no_grad():
            latent = bench.base.vae.encode(to_tensor(inputs[start:stop]).to(bench.device)).latent_dist.mean
            return to_pictures(bench.base.vae.decode(latent).sample)

    return in_batches(len(inputs), make)


def row_vae(bench: Bench) -> Row:
    """Round trip through the VAE."""
    portraits, crops = bench.with_crops()
    inputs = [picture for _, picture in portraits]
    outputs = round_trip(bench, inputs)
    scores = [cv2.PSNR(a, b) for a, b in zip(inputs, outputs, strict=True)]
    sharp = [sharpness(b) / sharpness(a) for a, b in zip(inputs, outputs, strict=True)]
    sheet([inputs[:12], outputs[:12]], bench.out / "vae.jpg")
    found = distances(bench, inputs, outputs)

    def part(places: Sequence[int]) -> Row:
        return {
            "psnr_db": round(float(np.mean([scores[i] for i in places])), 2),
            "sharpness_ratio": round(float(np.median([sharp[i] for i in places])), 3),
            **kept([found[i] for i in places]),
        }

    return {**part(range(len(bench.chosen()))), "chain_crops": part(crops)}


def image_to_image(
    bench: Bench, portraits: Sequence[Portrait], controls: Sequence[str]
) -> tuple[list[Image], list[Image], list[float | None]]:
    """Inputs, outputs and distances of img2img at STRENGTH with the same seeds whatever the controls."""
    name = "StableDiffusionControlNetImg2ImgPipeline" if controls else "StableDiffusionImg2ImgPipeline"
    pipe = bench.pipeline(name, controls)
    inputs = [picture for _, picture in portraits]

    def make(start: int, stop: int) -> list[Image]:
        part = inputs[start:stop]
        extra: dict[str, Any] = {}
        if controls:
            extra["control_image"] = [conditions_of([control_image(kind, p) for p in part]) for kind in controls]
        output = pipe(
            prompt=[PROMPT] * len(part),
            image=[Pil.fromarray(p) for p in part],
            strength=STRENGTH,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=generators(len(part), start),
            output_type="np",
            **extra,
        )
        return pictures_of(output)

    outputs = in_batches(len(inputs), make)
    return inputs, outputs, distances(bench, inputs, outputs)


def row_img2img(bench: Bench) -> Row:
    """img2img with no control: faces found, distance to the input, sharpness."""
    portraits, crops = bench.with_crops()
    inputs, outputs, found = image_to_image(bench, portraits, ())
    ratios = [
        inner_sharpness(b, view) / inner_sharpness(a, view) for (view, a), b in zip(portraits, outputs, strict=True)
    ]
    sheet([inputs[:8], outputs[:8], inputs[8:16], outputs[8:16]], bench.out / "img2img.jpg", side=160)

    def part(places: Sequence[int]) -> Row:
        sharp = round(float(np.median([ratios[i] for i in places])), 3)
        return {**summary([found[i] for i in places]), "face_sharpness_ratio": sharp}

    return {**part(range(len(bench.chosen()))), "chain_crops": part(crops)}


def chain_side(view: View) -> int:
    """The side at which the chain works on the view, in pixels."""
    find_project()
    from easyphoto.config import Family
    from easyphoto.inference import stages

    assert view.face is not None
    face = max(view.face[2] - view.face[0], view.face[3] - view.face[1])
    return stages.working_size((SIZE, SIZE), Family.BENCH, face)[0]


def row_enlarged(bench: Bench) -> Row:
    """VAE and img2img on the same portraits, those with small faces enlarged as the chain enlarges what it cuts out."""
    sides = [chain_side(view) for view, _ in bench.chosen()]
    coded: list[float | None] = []
    painted: list[float | None] = []
    for side in sorted(set(sides)):
        portraits = [
            (view, cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC))
            for (view, picture), own in zip(bench.chosen(), sides, strict=True)
            if own == side
        ]
        inputs, _, found = image_to_image(bench, portraits, ())
        painted += found
        coded += distances(bench, inputs, round_trip(bench, inputs))
    return {"median_side": int(np.median(sides)), "vae": kept(coded), "img2img": summary(painted)}


def row_controls(bench: Bench) -> Row:
    """img2img with tile and canny against the same without."""
    inputs, free, plain = image_to_image(bench, bench.chosen(), ())
    _, held, controlled = image_to_image(bench, bench.chosen(), ("tile", "canny"))
    pairs = [(a, b) for a, b in zip(plain, controlled, strict=True) if b is not None]
    closer = sum(a is None or b < a for a, b in pairs) / max(1, len(plain))
    sheet([inputs[:8], free[:8], held[:8]], bench.out / "controls.jpg", side=160)
    return {**summary(controlled), "closer_than_without": round(closer, 4)}


def from_text(bench: Bench, kind: str) -> tuple[list[View], list[Image], list[Image]]:
    """Views, their pictures, and pictures made from noise under one control of theirs."""
    pipe = bench.text_pipeline("StableDiffusionControlNetPipeline", (kind,))
    chosen = bench.chosen()

    def make(start: int, stop: int) -> list[Image]:
        conditions = []
        for view, picture in chosen[start:stop]:
            points: Points = np.array(view.landmarks, np.float32)
            conditions.append(control_image(kind, picture, points))
        output = pipe(
            prompt=[PROMPT] * len(conditions),
            image=[conditions_of(conditions)],
            num_inference_steps=STEPS,
            guidance_scale=TEXT_GUIDANCE,
            generator=generators(len(conditions), 1000 + start),
            output_type="np",
        )
        return pictures_of(output)

    outputs = in_batches(len(chosen), make)
    return [view for view, _ in chosen], [picture for _, picture in chosen], outputs


def row_openpose(bench: Bench) -> Row:
    """Landmarks of the output against the asked ones, in face widths (dlib's box)."""
    views, inputs, outputs = from_text(bench, "openpose")
    errors: list[float] = []
    for view, output in zip(views, outputs, strict=True):
        found = bench.faces.find(output)
        if found is not None and view.face is not None:
            width = view.face[2] - view.face[0]
            asked = np.array(view.landmarks, np.float32)
            errors.append(float(np.linalg.norm(found[1] - asked, axis=1).mean() / width))
    asked_sheet = [
        control_image("openpose", p, np.array(v.landmarks, np.float32)) for v, p in zip(views, inputs, strict=True)
    ]
    sheet([inputs[:8], asked_sheet[:8], outputs[:8]], bench.out / "openpose.jpg", side=160)
    median = round(float(np.median(errors)), 4) if errors else None
    return {"pairs": len(views), "face_found": round(len(errors) / len(views), 4), "median_error": median}


def row_color(bench: Bench) -> Row:
    """Distance of the LAB means inside the asked face box (CIE units)."""
    views, inputs, outputs = from_text(bench, "color")
    errors = []
    for view, before, after in zip(views, inputs, outputs, strict=True):
        assert view.face is not None
        x0, y0, x1, y1 = (int(v) for v in np.clip(view.face, 0, 256))
        means = []
        for picture in (before, after):
            lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
            means.append(lab[y0:y1, x0:x1].reshape(-1, 3).mean(0))
        errors.append(float(np.linalg.norm(means[0] - means[1])))
    sheet([inputs[:8], [control_image("color", p) for p in inputs[:8]], outputs[:8]], bench.out / "color.jpg", side=160)
    return {"pairs": len(views), "median_lab_distance": round(float(np.median(errors)), 3)}


def row_txt2img(bench: Bench) -> Row:
    """Pictures of plain prompts, and how near the nearest training portrait is (memorising)."""
    pipe = bench.text_pipeline("StableDiffusionPipeline")
    count = 64 if bench.limit <= 0 else min(64, bench.limit)
    prompts = [PLAIN_PROMPTS[i % len(PLAIN_PROMPTS)] for i in range(count)]

    def make(start: int, stop: int) -> list[Image]:
        output = pipe(
            prompt=prompts[start:stop],
            num_inference_steps=STEPS,
            guidance_scale=TEXT_GUIDANCE,
            generator=generators(stop - start, 2000 + start),
            output_type="np",
        )
        return pictures_of(output)

    outputs = in_batches(count, make)
    found = [bench.faces.embedding(picture) is not None for picture in outputs]
    small = {
        index: cv2.resize(bench.pack.image(index), (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
        for index in bench.pack.indices(held=False)
    }
    nearest, rows = [], []
    for picture in outputs[:8]:
        tiny = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
        gaps = {index: float(np.sqrt(((other - tiny) ** 2).mean())) for index, other in small.items()}
        index = min(gaps, key=lambda item: gaps[item])
        nearest.append(round(gaps[index], 1))
        rows.append(bench.pack.image(index))
    sheet([outputs[i : i + 8] for i in range(0, min(32, count), 8)], bench.out / "txt2img.jpg", side=128)
    sheet([outputs[:8], rows], bench.out / "nearest.jpg", side=128)
    return {"samples": count, "face_found": round(float(np.mean(found)), 4), "nearest_training_rmse_at_32px": nearest}


def row_speed(bench: Bench) -> Row:
    """Seconds a step at 256 px, CFG, three controls, batch 1."""
    kinds = ("canny", "openpose", "color")
    pipe = bench.pipeline("StableDiffusionControlNetImg2ImgPipeline", kinds)
    picture = bench.views[0][1]
    conditions = [Pil.fromarray(control_image(kind, picture)) for kind in kinds]
    marks: list[float] = []

    def mark(pipe: Any, step: int, time_step: Any, values: dict[str, Any]) -> dict[str, Any]:
        marks.append(time.perf_counter())
        return values

    pipe(
        PROMPT,
        image=Pil.fromarray(picture),
        control_image=conditions,
        strength=1.0,
        num_inference_steps=12,
        guidance_scale=7.0,
        callback_on_step_end=mark,
        generator=generators(1, 0),
    )
    steps = np.diff(marks[2:])
    return {"seconds_a_step": round(float(np.median(steps)), 4), "threads": torch.get_num_threads()}


def row_lora(bench: Bench) -> Row:
    """Likeness gained by a LoRA of six photos, over held-out identities (see lora_row.py)."""
    from lora_row import measure

    return measure(bench)


def row_chain(bench: Bench) -> Row:
    """What LoRA, fusion, face fusion and the second pass add to finished portraits (see chain_row.py)."""
    from chain_row import measure

    return measure(bench)


ROWS: dict[str, Callable[[Bench], Row]] = {
    "vae": row_vae,
    "img2img": row_img2img,
    "enlarged": row_enlarged,
    "controls": row_controls,
    "openpose": row_openpose,
    "color": row_color,
    "txt2img": row_txt2img,
    "lora": row_lora,
    "chain": row_chain,
    "speed": row_speed,
}
ASKED = {
    "vae": "psnr_db >= 30.5, distance_under_0.35 >= 0.95",
    "img2img": "face_found >= 0.95, median_distance < 0.45, face_sharpness_ratio >= 0.6",
    "enlarged": "nothing: the two rows before it at the sizes of the chain",
    "controls": "closer_than_without >= 0.90",
    "openpose": "median_error <= 0.08",
    "color": "median_lab_distance <= 6",
    "txt2img": "face_found >= 0.80",
    "lora": "interval of the median gain above 0, gap closed >= 0.40, detection not lower",
    "chain": "nothing: what each part adds to likeness, with its interval",
    "speed": "seconds_a_step <= 0.5 on 2 cores",
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, default=WORK / "pack.npz")
    parser.add_argument("--portraits", type=Path, default=PORTRAITS, help="for the chain row, which takes whole files")
    parser.add_argument(
        "--models",
        type=Path,
        default=ROOT / "models",
        help="where the chain row's reporter lies, and the LoRA row's parser",
    )
    parser.add_argument("--model", type=Path, default=MODEL_DIR)
    parser.add_argument("--out", type=Path, default=WORK / "evaluation")
    parser.add_argument("--rows", default="vae,img2img,enlarged,controls,openpose,color,txt2img,speed")
    parser.add_argument("--limit", type=int, default=0, help="portraits (and samples) per row; 0 is all")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(options)
    path = options.out / "evaluation.json"
    results: dict[str, Row] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name in options.rows.split(","):
        start = time.monotonic()
        row = ROWS[name](bench)
        results[name] = {**row, "asked": ASKED[name], "seconds": round(time.monotonic() - start, 1)}
        say(f"{name}: {json.dumps(results[name])}")
        part = path.with_suffix(".part")
        part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        part.replace(path)


if __name__ == "__main__":
    main()
