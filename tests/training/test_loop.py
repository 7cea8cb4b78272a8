"""Tests of the steps of a training on a tiny model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from easyphoto import families, sd
from easyphoto.config import Family, TrainConfig
from easyphoto.errors import AssetMissing
from easyphoto.ports import Txt2Img
from easyphoto.sd import Parts, render
from easyphoto.sd import lora as lora_files
from easyphoto.sd.placement import Placement
from easyphoto.training import dataset, draws, loop
from easyphoto.training.lora import LoraShape, TrainedLora
from easyphoto.training.samples import Sample
from tests import accelerators, tiny
from tests.fakes import blank

CAPTION = "easyphoto_face, easyphoto, 1person"


@pytest.fixture
def parts(checkpoint: Path) -> Parts:
    return sd.load(checkpoint, device="cpu", dtype=torch.float32)


def latents(count: int = 3) -> dataset.LatentSet:
    source = torch.Generator().manual_seed(7)
    return dataset.LatentSet(
        torch.randn(2 * count, 4, 8, 8, generator=source), torch.full((2 * count, 4, 8, 8), 0.1), 64
    )


def config(**chosen: object) -> TrainConfig:
    return families.spec(Family.BENCH).train_config(**{"rank": 4, "network_alpha": 2, "resolution": 64, **chosen})


def trainer_of(parts: Parts, cfg: TrainConfig) -> tuple[TrainedLora, loop.Trainer]:
    accelerators.forget()
    accelerator = Accelerator(
        mixed_precision=loop.precision(cfg, torch.device("cpu")),
        gradient_accumulation_steps=cfg.gradient_accumulation_steps,
        cpu=True,
    )
    shape = LoraShape(cfg.rank, float(cfg.network_alpha))
    lora = TrainedLora(parts, shape, seed=cfg.seed, train_text=cfg.train_text_encoder)
    return lora, loop.Trainer(parts, lora, latents(), [CAPTION] * 3, cfg, accelerator)


def train(parts: Parts, cfg: TrainConfig, steps: int = 3, first: int = 1) -> tuple[TrainedLora, list[float]]:
    lora, trainer = trainer_of(parts, cfg)
    return lora, [loss for _, loss in loop.steps(trainer, first, first + steps - 1, lambda: False)]


@pytest.mark.thorough
def test_training_lowers_the_loss(parts: Parts) -> None:
    _, losses = train(parts, config(learning_rate=5e-3, seed=1), steps=40)
    assert sum(losses[-10:]) < sum(losses[:10]) * 0.98


@pytest.mark.thorough
def test_how_a_batch_is_split_changes_nothing(checkpoint: Path) -> None:
    results = []
    for batch, accumulation in ((4, 1), (2, 2), (1, 4)):
        own = sd.load(checkpoint, device="cpu", dtype=torch.float32)
        cfg = config(train_batch_size=batch, gradient_accumulation_steps=accumulation, optimizer="adamw")
        lora, losses = train(own, cfg)
        results.append((losses, lora.state()))
    for losses, state in results[1:]:
        assert losses == pytest.approx(results[0][0], rel=1e-5)
        # Adam's first steps are signs of the gradient: where it is nearly zero rounding decides, so the mean counts.
        for name, tensor in state.items():
            assert (tensor - results[0][1][name]).abs().mean() < 1e-4


@pytest.mark.thorough
@pytest.mark.parametrize("train_text", [False, True])
def test_moving_parts_away_changes_nothing(checkpoint: Path, train_text: bool) -> None:
    """A step finds what it uses on the device, after a picture was made in between too, and learns the same."""
    cfg = config(train_text_encoder=train_text)
    moved, stayed = (sd.load(checkpoint, device="cpu", dtype=torch.float32) for _ in range(2))
    moved.placement = Placement("cpu", by_role=True)
    job = Txt2Img(prompt="a photo", width=64, height=64, steps=1, seed=1)
    losses = []
    for parts in (moved, stayed):
        lora, trainer = trainer_of(parts, cfg)
        losses.append([trainer.step(1)])
        render.txt2img(parts, job)
        assert parts is stayed or (parts.placement.holds(parts.vae) and not parts.placement.holds(parts.unet))
        losses[-1].append(trainer.step(2))
        del lora
    there = [moved.placement.holds(m) for m in (moved.unet, moved.text_encoder, moved.vae)]
    assert there == [True, train_text, False]
    assert losses[0] == losses[1]


def test_only_the_lora_changes(parts: Parts) -> None:
    before = {n: p.clone() for n, p in parts.unet.named_parameters()}
    lora, _ = train(parts, config())
    after = dict(parts.unet.named_parameters())
    for name, tensor in before.items():
        wrapped = after.get(
            name, after.get(name.replace(".weight", ".base_layer.weight").replace(".bias", ".base_layer.bias"))
        )
        assert wrapped is not None and torch.equal(wrapped, tensor), name
    layers = lora.layers()
    assert any(name.startswith("lora_te_") for name in layers)
    assert all(layer.up.abs().max() > 0 for name, layer in layers.items() if "attn2_to_v" in name)


@pytest.mark.thorough
def test_the_written_lora_does_what_the_trained_one_did(parts: Parts, checkpoint: Path, tmp_path: Path) -> None:
    lora, _ = train(parts, config(learning_rate=5e-3), steps=5)
    path = tmp_path / "lora.safetensors"
    lora_files.write(path, lora.layers(), lora_files.metadata(Family.BENCH, lora.layers()), torch.float32)
    fresh = sd.load(checkpoint, device="cpu", dtype=torch.float32)
    source = torch.Generator().manual_seed(0)
    sample, text = torch.randn(1, 4, 8, 8, generator=source), torch.randn(1, 77, tiny.WIDTH, generator=source)
    with torch.no_grad():
        trained = parts.unet(sample, 500, encoder_hidden_states=text)[0]
        with lora.silent():
            base = parts.unet(sample, 500, encoder_hidden_states=text)[0]
        with lora_files.applied(fresh, [(lora_files.read(path).layers, 1.0)]):
            applied = fresh.unet(sample, 500, encoder_hidden_states=text)[0]
        alone = fresh.unet(sample, 500, encoder_hidden_states=text)[0]
    torch.testing.assert_close(applied, trained, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(base, alone)
    assert (trained - base).abs().max() > 1e-3


def test_holding_another_lora_gives_the_own_one_back(parts: Parts) -> None:
    lora, _ = train(parts, config())
    own = lora.state()
    other = {n: lora_files.LoraLayer(x.down * 2, x.up * 2, x.alpha) for n, x in lora.layers().items()}
    with lora.holding(other):
        assert all(torch.equal(lora.layers()[n].up, other[n].up) for n in other)
    assert all(torch.equal(t, own[n]) for n, t in lora.state().items())


def test_without_the_text_encoder_only_the_unet_is_trained(parts: Parts) -> None:
    lora, losses = train(parts, config(train_text_encoder=False))
    assert all(name.startswith("lora_unet_") for name in lora.layers())
    assert len(losses) == 3


def test_steps_see_every_picture_equally_often_and_never_the_same_twice_in_an_epoch() -> None:
    seen = [i for step in range(1, 7) for i in draws.batch(3, step, 4, 8)]
    for epoch in range(3):
        assert sorted(seen[8 * epoch : 8 * epoch + 8]) == list(range(8))
    assert seen[:8] != seen[8:16]


def test_a_step_draws_the_same_whoever_came_before(parts: Parts, checkpoint: Path) -> None:
    _, both = train(parts, config(learning_rate=1e-7), steps=2)
    fresh = sd.load(checkpoint, device="cpu", dtype=torch.float32)
    _, second = train(fresh, config(learning_rate=1e-7), steps=1, first=2)
    assert second[0] == pytest.approx(both[1], abs=1e-4)


def test_times_are_spread_over_the_whole_range() -> None:
    times = torch.stack([draws.timesteps(draws.generator(0, "t", i), 4, 1000) for i in range(200)])
    assert all(sorted((row // 250).tolist()) == [0, 1, 2, 3] for row in times)
    assert times.min() < 20 and times.max() > 980
    # No place in the batch is bound to a part of the range.
    assert (times.float().mean(0) - 500).abs().max() < 80


def test_snr_weighting_bounds_the_easy_steps(parts: Parts) -> None:
    lora = TrainedLora(parts, LoraShape(4, 2.0), seed=0, train_text=False)
    accelerators.forget()
    trainer = loop.Trainer(parts, lora, latents(), [CAPTION] * 3, config(snr_gamma=5.0), Accelerator(cpu=True))
    weights = trainer._weights(torch.tensor([1, 300, 950]))
    # Little noise: SNR far over 5, weight 5 / SNR. Much noise: SNR under 5, weight 1.
    assert weights[0] < 0.05
    assert weights[2] == 1


def test_a_mirror_image_stands_beside_every_picture(parts: Parts) -> None:
    image = blank(64, 64)
    image[:, :20] = (200, 30, 30)
    made = dataset.encode(parts.vae, [Sample(image), Sample(image[:, ::-1].copy())], lambda done, total: None)
    assert made.known is None
    assert made.mean.shape == (4, 4, 8, 8)
    torch.testing.assert_close(made.mean[0], made.mean[3])
    torch.testing.assert_close(made.mean[1], made.mean[2])
    assert (made.mean[0] - made.mean[1]).abs().max() > 1e-3


def test_only_cells_that_lie_in_the_photo_are_known(parts: Parts, tmp_path: Path) -> None:
    photo = [Sample(blank(64, 64)), Sample(blank(64, 64), (0.1, 0.25, 0.5, 1.0))]
    made = dataset.encode(parts.vae, photo, lambda done, total: None)
    assert made.known is not None and made.known.shape == (4, 1, 8, 8)
    expected = torch.zeros(8, 8)
    expected[2:, 1:4] = 1
    assert (made.known[:2] == 1).all()
    assert torch.equal(made.known[2, 0], expected)
    assert torch.equal(made.known[3, 0], expected.flip(1))
    made.save(tmp_path / "latents.safetensors")
    again = dataset.LatentSet.load(tmp_path / "latents.safetensors").known
    assert again is not None and torch.equal(again, made.known)


def test_errors_beyond_the_photo_count_nothing(parts: Parts) -> None:
    _, trainer = trainer_of(parts, config())
    known = torch.ones(6, 1, 8, 8)
    known[2:4, ..., 4:] = 0
    trainer._counts = replace(latents(), known=known).counts(1.0)
    errors = torch.ones(2, 4, 8, 8)
    errors[..., 4:] = 9
    # Items 0 and 3: a picture that its photo covers, and the mirror image of one that it covers by half.
    assert trainer._mean_counted(errors, [0, 3]).tolist() == [5.0, 1.0]


def test_errors_in_the_face_count_as_often_as_is_asked(parts: Parts, tmp_path: Path) -> None:
    face = np.zeros((64, 64), np.float32)
    face[:, :16] = 1
    photos = [Sample(blank(64, 64), face=face), Sample(blank(64, 64), (0.0, 0.0, 0.5, 1.0), face)]
    dataset.encode(parts.vae, photos, lambda done, total: None).save(tmp_path / "latents.safetensors")
    made = dataset.LatentSet.load(tmp_path / "latents.safetensors")
    counts = made.counts(3.0)
    assert counts is not None
    assert [row[0, 0].tolist() for row in counts] == [
        [3, 3, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 3, 3],
        [3, 3, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 3, 3],
    ]
    assert made.counts(1.0) is made.known
    _, trainer = trainer_of(parts, config(face_weight=3.0))
    trainer._counts = counts
    errors = torch.ones(2, 4, 8, 8)
    errors[..., 6:] = 6
    assert trainer._mean_counted(errors, [0, 1]).tolist() == pytest.approx([(6 + 4 + 12) / 12, (6 + 36) / 12])


@pytest.mark.thorough
@pytest.mark.parametrize(
    "choice", [{"optimizer": "adafactor"}, {"gradient_checkpointing": True}, {"mixed_precision": "bf16"}]
)
def test_the_other_ways_to_train_work_too(parts: Parts, choice: dict[str, object]) -> None:
    lora, losses = train(parts, config(**choice), steps=2)
    assert all(0 < loss < 10 for loss in losses)
    assert any(layer.up.abs().max() > 0 for layer in lora.layers().values())


def test_a_missing_optimiser_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(AssetMissing, match="bitsandbytes"):
        loop.make_optimizer([torch.nn.Parameter(torch.zeros(1))], config(optimizer="adamw8bit"))


@pytest.mark.parametrize(
    ("asked", "device", "given"),
    [
        ("auto", "cpu", "no"),
        ("fp16", "cpu", "no"),
        ("bf16", "cpu", "bf16"),
        ("fp16", "cuda", "fp16"),
        ("no", "cuda", "no"),
    ],
)
def test_the_precision_follows_the_device(asked: str, device: str, given: str) -> None:
    assert loop.precision(config(mixed_precision=asked), torch.device(device)) == given


@pytest.mark.parametrize(
    ("capability", "given"),
    [((6, 1), "fp16"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((8, 9), "bf16"), ((12, 0), "bf16")],
    ids=["GTX 10", "V100", "T4 and RTX 20", "A100", "RTX 40", "RTX 50"],
)
def test_bf16_only_where_the_card_calculates_in_it(
    capability: tuple[int, int], given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch says of all these cards that they support bfloat16: it counts emulation."""
    old_or_new = SimpleNamespace(major=capability[0], minor=capability[1])
    asked: list[object] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device=None: (asked.append(device), old_or_new)[1])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *told, **more: True)
    monkeypatch.setattr(torch.version, "hip", None)
    second = torch.device("cuda", 1)
    assert loop.precision(config(mixed_precision="auto"), second) == given
    assert asked == [second], "the device of the training, not the current one"
    assert loop.precision(config(mixed_precision="bf16"), second) == "bf16"


def test_checkpointing_is_off_again_where_it_is_not_asked_for(parts: Parts) -> None:
    """The models of diffusers recompute in evaluation mode too, so the mode alone doesn't end it."""
    lora, _ = trainer_of(parts, config())
    modules = (parts.unet, *parts.text_encoders)
    lora.train(checkpointing=True)
    assert all(module.is_gradient_checkpointing for module in modules)
    lora.train(checkpointing=False)
    assert not any(module.is_gradient_checkpointing for module in modules)
