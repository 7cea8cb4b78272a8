"""Services that workers are told to make, as the command line has them make its own."""

from __future__ import annotations

import time

from easyphoto.config import Paths
from easyphoto.ports import Txt2Img
from easyphoto.service import EasyPhoto
from tests.fakes import FakeHost, FakeVision

PAUSE = 0.4
"""Seconds that a picture takes: long enough to be killed in."""


def _slowly(job: Txt2Img) -> None:
    time.sleep(PAUSE)


def acting(paths: Paths) -> EasyPhoto:
    """The service on an engine and eyes that are played; everything else is as it is."""
    return EasyPhoto(FakeHost(before=_slowly), FakeVision(), paths)
