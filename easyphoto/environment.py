"""Our own Python environment beside a host's: how it is made, checked and found.

A WebUI's Python is not ours: nothing is installed there. The trainer and the vision worker run in a virtual environment
beside the extension, which falls back on the host's site-packages for torch, numpy and whatever else fits, and holds
what the host lacks or has too old. Only the standard library is used here, so that ``install.py`` works in any host.

Every making has a place of its own, ``.environment`` or ``.environment.<8 hex digits>`` beside it, and becomes the
environment in one instant, when its stamp is put there. Until then the one before serves; what a process is running in
is never moved or changed. Makers wait for one another. What was broken off or replaced is swept away later.

    python install.py            make or update it, with the Python of the host
    status()                     is it there, whole, and for this host?
    ensure(listener, cancelled)  its interpreter; made first if need be, from a running host
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import queue
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from easyphoto import program
from easyphoto.errors import AssetMissing, Cancelled, StorageFailed
from easyphoto.events import Listener, Progress
from easyphoto.exclusive import exclusive
from easyphoto.messages import Message

FOLDER = program.ROOT / ".environment"
STAMP = "environment.json"
FALLBACK = "easyphoto-host.pth"
HOW = "the first training or portrait makes it, in some minutes, and so does `python install.py` with the host's Python"
WAITING = "Another process is making EasyPhoto's own environment: waiting for it"
KEPT_FOR = 24 * 3600.0
"""Seconds for which a replaced environment is kept: something that runs in it may still want a module of it."""

Version = tuple[int, ...]


@dataclass(frozen=True)
class PackageSet:
    """Packages that work together with a torch from ``torch_from`` on and below ``torch_below`` (None: any newer)."""

    name: str
    torch_from: Version
    torch_below: Version | None
    packages: tuple[str, ...]

    def fits(self, torch: Version) -> bool:
        return self.torch_from <= torch and (self.torch_below is None or torch < self.torch_below)


COMMON = (
    "dlib-bin==20.0.1.post1",
    "face-recognition-models==0.3.0",
    "filelock",
    "pillow>=11,<13",
    "requests",
    "safetensors",
    "tqdm",
)
SETS = (
    PackageSet(
        "torch 2.1 to 2.3",
        (2, 1),
        (2, 4),
        ("accelerate==1.1.1", "diffusers==0.31.0", "huggingface_hub==0.26.5", "peft==0.13.2", "transformers==4.46.3"),
    ),
    PackageSet(
        "torch 2.4 and newer",
        (2, 4),
        None,
        ("accelerate==1.12.0", "diffusers==0.37.1", "huggingface_hub==0.36.2", "peft==0.18.1", "transformers==4.57.6"),
    ),
)
KEPT = ("torch", "torchvision", "numpy", "protobuf", "xformers")
"""What the host has of these, our environment uses as it is: pip may neither replace nor double it."""
UNREACHABLE = ("after connection broken by", "Max retries exceeded", "ProxyError", "NameResolutionError")
"""What pip says when there is no network, among much else."""
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
    """What the host's Python is and has, as that Python says itself."""

    executable: str
    python: tuple[int, int]
    versions: dict[str, str | None]
    folders: tuple[str, ...]
    has: dict[str, bool]

    @property
    def torch(self) -> Version:
        return parse_version(self.versions.get("torch") or "0")


@dataclass(frozen=True)
class Status:
    """Whether the environment can be used; if not, ``sentence`` says why and what to do."""

    ready: bool
    sentence: str
    python: Path | None = None
    packages: str = ""


@dataclass(frozen=True)
class _Stamp:
    """Written last, so that what was broken off is never taken for whole."""

    packages: str
    requirements: tuple[str, ...]
    python: tuple[int, ...]
    torch: str
    host: str
    made: int = 0
    """Counts the makings: of two whole environments the later one counts."""

    def fits(self, python: tuple[int, ...], torch: str | None) -> bool:
        """Whether it is for a host of that Python and torch (None: any) and of this version of EasyPhoto."""
        same = tuple(self.python) == tuple(python) and torch in (None, self.torch)
        return same and self.requirements == requirements_of(self.packages)


