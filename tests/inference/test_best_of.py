"""The best of several portraits: which one is kept, when no more are tried, and what stays of the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easyphoto.errors import Cancelled, HostFailed, NoFace
from easyphoto.events import Progress, TemplateFailed
from easyphoto.inference import gallery, recipe
from easyphoto.inference.best_of import Attempt, Trial, best
from easyphoto.inference.portrait import portray
from easyphoto.inference.text import REDRAW
from easyphoto.ports import Image, Img2Img, Likeness, Portrait, Txt2Img
from easyphoto.storage import portraits
from tests.fakes import FakeHost, FakeVision, blank, draw_face
from tests.inference.studio import config, person, task
from tests.inference.test_turned_heads import album

WHO = 60
PLAIN: dict[str, Any] = {
    "super_resolution": False,
    "apply_face_fusion_before": False,
    "apply_face_fusion_after": False,
    "color_shift_middle": False,
    "color_shift_last": False,
    "enable_second_diffusion": False,
}


def attempt(cosine: float | None, sharpness: float, seed: int = 1) -> Attempt:
    likeness = None if cosine is None else Likeness(cosine, 0.5, "fake")
    return Attempt(Portrait(blank(8, 8), seed, 0, (likeness,), {}, {}), Trial(seed), sharpness, (True,))


@pytest.mark.parametrize(
    ("tries", "kept"),
    [
        ([(0.5, 100), (0.8, 100), (0.6, 100)], 1),
        ([(0.80, 100), (0.801, 400)], 1),
        ([(0.801, 100), (0.80, 400)], 1),
        ([(0.9, 100), (0.6, 400)], 0),
        ([(None, 900), (0.3, 100)], 1),
        ([(0.5, 100), (0.5, 100)], 0),
        ([(None, 0), (None, 0)], 0),
    ],
)
def test_likeness_decides_and_sharpness_where_that_hardly_differs(
    tries: list[tuple[float | None, float]], kept: int
) -> None:
    assert best([attempt(*one) for one in tries]) == kept


class Drawn:
    """A host's painter that draws somebody else for each seed."""

    def __init__(self, *who: int) -> None:
        self._by_seed = {(7 + i * REDRAW) % 2**32: one for i, one in enumerate(who)}
        self.fails: set[int] = set()

    def __call__(self, job: Txt2Img) -> Image:
        assert isinstance(job, Img2Img)
        if job.seed in self.fails:
            raise HostFailed("the engine failed")
        face = FakeVision().detector.detect(job.image)[0]
        return draw_face(job.image.copy(), face.center, face.width, who=self._by_seed[job.seed])

    def seed(self, index: int) -> int:
        return list(self._by_seed)[index]


def made(folder: Path, painter: Drawn, count: int, **more: Any) -> tuple[list[Portrait], FakeHost, list[Any]]:
    """Anna, whose photos show 55, 60 and 80, on a template."""
    seen = gallery.measure(album(folder, a=(55, 0), b=(60, 0), c=(80, 0)), FakeVision())
    anna = dataclasses.replace(person(folder, who=WHO), gallery=seen, mean=seen.mean)
    host, events = FakeHost(paint=painter), list[Any]()
    template = draw_face(blank(480, 400), (240, 200), 90, who=20)
    asked = task((template,), anna, config=config(best_of=count, **PLAIN, **more), folder=folder / "out")
    return list(portray(asked, host, FakeVision(), events.append)), host, events


def test_the_most_alike_is_kept_and_its_recipe_says_what_was_tried(tmp_path: Path) -> None:
    painter = Drawn(5, 30, 15)
    (portrait,), host, _ = made(tmp_path, painter, 3)
    assert portrait.seed == painter.seed(1) and len(host.jobs) == 3
    assert portrait.path is not None
    read = recipe.read(portrait.path)
    said = read.data["best_of"]
    assert (said["seed"], said["count"], said["kept"]) == (7, 3, 1)
    assert [one["seed"] for one in said["tried"]] == [painter.seed(i) for i in range(3)]
    cosines = [one["cosines"][0] for one in said["tried"]]
    assert max(cosines) == cosines[1] and all(one["sharpness"] > 0 for one in said["tried"])
    assert (read.seed, read.config.best_of) == (painter.seed(1), 1), "it makes this very portrait again"
    assert [p.name for p in (tmp_path / "out").iterdir()] == [portrait.path.name]
    (tmp_path / "again").mkdir()
    (alone,), _, _ = made(tmp_path / "again", painter, 1, seed=portrait.seed)
    np.testing.assert_array_equal(alone.image, portrait.image)


def test_it_ends_when_the_portrait_is_as_alike_as_the_photos_are(tmp_path: Path) -> None:
    painter = Drawn(5, 62, 61)
    (portrait,), host, _ = made(tmp_path, painter, 3)
    assert len(host.jobs) == 2 and portrait.seed == painter.seed(1)
    said = portrait.recipe["best_of"]
    assert len(said["tried"]) == 2 and said["tried"][1]["cosines"][0] >= said["ceilings"][0] > 0.8


def test_the_others_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    painter = Drawn(5, 30, 15)
    made(tmp_path, painter, 3, keep_losers=True)
    losers = sorted((tmp_path / "out" / "losers").glob("*.png"))
    assert [portraits.recipe_in(path)["seed"] for path in losers] in (  # type: ignore[index]
        [painter.seed(0), painter.seed(2)],
        [painter.seed(2), painter.seed(0)],
    )
    assert len(portraits.of(tmp_path / "out", "anna")) == 3, "they go with the person"


def test_one_that_fails_costs_no_other(tmp_path: Path) -> None:
    painter = Drawn(5, 30, 15)
    painter.fails = {painter.seed(1)}
    (portrait,), _, events = made(tmp_path, painter, 3)
    assert portrait.seed == painter.seed(2) and len(portrait.recipe["best_of"]["tried"]) == 2
    painter.fails = {painter.seed(i) for i in range(3)}
    none, _, events = made(tmp_path, painter, 3)
    assert none == [] and [e.message for e in events if isinstance(e, TemplateFailed)] == ["the engine failed"]


def test_the_time_left_counts_all_that_are_tried(tmp_path: Path) -> None:
    _, _, events = made(tmp_path, Drawn(5, 30, 15), 3)
    left = [e.seconds_left for e in events if isinstance(e, Progress) and e.seconds_left is not None]
    assert left and left[-1] == 0.0


def test_no_face_and_a_cancel_are_as_with_one(tmp_path: Path) -> None:
    anna = person(tmp_path)
    asked = task((blank(300, 300),), anna, config=config(best_of=3))
    events = list[Any]()
    assert list(portray(asked, FakeHost(), FakeVision(), events.append)) == []
    assert [e.code for e in events if isinstance(e, TemplateFailed)] == [NoFace.code]
    template = draw_face(blank(480, 400), (240, 200), 90, who=20)
    with pytest.raises(Cancelled):
        list(
            portray(
                dataclasses.replace(asked, templates=(template,)), FakeHost(), FakeVision(), events.append, lambda: True
            )
        )
