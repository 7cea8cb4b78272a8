"""CPU time of a portrait around the diffusion: everything but the host, whose pictures cost nothing here.

    python -m benchmarks.portrait_overhead [--rounds 5] [--before CHECKOUT]

One face on templates of 512 x 600 and 1536 x 1800 pixels, with the packaged vision backends and the profile of the
bench checkpoint. Each portrait is a job of its own that is saved, as one that is asked for without its stages, on a
template that nobody has looked at before, of a person who was portrayed before in this process. The CPU time of the
process is told by stage of the chain and by role of vision, with the count of what was asked of the roles and of
resizes; a detector that remembers a picture is asked too, and takes no time. ``--before`` measures another checkout of
the project in turns with this one, each portrait in the same minute as its counterpart, and prints the ratio. The last
line compares with the time of looking for faces in a picture of 768 x 768, which is taken in the same rounds; the
program ends with an error where that ratio is above its limit, so that a busy machine or a slow one changes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from easyphoto import pictures
from easyphoto.config import Family, PortraitConfig
from easyphoto.events import Event, Progress
from easyphoto.inference.gallery import measure
from easyphoto.inference.portrait import portray
from easyphoto.inference.task import PortraitTask, Subject
from easyphoto.ports import Checkpoint, ControlRole, Host, IdentityKind, Image, Img2Img, OnStep, Rendered, Txt2Img
from easyphoto.vision import geometry, registry
from easyphoto.vision.backend import ROLES

SIZES = ((512, 600), (1536, 1800))
LIMITS = {"512 x 600": 21.0, "1536 x 1800": 31.0}
"""The most that a portrait may take, in times of looking for faces in a picture of 768 x 768."""
COUNTED = {"detect": "detections", "embed": "embeddings"}


class IdleHost:
    """Gives back the picture that it was given, with one pixel changed: faces have to be looked for again in a picture
    that was painted."""

    name = "idle"

    def txt2img(self, job: Txt2Img, on_step: OnStep | None = None) -> Rendered:
        raise NotImplementedError

    def img2img(self, job: Img2Img, on_step: OnStep | None = None) -> Rendered:
        if on_step is not None:
            on_step(job.steps, job.steps)
        painted = job.image.copy()
        painted[0, 0] ^= 1
        return Rendered(painted, job.seed)

    def checkpoints(self) -> list[Checkpoint]:
        return []

    def controls(self, family: Family) -> frozenset[ControlRole]:
        return frozenset(ControlRole)

    def identities(self, family: Family) -> Mapping[IdentityKind, int]:
        return {}

    def samplers(self) -> list[str]:
        return []

    def control_limit(self) -> int | None:
        return None

    def training(self) -> AbstractContextManager[None]:
        return nullcontext()

    def refresh_loras(self) -> None:
        """There is nothing to look for."""

    def describe(self) -> Mapping[str, Any]:
        return {"host": self.name}


class Tally:
    """The CPU seconds of the stages and the roles, and the counts of what was called."""

    def __init__(self) -> None:
        self.roles: dict[str, float] = {}
        self.stages: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self._within = 0.0
        self._stage, self._since = "people", time.process_time()

    def listen(self, event: Event) -> None:
        """Note where one stage ends and the next begins."""
        if isinstance(event, Progress) and event.stage != self._stage:
            self.turn(event.stage)

    def turn(self, stage: str) -> None:
        now = time.process_time()
        self.stages[self._stage] = self.stages.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now

    def watched(self, role: str, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call`` with its time noted, but for that of the roles that it calls itself."""

        def timed(*arguments: Any, **named: Any) -> Any:
            counted = COUNTED.get(what, what)
            self.counts[counted] = self.counts.get(counted, 0) + 1
            outer, self._within, before = self._within, 0.0, time.process_time()
            try:
                return call(*arguments, **named)
            finally:
                took = time.process_time() - before
                self.roles[role] = self.roles.get(role, 0.0) + took - self._within
                self._within = outer + took

        return timed


class Counted:
    """A role of vision whose calls are noted in a tally."""

    def __init__(self, role: str, inner: Any, tally: Tally) -> None:
        self._role, self._inner, self._tally = role, inner, tally

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._tally.watched(self._role, name, found) if callable(found) else found


class CountedVision:
    """A vision whose roles are noted in a tally."""

    def __init__(self, inner: Any, tally: Tally) -> None:
        self._inner, self._tally = inner, tally

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "preferring":
            return lambda backends: CountedVision(found(backends), self._tally)
        return Counted(name, found, self._tally) if name in ROLES else found


@contextmanager
def resizes_counted(tally: Tally) -> Iterator[None]:
    """While this context is entered the resizes of pictures and masks are counted."""
    plain = cv2.resize

    def counted(*arguments: Any, **named: Any) -> Any:
        tally.counts["resizes"] = tally.counts.get("resizes", 0) + 1
        return plain(*arguments, **named)

    cv2.resize = counted
    try:
        yield
    finally:
        cv2.resize = plain