def parse_version(text: str) -> Version:
    """The leading numbers of a version: ``"2.1.2+cu121"`` -> (2, 1, 2)."""
    numbers: list[int] = []
    for part in text.split("+", maxsplit=1)[0].split("."):
        digits = "".join(c for c in part if c.isdigit())
        if not part[:1].isdigit():
            break
        numbers.append(int(digits))
    return tuple(numbers)


def choose(torch: str) -> PackageSet:
    """The set of packages for a host's torch; AssetMissing when it is too old for any."""
    for packages in SETS:
        if packages.fits(parse_version(torch)):
            return packages
    oldest = ".".join(str(n) for n in min(s.torch_from for s in SETS))
    raise AssetMissing(
        "The host's torch {torch} is too old for training: it needs {oldest} or newer.", torch=torch, oldest=oldest
    )


def inspect(python: str = sys.executable) -> HostPython:
    """Ask a Python what it is and has. AssetMissing when it can't be run."""
    try:
        answer = subprocess.run(
            [python, "-c", _FACTS % (KEPT,)], capture_output=True, text=True, encoding="utf-8", env=_plain(), check=True
        )
        facts = json.loads(answer.stdout.splitlines()[-1])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as error:
        raise AssetMissing("The host's Python {python} can't be run: {error}.", python=python, error=error) from error
    return HostPython(
        facts["executable"], tuple(facts["python"]), facts["versions"], tuple(facts["folders"]), facts["has"]
    )


def interpreter(folder: Path = FOLDER) -> Path:
    """Where the environment's Python lies, whether it is there or not."""
    return _python_in(_current(folder) or folder)


def status(folder: Path = FOLDER, torch: str | None = None) -> Status:
    """Whether the environment is there, whole, and fits. ``torch`` is the version that the host has now, if known.

    Costs a look at a few files; runs nothing.
    """
    return _status(folder, sys.version_info[:2], torch)


def _status(folder: Path, python: tuple[int, ...], torch: str | None) -> Status:
    """The same for a host of another Python."""
    place = _current(folder, python, torch)
    stamp = None if place is None else _read_stamp(place)
    if place is None or stamp is None:
        return Status(False, Message("EasyPhoto's own environment isn't made yet: " + HOW + "."))
    if stamp.fits(python, torch):
        return Status(
            True,
            Message("EasyPhoto's own environment is ready ({packages}).", packages=stamp.packages),
            _python_in(place),
            stamp.packages,
        )
    if stamp.python != tuple(python) or (torch is not None and stamp.torch != torch):
        version = ".".join(map(str, stamp.python))
        had = Message("Python {version} and torch {torch}", version=version, torch=stamp.torch)
        return Status(
            False,
            Message("EasyPhoto's own environment was made for {had}, and the host has changed: " + HOW + ".", had=had),
        )
    return Status(False, Message("EasyPhoto's own environment is of an older version: " + HOW + "."))


def installed(package: str, folder: Path = FOLDER) -> str | None:
    """The version of a package where trainings run: in our environment, else in this Python; None when it is in
    neither."""
    place = _current(folder, sys.version_info[:2]) or folder
    own = [str(p) for p in (*place.glob("lib/python*/site-packages"), *place.glob("Lib/site-packages"))]
    if own and status(folder).ready:
        for found in importlib.metadata.distributions(name=package, path=own):
            return found.version
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements_of(packages: str) -> tuple[str, ...] | None:
    """What is asked of pip for the set of that name."""
    return next((s.packages + COMMON for s in SETS if s.name == packages), None)


