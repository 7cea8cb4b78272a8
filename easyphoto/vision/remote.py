"""The vision roles, served by a worker process in our own environment: a crash there is an error here, not a dead host.

    vision = RemoteVision(python=lambda: interpreter, settings={"models": str(models)})
    faces = vision.detector.detect(image)      # starts the worker on first need

The worker goes on running between calls. If it dies, the call under way fails with one sentence, and the next call
starts a new worker.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from easyphoto import errors, program
from easyphoto.errors import AssetMissing, EasyPhotoError, VisionFailed
from easyphoto.messages import Message, from_data
from easyphoto.ports import Calibration, Embedding, Face, FaceParts, Image, Mask, Points, Vision
from easyphoto.reporting import FaceReporter, ReporterVector
from easyphoto.storage.scratch import Scratch, sweep
from easyphoto.vision import protocol

log = logging.getLogger(__name__)

FACTORY = "easyphoto.vision.server:local_vision"
TIMEOUT = 300.0
"""How many seconds one call may take. The first call of a role loads its models."""
ATTRIBUTES = ("name", "calibration", "bends")
"""The attributes of roles that are no methods."""
_PREFIX = "easyphoto-vision-"
_START = "import sys; sys.path[:0] = sys.argv[1:]; from easyphoto.vision.server import main; main()"


class _Roles(ABC):
    """The roles as proxies, which pass their calls on through :meth:`call`."""

    def __init__(self) -> None:
        self.detector = RemoteDetector(self)
        self.landmarks = RemoteLandmarks(self)
        self.embedder = RemoteEmbedder(self)
        self.parser = RemoteParser(self)
        self.saliency = RemoteSaliency(self)
        self.retoucher = RemoteRetoucher(self)
        self.fuser = RemoteFuser(self)
        self.enhancer = RemoteEnhancer(self)

    @property
    def reporter(self) -> FaceReporter | None:
        """The worker's reporter, or None where it has none."""
        return None if self.attribute(RemoteReporter.role, "name") is None else RemoteReporter(self)

    @abstractmethod
    def call(self, role: str, what: str, *arguments: Any) -> Any:
        """Call a method of a role, or ask for the value of its attribute."""

    @abstractmethod
    def attribute(self, role: str, what: str) -> Any:
        """The value of a role's attribute. Each worker is asked once, because the next one may serve with other
        weights."""

    def backends(self) -> Mapping[str, str]:
        """The name of the backend that serves each role. The worker loads no model for this."""
        found: dict[str, str] = self.call("vision", "backends")
        return found


class RemoteVision(_Roles):
    """:class:`easyphoto.ports.Vision` over a worker process. Safe to use from several threads; calls take turns.

    ``python`` returns the interpreter that the worker is run with, or raises :class:`AssetMissing`, which says what to
    do. ``settings`` are the arguments of ``factory``, a ``module:function`` that the worker calls to make its vision.
    ``idle`` returns the seconds after which a worker ends that nobody uses, None for never.
    """

    def __init__(
        self,
        python: Callable[[], Path],
        settings: Mapping[str, Any],
        *,
        factory: str = FACTORY,
        timeout: float = TIMEOUT,
        idle: Callable[[], float | None] = lambda: None,
    ) -> None:
        super().__init__()
        self._python = python
        self._settings = dict(settings)
        self._factory = factory
        self._timeout = timeout
        self._idle = idle
        self._used = 0.0
        self._watch: threading.Timer | None = None
        self._lock = threading.Lock()
        self._worker: _Worker | None = None

    def preferring(self, backends: Mapping[str, str]) -> Vision:
        """The same worker with other first choices."""
        return _Preference(self, dict(backends))

    def release(self) -> None:
        """End the worker, which frees all its memory at once. The next call starts another worker."""
        with self._lock:
            self._stop()

    def call(self, role: str, what: str, *arguments: Any, preferring: Mapping[str, str] | None = None) -> Any:
        """Call a method of a role, or ask for the value of its attribute. ``preferring`` is what :meth:`preferring`
        takes.

        Raises the error of the backend if it is one of ours, :class:`VisionFailed` when the backend broke or the worker
        died, and :class:`AssetMissing` when there is no environment to run the worker in.
        """
        with self._lock:
            return self._ask(role, what, arguments, preferring or {})

    def attribute(self, role: str, what: str, *, preferring: Mapping[str, str] | None = None) -> Any:
        """What :meth:`call` returns, for a value that stays the same for as long as the worker lives."""
        key = (role, what, *sorted((preferring or {}).items()))
        with self._lock:
            if self._worker is None or not self._worker.alive or key not in self._worker.known:
                value = self._ask(role, what, (), preferring or {})
                assert self._worker is not None
                self._worker.known[key] = value
            return self._worker.known[key]

    def _ask(self, role: str, what: str, arguments: tuple[Any, ...], preferring: Mapping[str, str]) -> Any:
        """Ask the worker, and start one where none runs. The caller holds the lock."""
        if self._worker is None or not self._worker.alive:
            self._stop()
            self._worker = _Worker.start(self._python(), self._factory, self._settings)
        try:
            return self._worker.ask(role, what, arguments, self._timeout, preferring)
        except VisionFailed:
            if not self._worker.alive:
                self._stop()
            raise
        finally:
            self._used = time.monotonic()
            self._watch_idle()

    @property
    def pid(self) -> int | None:
        """The process id of the worker; None when none runs."""
        worker = self._worker
        return worker.process.pid if worker is not None and worker.alive else None

    @property
    def last_call(self) -> tuple[float, float]:
        """Of the last call: the seconds that the model took, and the CPU seconds that the worker spent on moving the
        values between the processes."""
        return self._worker.last_call if self._worker is not None else (0.0, 0.0)

    def _watch_idle(self) -> None:
        seconds = self._idle()
        if self._watch is None and self._worker is not None and seconds is not None:
            self._watch = threading.Timer(max(self._used + seconds - time.monotonic(), 0.01), self._end_if_idle)
            self._watch.daemon = True
            self._watch.start()

    def _end_if_idle(self) -> None:
        with self._lock:
            self._watch = None
            seconds = self._idle()
            if seconds is not None and time.monotonic() - self._used >= seconds:
                self._stop()
            else:
                self._watch_idle()

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None


