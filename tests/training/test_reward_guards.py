"""The guards of the reward, broken one at a time, and its gradients against finite differences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from easyphoto import pictures, sd
from easyphoto.ports import Calibration, Face, GradientEmbedder, Image, Vision
from easyphoto.training import reward_gate, reward_loss, rewarder, validation
from easyphoto.training.lora import LoraShape, TrainedLora
from easyphoto.training.reward_gate import GateSide, GateWitness, decide
from easyphoto.training.reward_lora import RewardLora
from easyphoto.training.reward_loss import Jitter, PhotoRange, RewardTarget
from easyphoto.training.rewarder import Canvas, RewardAim
from easyphoto.vision import largest
from tests.training.conftest import portraits
from tests.training.really_rewarded import CoarseReporter

STARTING = GateSide((0.5, 0.4, 0.45, 0.5), 1.0, 100.0, 0.8, 0.1)
BETTER = replace(STARTING, likeness=(0.6, 0.5, 0.56, 0.59))


# --- gradients -------------------------------------------------------------------------------------------------------


class SmallEmbedder:
    """An embedder of a few random numbers, in any precision."""

    name = "small"
    calibration = Calibration(0.8, 0.1, 0.0, 0.2, "made up")
    chip_side = 6

    def __init__(self) -> None:
        self._matrix = torch.randn(5, 3 * 6 * 6, generator=torch.Generator().manual_seed(1))

    def chip_map(self, image: Image, face: Face) -> NDArray[np.float64]:
        return np.array([[1.5, 0.2, 2.0], [-0.2, 1.5, 3.0]])

    def embed_pixels(self, chips: Tensor) -> Tensor:
        return functional.normalize(chips.flatten(1) / 255 @ self._matrix.to(chips).T, dim=1)


def test_the_gradient_of_a_cut_face_is_that_of_finite_differences() -> None:
    judge = SmallEmbedder()
    assert isinstance(judge, GradientEmbedder)
    source = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, 14, 14, generator=source, dtype=torch.float64) * 0.5 + 0.2
    place = torch.from_numpy(judge.chip_map(np.zeros((1, 1, 3), np.uint8), None))  # type: ignore[arg-type]
    target = RewardTarget(functional.normalize(torch.randn(4, 5, generator=source, dtype=torch.float64)) + 0, 0.8)
    jitter = Jitter(0.03, 1.02, (0.01, -0.01), True, 1.05)

    def loss(pixels: Tensor) -> Tensor:
        cut = reward_loss.chip(pixels, place, judge.chip_side, jitter)
        made = judge.embed_pixels(cut * 255)[0]
        return reward_loss.sharpness(cut) + reward_loss.saturation(cut) - target.cosine(made, 1)

    assert torch.autograd.gradcheck(loss, picture.requires_grad_(True), eps=1e-6, atol=1e-5)


def test_the_gradient_of_the_small_lora_through_the_whole_step_is_that_of_finite_differences(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewarder, "PASSES", 0)  # the passes before the last one count as constants
    monkeypatch.setattr(rewarder, "SHARPER", 2.0)  # so that this guard has its part in the gradient
    parts = sd.load(checkpoint, device="cpu", dtype=torch.float32)
    own = TrainedLora(parts, LoraShape(4, 2.0), seed=1, train_text=False)
    judge = SmallEmbedder()
    source = torch.Generator().manual_seed(3)
    with RewardLora(parts, own, seed=2) as lora:
        for weight in lora.parameters():  # the up matrices begin at zero, where half the gradient is nought
            weight.data.add_(0.05 * torch.randn(weight.shape, generator=source))
        work = Canvas(
            clean=torch.randn(1, 4, 8, 8, generator=source),
            mask=torch.ones(1, 1, 8, 8),
            pixels=torch.rand(1, 3, 64, 64, generator=source),
            alpha=torch.ones(1, 1, 64, 64),
            place=torch.tensor([[4.0, 0.1, 12.0], [-0.1, 4.0, 14.0]]),
            window=(0, 8, 0, 8),
        )
        vectors = functional.normalize(torch.randn(4, 5, generator=source), dim=1)
        step = stepping(
            parts, lora, work, RewardAim(replace_ceiling(vectors), PhotoRange(0, 9), PhotoRange(0, 9)), judge
        )

        def loss() -> Tensor:
            made: Tensor = step.face_loss(work, torch.Generator().manual_seed(5))[0]
            return made

        weights = lora.parameters()
        gradients = torch.autograd.grad(loss(), weights, allow_unused=True)
        slope = sum(float(g.square().sum()) for g in gradients if g is not None)
        assert slope > 0
        assert all(w.grad is None and not w.requires_grad for w in own.parameters())
        length = 1e-3 / slope**0.5
        ends = []
        with torch.no_grad():
            for sign in (1, -2):
                for weight, gradient in zip(weights, gradients, strict=True):
                    if gradient is not None:
                        weight.add_(sign * length * gradient)
                ends.append(float(loss()))
        assert (ends[0] - ends[1]) / (2 * length) == pytest.approx(slope, rel=0.05)


def replace_ceiling(vectors: Tensor) -> RewardTarget:
    """A target that is far away, so that the hinge doesn't take the gradient."""

    class Far(RewardTarget):
        @property
        def ceiling(self) -> float:
            return 2.0

    return Far(vectors, 0.8)


