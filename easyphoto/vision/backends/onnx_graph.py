"""Networks of ONNX files, computed by torch, so that a gradient can go through them to the pixels.

onnxruntime computes such a network faster, but only forwards. The few operations of ArcFace-like networks (residual
networks of convolutions with one vector at the end) are known here, and nothing else: a file can't make anything run
but these. What an operation means is in ONNX's own list of operators (opset 9 and later).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from easyphoto.errors import AssetMissing

Attributes: TypeAlias = Mapping[str, Any]

PADDED_BY_NUMBERS = (b"NOTSET", b"VALID")
"""The ways of padding that leave nothing to the size of the picture."""


@dataclass(frozen=True)
class OnnxNode:
    """One operation: its name in :data:`OPERATIONS`, the names of its inputs and of its first output, and its
    attributes."""

    operation: str
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes


class OnnxGraph:
    """A network with one input, of whose outputs the first is computed. It may be used by many threads at once."""

    def __init__(self, path: Path) -> None:
        """Raises :class:`AssetMissing`, with one sentence, for a file that is damaged, or that needs an operation that
        isn't known here."""
        import onnx

        try:
            graph = onnx.load(str(path)).graph
            constants = {one.name: _tensor(one) for one in graph.initializer}
            self._nodes = [_read(node) for node in graph.node]
            self._input = next(one.name for one in graph.input if one.name not in constants)
            self._output = graph.output[0].name
        # protobuf raises its own exceptions, which have no other parent in common.
        except Exception as error:
            raise AssetMissing(
                "{path} is damaged and can't be loaded ({error}).", path=path.name, error=error
            ) from error
        for node in self._nodes:
            if node.operation not in OPERATIONS or node.attributes.get("auto_pad", b"NOTSET") not in PADDED_BY_NUMBERS:
                raise AssetMissing(
                    "No gradient goes through {path}, because its operation {operation} isn't known here.",
                    path=path.name,
                    operation=node.operation,
                )
        self._constants = {torch.device("cpu"): constants}

    def __call__(self, batch: Tensor) -> Tensor:
        """Compute the first output for ``batch``, on the device of the batch."""
        values = {**self._on(batch.device), self._input: batch}
        for node in self._nodes:
            inputs = [values[name] if name else None for name in node.inputs]
            values[node.output] = OPERATIONS[node.operation](node.attributes, *inputs)
        return values[self._output]

    def _on(self, device: torch.device) -> Mapping[str, Tensor]:
        """The constants on ``device``, where they stay from the first call on."""
        if device not in self._constants:
            there = self._constants[torch.device("cpu")]
            self._constants[device] = {name: value.to(device) for name, value in there.items()}
        return self._constants[device]


def _tensor(saved: Any) -> Tensor:
    from onnx import numpy_helper

    array = np.array(numpy_helper.to_array(saved))
    return torch.from_numpy(array.astype(np.float32) if array.dtype.kind == "f" else array)


def _read(node: Any) -> OnnxNode:
    from onnx import TensorProto, helper

    found = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    plain = {name: _tensor(value) if isinstance(value, TensorProto) else value for name, value in found.items()}
    return OnnxNode(node.op_type, tuple(node.input), node.output[0], plain)


def _convolution(given: Attributes, batch: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
    return functional.conv2d(
        functional.pad(batch, (left, right, top, bottom)),
        kernel,
        bias,
        stride=_pair(given, "strides"),
        dilation=_pair(given, "dilations"),
        groups=int(given.get("group", 1)),
    )


def _pair(given: Attributes, name: str) -> tuple[int, int]:
    down, across = given.get(name, (1, 1))
    return int(down), int(across)


def _normalised(given: Attributes, batch: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """A batch norm of a network that has learned: by its own mean and variance."""
    return functional.batch_norm(batch, mean, spread, scale, shift, training=False, eps=given.get("epsilon", 1e-5))


def _connected(given: Attributes, batch: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    batch = batch.T if given.get("transA", 0) else batch
    weight = weight.T if given.get("transB", 0) else weight
    made = float(given.get("alpha", 1.0)) * (batch @ weight)
    return made if bias is None else made + float(given.get("beta", 1.0)) * bias


def _leaky(given: Attributes, batch: Tensor, slope: Tensor) -> Tensor:
    return torch.where(batch < 0, slope * batch, batch)


def _flat(given: Attributes, batch: Tensor) -> Tensor:
    axis = int(given.get("axis", 1))
    return batch.reshape(int(np.prod(batch.shape[:axis])), -1)


def _reshaped(given: Attributes, batch: Tensor, shape: Tensor) -> Tensor:
    """A side of 0 stays as it is. The first is the batch's own, because some files hold the 1 of their export."""
    sides: Sequence[int] = [batch.shape[at] if side == 0 else int(side) for at, side in enumerate(shape.tolist())]
    return batch.reshape(batch.shape[0] if sides[0] == 1 else sides[0], *sides[1:])


OPERATIONS: Mapping[str, Callable[..., Tensor]] = {
    "Add": lambda given, a, b: a + b,
    "BatchNormalization": _normalised,
    "Constant": lambda given: given["value"],
    "Conv": _convolution,
    "Div": lambda given, a, b: a / b,
    "Dropout": lambda given, a, *rest: a,
    "Flatten": _flat,
    "Gemm": _connected,
    "GlobalAveragePool": lambda given, a: a.mean((2, 3), keepdim=True),
    "Identity": lambda given, a: a,
    "MatMul": lambda given, a, b: a @ b,
    "Mul": lambda given, a, b: a * b,
    "PRelu": _leaky,
    "Relu": lambda given, a: functional.relu(a),
    "Reshape": _reshaped,
    "Sigmoid": lambda given, a: torch.sigmoid(a),
    "Sub": lambda given, a, b: a - b,
}
"""What each operation does with its attributes and its inputs, by its name in ONNX."""
