"""Tests that the description of the API is right: calls made from it never break the server, and answers are as
described."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

import easyphoto
from easyphoto.api import routes
from easyphoto.config import Paths
from easyphoto.service import EasyPhoto
from tests.acting import acting_service, trained
from tests.serving import served

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")
TYPED = [checks.positive_data_acceptance]
"""Left out: a name or a picture has rules that a description can't tell."""
AS_BEFORE = [*TYPED, checks.negative_data_rejection]
"""The routes of the original answer 200 and say in ``message`` what was wrong."""

CALM = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
FEW, MANY = settings(CALM, max_examples=6), settings(CALM, max_examples=150)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def fuzzed(place: Path) -> Iterator[EasyPhoto]:
    """One service for all calls, with somebody in it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        service = acting_service(Paths.standalone(place / "data"), monkeypatch)
        trained(service, "ada")
        yield service


@pytest.fixture(scope="module")
def address(fuzzed: EasyPhoto) -> Iterator[str]:
    app = FastAPI(title="EasyPhoto")
    routes.mount(app, fuzzed)
    with served(app) as address:
        yield address


def fuzz(address: str, place: Path, calm: settings) -> int:
    """Calls made from the description, as it wants them and as it doesn't, with every check of schemathesis; the count.

    Nothing may be written outside the data folder by any of them.
    """
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    operations = [o.ok() for o in schemathesis.openapi.from_url(f"{address}/openapi.json").get_all_operations()]
    return sum(fuzz_one(operation, mode, place, calm) for operation in operations for mode in modes)


def fuzz_one(operation: Any, mode: Any, place: Path, calm: settings) -> int:
    left_out = AS_BEFORE if operation.path.endswith("_forward") else TYPED
    calls = 0

    @calm
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: Any) -> None:
        nonlocal calls
        calls += 1
        case.call_and_validate(excluded_checks=left_out)
        assert [p.name for p in place.iterdir()] == ["data"]

    with suppress(Unsatisfiable):  # a path of any text, and nothing else, can't be against its description
        call()
    return calls


@pytest.mark.thorough
def test_few_calls(address: str, place: Path) -> None:
    assert fuzz(address, place, FEW) > 100


@pytest.mark.slow
def test_two_thousand_calls(address: str, place: Path) -> None:
    assert fuzz(address, place, MANY) >= 2000


def test_the_schemas_are_made_by_the_pydantic_of_older_webuis_too() -> None:
    """AUTOMATIC1111 has version 1.10, of which version 2 holds a copy."""
    program = """
import sys, pydantic.v1
sys.modules["pydantic"] = pydantic.v1
from easyphoto.api import schema
assert schema.MovePayload(place=3).place == 3
for wrong in (-1, 10_001, "3", True):
    try:
        schema.MovePayload(place=wrong)
    except pydantic.v1.ValidationError:
        continue
    raise SystemExit(f"{wrong!r} was taken")
"""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_what_only_pydantic_2_knows_is_called_nowhere_but_where_the_version_is_asked() -> None:
    """AUTOMATIC1111 and reForge have version 1, in which such a call is an error when a request comes."""
    called = re.compile(r"\.model_[a-z_]+\(|\bTypeAdapter\b|\b(field|model)_validator\b|\bConfigDict\b")
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted(Path(easyphoto.__file__).parent.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if called.search(line) and 'VERSION.startswith("1.")' not in line
    ]
    assert found == []