def ensure(
    listener: Listener | None, cancelled: Callable[[], bool], *, folder: Path = FOLDER, torch: str | None = None
) -> Path:
    """The interpreter of the environment, which is made first if it isn't ready; errors as of :func:`create`."""
    known = status(folder, torch)
    if known.python is None:
        known = create(listener, cancelled, folder=folder)
    else:
        _sweep_when_idle(folder)
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
    """Make the environment new, or bring it up to date. Changes nothing outside ``folder`` and its like beside it.

    One that is there stays as it is, and in use, until the new one is whole. Where somebody else is making one, waits
    for that and takes it. ``listener`` gets Progress of stage "environment"; ``cancelled`` is polled a few times a
    second. Raises AssetMissing with one sentence when a step fails, StorageFailed when the folder can't be written,
    Cancelled when asked to stop; what was begun is then taken away.
    """
    tell = _Teller(listener)
    tell(Message("Looking at the host's Python"))
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
        current = _current(folder, facts.python, torch)
        stamp = None if current is None else _read_stamp(current)
        if not (waited and stamp is not None and stamp.fits(facts.python, torch)):
            _sweep(folder, keep=current)
            made = 1 + max((s.made for s in map(_read_stamp, _places(folder)) if s is not None), default=0)
            place = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}") if os.path.lexists(folder) else folder
            stamp = _Stamp(packages.name, packages.packages + COMMON, facts.python, torch, facts.executable, made)
            try:
                _make(facts, packages, place, tell, cancelled)
                _write_stamp(place, stamp)
            except BaseException as error:
                shutil.rmtree(place, ignore_errors=True)
                if isinstance(error, OSError):
                    raise _unwritable(folder, error) from error
                raise
    tell("Ready")
    return _status(folder, facts.python, torch)


# --- places ----------------------------------------------------------------------------------------------------------


def _places(folder: Path) -> list[Path]:
    """Where an environment was made, or begun."""
    named = re.compile(re.escape(folder.name) + r"\.[0-9a-f]{8}")
    try:
        beside = sorted(p for p in folder.parent.iterdir() if named.fullmatch(p.name))
    except OSError:
        beside = []
    return [*([folder] if os.path.lexists(folder) else []), *beside]


def _current(folder: Path, python: tuple[int, ...] | None = None, torch: str | None = None) -> Path | None:
    """The place of the environment that counts: the last that is whole, and of those that fit the host if any does."""
    whole = [(stamp, p) for p in _places(folder) if (stamp := _read_stamp(p)) and _python_in(p).exists()]
    fitting = [(stamp, p) for stamp, p in whole if python is not None and stamp.fits(python, torch)]
    return max(fitting or whole, key=lambda one: one[0].made, default=(None, None))[1]


def _python_in(place: Path) -> Path:
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@contextlib.contextmanager
def _alone(folder: Path, tell: _Teller, cancelled: Callable[[], bool]) -> Iterator[bool]:
    """While entered, nobody else makes or sweeps. Gives whether somebody else did before."""

    def waiting() -> None:
        if cancelled():
            raise Cancelled("Making EasyPhoto's own environment was cancelled.")
        tell.once(WAITING)

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = exclusive(_lock(folder), waiting)
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


