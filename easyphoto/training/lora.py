"""The LoRA that is being trained: small matrices beside the layers of the UNet and of the text encoders."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from easyphoto import families
from easyphoto.sd import strategies
from easyphoto.sd.lora import Layers, LoraLayer
from easyphoto.sd.parts import Parts
from easyphoto.training import draws

ADAPTER = "easyphoto"
TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj")


@dataclass(frozen=True)
class LoraShape:
    """The ``rank`` and the ``alpha`` of every layer. The scale of the LoRA is alpha / rank."""

    rank: int
    alpha: float


class TrainedLora:
    """The LoRA inside the parts of a model. Its layers have the names that they have in the files of kohya."""

    def __init__(self, parts: Parts, shape: LoraShape, *, seed: int, train_text: bool, adapter: str = ADAPTER) -> None:
        """Put a LoRA that adds nothing yet beside the layers, and freeze everything else. Several LoRAs may lie beside
        a layer, each under the name of its ``adapter``."""
        self.shape = shape
        self.trains_text = train_text
        self._parts = parts
        self._adapter = adapter
        self._layers: dict[str, Any] = {}
        for part in (parts.unet, parts.vae, *parts.text_encoders):
            part.requires_grad_(False)
        self._inject(parts.unet, "lora_unet", families.spec(parts.family).learning.unet_layers)
        if train_text:
            for encoder, prefix in zip(parts.text_encoders, text_prefixes(parts), strict=True):
                self._inject(encoder, prefix, TEXT_LAYERS)
        for name, layer in self._layers.items():
            _initialise(*self._weights(layer), draws.generator(seed, name))

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained, in float32, in an order that is always the same."""
        return [p for name in sorted(self._layers) for p in self._weights(self._layers[name])]

    def train(self, checkpointing: bool) -> None:
        """Prepare the model for a step, with gradient checkpointing or without."""
        modules = [self._parts.unet, *(self._parts.text_encoders if self.trains_text else ())]
        for module in modules:
            if checkpointing:
                # Checkpoints are only made in training mode; the models have no dropout that it would switch on.
                module.train()
                _checkpoint(module)
            else:
                module.eval()
                if module.is_gradient_checkpointing:
                    _stop_checkpoints(module)

    def state(self) -> dict[str, Tensor]:
        """Return the trained tensors by name, in full precision."""
        pairs = {}
        for name, layer in self._layers.items():
            down, up = self._weights(layer)
            pairs[f"{name}.lora_down.weight"] = down.detach().cpu().clone()
            pairs[f"{name}.lora_up.weight"] = up.detach().cpu().clone()
        return pairs

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over tensors that :meth:`state` returned."""
        self.set(
            {
                name: LoraLayer(state[f"{name}.lora_down.weight"], state[f"{name}.lora_up.weight"], self.shape.alpha)
                for name in self._layers
            }
        )

    def layers(self) -> dict[str, LoraLayer]:
        """Return the LoRA as it is now, in full precision on the CPU."""
        state = self.state()
        return {
            name: LoraLayer(state[f"{name}.lora_down.weight"], state[f"{name}.lora_up.weight"], self.shape.alpha)
            for name in self._layers
        }

    @torch.no_grad()
    def set(self, lora: Layers) -> None:
        """Take over a LoRA that has the same layers, rank and alpha."""
        for name, layer in self._layers.items():
            down, up = self._weights(layer)
            down.copy_(lora[name].down.reshape(down.shape))
            up.copy_(lora[name].up.reshape(up.shape))

    @contextmanager
    def holding(self, lora: Layers) -> Iterator[None]:
        """Give the model another LoRA while the block runs, and its own again afterwards."""
        own = self.state()
        self.set(lora)
        try:
            yield
        finally:
            self.restore(own)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Make the model the base model alone while the block runs."""
        for layer in self._layers.values():
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self._layers.values():
                layer.enable_adapters(True)

    def _inject(self, module: Any, prefix: str, targets: tuple[str, ...]) -> None:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer as PeftLayer

        config = LoraConfig(r=self.shape.rank, lora_alpha=self.shape.alpha, target_modules=list(targets), bias="none")
        with warnings.catch_warnings():
            # A second LoRA in one model is meant.
            warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
            inject_adapter_in_model(config, module, self._adapter)
        for path, layer in module.named_modules():
            if isinstance(layer, PeftLayer):
                layer.lora_A[self._adapter].float()
                layer.lora_B[self._adapter].float()
                self._layers[strategies.lora_name(self._parts.family, prefix, path)] = layer

    def _weights(self, layer: Any) -> tuple[nn.Parameter, nn.Parameter]:
        return layer.lora_A[self._adapter].weight, layer.lora_B[self._adapter].weight


def text_prefixes(parts: Parts) -> tuple[str, ...]:
    """Return what the names of the text encoders' layers begin with in the files of kohya."""
    return ("lora_te",) if len(parts.text_encoders) == 1 else ("lora_te1", "lora_te2")


@torch.no_grad()
def _initialise(down: nn.Parameter, up: nn.Parameter, source: torch.Generator) -> None:
    """Set the down matrix to uniform numbers as in a linear layer, and the up matrix to zero (Hu et al., 2021)."""
    bound = float(down[0].numel()) ** -0.5
    down.copy_((torch.rand(down.shape, generator=source) * 2 - 1) * bound)
    up.zero_()


def _checkpoint(module: Any) -> None:
    if hasattr(module, "enable_gradient_checkpointing"):
        module.enable_gradient_checkpointing()
    elif hasattr(module, "gradient_checkpointing_enable"):
        module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _stop_checkpoints(module: Any) -> None:
    """Switch gradient checkpointing off. The models of diffusers recompute in evaluation mode too where it is on."""
    if hasattr(module, "disable_gradient_checkpointing"):
        module.disable_gradient_checkpointing()
    elif hasattr(module, "gradient_checkpointing_disable"):
        module.gradient_checkpointing_disable()
