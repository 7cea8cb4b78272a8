"""ONNX models through onnxruntime. A model is used only if its inputs and outputs are those of the model it is named
as."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from easyphoto.errors import AssetMissing

OnnxShape = tuple[int | None, ...]
PREFERRED = ("CUDAExecutionProvider", "CPUExecutionProvider")


def providers() -> list[str]:
    """Where models may run, the best place first: the graphics card where this onnxruntime can use it
    (onnxruntime-gpu), then the processor."""
    import onnxruntime

    there = onnxruntime.get_available_providers()
    return [p for p in PREFERRED if p in there] or list(there)


def check(path: Path, inputs: Sequence[OnnxShape], outputs: Sequence[OnnxShape | None]) -> None:
    """Raise :class:`AssetMissing` unless the model has these inputs and outputs. ``None`` in a shape stands for any
    length, even one that the model leaves free; in place of an output's shape it stands for any shape."""
    session = _open(path)
    for kind, found, wanted in (
        ("input", [i.shape for i in session.get_inputs()], list(inputs)),
        ("output", [o.shape for o in session.get_outputs()], list(outputs)),
    ):
        if len(found) != len(wanted):
            raise AssetMissing(
                "{path} is not the expected model: {count} {kind}s instead of {expected}.",
                path=path.name,
                count=len(found),
                kind=kind,
                expected=len(wanted),
            )
        for shape, like in zip(found, wanted, strict=True):
            if like is not None and not _fits(shape, like):
                raise AssetMissing(
                    "{path} is not the expected model: {kind} of shape {shape} instead of {expected}.",
                    path=path.name,
                    kind=kind,
                    shape=_say(shape),
                    expected=_say(like),
                )


class OnnxModel:
    """A model with one input, of whose outputs the first is used."""

    def __init__(self, path: Path, given: OnnxShape, first: OnnxShape) -> None:
        self._session = _open(path)
        ins, outs = self._session.get_inputs(), self._session.get_outputs()
        if len(ins) != 1 or not _fits(ins[0].shape, given) or not _fits(outs[0].shape, first):
            raise AssetMissing(
                "{path} is not the expected model: {inputs} -> {outputs} instead of {given} -> {wanted}.",
                path=path.name,
                inputs=_say(ins[0].shape),
                outputs=_say(outs[0].shape),
                given=_say(given),
                wanted=_say(first),
            )
        self._input, self._output = ins[0].name, outs[0].name

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The first output for ``batch``."""
        result = self._session.run([self._output], {self._input: np.ascontiguousarray(batch, np.float32)})[0]
        return np.asarray(result, np.float32)


def _open(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), sess_options=options, providers=providers())
    # onnxruntime raises its own exceptions, which have no other parent in common.
    except Exception as error:
        first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise AssetMissing(
            "{path} is no ONNX model that can be opened ({first}).", path=path.name, first=first
        ) from error


def _fits(shape: Sequence[Any], like: OnnxShape) -> bool:
    """Whether a declared shape agrees with ``like``. A length that the model leaves free or names agrees with any."""
    if not shape:
        return True
    return len(shape) == len(like) and all(
        want is None or not isinstance(have, int) or have == want for have, want in zip(shape, like, strict=True)
    )


def _say(shape: Sequence[Any]) -> str:
    return "x".join("?" if not isinstance(s, int) else str(s) for s in shape) or "?"
