"""Tests of the adapter's training: what it learns from, what it writes, and that diffusers reads that as it was
trained."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import benchkit
import cv2
import numpy as np
import pytest
import torch
from benchkit import MODEL_DIR, ROOT, Pack, View
from portrait_views import Groups, Vectors
from train_adapter import FILE, Run

PEOPLE = 8


def landmarks(side: int) -> np.ndarray:
    """68 points that lie where a face's would, in a square of `side` pixels."""
    rng = np.random.default_rng(1)
    return (rng.uniform(0.32, 0.68, (68, 2)) * side).astype(np.float32)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A pack of made-up portraits, the last two of them held, and vectors of all but the first one."""
    rng = np.random.default_rng(2)
    views, coded = [], []
    for number in range(PEOPLE):
        side = 300 + 20 * number
        coarse = rng.integers(0, 255, (6, 6, 3)).astype(np.uint8)
        picture = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        points = landmarks(side).tolist()
        box = [0.3 * side, 0.35 * side, 0.7 * side, 0.75 * side]
        held = number >= PEOPLE - 2
        views.append(View(f"{number}.jpg", "portrait photo of a person", "source", held, box, points))
        coded.append(cv2.imencode(".webp", picture)[1].tobytes())
    Pack.write(tmp_path / "pack.npz", views, coded)
    vectors = rng.normal(size=(PEOPLE, 5, 128))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    found = np.ones((PEOPLE, 5), bool)
    found[0] = False
    names = np.array([view.file for view in views])
    np.savez(tmp_path / "embeddings.npz", files=names, vectors=vectors.astype(np.float16), found=found)
    return tmp_path / "pack.npz", tmp_path / "embeddings.npz"


def options(files: tuple[Path, Path], out: Path) -> argparse.Namespace:
    return argparse.Namespace(
        pack=files[0], embeddings=files[1], init=MODEL_DIR, out=out, device="cpu", views=2, batch=2, seed=0, bare=0.3,
        emphasis=6.0, muon_rate=0.02, adam_rate=0.02, average=0.5, identity=0.0,
    )  # fmt: skip


def test_nobody_is_trained_on_who_is_held_out_or_has_no_vector(files: tuple[Path, Path]) -> None:
    pack = Pack(files[0])
    groups = Groups.of(pack.views, Vectors.read(files[1]))
    assert (groups.train, groups.judged, groups.held) == ([1, 2, 3, 4, 5], [], [6, 7])


@pytest.mark.thorough
def test_diffusers_reads_the_adapter_as_it_was_trained(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import StableDiffusionPipeline

    # a CPU with instructions for bfloat16 would round away what is compared here
    monkeypatch.setattr(benchkit, "fast_bf16", lambda device: False)
    run = Run(options(files, tmp_path))
    text = torch.randn(2, 77, 128, generator=torch.Generator().manual_seed(4))
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    own, times = run.views.vectors[:2, 0], torch.tensor([100, 600])
    with torch.no_grad():
        plain = run.predict(latents, times, text, own)
    for _ in range(4):
        run.train_step(1.0)
    run.write()
    with torch.no_grad(), run.learner.averaged():
        trained, dropped = run.predict(latents, times, text, own), run.predict(latents, times, text, 0 * own)
    moved = (trained - plain).abs().max()
    assert moved > 5e-3 and (trained - dropped).abs().max() > 5e-4

    pipe = StableDiffusionPipeline.from_pretrained(MODEL_DIR, torch_dtype=torch.float32)
    untouched = pipe.unet(latents, times, encoder_hidden_states=text).sample
    assert torch.allclose(untouched, plain, atol=1e-4), "an adapter that has learned nothing changes nothing"
    pipe.load_ip_adapter(tmp_path, subfolder="", weight_name=FILE, image_encoder_folder=None)
    with torch.no_grad():
        read = pipe.unet(
            latents, times, encoder_hidden_states=text, added_cond_kwargs={"image_embeds": [own[:, None]]}
        ).sample
    assert (read - trained).abs().max() < 0.1 * moved  # the file holds 16 bits
    assert (tmp_path / FILE).stat().st_size < 4e6


@pytest.mark.slow
def test_a_training_that_is_told_to_end_writes_what_it_has(files: tuple[Path, Path], tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "bench" / "train_adapter.py"), "--init", str(MODEL_DIR)]
    command += ["--pack", str(files[0]), "--embeddings", str(files[1]), "--out", str(tmp_path / "out")]
    command += ["--seconds", "3000", "--batch", "2", "--views", "1", "--every", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step=1 "):
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stdout.read()
    assert process.returncode == 0 and FILE in rest
    assert (tmp_path / "out" / FILE).is_file()
