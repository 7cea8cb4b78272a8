"""Find the weights by which easyphoto/vision/eyewear.py tells whether a face wears glasses.

    python tools/train_eyewear.py --portraits ../shared/portraits

A logistic regression on the edges around the eyes. The bench's captions say who wears glasses. It learns from those who
do and from as many times ``PLAIN`` others. Portraits that are held out are not learned from: they say how good it is,
and so do five parts of the others, each left out once."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools" / "bench")]
from benchkit import PORTRAITS, Faces, held_out  # noqa: E402
from captions import read  # noqa: E402

from easyphoto.vision import eyewear  # noqa: E402

OUT = ROOT / "easyphoto" / "vision" / "eyewear.json"
RATE, ROUNDS, DECAY, PARTS, PLAIN = 1.0, 300, 3.0, 5, 2
GLASSES = ("glasses", "sunglasses")
Values = NDArray[np.float64]


def described(folder: Path, files: list[str]) -> dict[str, Values]:
    """The edges around the eyes (2, n) of each portrait in which a face is found, as it is and mirrored."""
    faces, found = Faces(), {}
    for name in files:
        picture = cv2.imread(str(folder / name), cv2.IMREAD_COLOR)
        seen = None if picture is None else faces.find(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8))
        if seen is not None and picture is not None:
            rgb = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
            found[name] = np.stack([eyewear.shapes(rgb, seen[1], mirrored=m) for m in (False, True)]).astype(np.float64)
    return found


def fit(values: Values, worn: NDArray[np.bool_]) -> tuple[Values, float]:
    """The weights and the bias. Both kinds count as much, however many there are of each."""
    weights, bias = np.zeros(values.shape[1]), 0.0
    counts = np.where(worn, 0.5 / worn.mean(), 0.5 / (1 - worn.mean()))
    for _ in range(ROUNDS):
        wrong = counts * (1 / (1 + np.exp(-(values @ weights + bias))) - worn)
        weights -= RATE * (values.T @ wrong + DECAY * weights) / len(worn)
        bias -= RATE * float(wrong.mean())
    return weights, bias


def told(scores: Values, worn: NDArray[np.bool_]) -> str:
    """How many of each kind are told rightly."""
    seen, plain = (scores[worn] > 0).sum(), (scores[~worn] <= 0).sum()
    return f"{seen} of {worn.sum()} with glasses, {plain} of {(~worn).sum()} without"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, default=PORTRAITS)
    options = parser.parse_args()
    seen = read()
    held = held_out(seen)
    wearing = [name for name, one in seen.items() if one.eyewear in GLASSES]
    plain = sorted(set(seen) - set(wearing) - held)
    some = plain[:: max(1, len(plain) // (PLAIN * len(wearing)))]
    values = described(options.portraits, sorted({*wearing, *some, *held}))
    names = list(values)
    worn = np.array([name in wearing for name in names])
    apart = np.array([name in held for name in names])
    all_of = np.stack([values[name] for name in names])
    middle = all_of[~apart].mean((0, 1))
    all_of -= middle
    own = np.flatnonzero(~apart)
    part = np.arange(len(own)) % PARTS
    scores = np.zeros(len(names))
    for number in range(PARTS):
        learned = own[part != number]
        weights, bias = fit(np.concatenate(list(all_of[learned].swapaxes(0, 1))), np.tile(worn[learned], 2))
        scores[own[part == number]] = all_of[own[part == number]].mean(1) @ weights + bias
    weights, bias = fit(np.concatenate(list(all_of[own].swapaxes(0, 1))), np.tile(worn[own], 2))
    scores[apart] = all_of[apart].mean(1) @ weights + bias
    whole = {"weights": [round(1000 * float(w)) for w in weights], "bias": round(bias - float(middle @ weights), 4)}
    OUT.write_text(json.dumps(whole, separators=(",", ":")) + "\n", encoding="utf-8")
    sys.stdout.write(f"left out once: {told(scores[own], worn[own])}\nheld out: {told(scores[apart], worn[apart])}\n")
    wrong = [name for name, value, one in zip(names, scores, worn, strict=True) if (value > 0) != one]
    sys.stdout.write(f"told wrongly: {', '.join(wrong)}\n")


if __name__ == "__main__":
    main()