class _Role:
    """What all roles have in common. ``name`` and the other attributes are those of the backend that serves now."""

    role = ""
    name: str

    def __init__(self, vision: _Roles) -> None:
        self.vision = vision

    def __getattr__(self, attribute: str) -> Any:
        if attribute not in ATTRIBUTES:
            raise AttributeError(attribute)
        return self.vision.attribute(self.role, attribute)


class RemoteDetector(_Role):
    role = "detector"

    def detect(self, image: Image) -> list[Face]:
        faces: list[Face] = self.vision.call(self.role, "detect", image)
        return faces

    def detect_near(self, image: Image, expected: Face) -> list[Face]:
        """See :func:`easyphoto.vision.detect_near`."""
        faces: list[Face] = self.vision.call(self.role, "detect_near", image, expected)
        return faces


class RemoteLandmarks(_Role):
    role = "landmarks"

    def locate(self, image: Image, face: Face) -> Points:
        points: Points = self.vision.call(self.role, "locate", image, face)
        return points


class RemoteEmbedder(_Role):
    role = "embedder"
    calibration: Calibration

    def embed(self, image: Image, face: Face) -> Embedding:
        vector: Embedding = self.vision.call(self.role, "embed", image, face)
        return vector

    def features(self, image: Image, face: Face) -> Embedding:
        """See :class:`easyphoto.ports.FeatureEmbedder`. Raises :class:`VisionFailed` where the backend can't."""
        vector: Embedding = self.vision.call(self.role, "features", image, face)
        return vector


class RemoteReporter(_Role):
    role = "reporter"
    calibration: Calibration

    def witness(self, image: Image, face: Face) -> ReporterVector:
        vector: ReporterVector = self.vision.call(self.role, "witness", image, face)
        return vector


class RemoteParser(_Role):
    role = "parser"

    def parse(self, image: Image, face: Face) -> FaceParts:
        parts: FaceParts = self.vision.call(self.role, "parse", image, face)
        return parts


class RemoteSaliency(_Role):
    role = "saliency"

    def mask(self, image: Image, face: Face | None) -> Mask:
        mask: Mask = self.vision.call(self.role, "mask", image, face)
        return mask


class RemoteRetoucher(_Role):
    role = "retoucher"

    def retouch(self, image: Image) -> Image:
        result: Image = self.vision.call(self.role, "retouch", image)
        return result


class RemoteFuser(_Role):
    role = "fuser"
    bends: bool

    def fuse(self, target: Image, target_face: Face, source: Image, source_face: Face) -> Image:
        result: Image = self.vision.call(self.role, "fuse", target, target_face, source, source_face)
        return result


class RemoteEnhancer(_Role):
    role = "enhancer"

    def enhance(self, image: Image, scale: float) -> Image:
        result: Image = self.vision.call(self.role, "enhance", image, scale)
        return result


class _Preference(_Roles):
    """A remote vision whose calls say which backends are wanted first."""

    def __init__(self, vision: RemoteVision, wanted: Mapping[str, str]) -> None:
        super().__init__()
        self._vision = vision
        self._wanted = wanted

    def call(self, role: str, what: str, *arguments: Any) -> Any:
        return self._vision.call(role, what, *arguments, preferring=self._wanted)

    def preferring(self, backends: Mapping[str, str]) -> Vision:
        return _Preference(self._vision, {**self._wanted, **backends})

    def release(self) -> None:
        self._vision.release()

    def attribute(self, role: str, what: str) -> Any:
        return self._vision.attribute(role, what, preferring=self._wanted)


