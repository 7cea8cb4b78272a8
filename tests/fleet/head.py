"""A head in a process of its own: queues what its argument says and tells every event as a line of JSON.

``python -m tests.fleet.head JSON``: ``data`` and ``build`` (module:function) make the service; with ``address`` its
jobs run on that cluster, without it here. ``trainings`` are [user id, photos, options], ``portraits`` [user id,
templates, options].
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from easyphoto import program
from easyphoto.config import Paths, PortraitConfig
from easyphoto.errors import EasyPhotoError
from easyphoto.events import to_json
from easyphoto.fleet import ray_runner
from easyphoto.fleet.options import FleetOptions
from easyphoto.jobs import Job
from easyphoto.service import EasyPhoto, PortraitRequest, TrainRequest


def main(asked: dict[str, Any]) -> None:
    """Do it all, and leave nothing behind."""
    module, _, name = asked["build"].partition(":")
    build = getattr(importlib.import_module(module), name)
    service: EasyPhoto = build(Paths.standalone(Path(asked["data"])))
    runner = None
    if asked.get("address"):
        runner = ray_runner.started(service, build, FleetOptions(asked["address"], asked["share"]))
        service.jobs.use([runner])
    try:
        jobs: list[Job[Any]] = []
        for user, photos, options in asked.get("trainings", ()):
            request = TrainRequest(user, tuple(map(Path, photos)), service.train_config(options))
            jobs.append(service.train(request))
        for user, templates, options in asked.get("portraits", ()):
            jobs.append(
                service.generate(PortraitRequest((user,), tuple(map(Path, templates)), PortraitConfig(**options)))
            )
        threads = [threading.Thread(target=_follow, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        if runner is not None:
            runner.close()


def _follow(job: Job[Any]) -> None:
    for _, event in job.events():
        _say({**json.loads(to_json(event)), "subject": job.subject, "job": job.id})
    try:
        job.wait(0)
        _say({"kind": "ended", "subject": job.subject, "state": job.state})
    except EasyPhotoError as error:
        _say({"kind": "ended", "subject": job.subject, "state": job.state, "error": str(error)})


def _say(data: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
    sys.stdout.flush()


@contextmanager
def told(environment: dict[str, str], **asked: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """What a head says, while it runs."""
    path = os.pathsep.join([*program.import_path(), *sys.path])
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.fleet.head", json.dumps(asked)],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, **environment, **one_thread, "PYTHONPATH": path, "PYTHONUTF8": "1"},
        cwd=program.ROOT,
    )
    assert child.stdout is not None
    try:
        yield (json.loads(line) for line in child.stdout if line.startswith("{"))
        assert child.wait(120) == 0
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
