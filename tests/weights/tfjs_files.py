"""Writes small networks as TensorFlow.js files, as the published reporters are written."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class TfjsWriter:
    """A graph that is written operation by operation. Weights are saved as ``saved`` (float32 or float16)."""

    def __init__(self, saved: str = "float32") -> None:
        self._saved = saved
        self._nodes: list[dict[str, Any]] = []
        self._weights: list[dict[str, Any]] = []
        self._data = b""

    def constant(self, name: str, value: Any, kind: str = "float32") -> str:
        array: NDArray[Any] = np.asarray(value, np.dtype(kind))
        saved = self._saved if kind == "float32" else kind
        entry: dict[str, Any] = {"name": name, "shape": list(array.shape), "dtype": kind}
        if saved != kind:
            entry["quantization"] = {"dtype": saved, "original_dtype": kind}
        self._weights.append(entry)
        self._nodes.append({"name": name, "op": "Const"})
        self._data += array.astype(saved).tobytes()
        return name

    def input(self, name: str = "data") -> str:
        self._nodes.append({"name": name, "op": "Placeholder"})
        return name

    def add(
        self,
        name: str,
        operation: str,
        *inputs: str,
        stride: int = 1,
        padding: str = "VALID",
        size: int = 1,
        joined: Sequence[str] = (),
    ) -> str:
        """Add an operation. ``size`` is that of a pool, and ``joined`` names what is joined to a convolution."""
        attributes = {
            "strides": {"list": {"i": ["1", str(stride), str(stride), "1"]}},
            "ksize": {"list": {"i": ["1", str(size), str(size), "1"]}},
            "padding": {"s": base64.b64encode(padding.encode()).decode()},
            "fused_ops": {"list": {"s": [base64.b64encode(one.encode()).decode() for one in joined]}},
        }
        self._nodes.append({"name": name, "op": operation, "input": list(inputs), "attr": attributes})
        return name

    def write(self, graph: Path, weights: Path) -> tuple[Path, Path]:
        told = {"modelTopology": {"node": self._nodes}, "weightsManifest": [{"weights": self._weights}]}
        graph.parent.mkdir(parents=True, exist_ok=True)
        graph.write_text(json.dumps(told), encoding="utf-8")
        weights.write_bytes(self._data)
        return graph, weights


def averaging(output: str, graph: Path, weights: Path, cells: int = 7, side: int = 112) -> tuple[Path, Path]:
    """A network that describes a face by how the light of its ``cells`` x ``cells`` parts differs from grey: enough to
    tell two pictures apart and to know one again."""
    writer = TfjsWriter("float16")
    step = side // cells
    kernel = np.full((step, step, 3, 1), 1 / (3 * step * step), np.float32)
    light = writer.add("light", "Conv2D", writer.input(), writer.constant("kernel", kernel), stride=step)
    centred = writer.add("centred", "Sub", light, writer.constant("grey", [100.0]))
    flat = writer.add("flat", "Reshape", centred, writer.constant("shape", [-1, cells * cells], "int32"))
    writer.add(output, "Mul", f"{flat}:0", writer.constant("one", [1.0]))
    return writer.write(graph, weights)
