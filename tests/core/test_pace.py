"""Tests of the time left, with a clock that the test sets: a slow start doesn't count for the rest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from easyphoto.events import Event, Progress
from easyphoto.inference.painter import Meter
from easyphoto.pace import Warm
from easyphoto.training.planning import Clock


def test_a_training_whose_first_step_takes_twenty_times_as_long() -> None:
    clock = Clock(cast("Any", SimpleNamespace(steps=100, validations=4)))
    clock.validated(5.0)
    told = []
    for step in range(1, 101):
        clock.stepped(20.0 if step == 1 else 1.0)
        told.append(clock.left(step))
        if step in (25, 50):
            clock.validated(5.0)
    assert told[:3] == [None, None, None], "too little is known"
    assert told[3] == pytest.approx(96 + 15)
    for step, left in enumerate(told[3:], 4):
        renders = 5.0 * (3 - (step > 25) - (step > 50))
        assert left == pytest.approx(100 - step + renders, abs=6)


def test_a_machine_that_becomes_slower_is_noticed() -> None:
    clock = Clock(cast("Any", SimpleNamespace(steps=200, validations=0)))
    for step in range(1, 101):
        clock.stepped(1.0 if step <= 50 else 3.0)
    assert clock.left(100) == pytest.approx(300)


def test_a_portrait_whose_model_loads_for_a_minute() -> None:
    now, events = [0.0], list[Event]()
    meter = Meter(events.append, lambda: False, lambda: now[0])
    meter.expect(20)
    meter.expect(10)
    meter.stage("detect")
    now[0] += 60
    for stage, steps in (("first", 20), ("second", 10)):
        now[0] += 2
        for step in range(1, steps + 1):
            now[0] += 20 if (stage, step) == ("first", 1) else 1
            meter.step(stage, step, steps, float(steps))
        meter.passed(float(steps))
    left = [e.seconds_left for e in events if isinstance(e, Progress)]
    assert left[:4] == [None] * 4
    true = [*(30 - step + 2 for step in range(1, 21)), *(10 - step for step in range(1, 11))]
    for told, real in zip(left[4:], true[3:], strict=True):
        assert told is not None and abs(told - real) <= 3
    assert left[-1] == 0


def test_a_validation_whose_first_step_loads_for_a_minute() -> None:
    now = [0.0]
    watch = Warm(lambda: now[0])
    for _ in range(2):  # two templates of ten steps
        for step in range(10):
            now[0] += 60 if step == now[0] == 0 else 0.5
            watch.stepped()
    assert watch.seconds() == pytest.approx(20 * 0.5)
    lone = Warm(lambda: now[0])
    now[0] += 3
    lone.stepped()
    assert lone.seconds() == 3