def photographs() -> tuple[Image, Image]:
    """A photograph of the person, and one for the template."""
    import matplotlib
    import skimage

    person = Path(skimage.__file__).parent / "data" / "astronaut.png"
    template = Path(matplotlib.__file__).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    return pictures.load(person), pictures.load(template)


class Bench:
    """One process that makes portraits and measures them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._vision = registry.create(folder / "no-weights")
        person, template = photographs()
        photo = folder / "person.png"
        cv2.imwrite(str(photo), person[..., ::-1])
        gallery = measure([photo], self._vision)
        self._person = Subject(
            user_id="person",
            lora=None,
            reference=person,
            face_id=person[:, ::-1].copy(),
            mean=gallery.mean,
            gallery=gallery,
        )
        self._templates = {f"{w} x {h}": geometry.resize(template, (h, w)) for w, h in SIZES}
        self._square = geometry.resize(template, (384, 384))
        self._fresh = 0
        for size in self._templates:
            self.portrait(size)

    def portrait(self, size: str) -> dict[str, Any]:
        """Make one portrait. What it took: ``all`` the CPU seconds, ``stages``, ``roles``, ``counts``."""
        task = PortraitTask(
            templates=(self._anew(self._templates[size]),),
            people=(self._person,),
            config=PortraitConfig(seed=7),
            checkpoint=Checkpoint("bench", Path("bench.safetensors"), Family.BENCH),
            folder=self._folder,
            **without_stages(),
        )
        host: Host = IdleHost()
        tally, before = Tally(), time.process_time()
        with resizes_counted(tally):
            made = list(portray(task, host, CountedVision(self._vision, tally), tally.listen))
        tally.turn("")
        took = time.process_time() - before
        for one in made:
            if one.path is not None:
                one.path.unlink()
        rest = took - sum(tally.roles.values())
        return {"all": took, "stages": tally.stages, "roles": {**tally.roles, "rest": rest}, "counts": tally.counts}

    def yardstick(self) -> float:
        """CPU seconds of looking for faces in a picture that is 768 pixels wide when it is looked at."""
        square, before = self._anew(self._square), time.process_time()
        self._vision.detector.detect(square)
        return time.process_time() - before

    def _anew(self, image: Image) -> Image:
        """The picture with other last bits, so that nobody has looked at it or at a part of it yet."""
        self._fresh += 1
        bits = np.random.default_rng(self._fresh).integers(0, 2, image.shape, np.uint8)
        changed: Image = image ^ bits
        return changed


def without_stages() -> dict[str, Any]:
    """What tells a task not to keep the pictures of its stages; nothing in a checkout that always keeps them."""
    return {"keep_stages": False} if "keep_stages" in PortraitTask.__dataclass_fields__ else {}


def serve() -> None:
    """Answer each line of the input, the name of a size, with what one portrait took."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        print("ready", flush=True)
        for line in sys.stdin:
            size = line.strip()
            unit = statistics.median(bench.yardstick() for _ in range(3))
            print(json.dumps({**bench.portrait(size), "unit": unit}), flush=True)


class Measured:
    """The process that measures the checkout in ``root``."""

    def __init__(self, root: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
        self._process = subprocess.Popen(
            command, cwd=root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()
        self.rounds: dict[str, list[dict[str, Any]]] = {}

    def run(self, size: str) -> None:
        assert self._process.stdin is not None
        print(size, file=self._process.stdin, flush=True)
        self.rounds.setdefault(size, []).append(json.loads(self._read()))

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._process.communicate(timeout=60)

    def seconds(self, size: str) -> list[float]:
        return [one["all"] for one in self.rounds[size]]

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the process that measures has ended")
        return line.strip()


def told(title: str, size: str, measured: Measured) -> None:
    """Print what the portraits of one size took: the whole with its spread, and the medians by stage and by role."""
    seconds, rounds = measured.seconds(size), measured.rounds[size]
    print(f"{size}, {title}: {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")
    for what in ("stages", "roles"):
        names = {name: None for one in rounds for name in one[what]}
        medians = {name: statistics.median(one[what].get(name, 0.0) for one in rounds) for name in names}
        print(f"  {what:7}", ", ".join(f"{name} {value:.3f}" for name, value in medians.items()))
    print("  counts ", ", ".join(f"{count} {name}" for name, count in sorted(rounds[-1]["counts"].items())))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path, help="another checkout of the project, measured in turns with this one")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    now = Measured(Path(__file__).resolve().parents[1])
    before = None if options.before is None else Measured(options.before.resolve())
    slow = False
    try:
        for size, limit in LIMITS.items():
            for _ in range(options.rounds):
                for one in (before, now):
                    if one is not None:
                        one.run(size)
            if before is not None:
                told("before", size, before)
            told("now", size, now)
            if before is not None:
                ratios = [a / b for a, b in zip(now.seconds(size), before.seconds(size), strict=True)]
                print(f"  ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
            units = statistics.median(one["all"] / one["unit"] for one in now.rounds[size])
            print(f"  {units:.1f} times looking for faces at 768 x 768, limit {limit:g}")
            slow = slow or units > limit
    finally:
        now.end()
        if before is not None:
            before.end()
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
