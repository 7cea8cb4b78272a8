"""Steps of the trainer on a folder of pictures, without validation and with all errors counting alike: what
:mod:`benchmarks.stopwatch` times. Other trainers have no weight of the face either.

python -m benchmarks.train_steps CHECKPOINT PICTURES [--resolution 128] [--batch 1] [--rank 64] [--alpha 32]
    [--precision no] [--steps 6] [--tokenizer FOLDER] [--no-text] [--checkpointing] [--out LORA]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import torch
from accelerate import Accelerator

from easyphoto import checkpoint, families, pictures, sd
from easyphoto.sd import lora as lora_files
from easyphoto.storage.triggers import TRIGGER
from easyphoto.training import dataset, loop
from easyphoto.training.lora import LoraShape, TrainedLora
from easyphoto.training.samples import Sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("pictures", type=Path)
    for name, default in (("resolution", 128), ("batch", 1), ("rank", 64), ("alpha", 32), ("steps", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--precision", default="no", choices=("no", "bf16"))
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--no-text", action="store_true")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    config = families.spec(checkpoint.inspect(options.checkpoint).family).train_config(
        resolution=options.resolution,
        train_batch_size=options.batch,
        gradient_accumulation_steps=1,
        rank=options.rank,
        network_alpha=options.alpha,
        mixed_precision=options.precision,
        train_text_encoder=not options.no_text,
        gradient_checkpointing=options.checkpointing,
        face_weight=1.0,
    )
    folders = [options.tokenizer] if options.tokenizer else []
    parts = sd.load(options.checkpoint, device="cpu", dtype=loop.weight_type(options.precision), tokenizers=folders)
    side = options.resolution
    files = sorted(p for p in options.pictures.iterdir() if p.suffix.lower() in (".jpg", ".png"))
    images = [cv2.resize(pictures.load(f), (side, side), interpolation=cv2.INTER_AREA) for f in files]
    latents = dataset.encode(parts.vae, [Sample(i) for i in images], lambda done, total: None)
    trained = TrainedLora(
        parts, LoraShape(options.rank, float(options.alpha)), seed=config.seed, train_text=config.train_text_encoder
    )
    accelerator = Accelerator(mixed_precision=options.precision, cpu=True)
    trainer = loop.Trainer(parts, trained, latents, [TRIGGER] * len(images), config, accelerator)
    for number, loss in loop.steps(trainer, 1, options.steps, lambda: False):
        print(f"step {number} loss {loss:.4f}", flush=True)
    print(f"trained numbers: {sum(p.numel() for p in trained.parameters()):,} on {torch.get_num_threads()} thread(s)")
    if options.out:
        layers = trained.layers()
        lora_files.write(options.out, layers, lora_files.metadata(parts.family, layers))


if __name__ == "__main__":
    main()
