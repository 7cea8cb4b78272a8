"""What a folder of pictures holds: one function lists the pictures and names the files that it passed over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from easyphoto.filenames import shown
from easyphoto.imaging import formats
from easyphoto.messages import Message

_BESIDE = frozenset({".txt", ".json", ".jsonl", ".csv", ".db", ".ini"})
"""The files that lie beside pictures and are none: captions, tables, and what Windows keeps there."""
_NAMED = 5


@dataclass(frozen=True)
class Listing:
    """The files of a folder. ``pictures`` can be tried, and ``passed_over`` can't be read here; both stand in the order
    of their names."""

    pictures: tuple[Path, ...]
    passed_over: tuple[Path, ...] = ()

    @property
    def notice(self) -> str:
        """One sentence that names the files that were passed over and says what to do; empty where there are none."""
        if not self.passed_over:
            return ""
        names: str = ", ".join(shown(p.name) for p in self.passed_over[:_NAMED])
        more = len(self.passed_over) - _NAMED
        if more > 0:
            names = Message("{files} and {count} more", files=names, count=more)
        if {formats.lacking(p.suffix.lower()) for p in self.passed_over} == {"HEIF"}:
            return Message("Passed over: {files}; the package pillow-heif is needed for HEIC photos.", files=names)
        return Message("Passed over: {files}; what can be read is {readable}.", files=names, readable=formats.READABLE)


def listing(folder: Path) -> Listing:
    """The files of ``folder`` itself, without those of folders in it. Hidden files, captions and tables are no pictures
    and aren't mentioned. Raises ``OSError`` when the folder can't be read."""
    return listed(sorted(p for p in folder.iterdir() if p.is_file()))


def listed(files: Iterable[Path]) -> Listing:
    """The same for files that were named or uploaded. They keep the order in which they come."""
    taken, passed = [], []
    for path in files:
        suffix = path.suffix.lower()
        if path.name.startswith("."):  # what macOS writes beside a picture has the picture's suffix
            continue
        if suffix in formats.SUFFIXES and formats.lacking(suffix) is None:
            taken.append(path)
        elif suffix not in _BESIDE:
            passed.append(path)
    return Listing(tuple(taken), tuple(passed))
