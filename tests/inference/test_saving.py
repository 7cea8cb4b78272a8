"""Tests that a failure after the passes costs only its own template, and never a picture that is there already."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.errors import HostFailed, VisionFailed
from easyphoto.events import Event, Notice, Portrayed, TemplateFailed
from easyphoto.inference import recipe
from easyphoto.inference.portrait import portray
from easyphoto.inference.task import PortraitTask, Unusable, seat
from easyphoto.people import Person
from easyphoto.ports import Img2Img, Portrait, Txt2Img
from tests.fakes import FakeHost, FakeVision, blank, draw_face
from tests.inference.studio import config, person, task, template


def run(job: PortraitTask, host: FakeHost | None = None, vision: FakeVision | None = None) -> tuple[Any, list[Event]]:
    events: list[Event] = []
    return list(portray(job, host or FakeHost(), vision or FakeVision(), events.append)), events


def failures(events: list[Event]) -> list[tuple[int, str]]:
    return [(e.template, e.code) for e in events if isinstance(e, TemplateFailed)]


def notices(events: list[Event]) -> str:
    return " ".join(e.message for e in events if isinstance(e, Notice))


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "people", [("小" * 60,), ("小" * 60, "明" * 60), ("小" * 60,) * 5, ("CON",), ("a\udcff/b\x01",)]
)
def test_whatever_people_are_called_their_portrait_is_saved(people: tuple[str, ...], tmp_path: Path) -> None:
    subjects = [replace(person(tmp_path), user_id=name) for name in people]
    portraits, events = run(task((template(*range(10, 10 + len(people))),), *subjects, folder=tmp_path / "out"))
    (saved,) = (tmp_path / "out").iterdir()
    assert failures(events) == [] and portraits[0].path == saved
    assert len(os.fsencode(saved.name)) <= 143 and os.fsencode(saved.name).decode()
    assert (pictures.load(saved) == portraits[0].image).all()
    assert recipe.read(saved).user_ids == people


@pytest.mark.skipif(sys.platform == "win32", reason="names are text there")
def test_a_template_whose_name_is_no_text_is_portrayed(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png"))
    sink = io.BytesIO()
    Pillow.fromarray(template(10)).save(sink, "PNG")
    path.write_bytes(sink.getvalue())
    broken = path.with_name("\udcff.jpg")
    broken.write_bytes(b"nothing")
    portraits, events = run(task((path, broken), person(tmp_path), folder=tmp_path / "out"))
    assert recipe.read(portraits[0].path).template_name == "\ufffd\ufffd.png"
    assert failures(events) == [(1, "invalid_request")]
    assert all(e.message.encode() for e in events if isinstance(e, TemplateFailed))


def test_a_name_that_the_system_can_not_write_gives_way_to_a_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = pictures.write_bytes

    def ascii_only(path: Path, data: bytes) -> None:
        path.name.encode("ascii")
        write(path, data)

    monkeypatch.setattr(pictures, "write_bytes", ascii_only)
    portraits, _ = run(task((template(10),), person(tmp_path, "Łucja"), folder=tmp_path / "out"))
    assert "portrait" in portraits[0].path.name and portraits[0].path.is_file()


def test_words_that_can_not_be_encoded_lose_no_picture(tmp_path: Path) -> None:
    chosen = config(additional_prompt="a hat \ud83d", additional_neg_prompt="\x00\udc80")
    portraits, events = run(task((template(10),), person(tmp_path), config=chosen, folder=tmp_path / "out"))
    assert failures(events) == []
    assert recipe.read(portraits[0].path).config.additional_prompt == "a hat \ud83d"


def test_a_recipe_without_an_infotext_is_written_without(tmp_path: Path) -> None:
    made = Portrait(template(10), 1, 0, recipe={"user_ids": ["anna"], "odd": object()})
    assert "odd" in pictures.read_text(recipe.save(made, tmp_path))[recipe.CHUNK]


# --- disks -----------------------------------------------------------------------------------------------------------


def test_while_the_folder_can_not_be_written_nothing_is_rendered_and_then_it_goes_on(tmp_path: Path) -> None:
    out, away, events, host = tmp_path / "out", tmp_path / "away", list[Event](), FakeHost()

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Portrayed) and not away.exists():
            out.rename(away)
            out.write_bytes(b"in the way")
        elif len(failures(events)) == 2 and out.is_file():
            out.unlink()

    job = task((template(10), template(20), template(30), template(40)), person(tmp_path), folder=out)
    portraits = list(portray(job, host, FakeVision(), listen))
    assert [p.template for p in portraits] == [0, 3]
    assert failures(events) == [(1, "storage_failed"), (2, "storage_failed")]
    assert all(str(tmp_path) not in e.message for e in events if isinstance(e, TemplateFailed))
    assert len(host.jobs) == 3 * 2, "the second was rendered before its folder was gone, the third not at all"
    assert len(list(away.glob("*.png"))) == len(list(out.glob("*.png"))) == 1


def test_a_folder_that_can_never_be_written_costs_no_rendering(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a file")
    host = FakeHost()
    portraits, events = run(task((template(10), template(20)), person(tmp_path), folder=tmp_path / "out"), host)
    assert portraits == [] and host.jobs == []
    assert failures(events) == [(0, "storage_failed"), (1, "storage_failed")]


# --- after the passes ------------------------------------------------------------------------------------------------


class Crashing(FakeVision):
    """Vision of which one role dies whenever it is used."""

    def __init__(self, role: str, method: str) -> None:
        super().__init__()

        def crash(*arguments: object) -> object:
            raise VisionFailed("The process that sees faces died.")

        setattr(getattr(self, role), method, crash)


@pytest.mark.parametrize(
    ("what", "role", "method"),
    [
        ("The enhancement", "enhancer", "enhance"),
        ("The skin retouching", "retoucher", "retouch"),
        ("The likeness", "embedder", "embed"),
    ],
)
def test_a_crash_after_the_passes_costs_the_touch_and_not_the_picture(
    what: str, role: str, method: str, tmp_path: Path
) -> None:
    anna = person(tmp_path, mean=np.array([1, 0], np.float32))
    job = task((template(10),), anna, config=config(skin_retouching_bool=True), folder=tmp_path / "out")
    portraits, events = run(job, vision=Crashing(role, method))
    assert portraits[0].path.is_file() and (portraits[0].likeness == (None,)) == (role == "embedder")
    assert f"{what} failed and was left out: The process that sees faces died." in notices(events)


def test_a_background_that_fails_leaves_the_faces(tmp_path: Path) -> None:
    def refuse(job: Txt2Img) -> None:
        if len(host.jobs) > 2:
            raise HostFailed("The device is out of memory.")

    host = FakeHost(before=refuse)
    job = task((template(10),), person(tmp_path), config=config(background_restore=True), folder=tmp_path / "out")
    portraits, events = run(job, host)
    assert portraits[0].path.is_file() and isinstance(host.jobs[-1], Img2Img)
    assert "The background pass failed and was left out: The device is out of memory." in notices(events)


def test_a_recipe_that_can_not_be_made_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = FakeHost()

    def gone() -> dict[str, Any]:
        raise OSError(5, "Input/output error", "/srv/models/base.safetensors")

    monkeypatch.setattr(host, "describe", gone)
    portraits, events = run(task((template(10),), person(tmp_path), folder=tmp_path / "out"), host)
    assert recipe.read(portraits[0].path).user_ids == ("anna",)
    assert "The recipe failed and was left out: Input/output error." in notices(events)


# --- one person's files ----------------------------------------------------------------------------------------------


def stored(folder: Path, name: str) -> Person:
    pictures.save_jpg(folder / name / "ref_image.jpg", draw_face(blank(200, 200), (100, 100), 90, who=50))
    lora = folder / f"{name}.safetensors"
    lora.write_bytes(b"lora")
    return Person(name, folder / name, lora, folder / name / "ref_image.jpg", None, None)


def test_damaged_files_of_one_person_fail_the_templates_that_need_them(tmp_path: Path) -> None:
    ann, bert = stored(tmp_path, "ann"), stored(tmp_path, "bert")
    bert.reference.write_bytes(bert.reference.read_bytes()[:300])
    people = tuple(seat(one, FakeVision(), lambda message: None) for one in (ann, bert))
    portraits, events = run(task((template(10), template(10, 20)), *people))
    assert isinstance(people[1], Unusable) and [p.template for p in portraits] == [0]
    (failed,) = (e for e in events if isinstance(e, TemplateFailed))
    assert failed.template == 1 and "bert" in failed.message and "ann" not in failed.message


def test_what_can_be_done_without_is_left_out_with_a_word(tmp_path: Path) -> None:
    best, crop = tmp_path / "best.jpg", tmp_path / "ann" / "processed_images" / "train" / "0.jpg"
    ann = replace(stored(tmp_path, "ann"), face_id=best)
    crop.parent.mkdir(parents=True)
    for path in (best, crop):
        path.write_bytes(b"no picture")
    said: list[str] = []
    found = seat(ann, FakeVision(), said.append)
    assert not isinstance(found, Unusable) and (found.face_id == found.reference).all() and found.mean is not None
    assert [("ann" in s, "0.jpg" in s, "best.jpg" in s) for s in said] == [(True, True, False), (True, False, True)]
    assert not (tmp_path / "ann" / "embedding.json").exists(), "a mean without a photo is not the mean"


# --- transparency ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gpen", "realesrgan"])
def test_a_template_s_transparency_is_the_portrait_s(method: str, tmp_path: Path) -> None:
    alpha = np.tile(np.linspace(0, 255, 480).astype(np.uint8), (400, 1))
    drawn = np.dstack([template(10), alpha])
    path = tmp_path / "sticker.png"
    Pillow.fromarray(drawn).save(path)
    job = task((path,), person(tmp_path), config=config(super_resolution_method=method), folder=tmp_path / "out")
    (portrait,), _ = run(job)
    with Pillow.open(portrait.path) as opened:
        assert opened.mode == "RGBA" and opened.size == portrait.image.shape[1::-1]
        saved = np.asarray(opened)
    small = np.asarray(Pillow.fromarray(saved[..., 3]).resize((480, 400)))
    assert np.abs(small.astype(int) - alpha).max() <= 2
    again = np.abs(pictures.load(portrait.path).astype(int) - portrait.image)
    assert np.percentile(again, 95) <= 2, "on white it is the same but where paint is too dark for its transparency"
    if method == "gpen":
        far = saved[10, 300:, :3].astype(int) - drawn[10, 300:, :3]
        assert np.abs(far).max() <= 2, "the white that it lay on is out again"


def test_an_opaque_template_gives_an_opaque_portrait(tmp_path: Path) -> None:
    path = tmp_path / "opaque.png"
    Pillow.fromarray(np.dstack([template(10), np.full((400, 480), 255, np.uint8)])).save(path)
    (portrait,), _ = run(task((path,), person(tmp_path), folder=tmp_path / "out"))
    with Pillow.open(portrait.path) as opened:
        assert opened.mode == "RGB"
