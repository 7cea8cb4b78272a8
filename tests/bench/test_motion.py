"""Tests of the clips that are made from portraits, and of the training of the motion module, on tiny random models."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from benchkit import Pack, View
from pack import encode
from safetensors.torch import load_file
from warped_clips import SOURCE, Draw, FaceFrame, Movement, Portraits, head_field, lid_source, load_portraits, render

TRAIN = Path(__file__).resolve().parents[2] / "tools" / "bench" / "train_motion.py"
PART = {"jaw": range(17), "brows": range(17, 27), "nose": range(27, 36), "eyes": range(36, 48), "mouth": range(48, 68)}


def landmarks(side: int) -> np.ndarray:
    """68 landmarks of a plain frontal face in the middle of a square, as wide as half of it."""
    angle = np.linspace(np.pi, 0, 17)
    jaw = np.stack([np.cos(angle) * 0.5, np.sin(angle) * 0.65 - 0.05], 1)
    brows = np.stack([np.r_[np.linspace(-0.38, -0.1, 5), np.linspace(0.1, 0.38, 5)], np.full(10, -0.28)], 1)
    nose = np.r_[
        np.stack([np.zeros(4), np.linspace(-0.15, 0.08, 4)], 1),
        np.stack([np.linspace(-0.1, 0.1, 5), np.full(5, 0.13)], 1),
    ]
    eye = np.array([[-0.1, 0], [-0.04, -0.04], [0.04, -0.04], [0.1, 0], [0.04, 0.035], [-0.04, 0.035]])
    eyes = np.r_[eye - np.array([0.22, 0.15]), eye + np.array([0.22, -0.15])]
    turn = np.linspace(np.pi, -np.pi, 20, endpoint=False)
    mouth = np.stack([np.cos(turn) * 0.18, np.sin(-turn) * 0.06 + 0.32], 1)
    points = np.r_[jaw, brows, nose, eyes, mouth]
    assert len(points) == 68
    return ((points * 0.5 + 0.5) * side).astype(np.float32)


def picture(side: int, seed: int) -> np.ndarray:
    """A smooth random picture, RGB."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)


def still(clips: int, frames: int) -> Movement:
    none = torch.zeros(clips, frames)
    window = (none, none, torch.full_like(none, SOURCE))
    return Movement(none, none, none, (none, none), none, none, none, window, (none, none, none))


@pytest.fixture
def portraits() -> Portraits:
    pictures = torch.from_numpy(np.stack([picture(SOURCE, seed) for seed in range(3)])).permute(0, 3, 1, 2)
    points = torch.from_numpy(np.stack([landmarks(SOURCE)] * 3))
    return Portraits(pictures.contiguous(), points, [4, 7, 9])


def test_frames_follow_each_other_smoothly_and_differ_from_clip_to_clip(portraits: Portraits) -> None:
    clips = render(portraits, torch.tensor([0, 0, 2]), 6, torch.Generator().manual_seed(3))
    assert clips.shape == (3, 6, 3, 256, 256)
    assert float(clips.abs().max()) <= 1
    steps = (clips[:, 1:] - clips[:, :-1]).abs().mean((2, 3, 4))
    assert float(steps.max()) < 0.2, "a clip has no cut"
    assert float((clips[0] - clips[1]).abs().mean()) > 0.01, "the same portrait moves in another way"


def test_no_movement_folds_the_head_over_itself() -> None:
    """The field's own slope stays under 1 at the largest movements, so that it can be turned around."""
    face = FaceFrame(torch.from_numpy(landmarks(SOURCE))[None])
    ramp = torch.linspace(-1.8, 1.8, 181)
    y, x = (axis[None, None] for axis in torch.meshgrid(ramp, ramp, indexing="ij"))
    for way in (1.0, -1.0):
        full = torch.full((1, 1), way)
        none = torch.zeros(1, 1)
        most = Movement(0.42 * full, 0.28 * full, 0.12 * full, (0.1 * full, 0.06 * full), full, full, none,
                        still(1, 1).window, (none, none, none))  # fmt: skip
        dx, dy = head_field(x, y, face.landmarks, most)
        step = float(ramp[1] - ramp[0])
        slope = [torch.gradient(field[0, 0], spacing=step) for field in (dx, dy)]
        bent = torch.stack([torch.stack([s[1], s[0]], -1) for s in slope], -2)
        assert float(torch.linalg.matrix_norm(bent, 2).max()) < 0.9


def test_lids_close_over_the_eyes_alone() -> None:
    face = FaceFrame(torch.from_numpy(landmarks(SOURCE))[None])
    marks = face.landmarks
    ramp = torch.linspace(-1, 1, 401)
    y, x = (axis[None, None] for axis in torch.meshgrid(ramp, ramp, indexing="ij"))
    open_, shut = (lid_source(x, y, marks, torch.full((1, 1), by)) for by in (0.0, 1.0))
    assert torch.equal(open_, y)
    moved = (shut != y)[0, 0]
    rows, columns = moved.nonzero(as_tuple=True)
    eyes, brows = marks[0, list(PART["eyes"])], marks[0, list(PART["brows"])]
    assert ramp[rows].min() > brows[:, 1].min() and ramp[rows].max() < eyes[:, 1].max() + 0.02
    assert ramp[columns].min() > eyes[:, 0].min() - 0.03 and ramp[columns].max() < eyes[:, 0].max() + 0.03
    middle = marks[0, 36:42].mean(0)
    at = (int((ramp - middle[1]).abs().argmin()), int((ramp - middle[0]).abs().argmin()))
    assert float(shut[0, 0][at]) < float(marks[0, 37:39, 1].mean()), "the eye shows the skin above it"


