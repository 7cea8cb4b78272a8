"""Tests of the program without a WebUI: a flag or an environment variable sets the licence switch and the precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from easyphoto.cli import main, serve, standalone
from easyphoto.config import Paths, TrainConfig
from easyphoto.errors import InvalidRequest
from easyphoto.service import Preferences, TrainRequest
from easyphoto.training.spec import TrainingSpec
from tests.acting import acting_service, photos_in, play


def test_flags_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert standalone.preferences() == Preferences(False, "auto")
    monkeypatch.setenv(standalone.COMMERCIAL_ONLY, "1")
    monkeypatch.setenv(standalone.PRECISION, "bf16")
    assert standalone.preferences() == Preferences(True, "bf16")
    assert standalone.preferences(precision="no") == Preferences(True, "no")
    monkeypatch.setenv(standalone.COMMERCIAL_ONLY, "0")
    assert not standalone.preferences().commercial_only
    monkeypatch.setenv(standalone.PRECISION, "fp8")
    with pytest.raises(InvalidRequest, match="one of auto, fp16, bf16, no"):
        standalone.preferences()


def test_serve_keeps_what_is_not_commercial_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr(serve, "serve", lambda service, **_: served.append(service))
    assert main.main(["serve", "--data", str(tmp_path), "--commercial-only", "--precision", "fp16"]) == 0
    (service,) = served
    assert service.preferences() == Preferences(True, "fp16") and service.weights.commercial_only
    detector = next(s for s in service.weights.serving(service.vision) if s.role == "detector")
    assert detector.name == "dlib-5" and "dlib" in detector.left_out
    assert main.main(["serve", "--data", str(tmp_path)]) == 0
    detector = next(s for s in served[1].weights.serving(served[1].vision) if s.role == "detector")
    assert detector.name == "dlib" and detector.left_out == ()


@pytest.mark.parametrize(("chosen", "expected"), [("auto", "bf16"), ("no", "no")])
def test_precision_and_licence_reach_the_trainer(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str, expected: str
) -> None:
    service = acting_service(paths, monkeypatch)
    service.preferences = lambda: Preferences(True, "bf16")
    specs: list[TrainingSpec] = []
    train: Callable[..., Any] = play(service)

    def run(spec: TrainingSpec, *rest: Any) -> Any:
        specs.append(TrainingSpec.from_json(spec.to_json()))
        return train(spec, *rest)

    monkeypatch.setattr("easyphoto.training.job.run", run)
    request = TrainRequest("ada", tuple(photos_in(tmp_path)), TrainConfig(mixed_precision=chosen))
    service.train(request).wait(60)
    assert [(s.config.mixed_precision, s.commercial_only) for s in specs] == [(expected, True)]
