"""Make an environment: ask what the host's Python has, make a virtual environment, run pip, and check the result."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from easyphoto.environment import places
from easyphoto.environment.exclusive import exclusive
from easyphoto.environment.packages import PackageSet, choose
from easyphoto.environment.places import FOLDER, Status, status
from easyphoto.errors import AssetMissing, Cancelled, StorageFailed
from easyphoto.events import Listener, Progress
from easyphoto.messages import Message

FALLBACK = "easyphoto-host.pth"
WAITING = "Another process is making EasyPhoto's own environment: waiting for it"
KEPT = ("torch", "torchvision", "numpy", "protobuf", "xformers")
"""If the host has one of these packages, our environment uses the host's: pip may neither replace it nor add a second
one."""
UNREACHABLE = ("after connection broken by", "Max retries exceeded", "ProxyError", "NameResolutionError")
"""Pieces of what pip prints, among much else, when there is no network."""
NEEDED = ("torch", "numpy", "PIL", "cv2", "diffusers", "transformers", "peft", "accelerate", "dlib", "safetensors")

_FACTS = """
import importlib.metadata as m, importlib.util as u, json, site, sys, sysconfig
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
paths = sysconfig.get_paths()
folders = [paths["purelib"], paths["platlib"]] + [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
print(json.dumps({
    "python": list(sys.version_info[:2]), "executable": sys.executable,
    "versions": {n: version(n) for n in %r},
    "folders": list(dict.fromkeys(folders)),
    "has": {n: u.find_spec(n) is not None for n in ("cv2", "venv", "ensurepip")},
}))
"""


@dataclass(frozen=True)
class HostPython:
    """What the host's Python is and which packages it has, as that Python reports."""

    executable: str
    python: tuple[int, int]
    versions: dict[str, str | None]
    folders: tuple[str, ...]
    has: dict[str, bool]


def inspect(python: str = sys.executable) -> HostPython:
    """Ask a Python what it is and which packages it has. Raises AssetMissing if it can't be run."""
    try:
        answer = subprocess.run(
            [python, "-c", _FACTS % (KEPT,)], capture_output=True, text=True, encoding="utf-8", env=_plain(), check=True
        )
        facts = json.loads(answer.stdout.splitlines()[-1])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as error:
        raise AssetMissing("The WebUI's Python {python} can't be run: {error}.", python=python, error=error) from error
    return HostPython(
        facts["executable"], tuple(facts["python"]), facts["versions"], tuple(facts["folders"]), facts["has"]
    )


def ensure(
    listener: Listener | None, cancelled: Callable[[], bool], *, folder: Path = FOLDER, torch: str | None = None
) -> Path:
    """Return the interpreter of the environment, and make the environment first if it isn't ready. Raises what
    :func:`create` raises."""
    known = status(folder, torch)
    if known.python is None:
        known = create(listener, cancelled, folder=folder)
    else:
        places.sweep_when_idle(folder)
    if known.python is None:
        raise AssetMissing(known.sentence)
    return known.python


def create(
    listener: Listener | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    *,
    folder: Path = FOLDER,
    host: str = sys.executable,
) -> Status:
    """Make the environment, or bring it up to date. Nothing changes outside ``folder`` and the folders of the same name
    beside it.

    An environment that is there already stays in use, and unchanged, until the new one is complete. If another process
    is making one, this function waits for it and takes the result. ``listener`` gets Progress events of the stage
    "environment"; ``cancelled`` is asked a few times a second. Raises AssetMissing with one sentence if a step fails,
    StorageFailed if the folder can't be written, and Cancelled if ``cancelled`` said so; the unfinished environment is
    then removed.
    """
    tell = _Teller(listener)
    tell(Message("Looking at the WebUI's Python"))
    facts = inspect(host)
    if not facts.versions.get("torch"):
        raise AssetMissing(
            "{executable} has no torch: give the Python of the WebUI, for example venv/bin/python.",
            executable=facts.executable,
        )
    if not (facts.has["venv"] and facts.has["ensurepip"]):
        raise AssetMissing(
            "{executable} comes without the venv module, which EasyPhoto's own environment "
            "needs: install Python {major}.{minor} from python.org and make the WebUI's "
            "environment with it.",
            executable=facts.executable,
            major=facts.python[0],
            minor=facts.python[1],
        )
    torch = facts.versions["torch"] or ""
    packages = choose(torch)
    with _alone(folder, tell, cancelled) as waited:
        current = places.current(folder, facts.python, torch)
        stamp = None if current is None else places.read_stamp(current)
        if not (waited and stamp is not None and stamp.fits(facts.python, torch)):
            places.sweep(folder, keep=current)
            made = 1 + max((s.made for s in map(places.read_stamp, places.found(folder)) if s is not None), default=0)
            place = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}") if os.path.lexists(folder) else folder
            stamp = places.Stamp(packages.name, packages.requirements, facts.python, torch, facts.executable, made)
            try:
                _make(facts, packages, place, tell, cancelled)
                places.write_stamp(place, stamp)
            except BaseException as error:
                shutil.rmtree(place, ignore_errors=True)
                if isinstance(error, OSError):
                    raise _unwritable(folder, error) from error
                raise
    tell("Ready")
    return places.status_for(folder, facts.python, torch)


