"""Print what a study of LoRAs says: the table of ``reward_row.py``'s people, with intervals over people.

    python tools/bench/study_table.py FOLDER... --models FOLDER

Each FOLDER is an ``--out`` of ``reward_row.py``, which may have been given some of the people each: ``reward.json``
with the people that are done, and ``person-N/photos``. A study that goes on can be read at any time. ``--models`` is a
models folder in which the study's reporter lies.

Units: 0 is a stranger and 1 a second photo of the person, by each embedder's calibration. The floor is the row "no
LoRA", and the ceiling what the person's own photos have with one another: the mean of all pairs, as each picture's
likeness in the study is the mean over all photos. All intervals are of 95%, by bootstrap over people: the pictures of a
person are one number.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchkit import find_project, say

find_project()
from easyphoto import pictures, reporting  # noqa: E402
from easyphoto.measures import onlookers  # noqa: E402
from easyphoto.measures.onlookers import Onlooker  # noqa: E402
from easyphoto.ports import Calibration, Vision  # noqa: E402
from easyphoto.vision import largest, registry  # noqa: E402

FLOOR = "no LoRA"
ROWS = {
    "no LoRA": "no LoRA (floor)",
    "before": "greedy fusion",
    "last": "last checkpoint",
    "best": "best checkpoint",
    "mean": "mean of all checkpoints",
    "best of four": "greedy fusion, best of four seeds",
    "rewarded": "with the reward, whatever the gate said",
    "as long without": "as long without the reward",
    "gate": "with the reward where the gate said yes, else without",
}
"""What the study calls its rows, and how the table does."""
PAIRS = (("before", "last"), ("mean", "before"), ("best", "last"), ("rewarded", "as long without"),
         ("rewarded", "before"), ("best of four", "before"), ("gate", "before"), ("gate", "as long without"),
         ("gate", "best of four"))  # fmt: skip
KINDS = ("judge", "reporter")
DRAWS = 4000
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Ceilings:
    """What each person's photos have with one another, by each kind of embedder, in the order of the people; and what
    the cosines of each mean."""

    of: Mapping[str, Sequence[float]]
    calibrations: Mapping[str, Calibration]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("studies", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--models", type=Path, required=True, help="a models folder with the study's reporter in it")
    options = parser.parse_args()
    people = [one for study in options.studies for one in done(study)]
    if not people:
        raise SystemExit(f"Nobody of the study is done yet: there is no reward.json in {options.studies[0]}.")
    known = ceilings([photos for _, photos in people], registry.create(options.models))
    for line in lines([row for row, _ in people], known):
        print(line)


def done(study: Path) -> list[tuple[Row, Path]]:
    """The people of a study who are done, each with the folder of their photos. The study goes through them by number;
    the folder of the last one may belong to somebody who isn't done."""
    table = study / "reward.json"
    if not table.is_file():
        return []
    folders = sorted(study.glob("person-*"), key=lambda path: int(path.name.split("-")[1]))
    rows = json.loads(table.read_text(encoding="utf-8"))
    return [(row, folder / "photos") for row, folder in zip(rows, folders, strict=False)]


def ceilings(folders: Sequence[Path], vision: Vision) -> Ceilings:
    """Look at the photos of each person."""
    reporter = reporting.of(vision)
    if reporter is None:
        raise SystemExit("The study's reporter isn't there: name its models folder with --models.")
    eyes: dict[str, Onlooker[Any]] = {"judge": onlookers.judge(vision.embedder), "reporter": onlookers.second(reporter)}
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for folder in folders:
        faces = []
        for path in sorted(folder.glob("*.png")):
            image = pictures.load(path)
            face = largest(vision.detector.detect(image))
            if face is not None:
                faces.append((image, face))
        if len(faces) < 2:
            raise SystemExit(f"Fewer than two photos with a face lie in {folder}.")
        for kind, eye in eyes.items():
            described = [eye.describe(*face) for face in faces]
            pairs = eye.table(described, described)[np.triu_indices(len(described), 1)]
            found[kind].append(float(pairs.mean()))
        say(f"{folder.parent.name}: {len(faces)} photos")
    return Ceilings(found, {kind: eye.calibration for kind, eye in eyes.items()})


