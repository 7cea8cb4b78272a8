"""Tests of the adapter's training: what it learns from, what it writes, and that diffusers reads that as it was
trained."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import benchkit
import cv2
import numpy as np
import pytest
import torch
from benchkit import MODEL_DIR, ROOT, Pack, View
from face_loss import CHIP, FaceLoss, Promises
from latents import Bucket
from noise import Noise
from portrait_views import Groups, Vectors
from safetensors.torch import save_file
from train_adapter import COLUMNS, FILE, REPAINTED, Run

from easyphoto.vision.backends import dlib_faces, dlib_net

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
        emphasis=6.0, muon_rate=0.02, adam_rate=0.02, average=0.5, identity=0.0, toward=0.0, adapter=None,
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

    again = options(files, tmp_path)
    again.adapter = tmp_path / FILE
    with torch.no_grad():
        gone_on = Run(again).predict(latents, times, text, own)
    assert (gone_on - trained).abs().max() < 0.1 * moved, "a training goes on from the file"

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


class Enlarging:
    """A decoder whose picture of latents is their first three channels, eight times as large."""

    config = argparse.Namespace(scaling_factor=1.0)

    def decode(self, latents: torch.Tensor) -> argparse.Namespace:
        large = torch.nn.functional.interpolate(latents[:, :3], scale_factor=8, mode="nearest")
        return argparse.Namespace(sample=large)


def face_loss_on(vae: Any) -> FaceLoss:
    """The face loss for faces that lie in a chip as :func:`landmarks` do."""
    net = dlib_net.load(dlib_faces.model_file("dlib_face_recognition_resnet_model_v1.dat")).eval().requires_grad_(False)
    target = torch.from_numpy(landmarks(CHIP))
    return FaceLoss(vae, net, (target, torch.zeros(128)), Noise(torch.device("cpu")), 8)


def bucket_of(points: torch.Tensor, latents: torch.Tensor) -> Bucket:
    count = len(points)
    nothing = torch.zeros(count, dtype=torch.long)
    shown = Enlarging().decode(latents).sample.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1)
    return Bucket(latents, torch.ones(count, 32, 32), nothing, nothing.bool(), points, shown)


def test_a_face_is_seen_alike_in_a_cut_of_the_picture_and_in_the_whole() -> None:
    loss = face_loss_on(Enlarging())
    points = torch.stack(
        [torch.from_numpy(landmarks(CHIP)) + torch.tensor([x, y]) for x, y in ((0.0, 40.0), (90, 100))]
    )
    generator = torch.Generator().manual_seed(4)
    coarse = torch.rand(2, 4, 5, 5, generator=generator) * 2 - 1  # so that one part of the picture isn't like another
    latents = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    bucket, times = bucket_of(points, latents), torch.tensor([0, 0])
    places = torch.tensor([0, 1])
    of = Promises(torch.zeros_like(latents), latents, times, places, torch.randn(2, 128, generator=generator), places)
    whole, cut = loss.away(of, bucket, 32), loss.away(of, bucket, 20)
    torch.testing.assert_close(cut, whole, atol=2e-3, rtol=0)
    moved = loss.away(of, bucket_of(points.flip(0), latents), 20)
    assert (moved[0] - cut[0]).abs().max() > 0.01, "another part of the picture is another face"
    assert cut[1].max() < 0.1, "the photo is the picture itself, but for its rounding"
    others = loss.away(replace(of, shown=places.flip(0)), bucket, 20)
    torch.testing.assert_close(others[0], cut[0])
    assert others[1].min() > 0.5
    assert loss.fits(points, 256, 20).tolist() == [True, True]
    assert loss.fits(1.5 * points, 256, 26).tolist() == [False, False], "too large, or beyond the edge"
    assert loss.fits(points * float("nan"), 256, 26).tolist() == [False, False]


@pytest.mark.thorough
def test_promised_faces_come_nearer_to_whom_the_vectors_show(files: tuple[Path, Path], tmp_path: Path) -> None:
    given = options(files, tmp_path)
    given.identity, given.toward, given.batch, given.face_batch = 1.0, 1.0, 4, 4
    given.face_net = tmp_path / "net.safetensors"
    net = dlib_net.load(dlib_faces.model_file("dlib_face_recognition_resnet_model_v1.dat"))
    save_file({**net.state_dict(), "target": torch.from_numpy(landmarks(CHIP))}, given.face_net)
    run = Run(given)
    batch = run.batches.draw(16, 0.0, 1.0)
    assert batch.others.all() and REPAINTED[0] <= batch.times.min() and batch.times.max() < REPAINTED[1]
    people = run.views.person
    assert (people[batch.shown] != people[batch.places]).all()
    theirs = (run.views.vectors[people[batch.shown]] @ batch.vectors[:, :, None])[..., 0]
    torch.testing.assert_close(theirs.amax(1), torch.ones(16), atol=1e-3, rtol=0)
    noisy = run.noise.add(batch.clean, run.batches.like(batch.clean), batch.times)

    def away() -> float:
        with torch.no_grad():
            return float(run._away(batch, noisy, run.predict(noisy, batch.times, batch.contexts, batch.vectors)))

    before = away()
    for _ in range(6):
        run.train_step(1.0)
    assert away() < before - 1e-3

    run.apart["judged"] = run.views
    measured = {**run.losses(), **run.unseen_away()}
    assert {"judged_own", "judged_none", "judged_away", "judged_away_none"} <= set(measured) & set(COLUMNS)
    assert 0 < measured["judged_away"] != measured["judged_away_none"], "the vectors are told of"


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
