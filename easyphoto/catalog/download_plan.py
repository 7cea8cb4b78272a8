"""What a feature needs, which of it is there, and what the rest would cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from easyphoto.catalog.assets import Asset
from easyphoto.messages import Message


@dataclass(frozen=True)
class Present:
    """An asset that is there. ``how`` says whether it was found by its "name" or by its "hash"."""

    asset: Asset
    path: Path
    how: str


@dataclass(frozen=True)
class FileVerdict:
    """A file under an asset's name, and the ``reason`` why it can't be used; None when it can."""

    asset: Asset
    path: Path
    reason: str | None

    def __str__(self) -> str:
        return f"{self.path} {self.reason or 'is whole and the file that is expected'}."


@dataclass(frozen=True)
class DownloadPlan:
    """Which assets of ``names`` are ``present`` and which are ``missing``. ``unusable`` are files that have the name of
    an asset but are not it. ``left_out`` are assets that may not be used commercially, where only that is allowed.
    ``begun`` counts the bytes of the missing ones that are there already."""

    names: tuple[str, ...]
    present: tuple[Present, ...]
    missing: tuple[Asset, ...]
    unusable: tuple[FileVerdict, ...] = ()
    left_out: tuple[Asset, ...] = ()
    begun: int = 0

    @property
    def bytes(self) -> int:
        """How many bytes are still to be downloaded."""
        return max(0, sum(a.bytes for a in self.missing) - self.begun)

    @property
    def exact(self) -> bool:
        """Whether :attr:`bytes` is exact: every size is publicly known."""
        return not any(a.about for a in self.missing)

    @property
    def licences(self) -> dict[str, tuple[str, ...]]:
        """The licences of the missing assets: licence -> names of the assets under it."""
        found: dict[str, list[str]] = {}
        for asset in self.missing:
            found.setdefault(asset.licence, []).append(asset.name)
        return {licence: tuple(names) for licence, names in found.items()}

    def sentence(self) -> str:
        """Return what this plan comes to, as one sentence for a user."""
        names = ", ".join(self.names)
        if not self.missing:
            return Message("{names}: everything is there ({count} files).", names=names, count=len(self.present))
        much = size(self.bytes) if self.exact else Message("about {size}", size=size(self.bytes))
        text = Message("{names}: {count} files to download, {much}", names=names, count=len(self.missing), much=much)
        if not self.present:
            return Message("{text}.", text=text)
        return Message("{text}, {count} are there.", text=text, count=len(self.present))


def size(count: float) -> str:
    """Return a number of bytes as people read it: ``1.4 GB``, in powers of ten as on disks."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