def stepping(parts: Any, lora: RewardLora, work: Canvas, aim: RewardAim, judge: SmallEmbedder) -> rewarder.Rewarder:
    from accelerate import Accelerator

    from easyphoto import families
    from easyphoto.config import Family
    from easyphoto.storage.triggers import TRIGGER
    from easyphoto.training.dataset import LatentSet
    from easyphoto.training.loop import Trainer

    config = families.spec(Family.BENCH).train_config(train_text_encoder=False, mixed_precision="no")
    latents = LatentSet(torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 8, 8), 64)
    accelerator = Accelerator(cpu=True)
    trainer = Trainer(parts, lora, latents, [TRIGGER], config, accelerator)
    return rewarder.Rewarder(parts, lora, trainer, [work], aim, judge, accelerator)


def test_the_small_lora_leaves_the_model_as_it_found_it(checkpoint: Path) -> None:
    parts = sd.load(checkpoint, device="cpu", dtype=torch.float32)
    own = TrainedLora(parts, LoraShape(4, 2.0), seed=1, train_text=False)
    x, text = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 128)
    for weight in own.parameters():
        weight.data.normal_(0, 0.1)

    def said() -> Tensor:
        with torch.no_grad():
            made: Tensor = parts.unet(x, torch.tensor([300]), encoder_hidden_states=text, return_dict=False)[0]
            return made

    before = said()
    with RewardLora(parts, own, seed=2) as lora:
        assert torch.equal(said(), before), "it adds nothing yet"
        for weight in lora.parameters():
            weight.data.normal_(0, 0.1)
        assert not torch.allclose(said(), before, atol=1e-3)
        with lora.silent():
            assert torch.equal(said(), before), "the person's own LoRA works on alone"
    assert torch.equal(said(), before)
    assert all(weight.requires_grad for weight in own.parameters())


# --- what the guards do ----------------------------------------------------------------------------------------------


def test_nothing_is_gained_above_what_the_photos_are_to_one_another() -> None:
    vectors = functional.normalize(torch.tensor([[1.0, 0.1, 0.0], [1.0, -0.1, 0.0], [1.0, 0.0, 0.2]]), dim=1)
    target = RewardTarget(vectors, 1.0)
    made = functional.normalize(vectors.mean(0), dim=0).requires_grad_(True)
    assert float(target.cosine(made.detach())) > target.ceiling
    loss = target.loss(made)
    loss.backward()
    assert float(loss.detach()) == 0 and made.grad is not None and not made.grad.any()


