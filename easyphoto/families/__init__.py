"""The families of models that the program knows. Each has its own module; a new family is one more module and one more
entry in the registry here.

Only these modules and the strategies of :mod:`easyphoto.sd` say what a family is like. Everybody else asks :func:`spec`
for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from easyphoto.config import Family
from easyphoto.errors import AssetMissing
from easyphoto.families import bench, sd1, sd2, sdxl
from easyphoto.families.spec import Animation, FamilySpec

__all__ = ["FamilySpec", "Registry", "animation", "known", "named", "of_width", "registered", "shipped", "spec"]


class Registry:
    """The families by their names. No two of them may have the same name or be recognised by the same width."""

    def __init__(self, specs: Iterable[FamilySpec]) -> None:
        self._specs: dict[Family, FamilySpec] = {}
        for family in specs:
            self.add(family)

    def add(self, family: FamilySpec) -> None:
        """Add a family. Raises ValueError when another one has its name or its width."""
        for other in self._specs.values():
            if other.family == family.family or other.header.context == family.header.context:
                raise ValueError(f"the family {family.family} is too much like {other.family}")
        self._specs[family.family] = family

    def remove(self, family: Family) -> None:
        del self._specs[family]

    def __iter__(self) -> Iterator[FamilySpec]:
        return iter(self._specs.values())

    def get(self, family: str) -> FamilySpec | None:
        return self._specs.get(Family(family))


_FAMILIES = Registry((sd1.SPEC, sd2.SPEC, sdxl.SPEC, bench.SPEC))


def known() -> tuple[FamilySpec, ...]:
    """All families, in the order in which they are shown."""
    return tuple(_FAMILIES)


def spec(family: Family) -> FamilySpec:
    """All that is particular to ``family``. Raises KeyError for a family that nobody registered."""
    found = _FAMILIES.get(family)
    if found is None:
        raise KeyError(family)
    return found


def animation(family: Family) -> Animation:
    """How models of ``family`` are brought into motion. Raises :class:`AssetMissing` where nothing does that."""
    found = spec(family).animation
    if found is None:
        raise AssetMissing(
            "There are no motion modules for {family} models: choose another base model to draw a clip.",
            family=spec(family).title,
        )
    return found


def named(name: str) -> Family:
    """The family of that name. Raises ValueError when there is none."""
    if _FAMILIES.get(name) is None:
        raise ValueError(f"there is no family {name!r}")
    return Family(name)


def of_width(width: int) -> Family | None:
    """The family whose UNets attend to a text of that ``width``, or None when there is none."""
    return next((found.family for found in _FAMILIES if found.header.context == width), None)


def shipped() -> FamilySpec:
    """The family whose checkpoint comes with the program."""
    return next(found for found in _FAMILIES if found.shipped)


@contextmanager
def registered(family: FamilySpec) -> Iterator[None]:
    """A context: the program knows one more family for as long as the block lasts."""
    _FAMILIES.add(family)
    try:
        yield
    finally:
        _FAMILIES.remove(family.family)
