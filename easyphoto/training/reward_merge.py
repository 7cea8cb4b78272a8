"""Makes one LoRA file of a person's two, for programs that know only one."""

from __future__ import annotations

from pathlib import Path

from easyphoto.errors import InvalidRequest
from easyphoto.sd import lora as lora_files
from easyphoto.training import fusion


def write_merged(lora: Path, reward: Path | None, file: Path, weight: float = 1.0) -> None:
    """Write the person's LoRA with what the reward taught, at ``weight`` from 0 to 1, into ``file``. The sum is exact:
    the rank of a layer becomes the sum of both ranks. Raises :class:`InvalidRequest` for another weight or a broken
    file, and ``StorageFailed``."""
    if not 0 <= weight <= 1:
        raise InvalidRequest("The reward's weight must be from 0 to 1, not {weight}.", weight=weight)
    own = lora_files.read(lora)
    layers: lora_files.Layers = own.layers
    if reward is not None and weight > 0:
        layers = fusion.combine([own.layers, lora_files.read(reward).layers], [1.0, weight])
    told = {name: value for name, value in own.metadata.items() if name not in ("ss_network_dim", "ss_network_alpha")}
    lora_files.write(file, layers, lora_files.metadata(own.info.family, layers) | told)
