"""A module's file name means one thing, so that a trace or a search leads to one place."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "easyphoto"
SHARED = {
    "__init__.py": "every package has one",
    "host.py": "each host's own: hosts.embedded.host and hosts.webui.host are two answers to one port",
    "lora.py": "sd.lora loads LoRAs into a model, training.lora makes one: the same file from either end",
    "spec.py": "families.spec says what a family is, training.spec what a training is",
}
"""File names that several packages may have, because the package tells them apart."""


def test_a_file_name_is_that_of_one_module() -> None:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        found[path.name].append(path.relative_to(PACKAGE).as_posix())
    assert len(found) > 150, "the whole package was looked at"
    several = {name: sorted(where) for name, where in found.items() if len(where) > 1 and name not in SHARED}
    assert several == {}
