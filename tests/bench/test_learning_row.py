"""Tests of the learning row: its arithmetic by hand, and what its trainer changes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import learning_row
import pytest
import torch
from accelerate import Accelerator

from easyphoto import families, sd
from easyphoto.config import Family
from easyphoto.training import dataset
from easyphoto.training.lora import LoraShape, TrainedLora
from tests import accelerators, tiny


def course(variant: str, person: int, judge: list[float], seed: int = 0, reporter: list[float] | None = None) -> Any:
    looks = [
        {"step": 20 * i, "judge": value, "reporter": (reporter or judge)[i], "sharpness": 50.0 + i, "found": 1.0}
        for i, value in enumerate(judge)
    ]
    return {"variant": variant, "person": person, "seed": seed, "seconds_a_step": 2.0, "looks": looks}


def test_a_level_is_reached_between_two_looks() -> None:
    assert learning_row.reached([0, 20, 40], [0.0, 0.4, 0.6], 0.5) == pytest.approx(30)
    assert learning_row.reached([0, 20, 40], [0.0, 0.4, 0.6], 0.4) == pytest.approx(20)
    assert learning_row.reached([0, 20, 40], [0.6, 0.4, 0.6], 0.5) == 0, "it was there from the beginning"
    assert learning_row.reached([0, 20, 40], [0.0, 0.4, 0.4], 0.5) is None


def test_a_variant_is_held_to_the_way_that_the_defaults_make_with_the_same_people() -> None:
    usual = [course("default", 0, [0.2, 0.2, 0.6, 1.0]), course("default", 1, [0.0, 0.4, 0.8, 1.2])]
    fast = [course("fast", 0, [0.2, 0.9, 1.3]), course("fast", 1, [0.0, 0.7, 1.1])]
    # Together the defaults go from 0.1 to 1.1: 95% of that is 1.05.
    mine, theirs = learning_row.learned_after(fast, usual, "judge")
    assert mine == pytest.approx(20 + 20 * 0.25 / 0.4) and theirs == pytest.approx(40 + 20 * 0.35 / 0.4)
    assert learning_row.learned_after(usual[:1], usual, "judge")[0] is None
    assert learning_row.ahead(fast, usual, "judge", 40) == pytest.approx([0.7, 0.3])
    low, high = learning_row.sooner(fast, usual, "judge")
    assert low <= mine - theirs <= high < 0, "with either of the two people alone it is sooner, too"


def test_the_seeds_of_a_person_count_as_one() -> None:
    rows = [
        course("default", 0, [0.0, 0.2]),
        course("default", 0, [0.0, 0.4], seed=1),
        course("default", 1, [0.0, 1.3]),
    ]
    assert learning_row.mean_course(rows, "judge") == ([0, 20], [0, pytest.approx(0.8)])
    others = [course("fast", row["person"], [0.0, 0.5], row["seed"]) for row in rows]
    assert learning_row.ahead(others, rows, "judge", 20) == pytest.approx([0.2, -0.8])


def test_the_table_compares_the_same_trainings_by_both_embedders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = {"judge": [0.0, 0.5, 1.0], "reporter": [0.0, 0.2, 0.4]}
    for person in (0, 1, 2):
        row = course("default", person, usual["judge"], reporter=usual["reporter"])
        row[""] = row.pop("looks")
        (tmp_path / f"default-{person}-0.json").write_text(json.dumps(row))
    for person in (0, 1):
        row = course("up x4", person, [0.0, 1.0], reporter=[0.0, 0.1])
        row[""], row["averaged"] = row["looks"], course("", person, [0.0, 0.8])["looks"]
        (tmp_path / f"up-x4-{person}-0.json").write_text(json.dumps(row))
    told = list(learning_row.lines(learning_row.read(tmp_path)))
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:]] for line in told[2:5]}
    assert list(cells) == ["default", "up x4", "up x4, averaged"]
    assert cells["default"][:3] == ["3, 3", "38", ""] and cells["default"][5] == "40"
    up = cells["up x4"]
    assert up[0] == "2, 2" and up[1] == "19 (default 38)" and up[2] == "+0.500 [+0.500, +0.500]"
    assert up[3] == "not (default 38)" and up[4].startswith("-0.100") and up[5] == "20"
    assert cells["up x4, averaged"][1] == "not (default 38)"
    longer = [course("default", 0, [0.0, 0.5, 1.0]), course("up x4", 0, [0.0, 1.0, 1.0])]
    assert "| 19 (default 38; difference [-19, -19]) |" in list(learning_row.lines(longer))[3]
    half = [line for line in told if line.startswith("|")][5:]
    assert half[0].startswith("| after 20 steps, less the defaults after 40 | people, trainings")
    assert [line.split("|")[1].strip() for line in half[2:]] == ["default", "up x4", "up x4, averaged"]
    assert half[2].split("|")[2:4] == [" 3, 3 ", " -0.500 [-0.500, -0.500] "]
    assert half[3].split("|")[2:5] == [" 2, 2 ", " +0.000 [+0.000, +0.000] ", " -0.300 [-0.300, -0.300] "]
    monkeypatch.setattr(sys, "argv", ["learning_row.py", "--out", str(tmp_path / "none"), "--table"])
    with pytest.raises(SystemExit, match="There is no training in"):
        learning_row.main()


def test_two_trainings_of_one_person_are_held_against_each_other() -> None:
    rows = [
        course("default", 0, [0.0, 0.5, 1.0], reporter=[0.0, 0.1, 0.2]),
        course("default", 0, [0.2, 0.5, 0.8], seed=1, reporter=[0.0, 0.1, 0.3]),
        course("default", 1, [0.0, 0.5, 0.6]),
        course("default", 1, [0.0, 0.5, 0.6], seed=1),
        course("default", 2, [0.0, 0.5, 0.6]),
        course("default", 3, [0.0, 0.5, 0.6]),
        course("default", 3, [0.0, 0.5], seed=1),
        course("up x4", 2, [0.0, 0.5, 0.6], seed=1),
    ]
    twice = learning_row.trained_twice(rows[:7])
    assert [(row["person"], row["seed"]) for row in twice] == [(0, 0), (0, 1), (1, 0), (1, 1)], "whole and twice"
    apart, gained = learning_row.seeds_apart(twice, "judge", 40)
    assert apart == pytest.approx([0.2, 0]) and gained == pytest.approx([0.8, 0.6])
    judge, reporter = list(learning_row.lines(rows))[-2:]
    assert judge.startswith("Two trainings of a person by the defaults are 0.100 [0.000, 0.200] apart after 40 steps")
    assert "by the judge, and bring +0.700 [+0.600, +0.800]. People: 2." in judge
    assert reporter.split("by the defaults are ")[1].startswith("0.050 [") and "by the reporter" in reporter
    assert "apart" not in list(learning_row.lines(rows[4:]))[-1], "nobody was trained twice for as long"


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    path = learning_row.file_of(tmp_path, "up x4, t 100-700", 3, 1)
    assert learning_row.steps_of(path) == 0
    path.write_text(json.dumps({"": course("", 3, [0.0, 0.1, 0.2])["looks"]}))
    assert path.name == "up-x4-t-100-700-3-1.json" and learning_row.steps_of(path) == 40


def test_what_was_measured_as_the_default_stays_what_it_was() -> None:
    names = "default", "face x3, rate x2"
    plain, both = (learning_row.config_of(learning_row.VARIANTS[name], 1, 160) for name in names)
    assert (plain.learning_rate, plain.face_weight, plain.rank, plain.network_alpha) == (2e-3, 1.0, 16, 16)
    assert (plain.max_train_steps, plain.seed, plain.resolution) == (160, 43, 256)
    assert learning_row.pictures_a_step(plain) == 4
    assert (both.learning_rate, both.face_weight) == (4e-3, 3.0)
    for name, variant in learning_row.VARIANTS.items():
        config = learning_row.config_of(variant, 1, 160)
        kept = {option: value for option, value in learning_row.BEFORE.items() if option not in variant.changes}
        assert {option: getattr(config, option) for option in kept} == kept, name
    assert learning_row.pictures_a_step(learning_row.config_of(learning_row.VARIANTS["batch 2"], 0, 160)) == 2


def test_times_stay_spread_where_they_are_drawn() -> None:
    times = torch.tensor([0, 250, 500, 999])
    assert learning_row.within(times, (0, 1000)).tolist() == times.tolist()
    assert learning_row.within(times, (100, 700)).tolist() == [100, 250, 400, 699]


def test_the_running_average_follows_and_goes_in_and_out() -> None:
    number = torch.zeros(1)
    average = learning_row.RunningAverage([number], 0.5)
    number += 1
    average.stepped()
    number += 1
    average.stepped()
    average.exchange()
    early = 0.1 * 0 + 0.9 * 1  # the first step keeps a tenth
    assert float(number) == pytest.approx(early * 2 / 11 + 2 * 9 / 11)
    average.exchange()
    assert float(number) == 2


def trained(folder: Path, variant: learning_row.Variant) -> tuple[TrainedLora, list[float]]:
    accelerators.forget()
    small = {"rank": 4, "network_alpha": 4, "resolution": 64, "learning_rate": 1e-3}
    chosen = {**learning_row.BEFORE, **small, **variant.changes}
    config = families.spec(Family.BENCH).train_config(**chosen)
    parts = sd.load(folder, device="cpu", dtype=torch.float32)
    lora = TrainedLora(parts, LoraShape(4, float(config.network_alpha)), seed=1, train_text=True)
    numbers = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    latents = dataset.LatentSet(numbers, torch.full_like(numbers, 0.1), 64, faces=torch.ones(4, 1, 8, 8))
    given = (parts, lora, latents, ["a person"] * 2, config, Accelerator(cpu=True))
    trainer = learning_row.VariedTrainer(variant, *given)
    return lora, [trainer.step(number) for number in (1, 2, 3)]


@pytest.mark.thorough
def test_a_rate_of_the_up_matrices_is_what_rank_stabilised_scaling_is(tmp_path: Path) -> None:
    """At rank 4 the latter is twice the scale, and the optimiser undoes the scale of a gradient."""
    folder = tiny.folder(tmp_path / "model")
    plain, _ = trained(folder, learning_row.Variant())
    faster, losses = trained(folder, learning_row.Variant(up_rate=2.0))
    scaled, _ = trained(folder, learning_row.Variant({"network_alpha": 8}))
    apart, moved = 0.0, 0.0
    for name, layer in faster.layers().items():
        apart += float((layer.delta() - scaled.layers()[name].delta()).square().sum())
        moved += float((layer.delta() - plain.layers()[name].delta()).square().sum())
    assert apart < 0.01 * moved
    _, same = trained(folder, learning_row.Variant({"face_weight": 3.0}, up_rate=2.0))
    assert same == pytest.approx(losses), "a weight that is everywhere the same changes nothing"
    _, others = trained(folder, learning_row.Variant(up_rate=2.0, times=(100, 700)))
    assert others != pytest.approx(losses)
