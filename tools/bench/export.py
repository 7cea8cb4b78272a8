"""Put the trained parts together as a diffusers folder in fp16.

    python tools/bench/export.py --work build/bench --out models/bench

Parts that are not trained yet are filled in, so that the folder always loads: an untrained UNet, a ControlNet that
changes nothing (the UNet's encoder with zero convolutions).
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchkit import CONTROL_KINDS, MODEL_DIR, WORK, say
from parts import (
    SCHEDULE,
    find_part,
    load_tokenizer,
    make_controlnet,
    make_text_encoder,
    make_unet,
    need_part,
)
from torch import nn

LIMIT, FILE_LIMIT = 90_000_000, 45_000_000


def load_parts(work: Path, earlier: Path | None) -> dict[str, Any]:
    """VAE, text encoder, UNet and ControlNets in float32: from the work folder, else from an earlier export, else new
    (but for the VAE and the tokenizer, which have to be there)."""
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
    from transformers import CLIPTextModel

    torch.manual_seed(0)
    tokenizer = load_tokenizer(need_part("tokenizer", work, earlier))

    def part(name: str, kind: Any, make: Callable[[], Any]) -> Any:
        folder = find_part(name, work, earlier)
        return make() if folder is None else kind.from_pretrained(folder).float()

    vae = AutoencoderKL.from_pretrained(need_part("vae", work, earlier)).float()
    unet = part("unet", UNet2DConditionModel, make_unet)
    text = part("text_encoder", CLIPTextModel, lambda: make_text_encoder(tokenizer))
    controls = {
        kind: part(f"controlnet/{kind}", ControlNetModel, lambda: make_controlnet(unet)) for kind in CONTROL_KINDS
    }
    return {"tokenizer": tokenizer, "unet": unet, "text_encoder": text, "vae": vae, "controlnet": controls}


@torch.no_grad()
def average(module: nn.Module, other: nn.Module) -> None:
    """Set the weights to the mean of the module's own and those of `other`, a training that began with it or before."""
    theirs = other.state_dict()
    for name, value in module.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(theirs[name], 0.5)


def export(work: Path, out: Path, earlier: Path | None = None, other: Path | None = None) -> None:
    """Write the folder, and check it against the limits of size. `other`: an export to average the denoiser with."""
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    parts = load_parts(work, earlier)
    if other is not None:
        for name in ("unet", "text_encoder"):
            average(parts[name], type(parts[name]).from_pretrained(other, subfolder=name).float())
    pipeline = StableDiffusionPipeline(
        vae=parts["vae"],
        text_encoder=parts["text_encoder"],
        tokenizer=parts["tokenizer"],
        unet=parts["unet"],
        scheduler=PNDMScheduler(skip_prk_steps=True, **{k: v for k, v in SCHEDULE.items() if k != "clip_sample"}),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(out, safe_serialization=True)
    for kind, control in parts["controlnet"].items():
        control.to(dtype=torch.float16).save_pretrained(out / "controlnet" / kind, safe_serialization=True)
    for config in out.rglob("config.json"):  # where a part was loaded from says nothing to anybody else
        values = json.loads(config.read_text(encoding="utf-8"))
        values.pop("_name_or_path", None)
        config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    for log in sorted(work.glob("*.csv")) + sorted(work.glob("*.png")):
        (out / "logs").mkdir(exist_ok=True)
        shutil.copy(log, out / "logs" / log.name)
    # The adapter isn't exported here, and has a limit of its own.
    sizes = {p: p.stat().st_size for p in out.rglob("*") if p.is_file() and p.parent.name != "adapter"}
    total, largest = sum(sizes.values()), max(sizes.values())
    say(f"{out}: {total / 1e6:.1f} MB in {len(sizes)} files, the largest {largest / 1e6:.1f} MB")
    if total > LIMIT or largest > FILE_LIMIT:
        raise SystemExit("the export is over its limit of size")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--out", type=Path, default=MODEL_DIR)
    parser.add_argument("--init", type=Path, help="an earlier export, for parts that the work folder lacks")
    parser.add_argument("--average", type=Path, help="an earlier export whose UNet and text encoder count by half")
    options = parser.parse_args()
    export(options.work, options.out, options.init, options.average)


if __name__ == "__main__":
    main()
