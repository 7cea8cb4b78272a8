"""Loads a checkpoint on disk as :class:`~easyphoto.sd.parts.Parts`. Nothing here ever uses the network.

A diffusers folder is loaded with its own configurations and tokenizers, a single ``.safetensors`` file by way of
:mod:`easyphoto.sd.single_file`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easyphoto import checkpoint, naming
from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.sd import single_file, strategies
from easyphoto.sd.parts import Parts
from easyphoto.sd.placement import Placement, placed

if TYPE_CHECKING:
    import torch


def load(
    path: Path,
    *,
    device: str | torch.device,
    dtype: torch.dtype,
    vae: Path | None = None,
    tokenizers: Sequence[Path] = (),
) -> Parts:
    """Return the parts of a checkpoint: of a diffusers folder or of a single ``.safetensors`` file.

    ``vae`` takes the place of the checkpoint's own VAE. ``tokenizers`` are folders that may hold CLIP's ``vocab.json``
    and ``merges.txt``, which single files lack. Raises :class:`InvalidRequest` for a broken file or one that is no
    checkpoint, before anything is loaded, and :class:`AssetMissing` without a tokenizer.
    """
    info = checkpoint.require_checkpoint(path, vae=vae is not None)
    other = None if vae is None else load_vae(vae, device=device, family=info.family)
    if path.is_dir():
        parts = _load_folder(info, device, dtype, other)
    else:
        parts = single_file.load(info, device=device, dtype=dtype, vae=other, tokenizers=tokenizers)
    for module in (parts.unet, parts.vae, *parts.text_encoders):
        module.eval().requires_grad_(False)
    return parts


def load_controlnet(path: Path, *, device: str | torch.device, dtype: torch.dtype) -> Any:
    """Return a ``ControlNetModel`` from a diffusers folder or from a single file in either naming.

    Published ControlNets often are pickles (``.pth``). They are accepted if they load without running code.
    """
    if path.suffix.lower() not in naming.PICKLED:
        info = checkpoint.inspect(path)
        if info.kind != "controlnet":
            raise InvalidRequest("{path} is {kind}, not a ControlNet.", path=path.name, kind=checkpoint.A[info.kind])
    if path.is_dir():
        from diffusers import ControlNetModel

        model = pretrained(ControlNetModel, path, dtype)
    else:
        model = single_file.load_controlnet(path, dtype=dtype)
    return placed(model, device).eval().requires_grad_(False)


def load_vae(path: Path, *, device: str | torch.device, family: Family = checkpoint.VAE_FAMILY) -> Any:
    """Return an ``AutoencoderKL``, float32, from a diffusers folder or from a single file in either naming.

    ``family`` is that of the checkpoint for which it is used, because single files don't say by what factor their
    latents are scaled.
    """
    import torch

    if path.suffix.lower() not in naming.PICKLED:
        info = checkpoint.inspect(path)
        if info.kind != "vae":
            raise InvalidRequest("{path} is {kind}, not a VAE.", path=path.name, kind=checkpoint.A[info.kind])
    if path.is_dir():
        from diffusers import AutoencoderKL

        model = pretrained(AutoencoderKL, path, torch.float32)
    else:
        model = single_file.load_vae(path, family)
    return placed(model, device).eval().requires_grad_(False)


def load_image_encoder(path: Path, *, dtype: torch.dtype) -> Any:
    """Return a ``CLIPVisionModelWithProjection`` on the CPU, from a folder as transformers saves it or from its single
    file of weights."""
    if path.is_dir():
        from transformers import CLIPVisionModelWithProjection

        model = pretrained(CLIPVisionModelWithProjection, path, dtype)
    else:
        model = single_file.load_image_encoder(path, dtype=dtype)
    return model.eval().requires_grad_(False)


def pretrained(cls: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Call ``cls.from_pretrained`` on a local folder. It takes safetensors if there are any, and the fp16 variant if
    that is the only one.

    Without safetensors the pickle goes through ``torch.load(weights_only=True)``, which runs no code from it.
    """
    names = [f.name for f in folder.iterdir()]
    safe = [n for n in names if n.endswith(".safetensors")]
    variant = "fp16" if (safe or names) and not any(_plain(n) for n in safe or names) else None
    options: dict[str, Any] = {"variant": variant} if variant else {}
    with _quiet(), _one_sentence(folder.name):
        return cls.from_pretrained(folder, local_files_only=True, use_safetensors=bool(safe), **options).to(dtype)


def _plain(name: str) -> bool:
    return name.endswith((".safetensors", ".bin")) and ".fp16." not in name


def _load_folder(
    info: checkpoint.CheckpointInfo, device: str | torch.device, dtype: torch.dtype, vae: Any | None
) -> Parts:
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    folder = info.path
    with _one_sentence(folder.name):
        texts = strategies.of(info.family).text_folders
        tokenizers = [CLIPTokenizer.from_pretrained(folder / text.tokenizer, local_files_only=True) for text in texts]
        encoders = [
            pretrained(CLIPTextModelWithProjection if text.pools else CLIPTextModel, folder / text.encoder, dtype)
            for text in texts
        ]
        scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
        return Parts(
            family=info.family,
            prediction=info.prediction,
            tokenizers=tuple(tokenizers),
            text_encoders=tuple(placed(encoder, device) for encoder in encoders),
            unet=placed(pretrained(UNet2DConditionModel, folder / "unet", dtype), device),
            vae=placed(pretrained(AutoencoderKL, folder / "vae", torch.float32), device) if vae is None else vae,
            scheduler_config=scheduler,
            path=folder,
            placement=Placement(device),
        )


@contextmanager
def _one_sentence(name: str) -> Iterator[None]:
    """Turn what goes wrong while the files of a model are read into one sentence: the fault is the model's."""
    import pickle

    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, pickle.UnpicklingError) as error:
        raise InvalidRequest(
            "{name} can't be loaded: {reason!r}",
            name=name,
            reason=str(error).splitlines()[0] if str(error) else error,
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Switch the libraries' progress bars off while a model loads: the events of the job tell the user."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    shown = [library.is_progress_bar_enabled() for library in libraries]
    for library in libraries:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, was in zip(libraries, shown, strict=True):
            if was:
                library.enable_progress_bar()
