"""Finds the motion modules that lie in the program's folders."""

from __future__ import annotations

from pathlib import Path

from easyphoto import families, naming
from easyphoto.catalog import Catalog, Folders
from easyphoto.catalog.download_plan import size
from easyphoto.catalog.model_folders import KINDS
from easyphoto.config import Family, Paths
from easyphoto.errors import AssetMissing
from easyphoto.families.spec import Animation
from easyphoto.hosts.embedded import library

FOLDER = KINDS["motion"]
"""The name of the folder of motion modules, which lies in the models folder."""
SHIPPED = "bench-motion"
"""The folder of the bench checkpoint's own module, beside the checkpoint."""


def find(paths: Paths, family: Family, wanted: str | Path | None = None) -> Path:
    """The motion module that ``wanted`` names (a path is taken as it is), or the best one for ``family``.

    Raises :class:`AssetMissing` with one sentence: for a family for which there are none, for a name that nothing has,
    and, where there is no module, with what is needed and what it costs to download.
    """
    animation = families.animation(family)
    if isinstance(wanted, Path):
        if not wanted.exists():
            raise AssetMissing("There is no motion module at {path}.", path=wanted)
        return wanted
    if wanted:
        return library.named(paths.models / FOLDER, wanted, "motion module", f"models/{FOLDER}")
    return _best(paths, family, animation) or _elsewhere(paths, family, animation)


def _best(paths: Paths, family: Family, animation: Animation) -> Path | None:
    shipped = paths.bench.with_name(SHIPPED)
    if families.spec(family).shipped and (shipped / "config.json").is_file():
        return shipped
    listed = [entry.value for entry in naming.listed(paths.models / FOLDER)]
    return next((path for name in animation.modules.names for path in listed if library.called(path, name)), None)


def _elsewhere(paths: Paths, family: Family, animation: Animation) -> Path:
    """The published module wherever the catalog finds it; :class:`AssetMissing` where it is nowhere."""
    title = families.spec(family).title
    if not animation.bundle:
        raise AssetMissing(
            "To draw a clip, {family} needs a motion module, which isn't here: train one as docs/clips.md says, or put "
            "one into models/{folder}.",
            family=title,
            folder=FOLDER,
        )
    plan = Catalog.load().plan(animation.bundle, Folders.of(paths), hashing=False)
    if not plan.missing:
        return plan.present[0].path
    raise AssetMissing(
        "To draw a clip, {family} models need the motion module {file}: `python -m easyphoto models fetch {bundle}` "
        "downloads it ({size}) into models/{folder}.",
        family=title,
        file=plan.missing[0].file,
        bundle=animation.bundle,
        size=size(sum(asset.bytes for asset in plan.missing)),
        folder=FOLDER,
    )
