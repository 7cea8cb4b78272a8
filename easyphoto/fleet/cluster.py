"""Ray, and nothing of it anywhere else: a cluster that is joined or started, its nodes, and workers on them."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from easyphoto import program
from easyphoto.errors import AssetMissing, Cancelled, EasyPhotoError, HostFailed
from easyphoto.fleet.actor import Errand, FleetActor, Hello, Terms
from easyphoto.fleet.options import LOCAL
from easyphoto.fleet.parcel import Told

POLL = 0.1
"""Seconds between two looks at whether a request was cancelled."""
GRACE = 180.0
"""Seconds that a worker has to stop a request that was cancelled; then it is ended."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
"""Nothing is told to anybody, and nothing is guessed of how the program was started."""


class Lost(Exception):
    """A worker, or the node that it was on, is gone; the sentence says which."""


class Cluster:
    """A cluster of Ray. ``address``: :data:`LOCAL` starts one on this machine, anything else is joined.

    Raises :class:`AssetMissing` when there is no Ray, :class:`HostFailed` when there is no cluster at ``address``.
    """

    def __init__(self, address: str) -> None:
        self._folder: Path | None = None
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        if address == LOCAL:
            # Everything on the loopback interface, and nobody else on this machine is let in.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # a process of Ray's reads it once
        try:
            import ray
        except ImportError as error:
            raise AssetMissing("A cluster needs the package ray: pip install 'easyphoto[ray]'.") from error
        self._ray: Any = ray
        with _signals_kept():
            self._init(address)

    def _init(self, address: str) -> None:
        common = {"logging_level": "ERROR", "log_to_driver": False, "configure_logging": False}
        try:
            if address == LOCAL:
                self._folder = Path(tempfile.mkdtemp(prefix="ep-ray-", dir=_short()))
                self._ray.init(include_dashboard=False, _temp_dir=str(self._folder), **common)
            else:
                self._ray.init(address=address, **common)
        except Exception as error:  # ray raises whatever its parts do: connection, runtime and value errors alike
            self.close()
            raise HostFailed(
                "There is no Ray cluster at {address}: {reason}.", address=address, reason=_first_line(error)
            ) from error

    # --- nodes -------------------------------------------------------------------------------------------------------

    def nodes(self) -> dict[str, dict[str, float]]:
        """What each node that is there has of CPUs and GPUs, by its id. Raises :class:`HostFailed`."""
        with self._answers():
            return {
                node["NodeID"]: {name: float(node["Resources"].get(name, 0)) for name in ("CPU", "GPU")}
                for node in self._ray.nodes()
                if node["Alive"]
            }

    def sweep(self, node: str) -> None:
        """Have what workers that are gone left on a node removed, and don't wait for it."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            swept = self._ray.remote(num_cpus=0, max_retries=0)(_swept)
            swept.options(scheduling_strategy=there).remote()

    # --- workers -----------------------------------------------------------------------------------------------------

    def hire(self, terms: Terms, cpus: int, gpus: int) -> Hand:
        """A new worker that has so many CPUs and cards for itself. It begins when some node has them free."""
        actor = self._ray.remote(
            num_cpus=cpus,
            num_gpus=gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            concurrency_groups={"talk": 2},
            runtime_env={"env_vars": {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": _python_path()}},
        )(FleetActor)
        return Hand(self._ray, actor.remote(terms))

    @contextlib.contextmanager
    def _answers(self) -> Iterator[None]:
        try:
            yield
        except self._ray.exceptions.RayError as error:
            raise HostFailed("The Ray cluster doesn't answer: {reason}.", reason=_first_line(error)) from error

    def close(self) -> None:
        """Leave the cluster, and end it where it was started here."""
        with _signals_kept():
            self._ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class Hand:
    """The head's end of a worker. :class:`Lost` is raised by whatever is asked of one that is gone."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor
        self._greeting = self._hello()

    def _hello(self) -> Any:
        return self._actor.hello.options(concurrency_group="talk").remote()

    def hello(self, wait: float = 0.0) -> Hello | None:
        """Who it is, None while it hasn't begun. Raises the worker's own error when it can't begin."""
        try:
            ready, _ = self._ray.wait([self._greeting], timeout=wait)
            return self._ray.get(self._greeting) if ready else None
        except self._ray.exceptions.RayError as error:
            raise self._what(error) from error

    def alive(self, wait: float = 20.0) -> bool:
        """Whether it answers now."""
        try:
            self._ray.get(self._hello(), timeout=wait)
        except self._ray.exceptions.RayError:
            return False
        return True

    def run(self, errand: Errand, cancelled: Callable[[], bool]) -> Iterator[Told]:
        """What is told of a request while the worker does it. Raises :class:`Lost`, and :class:`Cancelled` when it
        does not stop long after it was asked to."""
        stream = self._actor.run.options(num_returns="streaming").remote(errand)
        asked: float | None = None
        try:
            while True:
                if asked is None and cancelled():
                    asked = time.monotonic()
                    self._actor.cancel.options(concurrency_group="talk").remote(errand.request.job)
                if asked is not None and time.monotonic() - asked > GRACE:
                    self.dismiss()
                    raise Cancelled("The worker did not stop, so it was ended.")
                ready, _ = self._ray.wait([stream], timeout=POLL)
                if ready:
                    yield from self._ray.get(next(stream))
        except StopIteration:
            return
        except self._ray.exceptions.RayError as error:
            raise self._what(error) from error

    def dismiss(self) -> None:
        """End it, whatever it does. May be called again."""
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(self._actor, no_restart=True)

    def _what(self, error: Any) -> Exception:
        """A worker that is lost, or what was raised in it."""
        cause = getattr(error, "cause", None)
        if isinstance(cause, EasyPhotoError):
            return cause
        if isinstance(error, self._ray.exceptions.RayTaskError) or getattr(error, "actor_init_failed", False):
            return HostFailed("The worker failed: {reason}.", reason=_first_line(cause or error))
        return Lost(_first_line(error))


def _swept() -> int:
    from easyphoto.fleet import lodging

    return lodging.sweep(lodging.root())


def _python_path() -> str:
    """What a worker imports from: the same as this program, where that is no installed one."""
    return os.pathsep.join([*program.import_path(), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])


def _short() -> str | None:
    """A folder for sockets, whose paths may have a hundred bytes; None for the usual one."""
    return "/tmp" if len(os.fsencode(tempfile.gettempdir())) > 24 and Path("/tmp").is_dir() else None


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".: ")


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes the signals that end a program; ours have an end of their own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
