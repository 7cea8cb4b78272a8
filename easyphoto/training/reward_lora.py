"""The small LoRA that the reward teaches, beside the person's own LoRA in the same model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from easyphoto.memory import REWARD_RANK
from easyphoto.sd.parts import Parts
from easyphoto.training.lora import ADAPTER, LoraShape, TrainedLora

OWN = "reward"
SHAPE = LoraShape(REWARD_RANK, 8.0)


class RewardLora(TrainedLora):
    """A LoRA of the UNet alone, which is in the model inside a ``with`` block. The person's own LoRA works on beside
    it and learns nothing there."""

    def __init__(self, parts: Parts, own: TrainedLora, seed: int) -> None:
        super().__init__(parts, SHAPE, seed=seed, train_text=False, adapter=OWN)
        self._own = own
        self._wear(ADAPTER, OWN)

    def __enter__(self) -> RewardLora:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wear(ADAPTER)
        for layer in self._layers.values():
            layer.delete_adapter(OWN)
        for weight in self._own.parameters():
            weight.requires_grad_(True)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Leave the person's own LoRA alone in the model while the block runs."""
        self._wear(ADAPTER)
        try:
            yield
        finally:
            self._wear(ADAPTER, OWN)

    def _wear(self, *adapters: str) -> None:
        for layer in self._layers.values():
            layer.set_adapter(list(adapters))
        for weight in self._own.parameters():  # PEFT lets everything learn that is worn
            weight.requires_grad_(False)
