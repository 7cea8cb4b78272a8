"""Tests of the same training on every family of models, with tiny models of their shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from easyphoto import sd
from easyphoto.config import Family
from easyphoto.sd import lora as lora_files
from easyphoto.training import encoded_captions
from tests import tiny, tiny_files
from tests.training.test_loop import CAPTION, config, train


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.tokenizer(folder)
    return folder


@pytest.mark.thorough
@pytest.mark.parametrize("family", [Family.SD1, Family.SD2, Family.SDXL], ids=lambda f: f.value)
def test_a_lora_of_each_family_trains_and_does_the_same_from_its_file(
    family: Family, vocabulary: Path, tmp_path: Path
) -> None:
    tokens = len(json.loads((vocabulary / "vocab.json").read_text(encoding="utf-8")))
    path = tiny_files.single_file(tmp_path / "model.safetensors", family, tiny_files.models(family, tokens))
    parts = sd.load(path, device="cpu", dtype=torch.float32, tokenizers=[vocabulary])
    lora, losses = train(parts, config(learning_rate=5e-3), steps=2)
    assert len(losses) == 2
    layers = lora.layers()
    prefixes = {name.split("_")[1] for name in layers}
    assert prefixes == ({"unet", "te1", "te2"} if family is Family.SDXL else {"unet", "te"})

    file = tmp_path / "lora.safetensors"
    lora_files.write(file, layers, lora_files.metadata(family, layers), torch.float32)
    read = lora_files.read(file)
    assert read.info.family is family
    ids = encoded_captions.tokens(parts, [CAPTION])
    fresh = sd.load(path, device="cpu", dtype=torch.float32, tokenizers=[vocabulary])
    sample = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def predict(own: sd.Parts) -> torch.Tensor:
        told = encoded_captions.encode(own, ids, 64)
        return torch.as_tensor(own.unet(sample, 400, **told.unet_arguments(), return_dict=False)[0])

    with torch.no_grad(), lora_files.applied(fresh, [(read.layers, 1.0)]):
        torch.testing.assert_close(predict(fresh), predict(parts), atol=1e-4, rtol=1e-3)


@pytest.mark.thorough
def test_sdxl_is_told_the_size_of_its_pictures(vocabulary: Path, tmp_path: Path) -> None:
    tokens = len(json.loads((vocabulary / "vocab.json").read_text(encoding="utf-8")))
    path = tiny_files.single_file(tmp_path / "xl.safetensors", Family.SDXL, tiny_files.models(Family.SDXL, tokens))
    parts = sd.load(path, device="cpu", dtype=torch.float32, tokenizers=[vocabulary])
    told = encoded_captions.encode(parts, encoded_captions.tokens(parts, ["a", "b"]), 1024)
    assert told.hidden.shape[0] == 2 and told.pooled is not None and told.sizes is not None
    assert told.sizes.tolist() == [[1024, 1024, 0, 0, 1024, 1024]] * 2
    taken = told.take([1, 1, 0])
    assert taken.pooled is not None and torch.equal(taken.pooled[0], told.pooled[1])
