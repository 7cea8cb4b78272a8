"""What a queue and a cluster cost a portrait, and what two workers bring: ``python -m benchmarks.fleet``.

Every row makes the same portraits on the bench checkpoint with one thread a worker: in a plain loop, through the queue,
and on a local Ray cluster of one and of two workers. The first portrait of each worker, which loads the models, is not
counted. Then the same jobs on an engine and eyes that do nothing, which leaves what the way costs. Wall times, so that
the machine should do nothing else; its load is told.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from easyphoto import pictures
from easyphoto.cli.demo import photograph
from easyphoto.cli.standalone import build
from easyphoto.config import Paths, PortraitConfig
from easyphoto.fleet import ray_runner
from easyphoto.fleet.options import FleetOptions, Share
from easyphoto.queue.port import DurableRequest, StoredPicture
from easyphoto.service import EasyPhoto, PortraitRequest, TrainRequest, payloads
from tests.acting import templates_in, trained
from tests.fakes import FakeHost, FakeVision

PEOPLE = ("anna", "bert")
Build = Callable[[Paths], EasyPhoto]


def nothing(paths: Paths) -> EasyPhoto:
    """The service on an engine and eyes that cost nothing."""
    return EasyPhoto(FakeHost(), FakeVision(), paths)


def prepared(folder: Path) -> tuple[Paths, Path]:
    """Two people, trained for a moment, and a template."""
    paths = Paths.standalone(folder)
    image = photograph("skimage", "data", "astronaut.png")
    photos = []
    for number, (top, left) in enumerate(((0, 40), (10, 60), (0, 70))):
        photos.append(folder / "photos" / f"{number}.png")
        pictures.save_png(photos[-1], image[top : top + 360, left : left + 360])
    template = folder / "template.png"
    pictures.save_png(template, image[:256, 96:352])
    service = build(paths)
    options = {"max_train_steps": 2, "val_and_checkpointing_steps": 2, "validation": False, "resolution": 64}
    for name in PEOPLE:
        service.train(TrainRequest(name, tuple(photos), service.train_config(options))).wait()
    return paths, template


def played(folder: Path) -> tuple[Paths, Path]:
    """Two people and a template whose faces the eyes that cost nothing see."""
    paths = Paths.standalone(folder)
    service = nothing(paths)
    for name in PEOPLE:
        trained(service, name)
    return paths, templates_in(folder, 1)[0]


def request(name: str, template: Path, seed: int) -> PortraitRequest:
    """One small portrait of few steps: what is compared is the way, not the picture."""
    config = PortraitConfig(seed=seed, first_diffusion_steps=8, second_diffusion_steps=8)
    return PortraitRequest((name,), (template,), config)


def plain(make: Build, paths: Paths, template: Path, count: int) -> float:
    """Seconds a portrait without queue or cluster."""
    service = make(paths)
    took: list[float] = []
    for seed in range(count + 1):
        asked = request(PEOPLE[seed % 2], template, seed)
        payload, given = payloads.of_portraits(asked)
        stored = tuple(StoredPicture(Path(str(one)), True) for one in given)
        one = DurableRequest(f"plain{seed}", "generate", asked.user_ids[0], asked.user_ids, payload, stored, 0)
        begin = time.perf_counter()
        service.kinds["generate"].work(one, lambda event: None, lambda: False)
        took.append(time.perf_counter() - begin)
    return sum(took[1:]) / count


def queued(service: EasyPhoto, template: Path, count: int, lanes: int) -> float:
    """Seconds a portrait when all are in the queue at once."""
    warm = [service.generate(request(PEOPLE[lane % 2], template, 0)) for lane in range(lanes)]
    for job in warm:
        job.wait()
    begin = time.perf_counter()
    jobs = [service.generate(request(PEOPLE[seed % 2], template, seed)) for seed in range(1, count + 1)]
    for job in jobs:
        job.wait()
    return (time.perf_counter() - begin) / count


def on_ray(make: Build, paths: Paths, template: Path, count: int, way: tuple[int, Share]) -> float:
    """Seconds a portrait on a local cluster. ``way``: workers, and how they share."""
    service = make(paths)
    runner = ray_runner.started(service, make, FleetOptions(share=way[1], workers=way[0]))
    service.jobs.use([runner])
    try:
        return queued(service, template, count, way[0])
    finally:
        runner.close()


def main(arguments: Sequence[str]) -> None:
    """Measure and print a line of JSON for every row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=6, help="portraits of each row on the bench checkpoint")
    parser.add_argument("--jobs", type=int, default=40, help="jobs of each row on the engine that does nothing")
    parser.add_argument("--engine", choices=("bench", "nothing"), help="the rows of one engine alone")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows: list[tuple[str, Callable[[], float]]] = []
        for engine, make, count in (("bench", build, asked.count), ("nothing", nothing, asked.jobs)):
            if asked.engine not in (None, engine):
                continue
            paths, template = prepared(Path(folder)) if engine == "bench" else played(Path(folder) / "played")
            rows += [
                (f"{engine}: plain loop", lambda m=make, p=paths, t=template, c=count: plain(m, p, t, c)),
                (f"{engine}: queue", lambda m=make, p=paths, t=template, c=count: queued(m(p), t, c, 1)),
            ]
            for way in ((1, "folder"), (1, "ray"), (2, "folder")):
                name = f"{engine}: {way[0]} workers, share {way[1]}"
                rows.append((name, lambda m=make, p=paths, t=template, c=count, w=way: on_ray(m, p, t, c, w)))  # type: ignore[misc]
        for name, measure in rows:
            seconds = measure()
            _say(
                {
                    "row": name,
                    "seconds": round(seconds, 4),
                    "a minute": round(60 / seconds, 2),
                    "load": os.getloadavg()[0],
                }
            )


def _say(data: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
