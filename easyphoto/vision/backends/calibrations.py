"""What was measured of the embedders on photos: files of the package, which tools/calibrate_likeness.py writes."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from easyphoto.ports import Calibration


def measured(embedder: str) -> dict[str, Any]:
    """What the file of an embedder says: the cosines of one person's photos (``same``) and of strangers
    (``strangers``), each with the number of pairs, mean, standard deviation and percentiles, and the thresholds."""
    file = resources.files("easyphoto.vision.backends").joinpath(f"data/calibration-{embedder}.json")
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def load(embedder: str) -> Calibration:
    """The calibration of an embedder that has a file."""
    found = measured(embedder)
    same, strangers, reached = found["same"], found["strangers"], found["thresholds"]
    return Calibration(
        same_mean=same["mean"],
        same_std=same["std"],
        stranger_mean=strangers["mean"],
        stranger_std=strangers["std"],
        source=f"same person: {same['pairs']} pairs of {same['of']}; "
        f"strangers: {strangers['pairs']} pairs of {strangers['of']}",
        far_1=reached["far_1"],
        far_01=reached["far_01"],
    )
