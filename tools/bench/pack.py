"""Pack the portraits, with faces and landmarks, into one file.

    python tools/bench/pack.py --portraits ../shared/portraits --out build/bench/pack.npz
    python tools/bench/pack.py --sources --out build/bench/sources.npz   # as they are, up to 448 px, to train on
    python tools/bench/pack.py --held 8 --out build/bench/few.npz        # only so many held-out ones, to evaluate

Views are 256 px squares (whole pictures and tight crops), which the VAE's training and the evaluation read. Sources
are the portraits as they are, from which `latents.py` cuts frames of any size. The 150 held-out portraits
(benchkit.held_out) are packed too, marked `held`; the training scripts leave them out. Among the sources, the
portraits by which a training is judged (benchkit.judging) are marked as well, and those that teach nothing good are
left out.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import cv2
import numpy as np
from benchkit import PORTRAITS, SIZE, WORK, Faces, Image, Pack, View, held_out, judging, say
from captions import read
from PIL import Image as Pil

TIGHT = 2.1
"""Side of a tight crop in face-box widths (the inference chain crops at 2 to 3)."""
SMALL_FACE = 0.24
"""Below this share of the picture's width a face is too small at 256 px: only the tight crop is kept."""
TIGHT_BELOW = 0.42
"""Above this share the whole picture already is a tight crop."""
SOURCE = 448
"""The longest side of a packed source, in pixels."""


def square(picture: Image, centre: tuple[float, float], side: float) -> tuple[Image, float, float, float]:
    """A square cut inside the picture, at most as large as fits: the cut, its left, top and side."""
    height, width = picture.shape[:2]
    side = min(side, height, width)
    left = min(max(0.0, centre[0] - side / 2), width - side)
    top = min(max(0.0, centre[1] - side / 2), height - side)
    x, y, s = round(left), round(top), round(side)
    return picture[y : y + s, x : x + s], float(x), float(y), float(s)


def views_of(picture: Image, faces: Faces, record: dict[str, str], held: bool) -> list[tuple[View, Image]]:
    """The one or two views of a portrait."""
    scale = 640 / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    height, width = picture.shape[:2]
    found = faces.find(picture) or faces.find(picture, upsample=1)
    cuts = {"whole": square(picture, (width / 2, height * 0.45), float(min(width, height)))}
    if found is not None:
        box, _ = found
        face_width = float(box[2] - box[0])
        share = face_width / min(width, height)
        centre = (float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2 - 0.1 * face_width)
        if share < TIGHT_BELOW:
            cuts["tight"] = square(picture, centre, TIGHT * face_width)
        if share < SMALL_FACE:
            del cuts["whole"]
    views = []
    for kind, (cut, left, top, side) in cuts.items():
        grow = side < SIZE
        small = cv2.resize(cut, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC if grow else cv2.INTER_AREA)
        face = landmarks = None
        if found is not None:
            corner, factor = np.array([left, top], np.float32), SIZE / side
            face = ((found[0] - np.tile(corner, 2)) * factor).round(2).tolist()
            landmarks = ((found[1] - corner) * factor).round(2).tolist()
        view = View(record["file"], record["caption"], kind, held, face, landmarks)
        views.append((view, small.astype(np.uint8)))
    return views


def source_of(picture: Image, faces: Faces, record: dict[str, str], held: bool) -> tuple[View, Image]:
    """The portrait as it is, at most SOURCE pixels wide and high."""
    scale = SOURCE / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    found = faces.find(picture) or faces.find(picture, upsample=1)
    face, landmarks = (None, None) if found is None else (found[0].round(2).tolist(), found[1].round(2).tolist())
    return View(record["file"], record["caption"], "source", held, face, landmarks), picture


def encode(picture: Image, quality: int) -> bytes:
    """WebP bytes of an RGB picture."""
    sink = io.BytesIO()
    Pil.fromarray(picture).save(sink, "WEBP", quality=quality, method=4)
    return sink.getvalue()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, default=PORTRAITS)
    parser.add_argument("--out", type=Path, default=WORK / "pack.npz")
    parser.add_argument("--held", type=int, default=0, help="pack only so many of the held-out portraits; 0 packs all")
    parser.add_argument("--sources", action="store_true", help="pack the portraits as they are instead of views")
    parser.add_argument("--quality", type=int, default=90, help="WebP quality")
    options = parser.parse_args()
    seen = read()
    records = [{"file": file, "caption": row.caption(), "learn": row.learn} for file, row in sorted(seen.items())]
    held = held_out(record["file"] for record in records)
    if options.held:
        unseen = [record for record in records if record["file"] in held]
        records = unseen[:: max(1, len(unseen) // options.held)][: options.held]
    if options.sources:
        records = [record for record in records if record["learn"] == "yes"]
        held |= judging(seen)
    faces, views, encoded = Faces(), [], []
    for record in records:
        picture = cv2.imread(str(options.portraits / record["file"]), cv2.IMREAD_COLOR)
        if picture is None:
            raise SystemExit(f"{record['file']} can't be read")
        rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)
        shown = record["file"] in held
        made = [source_of(rgb, faces, record, shown)] if options.sources else views_of(rgb, faces, record, shown)
        for view, small in made:
            views.append(view)
            encoded.append(encode(small, options.quality))
    Pack.write(options.out, views, encoded)
    without = sum(view.face is None for view in views)
    size = options.out.stat().st_size / 1e6
    say(f"{len(records)} portraits, {len(views)} views ({without} without a face), {size:.1f} MB in {options.out}")


if __name__ == "__main__":
    main()
