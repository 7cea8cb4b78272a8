"""A part of the page that plays a clip, whatever its file is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from easyphoto.ui import compat
from easyphoto.ui.compat import Updates

VIDEOS = (".mp4", ".webm", ".m4v", ".mov", ".ogv")
"""The videos that browsers play."""
ANIMATED = (".gif", ".webp", ".png", ".apng")


class Player:
    """One component for videos and one for animated pictures, of which one is seen at most."""

    def __init__(self, label: str, elem_id: str) -> None:
        hidden = compat.shown(False)
        self._video = compat.video_player(label, visible=hidden, elem_id=f"{elem_id}_video")
        self._picture = compat.picture_player(label, visible=hidden, elem_id=f"{elem_id}_picture")

    @property
    def parts(self) -> list[Any]:
        """The components that :meth:`show` changes."""
        return [self._video, self._picture]

    def show(self, path: Path | None) -> Updates:
        """Return the updates that play the file; nothing is seen of one that a browser can't play, or of None."""
        ending = "" if path is None else path.suffix.lower()
        return {
            part: compat.update(value=str(path) if plays else None, visible=compat.shown(plays))
            for part, plays in ((self._video, ending in VIDEOS), (self._picture, ending in ANIMATED))
        }