@contextlib.contextmanager
def _alone(folder: Path, tell: _Teller, cancelled: Callable[[], bool]) -> Iterator[bool]:
    """Keep everybody else from making or sweeping environments meanwhile. Gives whether somebody else did so just
    before."""

    def waiting() -> None:
        if cancelled():
            raise Cancelled("Making EasyPhoto's own environment was cancelled.")
        tell.once(WAITING)

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = exclusive(places.lock(folder), waiting)
        waited = lock.__enter__()
    except OSError as error:
        raise _unwritable(folder, error) from error
    with contextlib.ExitStack() as stack:
        stack.push(lock)
        yield waited


def _unwritable(folder: Path, error: OSError) -> StorageFailed:
    return StorageFailed(
        "EasyPhoto's own environment can't be made: {parent} can't be written ({reason}).",
        parent=folder.parent,
        reason=error.strerror or error,
    )


def _make(facts: HostPython, packages: PackageSet, folder: Path, tell: _Teller, cancelled: Callable[[], bool]) -> None:
    python = str(places.python_in(folder))
    tell("Making the environment")
    _run([facts.executable, "-m", "venv", str(folder)], tell, cancelled)
    site = _site_packages(python)
    (site / FALLBACK).write_text(_fallback_line(facts.folders), encoding="ascii")
    constraints = folder / "constraints.txt"
    held = (f"{name}=={version.split('+')[0]}" for name, version in facts.versions.items() if version)
    constraints.write_text("\n".join(held) + "\n", encoding="utf-8")
    wanted = [*packages.requirements, *([] if facts.has["cv2"] else ["opencv-python-headless"])]
    tell("Installing packages")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--prefer-binary"]
    # pip would report what the host's own packages lack as if it were an error of this installation.
    _run([*pip, "--no-warn-conflicts", "-c", str(constraints), *wanted], tell, cancelled)
    tell("Checking")
    _run([python, "-c", "import " + ", ".join(NEEDED)], tell, cancelled)


def _fallback_line(folders: Sequence[str]) -> str:
    """Return a ``.pth`` line that adds the host's folders at the end of the module path.

    The line is a statement and not a list of paths, for two reasons. The encoding of a ``.pth`` differs between
    systems, while these paths may be in any script. And Python would read the ``.pth`` files of the host too, which may
    start anything.
    """
    return f"import sys; sys.path.extend(p for p in {list(folders)!a} if p not in sys.path)\n"


def _site_packages(python: str) -> Path:
    ask = "import json, sysconfig; print(json.dumps(sysconfig.get_paths()['purelib']))"
    answer = subprocess.run([python, "-c", ask], capture_output=True, text=True, env=_plain(), check=True)
    return Path(json.loads(answer.stdout))


def _plain() -> dict[str, str]:
    """Return the environment variables for a child process, without those by which a host changes its Python's module
    path."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")} | {"PYTHONUTF8": "1"}


class _Teller:
    """Turns the steps of the making into Progress events. The lines that pip prints become their message."""

    STAGES = (
        Message("Looking at the WebUI's Python"),
        "Making the environment",
        "Installing packages",
        "Checking",
        "Ready",
    )

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener
        self._step = 0
        self._last_message = ""
        self.last_lines: list[str] = []

    def once(self, message: str) -> None:
        """Say ``message`` unless it was also the last one."""
        if message != self._last_message:
            self(message)

    def __call__(self, message: str) -> None:
        self._last_message = message
        self._step = self.STAGES.index(message) if message in self.STAGES else self._step
        if self._listener is not None:
            total = len(self.STAGES) - 1
            self._listener(Progress(stage="environment", step=self._step, total=total, message=message))

    def line(self, text: str) -> None:
        self.last_lines = [*self.last_lines[-20:], text]
        if text.startswith(("Collecting", "Downloading", "Building", "Installing")):
            self(text[:120])


def _run(command: Sequence[str], tell: _Teller, cancelled: Callable[[], bool]) -> None:
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=_plain(),
        start_new_session=os.name != "nt",
    )
    try:
        for text in _lines(process, cancelled):
            tell.line(text)
        if process.wait() != 0:
            raise AssetMissing(
                "EasyPhoto's own environment could not be made: {reason}", reason=_reason(tell.last_lines)
            )
    finally:
        _end(process)


def _reason(lines: Sequence[str]) -> str:
    """Return, from the last lines that a command printed, why it failed, as the second half of a sentence."""
    if any(sign in line for line in lines for sign in UNREACHABLE):
        return Message(
            "pip reaches no package index. Check the network, or pip's own settings for a proxy "
            "or a mirror, and start again."
        )
    errors = [x for x in lines if "rror" in x] or list(lines) or ["no message"]
    return errors[-1].strip()[:300]


def _lines(process: subprocess.Popen[str], cancelled: Callable[[], bool]) -> Iterator[str]:
    """Yield the lines of a process as they come. Raises Cancelled soon after ``cancelled`` says so, even if no line
    comes."""
    lines: queue.Queue[str | None] = queue.Queue()
    assert process.stdout is not None
    output = process.stdout

    def read() -> None:
        for text in output:
            lines.put(text.rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        if cancelled():
            raise Cancelled("Making EasyPhoto's own environment was cancelled.")
        try:
            text = lines.get(timeout=0.2)
        except queue.Empty:
            continue
        if text is None:
            return
        if text:
            yield text


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.name == "nt":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
