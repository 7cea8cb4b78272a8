"""Has ComfyUI work on one graph, tells how far it is, and takes the work back if it isn't wanted any more."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image as PilImage

from easyphoto.errors import Cancelled, HostFailed
from easyphoto.hosts.comfyui import graph as graphs
from easyphoto.hosts.comfyui.client import PREVIEW, ComfyPicture, ComfyUIClient, Gone, Messages
from easyphoto.ports import Image, OnStep, PreviewWatcher

log = logging.getLogger(__name__)

REMIND = 1.0
"""After how many seconds without news a step is told again, because whoever listens may want to stop the picture, and
ComfyUI is asked whether it is over."""

LARGEST_PREVIEW = 2048
"""A preview with a longer side, in pixels, is left out."""

_NO_MEMORY = ("OutOfMemoryError", "MemoryError", "OOM_EXCEPTION", "AcceleratorError")
_NO_MEMORY_SAID = ("allocate memory", "out of memory", "Allocation on device")


@dataclass(frozen=True)
class MadeThere:
    """The picture that a graph made, in ComfyUI's folder, and how many other prompts ComfyUI had to work on first."""

    picture: ComfyPicture
    behind: int


def run(client: ComfyUIClient, graph: graphs.Graph, steps: int, on_step: OnStep | None) -> MadeThere:
    """Have ComfyUI make the picture of ``graph``, which takes so many ``steps``.

    If ``on_step`` raises, ComfyUI is told to stop, and the exception goes on. Raises :class:`Cancelled` when somebody
    stopped it in ComfyUI, and :class:`HostFailed` when ComfyUI fails or goes away.
    """
    listener, prompt = uuid.uuid4().hex, str(uuid.uuid4())
    with client.listening(listener) as messages:
        client.submit(graph, listener, prompt)
        try:
            behind = client.queue().before(prompt)
            result = _Watch(client, prompt, steps, on_step).until_over(messages)
        except BaseException:
            _withdraw(client, prompt)
            raise
    client.forget(prompt)
    return MadeThere(_picture(result), behind)


class _Watch:
    """Looks at one prompt until it is over."""

    def __init__(self, client: ComfyUIClient, prompt: str, steps: int, on_step: OnStep | None) -> None:
        self._client = client
        self._prompt = prompt
        self._on_step = on_step or (lambda done, total: None)
        self._done, self._total = 0, steps
        self._asked = time.monotonic()
        self._lost: Gone | None = None

    def until_over(self, messages: Messages) -> Mapping[str, Any]:
        """What ComfyUI keeps of the prompt when it is over. If the websocket breaks, ComfyUI is asked every second."""
        while True:
            message = self._next(messages)
            if message is not None and message[0] == PREVIEW:
                self._show(message[1]["file"])  # only whoever asked for the work is sent its previews
            elif message is not None and message[1].get("prompt_id") == self._prompt:
                self._hear(*message)
            if _is_end(message, self._prompt) or time.monotonic() - self._asked >= REMIND:
                self._asked = time.monotonic()
                self._on_step(self._done, self._total)
                result = self._result()
                if result is not None:
                    return result

    def _show(self, file: bytes) -> None:
        if not isinstance(self._on_step, PreviewWatcher) or not self._on_step.wants_preview():
            return
        picture = _decoded(file)
        if picture is not None:
            self._on_step.preview(picture)

    def _next(self, messages: Messages) -> tuple[str, Mapping[str, Any]] | None:
        if self._lost is None:
            try:
                return messages.next(REMIND)
            except Gone as error:
                self._lost = error
        time.sleep(REMIND)
        return None

    def _result(self) -> Mapping[str, Any] | None:
        try:
            queued = self._client.queue()
            result = self._client.result(self._prompt)
        except Gone as error:
            raise self._lost or error from error
        if result is None and self._prompt not in (*queued.running, *queued.waiting):
            raise self._lost or Cancelled("Taken out of ComfyUI's queue.")
        return result

    def _hear(self, kind: str, data: Mapping[str, Any]) -> None:
        match kind:
            case "progress" if data.get("node") == graphs.SAMPLING:
                self._done, self._total = int(data["value"]), max(int(data["max"]), 1)
                self._on_step(min(self._done, self._total), self._total)
            case "execution_error":
                raise _failed(data)
            case "execution_interrupted":
                raise Cancelled("Interrupted in ComfyUI.")


def _is_end(message: tuple[str, Mapping[str, Any]] | None, prompt: str) -> bool:
    """Whether a message says that nothing more of a prompt will run."""
    if message is None:
        return False
    kind, data = message
    return kind == "executing" and data.get("node") is None and data.get("prompt_id") == prompt


def _decoded(file: bytes) -> Image | None:
    """The picture of a preview's file, None where it can't be read or is larger than ComfyUI makes previews."""
    try:
        with PilImage.open(BytesIO(file), formats=("JPEG", "PNG")) as picture:
            if max(picture.size) > LARGEST_PREVIEW:
                return None
            return np.asarray(picture.convert("RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError):
        return None


def _withdraw(client: ComfyUIClient, prompt: str) -> None:
    try:
        client.withdraw(prompt)
        client.forget(prompt)
    except HostFailed as error:  # mostly because ComfyUI is gone, and what it did with it
        log.info("the prompt %s was not taken back: %s", prompt, error)


def _picture(result: Mapping[str, Any]) -> ComfyPicture:
    """The picture of a prompt that is over."""
    for kind, data in (result.get("status") or {}).get("messages", ()):
        if kind == "execution_error":
            raise _failed(data)
        if kind == "execution_interrupted":
            raise Cancelled("Interrupted in ComfyUI.")
    images = (result.get("outputs") or {}).get(graphs.SHOWN, {}).get("images", ())
    if not images:
        raise HostFailed("ComfyUI gave back no picture; its log says why.")
    return ComfyPicture(str(images[0]["filename"]), str(images[0]["subfolder"]), str(images[0]["type"]))


def _failed(data: Mapping[str, Any]) -> HostFailed:
    """What a node's error is to a user."""
    kind = str(data.get("exception_type", "")).rpartition(".")[2]
    said = [line.strip() for line in str(data.get("exception_message", "")).splitlines() if line.strip()] or [""]
    if kind in _NO_MEMORY or any(words in said[0] for words in _NO_MEMORY_SAID):
        return HostFailed(
            "ComfyUI has too little memory for the picture; choose a smaller size or close other programs."
        )
    return HostFailed(
        "ComfyUI could not make the picture: {node}: {kind}: {text}",
        node=data.get("node_type", ""),
        kind=kind,
        text=said[0][:300],
    )
