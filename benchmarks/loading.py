"""How much memory the loading of a checkpoint takes beside its weights. On Linux.

    python -m benchmarks.loading FILE TOKENIZER_FOLDER [--dtype fp16|bf16|fp32]

What a process has of its own, which nobody can take from it, and what of files is mapped into it, which the system lets
go when memory is short: the most of both while the checkpoint is loaded, less what was there before, and what is left
at the end. A checkpoint that ``benchmarks.full_size`` wrote will do.
"""

from __future__ import annotations

import argparse
import importlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from easyphoto.sd import loading

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
OWN, MAPPED = "RssAnon", "RssFile"
"""The names of the two in ``/proc/self/status``."""
LOOK_EVERY = 0.005
Memory = dict[str, float]


def memory() -> Memory:
    """Gigabytes of both kinds."""
    told = Path("/proc/self/status").read_text(encoding="utf-8")
    return {kind: int(re.findall(rf"{kind}:\s+(\d+) kB", told)[0]) * 1024 / 1e9 for kind in (OWN, MAPPED)}


@contextmanager
def watched() -> Iterator[Memory]:
    """The most of both kinds while the context lasts."""
    most, over = memory(), threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_EVERY):
            most.update({kind: max(most[kind], now) for kind, now in memory().items()})

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="fp16")
    options = parser.parse_args()
    for package in ("diffusers.loaders.single_file_utils", "transformers"):
        importlib.import_module(package)  # what they take isn't the checkpoint's

    before, begun = memory(), time.process_time()
    with watched() as most:
        parts = loading.load(options.file, device="cpu", dtype=DTYPES[options.dtype], tokenizers=[options.tokenizer])
    left = memory()
    weights = [p for model in (parts.unet, parts.vae, *parts.text_encoders) for p in model.parameters()]
    print(f"{options.dtype}: {sum(p.numel() * p.element_size() for p in weights) / 1e9:.2f} GB of weights, "
          f"{time.process_time() - begun:.1f} s CPU")  # fmt: skip
    for kind in (OWN, MAPPED):
        print(f"{kind}: {most[kind] - before[kind]:.2f} GB at most, {left[kind] - before[kind]:.2f} GB at the end")


if __name__ == "__main__":
    main()