class _Worker:
    """One worker process, its pipes and its memory."""

    def __init__(self, process: subprocess.Popen[bytes], scratch: Scratch) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.last_call = (0.0, 0.0)
        self._folder = folder = scratch.path
        self.known: dict[tuple[Any, ...], Any] = {}
        self._requests = process.stdin
        self._replies: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._writer = protocol.Writer(folder, "request")
        self._reader = protocol.Reader(folder)
        threading.Thread(target=_listen, args=(process.stdout, self._replies), daemon=True).start()
        # This also runs when the host's process ends and nobody called stop().
        self._finalizer = weakref.finalize(self, _clean_up, process, scratch)

    @classmethod
    def start(cls, python: Path, factory: str, settings: Mapping[str, Any]) -> _Worker:
        memory = _memory_folder()
        # Files in memory outlive a host that was killed together with its worker, so they are removed here.
        sweep(memory, _PREFIX)
        scratch = Scratch(memory, _PREFIX)
        try:
            with (scratch.path / "log.txt").open("wb") as errors:
                process = subprocess.Popen(
                    [str(python), "-c", _START, *program.import_path()],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=_child_variables(),
                    # The worker doesn't start where the host happens to be: whatever lies there could be imported.
                    cwd=program.FILES,
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
            worker = cls(process, scratch)
        except OSError as error:
            scratch.close()
            raise AssetMissing(
                "The vision worker can't be started with {python}: {reason}.", python=python, reason=error.strerror
            ) from error
        with contextlib.suppress(OSError):  # the first call reports a worker that died at once
            worker.greet(factory, settings)
        return worker

    def greet(self, factory: str, settings: Mapping[str, Any]) -> None:
        protocol.send(self._requests, {"folder": str(self._folder), "factory": factory, "settings": dict(settings)})

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ask(
        self, role: str, what: str, arguments: tuple[Any, ...], timeout: float, preferring: Mapping[str, str]
    ) -> Any:
        request = {"role": role, "what": what, "preferring": dict(preferring)}
        try:
            protocol.send(self._requests, {**request, **protocol.pack(list(arguments), self._writer)})
            reply = self._replies.get(timeout=timeout)
        except queue.Empty as error:
            self.stop()
            raise VisionFailed(
                "The vision worker did not answer within {timeout:g} s ({role}); try again.",
                timeout=timeout,
                role=Message(role),
            ) from error
        except OSError:
            reply = None
        if reply is None:
            raise VisionFailed(self._obituary(role))
        if "error" in reply:
            said = from_data(reply["said"]) if "said" in reply else reply["error"]
            raise _error_of(reply["code"], said, role)
        self.last_call = (reply["seconds"], reply["crossing"])
        return protocol.unpack(reply, self._reader)

    def _obituary(self, role: str) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()
        code = self.process.wait()
        how = (
            Message("was ended by signal {code}", code=-code)
            if code < 0
            else Message("ended with status {code}", code=code)
        )
        last = self._last_line()
        return Message(
            "The vision worker {how} while it served the {role}{last}; try again.",
            how=how,
            role=Message(role),
            last=": " + last if last else "",
        )

    def _last_line(self) -> str:
        try:
            lines = (self._folder / "log.txt").read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")

    def stop(self) -> None:
        self._writer.close()
        self._reader.close()
        self._finalizer()


def _listen(pipe: IO[bytes], replies: queue.Queue[dict[str, Any] | None]) -> None:
    """Put every reply into the queue, and None when no more will come."""
    try:
        while (message := protocol.receive(pipe)) is not None:
            replies.put(message)
    except (protocol.Broken, OSError, ValueError) as error:
        log.debug("the vision worker's pipe broke: %s", error)
    replies.put(None)


def _clean_up(process: subprocess.Popen[bytes], scratch: Scratch) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    scratch.close()


def _memory_folder() -> Path:
    """A folder that lies in memory, where the system has one; otherwise the usual folder for temporary files."""
    shared = Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).free > 2**30:
        return shared
    return Path(tempfile.gettempdir())


def _child_variables() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")}
    return kept | {"PYTHONUTF8": "1", "PYTHONSAFEPATH": "1"}


def _error_of(code: str, message: str, role: str) -> EasyPhotoError:
    """The error in the worker's reply, of the class that it had there."""
    kind = errors.of(code, VisionFailed)
    return (
        kind(message)
        if kind.code == code
        else VisionFailed("The {role} failed: {message}", role=Message(role), message=message)
    )
