"""Clips that are drawn before people are put into them: what the host is asked, what comes out, and what is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from easyphoto import pictures
from easyphoto.clips import decoding, encoding
from easyphoto.clips.encoding import Writing
from easyphoto.config import CLIP_CONTROLS, DrawnClipConfig, Family, Paths, PortraitConfig
from easyphoto.errors import AssetMissing, Cancelled, InvalidRequest
from easyphoto.events import Notice, Progress
from easyphoto.inference import drawn_clip
from easyphoto.ports import Checkpoint, ClipJob, ControlRole, Txt2Img
from easyphoto.service import ClipDrawing, EasyPhoto, VideoRequest
from tests.animating import AnimatingHost, RepaintingHost, empty, with_face
from tests.core.test_service import add_person
from tests.fakes import FakeHost, FakeVision, blank

QUICK = PortraitConfig(seed=5, first_diffusion_steps=2, second_diffusion_steps=2)
ASKED = VideoRequest(("ann",), Path("smiles"), QUICK, format="gif", max_frames=4, drawing=ClipDrawing("she smiles"))


@pytest.fixture
def host() -> AnimatingHost:
    return AnimatingHost()


@pytest.fixture
def service(paths: Paths, host: AnimatingHost) -> EasyPhoto:
    add_person(paths, "ann", who=60)
    return EasyPhoto(host, FakeVision(), paths)


def test_a_clip_is_drawn_and_the_person_put_into_every_frame(
    service: EasyPhoto, host: AnimatingHost, paths: Paths
) -> None:
    job = service.video(ASKED)
    result = job.wait(60)
    (drawn,) = host.clips
    assert "she smiles" in drawn.prompt and "easyphoto_face" in drawn.prompt
    assert (drawn.frames, drawn.seed, drawn.steps, drawn.image, drawn.motion) == (4, 5, 30, None, None)
    assert [(ref.path, ref.weight) for ref in drawn.loras] == [(paths.loras / "ann.safetensors", 0.25)]
    assert result.path.name == f"smiles-{job.id}.gif"
    assert (result.frames, result.repainted, result.seed) == (4, 4, 5)
    made = decoding.probe(result.path)
    assert (made.width, made.height, made.count) == (240, 160, 4)
    assert np.abs(next(decoding.frames(made)).astype(int) - with_face(drawn)[0]).max() > 20
    told = json.loads(result.about.read_text())
    assert told["drawing"]["prompt"] == "she smiles" and told["user_ids"] == ["ann"] and told["rate"] == "8"
    assert result.people[0].user_id == "ann"
    steps = [event for _, event in job.events() if isinstance(event, Progress) and event.stage == "drawing"]
    assert steps[-1].step == steps[-1].total == 30
    assert sorted(path.name for path in paths.videos.iterdir()) == sorted([result.path.name, result.about.name])


@pytest.mark.thorough
def test_a_clip_is_drawn_from_pictures_that_may_be_gone_by_then(
    service: EasyPhoto, host: AnimatingHost, tmp_path: Path
) -> None:
    first, last = blank(96, 64, gray=40), blank(64, 64, gray=200)
    pictures.save_png(tmp_path / "first.png", first)
    pictures.save_png(tmp_path / "last.png", last)
    drawing = ClipDrawing(
        image=tmp_path / "first.png",
        last_image=(tmp_path / "last.png").read_bytes(),
        config=DrawnClipConfig(i2v_denoising_strength=0.4, t2v_input_width=320, motion_module="mine"),
    )
    service.jobs.pause()
    job = service.video(replace(ASKED, drawing=drawing, max_frames=0))
    (tmp_path / "first.png").unlink()
    service.jobs.resume()
    assert job.wait(60).frames == 16
    (drawn,) = host.clips
    assert drawn.image is not None and (drawn.image == first).all()
    assert drawn.last_image is not None and (drawn.last_image == last).all()
    assert (drawn.denoising_strength, drawn.motion) == (0.4, "mine")


def test_without_anybody_the_clip_stays_as_it_was_drawn(service: EasyPhoto, host: AnimatingHost) -> None:
    for nobody in ((), ("none",)):
        result = service.video(replace(ASKED, user_ids=nobody, format="frames")).wait(60)
        assert (result.frames, result.repainted, result.people) == (4, 0, ())
        made = list(decoding.frames(decoding.probe(result.path)))
        assert all((a == b).all() for a, b in zip(made, with_face(host.clips[0]), strict=True))
    assert host.jobs == [] and host.clips[0].loras == () and "easyphoto" not in host.clips[0].prompt


def test_a_drawn_clip_in_which_nobody_is_to_be_seen_is_kept_with_a_notice(
    service: EasyPhoto, host: AnimatingHost
) -> None:
    host.film = empty
    job = service.video(ASKED)
    result = job.wait(60)
    assert (result.frames, result.repainted) == (4, 0)
    said = [str(event.message) for _, event in job.events() if isinstance(event, Notice)]
    assert any(text.startswith("The clip stays as it was drawn: No face was found") for text in said)


@pytest.mark.thorough
def test_what_was_drawn_is_not_drawn_again_when_the_job_goes_on(service: EasyPhoto, host: AnimatingHost) -> None:
    job = service.video(ASKED)

    def stop(asked: Txt2Img) -> None:
        if len(host.jobs) > 2:
            job.cancel()

    host.before = stop
    with pytest.raises(Cancelled):
        job.wait(60)
    host.before = None
    service.jobs.retry(job.id)
    assert service.jobs.get(job.id).wait(60).frames == 4
    assert len(host.clips) == 1


def test_a_clip_that_is_cancelled_while_it_is_drawn_ends_at_once(service: EasyPhoto, host: AnimatingHost) -> None:
    job = service.video(ASKED)
    host.before = lambda _: job.cancel()
    with pytest.raises(Cancelled):
        job.wait(60)
    assert host.jobs == []


def moving_bar(path: Path, frames: int, rate: int = 8) -> Path:
    """A clip in which a white bar goes 8 pixels to the right with each frame."""
    images = []
    for index in range(frames):
        image = blank(120, 80, gray=0)
        image[:, 8 * index : 8 * index + 8] = 255
        images.append(image)
    encoding.write(path, images, Writing(Fraction(rate)))
    return path


def bars(job: ClipJob) -> list[int]:
    """Where the bar is in each picture that a frame is held to, in the pixels of the control clip."""
    first = (int((row[0].image[0, :, 0] > 128).argmax()) for row in job.frame_controls)
    return [round(at * 120 / job.width) for at in first]


@pytest.mark.thorough
@pytest.mark.parametrize("keep", [True, False])
def test_each_frame_is_held_to_the_frame_of_a_control_clip(
    service: EasyPhoto, host: AnimatingHost, tmp_path: Path, keep: bool
) -> None:
    control = moving_bar(tmp_path / "bar.gif", 12, rate=16 if keep else 8)
    drawing = ClipDrawing("x", control=control, config=DrawnClipConfig(upload_control_video_type="canny"))
    service.jobs.pause()
    job = service.video(replace(ASKED, drawing=drawing, max_frames=0, keep=keep))
    if keep:
        control.unlink()
    service.jobs.resume()
    result = job.wait(60)
    (drawn,) = host.clips
    (first, *_), *_ = drawn.frame_controls
    assert (first.role, first.weight, first.is_map) == (ControlRole.CANNY, 1.0, False)
    assert (drawn.width, drawn.height) == (768, 512) and first.image.shape == (512, 768, 3)
    # of 16 frames a second every second is shown, of 8 all
    assert bars(drawn) == ([8, 24, 40, 56, 72, 88] if keep else [8 * at for at in range(12)])
    assert result.frames == drawn.frames == len(drawn.frame_controls)
    told = json.loads(result.about.read_text())["drawing"]
    assert Path(str(told["control"])).name == told["control"] and told["config"]["upload_control_video_type"] == "canny"


@pytest.mark.thorough
def test_a_clip_has_the_shape_of_its_picture(service: EasyPhoto, host: AnimatingHost, tmp_path: Path) -> None:
    pictures.save_png(tmp_path / "high.png", blank(60, 90))
    service.video(replace(ASKED, drawing=ClipDrawing(image=tmp_path / "high.png"))).wait(60)
    pictures.save_png(tmp_path / "ribbon.png", blank(60, 1200))
    service.video(replace(ASKED, drawing=ClipDrawing(image=tmp_path / "ribbon.png"))).wait(60)
    assert [(job.width, job.height) for job in host.clips] == [(512, 768), (512, 2048)]


def test_the_controls_of_a_clip_are_the_roles_of_controls() -> None:
    assert set(CLIP_CONTROLS) == {role.value for role in ControlRole}


def test_what_cannot_be_drawn_is_refused_before_it_waits(
    service: EasyPhoto, host: AnimatingHost, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    picture = tmp_path / "good.png"
    pictures.save_png(picture, blank(64, 64))
    for drawing, words in [
        (ClipDrawing(" "), "write a prompt, or choose a picture"),
        (ClipDrawing("x", last_image=picture), "needs a first one"),
        (ClipDrawing("x", image=tmp_path / "text.png"), "text.png"),
        (ClipDrawing("x", image=tmp_path / "none.png"), "none.png"),
        (ClipDrawing("x", control=picture), "good.png is a picture that doesn't move"),
        (ClipDrawing("x", control=tmp_path / "none.mp4"), "none.mp4 does not exist"),
    ]:
        with pytest.raises(InvalidRequest, match=words):
            service.video(replace(ASKED, drawing=drawing))
    with pytest.raises(InvalidRequest, match="at most 240 frames"):
        service.video(replace(ASKED, max_frames=241))
    with pytest.raises(AssetMissing, match="named none"):
        service.video(replace(ASKED, drawing=ClipDrawing("x", config=DrawnClipConfig(motion_module="none"))))
    host.roles = frozenset()
    with pytest.raises(AssetMissing, match="can't be held to a control clip by openpose: there is no such ControlNet"):
        service.video(replace(ASKED, drawing=ClipDrawing("x", control=moving_bar(tmp_path / "bar.gif", 3))))
    assert not service.paths.videos.exists()


def test_the_two_passes_go_over_all_frames_together(paths: Paths) -> None:
    add_person(paths, "ann", who=60)
    host = RepaintingHost()
    service = EasyPhoto(host, FakeVision(), paths)
    drawing = ClipDrawing("she smiles", config=DrawnClipConfig(repaint_together=True, motion_module="mine"))
    job = service.video(replace(ASKED, config=PortraitConfig(seed=5), drawing=drawing))
    result = job.wait(60)
    assert (result.frames, result.repainted) == (4, 4) and result.people[0].frames == 4
    assert host.jobs == [], "no frame goes through the host by itself"
    drawn, first, second = host.clips
    held = [[(c.role.value, c.weight) for c in row] for row in first.frame_controls]
    assert held == [[("canny", 0.5), ("openpose", 0.5), ("color", 0.85)]] * 4, "the original's numbers"
    assert (first.steps, first.denoising_strength, first.frames, first.motion) == (50, 0.45, 4, "mine")
    assert (second.steps, second.denoising_strength) == (20, 0.3) and "easyphoto_face" in first.prompt
    assert [(ref.path.name, ref.weight) for ref in first.loras] == [("ann.safetensors", 0.9)]
    assert len({picture.shape for picture in first.pictures}) == 1 and first.mask is not None
    # the second pass goes on with what the first has made
    assert all(b.mean() > a.mean() for a, b in zip(first.pictures, second.pictures, strict=True))
    told = {event.stage for _, event in job.events() if isinstance(event, Progress)}
    assert {"drawing", "first", "second", "frames"} <= told
    assert drawn.pictures == () and decoding.probe(result.path).count == 4


def test_a_clip_whose_passes_go_over_all_frames_is_cancelled_within_them(paths: Paths) -> None:
    add_person(paths, "ann", who=60)
    host = RepaintingHost()
    service = EasyPhoto(host, FakeVision(), paths)
    drawing = ClipDrawing("she smiles", config=DrawnClipConfig(repaint_together=True))
    job = service.video(replace(ASKED, drawing=drawing))
    host.before = lambda asked: job.cancel() if asked.pictures else None  # type: ignore[attr-defined]
    with pytest.raises(Cancelled):
        job.wait(60)
    assert len(host.clips) == 2


@pytest.mark.thorough
def test_a_host_that_repaints_one_frame_after_another_says_so(service: EasyPhoto, host: AnimatingHost) -> None:
    drawing = ClipDrawing("she smiles", config=DrawnClipConfig(repaint_together=True))
    job = service.video(replace(ASKED, drawing=drawing))
    assert job.wait(60).repainted == 4 and len(host.jobs) == 8
    said = [str(event.message) for _, event in job.events() if isinstance(event, Notice)]
    assert "This host repaints one frame of a clip after another." in said


def test_a_host_that_draws_no_clips_says_so(paths: Paths) -> None:
    add_person(paths, "ann", who=60)
    with pytest.raises(AssetMissing, match="This host draws no clips"):
        EasyPhoto(FakeHost(), FakeVision(), paths).video(ASKED)


@pytest.mark.parametrize(
    ("family", "asked", "size", "sampler", "guidance"),
    [
        (Family.SD1, (0, 0), (512, 512), "DPM++ 2M SDE Karras", 7),
        (Family.SD1, (648, 328), (648, 328), "DPM++ 2M SDE Karras", 7),
        (Family.SDXL, (0, 0), (1024, 1024), "DPM++ 2M SDE Karras", 7),
        (Family.BENCH, (512, 512), (256, 256), "Euler a", 3),
        (Family.BENCH, (0, 384), (256, 384), "Euler a", 3),
    ],
)
def test_the_originals_numbers_are_the_defaults(
    family: Family, asked: tuple[int, int], size: tuple[int, int], sampler: str, guidance: float
) -> None:
    drawing = DrawnClipConfig(t2v_input_width=asked[0], t2v_input_height=asked[1])
    task = drawn_clip.DrawnClipTask(
        prompt="she smiles",
        frames=16,
        config=QUICK,
        drawing=drawing,
        checkpoint=Checkpoint("base", Path("base.safetensors"), family),
        scene=Path("scene.safetensors"),
    )
    job = drawn_clip.clip_job(task)
    assert ((job.width, job.height), job.sampler, job.cfg_scale, job.steps) == (size, sampler, guidance, 30)
    assert (job.context, job.overlap, job.denoising_strength) == (16, 4, 0.65)
    assert [ref.weight for ref in job.loras] == [0.8]
