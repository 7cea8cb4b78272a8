"""Says when a training has learned the person: the likeness has risen, and has then stopped rising."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from easyphoto.training.state import Score
from easyphoto.training.validation import GAIN

MARGIN = 0.01
"""A cosine that is higher by no more than this hasn't risen, however many pictures it was measured on."""


def learned(scores: Mapping[int, Score], patience: int) -> Score | None:
    """Return the best score if none of the last ``patience`` checkpoints is more alike than it beyond the noise of the
    measurement, or None while the training should go on.

    ``scores`` are those of the checkpoints by step, with that of the base model at step 0. A training whose likeness
    never rose above that of the base model has learned nothing yet, so it goes on. With a patience of 0 every training
    does.
    """
    base, steps = scores.get(0), sorted(step for step in scores if step > 0)
    if patience < 1 or base is None or len(steps) <= patience:
        return None
    best = max((scores[step] for step in steps[:-patience]), key=float)
    if best.likeness - base.likeness < GAIN:
        return None
    return None if any(_rises(best, scores[step]) for step in steps[-patience:]) else best


def _rises(before: Score, after: Score) -> bool:
    return after.cosine - before.cosine > max(MARGIN, _noise(before, after))


def _noise(before: Score, after: Score) -> float:
    """Return the standard error of the mean difference between two scores.

    Both were measured on the same templates with the same seed, so each picture is compared with its counterpart. One
    picture tells nothing of the noise.
    """
    if len(before.each) != len(after.each) or len(after.each) < 2:
        return 0.0
    differences = np.subtract(after.each, before.each)
    return float(differences.std(ddof=1) / len(differences) ** 0.5)
