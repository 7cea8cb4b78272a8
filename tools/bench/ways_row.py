"""The ways row: what one way to make portraits gains over another, by the judge and by a reporter that chose nothing.

    python tools/bench/ways_row.py --people faker/a.jpg,t2i/b.jpg --templates t2i/c.jpg --models FOLDER
        [--ways "one attempt|best of 4"] [--model FOLDER] [--work FOLDER]
    python tools/bench/ways_row.py --table FOLDER...

A person is a portrait that the checkpoint never saw, and is trained as chain_sheet.py trains them (by the defaults of
the bench family, without validation), or only added from photos for the ways that show people without a training. Who
lies below ``--work`` already stays as they are: take another folder where the defaults have changed. Each
template becomes a portrait of theirs in each of the ways (``WAYS``), on one seed; several attempts begin with that of
one attempt. ``--model`` is the bench checkpoint; the ways with an adapter need train_adapter.py's file in its folder
``adapter``, which counts as it does by default, or in full (a weight of 1). ``--models`` is a models folder in which a
reporter lies.

A row has the likeness to the person's one portrait by both embedders, in units in which a stranger is 0 and a second
photo of the person 1, the sharpness of the face, the processor's seconds, and how many attempts were made. Where
there were several, a second row has the mean of them all, because the one attempt on the first seed may be lucky or
not. ``making`` are the processor's seconds that the person took to be trained or added, known where this run did it.
Rows are written as they come to ``--work``/ways.json, and what is there isn't made again. Intervals are over people:
the templates of a person are one number.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from benchkit import MODEL_DIR, PORTRAITS, WORK, find_project, say
from chain_row import Onlookers
from chain_sheet import Workshop, trained_id, untrained_id
from study_table import told

find_project()
from easyphoto import pictures  # noqa: E402

MEASURES = ("judge", "reporter", "sharpness", "seconds", "attempts")
TABLE = "ways.json"
Row = dict[str, Any]
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Way:
    """A way to make portraits: the parameters that differ from the usual ones, the way that it is compared with, and
    whether the person was trained."""

    changes: Mapping[str, object]
    against: str | None = None
    trained: bool = True


ONE, BARE, PLAIN = "one attempt", "untrained, repainted alone", "untrained"
_NO_FUSION = {"apply_face_fusion_before": False, "apply_face_fusion_after": False}
WAYS: Mapping[str, Way] = MappingProxyType(
    {
        ONE: Way({}),
        "best of 4": Way({"best_of": 4}, ONE),
        "LoRA weight searched": Way({"lora_weights_auto": True}, ONE),
        "both": Way({"best_of": 4, "lora_weights_auto": True}, ONE),
        "fusion only": Way({"fusion_only": True}, ONE),
        "without the LoRA": Way({"lora_weights": 0.0}, ONE),
        "without face fusion": Way(_NO_FUSION, ONE),
        "LoRA and adapter": Way({"id_control": True}, ONE),
        "LoRA and adapter in full": Way({"id_control": True, "ipa_weight": 1.0}, ONE),
        "LoRA and adapter, weight searched": Way({"id_control": True, "ipa_weight_auto": True}, "LoRA and adapter"),
        PLAIN: Way({"ipa_only_weight": 0.0}, None, False),
        "untrained, fusion only": Way({"fusion_only": True}, PLAIN, False),
        "untrained, adapter": Way({}, PLAIN, False),
        "untrained, adapter in full": Way({"ipa_only_weight": 1.0}, PLAIN, False),
        BARE: Way({"ipa_only_weight": 0.0, **_NO_FUSION}, None, False),
        "untrained, adapter alone": Way(_NO_FUSION, BARE, False),
        "untrained, adapter alone in full": Way({"ipa_only_weight": 1.0, **_NO_FUSION}, BARE, False),
    }
)
ALSO = (
    (ONE, "fusion only"),
    ("LoRA and adapter", "fusion only"),
    ("untrained, adapter", "untrained, fusion only"),
    (ONE, PLAIN),
    (ONE, "untrained, adapter"),
    ("LoRA and adapter", "untrained, adapter"),
    ("fusion only", "untrained, fusion only"),
)
"""What is compared besides: with face fusion alone, and the same portrait of a person who was trained with that of one
who was only added from the same photos."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", help="portraits of people, with commas between")
    parser.add_argument("--templates", help="portraits as templates, with commas between")
    parser.add_argument("--ways", default=f"{ONE}|best of 4|LoRA weight searched", help="with | between")
    parser.add_argument("--portraits", type=Path, default=PORTRAITS)
    parser.add_argument("--model", type=Path, default=MODEL_DIR, help="the bench checkpoint")
    parser.add_argument("--models", type=Path, help="a models folder with a reporter")
    parser.add_argument("--work", type=Path, default=WORK / "ways")
    parser.add_argument("--table", type=Path, nargs="+", help="only print what the rows of these folders say")
    options = parser.parse_args()
    if options.table is None:
        if not (options.people and options.templates and options.models):
            raise SystemExit("Say --people, --templates and --models, or --table with folders.")
        if unknown := [way for way in options.ways.split("|") if way not in WAYS]:
            raise SystemExit(f"There is no way {unknown[0]!r}: {', '.join(WAYS)}.")
        measure(options)
    rows = [row for folder in options.table or [options.work] for row in read(folder)]
    print("\n".join(lines(rows)))


