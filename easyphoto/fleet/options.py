"""What one chooses of a cluster; costs no import of Ray, nor of the program's own rooms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

LOCAL = "local"
"""The address of a cluster that is this machine alone and ends with the program."""
Share: TypeAlias = Literal["folder", "ray"]
SHARES: tuple[Share, ...] = ("folder", "ray")


@dataclass(frozen=True)
class FleetOptions:
    """``address``: of a Ray cluster, :data:`LOCAL` for one on this machine. ``share``: whether the workers see the
    data folder under the same path (``folder``) or get what they need by Ray (``ray``); None takes ``folder`` for a
    local cluster and ``ray`` for another. ``workers``: how many; None for one a card, or one a node without cards."""

    address: str = LOCAL
    share: Share | None = None
    workers: int | None = None

    @property
    def shared(self) -> Share:
        """What ``share`` means here."""
        return self.share or ("folder" if self.address == LOCAL else "ray")
