"""The trainer's process with played vision, since a borrowed machine may have no packages that find faces."""

from __future__ import annotations

import sys
from typing import Any
from unittest import mock

from easyphoto.training import worker
from easyphoto.vision import registry
from tests.fakes import FakeVision


def _played(*arguments: Any, **named: Any) -> FakeVision:
    return FakeVision()


if __name__ == "__main__":
    with mock.patch.object(registry, "create", _played):
        sys.exit(worker.main(sys.argv[1:]))