def test_the_photo_whose_noise_is_repaired_is_no_target() -> None:
    vectors = torch.eye(3)
    assert float(RewardTarget(vectors, 1.0).cosine(vectors[0], shown=0)) == 0
    assert float(RewardTarget(vectors, 1.0).cosine(vectors[0])) == pytest.approx(1 / 3)


def test_faces_outside_the_photos_range_cost_something() -> None:
    chip = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    sharp = float(reward_loss.sharpness(chip))
    there = PhotoRange.of([sharp * 0.95, sharp * 1.05])
    assert float(there.excess(torch.tensor(sharp))) == 0
    soft = torch.full_like(chip, 0.5)
    assert float(there.excess(reward_loss.sharpness(soft))) > 0.5
    grey = chip.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    colours = PhotoRange.of([float(reward_loss.saturation(chip))])
    assert float(colours.excess(reward_loss.saturation(grey))) > 0.5


def test_a_face_that_is_less_sharp_than_asked_costs_something_and_a_sharper_one_nothing() -> None:
    source = torch.Generator().manual_seed(4)
    crisp = torch.rand(1, 3, 32, 32, generator=source)
    soft = functional.avg_pool2d(functional.pad(crisp, (1, 1, 1, 1), "reflect"), 3, 1)
    sharp, blurred = reward_loss.sharpness(crisp), reward_loss.sharpness(soft)
    assert reward_loss.dulled(sharp, blurred) == 0 and reward_loss.dulled(sharp, sharp) == 0
    assert float(reward_loss.dulled(blurred, sharp)) == pytest.approx(1 - float(blurred / sharp))
    flat = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    reward_loss.dulled(reward_loss.sharpness(flat), sharp).backward()
    assert flat.grad is not None and bool(flat.grad.isfinite().all())


def test_the_judges_cut_is_the_one_that_the_reward_looks_at(astronaut: Image, vision: Vision) -> None:
    """At dlib's own map and without jitter, the reward sees what the judge sees."""
    judge = vision.embedder
    assert isinstance(judge, GradientEmbedder)
    image = portraits(astronaut, 1)[0]
    face = largest(vision.detector.detect(image))
    assert face is not None
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    cut = reward_loss.chip(pixels, torch.from_numpy(judge.chip_map(image, face)), judge.chip_side)
    made = judge.embed_pixels(cut * 255)[0].detach().numpy()
    assert float(made @ judge.embed(image, face)) > 0.99


# --- the gate --------------------------------------------------------------------------------------------------------


def test_a_gain_above_chance_is_accepted() -> None:
    verdict = decide(STARTING, BETTER, 0.5)
    assert verdict.accepted and verdict.interval[0] > 0 and verdict.gain == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (replace(BETTER, likeness=(0.9, 0.3, 0.5, 0.5)), "did not rise for sure"),
        (STARTING, "did not rise for sure"),
        (replace(BETTER, likeness=(0.6, 0.5, 0.5, 0.5), found=0.9), "found less often"),
        (replace(BETTER, sharpness=97.0), "lost sharpness"),
        (replace(BETTER, diversity=0.48), "too alike"),
        (replace(BETTER, copying=0.13), "copy a photo"),
    ],
)
def test_the_gate_names_what_is_worse(after: GateSide, why: str) -> None:
    before = replace(STARTING, likeness=(0.5, 0.4, 0.4, 0.4)) if after.found < 1 else STARTING
    verdict = decide(before, after, 0.5)
    assert not verdict.accepted and why in verdict.why
    assert verdict.guards["sharpness"] == (100.0, after.sharpness)


def test_the_sentence_has_the_numbers() -> None:
    verdict = decide(STARTING, replace(BETTER, sharpness=65.6, copying=0.25), 0.5)
    assert verdict.why == "the faces lost sharpness (100 → 66), the pictures copy a photo more (0.10 → 0.25)"


