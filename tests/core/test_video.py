"""Tests of the service on clips: the file that comes out, what is refused, and what is left of a person."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from easyphoto.clips import decoding, encoding
from easyphoto.clips.encoding import Writing
from easyphoto.config import Paths, PortraitConfig
from easyphoto.errors import AssetMissing, Cancelled, InvalidRequest, NoFace, NotFound
from easyphoto.events import Finished
from easyphoto.inference import clip_people
from easyphoto.inference.moving import FrameShelf
from easyphoto.ports import Image, Txt2Img
from easyphoto.queue.port import DurableRequest
from easyphoto.service import EasyPhoto, VideoRequest
from easyphoto.storage import files, videos
from easyphoto.storage.scratch import Scratch
from tests.core.test_service import add_person
from tests.fakes import FakeHost, FakeVision, blank, draw_face

QUICK = PortraitConfig(seed=5, first_diffusion_steps=2, second_diffusion_steps=2)


def frames(count: int = 5) -> list[Image]:
    return [draw_face(blank(240, 160), (100 + 4 * i, 80), 48, who=45) for i in range(count)]


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def service(paths: Paths, host: FakeHost) -> EasyPhoto:
    add_person(paths, "小明", who=20)
    add_person(paths, "ann", who=60)
    return EasyPhoto(host, FakeVision(), paths)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    encoding.write(tmp_path / "walk.gif", frames(), Writing(Fraction(10)))
    return tmp_path / "walk.gif"


@pytest.mark.thorough
def test_a_clip_comes_out_with_what_tells_of_it(service: EasyPhoto, clip: Path) -> None:
    job = service.video(VideoRequest(("ann",), clip, QUICK, format="webp"))
    result = job.wait(60)
    assert result.path.parent == service.paths.videos
    assert result.path.name == f"walk-{job.id}.webp"
    assert (result.frames, result.repainted, result.seed) == (5, 5, 5)
    made = decoding.probe(result.path)
    assert (made.width, made.height, made.count, made.rate) == (240, 160, 5, 10)
    assert np.abs(next(decoding.frames(made)).astype(int) - frames()[0]).max() > 20
    told = json.loads(result.about.read_text())
    assert told["user_ids"] == ["ann"] and told["seed"] == 5 and told["clip"] == "walk.gif"
    assert [row["frame"] for row in told["likeness"]] == list(range(5))
    (ann,) = result.people
    assert ann.frames == 5 and ann.deviation >= 0 and ann.embedder == "fake-embedder"
    assert [path.name for path in sorted(service.paths.videos.iterdir())] == [result.path.name, result.about.name]
    end = [event for _, event in job.events()][-1]
    assert isinstance(end, Finished) and end.result["video"] == result.path.name


@pytest.mark.thorough
def test_frames_come_as_a_folder(service: EasyPhoto, clip: Path) -> None:
    result = service.video(VideoRequest(("ann",), clip, QUICK, format="frames")).wait(60)
    assert result.path.is_dir() and len(list(result.path.iterdir())) == 5


@pytest.mark.thorough
def test_a_video_keeps_its_rate_and_says_how_it_was_made(service: EasyPhoto, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    encoding.write(tmp_path / "walk.mp4", frames(), Writing(Fraction(12)))
    result = service.video(VideoRequest(("ann",), tmp_path / "walk.mp4", QUICK)).wait(60)
    assert decoding.probe(result.path).rate == 12
    with av.open(str(result.path)) as container:
        assert json.loads(container.metadata["comment"])["user_ids"] == ["ann"]


def test_a_clip_that_is_sent_is_kept_until_it_is_made(service: EasyPhoto, clip: Path) -> None:
    service.jobs.pause()
    job = service.video(VideoRequest(("ann",), clip, QUICK, format="gif", max_frames=3, keep=True))
    clip.unlink()
    service.jobs.resume()
    result = job.wait(60)
    assert result.frames == 3
    assert result.path.name == f"walk-{job.id}.gif"


def test_what_cannot_work_is_refused_before_it_waits(service: EasyPhoto, clip: Path, tmp_path: Path) -> None:
    asked = VideoRequest(("ann",), clip, QUICK, format="gif")
    (tmp_path / "text.gif").write_text("no clip")
    for request, error in [
        (replace(asked, user_ids=("nobody here",)), NotFound),
        (replace(asked, user_ids=("none",)), InvalidRequest),
        (replace(asked, clip=tmp_path / "missing.gif"), InvalidRequest),
        (replace(asked, format="avi"), InvalidRequest),
        (replace(asked, max_fps=0), InvalidRequest),
    ]:
        with pytest.raises(error):
            service.video(request)
    assert not service.paths.videos.exists()


def test_a_clip_without_a_face_fails_in_one_sentence(service: EasyPhoto, tmp_path: Path) -> None:
    encoding.write(tmp_path / "empty.gif", [blank(240, 160), blank(240, 160, gray=90)] * 2, Writing(Fraction(10)))
    with pytest.raises(NoFace, match=r"No face was found in empty\.gif"):
        service.video(VideoRequest(("ann",), tmp_path / "empty.gif", QUICK, format="gif")).wait(60)


@pytest.mark.thorough
def test_a_cancelled_clip_goes_on_when_it_is_retried_and_is_swept_when_it_was_cleared(
    service: EasyPhoto, host: FakeHost, clip: Path
) -> None:
    job = service.video(VideoRequest(("ann",), clip, QUICK, format="gif"))
    host.before = lambda _: job.cancel() if len(host.jobs) > 4 else None
    with pytest.raises(Cancelled):
        job.wait(60)
    host.before = None
    assert FrameShelf(service.paths.videos / f".{job.id}").done == 2
    before = len(host.jobs)
    service.jobs.retry(job.id)
    assert service.jobs.get(job.id).wait(60).frames == 5
    assert len(host.jobs) - before == 2 * 3, "what was done is not done again"
    left = service.paths.videos / ".cleared"
    left.mkdir()
    (left / "about.json").write_text(json.dumps({"user_ids": ["ann"]}))
    service.video(VideoRequest(("ann",), clip, QUICK, format="gif")).wait(60)
    assert not left.exists()


@pytest.mark.thorough
def test_a_person_who_is_deleted_takes_the_clips_along(service: EasyPhoto, host: FakeHost, clip: Path) -> None:
    kept = service.video(VideoRequest(("小明",), clip, QUICK, format="gif")).wait(60)
    gone = service.video(VideoRequest(("ann",), clip, QUICK, format="frames")).wait(60)
    left = service.paths.videos / ".half"
    left.mkdir()
    (left / "about.json").write_text(json.dumps({"user_ids": ["ann"]}))
    (left / "000000.png").write_bytes(b"a frame that shows her")
    removed = service.delete_person("ann", portraits=True)
    assert sum(path.suffix == ".png" for path in removed.portraits) == 6
    assert not gone.path.exists() and not gone.about.exists() and not left.exists()
    assert kept.path.exists() and kept.about.exists()
    shown = service.delete_person("小明")
    assert kept.path in shown.portraits_left and kept.path.exists()


@pytest.mark.thorough
def test_half_a_clip_goes_with_the_person_whose_portraits_stay(service: EasyPhoto, host: FakeHost, clip: Path) -> None:
    whole = service.video(VideoRequest(("ann",), clip, QUICK, format="gif")).wait(60)
    job = service.video(VideoRequest(("ann",), clip, QUICK, format="gif"))
    host.before = lambda _: job.cancel() if len(host.jobs) > 14 else None
    with pytest.raises(Cancelled):
        job.wait(60)
    assert list((service.paths.videos / f".{job.id}").glob("0*.png"))
    assert set(service.portraits_of("ann")) > {whole.path, whole.about}
    removed = service.delete_person("ann")
    assert set(removed.portraits_left) == {whole.path, whole.about} == set(service.paths.videos.iterdir())


@pytest.mark.thorough
def test_what_a_kill_leaves_of_the_writing_goes_with_the_person(
    service: EasyPhoto, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def half(part: Path, *rest: object) -> None:
        part.write_bytes(b"half a clip that shows her")
        raise Killed

    monkeypatch.setattr(encoding, "_write_animated", half)
    monkeypatch.setattr(files, "remove", lambda path: None)  # a kill clears nothing away
    with pytest.raises(Killed):
        service.kinds["video"].work(
            durable(VideoRequest(("ann",), clip, QUICK, format="gif"), "abcdef123456"),
            lambda event: None,
            lambda: False,
        )
    monkeypatch.undo()
    left = [path for path in service.paths.videos.rglob("*") if path.is_file()]
    assert any(path.read_bytes().startswith(b"half") for path in left)
    service.delete_person("ann", portraits=True)
    assert not list(service.paths.videos.iterdir())


@pytest.mark.thorough
def test_a_clip_of_any_name_becomes_frames(service: EasyPhoto, clip: Path) -> None:
    dotted = clip.rename(clip.with_name("2026.05.01 walk v1.2.gif"))
    result = service.video(VideoRequest(("ann",), dotted, QUICK, format="frames")).wait(60)
    assert result.path.is_dir() and "." not in result.path.name and len(list(result.path.iterdir())) == 5


@pytest.mark.thorough
def test_what_was_sent_to_a_program_that_was_killed_goes_and_what_is_being_sent_stays(
    service: EasyPhoto, clip: Path
) -> None:
    left = service.paths.videos / f"{videos.SENT}left"
    left.mkdir(parents=True)
    (left / "walk.gif").write_bytes(b"somebody")
    with Scratch(service.paths.videos, videos.SENT) as sent:
        (sent.path / videos.BEGUN).write_text(json.dumps({"user_ids": ["ann"]}))  # a name that a client may choose
        service.video(VideoRequest(("ann",), clip, QUICK, format="gif")).wait(60)
        assert (sent.path / videos.BEGUN).is_file() and not left.exists()


@pytest.mark.thorough
def test_what_was_cut_off_goes_on_in_the_next_program(paths: Paths, clip: Path) -> None:
    """The frames that a killed program left are not made again, and the clip is the same as without the kill."""
    add_person(paths, "ann", who=60)
    whole = EasyPhoto(FakeHost(), FakeVision(), paths)
    undisturbed = whole.video(VideoRequest(("ann",), clip, QUICK, format="gif")).wait(60)
    request = VideoRequest(("ann",), clip, QUICK, format="gif")
    host = FakeHost()
    again = EasyPhoto(host, FakeVision(), paths)

    class Gone(BaseException):
        pass

    def dies(job: Txt2Img) -> None:
        if len(host.jobs) == 6:
            raise Gone

    host.before = dies
    desk = again.kinds["video"]
    job = "abcdef123456"
    order = durable(request, job)
    with pytest.raises(Gone):
        desk.work(order, lambda event: None, lambda: False)
    done = FrameShelf(paths.videos / f".{job}").done
    assert 0 < done < 5
    host.before = None
    before = len(host.jobs)
    result = desk.work(order, lambda event: None, lambda: False)
    assert len(host.jobs) - before == 2 * (5 - done)
    ours, theirs = (list(decoding.frames(decoding.probe(path))) for path in (result.path, undisturbed.path))
    assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))


def durable(request: VideoRequest, job: str) -> DurableRequest:
    """The request as it lies in the queue."""
    payload = {
        "clip": str(request.clip),
        "kept": False,
        "user_ids": list(request.user_ids),
        "config": asdict(request.config),
        "format": request.format,
        "max_fps": request.max_fps,
        "max_frames": request.max_frames,
        "by_likeness": request.by_likeness,
        "chosen": None,
    }
    return DurableRequest(job, "video", "ann", ("ann",), payload)


def test_the_people_of_a_clip_are_known_before_anybody_is_chosen(
    service: EasyPhoto, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise AssetMissing("There is no av here.")

    monkeypatch.setattr(decoding, "av", missing)  # a GIF is looked at without it, whatever is written later
    seen = service.people_in_clip(VideoRequest((), clip))
    assert [person.frames for person in seen.people] == [5] and (seen.frames, seen.whole) == (5, True)
    head = seen.people[0].head
    assert head.shape[0] == head.shape[1] and abs(head.shape[0] - 1.7 * 48) < 3
    assert service.people_in_clip(VideoRequest((), clip, max_frames=2)).people[0].frames == 2
    with pytest.raises(InvalidRequest, match="from 2 to"):
        service.people_in_clip(VideoRequest((), clip, max_frames=1))


def test_a_long_clip_is_not_looked_through(clip: Path) -> None:
    ticks = iter(range(100))
    seen = clip_people.look(decoding.probe(clip), FakeVision(), 2.5, lambda: float(next(ticks)))
    assert (seen.frames, seen.whole) == (3, False)
