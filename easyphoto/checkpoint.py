"""What a model file is, read from its header alone: its kind, family, prediction and metadata.

Reading a header takes milliseconds, however large the file is. Therefore every model is looked at here before anything
is loaded from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from easyphoto import families, lora_header, naming
from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.messages import Message
from easyphoto.ports import Checkpoint
from easyphoto.storage.headers import SafetensorsHeader, TensorShape, read_header

__all__ = [
    "A",
    "CheckpointInfo",
    "SafetensorsHeader",
    "Kind",
    "Prediction",
    "TensorShape",
    "inspect",
    "read_header",
    "require_checkpoint",
    "require_same_family",
]

Kind = Literal["checkpoint", "lora", "controlnet", "vae"]
Prediction = Literal["epsilon", "v_prediction"]

A: Mapping[Kind, Message] = {
    "checkpoint": Message("a checkpoint"),
    "lora": Message("a LoRA"),
    "controlnet": Message("a ControlNet"),
    "vae": Message("a VAE"),
}
"""The kinds as they stand in a sentence."""

VAE_FAMILY = families.known()[0].family
"""The family that is given for a VAE: the file of a VAE doesn't say to which of the families it belongs."""
_UNET = "model.diffusion_model."
_CONTEXT_KEY = re.compile(
    r"(?:down_blocks|input_blocks|mid_block|middle_block|up_blocks|output_blocks)\b.*attn2\.to_k\.weight$"
)
_VAE_INSIDE = "first_stage_model."
_LATENT_CHANNELS = 4


@dataclass(frozen=True)
class CheckpointInfo:
    """What a model file or folder holds. ``rank`` and ``alpha`` belong to LoRAs. ``inputs`` is the number of channels
    that the UNet takes (4, or 9 for inpainting models). ``has_vae`` says whether a checkpoint can make pictures without
    another VAE."""

    path: Path
    family: Family
    kind: Kind
    prediction: Prediction = "epsilon"
    metadata: Mapping[str, str] = field(default_factory=dict)
    rank: int | None = None
    alpha: float | None = None
    inputs: int = 4
    has_vae: bool = True


def inspect(path: Path) -> CheckpointInfo:
    """Return the kind, family and prediction of a ``.safetensors`` file or of a diffusers folder.

    Raises :class:`NotFound` when there is nothing, and :class:`InvalidRequest` when the file is truncated, of another
    format or a model of a kind that the program doesn't know.
    """
    if path.is_dir():
        return _inspect_folder(path)
    if path.suffix.lower() in naming.PICKLED and path.is_file():
        raise InvalidRequest(
            "{path} is a pickle, which may run code when it is opened; use a .safetensors.", path=path.name
        )
    header = read_header(path)
    kind = _kind(header)
    if kind is None:
        raise InvalidRequest(
            "{path} is neither a Stable Diffusion checkpoint, a LoRA, a ControlNet nor a VAE.", path=path.name
        )
    _check_numbers(path.name, header)
    try:
        if kind == "vae":
            return _inspect_vae(path, header)
        return _inspect_file(path, header, kind)
    except IndexError as error:
        raise InvalidRequest("{path} has weights of shapes that no {kind} has.", path=path.name, kind=kind) from error


def _inspect_file(path: Path, header: SafetensorsHeader, kind: Kind) -> CheckpointInfo:
    family = _family(path, header, kind)
    rank, alpha = _rank(header) if kind == "lora" else (None, None)
    return CheckpointInfo(
        path,
        family,
        kind,
        prediction=_prediction(path, header, family) if kind == "checkpoint" else "epsilon",
        metadata=header.metadata,
        rank=rank,
        alpha=alpha,
        inputs=header.shapes.get(f"{_UNET}input_blocks.0.0.weight", (0, 4))[1],
        has_vae=kind != "checkpoint" or any(name.startswith(_VAE_INSIDE) for name in header.shapes),
    )


def require_checkpoint(path: Path, *, vae: bool = False) -> CheckpointInfo:
    """Return what ``path`` is, if Stable Diffusion can be loaded from it. It must have a VAE of its own, unless ``vae``
    says that another one is there. Raises :class:`InvalidRequest` otherwise."""
    info = inspect(path)
    if info.kind != "checkpoint":
        raise InvalidRequest("{path} is {kind}, not a checkpoint.", path=path.name, kind=A[info.kind])
    if info.inputs != _LATENT_CHANNELS:
        raise InvalidRequest(
            "{path} is an inpainting or upscaling model; choose an ordinary checkpoint.", path=path.name
        )
    if not (vae or info.has_vae):
        raise InvalidRequest(
            "{path} has no VAE inside: choose a VAE too, or a checkpoint that has one.", path=path.name
        )
    return info


def require_same_family(lora: Path, checkpoint: Checkpoint) -> CheckpointInfo:
    """Return what ``lora`` is, if it is a LoRA for ``checkpoint``'s family. Raises :class:`InvalidRequest`
    otherwise."""
    info = inspect(lora)
    if info.kind != "lora":
        raise InvalidRequest("{lora} is {kind}, not a LoRA.", lora=lora.name, kind=A[info.kind])
    if info.family is not checkpoint.family:
        raise InvalidRequest(
            "The LoRA {lora} was trained for {trained_for} and doesn't fit {checkpoint}, which is {family}.",
            lora=lora.name,
            trained_for=families.spec(info.family).title,
            checkpoint=checkpoint.name,
            family=families.spec(checkpoint.family).title,
        )
    return info


