"""``python -m tests.clips.clip_program DATA CLIP``: a program that makes the clip, or goes on with the one that an
earlier program was killed in, and says what came of it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from easyphoto.config import Paths, PortraitConfig
from easyphoto.service import EasyPhoto, VideoRequest
from tests.fakes import FakeHost, FakeVision

JOB = "abcdef123456"
SECONDS = 0.05
"""How long a pass over one frame takes at least."""


def main(data: Path, clip: Path) -> None:
    host = FakeHost()
    host.before = lambda _: time.sleep(SECONDS)
    service = EasyPhoto(host, FakeVision(), Paths.standalone(data))
    service.jobs.attend()
    left = [job for job in service.jobs.list() if job.id == JOB]
    config = PortraitConfig(seed=5, first_diffusion_steps=2, second_diffusion_steps=2)
    job = left[0] if left else service.video(VideoRequest(("ann",), clip, config), job=JOB)
    print(job.wait(120).path, len(host.jobs), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
