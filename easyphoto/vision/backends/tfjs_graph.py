"""Networks that were saved as TensorFlow.js graphs, computed by torch.

Such a network is two files: a JSON text that lists the operations and says where each weight lies, and a binary file
with the weights one behind the other. The few operations of small convolutional networks are known here, and nothing
else: a file can't make anything run but these.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from easyphoto.errors import AssetMissing

Node: TypeAlias = Mapping[str, Any]
Operation: TypeAlias = Callable[..., Tensor]

JOINED = ["BiasAdd"], ["BiasAdd", "Prelu"]
"""What may be joined to a convolution."""
_SAVED_AS = {"float16": "<f2", "float32": "<f4", "int32": "<i4"}


class TfjsGraph:
    """One network. ``output`` is the operation whose result is wanted; what it doesn't need is never computed."""

    def __init__(self, graph: Path, weights: Path, output: str) -> None:
        """Raises :class:`AssetMissing`, with one sentence, for files that are damaged, that don't belong together, or
        that need an operation that isn't known here."""
        try:
            told = json.loads(graph.read_text(encoding="utf-8"))
            nodes = {node["name"]: node for node in told["modelTopology"]["node"]}
            self._constants = _constants(told["weightsManifest"], weights.read_bytes())
            self._steps = _steps(nodes, self._constants, output)
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise AssetMissing(
                "{path} is damaged and can't be loaded ({error}).", path=graph.name, error=error
            ) from error
        self._output = output

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> Tensor:
        """Compute the output for ``batch``, a float tensor in the order of TensorFlow: (n, height, width,
        channels)."""
        values: dict[str, Tensor] = dict(self._constants)
        for node in self._steps:
            if node["op"] == "Placeholder":
                values[node["name"]] = batch
            else:
                values[node["name"]] = OPERATIONS[node["op"]](node, *[values[_named(i)] for i in node["input"]])
        return values[self._output]


def _constants(manifest: list[Any], data: bytes) -> dict[str, Tensor]:
    """The weights by name. Raises ValueError when the binary file is longer or shorter than they are."""
    found: dict[str, Tensor] = {}
    at = 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        saved = np.dtype(_SAVED_AS[entry.get("quantization", {}).get("dtype", entry["dtype"])])
        shape = [int(side) for side in entry["shape"]]
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(data, saved, count, at).reshape(shape)
        kind = np.int64 if entry["dtype"] == "int32" else np.float32
        found[entry["name"]] = torch.from_numpy(array.astype(kind))
        at += count * saved.itemsize
    if at != len(data):
        raise ValueError(f"{len(data)} bytes of weights where {at} are expected")
    return found


def _steps(nodes: Mapping[str, Node], constants: Mapping[str, Tensor], output: str) -> list[Node]:
    """The operations that ``output`` needs, each behind those that it takes its values from."""
    steps: list[Node] = []
    seen = set(constants)

    def need(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        node = nodes[name]
        if node["op"] != "Placeholder" and node["op"] not in OPERATIONS:
            raise ValueError(f"no operation {node['op']}")
        if node["op"] == "_FusedConv2D" and (joined := _joined(node)) not in JOINED:
            raise ValueError(f"no convolution with {joined}")
        for source in node.get("input", ()):
            need(_named(source))
        steps.append(node)

    need(output)
    return steps


def _named(source: str) -> str:
    """The operation from which an input comes: ``name`` or ``name:0``."""
    return source.partition(":")[0]


def _joined(node: Node) -> list[str]:
    return [base64.b64decode(name).decode() for name in node["attr"]["fused_ops"]["list"]["s"]]


def _text(node: Node, attribute: str) -> str:
    return base64.b64decode(node["attr"][attribute]["s"]).decode()


def _convolved(node: Node, batch: Tensor, kernel: Tensor, groups: int) -> Tensor:
    """A convolution in the order of TensorFlow. ``kernel`` is already in that of torch, and square."""
    stride = int(node["attr"]["strides"]["list"]["i"][1])
    batch = batch.permute(0, 3, 1, 2)
    if _text(node, "padding") == "SAME":
        # TensorFlow puts the odd pixel of the border behind the picture, where torch would put it before.
        side = kernel.shape[2]
        borders = [max((-(-size // stride) - 1) * stride + side - size, 0) for size in (batch.shape[3], batch.shape[2])]
        batch = functional.pad(batch, [part for border in borders for part in (border // 2, border - border // 2)])
    return functional.conv2d(batch, kernel, stride=stride, groups=groups).permute(0, 2, 3, 1)


def _convolution(node: Node, batch: Tensor, kernel: Tensor) -> Tensor:
    return _convolved(node, batch, kernel.permute(3, 2, 0, 1), 1)


def _depthwise(node: Node, batch: Tensor, kernel: Tensor) -> Tensor:
    """Each channel by itself. The kernel (height, width, channels, 1) makes one channel of each."""
    return _convolved(node, batch, kernel.permute(2, 3, 0, 1), batch.shape[3])


def _padded(node: Node, batch: Tensor, borders: Tensor) -> Tensor:
    """Zeros around the batch. ``borders`` has a row (before, behind) for each axis, of which torch wants the last
    first."""
    return functional.pad(batch, [int(side) for row in borders.flip(0).tolist() for side in row])


def _reshaped(node: Node, batch: Tensor, shape: Tensor) -> Tensor:
    return batch.reshape([int(side) for side in shape.tolist()])


def _mean(node: Node, batch: Tensor, axes: Tensor) -> Tensor:
    return batch.mean(dim=[int(axis) for axis in axes.flatten().tolist()])


def _fused(node: Node, batch: Tensor, kernel: Tensor, bias: Tensor, *slope: Tensor) -> Tensor:
    """A convolution with what TensorFlow joined to it."""
    result = _convolution(node, batch, kernel) + bias
    return _sloped(node, result, slope[0]) if slope else result


def _sloped(node: Node, batch: Tensor, slope: Tensor) -> Tensor:
    """What is below zero, times a slope for each channel."""
    return torch.where(batch > 0, batch, batch * slope)


def _greatest(node: Node, batch: Tensor) -> Tensor:
    size, stride = (int(node["attr"][name]["list"]["i"][1]) for name in ("ksize", "strides"))
    return functional.max_pool2d(batch.permute(0, 3, 1, 2), size, stride).permute(0, 2, 3, 1)


def _sum(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return a + b


OPERATIONS: Mapping[str, Operation] = {
    "Add": _sum,
    "AddV2": _sum,
    "Sub": lambda node, a, b: a - b,
    "Mul": lambda node, a, b: a * b,
    "Maximum": lambda node, a, b: torch.maximum(a, b),
    "Minimum": lambda node, a, b: torch.minimum(a, b),
    "Relu": lambda node, a: functional.relu(a),
    "MatMul": lambda node, a, b: a @ b,
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "Pad": _padded,
    "Reshape": _reshaped,
    "Mean": _mean,
    "_FusedConv2D": _fused,
    "Prelu": _sloped,
    "MaxPool": _greatest,
    "Identity": lambda node, a: a,
}
"""What each operation does with its node and its inputs, by the name that TensorFlow gives it."""
