"""CLIP's tokenizer for checkpoints that come without one: single files hold weights only."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from easyphoto import program
from easyphoto.errors import AssetMissing
from easyphoto.messages import Message
from easyphoto.storage.headers import read_header

_LENGTH = 77
_END = "<|endoftext|>"
_PACKAGES = ("open_clip", "clip")
"""The packages that carry CLIP's merges; they are found on disk and never imported."""
_MERGES = "bpe_simple_vocab_16e6.txt.gz"
OF_FORGE = Path("backend", "huggingface", "runwayml", "stable-diffusion-v1-5", "tokenizer")
"""Where Forge and Forge Neo ship the tokenizer, below their own folder."""
OF_REFORGE = Path("ldm_patched", "modules", "sd1_tokenizer")
OF_COMFYUI = Path("comfy", "sd1_tokenizer")
PLACE = "EASYPHOTO_TOKENIZER"
"""The environment variable by which a program tells its children where it has CLIP's tokenizer itself."""
BUNDLE = "tokenizer"
"""What the catalog calls the two files."""
FILES = ("vocab.json", "merges.txt")
_OF_HUGGING_FACE = "models--openai--clip-vit-large-patch14"
_MISSING = Message(
    "A single-file checkpoint needs CLIP's tokenizer, and it is nowhere on this machine: download \"CLIP's tokenizer\" "
    "(2 MB) on the Weights tab or with `python -m easyphoto models fetch tokenizer`, or put vocab.json and merges.txt "
    "of any Stable Diffusion 1.5 into models/tokenizer."
)


def folders(models: Path, checkpoint: Path | None = None) -> tuple[Path, ...]:
    """Return where CLIP's tokenizer may lie: in ``models``, beside ``checkpoint``, where the program around this one
    says that it has it, in the WebUI or ComfyUI around the models, and in the cache of Hugging Face."""
    around = () if checkpoint is None else (parent / OF_COMFYUI for parent in checkpoint.parents)
    beside = () if checkpoint is None else (checkpoint.parent, *around)
    told = os.environ.get(PLACE, "")
    home = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")  # noqa: PTH111 - there may be no home
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    return (
        models / "tokenizer",
        *beside,
        models / "Stable-diffusion",
        *((Path(told),) if told else ()),
        *(root / place for root in (models.parent, program.ROOT.parent.parent) for place in (OF_FORGE, OF_REFORGE)),
        cache / _OF_HUGGING_FACE / "snapshots",
    )


def find(folders: Sequence[Path], tokens: int, *, pads_with_zero: bool = False) -> Any:
    """Return a ``CLIPTokenizer`` of ``tokens`` tokens that pads with its end, or with token 0 as OpenCLIP does.

    It is looked for in ``folders`` and below them (``vocab.json`` with ``merges.txt``), then in installed packages.
    Raises :class:`AssetMissing` when there is none.
    """
    for vocabulary, merges in _pairs(folders, tokens):
        return _tokenizer(vocabulary, merges, pads_with_zero)
    for packed in _packed():
        return _unpacked(packed, tokens, pads_with_zero)
    raise AssetMissing(_MISSING)


def require(checkpoint: Path, folders: Sequence[Path]) -> None:
    """Raise :class:`AssetMissing` when ``checkpoint`` is a single file and its tokenizer is nowhere. Only headers are
    read."""
    if checkpoint.is_dir():
        return
    shapes = read_header(checkpoint).shapes
    sizes = {shape[0] for name, shape in shapes.items() if name.endswith("token_embedding.weight") and shape}
    for tokens in sizes:
        if next(_pairs(folders, tokens), None) is None and next(_packed(), None) is None:
            raise AssetMissing(_MISSING)


def _pairs(folders: Sequence[Path], tokens: int) -> Iterator[tuple[Path, Path]]:
    """Yield the vocabularies of ``tokens`` tokens, each with its merges."""
    for vocabulary in _vocabularies(folders):
        merges = vocabulary.with_name(FILES[1])
        try:
            fits = merges.is_file() and len(json.loads(vocabulary.read_text(encoding="utf-8"))) == tokens
        except (OSError, ValueError, TypeError):
            continue
        if fits:
            yield vocabulary, merges


def _packed() -> Iterator[Path]:
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (Path(folder) / _MERGES).is_file():
                yield Path(folder) / _MERGES


def _vocabularies(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        if folder.is_dir():
            yield from sorted(folder.rglob(FILES[0]))


def _unpacked(packed: Path, tokens: int, pads_with_zero: bool) -> Any:
    """Return the tokenizer of packed merges. The vocabulary follows from them: the bytes, the bytes at a word's end,
    one token for each merge, and two marks."""
    from transformers.models.clip.tokenization_clip import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    wanted = tokens - 2 * len(letters) - 2
    lines = gzip.decompress(packed.read_bytes()).decode("utf-8").split("\n")[1 : 1 + wanted]
    vocabulary = [*letters, *(f"{c}</w>" for c in letters), *("".join(line.split()) for line in lines)]
    vocabulary += ["<|startoftext|>", _END]
    with tempfile.TemporaryDirectory() as scratch:
        names = Path(scratch) / "vocab.json"
        names.write_text(json.dumps({token: index for index, token in enumerate(vocabulary)}), encoding="utf-8")
        merges = Path(scratch) / "merges.txt"
        merges.write_text("\n".join(["#version: 0.2", *lines, ""]), encoding="utf-8")
        return _tokenizer(names, merges, pads_with_zero)


def _tokenizer(vocabulary: Path, merges: Path, pads_with_zero: bool) -> Any:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer(str(vocabulary), str(merges), pad_token=_END, model_max_length=_LENGTH)
    if pads_with_zero:
        # Token 0 is "!"; declared as padding to begin with, it would be cut out of prompts that have one.
        tokenizer.pad_token_id = 0
    return tokenizer