# --- single files ----------------------------------------------------------------------------------------------------


def _check_numbers(name: str, header: SafetensorsHeader) -> None:
    """Refuse matrices of whole numbers: they are quantised in a way that nothing here can undo."""
    for key, shape in header.shapes.items():
        kind = header.dtypes[key]
        if key.endswith(".weight") and len(shape) > 1 and not kind.startswith(("F", "BF")):
            raise InvalidRequest(
                "{name} has weights of the type {kind}, which isn't supported; use an fp16 file.", name=name, kind=kind
            )


def _inspect_vae(path: Path, header: SafetensorsHeader) -> CheckpointInfo:
    shape = next(s for n, s in header.shapes.items() if n.endswith("decoder.conv_in.weight"))
    if len(shape) == 4 and shape[1] != _LATENT_CHANNELS:
        raise InvalidRequest(
            "{path} is a VAE for another kind of model than Stable Diffusion 1, 2 and XL.", path=path.name
        )
    return CheckpointInfo(path, VAE_FAMILY, "vae", metadata=header.metadata)


def _kind(header: SafetensorsHeader) -> Kind | None:
    names = header.shapes
    if any(mark in name for name in names for mark in lora_header.MARKS):
        return "lora"
    if any(
        "input_hint_block" in n or "controlnet_cond_embedding" in n or n.startswith("control_model.") for n in names
    ):
        return "controlnet"
    if any(n.startswith(_UNET) for n in names):
        return "checkpoint"
    vae = ("decoder.conv_in.weight", "first_stage_model.decoder.conv_in.weight")
    return "vae" if any(n in names for n in vae) else None


def _family(path: Path, header: SafetensorsHeader, kind: Kind) -> Family:
    if kind == "lora":
        return lora_header.family(path.name, header)
    width = next((shape[1] for name, shape in header.shapes.items() if _CONTEXT_KEY.search(name)), None)
    if width is None:
        raise InvalidRequest(
            "{path} is a {kind} of another kind of model than Stable Diffusion 1, 2 and XL.", path=path.name, kind=kind
        )
    return lora_header.family_of_width(width, path.name)


def _rank(header: SafetensorsHeader) -> tuple[int | None, float | None]:
    rank = lora_header.rank(header)
    try:
        alpha = float(header.metadata["ss_network_alpha"])
    except (KeyError, ValueError):
        return rank, None
    return rank, alpha


def _prediction(path: Path, header: SafetensorsHeader, family: Family) -> Prediction:
    """Return what a checkpoint predicts. The metadata, a ``v_pred`` tensor or a ``.yaml`` beside the file say it; where
    they don't, the habit of the family decides, because weights can't tell."""
    declared = header.metadata.get("modelspec.prediction_type", "")
    if declared:
        return "v_prediction" if declared.startswith("v") else "epsilon"
    if "v_pred" in header.shapes:
        return "v_prediction"
    beside = path.with_suffix(".yaml")
    if beside.is_file():
        text = beside.read_text(encoding="utf-8", errors="replace")
        return "v_prediction" if re.search(r"parameterization:\s*[\"']?v\b", text) else "epsilon"
    return "v_prediction" if families.spec(family).header.predicts_v(path.stem) else "epsilon"


# --- diffusers folders -----------------------------------------------------------------------------------------------


def _inspect_folder(folder: Path) -> CheckpointInfo:
    if (folder / "model_index.json").is_file():
        unet = _json(folder / "unet" / "config.json")
        for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
            _check_weights(folder / part)
        scheduler = folder / "scheduler" / "scheduler_config.json"
        declared = _json(scheduler).get("prediction_type") if scheduler.is_file() else None
        return CheckpointInfo(
            folder,
            _family_of_config(unet, folder.name),
            "checkpoint",
            prediction="v_prediction" if declared == "v_prediction" else "epsilon",
            inputs=unet["in_channels"] if isinstance(unet.get("in_channels"), int) else 4,
            has_vae=(folder / "vae").is_dir(),
        )
    config = _json(folder / "config.json")
    _check_weights(folder)
    if config.get("_class_name") == "ControlNetModel":
        return CheckpointInfo(folder, _family_of_config(config, folder.name), "controlnet")
    if config.get("_class_name") == "AutoencoderKL":
        return CheckpointInfo(folder, VAE_FAMILY, "vae")
    raise InvalidRequest(
        "The folder {folder} holds no Stable Diffusion model in diffusers' layout.", folder=folder.name
    )


def _family_of_config(config: Mapping[str, Any], name: str) -> Family:
    width = config.get("cross_attention_dim")
    if isinstance(width, list):
        width = width[0] if width else None
    if not isinstance(width, int):
        raise InvalidRequest("The folder {name} doesn't say how wide its text embedding is.", name=name)
    return lora_header.family_of_width(width, name)


def _check_weights(folder: Path) -> None:
    for file in sorted(folder.glob("*.safetensors")):
        try:
            read_header(file)
        except InvalidRequest as error:
            raise InvalidRequest(
                "The model {parent} is broken: {folder}/{error}",
                parent=folder.parent.name,
                folder=folder.name,
                error=error,
            ) from error


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InvalidRequest(
            "The folder {parent} has no {path}, so it is no model in diffusers' layout.",
            parent=path.parent.name,
            path=path.name,
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InvalidRequest("{parent}/{path} can't be read.", parent=path.parent.name, path=path.name) from error
    if not isinstance(data, dict):
        raise InvalidRequest("{parent}/{path} can't be read.", parent=path.parent.name, path=path.name)
    return data
