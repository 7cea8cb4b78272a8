"""The workers of a cluster: who is free, who was lost, and who takes their place."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import easyphoto
from easyphoto.errors import Cancelled, EasyPhotoError, HostFailed
from easyphoto.fleet.actor import Hello, Terms
from easyphoto.fleet.cluster import Cluster, Hand, Lost

_log = logging.getLogger(__name__)

FIRST = 180.0
"""Seconds in which the first worker must have begun."""
LOOK = 0.1
"""Seconds between two looks at who is free."""
ROUNDS = 3.0
"""Seconds between two looks at which nodes there are."""
PATIENCE = 15.0
"""Seconds without a free worker after which it is told."""


class Crew:
    """``size`` workers on ``cluster``; None for one a card, or one a node where no node has a card.

    A worker that has no node yet begins when one comes, so that ``size`` may be more than there is room for now.
    """

    def __init__(self, cluster: Cluster, terms: Terms, size: int | None = None) -> None:
        self._cluster, self._terms = cluster, terms
        nodes = cluster.nodes()
        cards = int(sum(node["GPU"] for node in nodes.values()))
        self.size = size or cards or max(len(nodes), 1)
        self._gpus = 1 if cards else 0
        self._cpus = 1 if cards else _share(nodes, self.size)
        self._lock = threading.Lock()
        self._busy: set[Hand] = set()
        self._known: set[str] = set()
        self._closed = threading.Event()
        self._look_at_nodes()
        self._hands = [self._hired() for _ in range(self.size)]
        threading.Thread(target=self._watch, name="easyphoto-fleet", daemon=True).start()

    def _hired(self) -> Hand:
        return self._cluster.hire(self._terms, self._cpus, self._gpus)

    def wait_for_first(self) -> None:
        """Until somebody can work. Raises :class:`HostFailed` when nobody can, with the reason."""
        end = time.monotonic() + FIRST
        while time.monotonic() < end:
            if self._free() is not None:
                return
            time.sleep(LOOK)
        raise HostFailed(
            "No worker began within {seconds:.0f} seconds: each wants {cpus} CPUs and {gpus} cards of one node.",
            seconds=FIRST,
            cpus=self._cpus,
            gpus=self._gpus,
        )

    @contextmanager
    def borrowed(self, cancelled: Callable[[], bool], waiting: Callable[[], None]) -> Iterator[tuple[Hand, Hello]]:
        """A worker for oneself. ``waiting`` is called once where none is free for long. A block that is left by
        :class:`Lost` has another hired in the place of that worker. Raises :class:`Cancelled`."""
        hand, hello = self._taken(cancelled, waiting)
        try:
            yield hand, hello
        except Lost:
            self._replace(hand)
            raise
        finally:
            with self._lock:
                self._busy.discard(hand)

    def _taken(self, cancelled: Callable[[], bool], waiting: Callable[[], None]) -> tuple[Hand, Hello]:
        began, told = time.monotonic(), False
        while True:
            if cancelled():
                raise Cancelled("Cancelled before it began.")
            found = self._free(take=True)
            if found is not None:
                if found[0].alive():
                    return found
                self._replace(found[0])
                continue
            if not told and time.monotonic() - began > PATIENCE:
                told = True
                waiting()
            time.sleep(LOOK)

    def _free(self, *, take: bool = False) -> tuple[Hand, Hello] | None:
        """Somebody who can work and does not, if there is anybody. Raises what keeps workers from beginning."""
        with self._lock:
            idle = [hand for hand in self._hands if hand not in self._busy]
        for hand in idle:
            try:
                hello = hand.hello()
            except (Lost, EasyPhotoError) as error:
                self._replace(hand)
                if isinstance(error, EasyPhotoError):
                    raise
                continue
            if hello is None:
                continue
            if hello.version != easyphoto.__version__:
                raise HostFailed(
                    "The node {node} has EasyPhoto {there}, and here is {here}: install the same on all.",
                    node=hello.node,
                    there=hello.version,
                    here=easyphoto.__version__,
                )
            with self._lock:
                if hand in self._busy or hand not in self._hands:
                    continue
                if take:
                    self._busy.add(hand)
            return hand, hello
        return None

    def _replace(self, hand: Hand) -> None:
        """Somebody else for a worker that is lost. What that one left on its node is removed."""
        hand.dismiss()
        with self._lock:
            self._busy.discard(hand)
            if hand not in self._hands or self._closed.is_set():
                return
            self._hands[self._hands.index(hand)] = self._hired()
        self._look_at_nodes(again=True)

    def _watch(self) -> None:
        while not self._closed.wait(ROUNDS):
            try:
                self._look_at_nodes()
            except HostFailed as error:
                _log.warning("%s", error)

    def _look_at_nodes(self, *, again: bool = False) -> None:
        """A node that has come, or come back, may hold what was left there when it was lost. ``again``: so may all."""
        if self._terms.share == "folder":
            return
        there = set(self._cluster.nodes())
        with self._lock:
            fresh = there if again else there - self._known
            self._known = there
        for node in fresh:
            self._cluster.sweep(node)

    @property
    def closed(self) -> bool:
        """Whether everybody was let go."""
        return self._closed.is_set()

    def close(self) -> None:
        """Let everybody go."""
        self._closed.set()
        for hand in self._hands:
            hand.dismiss()


def _share(nodes: dict[str, dict[str, float]], size: int) -> int:
    """How many CPUs each of ``size`` workers gets: an even share, and not more than the smallest node has."""
    smallest = min((node["CPU"] for node in nodes.values() if node["CPU"] >= 1), default=1.0)
    total = sum(node["CPU"] for node in nodes.values())
    return max(1, int(min(total // size, smallest)))
