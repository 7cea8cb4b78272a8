"""What a call to the vision worker costs beyond the model's own time, for a picture of 1024 x 1024 pixels.

    python -m benchmarks.vision_worker [--calls 30] [--python PATH]

Each role of the packaged backends is called; the worker says how long the model took, the rest is the cost of crossing
from process to process. The best call of each role is what it costs on a machine that does nothing else, and must stay
under 10 ms; the median shows what a busy machine adds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from easyphoto.ports import Face
from easyphoto.vision.remote import RemoteVision

LIMIT_MS = 10.0
SIDE = 1024


def face_picture() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A photograph of one face, enlarged to 1024 x 1024."""
    from skimage import data

    face = data.astronaut()[0:320, 60:380]
    return np.asarray(cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)


def cost(vision: RemoteVision, call: Callable[[], Any], times: int) -> tuple[float, float, float]:
    """Milliseconds of crossing (best and median) and of the model (median), over calls after one that loads."""
    call()
    crossing, model = [], []
    for _ in range(times):
        before = time.perf_counter()
        call()
        total = time.perf_counter() - before
        model.append(vision.last_seconds * 1000)
        crossing.append(total * 1000 - model[-1])
    return min(crossing), statistics.median(crossing), statistics.median(model)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=30)
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    options = parser.parse_args()
    vision = RemoteVision(lambda: options.python, {"models": str(Path("models").resolve())})
    image = face_picture()
    faces = vision.detector.detect(image)
    face: Face = faces[0]
    calls: dict[str, Callable[[], Any]] = {
        "detector": lambda: vision.detector.detect(image),
        "embedder": lambda: vision.embedder.embed(image, face),
        "parser": lambda: vision.parser.parse(image, face),
        "saliency": lambda: vision.saliency.mask(image, face),
        "retoucher": lambda: vision.retoucher.retouch(image),
        "fuser": lambda: vision.fuser.fuse(image, face, image, face),
        "enhancer": lambda: vision.enhancer.enhance(image, 1.0),
    }
    worst = 0.0
    for role, call in calls.items():
        times = options.calls if role in ("detector", "embedder", "parser") else max(3, options.calls // 6)
        best, median, model = cost(vision, call, times)
        worst = max(worst, best)
        name = vision.backends()[role]
        print(f"{role:10} {name:16} crossing: best {best:6.2f} ms, median {median:6.2f} ms   model {model:8.1f} ms")
    vision.release()
    print(f"worst {worst:.2f} ms, limit {LIMIT_MS:g} ms")
    return int(worst > LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
