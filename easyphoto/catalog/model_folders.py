"""The folders that weights are downloaded to, and those in which they are looked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from easyphoto.config import Paths

KINDS: Mapping[str, str] = {
    "checkpoint": "Stable-diffusion",
    "vae": "VAE",
    "lora": "Lora",
    "controlnet": "ControlNet",
    "clip_vision": "clip_vision",
    "motion": "AnimateDiff",
    "openpose": "annotators/openpose",
    "insightface": "insightface",
    "esrgan": "ESRGAN",
    "modelscope": "modelscope",
    "tokenizer": "tokenizer",
    "template": "EasyPhoto/templates",
    "easyphoto": "",
}
"""Kind of folder -> its name under a models folder: the names that every WebUI uses, and one of our own."""

PLAIN = frozenset({"template", "tokenizer"})
"""The kinds of which a file is looked for at its own place alone: a models folder may hold thousands of pictures, and
many files called ``vocab.json``, that have nothing to do with us."""

ALSO_LOOK = "EASYPHOTO_MODEL_FOLDERS"
"""The environment variable that names more folders in which to look for weights, separated like those of PATH."""


@dataclass(frozen=True)
class Folders:
    """The folders of one host. ``destinations`` says for each kind where a download goes. ``search`` are the folders
    that are looked through, with all that lies below them. ``root`` is where the record of checksums and the lock
    lie."""

    root: Path
    destinations: Mapping[str, Path]
    search: tuple[Path, ...]

    @classmethod
    def of(cls, paths: Paths, also: Iterable[Path] = (), moved: Mapping[str, Path] | None = None) -> Folders:
        """Return the folders of ``paths``. ``also`` are folders of the host to look through (its models, and
        ControlNet's models and annotators). ``moved`` are the kinds that the host keeps in other places."""
        destinations = {kind: paths.models / name for kind, name in KINDS.items()}
        destinations["lora"] = paths.loras
        destinations |= dict(moved or {})
        named = [Path(p) for p in os.environ.get(ALSO_LOOK, "").split(os.pathsep) if p]
        search = [paths.models, *destinations.values(), *also, *named]
        return cls(paths.models, destinations, _outermost(search))

    @classmethod
    def under(cls, models: Path) -> Folders:
        """Return the folders of a models folder that stands alone."""
        named = [Path(p) for p in os.environ.get(ALSO_LOOK, "").split(os.pathsep) if p]
        return cls(models, {kind: models / name for kind, name in KINDS.items()}, _outermost([models, *named]))


def _outermost(folders: Iterable[Path]) -> tuple[Path, ...]:
    """Return each folder once, without those that lie inside another one of them."""
    whole = list(dict.fromkeys(f.expanduser().resolve() for f in folders))
    return tuple(f for f in whole if not any(other in f.parents for other in whole))
