"""The host's base models, by the names that people call them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from easyphoto import naming
from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.messages import Message, joined
from easyphoto.ports import BrokenModel, Checkpoint, Host, TellsBroken


class NoSuchModel(InvalidRequest):
    """The host has no base model of that name."""


class BaseModels:
    """What ``host`` has to make pictures with. Its answers are asked for at each call: files come and go."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def usable(self) -> list[Checkpoint]:
        """The base models that can be used, the default first."""
        return self._host.checkpoints()

    def broken(self) -> list[BrokenModel]:
        """What lies among the base models and can't be used, and why."""
        return self._host.broken_checkpoints() if isinstance(self._host, TellsBroken) else []

    def named(self, name: str) -> Checkpoint:
        """The base model that ``name`` means (:mod:`easyphoto.naming`), or the default for an empty name.

        :class:`InvalidRequest` where there is none, with the reason where it is broken; :class:`AmbiguousName` where
        two could be meant.
        """
        known = self.usable()
        if not name and known:
            return known[0]
        broken = self.broken()
        named: list[naming.Named[Checkpoint | BrokenModel]] = [
            *map(_listed, known),
            *(naming.Named[Checkpoint | BrokenModel](b.name, b) for b in broken),
        ]
        found = naming.find(name, named, "base model") if name else None
        if isinstance(found, Checkpoint):
            return found
        if isinstance(found, BrokenModel):
            raise InvalidRequest(
                "The base model {found} can't be used: {reason}", found=found.name, reason=found.reason
            )
        if not known:
            raise InvalidRequest(_no_base_model(broken))
        close = naming.near(name, [entry.name for entry in named]) or [c.name for c in known[:8]]
        raise NoSuchModel(
            Message("There is no base model {name!r}; there are: {close}.", name=name, close=", ".join(close))
        )

    def trained_on(self, file: Path, family: Family) -> Checkpoint:
        """The base model of an earlier training, whose file was ``file``, as the host knows it now."""
        known = [c for c in self.usable() if c.family is family]
        same = [c for c in known if c.path == file]
        same = same or [c for c in known if c.path.name == file.name]
        if len(same) != 1:
            raise InvalidRequest(
                "The base model {checkpoint} of the earlier training can't be found: put it back, or "
                "train again without resume.",
                checkpoint=file.name,
            )
        return same[0]

    def of_family(self, family: Family | None, name: str) -> Checkpoint:
        """The base model of ``family`` that ``name`` means, else the first of that family, else the default."""
        of_family = [c for c in self.usable() if c.family is family]
        found = naming.find(name, map(_listed, of_family), "base model") if name else None
        return found or (of_family[0] if of_family else self.named(""))


def _listed(checkpoint: Checkpoint) -> naming.Named[Any]:
    return naming.Named(checkpoint.name, checkpoint, (*checkpoint.aliases, str(checkpoint.path)))


def _no_base_model(broken: Sequence[BrokenModel]) -> str:
    sentence = Message("There is no base model: put a Stable Diffusion checkpoint into the models folder.")
    if not broken:
        return sentence
    reasons = joined([b.reason for b in broken[:4]], " ")
    return Message("There is no base model that can be used: {reasons}", reasons=reasons)