def read(folder: Path) -> list[Row]:
    """The rows that are there."""
    table = folder / TABLE
    return list(json.loads(table.read_text(encoding="utf-8"))) if table.is_file() else []


def measure(options: argparse.Namespace) -> None:
    """Make and measure what isn't there yet."""
    shop, eyes = Workshop(options.work, options.portraits, None, options.model), Onlookers(options.models)
    if "reporter" not in eyes.eyes:
        raise SystemExit(f"There is no reporter in {options.models}.")
    rows = read(options.work)
    done = {(row["who"], row["on"], row["way"]) for row in rows}
    orders = [
        (file, template, way)
        for template in options.templates.split(",")
        for file in options.people.split(",")
        for way in options.ways.split("|")
        if (file, template, way) not in done
    ]
    known: dict[tuple[str, bool], float | None] = {}
    for order in orders:
        file, template, way = order
        who = file, WAYS[way].trained
        if who not in known:
            changes = {"fusion_only": bool(known)}
            known[who] = making(shop, file, way)
            # Models are loaded once, and the photos of a person looked at once: that is no portrait's time.
            shop.portraits(user_id(shop, file, way), [options.portraits / template], changes)
        for row in made(shop, eyes, options.portraits, order):
            rows.append({**row, "making": known[who]})
            say(json.dumps(rows[-1]))
        pictures.write_bytes(options.work / TABLE, json.dumps(rows, indent=1).encode())


def user_id(shop: Workshop, file: str, way: str) -> str:
    """The person of a portrait as the way shows them, who is made first where they aren't there."""
    return shop.person(file) if WAYS[way].trained else shop.untrained(file)


def making(shop: Workshop, file: str, way: str) -> float | None:
    """Make the person of a portrait as the way shows them, and return the processor's seconds of this program and of
    its trainer; None where they are there already."""
    there = shop.has_trained(trained_id(file)) if WAYS[way].trained else shop.has_added(untrained_id(file))
    begun = busy()
    user_id(shop, file, way)
    return None if there else round(busy() - begun, 1)


