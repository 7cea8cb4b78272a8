"""Models with the published inputs and outputs, whose answers are known: built here, nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]
FACE_POINTS = np.array([[250, 260], [330, 255], [292, 300], [262, 345], [325, 342]], np.float32)
FACE_BOX = (220.0, 200.0, 360.0, 380.0)
STRIDES = (8, 16, 32)


def _model(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    constants: Mapping[str, NDArray[np.generic]] | None = None,
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def detector(path: Path, brightest: float = 9.0) -> Path:
    """det_10g: (1, 3, ?, ?) -> 3 scores, 3 boxes, 3 times 5 points for strides 8, 16, 32, two anchors a place.

    In a picture of 640 it sees one face, :data:`FACE_BOX`, if the mean of its input is under ``brightest``.
    """
    nodes = [
        helper.make_node("ReduceMean", ["input.1"], ["mean"], keepdims=0),
        helper.make_node("Less", ["mean", "limit"], ["dark"]),
        helper.make_node("Cast", ["dark"], ["sees"], to=TensorProto.FLOAT),
    ]
    constants: dict[str, NDArray[np.generic]] = {"limit": np.float32(brightest)}
    outputs: dict[str, Sequence[int | str]] = {}
    for kind, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in STRIDES:
            values = np.zeros((2 * (640 // stride) ** 2, width), np.float32)
            if stride == 16:
                values[_anchor()] = _at_anchor(kind)
            name = f"{kind}{stride}"
            constants[f"{name}.value"] = values
            scaled = kind == "score"
            nodes.append(
                helper.make_node("Mul" if scaled else "Identity", [f"{name}.value"] + ["sees"] * scaled, [name])
            )
            outputs[name] = values.shape
    return _model(path, nodes, {"input.1": (1, 3, "?", "?")}, outputs, constants)


def _anchor() -> int:
    row, column = 290 // 16, 290 // 16
    return 2 * (row * (640 // 16) + column)


def _at_anchor(kind: str) -> Array:
    """What the detector says at the anchor: distances in strides to the sides of the box and to the points."""
    center = np.array([290 // 16 * 16, 290 // 16 * 16], np.float32)
    if kind == "score":
        return np.array([0.9], np.float32)
    if kind == "points":
        return ((FACE_POINTS - center) / 16).ravel()
    left, top, right, bottom = FACE_BOX
    return np.array([center[0] - left, center[1] - top, right - center[0], bottom - center[1]], np.float32) / 16


def embedder(path: Path, dark: Array, bright: Array) -> Path:
    """w600k_r50: (?, 3, 112, 112) in [-1, 1] -> (?, 512). Gives ``dark`` for a black face, ``bright`` for a white one,
    and the way between for greys."""
    nodes = [
        helper.make_node("ReduceMean", ["input.1"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("MatMul", ["column", "half"], ["way"]),
        helper.make_node("Add", ["way", "middle"], ["683"]),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "one": np.array([1]),
        "half": ((bright - dark) / 2)[None].astype(np.float32),
        "middle": ((bright + dark) / 2)[None].astype(np.float32),
    }
    return _model(path, nodes, {"input.1": ("None", 3, 112, 112)}, {"683": ("None", 512)}, constants)


def residual_embedder(path: Path, unknown: str = "", centres: bool = False) -> Path:
    """Of w600k_r50's shape and of its operations, with random weights: convolutions, batch norms, PReLUs, a sum around
    a block, and one layer at the end. ``unknown`` is an operation to put at its end, and ``centres`` lets the network
    centre and scale its pixels itself, as some do."""
    rng = np.random.default_rng(3)
    constants: dict[str, NDArray[np.generic]] = {"mean": np.float32(127.5), "scale": np.float32(1 / 127.5)}
    nodes = []
    begin = "input.1"
    if centres:
        nodes += [helper.make_node("Sub", [begin, "mean"], ["centred"])]
        nodes += [helper.make_node("Mul", ["centred", "scale"], ["scaled"])]
        begin = "scaled"

    def convolution(source: str, made: str, before: int, after: int, stride: int) -> None:
        constants[f"{made}.w"] = rng.normal(0, (9 * before) ** -0.5, (after, before, 3, 3)).astype(np.float32)
        constants[f"{made}.b"] = rng.normal(0, 0.1, after).astype(np.float32)
        inputs = [source, f"{made}.w", f"{made}.b"]
        settings = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [stride, stride]}
        nodes.append(helper.make_node("Conv", inputs, [made], **settings))

    def norm(source: str, made: str, channels: int) -> None:
        parts = [f"{made}.{name}" for name in ("scale", "shift", "mean", "spread")]
        for name in parts:
            constants[name] = rng.uniform(0.5, 1.5, channels).astype(np.float32)
        nodes.append(helper.make_node("BatchNormalization", [source, *parts], [made], epsilon=2e-5))

    convolution(begin, "stem", 3, 4, 4)
    constants["slope"] = rng.uniform(0.1, 0.4, (4, 1, 1)).astype(np.float32)
    nodes.append(helper.make_node("PRelu", ["stem", "slope"], ["bent"]))
    norm("bent", "normed", 4)
    convolution("normed", "through", 4, 4, 1)
    nodes.append(helper.make_node("Add", ["through", "bent"], ["summed"]))
    convolution("summed", "small", 4, 2, 4)
    nodes.append(helper.make_node("Flatten", ["small"], ["flat"], axis=1))
    nodes.append(helper.make_node("Dropout", ["flat"], ["kept"]))
    constants["head.w"] = rng.normal(0, 0.1, (512, 98)).astype(np.float32)
    constants["head.b"] = rng.normal(0, 0.1, 512).astype(np.float32)
    last = "head" if unknown else "683"
    nodes.append(helper.make_node("Gemm", ["kept", "head.w", "head.b"], [last], transB=1))
    if unknown:
        nodes.append(helper.make_node(unknown, [last], ["683"]))
    return _model(path, nodes, {"input.1": ("None", 3, 112, 112)}, {"683": ("None", 512)}, constants)


def looking_embedder(path: Path, places: NDArray[np.int64]) -> Path:
    """Of w600k_r50's shape; gives back the 512 values of its input that lie at ``places`` of the flattened picture."""
    nodes = [
        helper.make_node("Flatten", ["input.1"], ["flat"], axis=1),
        helper.make_node("Gather", ["flat", "places"], ["683"], axis=1),
    ]
    return _model(path, nodes, {"input.1": ("None", 3, 112, 112)}, {"683": ("None", 512)}, {"places": places})


