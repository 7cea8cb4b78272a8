"""LoRA files: they are read in any naming, written in kohya's, applied to a model, and taken off it exactly.

A LoRA changes the weight W of a module by (alpha / rank) x up @ down. In the files that this project writes, a module
is named by its path, with dots turned into underscores, behind ``lora_unet_`` or ``lora_te_`` (``lora_te1_`` and
``lora_te2_`` for SDXL). The UNet of SDXL has the block names of the original implementation, as all WebUIs and kohya's
scripts expect.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from easyphoto import checkpoint, families
from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.sd import lora_names as names
from easyphoto.sd import strategies
from easyphoto.sd.lora_alpha import DeclaredAlphas
from easyphoto.sd.parts import Parts
from easyphoto.storage import files

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoraLayer:
    """The LoRA of one module. ``down`` is (rank, in) or (rank, in, kh, kw), ``up`` is (out, rank) or (out, rank, 1, 1).

    ``magnitude`` belongs to a DoRA: it is the length that each row of the changed weight has, of shape (out,) or (out,
    1, ...), or that each column has, of shape (1, in, ...).
    """

    down: torch.Tensor
    up: torch.Tensor
    alpha: float
    magnitude: torch.Tensor | None = None

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    def delta(self) -> torch.Tensor:
        """Return the change of the module's weight at strength 1: float32, in the shape of the weight."""
        down, up = self.down.float(), self.up.float()
        flat = up.flatten(1) @ down.flatten(1)
        return (self.alpha / self.rank) * flat.reshape(up.shape[0], *down.shape[1:])

    def change(self, weight: torch.Tensor) -> torch.Tensor:
        """Return what the LoRA adds to ``weight`` at strength 1, float32."""
        weight = weight.float()
        delta = self.delta().reshape(weight.shape)
        if self.magnitude is None:
            return delta
        changed = weight + delta
        by_column = self.magnitude.dim() > 1 and self.magnitude.shape[0] == 1
        others = [d for d in range(weight.dim()) if d != int(by_column)]
        shape = [-1 if d == int(by_column) else 1 for d in range(weight.dim())]
        length = torch.linalg.vector_norm(changed, dim=others, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        scaled: torch.Tensor = changed * (self.magnitude.float().reshape(shape) / length)
        return scaled - weight

    def to(self, device: torch.device) -> LoraLayer:
        magnitude = None if self.magnitude is None else self.magnitude.to(device)
        return LoraLayer(self.down.to(device), self.up.to(device), self.alpha, magnitude)


Layers = Mapping[str, LoraLayer]
"""A LoRA: kohya name of the module -> what is added to it."""


@dataclass(frozen=True, eq=False)
class LoraFile:
    layers: dict[str, LoraLayer]
    info: checkpoint.CheckpointInfo

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.info.metadata


def modules(parts: Parts) -> dict[str, torch.nn.Module]:
    """Return the linear and convolution modules of a model that a LoRA may change, by kohya name.

    A module that PEFT has wrapped is found under its own name, and the wrapped one is returned.
    """
    found: dict[str, torch.nn.Module] = {}
    for prefix, model in _models(parts):
        for path, module in model.named_modules():
            if ".lora_" in path or path.endswith("base_layer"):
                continue
            base = getattr(module, "base_layer", module)
            if isinstance(base, torch.nn.Linear | torch.nn.Conv2d):
                found[strategies.lora_name(parts.family, prefix, path)] = base
    return found


def collect(parts: Parts, adapter: str = "default") -> dict[str, LoraLayer]:
    """Return the LoRA that PEFT holds inside a model's UNet and text encoders, copied to the CPU as float32."""
    found: dict[str, LoraLayer] = {}
    for prefix, model in _models(parts):
        for path, module in model.named_modules():
            downs, ups = getattr(module, "lora_A", None), getattr(module, "lora_B", None)
            if downs is None or ups is None or adapter not in downs:
                continue
            alpha = float(module.scaling[adapter]) * int(module.r[adapter])
            down, up = (t[adapter].weight.detach().to("cpu", torch.float32, copy=True) for t in (downs, ups))
            found[strategies.lora_name(parts.family, prefix, path)] = LoraLayer(down, up, alpha)
    return found


def read(path: Path) -> LoraFile:
    """Read a LoRA file. Raises :class:`InvalidRequest` when it is broken, no LoRA, or of a kind that isn't plain
    LoRA."""
    from safetensors.torch import load

    info = checkpoint.inspect(path)
    if info.kind != "lora":
        raise InvalidRequest("{path} is {kind}, not a LoRA.", path=path.name, kind=checkpoint.A[info.kind])
    declared = DeclaredAlphas.of(path, info.metadata)
    grouped: dict[str, dict[str, torch.Tensor]] = {}
    # Read, not mapped: a mapped file could not be replaced on Windows, and a person may be trained again.
    for key, tensor in load(path.read_bytes()).items():
        module, role = names.split(key)
        if role == "?":
            what = names.kind(key)
            raise InvalidRequest(
                "{path} is {what} (it has {key}), which isn't supported; use a plain LoRA.",
                path=path.name,
                what=what,
                key=key,
            )
        if not bool(torch.isfinite(tensor).all()):
            raise InvalidRequest(
                "The LoRA {path} is broken: it holds numbers that are none (NaN) in {key}.", path=path.name, key=key
            )
        grouped.setdefault(module, {})[role] = tensor
    layers: dict[str, LoraLayer] = {}
    for module, tensors in grouped.items():
        name = strategies.of(info.family).canonical(module)
        if name in layers:
            raise InvalidRequest("{path} has two LoRAs of {name}.", path=path.name, name=name)
        layers[name] = _layer(path.name, module, tensors, declared)
    return LoraFile(layers, info)


def _layer(file: str, module: str, tensors: Mapping[str, torch.Tensor], declared: DeclaredAlphas) -> LoraLayer:
    if "down" not in tensors or "up" not in tensors:
        raise InvalidRequest("{file} has only a half of the LoRA of {module}.", file=file, module=module)
    down, up, magnitude = tensors["down"], tensors["up"], tensors.get("magnitude")
    if min(down.dim(), up.dim()) < 2 or down.shape[0] == 0 or up.shape[1] != down.shape[0]:
        raise InvalidRequest(
            "{file} has a LoRA of {module} whose halves don't fit each other.", file=file, module=module
        )
    if magnitude is not None and magnitude.numel() not in (up.shape[0], down.shape[1]):
        raise InvalidRequest("{file} has a DoRA of {module} whose magnitude doesn't fit it.", file=file, module=module)
    alpha = tensors.get("alpha")
    if alpha is None:
        return LoraLayer(down, up, declared.alpha(module, int(down.shape[0])), magnitude)
    if alpha.numel() != 1:
        raise InvalidRequest(
            "{file} has a LoRA of {module} with {numel} numbers as its alpha.",
            file=file,
            module=module,
            numel=alpha.numel(),
        )
    return LoraLayer(down, up, float(alpha), magnitude)


def metadata(family: Family, layers: Layers, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the ``ss_*`` metadata by which other programs know what a LoRA is (base family, rank, alpha), and then
    ``extra``."""
    first = next(iter(layers.values()))
    header = families.spec(family).header
    return {
        "ss_base_model_version": header.written,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(first.rank),
        "ss_network_alpha": f"{first.alpha:g}",
        "ss_v2": str(header.v2),
        **(extra or {}),
    }


def write(path: Path, layers: Layers, metadata: Mapping[str, str], dtype: torch.dtype = torch.float16) -> None:
    """Write a LoRA in kohya's naming, whole or not at all. Raises :class:`StorageFailed` when the disk doesn't take
    it."""
    from safetensors.torch import save

    tensors: dict[str, torch.Tensor] = {}
    for module, layer in layers.items():
        tensors[f"{module}.lora_down.weight"] = layer.down.detach().to("cpu", dtype).contiguous()
        tensors[f"{module}.lora_up.weight"] = layer.up.detach().to("cpu", dtype).contiguous()
        tensors[f"{module}.alpha"] = torch.tensor(layer.alpha, dtype=dtype)
    files.write_bytes(path, save(tensors, dict(metadata)))


class Applied:
    """The LoRAs that are merged into a model. :meth:`remove` puts back the very tensors that were there before."""

    def __init__(self, targets: Mapping[str, torch.nn.Module], loras: Sequence[tuple[Layers, float]]) -> None:
        """``targets`` are the modules of the model by the names that the LoRAs call them."""
        self._kept: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
        wanted: dict[str, list[tuple[LoraLayer, float]]] = {}
        for layers, weight in loras:
            _check_fit(layers, targets)
            for name, layer in layers.items():
                if name in targets and weight != 0:
                    wanted.setdefault(name, []).append((layer, weight))
        try:
            for name, own in wanted.items():
                self._merge(targets[name].weight, own)
        except BaseException:
            self.remove()
            raise

    def _merge(self, parameter: Any, own: Sequence[tuple[LoraLayer, float]]) -> None:
        weight = parameter.data
        changed = weight.float()
        for layer, strength in own:
            changed = changed + strength * layer.to(weight.device).change(weight)
        # On a GPU the original waits in ordinary memory; on the CPU keeping it costs a reference.
        self._kept.append((parameter, weight if weight.device.type == "cpu" else weight.cpu()))
        parameter.data = changed.to(weight.dtype)

    def remove(self) -> None:
        while self._kept:
            parameter, original = self._kept.pop()
            parameter.data = original.to(parameter.device)


@contextmanager
def applied(parts: Parts, loras: Sequence[tuple[Layers, float]]) -> Iterator[None]:
    """Give ``parts`` the LoRAs at their weights inside the block. After it, the tensors are bit for bit what they were.

    Raises :class:`InvalidRequest` when the shapes of a LoRA don't fit, or when it has nothing for this model.
    """
    merged = Applied(modules(parts), loras)
    try:
        yield
    finally:
        merged.remove()


def _models(parts: Parts) -> list[tuple[str, Any]]:
    encoders = parts.text_encoders
    prefixes = ["lora_te"] if len(encoders) == 1 else [f"lora_te{i + 1}" for i in range(len(encoders))]
    return [("lora_unet", parts.unet), *zip(prefixes, encoders, strict=True)]


def _check_fit(layers: Layers, targets: Mapping[str, Any]) -> None:
    known = [name for name in layers if name in targets]
    if not known:
        raise InvalidRequest("The LoRA has nothing for this model, so it was made for another one.")
    if len(known) < len(layers):
        log.warning("%d of the LoRA's %d modules are not in this model", len(layers) - len(known), len(layers))
    for name in known:
        layer, weight = layers[name], targets[name].weight
        shape = (layer.up.shape[0], layer.down.flatten(1).shape[1])
        if shape != tuple(weight.flatten(1).shape):
            raise InvalidRequest(
                "The LoRA was made for another model: {name} is {tuple} here and {shape} there.",
                name=name,
                tuple=tuple(weight.shape),
                shape=shape,
            )
