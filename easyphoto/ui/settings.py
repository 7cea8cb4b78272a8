"""What the program around the tabs decides: a WebUI through its settings page, the standalone app through its
defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from easyphoto.service.kept_settings import MAX_FACES as MAX_FACES  # noqa: PLC0414 - the tabs take it from here
from easyphoto.service.kept_settings import KeptSettings


def _one() -> int:
    return 1


def _browser() -> str:
    return ""


@dataclass(frozen=True)
class Settings:
    """The decisions of the program around the tabs. The tabs ask again at each page load, so a changed setting needs no
    restart.

    ``faces`` returns how many user ids the Inference tab shows at first. ``language`` returns ``"en"``, ``"zh"``, or an
    empty text to follow the browser. ``send_to`` is called once while the tabs are built, below the gallery of
    portraits; it gets a hidden image and a text box that hold the selected portrait and its parameters, and may add
    buttons of the host. ``servable`` returns folders whose pictures the page may show in addition to those that the
    host shows anyway. ``kept`` are the settings that a tab of the page shows and changes; None where the host has a
    page of its own for them.
    """

    faces: Callable[[], int] = _one
    language: Callable[[], str] = _browser
    send_to: Callable[[Any, Any], None] | None = None
    servable: tuple[Path, ...] = field(default=())
    kept: KeptSettings | None = None

    @property
    def in_webui(self) -> bool:
        """Return whether the tabs are shown inside a WebUI."""
        return self.send_to is not None