def busy() -> float:
    """The processor's seconds of this program, and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def made(shop: Workshop, eyes: Onlookers, portraits: Path, order: tuple[str, str, str]) -> list[Row]:
    """The row of the portrait of a person on a template, both by their files, made in a way, and where several were
    tried that of their mean; nothing where it failed."""
    file, template, way = order
    own, who = pictures.load(portraits / file), user_id(shop, file, way)
    before, begun = losers(shop), time.process_time()
    kept = shop.portraits(who, [portraits / template], {**WAYS[way].changes, "keep_losers": True})
    seconds = time.process_time() - begun
    if not kept:
        return []
    stem = f"{Path(file).stem}-{Path(template).stem}-{way.replace(' ', '-').replace(',', '')}"
    pictures.save_png(shop.folder / "made" / f"{stem}.png", kept[0].image)
    shown = [kept[0].image, *(pictures.load(path) for path in sorted(losers(shop) - before))]
    seen = {kind: values["made"] for kind, values in eyes.see(own, {"made": shown}).items()}
    seen["sharpness"] = [shop.sharpness(picture) for picture in shown]
    tried = kept[0].recipe.get("best_of", {}).get("tried", [])
    row = {"who": file, "on": template, "way": way, **{name: values[0] for name, values in seen.items()}}
    rows = [{**row, "seconds": round(seconds, 1), "attempts": len(shown), "tried": tried}]
    if len(shown) > 1:
        each = {"way": mean_of(way), "seconds": round(seconds / len(shown), 1), "attempts": 1}
        rows.append({**row, **{name: mean(values) for name, values in seen.items()}, **each})
    return rows


def losers(shop: Workshop) -> set[Path]:
    """The portraits of all people that weren't the best."""
    return set(shop.folder.rglob("losers/*.png"))


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of those that are known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def mean_of(way: str) -> str:
    """What the mean of the attempts of a way is called."""
    return f"{way}, an attempt of it"


def trained_in(way: str) -> bool:
    """Whether the person of a row was trained; the row may be that of a mean."""
    return next(known.trained for name, known in WAYS.items() if way in (name, mean_of(name)))


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The table: each way over its people, and what it has more than the way that it is compared with."""
    known = [name for way in WAYS for name in (way, mean_of(way)) if any(row["way"] == name for row in rows)]
    yield "| | people | judge | reporter | sharpness | seconds | attempts |"
    yield "|---|---|---|---|---|---|---|"
    for way in known:
        told_of = [told(over_people(rows, way, way, name)) for name in MEASURES]
        yield f"| {way} | {len(over_people(rows, way, way, 'judge'))} | " + " | ".join(told_of) + " |"
    pairs = [(way, other) for way in WAYS for other in (WAYS[way].against, mean_of(way))] + [*ALSO]
    for way, other in pairs:
        if way in known and other is not None and other in known:
            more = [over_people(rows, way, other, n) - over_people(rows, other, way, n) for n in MEASURES]
            yield f"| {way}, less {other} | {len(more[0])} | " + " | ".join(told(m, "+") for m in more) + " |"
    missing = sum(row["judge"] is None for row in rows)
    yield ""
    for trained, word in ((True, "train"), (False, "add")):
        took = {row["who"]: row["making"] for row in rows if trained_in(row["way"]) is trained and row.get("making")}
        if took:
            seconds = [*took.values()]
            yield (
                f"To {word} a person took {np.median(seconds):.0f} s of the processor in the median of {len(seconds)} "
                f"({min(seconds):.0f} to {max(seconds):.0f})."
            )
    yield f"{len({row['on'] for row in rows})} templates, {len(rows)} portraits, {missing} without a face."


def over_people(rows: Sequence[Row], way: str, like: str, name: str) -> Floats:
    """A number for each person: the mean over the templates on which there is one both in ``way`` and in ``like``."""
    known = {(row["who"], row["on"], row["way"]): row[name] for row in rows if row[name] is not None}
    found: dict[str, list[float]] = {}
    for (who, on, made), value in known.items():
        if made == way and (who, on, like) in known:
            found.setdefault(who, []).append(float(value))
    return np.array([np.mean(values) for _, values in sorted(found.items())])


if __name__ == "__main__":
    main()
