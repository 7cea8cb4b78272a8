"""A trainer with one phase more than the package has, between train and fuse: all that a caller writes to add one.

``python -m tests.training.rewarded FOLDER``
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from easyphoto.events import Progress
from easyphoto.sd import lora as lora_files
from easyphoto.sd.lora import Layers
from easyphoto.storage import files
from easyphoto.storage.triggers import TRIGGER
from easyphoto.training import encoded_captions, worker
from easyphoto.training.phase import Phase, Training
from easyphoto.training.phases import inserted
from easyphoto.training.phases.encode import Encoded
from easyphoto.training.phases.train import Trained

STEPS = 12
LORA, NOTE = "rewarded.safetensors", "note.json"


@dataclass(frozen=True, eq=False)
class Rewarded:
    """A LoRA of its own, and where it lies."""

    layers: Layers
    path: Path


class Reward(Phase):
    """Takes steps of its own on the trained LoRA, against the size of what the UNet predicts, and keeps the result
    apart. It leaves the LoRA after each step, and goes on after the last of them."""

    name = "reward"
    needs = (Encoded, Trained)
    makes = (Rewarded,)

    def run(self, training: Training) -> None:
        own, trained = training.own(self), training[Trained]
        path, note = own / LORA, own / NOTE
        done, layers = 0, trained.lora.layers()
        if note.is_file():
            done, layers = files.read_json(note)["done"], lora_files.read(path).layers
        with trained.lora.holding(layers):
            for number in range(done + 1, STEPS + 1):
                training.end_if_asked()
                size = _step(training)
                layers = trained.lora.layers()
                lora_files.write(path, layers, lora_files.metadata(training.spec.family, layers), torch.float32)
                files.write_json(note, {"done": number})
                training.emit(Progress(stage="reward", step=number, total=STEPS, loss=float(size)))
            score = trained.standing.measure(trained.standing.step, "rewarded", "reward")
        base = trained.standing.base
        training.marks["reward"] = {"accepted": base is not None and score.cosine > base.cosine, "steps": STEPS}
        training.attachments[LORA] = path
        training.put(Rewarded(layers, path))


def _step(training: Training) -> Tensor:
    parts, latents = training[Encoded].parts, training[Encoded].latents
    lora = training[Trained].lora
    lora.train(checkpointing=False)
    parts.placement.use(parts.unet, *parts.text_encoders)
    ids = encoded_captions.tokens(parts, [TRIGGER])
    arguments = encoded_captions.encode(parts, ids, latents.pixels).unet_arguments()
    size = parts.unet(latents.mean[:1], 100, **arguments, return_dict=False)[0].square().mean()
    weights = lora.parameters()
    with torch.no_grad():
        for weight, gradient in zip(weights, torch.autograd.grad(size, weights, allow_unused=True), strict=True):
            if gradient is not None:
                weight.sub_(0.1 * gradient)
    return torch.as_tensor(size.detach())


if __name__ == "__main__":
    sys.exit(worker.main(sys.argv[1:], inserted(Reward(), before="fuse")))
