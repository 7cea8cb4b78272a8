"""Measure the photo coach on sets that are made wrong on purpose, and print the table of docs/likeness.md.

    python tools/coach_table.py PEOPLE [--glasses NAME ...]
    python tools/coach_table.py --portraits FOLDER [--sets N]

PEOPLE: a folder with one folder of photos for each person. Each set of a person is left as it is, and made wrong in one
way at a time: a stranger mixed in, a photo doubled (cut, tinted and saved again), every photo blurred, one photo
blurred, one darkened, a mask or a hand drawn over one face, all heads that look ahead alone, a single photo.
``--glasses`` names the people who wear glasses on most photos. The last rows tell how the sets as they are were
called. With ``--portraits`` it makes sets whose heads look where they are told to (`head_sets.py`), of synthetic
portraits, and counts for which directions the coach asks. Precision: of the photos (or sets) that the coach names, how
many were made wrong. Recall: of those that were made wrong, how many it names.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from coverings import COVERINGS
from head_sets import SIDES, HeadSet, Named, every_way, looking, one_way

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from easyphoto import pictures  # noqa: E402
from easyphoto.ports import Embedding, Face, Image, Vision  # noqa: E402
from easyphoto.training import photo_coach, photos  # noqa: E402
from easyphoto.training.photo_coach import CoachTopic, HeadBin  # noqa: E402
from easyphoto.vision import landmarks, largest, pose, registry  # noqa: E402

AHEAD, ASIDE = "all heads look ahead", "all heads look to one side"


@dataclass(frozen=True)
class WrongSet:
    """A set of photos, and the names of those that were made wrong; for a fault of the whole set, all names."""

    photos: Named
    wrong: frozenset[str]


class _Remembering:
    """A detector and an embedder that look at each picture once, because most sets share most photos."""

    def __init__(self, vision: Vision) -> None:
        self.detector = self
        self.embedder = self
        self.landmarks = vision.landmarks
        self.name, self.calibration = vision.embedder.name, vision.embedder.calibration
        self._vision = vision
        self._faces: dict[str, list[Face]] = {}
        self._vectors: dict[tuple[str, tuple[float, ...]], Embedding] = {}

    def detect(self, image: Image) -> list[Face]:
        key = photos.digest(image)
        if key not in self._faces:
            self._faces[key] = self._vision.detector.detect(image)
        return self._faces[key]

    def embed(self, image: Image, face: Face) -> Embedding:
        key = (photos.digest(image), face.box)
        if key not in self._vectors:
            self._vectors[key] = self._vision.embedder.embed(image, face)
        return self._vectors[key]


def blurred(image: Image) -> Image:
    made: Image = cv2.GaussianBlur(image, (0, 0), max(image.shape[:2]) / 60)
    return made


def darkened(image: Image) -> Image:
    return (image * 0.45).astype(np.uint8)


def doubled(image: Image) -> Image:
    """The photo as somebody sends it twice: cut by 2%, brighter and warmer, and saved at a lower quality."""
    height, width = image.shape[:2]
    cut = image[height // 50 : height - height // 50, width // 50 : width - width // 50]
    warm = np.clip(cut * np.array([1.08, 1.03, 0.97]) + 4, 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", warm[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 70])
    return pictures.load(data.tobytes())


def with_stranger(own: Named, other: Named) -> WrongSet:
    name = f"stranger-{other[0][0]}"
    return WrongSet([*own, (name, other[0][1])], frozenset({name}))


def with_double(own: Named, other: Named) -> WrongSet:
    name = f"again-{own[0][0]}"
    return WrongSet([*own, (name, doubled(own[0][1]))], frozenset({name, own[0][0]}))


def with_blurred(own: Named, other: Named) -> WrongSet:
    return WrongSet([(own[0][0], blurred(own[0][1])), *own[1:]], frozenset({own[0][0]}))


def with_dark(own: Named, other: Named) -> WrongSet:
    return WrongSet([(own[0][0], darkened(own[0][1])), *own[1:]], frozenset({own[0][0]}))


def all_blurred(own: Named, other: Named) -> WrongSet:
    return WrongSet([(name, blurred(image)) for name, image in own], frozenset({"*"}))


def all_frontal(own: Named, vision: _Remembering) -> WrongSet | None:
    """The photos whose heads look ahead; None where there are too few of them."""
    ahead = [one for one in own if looks_ahead(one[1], vision)]
    return WrongSet(ahead, frozenset({"*"})) if len(ahead) >= photo_coach.FEWEST else None


def from_all_sides(own: Named, vision: _Remembering) -> Named:
    """The photos, and the mirror images of those whose heads look aside: nothing is missing in them."""
    aside = [one for one in own if not looks_ahead(one[1], vision)]
    return [*own, *((f"mirrored-{name}", np.ascontiguousarray(image[:, ::-1])) for name, image in aside)]


def looks_ahead(image: Image, vision: _Remembering) -> bool:
    face = largest(vision.detect(image))
    return face is not None and photo_coach.side_of(face, pose.pose(face).yaw) is None


def one_photo(own: Named, other: Named) -> WrongSet:
    return WrongSet(own[:1], frozenset({"*"}))


FAULTS: dict[str, tuple[CoachTopic, Callable[[Named, Named], WrongSet]]] = {
    "a stranger mixed in": (CoachTopic.OUTLIER, with_stranger),
    "one photo twice": (CoachTopic.DUPLICATE, with_double),
    "one photo blurred": (CoachTopic.BLUR, with_blurred),
    "one photo dark": (CoachTopic.LIGHT, with_dark),
    "all photos blurred": (CoachTopic.BLUR, all_blurred),
    "one photo alone": (CoachTopic.COUNT, one_photo),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("people", type=Path, nargs="?", help="a folder of photos for each person")
    parser.add_argument("--portraits", type=Path, help="the synthetic portraits, of which sets by direction are made")
    parser.add_argument("--sets", type=int, default=24, help="at most so many people look in each direction")
    parser.add_argument("--glasses", nargs="*", default=[], help="the folders of people who wear glasses")
    options = parser.parse_args()
    vision = _Remembering(registry.create(ROOT / "models"))
    if options.portraits is not None:
        for line in direction_rows(options.portraits, vision, options.sets):
            print(line, flush=True)
    if options.people is None:
        if options.portraits is None:
            parser.error("say where the photos are: PEOPLE, or --portraits FOLDER")
        return
    sets = [
        [(f"{folder.name}-{path.name}", pictures.load(path)) for path in sorted(folder.iterdir())]
        for folder in sorted(p for p in options.people.iterdir() if p.is_dir())
    ]
    sets = [own for own in sets if len(own) >= photo_coach.FEWEST + 1]
    for line in as_they_are(sets, vision):
        print(line, flush=True)
    for line in table(sets, vision):
        print(line, flush=True)
    for thing in COVERINGS:
        print(covered_row(thing, sets, vision), flush=True)
    for line in (frontal_row(sets, vision), glasses_row(sets, options.glasses, vision)):
        print(line, flush=True)


def table(sets: Sequence[Named], vision: _Remembering) -> Iterator[str]:
    """The rows. A photo of a set that nobody made wrong counts against the precision too."""
    others = [*sets[1:], sets[0]]
    yield "| made wrong | sets | named rightly | named wrongly | missed | precision | recall |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for fault, (topic, make) in FAULTS.items():
        right = wrongly = missed = 0
        for own, other in zip(sets, others, strict=True):
            made = make(own, other)
            found = named(made.photos, topic, vision)
            if "*" in made.wrong:
                right, missed = right + bool(found), missed + (not found)
                wrongly += bool(named(own, topic, vision, whole=True))
            else:
                hit = bool(found & made.wrong)
                right, missed = right + hit, missed + (not hit)
                wrongly += len(found - made.wrong)
        yield row_of(fault, len(sets), right, wrongly, missed)


def frontal_row(sets: Sequence[Named], vision: _Remembering) -> str:
    """All heads look ahead, against the same people from all sides."""
    made = [found for own in sets if (found := all_frontal(own, vision)) is not None]
    right = sum(bool(named(one.photos, CoachTopic.POSES, vision, whole=True)) for one in made)
    whole = [from_all_sides(own, vision) for own in sets]
    turned = [own for own, before in zip(whole, sets, strict=True) if len(own) > len(before)]
    wrongly = sum(bool(named(own, CoachTopic.POSES, vision, whole=True)) for own in turned)
    return row_of(AHEAD, len(made), right, wrongly, len(made) - right)


def direction_rows(portraits: Path, vision: _Remembering, count: int) -> Iterator[str]:
    """Sets of which all heads look the same way, against people who look every way; then what was asked for."""
    every: list[HeadSet] = []
    told: dict[str, list[HeadSet]] = {AHEAD: [], ASIDE: []}
    for where in (HeadBin.FRONT, HeadBin.LEFT, HeadBin.RIGHT):
        ahead = where is HeadBin.FRONT
        for name, portrait in looking(portraits, where, vision, count):  # type: ignore[arg-type]
            told[AHEAD if ahead else ASIDE].append(one_way(name, portrait, where))
            every += [every_way(name, portrait)] if ahead else []
    control = [asked_for(one.photos, vision) for one in every]
    said = {fault: [asked_for(one.photos, vision) for one in sets] for fault, sets in told.items()}
    for fault, sets in told.items():
        right = sum(asked == one.missing for asked, one in zip(said[fault], sets, strict=True))
        yield row_of(fault, len(sets), right, sum(map(bool, control)), len(sets) - right)
    for fault, sets, asked in (*((f, told[f], said[f]) for f in told), ("heads look every way", every, control)):
        yield from asked_in(fault, sets, asked)


def asked_in(fault: str, sets: Sequence[HeadSet], asked: Sequence[frozenset[HeadBin]]) -> Iterator[str]:
    """For each direction, in how many of the sets the coach asked for it, of those that lack it and of those that have
    it."""
    for where in (HeadBin.LEFT, HeadBin.FRONT, HeadBin.RIGHT):
        lacking = [where in one for one, made in zip(asked, sets, strict=True) if where in made.missing]
        having = [where in one for one, made in zip(asked, sets, strict=True) if where not in made.missing]
        yield f"{fault}: {where.value} is asked for in {sum(lacking)} of {len(lacking)} sets that lack it and in " + (
            f"{sum(having)} of {len(having)} that have it"
        )


def asked_for(own: Named, vision: _Remembering) -> frozenset[HeadBin]:
    """The directions for which the coach asks."""
    coaching = photo_coach.coach(photos.report(own, vision), vision.calibration)  # type: ignore[arg-type]
    topics = {one.topic for one in coaching.suggestions}
    if CoachTopic.DUPLICATE in topics:
        print(f"near-duplicates are named in the set of {own[0][0]}", file=sys.stderr)
    return frozenset(where for where in SIDES if CoachTopic.POSES in topics and not coaching.poses[where])


def covered_row(thing: str, sets: Sequence[Named], vision: _Remembering) -> str:
    """Something covers the face of one photo of each set, where the face is still found."""
    right = wrongly = made = 0
    for number, own in enumerate(sets):
        name, image = own[0]
        face = largest(vision.detect(image))
        if face is None:
            continue
        points = landmarks.of(vision, image, face)  # type: ignore[arg-type]
        hidden = COVERINGS[thing](image, points, np.random.default_rng(number))
        found = named([(name, hidden), *own[1:]], CoachTopic.COVERED, vision)
        if vision.detect(hidden):
            made, right = made + 1, right + (name in found)
        wrongly += len(found - {name})
    return row_of(f"a {thing} over one face", made, right, wrongly, made - right)


def as_they_are(sets: Sequence[Named], vision: _Remembering) -> Iterator[str]:
    """What the coach calls the sets that nobody made wrong, and smaller sets of the same photos."""
    for size in (photo_coach.FEWEST, max(map(len, sets))):
        said = [
            photo_coach.coach(photos.report(own[:size], vision), vision.calibration)  # type: ignore[arg-type]
            for own in sets
        ]
        states = Counter(one.state.value for one in said)
        topics = Counter(named.topic.value for one in said for named in one.suggestions)
        yield f"sets as they are, of at most {size} photos: {dict(states)}, about {dict(topics)}"


def glasses_row(sets: Sequence[Named], wearing: Sequence[str], vision: _Remembering) -> str:
    """Who wears glasses, as the sets are."""
    found = [(own[0][0].rsplit("-", 1)[0] in wearing, bool(named(own, CoachTopic.GLASSES, vision))) for own in sets]
    right, wrongly = sum(a and b for a, b in found), sum(b and not a for a, b in found)
    count = sum(a for a, _ in found)
    return row_of("glasses on most photos", count, right, wrongly, count - right)


def row_of(fault: str, sets: int, right: int, wrongly: int, missed: int) -> str:
    precision = right / (right + wrongly) if right + wrongly else 0.0
    recall = right / (right + missed) if right + missed else 0.0
    return f"| {fault} | {sets} | {right} | {wrongly} | {missed} | {precision:.2f} | {recall:.2f} |"


def named(own: Named, topic: CoachTopic, vision: _Remembering, *, whole: bool = False) -> frozenset[str]:
    """The photos that the coach names under a topic, or ``*`` where it speaks of the whole set. With ``whole`` only
    that counts."""
    report = photos.report(own, vision)  # type: ignore[arg-type]
    said = [one for one in photo_coach.coach(report, vision.calibration).suggestions if one.topic is topic]
    alone = {"*" for one in said if not one.photos}
    return frozenset(alone if whole else alone | {name for one in said for name in one.photos})


if __name__ == "__main__":
    main()
