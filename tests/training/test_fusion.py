"""Tests of the mathematics of fusion: what is averaged is what a LoRA adds to the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from easyphoto.sd.lora import LoraLayer
from easyphoto.training import fusion
from easyphoto.training.state import Score


def layer(seed: int, rank: int, shape: tuple[int, int] = (20, 14), alpha: float = 3.0) -> LoraLayer:
    source = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, shape[1], generator=source)
    return LoraLayer(down, torch.randn(shape[0], rank, generator=source), alpha)


def test_the_mean_of_loras_is_the_mean_of_what_they_add() -> None:
    loras = [{"a": layer(seed, rank, alpha=seed + 1.0)} for seed, rank in ((0, 2), (1, 3), (2, 4))]
    fused = fusion.combine(loras, [0.5, 0.3, 0.2])["a"]
    expected = 0.5 * loras[0]["a"].delta() + 0.3 * loras[1]["a"].delta() + 0.2 * loras[2]["a"].delta()
    assert fused.rank == 9
    torch.testing.assert_close(fused.delta(), expected)


def test_at_full_rank_compression_loses_nothing() -> None:
    loras = [{"a": layer(seed, 4)} for seed in range(3)]
    fused = fusion.mean(loras, rank=12, alpha=6.0)["a"]
    expected = sum(lora["a"].delta() for lora in loras) / 3
    assert (fused.rank, fused.alpha) == (12, 6.0)
    torch.testing.assert_close(fused.delta(), expected, atol=1e-5, rtol=1e-5)


def test_averaging_the_factors_apart_is_another_matrix() -> None:
    first, second = layer(0, 4), layer(1, 4)
    apart = LoraLayer((first.down + second.down) / 2, (first.up + second.up) / 2, 3.0)
    fused = fusion.mean([{"a": first}, {"a": second}], rank=8, alpha=8.0)["a"]
    distance = (fused.delta() - apart.delta()).norm() / fused.delta().norm()
    assert distance > 0.3


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_compression_is_as_good_as_the_dense_decomposition(rank: int) -> None:
    loras = [{"a": layer(seed, 4)} for seed in range(4)]
    dense = sum(lora["a"].delta().double().numpy() for lora in loras) / 4
    singular = np.linalg.svd(dense, compute_uv=False)
    fused = fusion.mean(loras, rank=rank, alpha=5.0)["a"]
    error = np.linalg.norm(dense - fused.delta().double().numpy())
    assert error == pytest.approx(np.sqrt((singular[rank:] ** 2).sum()), rel=1e-4)


def test_both_halves_of_a_compressed_layer_are_equally_large() -> None:
    fused = fusion.mean([{"a": layer(0, 4)}, {"a": layer(1, 4)}], rank=4, alpha=2.0)["a"]
    torch.testing.assert_close(fused.up.norm(dim=0), fused.down.norm(dim=1))


def test_a_convolution_keeps_its_shape() -> None:
    source = torch.Generator().manual_seed(5)
    loras = [
        {"conv": LoraLayer(torch.randn(2, 6, 3, 3, generator=source), torch.randn(8, 2, 1, 1, generator=source), 2.0)}
        for _ in range(2)
    ]
    fused = fusion.mean(loras, rank=4, alpha=4.0)["conv"]
    assert fused.down.shape == (4, 6, 3, 3)
    assert fused.up.shape == (8, 4, 1, 1)
    expected = (loras[0]["conv"].delta() + loras[1]["conv"].delta()) / 2
    torch.testing.assert_close(fused.delta(), expected, atol=1e-5, rtol=1e-5)


def test_a_layer_that_only_one_lora_has_counts_half() -> None:
    only = layer(3, 2)
    fused = fusion.mean([{"a": layer(0, 2)}, {"a": layer(1, 2), "b": only}], rank=4, alpha=4.0)
    torch.testing.assert_close(fused["b"].delta(), only.delta() / 2, atol=1e-5, rtol=1e-5)


def test_a_small_layer_is_padded_to_the_rank_of_the_file() -> None:
    fused = fusion.mean([{"a": layer(0, 2, (3, 3))}, {"a": layer(1, 2, (3, 3))}], rank=8, alpha=8.0)["a"]
    assert fused.rank == 8
    torch.testing.assert_close(fused.delta(), (layer(0, 2, (3, 3)).delta() + layer(1, 2, (3, 3)).delta()) / 2)


def test_layers_that_add_nothing_stay_so() -> None:
    silent = LoraLayer(torch.randn(2, 5), torch.zeros(4, 2), 1.0)
    fused = fusion.mean([{"a": silent}, {"a": silent}], rank=2, alpha=1.0)["a"]
    assert torch.isfinite(fused.up).all() and torch.isfinite(fused.down).all()
    assert fused.delta().abs().max() == 0


def nearness(goal: torch.Tensor) -> fusion.Scorer[float]:
    return lambda layers: -float((layers["a"].delta() - goal).norm())


def test_the_greedy_soup_keeps_only_what_helps() -> None:
    goal = layer(0, 4).delta()
    first = LoraLayer(layer(0, 4).down, layer(0, 4).up * 1.5, 3.0)
    bad = layer(9, 4)
    good = LoraLayer(layer(0, 4).down, layer(0, 4).up * 0.5, 3.0)
    loras = [{"a": first}, {"a": bad}, {"a": good}]
    score = nearness(goal)
    soup = fusion.greedy(3, loras.__getitem__, score, score(loras[0]), (4, 3.0))
    assert soup.members == (0, 2)
    assert soup.score > score(loras[0])
    torch.testing.assert_close(soup.lora["a"].delta(), goal, atol=1e-4, rtol=1e-4)


def test_a_soup_that_nothing_helps_is_the_best_checkpoint_itself() -> None:
    loras = [{"a": layer(seed, 4)} for seed in range(3)]
    soup = fusion.greedy(3, loras.__getitem__, lambda _: 0.2, 0.5, (4, 3.0))
    assert soup.members == (0,) and soup.score == 0.5
    assert torch.equal(soup.lora["a"].up, loras[0]["a"].up)


def test_equal_is_not_better() -> None:
    loras = [{"a": layer(seed, 4)} for seed in range(2)]
    assert fusion.greedy(2, loras.__getitem__, lambda _: 0.5, 0.5, (4, 3.0)).members == (0,)


def test_a_soup_carries_the_very_score_that_won_and_no_other_of_the_same_number() -> None:
    loras = [{"a": layer(seed, 4)} for seed in range(3)]
    scores = [Score(6, 0.4, 0.4, (f"fused-{i}.jpg",)) for i in range(2)]
    first = Score(2, 0.3, 0.3, ("step-2.jpg",))
    rising = iter(scores)
    soup = fusion.greedy(3, loras.__getitem__, lambda _: next(rising), first, (4, 3.0))
    assert soup.members == (0, 1) and soup.score is scores[0], "the second is as good and no better"
    falling = iter([Score(6, 0.3, 0.3), Score(6, 0.2, 0.2)])
    assert fusion.greedy(3, loras.__getitem__, lambda _: next(falling), first, (4, 3.0)).score is first