def _lock(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _sweep(folder: Path, keep: Path | None, old: bool = True) -> None:
    """Remove what was broken off and, with ``old``, what was replaced. Only for whoever is :func:`_alone`."""
    for place in _places(folder):
        if place != keep and (old or _read_stamp(place) is None):
            # without a stamp first: what can't be removed whole must not count as whole
            with contextlib.suppress(OSError):
                (place / STAMP).unlink(missing_ok=True)
                shutil.rmtree(place)


def _sweep_when_idle(folder: Path) -> None:
    """Sweep if there is anything to and nobody is making one: never worth waiting for, nor a failure."""
    current = _current(folder, sys.version_info[:2])
    if current is None or len(_places(folder)) < 2:
        return
    with contextlib.suppress(OSError), exclusive(_lock(folder), lambda: None, limit=0.0):
        _sweep(folder, current, old=time.time() - (current / STAMP).stat().st_mtime > KEPT_FOR)


# --- making ----------------------------------------------------------------------------------------------------------


def _make(facts: HostPython, packages: PackageSet, folder: Path, tell: _Teller, cancelled: Callable[[], bool]) -> None:
    python = str(_python_in(folder))
    tell("Making the environment")
    _run([facts.executable, "-m", "venv", str(folder)], tell, cancelled)
    site = _site_packages(python)
    (site / FALLBACK).write_text(_fallback_line(facts.folders), encoding="ascii")
    constraints = folder / "constraints.txt"
    held = (f"{name}=={version.split('+')[0]}" for name, version in facts.versions.items() if version)
    constraints.write_text("\n".join(held) + "\n", encoding="utf-8")
    wanted = [*packages.packages, *COMMON]
    if not facts.has["cv2"]:
        wanted.append("opencv-python-headless")
    tell("Installing packages")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--prefer-binary"]
    # The host's packages aren't ours to judge: pip would print what they lack as an error of this installation.
    _run([*pip, "--no-warn-conflicts", "-c", str(constraints), *wanted], tell, cancelled)
    tell("Checking")
    _run([python, "-c", "import " + ", ".join(NEEDED)], tell, cancelled)


def _fallback_line(folders: Sequence[str]) -> str:
    """A ``.pth`` line that adds the host's folders at the end of the path.

    Statement rather than paths: the encoding of a ``.pth`` differs between systems, and these paths may be in any
    script; and ``.pth`` files of the host, which may start anything, are not read.
    """
    return f"import sys; sys.path.extend(p for p in {list(folders)!a} if p not in sys.path)\n"


def _site_packages(python: str) -> Path:
    ask = "import json, sysconfig; print(json.dumps(sysconfig.get_paths()['purelib']))"
    answer = subprocess.run([python, "-c", ask], capture_output=True, text=True, env=_plain(), check=True)
    return Path(json.loads(answer.stdout))


def _read_stamp(folder: Path) -> _Stamp | None:
    try:
        data: dict[str, Any] = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        return _Stamp(
            data["packages"],
            tuple(data["requirements"]),
            tuple(data["python"]),
            data["torch"],
            data["host"],
            int(data.get("made", 0)),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_stamp(place: Path, stamp: _Stamp) -> None:
    """Make what lies in ``place`` the environment, in one instant."""
    draft = place / f"{STAMP}.new"
    draft.write_text(json.dumps(asdict(stamp), indent=1), encoding="utf-8")
    draft.replace(place / STAMP)


def _plain() -> dict[str, str]:
    """The environment variables for a child, without those by which a host bends its Python's path."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")} | {"PYTHONUTF8": "1"}


class _Teller:
    """Turns what is being done into Progress events; pip's own lines become the message."""

    STAGES = (
        Message("Looking at the host's Python"),
        "Making the environment",
        "Installing packages",
        "Checking",
        "Ready",
    )

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener
        self._step = 0
        self._told = ""
        self.last_lines: list[str] = []

    def once(self, message: str) -> None:
        """Say it unless it was the last thing said."""
        if message != self._told:
            self(message)

    def __call__(self, message: str) -> None:
        self._told = message
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
    """Why a command failed, as the rest of a sentence, from the last lines that it said."""
    if any(sign in line for line in lines for sign in UNREACHABLE):
        return Message(
            "pip reaches no package index. Check the network, or pip's own settings for a proxy "
            "or a mirror, and start again."
        )
    errors = [x for x in lines if "rror" in x] or list(lines) or ["no message"]
    return errors[-1].strip()[:300]


def _lines(process: subprocess.Popen[str], cancelled: Callable[[], bool]) -> Iterator[str]:
    """The lines of a process as they come; raises Cancelled soon after ``cancelled`` says so, lines or not."""
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
