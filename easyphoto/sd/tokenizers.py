"""CLIP's tokenizer for checkpoints that come without one: single files hold weights only."""

from __future__ import annotations

import gzip
import importlib.util
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from easyphoto.errors import AssetMissing

_LENGTH = 77
_END = "<|endoftext|>"
_PACKAGES = ("open_clip", "clip")
"""Packages that carry CLIP's merges; found on disk, never imported."""
_MERGES = "bpe_simple_vocab_16e6.txt.gz"


def find(folders: Sequence[Path], tokens: int, *, pads_with_zero: bool = False) -> Any:
    """A ``CLIPTokenizer`` of ``tokens`` tokens that pads with its end, or with token 0 as OpenCLIP does.

    Looked for in ``folders`` and below them (``vocab.json`` with ``merges.txt``), then in installed packages.
    :class:`AssetMissing` when there is none.
    """
    for vocabulary in _vocabularies(folders):
        merges = vocabulary.with_name("merges.txt")
        if merges.is_file() and len(json.loads(vocabulary.read_text(encoding="utf-8"))) == tokens:
            return _tokenizer(vocabulary, merges, pads_with_zero)
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (Path(folder) / _MERGES).is_file():
                return _unpacked(Path(folder) / _MERGES, tokens, pads_with_zero)
    where = folders[0] if folders else "models/tokenizer"
    raise AssetMissing(
        f"A single-file checkpoint needs CLIP's tokenizer: put vocab.json and merges.txt of any Stable Diffusion 1.5 "
        f"into {where}, or install the package open-clip-torch."
    )


def _vocabularies(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        if folder.is_dir():
            yield from sorted(folder.rglob("vocab.json"))


def _unpacked(packed: Path, tokens: int, pads_with_zero: bool) -> Any:
    """The vocabulary follows from the merges: the bytes, the bytes at a word's end, one token per merge, two marks."""
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
