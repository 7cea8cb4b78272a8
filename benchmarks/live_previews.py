"""What live previews cost: one pass on the bench checkpoint with a looker and without, in turns in one process.

    python -m benchmarks.live_previews [--rounds 4] [--steps 20]

Each step that may show a preview does so, which is at least as often as in a portrait: there it is once a second. CPU
seconds of the process count, not wall time. It ends with an error if a preview changed a pixel.
"""

from __future__ import annotations

import argparse
import base64
import statistics
import time

import numpy as np
import torch

from benchmarks.render_steps import PROMPT, SIDE, picture
from easyphoto import sd
from easyphoto.config import Paths
from easyphoto.events import Event, Preview
from easyphoto.inference import previewing
from easyphoto.ports import Image, Img2Img
from easyphoto.sd import render


class Looker:
    """A listener that looks, and the steps that it is told of."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._previewer = previewing.Previewer(self.hear, time.monotonic)

    def hear(self, event: Event) -> None:
        assert isinstance(event, Preview)
        self.sizes.append(len(base64.b64decode(event.jpeg)))

    def __call__(self, step: int, total: int) -> None:
        """Nothing is told of steps."""

    def wants_preview(self) -> bool:
        return True

    def preview(self, picture: Image) -> None:
        self._previewer.send("first", picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    parts = sd.load(Paths.standalone().bench, device="cpu", dtype=torch.float32)
    job = Img2Img(
        prompt=PROMPT,
        width=SIDE,
        height=SIDE,
        steps=options.steps,
        seed=1,
        image=picture(),
        denoising_strength=1.0,
    )
    looker, seconds = Looker(), dict[bool, list[float]]({False: [], True: []})
    before = render.img2img(parts, job).image  # chooses kernels
    for number in range(options.rounds):
        for watched in (False, True) if number % 2 else (True, False):
            start = time.process_time()
            made = render.img2img(parts, job, None, looker if watched else None)
            seconds[watched].append(time.process_time() - start)
            if not np.array_equal(made.image, before):
                raise SystemExit("a preview changed the picture")
    ratios = [a / b for a, b in zip(seconds[True], seconds[False], strict=True)]
    for name, values in (("without, CPU s", seconds[False]), ("with, CPU s", seconds[True]), ("ratio", ratios)):
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:16} median {middle:.3f}  from {low:.3f} to {high:.3f}")
    print(f"{len(looker.sizes) / options.rounds:.0f} previews a pass of at most {max(looker.sizes)} bytes")


if __name__ == "__main__":
    main()
