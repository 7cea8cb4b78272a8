"""How steady a person is in a clip: this chain on whole clips, against the same chain frame by frame.

    python tools/bench/clip_measures.py --data DATA --user USER_ID [--portraits ../shared/portraits] [--out FOLDER]

Ten held-out portraits move as ``warped_clips`` moves them, and in one more clip two of them cross. A person who was
trained in the data folder takes the place of the first face of each clip. Both chains get the same parameters; the one
that does every frame by itself gets a random seed for each. One row a clip is told:

- likeness: the mean cosine to the person over the frames, and its standard deviation over time;
- warping error: how far each frame is from the one before it, brought there along the optical flow of the input, in
  levels of 255 around the face, as a ratio to the same of the input itself;
- wrong heads: frames in which another head than the person's was repainted. Only the clip with two people can have any.

The frames that are made and the rows stay in the output folder, and what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from benchkit import PORTRAITS, SIZE, Faces, Image, Pack, held_out, say, to_pictures
from captions import read
from numpy.typing import NDArray
from pack import encode, views_of
from warped_clips import load_portraits, render

from easyphoto import pictures
from easyphoto.cli import standalone
from easyphoto.config import Paths, PortraitConfig
from easyphoto.errors import EasyPhotoError
from easyphoto.inference import flow
from easyphoto.service import NOBODY, EasyPhoto, PortraitRequest, VideoRequest

CLIPS, FRAMES, CROSSING = 10, 8, 10
MOVEMENT = 16
"""Frames in which a portrait makes its whole movement: two seconds. The clips are its beginning."""
WIDE = 448
"""The width in pixels of the clip in which two people cross."""
HEAD = 176
"""The side in pixels of the square that each of the two is shrunk to."""
AROUND = 0.3
"""By how much of its size the box of a face is grown on each side for the warping error."""
REPAINTED = 2.0
"""A head is repainted if it differs from the input by so many levels of 255 in the mean."""

Point = tuple[float, float]
Made = tuple[list[Image], dict[int, float]]
"""The frames that a chain made, and the cosine of each that has one."""


@dataclass(frozen=True)
class Shot:
    """A clip to be measured. ``heads``: where the middle of each head is in each frame, the person's first."""

    name: str
    frames: Sequence[Image]
    heads: Sequence[Sequence[Point]] = ()


@dataclass
class Row:
    """What one chain made of one clip. ``cosines``: by the number of the frame, of those that have one."""

    clip: str
    chain: str
    cosines: dict[int, float] = field(default_factory=dict)
    ratio: float = float("nan")
    wrong: int = 0
    seconds: float = 0.0

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.cosines.values()))) if self.cosines else float("nan")

    @property
    def deviation(self) -> float:
        return float(np.std(list(self.cosines.values()))) if self.cosines else float("nan")


# ----------------------------------------------------------------------------------------------------------- clips