def test_a_curve_stays_in_its_bounds_and_lids_open_again() -> None:
    draw = Draw(200, 16, torch.Generator().manual_seed(0))
    assert float(draw.swing(0.4, 1.0).abs().max()) <= 0.4
    pulse = draw.pulse(1.0)
    assert float(pulse.min()) >= 0 and float(pulse.max()) <= 1
    assert float((pulse > 0.05).float().mean()) < 0.3, "eyes are open most of the time"


def write_pack(path: Path) -> None:
    views, encoded = [], []
    for number, side in enumerate((318, 400, 448, 330)):
        points = landmarks(side)
        face = [*points.min(0).tolist(), *points.max(0).tolist()]
        views.append(View(f"{number}.jpg", f"a person number {number}", "whole", number == 3, face, points.tolist()))
        encoded.append(encode(picture(side, number), 80))
    views.append(View("5.jpg", "nobody", "whole", False, None, None))
    encoded.append(encode(picture(320, 5), 80))
    Pack.write(path, views, encoded)


def test_portraits_of_any_side_are_brought_to_one_and_held_out_ones_stay_out(tmp_path: Path) -> None:
    write_pack(tmp_path / "pack.npz")
    pack = Pack(tmp_path / "pack.npz")
    mine = load_portraits(pack, False, torch.device("cpu"), workers=2)
    assert list(mine.owners) == [0, 1, 2], "neither the held-out one nor the one without a face"
    assert mine.pictures.shape == (3, 3, SOURCE, SOURCE)
    assert torch.allclose(mine.points[0], torch.from_numpy(landmarks(SOURCE)), atol=1.0)
    assert list(load_portraits(pack, True, torch.device("cpu"), workers=2).owners) == [3]


def write_models(folder: Path) -> None:
    """A tiny random checkpoint with the bench's tokenizer: the parts that `--init` has to have, and no more."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from parts import UNET, load_tokenizer, make_text_encoder

    tokenizer = load_tokenizer(Path(__file__).resolve().parents[2] / "models" / "bench" / "tokenizer")
    tokenizer.save_pretrained(folder / "tokenizer")
    make_text_encoder(tokenizer).save_pretrained(folder / "text_encoder")
    small = {**UNET, "block_out_channels": (8, 8, 16), "norm_num_groups": 4, "attention_head_dim": 2}
    UNet2DConditionModel(**small).save_pretrained(folder / "unet")
    blocks = 4
    AutoencoderKL(
        block_out_channels=(4,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        norm_num_groups=2,
        mid_block_add_attention=False,
    ).save_pretrained(folder / "vae")


def command(folder: Path, *more: str) -> list[str]:
    write_models(folder / "models")
    write_pack(folder / "pack.npz")
    plain = ["--init", "models", "--pack", "pack.npz", "--out", "motion", "--frames", "4", "--batch", "2"]
    return [sys.executable, str(TRAIN), *plain, *more]


@pytest.mark.slow
def test_a_training_leaves_an_adapter_that_the_unet_takes(tmp_path: Path) -> None:
    from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel

    line = command(tmp_path, "--steps", "4", "--every", "2", "--samples", "1", "--warmup", "1")
    done = subprocess.run(line, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    adapter = MotionAdapter.from_pretrained(tmp_path / "motion", torch_dtype=torch.float16)
    stored = load_file(tmp_path / "motion" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}
    still_unet = UNet2DConditionModel.from_pretrained(tmp_path / "models" / "unet")
    unet = UNetMotionModel.from_unet2d(still_unet, adapter.float())
    noisy, context = torch.randn(1, 4, 4, 32, 32), torch.randn(1, 77, 128).repeat_interleave(4, 0)
    with torch.no_grad():
        moving = unet(noisy, torch.tensor([500]), context).sample[0].transpose(0, 1)
        alone = still_unet(noisy[0].transpose(0, 1), torch.tensor([500]), context).sample
    assert float((moving - alone).abs().max()) > 1e-4, "the module has learned something"
    assert (tmp_path / "motion.jpg").is_file() and (tmp_path / "motion.csv").is_file()
    assert "repainted with: a frame is" in done.stdout


@pytest.mark.thorough
def test_a_training_that_is_asked_to_end_writes_what_it_has(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(tmp_path, "--seconds", "600", "--every", "1"), cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step=1 "):
                process.send_signal(signal.SIGTERM)
                break
        begun = time.monotonic()
        rest, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "wrote motion" in rest
    assert (tmp_path / "motion" / "diffusion_pytorch_model.safetensors").is_file()
    assert time.monotonic() - begun < 120


def test_the_module_that_ships_fits_the_checkpoint_that_ships() -> None:
    from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel

    models = Path(__file__).resolve().parents[2] / "models"
    files = [path for path in (models / "bench-motion").iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8_000_000
    stored = load_file(models / "bench-motion" / "diffusion_pytorch_model.safetensors")
    assert all(value.dtype == torch.float16 and bool(value.isfinite().all()) for value in stored.values())
    unet = UNet2DConditionModel.from_pretrained(models / "bench" / "unet", local_files_only=True)
    adapter = MotionAdapter.from_pretrained(models / "bench-motion", local_files_only=True)
    together = UNetMotionModel.from_unet2d(unet, adapter)
    known = together.state_dict()
    assert stored and all(torch.equal(known[name], value.to(known[name].dtype)) for name, value in stored.items())
