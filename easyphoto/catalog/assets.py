"""What an asset is, and the data file that lists them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easyphoto.catalog.addresses import expand
from easyphoto.catalog.model_folders import KINDS

DATA = Path(__file__).with_name("catalog.json")


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One file of weights, or a picture that serves as a template.

    ``file`` is its name on disk, ``folder`` one of the kinds in :data:`easyphoto.catalog.model_folders.KINDS`, and
    ``under`` a subfolder of that, or "". ``also`` are the names of other files that serve as well. ``bytes`` is the
    exact size, unless ``about`` is true. ``sha256`` is in lower-case hexadecimal where it is publicly known, and
    ``sha256_from`` says who published it; else it is None, and the first download records it. ``instead`` names the
    asset that takes its place where only commercial use is allowed. If ``by_folder`` is true, the file's name is so
    common that it is looked for in ``under`` only. If ``optional`` is true, the feature works without it. ``credit``
    says who made it, where that is to be told.
    """

    name: str
    file: str
    folder: str
    what: str
    bytes: int
    licence: str
    commercial: bool
    sources: tuple[str, ...]
    under: str = ""
    about: bool = False
    sha256: str | None = None
    sha256_from: str = ""
    also: tuple[str, ...] = ()
    instead: str | None = None
    optional: bool = False
    by_folder: bool = False
    credit: str = ""

    def __post_init__(self) -> None:
        if self.folder not in KINDS:
            raise ValueError(f"{self.name}: no folder {self.folder!r}")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"{self.name}: {self.sha256!r} is no sha256")
        if self.bytes <= 0 or len(self.urls({})) < 2 or not self.licence:
            raise ValueError(f"{self.name}: needs a size, two addresses and a licence")

    def urls(self, environment: Mapping[str, str] | None = None) -> list[str]:
        """The addresses to try, in order: those of ``sources``, and then the mirror of each one at Hugging Face."""
        return expand(self.sources, environment)

    @property
    def size(self) -> int | None:
        """The exact size in bytes, or None where it is not publicly known."""
        return None if self.about else self.bytes


@dataclass(frozen=True)
class Bundle:
    """The names of the assets that one feature needs. ``used_by`` names the modules that look these files up.
    ``planned`` means that no module does so yet: the bundle is neither listed nor fetched."""

    name: str
    what: str
    assets: tuple[str, ...]
    used_by: tuple[str, ...] = ()
    planned: bool = False


def read(path: Path = DATA) -> tuple[dict[str, Asset], dict[str, Bundle]]:
    """Return the assets and bundles of a data file by name, in the order of the file. Raises ValueError when it
    contradicts itself."""
    data: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
    assets = {row["name"]: Asset(**{k: _frozen(v) for k, v in row.items()}) for row in data["assets"]}
    bundles = {row["name"]: Bundle(**{k: _frozen(v) for k, v in row.items()}) for row in data["bundles"]}
    if len(assets) != len(data["assets"]) or len(bundles) != len(data["bundles"]):
        raise ValueError(f"{path.name} has a name twice")
    named = {n for b in bundles.values() for n in b.assets} | {a.instead for a in assets.values() if a.instead}
    if unknown := named - set(assets):
        raise ValueError(f"{path.name} names assets that it does not have: {sorted(unknown)}")
    return assets, bundles


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
