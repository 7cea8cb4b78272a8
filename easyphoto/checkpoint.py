"""What a model file is, read from its header alone: kind, family, prediction, metadata.

A safetensors file begins with the length of its header (8 bytes, little endian) and the header itself: JSON with the
type, shape and place of every tensor, and free text under ``__metadata__``. That costs milliseconds however large the
file is, so every model is looked at here before anything is loaded from it.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from easyphoto.config import Family
from easyphoto.errors import InvalidRequest, NotFound
from easyphoto.ports import Checkpoint

Kind = Literal["checkpoint", "lora", "controlnet", "vae"]
Prediction = Literal["epsilon", "v_prediction"]
Shape = tuple[int, ...]

BENCH_BASE_MODEL = "easyphoto_bench"
"""``ss_base_model_version`` of LoRAs trained on the model that ships with the project."""

BASE_MODEL_VERSIONS: Mapping[Family, str] = {
    Family.SD1: "sd_v1",
    Family.SD2: "sd_v2",
    Family.SDXL: "sdxl_base_v1-0",
    Family.BENCH: BENCH_BASE_MODEL,
}
"""``ss_base_model_version`` as kohya's sd-scripts write it, and our own for the bench checkpoint."""

_MAX_HEADER = 100_000_000
_FAMILY_OF_WIDTH = {768: Family.SD1, 1024: Family.SD2, 2048: Family.SDXL}
_OTHER_WIDTHS = {1280: "the SDXL refiner", 4096: "a model with a T5 text encoder"}
_CONTEXT_KEY = re.compile(r"attn2[._]to_k(\.lora_down|\.lora_A|\.lora\.down)?(\.default)?\.weight$")
_UNET_KEY = re.compile(r"(?:^|[._])(?:down_blocks|input_blocks|mid_block|middle_block|up_blocks|output_blocks)[._]")
_LORA_MARKS = ("lora_down", "lora_A", "lora.down", "lokr_", "hada_", "oft_")
_RANK_KEY = re.compile(r"(lora_down|lora_A|lora\.down)(\.default)?\.weight$")
_UNREADABLE = "is not a whole safetensors file"


@dataclass(frozen=True)
class Header:
    """Names, shapes and types of a file's tensors, and its metadata."""

    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class CheckpointInfo:
    """What a model file or folder holds. ``rank`` and ``alpha`` are of LoRAs; ``inputs`` is the number of channels that
    the UNet takes (4; 9 for inpainting models)."""

    path: Path
    family: Family
    kind: Kind
    prediction: Prediction = "epsilon"
    metadata: Mapping[str, str] = field(default_factory=dict)
    rank: int | None = None
    alpha: float | None = None
    inputs: int = 4


def read_header(path: Path) -> Header:
    """The header of a safetensors file. :class:`InvalidRequest` when it is truncated, padded or another format."""
    if not path.is_file():
        raise NotFound(f"There is no file {path}.")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(size - 8, _MAX_HEADER):
            raise InvalidRequest(f"{path.name} {_UNREADABLE}: {_guess(start, size)}.")
        raw = file.read(length)
    try:
        entries = json.loads(raw)
        metadata = dict(entries.pop("__metadata__", {}) or {})
        shapes = {name: tuple(int(n) for n in entry["shape"]) for name, entry in entries.items()}
        dtypes = {name: str(entry["dtype"]) for name, entry in entries.items()}
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise InvalidRequest(f"{path.name} {_UNREADABLE}: its header can't be read.") from error
    if end != size - 8 - length:
        raise InvalidRequest(
            f"{path.name} {_UNREADABLE}: it has {size - 8 - length} bytes of weights instead of {end}."
        )
    return Header(shapes, dtypes, {str(k): str(v) for k, v in metadata.items()})