def test_pictures_of_one_person_may_become_as_alike_as_the_photos() -> None:
    assert decide(STARTING, replace(BETTER, diversity=0.6), 0.5).accepted
    assert not decide(STARTING, replace(BETTER, diversity=0.6), 0.7).accepted
    assert decide(STARTING, replace(BETTER, sharpness=98.5, copying=0.11, found=0.99), 0.5).accepted


@pytest.fixture
def people(astronaut: Image) -> tuple[list[Image], list[Image]]:
    """Photos of one person, and a template of another at four sizes."""
    (hopper,) = validation.packaged()
    whole = pictures.load(hopper)
    crops = [cv2.resize(whole[: 380 + 20 * i, 60 : 440 + 20 * i], (256, 256)) for i in range(4)]
    return portraits(astronaut, 4), [np.ascontiguousarray(crop) for crop in crops]


def witness_of(photos: list[Image], vision: Vision) -> GateWitness:
    reporter = CoarseReporter()
    faces = [(image, largest(vision.detector.detect(image))) for image in photos]
    return GateWitness(reporter, [reporter.witness(image, face) for image, face in faces if face], len(photos))


def followed(template: Image, photos: list[Image], vision: Vision) -> tuple[Image, float, float]:
    """A template that follows the judge's gradient in its pixels, held by nothing; and the judge's cosine before and
    after."""
    judge = vision.embedder
    assert isinstance(judge, GradientEmbedder)
    vectors = []
    for photo in photos:
        face = largest(vision.detector.detect(photo))
        assert face is not None
        vectors.append(torch.from_numpy(judge.embed(photo, face)))
    target = RewardTarget(torch.stack(vectors), 0.8)
    face = largest(vision.detector.detect(template))
    assert face is not None
    place = torch.from_numpy(judge.chip_map(template, face))
    first = torch.from_numpy(template.copy()).permute(2, 0, 1)[None].float() / 255
    picture = first.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([picture], lr=0.01)
    cosines = []
    for _ in range(12):
        made = judge.embed_pixels(reward_loss.chip(picture, place, judge.chip_side) * 255)[0]
        cosines.append(float(target.cosine(made.detach())))
        loss = target.loss(made)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    array = (picture.detach().clamp(0, 1) * 255).round().to(torch.uint8)[0].permute(1, 2, 0).contiguous().numpy()
    return array, cosines[0], cosines[-1]


@pytest.mark.thorough
def test_without_an_anchor_the_judge_is_fooled_and_the_gate_is_not(
    people: tuple[list[Image], list[Image]], vision: Vision
) -> None:
    photos, templates = people
    made = [followed(template, photos, vision) for template in templates]
    assert all(last > first + 0.3 for _, first, last in made), "the judge sees another person"
    witness = witness_of(photos, vision)
    before = witness.see([[template] for template in templates], vision)
    verdict = decide(before, witness.see([[image] for image, _, _ in made], vision), witness.diversity)
    assert not verdict.accepted


def test_with_the_same_photo_as_target_the_pictures_become_that_photo_and_the_gate_refuses(
    people: tuple[list[Image], list[Image]], vision: Vision
) -> None:
    photos, templates = people
    witness = witness_of(photos, vision)
    before = witness.see([[template] for template in templates], vision)
    after = witness.see([[photos[0]]] * len(templates), vision)
    assert np.mean(after.likeness) > np.mean(before.likeness)
    verdict = decide(before, after, witness.diversity)
    assert not verdict.accepted and ("copy a photo" in verdict.why or "too alike" in verdict.why)


def test_one_template_proves_nothing() -> None:
    one, more = replace(STARTING, likeness=(0.4,)), replace(STARTING, likeness=(0.9,))
    assert not decide(one, more, None).accepted
    assert reward_gate.TOLERANCE == 0.02
