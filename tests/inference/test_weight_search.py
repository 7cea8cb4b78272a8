"""Weights that are left to a search: what is tried in which order, what is kept, and what the recipe says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easyphoto.config import REF_MODES, Family, PortraitConfig
from easyphoto.events import Notice, Progress
from easyphoto.inference import gallery, plan, recipe
from easyphoto.inference.best_of import Attempt, Trial, trials
from easyphoto.inference.portrait import portray
from easyphoto.inference.portrait_panel import PanelBook
from easyphoto.inference.task import SEEDS
from easyphoto.inference.text import REDRAW
from easyphoto.ports import IdentityKind, Image, Img2Img, Likeness, Portrait, Txt2Img
from easyphoto.storage import portraits
from tests.fakes import FakeHost, FakeVision, blank, draw_face
from tests.inference.studio import config, person, task
from tests.inference.test_best_of import PLAIN
from tests.inference.test_turned_heads import album

LORA, IPA = plan.TRIED["lora_weights"], plan.TRIED["ipa_weight"]
IP_ADAPTER = IdentityKind.IP_ADAPTER_FACE


def weights(job: Txt2Img) -> tuple[float, float | None]:
    """The weights of the person's LoRA, 0 without one, and of the adapter."""
    assert isinstance(job, Img2Img)
    return job.loras[0].weight if job.loras else 0.0, job.identities[0].weight if job.identities else None


def by_weights(who: Callable[[float, float | None], int]) -> Callable[[Txt2Img], Image]:
    """A host's painter that draws somebody for each pair of weights."""

    def paint(job: Txt2Img) -> Image:
        assert isinstance(job, Img2Img)
        face = FakeVision().detector.detect(job.image)[0]
        return draw_face(job.image.copy(), face.center, face.width, who=who(*weights(job)))

    return paint


def made(
    folder: Path, who: Callable[[float, float | None], int], book: PanelBook | None = None, **more: Any
) -> tuple[list[Portrait], FakeHost, list[Any]]:
    """Anna, whose photos show 55, 60 and 80, on a template, by an SD1 model with an IP-Adapter."""
    seen = gallery.measure(album(folder, a=(55, 0), b=(60, 0), c=(80, 0)), FakeVision())
    anna = dataclasses.replace(person(folder), gallery=seen, mean=seen.mean)
    host, events = FakeHost(paint=by_weights(who), kinds={IP_ADAPTER: 1, IdentityKind.INSTANTID: 2}), list[Any]()
    shown = draw_face(blank(480, 400), (240, 200), 90, who=20)
    asked = task((shown,), anna, config=config(**{**PLAIN, **more}), folder=folder / "out", family=Family.SD1)
    return list(portray(asked, host, FakeVision(), events.append, panels=book)), host, events


def notices(events: list[Any]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice)]


@pytest.mark.thorough
def test_the_best_weight_is_kept_and_its_recipe_makes_that_portrait_again(tmp_path: Path) -> None:
    (portrait,), host, events = made(tmp_path, lambda lora, _: 30 if lora == LORA[2] else 5, lora_weights_auto=True)
    assert [weights(job)[0] for job in host.jobs] == list(LORA), "each value once, in its order"
    assert {job.seed for job in host.jobs} == {7}
    assert portrait.path is not None
    read = recipe.read(portrait.path)
    said = read.data["best_of"]
    assert (said["seed"], said["count"], said["kept"], said["searched"]) == (7, 1, 2, ["lora_weights"])
    assert [one["lora_weights"] for one in said["tried"]] == list(LORA)
    assert (read.config.lora_weights, read.config.lora_weights_auto) == (LORA[2], False)
    assert read.data["loras"][0]["weight"] == LORA[2]
    left = [e.seconds_left for e in events if isinstance(e, Progress) and e.seconds_left is not None]
    assert left and left[-1] == 0.0
    (tmp_path / "again").mkdir()
    (alone,), again, _ = made(tmp_path / "again", lambda lora, _: 30 if lora == LORA[2] else 5, lora_weights=LORA[2])
    np.testing.assert_array_equal(alone.image, portrait.image)
    assert len(again.jobs) == 1 and "best_of" not in alone.recipe