def moving_portraits(folder: Path, count: int, seed: int) -> list[list[Image]]:
    """As many held-out portraits as asked that have one view with the whole picture and a face, moving."""
    seen = read()
    faces, views, encoded = Faces(), [], []
    for file in sorted(held_out(seen)):
        picture = pictures.load(folder / file)
        view, small = views_of(picture, faces, {"file": file, "caption": seen[file].caption()}, True)[0]
        if view.kind == "whole" and view.landmarks:
            views.append(view)
            encoded.append(encode(small, 95))
        if len(views) == count:
            break
    with tempfile.TemporaryDirectory() as place:
        pack = Path(place) / "held.npz"
        Pack.write(pack, views, encoded)
        portraits = load_portraits(Pack(pack), True, torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    clips = (render(portraits, torch.tensor([index]), MOVEMENT, generator) for index in range(len(portraits)))
    return [to_pictures(clip[0]) for clip in clips]


def crossing(first: Sequence[Image], second: Sequence[Image]) -> Shot:
    """Two heads that go past each other, the first from left to right and behind the second."""
    y, x = np.mgrid[:HEAD, :HEAD] / (HEAD - 1) - 0.5
    round_ = np.clip((0.25 - x * x / 0.9 - y * y) / 0.05, 0, 1)[..., None].astype(np.float32)
    frames, heads = [], []
    last = len(first) - 1
    for index, (a, b) in enumerate(zip(first, second, strict=True)):
        canvas = np.full((SIZE, WIDE, 3), 128, np.float32)
        share = index / last
        places = [round(share * (WIDE - HEAD)), round((1 - share) * (WIDE - HEAD))]
        for picture, left, top in ((a, places[0], 12), (b, places[1], SIZE - HEAD - 12)):
            part = canvas[top : top + HEAD, left : left + HEAD]
            small = cv2.resize(picture, (HEAD, HEAD), interpolation=cv2.INTER_AREA).astype(np.float32)
            part += round_ * (small - part)
        frames.append(np.rint(canvas).astype(np.uint8))
        heads.append(((places[0] + HEAD / 2, 12 + HEAD / 2), (places[1] + HEAD / 2, SIZE - 12 - HEAD / 2)))
    return Shot("two cross", frames, heads)


# ---------------------------------------------------------------------------------------------------------- chains


def as_a_clip(service: EasyPhoto, user: str, shot: Shot, config: PortraitConfig) -> Made:
    """The chain on the whole clip."""
    with tempfile.TemporaryDirectory() as place:
        for index, frame in enumerate(shot.frames):
            pictures.save_png(Path(place) / f"{index:03}.png", frame)
        made = service.video(VideoRequest((user,), Path(place), config, format="frames")).wait()
    about = json.loads(made.about.read_text())
    cosines = {row["frame"]: row["likeness"]["cosine"] for row in about["likeness"]}
    return kept(made.path), cosines


def frame_by_frame(service: EasyPhoto, user: str, shot: Shot, config: PortraitConfig) -> Made:
    """The chain on every frame by itself, each with a seed of its own. A frame that can't be done stays as it is."""
    frames: list[Image] = []
    cosines: dict[int, float] = {}
    users = (user, NOBODY) if shot.heads else (user,)
    for index, frame in enumerate(shot.frames):
        encoded = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes()
        try:
            result = service.generate(PortraitRequest(users, (encoded,), config)).wait()
        except EasyPhotoError as error:
            say(f"  frame {index} of {shot.name} stays: {error}")
            frames.append(frame)
            continue
        portrait = result.portraits[0]
        frames.append(pictures.load(portrait.path) if portrait.path else frame)
        found = portrait.likeness[0] if portrait.likeness else None
        if found is not None:
            cosines[index] = found.cosine
    return frames, cosines


CHAINS: Mapping[str, Callable[[EasyPhoto, str, Shot, PortraitConfig], Made]] = {
    "clip": as_a_clip,
    "frame by frame": frame_by_frame,
}

# -------------------------------------------------------------------------------------------------------- measures


def boxes(service: EasyPhoto, shot: Shot) -> list[tuple[slice, slice]]:
    """The part of each frame that the warping error looks at: around the largest face, or the one before it."""
    found: list[tuple[slice, slice]] = []
    for frame in shot.frames:
        height, width = frame.shape[:2]
        faces = service.vision.detector.detect(frame)
        if not faces:
            found.append(found[-1] if found else (slice(0, height), slice(0, width)))
            continue
        face = max(faces, key=lambda one: one.width)
        x0, y0, x1, y1 = face.box
        more = AROUND * face.width
        found.append((slice(max(0, int(y0 - more)), int(y1 + more)), slice(max(0, int(x0 - more)), int(x1 + more))))
    return found


def warping_error(frames: Sequence[Image], source: Sequence[Image], where: Sequence[tuple[slice, slice]]) -> float:
    """How far each frame is from the last one brought along the flow of ``source``, in levels of 255."""
    apart = []
    for (before, now), (was, is_), box in zip(pairwise(frames), pairwise(source), where[1:], strict=True):
        there = flow.warped(before, flow.between(was, is_)).astype(np.float32)
        apart.append(float(np.abs(there - now)[box].mean()))
    return float(np.mean(apart))


def wrong_heads(frames: Sequence[Image], shot: Shot) -> int:
    """In how many frames the other head was repainted, as long as the two don't lie over each other."""
    count = 0
    for frame, source, heads in zip(frames, shot.frames, shot.heads, strict=False):
        (x, y), (other_x, other_y) = heads
        if np.hypot(x - other_x, y - other_y) < 0.8 * HEAD:
            continue
        reach = HEAD // 4
        part = (slice(int(other_y) - reach, int(other_y) + reach), slice(int(other_x) - reach, int(other_x) + reach))
        apart: NDArray[np.float32] = np.abs(frame[part].astype(np.float32) - source[part])
        count += float(apart.mean()) > REPAINTED
    return count


def measured(service: EasyPhoto, user: str, shot: Shot, config: PortraitConfig, keep: Path) -> Iterator[Row]:
    """One row for each chain in ``CHAINS``."""
    where = boxes(service, shot)
    own = warping_error(shot.frames, shot.frames, where)
    for name, chain in CHAINS.items():
        told, folder = keep / f"{shot.name}, {name}.json", keep / f"{shot.name}, {name}"
        if told.is_file():
            said = json.loads(told.read_text())
            yield Row(**{**said, "chain": name, "cosines": {int(n): one for n, one in said["cosines"].items()}})
            continue
        began = time.monotonic()
        made, cosines = chain(service, user, shot, config)
        ratio = warping_error(made, shot.frames, where) / own
        row = Row(shot.name, name, cosines, ratio, wrong_heads(made, shot), time.monotonic() - began)
        for index, frame in enumerate(made):
            pictures.save_png(folder / f"{index:03}.png", frame)
        told.write_text(json.dumps(asdict(row)))
        yield row
    rows = [shot.frames, *(kept(keep / f"{shot.name}, {name}") for name in CHAINS)]
    sheet = np.concatenate([np.concatenate(list(row)[:: max(1, len(row) // 6)], 1) for row in rows], 0)
    pictures.save_jpg(keep / f"{shot.name}.jpg", sheet)


def kept(folder: Path) -> list[Image]:
    """The frames of a folder in the order of their names."""
    return [pictures.load(path) for path in sorted(folder.iterdir())]


def table(rows: Sequence[Row]) -> str:
    """The rows as a table of Markdown, one line a clip."""
    head = (
        "| clip | likeness | deviation | warping error | wrong heads | likeness, by frame | deviation | warping error |"
    )
    lines = [f"{head} wrong heads |", "|---|---|---|---|---|---|---|---|---|"]

    def cells(row: Row) -> str:
        return f"{row.mean:.3f} | {row.deviation:.3f} | {row.ratio:.2f} | {row.wrong}"

    clips = [row for row in rows if row.chain == "clip"]
    alone = {row.clip: row for row in rows if row.chain != "clip"}
    lines += [f"| {row.clip} | {cells(row)} | {cells(alone[row.clip])} |" for row in clips if row.clip in alone]
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the data folder in which the person was trained")
    parser.add_argument("--user", required=True)
    parser.add_argument("--portraits", type=Path, default=PORTRAITS)
    parser.add_argument("--out", type=Path, default=Path("build/bench/clip-measures"))
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--steps", type=int, nargs=2, default=(10, 5), help="of the first and the second pass")
    parser.add_argument("--strength", type=float, nargs=2, default=(0.3, 0.2), help="of the first and the second pass")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    config = PortraitConfig(
        first_diffusion_steps=options.steps[0],
        second_diffusion_steps=options.steps[1],
        first_denoising_strength=options.strength[0],
        second_denoising_strength=options.strength[1],
        super_resolution=False,  # a clip has none
    )
    service = standalone.build(Paths.standalone(options.data))
    moving = moving_portraits(options.portraits, max(options.clips, 2), options.seed)
    shots = [Shot(f"{i + 1}", one[: options.frames]) for i, one in enumerate(moving[: options.clips])]
    shots.insert(1, crossing(moving[0][:CROSSING], moving[1][:CROSSING]))
    rows: list[Row] = []
    for shot in shots:
        for row in measured(service, options.user, shot, config, options.out):
            rows.append(row)
            say(
                f"{row.clip}, {row.chain}: likeness {row.mean:.3f} +- {row.deviation:.3f} of {len(row.cosines)} frames,"
                f" warping error {row.ratio:.2f} of the input's, wrong heads {row.wrong}, {row.seconds:.0f} s"
            )
    print(table(rows))


if __name__ == "__main__":
    main()
