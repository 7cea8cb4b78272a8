"""The standalone app with a fake host, vision and trainer, and a browser if there is one."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from easyphoto import pictures
from easyphoto.config import Paths
from easyphoto.service import EasyPhoto
from tests.acting import STEPS, Pace, acting_service, templates_in
from tests.serving import served
from tests.ui import browser

pytest.importorskip("gradio")


@pytest.fixture(autouse=True)
def _gradio_leaves_loops_open() -> Iterator[None]:
    """Its event loops and sockets are collected here, where their warnings are not ours."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def pace(request: pytest.FixtureRequest) -> Iterator[Pace]:
    """The parameter, if any, is the step at which trainings wait."""
    pace = Pace(getattr(request, "param", STEPS))
    yield pace
    pace.go()


@pytest.fixture
def service(pace: Pace, paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> EasyPhoto:
    """One preset of the user's own, and a trainer that keeps the pace."""
    service = acting_service(paths, monkeypatch, pace)
    service.templates.add("mine", pictures.load(templates_in(tmp_path, 1)[0]))
    return service


@pytest.fixture
def address(service: EasyPhoto) -> Iterator[str]:
    from easyphoto.cli.serve import app

    with served(app(service)) as address:
        yield address


@pytest.fixture
def needs_browser() -> None:
    reason = browser.missing()
    if reason:
        pytest.skip(reason)
