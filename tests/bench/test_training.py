"""Tests of the pieces of the training scripts: the optimizer, the average, the noise, the captions and the
tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from critic import Adversary, mixed
from learner import Average, Clock, Learner, MuonAdam, orthogonalized, rate_factor
from torch import nn


def small_net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 3, 3, padding=1))
    return net.to(memory_format=torch.channels_last)


def train(net: nn.Module, optimizer: MuonAdam, steps: range) -> float:
    loss = torch.zeros(())
    for step in steps:
        batch = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        loss = (net(batch.contiguous(memory_format=torch.channels_last)) - batch).pow(2).mean()
        loss.backward()
        optimizer.step(1.0)
    return float(loss.detach())


@pytest.mark.thorough
def test_the_optimizer_trains_convolution_kernels() -> None:
    net = small_net()
    optimizer = MuonAdam(net, 1e-2, 1e-2)
    optimizer.check_shared()
    first = train(net, optimizer, range(1))
    assert train(net, optimizer, range(1, 60)) < 0.3 * first


def test_the_optimizer_refuses_kernels_it_could_only_copy() -> None:
    net = small_net()
    kernel = next(p for p in net.parameters() if p.ndim == 4 and p.shape[2] > 1)
    kernel.data = kernel.data.transpose(2, 3)
    with pytest.raises(RuntimeError, match="lie plain or channels_last"):
        MuonAdam(net, 1e-2, 1e-2).check_shared()


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (9, 9)])
def test_orthogonalizing_brings_all_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3)) * 17
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalized(matrix, steps=6)
    in_its_own_directions = left.T @ result @ right.T
    values = in_its_own_directions.diagonal()
    assert float(values.min()) > 0.5 and float(values.max()) < 1.3
    assert float((in_its_own_directions - torch.diag(values)).abs().max()) < 1e-3


def test_training_goes_on_from_a_state_as_if_never_stopped() -> None:
    whole = small_net()
    train(whole, MuonAdam(whole, 1e-2, 1e-2), range(6))
    half = small_net()
    optimizer = MuonAdam(half, 1e-2, 1e-2)
    train(half, optimizer, range(3))
    again = small_net()
    again.load_state_dict(half.state_dict())
    resumed = MuonAdam(again, 1e-2, 1e-2)
    resumed.load_state_dict(optimizer.state_dict())
    train(again, resumed, range(3, 6))
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_the_average_follows_the_weights() -> None:
    net = nn.Linear(2, 2)
    average = Average(net, 0.9)
    with torch.no_grad():
        net.weight.fill_(1.0)
    for _ in range(200):
        average.update(net)
    assert torch.allclose(average.weights["weight"], torch.ones(2, 2), atol=1e-4)


def test_averaged_weights_are_there_for_a_block_and_gone_after_it() -> None:
    learner = Learner(small_net(), (1e-2, 1e-2), average=0.9)
    learner.module(torch.ones(1, 3, 8, 8)).mean().backward()
    learner.step(1.0)
    present = {name: value.clone() for name, value in learner.module.state_dict().items()}
    with pytest.raises(OSError, match="disk"), learner.averaged() as net:
        assert not net.training
        assert all(torch.equal(value, learner.average.weights[name]) for name, value in net.state_dict().items())
        assert not torch.equal(net.state_dict()["0.weight"], present["0.weight"])
        raise OSError("the disk is full")
    assert learner.module.training
    assert all(torch.equal(value, present[name]) for name, value in learner.module.state_dict().items())


def test_the_critic_has_its_share_of_the_gradient_whatever_its_scale() -> None:
    error, adversarial = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 100.0])
    assert torch.allclose(mixed(error, adversarial, 0.2), torch.tensor([3.0, 5.0]))
    assert torch.equal(mixed(error, torch.zeros(2), 0.2), error)


@pytest.mark.thorough
def test_the_critic_learns_to_tell_noise_from_smooth_pictures() -> None:
    torch.manual_seed(0)
    adversary = Adversary(torch.device("cpu"), rate=2e-3)
    noise, smooth = torch.rand(4, 3, 32, 32) * 2 - 1, torch.linspace(-1, 1, 32).expand(4, 3, 32, 32)
    first = adversary.learn(noise, smooth)
    for _ in range(40):
        last = adversary.learn(noise, smooth)
    assert last < 0.5 * first
    assert adversary.gradient(smooth).shape == smooth.shape


def test_the_rate_rises_holds_and_falls() -> None:
    factors = [rate_factor(step, step / 100, warmup=10, decay_from=0.5) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[30] == 1
    assert factors[100] == pytest.approx(0.05)


def test_a_run_needs_an_end() -> None:
    with pytest.raises(ValueError, match="--steps or --minutes"):
        Clock(0, 0)
    assert Clock(10, 0).progress(5) == 0.5


def test_noisy_steps_count_more_up_to_a_limit() -> None:
    from noise import Noise

    counts = Noise(torch.device("cpu")).emphasis(torch.arange(1000), 6.0)
    assert float(counts[0]) == pytest.approx(1.0, abs=1e-3)
    assert bool((counts.diff() >= 0).all())
    assert float(counts[999]) == 6.0


def test_a_colour_that_is_wrong_all_over_counts_most_where_it_is_decided() -> None:
    from train_controlnets import COARSE_CELL, coarse_loss

    odds = torch.tensor([1.0, 3.0])
    patternless = torch.randn(2, 4, 256, 256, generator=torch.Generator().manual_seed(1))
    alone = (patternless * odds[:, None, None, None]).pow(2).mean()
    assert float(coarse_loss(patternless, odds)) == pytest.approx(float(alone), rel=0.03)
    everywhere = torch.full((1, 4, 32, 32), 0.1)
    for odd in odds:
        counted = float(coarse_loss(everywhere, odd[None]))
        assert counted == pytest.approx((0.1 * float(odd) * COARSE_CELL) ** 2, rel=1e-5)


def test_noise_is_stable_diffusions_and_times_are_spread() -> None:
    from diffusers import DDPMScheduler
    from noise import Noise
    from parts import SCHEDULE

    noise = Noise(torch.device("cpu"))
    scheduler = DDPMScheduler(**{k: SCHEDULE[k] for k in ("beta_start", "beta_end", "beta_schedule")})
    clean, random = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    times = torch.tensor([0, 500, 999])
    assert torch.allclose(noise.add(clean, random, times), scheduler.add_noise(clean, random, times), atol=1e-5)
    drawn = noise.draw(10_000, np.random.default_rng(0))
    assert (int(drawn.min()), int(drawn.max())) == (0, 999)
    inside = float(((drawn >= 50) & (drawn < 700)).float().mean())
    assert inside == pytest.approx(650 / 825, abs=0.01)


def test_a_tenth_of_the_captions_is_dropped_and_the_trigger_is_learnt() -> None:
    from captions import read
    from tokenizer import TRIGGER

    rng = np.random.default_rng(0)
    one = next(iter(read().values()))
    texts = [one.varied(True, rng) for _ in range(4000)]
    without = [text for text in texts if "portrait" not in text and not text.startswith(TRIGGER)]
    assert 0.08 < len(without) / 4000 < 0.12
    assert 0.2 < sum(text.startswith(TRIGGER) for text in texts) / 4000 < 0.35


def test_every_portrait_is_described_and_a_mirrored_one_looks_the_other_way() -> None:
    from captions import read

    seen = read()
    assert len(seen) == 1198
    said = [row.caption() for row in seen.values()]
    for words in ("wearing glasses", "wearing sunglasses", "wearing a hat", "smiling", "red hair", "beard", "bald"):
        assert sum(words in text for text in said) >= 20, words
    row = next(row for row in seen.values() if row.turn == "left")
    assert "looking left" in row.caption() and "looking right" in row.mirrored().caption()
    assert row.mirrored().mirrored() == row


def test_matrices_of_one_shape_are_orthogonalized_as_each_by_itself() -> None:
    matrices = torch.randn((3, 6, 40), generator=torch.Generator().manual_seed(5))
    together = orthogonalized(matrices)
    for one, alone in zip(together, matrices, strict=True):
        assert torch.allclose(one, orthogonalized(alone), atol=1e-5)


def test_a_face_is_brought_to_the_chip_and_the_same_face_is_no_loss(tmp_path: Path) -> None:
    from face_loss import CHIP, chips, similarity

    target = torch.rand(68, 2, generator=torch.Generator().manual_seed(2)) * CHIP
    turn = torch.tensor([[0.8, -0.3], [0.3, 0.8]])
    points = (target @ turn.T + torch.tensor([40.0, 25.0]))[None]
    maps = similarity(points, target)
    assert torch.allclose(maps[0, :, :2], turn, atol=1e-4)
    assert torch.allclose(maps[0, :, 2], torch.tensor([40.0, 25.0]), atol=1e-2)
    rows, columns = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    picture = torch.stack([columns, rows, columns + rows])[None]
    chip = chips(picture, maps)[0]
    for x, y in ((10, 20), (75, 75), (120, 60)):
        there = maps[0, :, :2] @ torch.tensor([float(x), float(y)]) + maps[0, :, 2]
        assert torch.allclose(chip[:2, y, x], there, atol=0.05)


def test_what_a_prediction_promises_is_what_was_noised() -> None:
    from noise import Noise

    noise = Noise(torch.device("cpu"))
    clean, random, times = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2), torch.tensor([10, 300, 900])
    assert torch.allclose(noise.clean(noise.add(clean, random, times), random, times), clean, atol=1e-4)


def test_the_tokenizer_keeps_the_words_of_prompts_whole(tmp_path: Path) -> None:
    from parts import load_tokenizer
    from tokenizer import TRIGGER, save
    from tokenizer import train as learn

    captions = ["portrait photo of a smiling woman", "portrait photo of a man with beard"] * 20
    vocabulary, merges = learn(captions)
    assert (vocabulary, merges) == learn(captions)
    assert len(vocabulary) <= 1600
    save(vocabulary, merges, tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.model_max_length == 77
    assert tokenizer.convert_ids_to_tokens(tokenizer(TRIGGER)["input_ids"])[1:-1] == [
        f"{word}</w>" for word in ("easyphoto", "_", "face", ",", "easyphoto", ",", "1", "person")
    ]
    for word in ("woman", "beard", "masterpiece", "realistic", "portrait", "lowres"):
        assert len(tokenizer(word)["input_ids"]) == 3
    unknown = tokenizer("Zürich 肖像 xylophone")["input_ids"]
    assert tokenizer.unk_token_id not in unknown[1:-1]
    assert tokenizer.decode(unknown, skip_special_tokens=True).replace(" ", "") == "zürich肖像xylophone"


def test_the_average_of_two_trainings_lies_halfway() -> None:
    from export import average

    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    expected = (one.weight.detach() + other.weight.detach()) / 2
    average(one, other)
    assert torch.allclose(one.weight, expected)


def test_a_gain_counts_pairs_that_both_show_a_face() -> None:
    from chain_row import mean_gain, summed_up

    assert mean_gain([(0.5, 0.7), (None, 0.9), (0.5, None), (0.6, 0.6)]) == pytest.approx(0.1)
    assert mean_gain([(None, None)]) is None
    row = summed_up([0.1, 0.3, None, 0.2, -0.1, 0.2])
    assert row["median_gain"] == pytest.approx(0.2)
    assert row["interval"][0] <= row["median_gain"] <= row["interval"][1]
    assert row["higher_for"] == "4 of 5"


def test_the_first_pass_keeps_a_share_of_what_the_fusion_brought() -> None:
    from chain_row import kept_share, of_one_embedder

    assert kept_share([0.1, 0.0, 0.2, 0.1], [0.8, 0.4, None, 0.5], [0.6, 0.3, 0.9, None]) == pytest.approx(0.75)
    assert kept_share([0.48, 0.0], [0.5, 0.4], [0.1, 0.3]) == pytest.approx(0.75), "the first face was not fused"
    assert kept_share([0.0], [None], [0.9]) is None
    assert kept_share([-0.5], [-0.1], [0.2]) is None
    rest = {"as it comes": [0.9], "without LoRA": [0.7], "two passes": [0.8], "last checkpoint": [1.0]}
    row = of_one_embedder(
        [{"template": [0.2], "fusion alone": [0.8], "first pass": [0.6], "without face fusion": [0.3], **rest}]
    )
    assert row["first_pass_keeps"]["median"] == pytest.approx(0.75)
    assert row["first_pass_after_fusion"]["median_gain"] == pytest.approx(-0.2)
    assert row["greedy_fusion"]["median_gain"] == pytest.approx(-0.1)
    assert row["second_pass"]["median_gain"] == pytest.approx(-0.1)
    assert row["median"]["as it comes"] == pytest.approx(0.9)


def test_a_training_in_the_background_says_how_far_it_is_and_what_comes_next(tmp_path: Path) -> None:
    from argparse import Namespace

    from background import stages, status

    folder = tmp_path / "a state"
    folder.mkdir()
    assert "no step yet" in status(folder) and "nothing" in status(folder)
    options = Namespace(portraits=Path("my portraits"), variants=6, minutes=60.0, batch=16)
    made = [path.name for path, _ in stages(folder, options)]
    assert made == ["sources.npz", "latents.pt", "finished"]
    for _, command in stages(folder, options):
        assert Path(command[1]).is_file()
        assert all(" " not in part or part.startswith((str(tmp_path), "my portraits")) for part in command)
    (folder / "sources.npz").touch()
    assert "sources.npz" in status(folder)
    (folder / "unet.csv").write_text(
        "step,samples,seconds,rate,loss,face,held_low,held_middle,held_high\n"
        "50,800,100,1,0.2,0,,,\n100,1600,3600,1,0.1512,0,,,\n100,1600,3601,,,,0.3,0.1,0.02\n",
        encoding="utf-8",
    )
    assert "1,600 samples seen in 1.0 h" in status(folder) and "loss 0.1512" in status(folder)
