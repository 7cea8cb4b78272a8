"""Tests of parameters: each is declared once, its values are checked, and it has the original's default."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from easyphoto import families
from easyphoto.config import Family, PortraitConfig, TrainConfig, declared, from_mapping
from easyphoto.errors import InvalidRequest


@pytest.mark.parametrize("cls", [TrainConfig, PortraitConfig])
def test_every_field_is_declared_with_words_in_both_languages(cls: type) -> None:
    rows = {d.name: d for d in declared(cls)}
    assert set(rows) == {f.name for f in fields(cls)}
    for row in rows.values():
        assert row.param.label and row.param.help, row.name
        assert row.type in (int, float, bool, str)


def test_defaults_are_those_that_users_expect() -> None:
    train = TrainConfig()
    assert (train.resolution, train.rank, train.network_alpha, train.learning_rate) == (512, 128, 64, 1e-4)
    assert families.spec(Family.SDXL).train_config().max_train_steps == 600
    assert families.spec(Family.SD1).train_config(scene=True).rank == 256
    assert families.spec(Family.SDXL).train_config(rank=8).rank == 8
    portrait, legacy = PortraitConfig(), PortraitConfig.legacy()
    assert (portrait.before_face_fusion_ratio, legacy.before_face_fusion_ratio) == (0.6, 0.5)
    assert (portrait.second_denoising_strength, legacy.second_denoising_strength) == (0.3, 0.35)


@pytest.mark.parametrize(("photos", "steps"), [(1, 200), (3, 600), (4, 800), (20, 800)])
def test_steps_are_bounded_by_photos_and_by_the_maximum(photos: int, steps: int) -> None:
    assert TrainConfig().steps(photos) == steps


def test_three_photos_train_the_demo_model_as_long_as_many_do() -> None:
    config = families.spec(Family.BENCH).train_config()
    assert config.steps(3) == config.steps(20) >= 120


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"lora_weights": 1.31}, "lora_weights must be from 0 to 1.3"),
        ({"lora_weights": float("nan")}, "lora_weights"),
        ({"batch_size": True}, "whole number"),
        ({"batch_size": "2"}, "whole number"),
        ({"super_resolution_method": "magic"}, "gpen, realesrgan"),
        ({"colour": 1}, "Unknown parameter: colour"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_name(values: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        from_mapping(PortraitConfig, values)


def test_a_whole_number_does_for_a_decimal_one() -> None:
    assert from_mapping(PortraitConfig, {"lora_weights": 1}).lora_weights == 1.0


def read_below_the_edges() -> set[str]:
    """Every name that the program, without its edges, takes from something: ``x.name``, or by a pattern of names."""
    package = Path(__file__).resolve().parents[2] / "easyphoto"
    files = [f for f in package.rglob("*.py") if f.relative_to(package).parts[0] not in ("ui", "api", "cli")]
    nodes = [node for f in files for node in ast.walk(ast.parse(f.read_text(encoding="utf-8")))]
    found = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
    # inference.plan reads the steps of each pass by the name of the pass
    return found | {"first_diffusion_steps", "second_diffusion_steps"}


@pytest.mark.thorough
@pytest.mark.parametrize("cls", [TrainConfig, PortraitConfig])
def test_what_is_offered_does_something(cls: type) -> None:
    read = read_below_the_edges()
    assert {d.name for d in declared(cls) if d.name not in read} == {d.name for d in declared(cls) if d.param.legacy}
