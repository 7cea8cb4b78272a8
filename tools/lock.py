"""Write ``requirements-lock.txt``: the versions that a fresh installation without a WebUI takes, for each Python.

    python tools/lock.py python3.10 python3.11 python3.12 python3.13

Each Python resolves ``requirements-test.txt`` by itself, from the index that its pip is set to; nothing is installed.
Where the Pythons agree, a line holds for all of them. torch is left out, since its builds differ by machine: it is
pinned where it is asked for, and pip gets an empty package of its name that asks for what this Python's torch does.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "requirements-lock.txt"
WANTED = ROOT / "requirements-test.txt"
HEAD = """\
# Made by tools/lock.py for Python {pythons} on Linux: don't edit. easyphoto.sh and easyphoto.bat install
# these versions; torch is pinned in requirements-standalone.txt, and its builds bring packages of their own.
"""
DEVICES = ("nvidia-", "cuda-", "triton")
"""How the names of packages begin that only some builds of torch ask for."""

Python = tuple[int, int]


def stand_in(folder: Path) -> None:
    """Put an empty package into ``folder`` that asks for what the torch of this Python asks for.

    Its local version counts as later than any real build's, so that pip takes it instead of gigabytes.
    """
    public = importlib.metadata.version("torch").split("+", maxsplit=1)[0]
    version = f"{public}+stand.in"
    asked = [r for r in importlib.metadata.requires("torch") or [] if not r.startswith(DEVICES) and "extra ==" not in r]
    told = ["Metadata-Version: 2.1", "Name: torch", f"Version: {version}", *(f"Requires-Dist: {r}" for r in asked)]
    inside = f"torch-{version}.dist-info"
    files = {
        "METADATA": "\n".join(told) + "\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: lock\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(f"{inside}/{name}", text)


def resolve(python: str) -> tuple[Python, dict[str, str]]:
    """What pip would install with a Python, as versions by name."""
    with tempfile.TemporaryDirectory() as scratch:
        stand_in(Path(scratch))
        report = Path(scratch) / "report.json"
        venv = Path(scratch) / "venv"
        subprocess.run([python, "-m", "venv", str(venv)], check=True)
        pip = [*venv.glob("bin/python"), *venv.glob("Scripts/python.exe")][0]
        command = [str(pip), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
        command += ["--ignore-installed", "--prefer-binary", "--find-links", scratch, "--report", str(report)]
        subprocess.run([*command, "-r", str(WANTED)], check=True)
        told = json.loads(report.read_text(encoding="utf-8"))
        at = told["environment"]["python_version"].split(".")
        found = {i["metadata"]["name"].lower().replace("_", "-"): i["metadata"]["version"] for i in told["install"]}
    found.pop("torch")
    return (int(at[0]), int(at[1])), found


def document(resolved: Mapping[Python, Mapping[str, str]]) -> str:
    """The file, one line a package, or several where Pythons take different versions."""
    pythons = sorted(resolved)
    lines = [HEAD.format(pythons=" ".join(f"{a}.{b}" for a, b in pythons))]
    for name in sorted({name for versions in resolved.values() for name in versions}):
        takers: dict[str, list[Python]] = {}
        for python in pythons:
            if name in resolved[python]:
                takers.setdefault(resolved[python][name], []).append(python)
        for version, those in takers.items():
            marker = "" if len(takers) == 1 else f" ; {_marker(those, pythons)}"
            lines.append(f"{name}=={version}{marker}\n")
    return "".join(lines)


def _marker(those: Sequence[Python], pythons: Sequence[Python]) -> str:
    """The environment marker that is true for ``those`` of the ``pythons``, a run of them without gaps."""
    after = [p for p in pythons if p > those[-1]]
    limits: Iterable[str] = (
        *([f'python_version >= "{those[0][0]}.{those[0][1]}"'] if those[0] != pythons[0] else []),
        *([f'python_version < "{after[0][0]}.{after[0][1]}"'] if after else []),
    )
    return " and ".join(limits)


def main(pythons: Sequence[str]) -> int:
    if not pythons:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    TARGET.write_text(document(dict(resolve(python) for python in pythons)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