def swapper(path: Path, with_map: bool = True) -> Path:
    """inswapper_128: (1, 3, 128, 128) and (1, 512) -> (1, 3, 128, 128), the map of identities last of its constants.
    Answers with the negative of the face."""
    nodes = [
        helper.make_node("ReduceMean", ["source"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Sub", ["whole", "target"], ["negative"]),
        helper.make_node("Add", ["negative", "nothing"], ["output"]),
    ]
    constants: dict[str, NDArray[np.generic]] = {"zero": np.float32(0), "whole": np.float32(1)}
    if with_map:
        constants["buff2fs"] = np.eye(512, dtype=np.float32)
    face = (1, 3, 128, 128)
    return _model(path, nodes, {"target": face, "source": (1, 512)}, {"output": face}, constants)


def saliency(path: Path, side: int = 320) -> Path:
    """u2net: (1, 3, 320, 320) -> seven masks (1, 1, 320, 320). The first is the brightness."""
    nodes = [helper.make_node("ReduceMean", ["input.1"], [f"m{i}"], axes=[1], keepdims=1) for i in range(7)]
    return _model(path, nodes, {"input.1": (1, 3, side, side)}, {f"m{i}": (1, 1, side, side) for i in range(7)})


def restorer(path: Path) -> Path:
    """GPEN-BFR-512: (1, 3, 512, 512) -> (1, 3, 512, 512). Answers with what it is given."""
    face = (1, 3, 512, 512)
    return _model(path, [helper.make_node("Identity", ["input"], ["output"])], {"input": face}, {"output": face})


def classifier(path: Path) -> Path:
    """A sound model that is none of those: (1, 3, 224, 224) -> (1, 10)."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["output"]),
    ]
    constants: dict[str, NDArray[np.generic]] = {"w": np.ones((3, 10), np.float32)}
    return _model(path, nodes, {"input": (1, 3, 224, 224)}, {"output": (1, 10)}, constants)