@pytest.mark.thorough
def test_two_weights_are_searched_one_after_the_other_and_the_seeds_follow_with_the_best(tmp_path: Path) -> None:
    def who(lora: float, adapter: float | None) -> int:
        return 5 + 10 * (lora == LORA[1]) + 10 * (adapter == IPA[3])

    asked: dict[str, Any] = {"id_control": True, "lora_weights_auto": True, "ipa_weight_auto": True, "best_of": 3}
    _, host, _ = made(tmp_path, who, **asked)
    found = [weights(job) for job in host.jobs]
    assert found[:4] == [(lora, IPA[0]) for lora in LORA]
    assert found[4:7] == [(LORA[1], adapter) for adapter in IPA[1:]]
    assert found[7:] == [(LORA[1], IPA[3])] * 2
    assert [job.seed for job in host.jobs] == [7] * 7 + [(7 + i * REDRAW) % SEEDS for i in (1, 2)]


@pytest.mark.thorough
def test_it_ends_at_the_persons_own_ceiling_and_keeps_the_others_where_that_is_asked_for(tmp_path: Path) -> None:
    def who(lora: float, _: float | None) -> int:
        return 62 if lora == LORA[1] else 5

    (portrait,), host, _ = made(tmp_path, who, lora_weights_auto=True, keep_losers=True)
    said = portrait.recipe["best_of"]
    assert len(host.jobs) == 2 and said["tried"][1]["cosines"][0] >= said["ceilings"][0]
    (loser,) = (tmp_path / "out" / "losers").glob("*.png")
    lost = portraits.recipe_in(loser)
    assert lost is not None and (lost["config"]["lora_weights"], lost["config"]["lora_weights_auto"]) == (0.9, False)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"lora_weights_auto": True, "ref_mode_choose": REF_MODES[1]}, "lora_weights"),
        ({"lora_weights_auto": True, "fusion_only": True}, "lora_weights"),
        ({"ipa_weight_auto": True}, "ipa_weight"),
        ({"ipa_weight_auto": True, "id_control": True, "id_control_method": "InstantID"}, "ipa_weight"),
    ],
)
def test_what_would_change_nothing_is_not_searched_and_that_is_said(
    tmp_path: Path, asked: dict[str, Any], name: str
) -> None:
    (portrait,), host, events = made(tmp_path, lambda *_: 5, **asked)
    assert len(host.jobs) == (0 if "fusion_only" in asked else 1) and "best_of" not in portrait.recipe
    assert f"{name} isn't searched for, because it would change nothing here." in notices(events)


@pytest.mark.thorough
def test_the_panel_counts_the_portrait_that_was_kept_alone(tmp_path: Path) -> None:
    book = PanelBook()
    made(tmp_path, lambda lora, _: 30 if lora == LORA[2] else 5, book, lora_weights_auto=True)
    assert book.told()["anna"]["pictures"] == 1


def test_an_attempt_that_fails_is_passed_over_and_the_search_goes_on() -> None:
    done: list[Attempt] = []
    asked = trials([1, 2], {"w": (0.5, 0.6)}, done)
    assert next(asked) == Trial(1, (("w", 0.5),)), "and it failed"
    second = next(asked)
    assert second == Trial(1, (("w", 0.6),))
    done.append(Attempt(Portrait(blank(8, 8), 1, 0, (Likeness(0.4, 0.4, "fake"),), {}, {}), second, 1.0, (True,)))
    assert list(asked) == [Trial(2, (("w", 0.6),))]


def test_without_a_search_nothing_is_tried_twice() -> None:
    assert plan.searched(plan.families.spec(Family.SDXL), PortraitConfig(id_control=True)) == {}
    assert plan.tries(PortraitConfig(best_of=3), {}) == 3
