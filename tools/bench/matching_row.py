"""The matching row: how often each face of a group goes to its own person when likeness decides.

    python tools/bench/matching_row.py [--portraits FOLDER] [--groups N] [--people N] [--others N] [--out FILE]

Each person is a held-out portrait. The photos by which the program knows them are crops of it (as in lora_row.py); in a
group stands another view: mirrored, small and compressed, tilted in another light, or seen from one side (as in
identities.py). Groups of two, three and four people are pasted side by side, the faces are found in them, and
:func:`easyphoto.inference.matching.matched` gives each face to somebody. A group is right if no face went to another
than its own person, and whole if every face was found. With ``--others``, so many people are asked for besides who
aren't in the picture. Nothing is drawn by a model.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import captions
import cv2
import numpy as np
from benchkit import PORTRAITS, ROOT, SIZE, Image, find_project, held_out, say
from identities import varied
from lora_row import photos_of

find_project()
from easyphoto import pictures  # noqa: E402
from easyphoto.inference.matching import matched  # noqa: E402
from easyphoto.ports import Embedding, Face, Vision  # noqa: E402
from easyphoto.training import crops  # noqa: E402
from easyphoto.vision import geometry, largest  # noqa: E402

AROUND = 2.1
"""A portrait is cut out so many faces wide, as the bench model's trainer cuts photos."""
SIDES = (150, SIZE)
"""From how many to how many pixels a member of a group is wide."""
SIZES = (2, 3, 4)
GREY = 128
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Known:
    """Somebody whom the program knows: ``mean`` of the photos' vectors, and the views that can stand in a group."""

    name: str
    mean: Embedding
    views: tuple[Image, ...]


@dataclass(frozen=True, eq=False)
class Group:
    """A picture of several people, and the edges (left, right) between which each of them stands."""

    picture: Image
    edges: tuple[tuple[int, int], ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--portraits", type=Path, default=PORTRAITS)
    parser.add_argument("--models", type=Path, default=ROOT / "models")
    parser.add_argument("--groups", type=int, default=20, help="of each size")
    parser.add_argument("--people", type=int, default=48)
    parser.add_argument("--others", type=int, nargs="+", default=[0, 4])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from easyphoto.vision import registry

    vision = registry.create(options.models)
    people = known_people(options.portraits, options.people, vision)
    if len(people) < max(SIZES) + max(options.others):
        raise SystemExit(f"There are {len(people)} people with a face, which are too few.")
    row = {"embedder": vision.embedder.name, "detector": vision.backends()["detector"], "people": len(people)}
    row["groups"] = measured(people, vision, options.groups, options.others)
    print(json.dumps(row, indent=1))
    if options.out is not None:
        pictures.write_bytes(options.out, json.dumps(row, indent=1).encode())


def known_people(folder: Path, count: int, vision: Vision) -> list[Known]:
    """As many of the held-out portraits as asked that are there and show a face."""
    found: list[Known] = []
    for number, name in enumerate(sorted(held_out(captions.read()))):
        if len(found) == count:
            break
        if not (folder / name).is_file():
            continue
        picture = pictures.load(folder / name)
        face = largest(vision.detector.detect(picture))
        person = None if face is None else known(name, picture, face, vision, number)
        if person is not None:
            found.append(person)
            say(f"{len(found)} of {count}: {name}")
    return found


def known(name: str, picture: Image, face: Face, vision: Vision, seed: int) -> Known | None:
    """The person of a portrait; None where no face is found in any photo."""
    crop = crops.square(face, AROUND, (picture.shape[0], picture.shape[1]))
    cut = geometry.resize(geometry.cut(picture, crop), (SIZE, SIZE))
    vectors = []
    for photo in photos_of(cut, seed):
        seen = largest(vision.detector.detect(photo))
        if seen is not None:
            vectors.append(vision.embedder.embed(photo, seen))
    if not vectors:
        return None
    mean = np.mean(np.stack(vectors), axis=0)
    inside = geometry.in_crop(face, crop, (SIZE, SIZE))
    views = varied(cut, inside.center, inside.width, np.random.default_rng([17, seed]))[1:]
    return Known(name, (mean / np.linalg.norm(mean)).astype(np.float32), tuple(view.picture for view in views))


def grouped(people: Sequence[Known], rng: np.random.Generator) -> Group:
    """The people side by side, each in one of their views and of another size."""
    parts, edges, left = [], [], 0
    for person in people:
        side = int(rng.integers(SIDES[0], SIDES[1] + 1))
        view = cv2.resize(
            person.views[int(rng.integers(len(person.views)))], (side, side), interpolation=cv2.INTER_AREA
        )
        parts.append(cv2.copyMakeBorder(view, SIDES[1] - side, 0, 0, 0, cv2.BORDER_CONSTANT, value=(GREY,) * 3))
        edges.append((left, left + side))
        left += side
    return Group(np.concatenate(parts, axis=1), tuple(edges))


def right(group: Group, people: Sequence[Known], asked: Sequence[Known], vision: Vision) -> list[bool | None]:
    """For each of ``people``, who stand in the group in this order, whether likeness gave their face to them out of all
    who are ``asked`` for; None where their face wasn't found."""
    faces = vision.detector.detect(group.picture)
    given = matched([vision.embedder.embed(group.picture, face) for face in faces], [one.mean for one in asked])
    told: list[bool | None] = []
    for person, (left, end) in zip(people, group.edges, strict=True):
        there = [i for i, face in enumerate(faces) if left <= face.center[0] < end]
        best = max(there, key=lambda i: faces[i].width, default=None)
        got = None if best is None else given[best]
        told.append(None if best is None else got is not None and asked[got] is person)
    return told


def measured(people: Sequence[Known], vision: Vision, groups: int, others: Sequence[int]) -> list[Row]:
    """A row for each size of group and each number of others who are asked for."""
    rows = []
    for size in SIZES:
        told: dict[int, list[list[bool | None]]] = {count: [] for count in others}
        for number in range(groups):
            rng = np.random.default_rng([19, size, number])
            drawn = [people[i] for i in rng.permutation(len(people))]
            group = grouped(drawn[:size], rng)
            for count in others:
                asked = [drawn[i] for i in rng.permutation(size + count)]
                told[count].append(right(group, drawn[:size], asked, vision))
        rows += [counted(size, count, found) for count, found in told.items()]
        say(f"{groups} groups of {size}")
    return rows


def counted(size: int, others: int, told: Sequence[Sequence[bool | None]]) -> Row:
    whole = sum(all(one is True for one in group) for group in told)
    matched_right = sum(False not in group for group in told)
    seen = [one for group in told for one in group if one is not None]
    low, high = share_interval(matched_right, len(told))
    return {
        "people in the group": size,
        "others asked for": others,
        "groups": len(told),
        "right and whole": whole,
        "right": matched_right,
        "from": round(low, 3),
        "to": round(high, 3),
        "faces": size * len(told),
        "found": len(seen),
        "given to their own": sum(seen),
    }


def share_interval(count: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share, 95%."""
    share, extra = count / total, z * z / total
    middle = (share + extra / 2) / (1 + extra)
    reach = z * math.sqrt(share * (1 - share) / total + extra / (4 * total)) / (1 + extra)
    return middle - reach, middle + reach


if __name__ == "__main__":
    main()