def lines(rows: Sequence[Row], known: Ceilings) -> Iterator[str]:
    """The tables as lines of Markdown: the rows, the paired differences, and what the gate said."""
    rows = [chosen(row) for row in rows]
    units = {kind: Units(rows, kind, known) for kind in KINDS}
    there = [name for name in ROWS if all(name in row for row in rows)]
    yield f"{len(rows)} people; likeness in units in which a stranger is 0 and a second photo of the person 1."
    yield ""
    yield "| | judge | share of the way | reporter | share of the way | a face found | sharpness |"
    yield "|---|---|---|---|---|---|---|"
    for name in there:
        cells = [cell for kind in KINDS for cell in (told(units[kind].of(name)), percent(units[kind].way(name)))]
        sharp = [row[name]["sharpness"] for row in rows if row[name]["sharpness"] is not None]
        found = f"{np.mean([row[name]['found'] for row in rows]):.0%}"
        keen = f"{np.mean(sharp):.0f}" if sharp else ""
        yield f"| {ROWS[name]} | {' | '.join(cells)} | {found} | {keen} |"
    tops = [told(units[kind].ceiling) for kind in KINDS]
    yield f"| their photos to one another (ceiling) | {tops[0]} | | {tops[1]} | | | |"
    yield ""
    yield "| difference | judge | higher for | reporter | higher for | a face found | sharpness |"
    yield "|---|---|---|---|---|---|---|"
    for first, second in PAIRS:
        if first in there and second in there:
            apart = [units[kind].of(first) - units[kind].of(second) for kind in KINDS]
            cells = [cell for d in apart for cell in (told(d, "+"), f"{int((d > 0).sum())} of {len(d)}")]
            found = told(np.array([row[first]["found"] - row[second]["found"] for row in rows]), "+")
            sharp = [(row[first]["sharpness"], row[second]["sharpness"]) for row in rows]
            ratios = np.array([one / other - 1 for one, other in sharp if one is not None and other])
            cells += [found, percent(ratios, "+") if len(ratios) else ""]
            yield f"| {ROWS[first]} less {ROWS[second]} | {' | '.join(cells)} |"
    yield ""
    gates = [row["reward"] for row in rows if row.get("reward")]
    yes = sum(bool(gate.get("accepted")) for gate in gates)
    minutes = [gate["minutes"] for gate in gates if gate.get("minutes")]
    if minutes:
        yield f"The reward with its gate took {min(minutes):.0f} to {max(minutes):.0f} minutes."
        yield ""
    for row in rows:
        gate = row.get("reward") or {}
        if gate.get("interval"):
            low, high = gate["interval"]
            yield f"- {gate['gain']:+.3f} ({low:+.3f} to {high:+.3f}): {gate.get('why') or 'accepted'}"
    yield ""
    yield f"The gate said yes to {yes} of {len(gates)}."


def chosen(row: Row) -> Row:
    """The row of a person with what they get after the gate: the reward where it was accepted, else the LoRA before."""
    if not row.get("reward") or not {"rewarded", "before"} <= row.keys():
        return row
    return {**row, "gate": row["rewarded" if row["reward"].get("accepted") else "before"]}


@dataclass(frozen=True)
class Units:
    """The rows of the study by one embedder, a number for each person, in units of its calibration."""

    rows: Sequence[Row]
    kind: str
    known: Ceilings

    def of(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        return self._scaled([row[name][self.kind] for row in self.rows])

    @property
    def ceiling(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        return self._scaled(self.known.of[self.kind])

    def way(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Which share of the way from the floor to the ceiling each person has come."""
        floor = self.of(FLOOR)
        return np.asarray((self.of(name) - floor) / np.maximum(1e-3, self.ceiling - floor), np.float64)

    def _scaled(self, cosines: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
        known = self.known.calibrations[self.kind]
        return np.array([known.unit(cosine) for cosine in cosines], np.float64)


def between(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """The 95% bootstrap interval of the mean over people."""
    drawn = np.random.default_rng(0).choice(values, (DRAWS, len(values))).mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def told(values: np.ndarray[Any, np.dtype[np.float64]], sign: str = "") -> str:
    """The mean over people with its interval, which a single person has none of."""
    mean = f"{values.mean():{sign}.3f}"
    return mean if len(values) < 2 else f"{mean} [{', '.join(f'{end:{sign}.3f}' for end in between(values))}]"


def percent(values: np.ndarray[Any, np.dtype[np.float64]], sign: str = "") -> str:
    """The same as a percentage."""
    mean = f"{values.mean():{sign}.0%}"
    ends = ", ".join(f"{100 * end:{sign}.0f}" for end in between(values))
    return mean if len(values) < 2 else f"{mean} [{ends}]"


if __name__ == "__main__":
    main()
