"""The chain on clips, on drawn faces that move: who is followed, what stays still, and what a kill leaves."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from easyphoto import pictures
from easyphoto.clips import decoding
from easyphoto.config import Family, unlike_defaults
from easyphoto.errors import Cancelled, InvalidRequest, NoFace
from easyphoto.events import Event, Notice, Progress
from easyphoto.inference import flow
from easyphoto.inference.moving import ClipTask, FrameShelf, MadeClip, repaint
from easyphoto.inference.task import Subject
from easyphoto.inference.tracks import Role, Tracker, smoothed, steadied
from easyphoto.ports import Checkpoint, Image, Img2Img, Txt2Img
from tests.fakes import FakeHost, FakeVision, blank, draw_face, tint
from tests.inference.studio import config, person

SIZE = (320, 200)
"""Width and height of the clips."""


def frame(*faces: tuple[float, float, int], gray: int = 128) -> Image:
    """A frame with a face at each (x, y), who is the third number."""
    picture = blank(*SIZE, gray=gray)
    for x, y, who in faces:
        picture = draw_face(picture, (x, y), 44, who=who)
    return picture


def walking(count: int = 10, who: int = 10) -> list[Image]:
    return [frame((100 + 4 * i, 100, who)) for i in range(count)]


def clip(folder: Path, images: Sequence[Image]) -> decoding.Clip:
    source = folder / "clip"
    for index, image in enumerate(images):
        pictures.save_png(source / f"{index:03}.png", image)
    return decoding.probe(source)


def task(folder: Path, images: Sequence[Image], *people: Subject | None, **more: Any) -> ClipTask:
    wanted = more.pop("config", config(color_shift_last=False))
    return ClipTask(
        clip=clip(folder, images),
        people=people,
        config=wanted,
        chosen=unlike_defaults(wanted) | {"enable_second_diffusion"},
        checkpoint=Checkpoint("base", Path("base.safetensors"), Family.BENCH),
        folder=folder / "work",
        **more,
    )


def run(job: ClipTask, host: FakeHost | None = None, **more: Any) -> tuple[MadeClip, list[Image], list[Event]]:
    events: list[Event] = []
    cancelled = more.pop("cancelled", lambda: False)
    made = repaint(job, host or FakeHost(), FakeVision(), events.append, cancelled)
    return made, list(FrameShelf(job.folder).frames()), events


def roles_of(images: Sequence[Image], rate: float = 8) -> list[Role]:
    tracker = Tracker(FakeVision(), rate)
    for image in images:
        tracker.look(image)
    return tracker.roles()


def xs(role: Role, rate: float = 8) -> dict[int, float]:
    return {index: face.center[0] for index, face in sorted(steadied(role, rate).items())}


# --- who is where ----------------------------------------------------------------------------------------------------


def test_a_face_is_one_track_from_end_to_end() -> None:
    (role,) = roles_of(walking())
    assert list(xs(role)) == list(range(10))
    assert np.allclose(list(xs(role).values()), [100 + 4 * i for i in range(10)], atol=1.5)


def test_two_people_who_cross_keep_their_places() -> None:
    """They meet in the middle, where the detector sees one face or two that touch, and go on to the other side."""
    images = [frame((60 + 10 * i, 100, 10), (260 - 10 * i, 100, 70)) for i in range(21)]
    left, right = roles_of(images)
    assert [xs(left)[0] < 100, xs(left)[20] > 220] == [True, True]
    assert [xs(right)[0] > 220, xs(right)[20] < 100] == [True, True]


def test_a_face_that_is_lost_for_a_moment_is_found_again_and_the_gap_is_filled() -> None:
    images = walking(12)
    images[5] = images[6] = frame()
    (role,) = roles_of(images)
    assert list(xs(role)) == list(range(12))
    assert abs(xs(role)[5] - 120) < 2


def test_a_long_absence_is_not_filled_but_the_person_is_known_again() -> None:
    images = [*walking(4), *[frame()] * 20, *[frame((250, 60, 10))] * 4]
    (role,) = roles_of(images)
    assert list(xs(role)) == [0, 1, 2, 3, 24, 25, 26, 27]


def test_after_a_cut_people_are_known_by_their_faces() -> None:
    first = [frame((80, 100, 10), (240, 100, 70)) for _ in range(4)]
    second = [frame((80, 100, 70), (240, 100, 10), gray=40) for _ in range(4)]
    tracker = Tracker(FakeVision(), 8)
    for image in [*first, *second]:
        tracker.look(image)
    assert tracker.cuts == {4}
    anna, ben = tracker.roles()
    assert xs(anna)[0] < 100 and xs(anna)[7] > 200
    assert xs(ben)[0] > 200 and xs(ben)[7] < 100


def test_what_is_seen_once_is_a_mistake() -> None:
    images = walking(6)
    images[3] = frame((112, 100, 10), (260, 60, 70))
    assert len(roles_of(images)) == 1


def test_a_trembling_box_is_steadied_and_a_steady_walk_is_not_held_back() -> None:
    rng = np.random.default_rng(2)
    walk = np.linspace(0, 100, 40)[:, None]
    steady = smoothed(walk + rng.normal(0, 2, walk.shape), 3)
    assert np.abs(np.diff(steady - walk, axis=0)).mean() < 0.25 * 2
    assert np.allclose(smoothed(walk, 3), walk, atol=1e-6), "the ends are not pulled inwards"


# --- what becomes of the frames --------------------------------------------------------------------------------------


def test_the_face_becomes_the_persons_and_everything_else_stays(tmp_path: Path) -> None:
    images = walking(6)
    made, frames, events = run(task(tmp_path, images, person(tmp_path)))
    assert (made.frames, made.repainted, made.seed) == (6, 6, 7)
    assert len(made.curve) == 6
    vision = FakeVision()
    for before, after in zip(images, frames, strict=True):
        assert (after[:, :40] == before[:, :40]).all(), "far from the face no bit changes"
        face = vision.detector.detect(after)[0]
        assert vision.embedder.embed(after, face) @ np.array([np.cos(np.pi / 2 * 0.75), np.sin(np.pi / 2 * 0.75)]) > 0.9
    told = [(e.step, e.total) for e in events if isinstance(e, Progress) and e.stage == "frames"]
    assert told == [(i + 1, 6) for i in range(6)]
    assert {e.stage for e in events if isinstance(e, Progress)} == {"faces", "frames"}


@pytest.mark.thorough
def test_frames_without_a_face_pass_unchanged(tmp_path: Path) -> None:
    images = [*walking(4), *[frame()] * 12, *walking(4)]
    made, frames, _ = run(task(tmp_path, images, person(tmp_path)))
    assert made.repainted == 8
    assert all((frames[i] == images[i]).all() for i in range(4, 16))


def test_every_frame_has_the_same_noise_in_a_crop_of_one_size(tmp_path: Path) -> None:
    host = FakeHost()
    run(task(tmp_path, walking(6), person(tmp_path)), host)
    jobs = [job for job in host.jobs if isinstance(job, Img2Img)]
    assert {job.seed for job in jobs} == {7}
    assert len({job.image.shape for job in jobs}) == 1


def restless(job: Txt2Img) -> Image:
    """A host whose every picture has another light, as a model has from frame to frame."""
    assert isinstance(job, Img2Img)
    restless_calls.append(1)
    light = 24 if len(restless_calls) % 4 < 2 else -24
    mask = np.ones(job.image.shape[:2], np.float32) if job.mask is None else job.mask
    return np.asarray((job.image + mask[..., None] * light).clip(0, 255), np.uint8)


restless_calls: list[int] = []


@pytest.mark.thorough
def test_what_comes_out_flickers_less_than_frames_that_are_made_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [frame((160, 100, 10)) for _ in range(8)]

    def flicker(folder: Path) -> float:
        restless_calls.clear()
        _, frames, _ = run(task(folder, images, person(folder)), FakeHost(paint=restless))
        still = np.stack(frames[2:]).astype(np.float32)[:, 80:120, 140:180]
        return float(np.abs(np.diff(still, axis=0)).mean())

    (tmp_path / "held").mkdir()
    (tmp_path / "alone").mkdir()
    held = flicker(tmp_path / "held")
    monkeypatch.setattr(flow.Past, "carried", lambda self, now: (now, np.zeros(now.shape[:2], np.float32)))
    alone = flicker(tmp_path / "alone")
    assert alone > 3
    assert held < 0.6 * alone


def test_what_was_made_is_carried_along_by_the_movement() -> None:
    rng = np.random.default_rng(0)
    texture = np.repeat(rng.integers(0, 255, (120, 160, 1), np.uint8), 3, 2)
    texture = np.asarray(cv2.GaussianBlur(texture, (0, 0), 3), np.uint8)
    now, before = texture[:, 6:126], texture[:, :120]
    marked = before.copy()
    marked[40:80, 40:80, 0] = 255
    laid = np.zeros(before.shape[:2], np.float32)
    laid[40:80, 40:80] = 1
    carried, trust = flow.Past(before, marked, laid).carried(now)
    assert carried[50:70, 40:68, 0].mean() > 240, "six pixels to the left, where the square now is"
    assert trust[50:70, 40:68].mean() > 0.8
    assert trust[:, 100:].max() < 0.05, "nothing was laid there"
    _, doubted = flow.Past(before, marked, laid).carried(np.zeros_like(now))
    assert doubted.max() < 0.05, "the input has become another"


# --- several people --------------------------------------------------------------------------------------------------


def green(image: Image, x: float) -> float:
    return float(image[90:110, int(x) - 8 : int(x) + 8, 1].mean())


def test_people_go_by_order_and_none_is_left_alone(tmp_path: Path) -> None:
    images = [frame((80, 100, 10), (240, 100, 30)) for _ in range(4)]
    _, frames, _ = run(task(tmp_path, images, None, person(tmp_path, who=70)))
    assert (frames[2][:, :160] == images[2][:, :160]).all()
    assert green(frames[2], 240) > 45


def test_people_go_by_likeness(tmp_path: Path) -> None:
    images = [frame((80, 100, 10), (240, 100, 70)) for _ in range(4)]
    people = person(tmp_path, "zoe", who=76), person(tmp_path, "anna", who=4)
    made, _, _ = run(task(tmp_path, images, *people, by_likeness=True))
    scores = {row.user_id: row.likeness.cosine for row in made.curve if row.frame == 3}
    assert set(scores) == {"anna", "zoe"}
    assert min(scores.values()) > 0.95, "each took the place of the one who was like them"


def test_more_people_than_faces_are_told_of(tmp_path: Path) -> None:
    _, _, events = run(task(tmp_path, walking(4), person(tmp_path), person(tmp_path, "ben")))
    assert any("2 people were chosen and clip shows 1" in e.message for e in events if isinstance(e, Notice))


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_clip_without_a_face_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoFace, match="No face was found in clip"):
        run(task(tmp_path, [frame()] * 3, person(tmp_path)))
    with pytest.raises(InvalidRequest, match="at least one person"):
        run(task(tmp_path, walking(3), None))


def test_a_frame_that_fails_stays_as_it_is_and_is_told_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def fails(job: Txt2Img) -> None:
        calls.append(1)
        if len(calls) in (3, 5):
            raise RuntimeError("the card hiccuped")

    images = walking(6)
    _, frames, events = run(task(tmp_path, images, person(tmp_path)), FakeHost(before=fails))
    unchanged = [i for i in range(6) if (frames[i] == images[i]).all()]
    assert len(unchanged) == 2
    assert sum("stays as it is" in e.message for e in events if isinstance(e, Notice)) == 1


@pytest.mark.thorough
def test_a_clip_that_was_cut_off_goes_on_and_comes_out_the_same(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    images = walking(8)
    _, whole, _ = run(task(tmp_path / "whole", images, person(tmp_path)), FakeHost(paint=tint))
    job = task(tmp_path / "cut", images, person(tmp_path))

    class Killed(BaseException):
        pass

    host = FakeHost(paint=tint)

    def kill(_: Txt2Img) -> None:
        if len(host.jobs) == 8:
            raise Killed

    host.before = kill
    with pytest.raises(Killed):
        run(job, host)
    done = FrameShelf(job.folder).done
    assert 0 < done < 8
    again = FakeHost(paint=tint)
    made, frames, _ = run(job, again)
    assert len(again.jobs) == 2 * (8 - done), "what was done is not done again"
    assert made.frames == 8 and len(made.curve) == 8
    assert all((a == b).all() for a, b in zip(frames, whole, strict=True))


def test_a_cancel_ends_it_between_frames(tmp_path: Path) -> None:
    job = task(tmp_path, walking(8), person(tmp_path))
    with pytest.raises(Cancelled):
        run(job, cancelled=lambda: FrameShelf(job.folder).done >= 2)
    assert FrameShelf(job.folder).done == 2


def test_the_rate_is_that_of_the_clip(tmp_path: Path) -> None:
    assert task(tmp_path, walking(3), person(tmp_path)).clip.rate == Fraction(8)
