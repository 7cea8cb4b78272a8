"""CPU time of describing a face with dlib's network: as torch computes it and as dlib does, in turns.

    python -m benchmarks.embedder [--rounds 10] [--batch 8]

Both see the same chip, so what is compared is the network alone. The last lines say what the network costs once: the
import of torch in a process that has not done so yet, and reading the weights.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from easyphoto.vision.backends.dlib_faces import CHIP_SIDE, NativeNet, model_file

WEIGHTS = "dlib_face_recognition_resnet_model_v1.dat"
ONCE = """
import time
before = time.process_time()
{code}
print(time.process_time() - before)
"""


def chip() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A photographed face in the size that the network wants."""
    from skimage import data

    face = data.astronaut()[0:220, 110:330]
    return np.asarray(cv2.resize(face, (CHIP_SIDE, CHIP_SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def milliseconds(call: Callable[[], Any]) -> float:
    """CPU time of this process, all its threads."""
    before = time.process_time()
    call()
    return (time.process_time() - before) * 1000


def once(code: str) -> float:
    """CPU seconds that ``code`` takes in a process of its own."""
    done = subprocess.run([sys.executable, "-c", ONCE.format(code=code)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def told(values: list[float]) -> str:
    return f"{statistics.median(values):7.1f} ms a face ({min(values):.1f} to {max(values):.1f})"


def main() -> int:
    from easyphoto.vision.backends.dlib_net import TorchNet

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    path: Path = model_file(WEIGHTS)
    dlib, torch, face = NativeNet(path), TorchNet(path), chip()
    calls: dict[str, tuple[Callable[[], Any], int]] = {
        "dlib": (lambda: dlib.describe([face]), 1),
        "torch": (lambda: torch.describe([face]), 1),
        f"torch, {options.batch} at once": (lambda: torch.describe([face] * options.batch), options.batch),
    }
    took: dict[str, list[float]] = {name: [] for name in calls}
    for call, _ in calls.values():
        call()
    for _ in range(options.rounds):
        for name, (call, count) in calls.items():
            took[name].append(milliseconds(call) / count)
    for name, values in took.items():
        ratios = [a / b for a, b in zip(values, took["dlib"], strict=True)]
        print(f"{name:18} {told(values)}   ratio {statistics.median(ratios):.3f}")
    apart = np.abs(dlib.describe([face]) - torch.describe([face])).max()
    print(f"largest difference of a number {apart:.1e}")
    start = "from easyphoto.vision.backends.dlib_faces import NativeNet, model_file\n"
    for name, made in (("dlib", "NativeNet"), ("torch", "TorchNet")):
        more = "from easyphoto.vision.backends.dlib_net import TorchNet\n" if name == "torch" else ""
        seconds = once(f"{start}{more}net = {made}(model_file({WEIGHTS!r}))")
        print(f"{name:18} imported and loaded in {seconds:.2f} s of CPU time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