def inspect(path: Path) -> CheckpointInfo:
    """Kind, family and prediction of a ``.safetensors`` file or a diffusers folder.

    Raises :class:`NotFound` when there is nothing, :class:`InvalidRequest` when it is truncated, of another format or a
    model of a kind that the program doesn't know.
    """
    if path.is_dir():
        return _inspect_folder(path)
    header = read_header(path)
    kind = _kind(header)
    if kind is None:
        raise InvalidRequest(f"{path.name} is neither a Stable Diffusion checkpoint, a LoRA, a ControlNet nor a VAE.")
    if kind == "vae":
        return CheckpointInfo(path, Family.SD1, kind, metadata=header.metadata)
    try:
        return _inspect_file(path, header, kind)
    except IndexError as error:
        raise InvalidRequest(f"{path.name} has weights of shapes that no {kind} has.") from error


def _inspect_file(path: Path, header: Header, kind: Kind) -> CheckpointInfo:
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
        inputs=header.shapes.get("model.diffusion_model.input_blocks.0.0.weight", (0, 4))[1],
    )


def require_same_family(lora: Path, checkpoint: Checkpoint) -> CheckpointInfo:
    """What ``lora`` is, if it is a LoRA for ``checkpoint``'s family; otherwise :class:`InvalidRequest`."""
    info = inspect(lora)
    if info.kind != "lora":
        raise InvalidRequest(f"{lora.name} is a {info.kind}, not a LoRA.")
    if info.family is not checkpoint.family:
        raise InvalidRequest(
            f"The LoRA {lora.name} was trained for {_NAMES[info.family]}"
            f" and doesn't fit {checkpoint.name}, which is {_NAMES[checkpoint.family]}."
        )
    return info


# --- single files ----------------------------------------------------------------------------------------------------

_NAMES = {Family.SD1: "SD1", Family.SD2: "SD2", Family.SDXL: "SDXL", Family.BENCH: "the bench model"}


def _guess(start: bytes, size: int) -> str:
    if size == 0:
        return "it is empty"
    if start.startswith(b"PK") or start.startswith(b"\x80\x02"):
        return "it looks like a pickled checkpoint"
    if start.lstrip().startswith(b"<"):
        return "it is a web page"
    if start.startswith(b"version "):
        return "it is a Git LFS pointer"
    return "it is truncated or of another format"


def _kind(header: Header) -> Kind | None:
    names = header.shapes
    if any(mark in name for name in names for mark in _LORA_MARKS):
        return "lora"
    if any(
        "input_hint_block" in n or "controlnet_cond_embedding" in n or n.startswith("control_model.") for n in names
    ):
        return "controlnet"
    if any(n.startswith("model.diffusion_model.") for n in names):
        return "checkpoint"
    vae = ("decoder.conv_in.weight", "first_stage_model.decoder.conv_in.weight")
    return "vae" if any(n in names for n in vae) else None


def _width(header: Header) -> int | None:
    """The width of the text embedding that the UNet attends to."""
    found = (shape[1] for name, shape in header.shapes.items() if _CONTEXT_KEY.search(name) and _UNET_KEY.search(name))
    return next(found, None)


def _family(path: Path, header: Header, kind: Kind) -> Family:
    if kind == "lora":
        declared = _declared_family(path, header.metadata)
        if declared is not None:
            return declared
    width = _width(header)
    if width is None:
        return _family_of_text_lora(path, header)
    return _family_of_width(width, path.name)


def _family_of_width(width: int, name: str) -> Family:
    if width in _OTHER_WIDTHS:
        raise InvalidRequest(f"{name} is {_OTHER_WIDTHS[width]}, which isn't supported.")
    return _FAMILY_OF_WIDTH.get(width, Family.BENCH)


def _declared_family(path: Path, metadata: Mapping[str, str]) -> Family | None:
    version = metadata.get("ss_base_model_version", "")
    if not version:
        return None
    for family, prefix in ((Family.BENCH, BENCH_BASE_MODEL), (Family.SDXL, "sdxl"), (Family.SD2, "sd_v2")):
        if version.startswith(prefix):
            return family
    if version.startswith(("sd_v1", "sd_1", "sd1")):
        return Family.SD1
    raise InvalidRequest(f"The LoRA {path.name} was trained for {version}, which isn't supported.")


