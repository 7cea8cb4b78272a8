"""What the program around the tabs decides: a WebUI through its settings page, the standalone app by its defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_FACES = 10


def _one() -> int:
    return 1


def _browser() -> str:
    return ""


@dataclass(frozen=True)
class Settings:
    """Everything is asked again at each page load, so that a changed setting needs no restart.

    ``faces``: how many user ids the Inference tab shows at first. ``language``: ``"en"``, ``"zh"``, or empty to follow
    the browser. ``send_to``: called once while the tabs are built, below the gallery of portraits, with a hidden image
    and a text box that hold the selected portrait and its parameters; it may add the host's own buttons. ``servable``:
    folders whose pictures the page may show beside those that the host shows anyway.
    """

    faces: Callable[[], int] = _one
    language: Callable[[], str] = _browser
    send_to: Callable[[Any, Any], None] | None = None
    servable: tuple[Path, ...] = field(default=())

    @property
    def in_webui(self) -> bool:
        """Whether a WebUI is around the tabs."""
        return self.send_to is not None
