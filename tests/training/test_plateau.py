"""Tests of when a training has learned the person, and of a training that then ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from easyphoto import checkpoint as headers
from easyphoto.events import Notice
from easyphoto.training import job
from easyphoto.training.plateau import learned
from easyphoto.training.spec import TrainingSpec
from easyphoto.training.state import Score
from tests.training.conftest import SpecMaker
from tests.training.played_scores import RISEN
from tests.training.test_job import Watch

MODULE = "tests.training.played_scores"


def scores(*cosines: float | Sequence[float], every: int = 100) -> dict[int, Score]:
    """Scores of the base model and of checkpoints, each the mean of its pictures."""
    found = {}
    for index, value in enumerate(cosines):
        each = (value,) if isinstance(value, float | int) else tuple(value)
        mean = sum(each) / len(each)
        found[index * every] = Score(index * every, mean, mean, ("",) * len(each), each)
    return found


def best_of(found: dict[int, Score], patience: int) -> int | None:
    best = learned(found, patience)
    return None if best is None else best.step


def test_a_likeness_that_stays_is_learned() -> None:
    assert best_of(scores(0.0, 0.3, 0.6, 0.6, 0.59), 2) == 200
    assert best_of(scores(0.0, 0.3, 0.6, 0.6), 2) is None, "one of the two was not there yet"


def test_a_likeness_that_still_rises_goes_on() -> None:
    assert best_of(scores(0.0, 0.3, 0.6, 0.59, 0.65), 2) is None
    assert best_of(scores(0.233, 0.414, 0.386, 0.521, 0.555), 2) is None, "a real course with one dip"


def test_a_rise_within_the_margin_is_none() -> None:
    assert best_of(scores(0.0, 0.3, 0.6, 0.605, 0.608), 2) == 200


def test_the_noise_of_the_pictures_counts() -> None:
    """The mean rose by 0.03: by as much on each picture, or on one of three alone."""
    steady = [(0.6, 0.5, 0.7), (0.63, 0.53, 0.73), (0.63, 0.53, 0.73)]
    lucky = [(0.6, 0.5, 0.7), (0.75, 0.47, 0.67), (0.75, 0.47, 0.67)]
    base = (0.0, 0.0, 0.0)
    assert best_of(scores(base, *steady), 2) is None
    assert best_of(scores(base, *lucky), 2) == 100


def test_nobody_has_learned_what_the_base_model_knew() -> None:
    assert best_of(scores(0.3, 0.3, 0.3, 0.3, 0.3), 2) is None
    assert best_of(scores(0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 1) is None


@pytest.mark.parametrize("found", [{}, scores(0.0), scores(0.0, 0.5), {100: Score(100, 0.5, 0.5)}])
def test_too_little_is_known(found: dict[int, Score]) -> None:
    assert learned(found, 1) is None


def test_without_patience_all_steps_are_done() -> None:
    assert learned(scores(0.0, 0.6, *[0.6] * 20), 0) is None


def train(spec: TrainingSpec) -> tuple[Any, Watch]:
    watch = Watch()
    return job.run(spec, spec.person_folder / "job", watch, watch.cancelled, MODULE), watch


@pytest.mark.thorough
def test_a_training_ends_when_the_person_is_learned_unless_all_steps_are_asked_for(make_spec: SpecMaker) -> None:
    spec = make_spec(max_train_steps=12, steps_per_photos=12, patience=2, fusion="last")
    result, watch = train(spec)
    assert result.steps == RISEN + 2 * 2 and result.works
    assert sorted(watch.losses) == list(range(1, 9))
    told = [str(e.message) for e in watch.events if isinstance(e, Notice) and "has not risen" in str(e.message)]
    assert len(told) == 1 and "after step 8 of 12" in told[0] and "since step 4" in told[0]
    assert headers.inspect(result.lora).metadata["ss_steps"] == "8"
    marks = json.loads((spec.person_folder / "person.json").read_text(encoding="utf-8"))
    assert marks["steps"] == 8 and marks["planned"] == 12

    whole, watch = train(replace(spec, config=replace(spec.config, patience=0)))
    assert whole.steps == 12 and sorted(watch.losses) == list(range(1, 13))