def _family_of_text_lora(path: Path, header: Header) -> Family:
    """A LoRA without cross attention: told by its text encoder's width or by a second text encoder."""
    if any(name.startswith(("lora_te2_", "text_encoder_2.")) for name in header.shapes):
        return Family.SDXL
    for name, shape in header.shapes.items():
        if name.startswith(("lora_te_", "lora_te1_", "text_encoder.")) and "q_proj" in name and _RANK_KEY.search(name):
            return _family_of_width(shape[1], path.name)
    raise InvalidRequest(f"{path.name} doesn't say for which base model it was made.")


def _rank(header: Header) -> tuple[int | None, float | None]:
    rank = next((shape[0] for name, shape in header.shapes.items() if _RANK_KEY.search(name)), None)
    try:
        alpha = float(header.metadata["ss_network_alpha"])
    except (KeyError, ValueError):
        return rank, None
    return rank, alpha


def _prediction(path: Path, header: Header, family: Family) -> Prediction:
    """Metadata, a ``v_pred`` tensor or a ``.yaml`` beside the file say it; an SD2 that is silent is v-prediction unless
    its name has the 512 px or "base" of the published epsilon model (its weights can't tell)."""
    declared = header.metadata.get("modelspec.prediction_type", "")
    if declared:
        return "v_prediction" if declared.startswith("v") else "epsilon"
    if "v_pred" in header.shapes:
        return "v_prediction"
    beside = path.with_suffix(".yaml")
    if beside.is_file():
        text = beside.read_text(encoding="utf-8", errors="replace")
        return "v_prediction" if re.search(r"parameterization:\s*[\"']?v\b", text) else "epsilon"
    if family is Family.SD2 and not re.search(r"512|base", path.stem, re.IGNORECASE):
        return "v_prediction"
    return "epsilon"


# --- diffusers folders -----------------------------------------------------------------------------------------------


def _inspect_folder(folder: Path) -> CheckpointInfo:
    if (folder / "model_index.json").is_file():
        unet = _json(folder / "unet" / "config.json")
        _check_weights(folder / "unet")
        scheduler = folder / "scheduler" / "scheduler_config.json"
        declared = _json(scheduler).get("prediction_type") if scheduler.is_file() else None
        return CheckpointInfo(
            folder,
            _family_of_config(unet, folder.name),
            "checkpoint",
            prediction="v_prediction" if declared == "v_prediction" else "epsilon",
            inputs=unet["in_channels"] if isinstance(unet.get("in_channels"), int) else 4,
        )
    config = _json(folder / "config.json")
    _check_weights(folder)
    if config.get("_class_name") == "ControlNetModel":
        return CheckpointInfo(folder, _family_of_config(config, folder.name), "controlnet")
    if config.get("_class_name") == "AutoencoderKL":
        return CheckpointInfo(folder, Family.SD1, "vae")
    raise InvalidRequest(f"The folder {folder.name} holds no Stable Diffusion model in diffusers' layout.")


def _family_of_config(config: Mapping[str, Any], name: str) -> Family:
    width = config.get("cross_attention_dim")
    if isinstance(width, list):
        width = width[0] if width else None
    if not isinstance(width, int):
        raise InvalidRequest(f"The folder {name} doesn't say how wide its text embedding is.")
    return _family_of_width(width, name)


def _check_weights(folder: Path) -> None:
    for file in sorted(folder.glob("*.safetensors")):
        read_header(file)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InvalidRequest(
            f"The folder {path.parent.name} has no {path.name}, so it is no model in diffusers' layout."
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InvalidRequest(f"{path.parent.name}/{path.name} can't be read.") from error
    if not isinstance(data, dict):
        raise InvalidRequest(f"{path.parent.name}/{path.name} can't be read.")
    return data
