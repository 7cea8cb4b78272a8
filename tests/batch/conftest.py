"""A service that costs nothing, people who are trained, and templates beside a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from easyphoto.config import Paths
from easyphoto.service import EasyPhoto
from tests.acting import acting_service, templates_in, trained


@pytest.fixture
def service(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> EasyPhoto:
    service = acting_service(paths, monkeypatch)
    trained(service, "ada")
    trained(service, "eve", who=60)
    return service


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """The folder of a table, with two templates in ``templates``."""
    templates_in(tmp_path / "desk" / "templates")
    return tmp_path / "desk"
