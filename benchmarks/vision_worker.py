"""What a call to the vision worker costs beyond the model's own time, for a picture of 1024 x 1024 pixels.

    python -m benchmarks.vision_worker [--calls 30] [--python PATH]

Each role of the packaged backends is called. Two costs of crossing from process to process are printed: the CPU time
that both sides spend on it, which must stay under 10 ms, and the wall time beyond the model's, which on a busy machine
includes waiting for a core.
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
    """Median milliseconds over ``times`` calls after one that loads: CPU of crossing, wall of crossing, model."""
    call()
    cpu, wall, model = [], [], []
    for _ in range(times):
        before, busy = time.perf_counter(), time.thread_time()
        call()
        total, own = time.perf_counter() - before, time.thread_time() - busy
        seconds, worker = vision.last_call
        cpu.append((own + worker) * 1000)
        wall.append((total - seconds) * 1000)
        model.append(seconds * 1000)
    return statistics.median(cpu), statistics.median(wall), statistics.median(model)


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
        cpu, wall, model = cost(vision, call, times)
        worst = max(worst, cpu)
        name = vision.backends()[role]
        print(f"{role:10} {name:16} crossing: CPU {cpu:6.2f} ms, wall {wall:6.2f} ms   model {model:8.1f} ms")
    vision.release()
    print(f"worst {worst:.2f} ms, limit {LIMIT_MS:g} ms")
    return int(worst > LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
