"""Clips in and out of real files."""

from __future__ import annotations

import builtins
import io
import struct
import weakref
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.clips import decoding, encoding, tone
from easyphoto.clips.encoding import Writing
from easyphoto.errors import AssetMissing, InvalidRequest
from easyphoto.ports import Image

av = pytest.importorskip("av")


def moving(count: int, height: int = 64, width: int = 96) -> list[Image]:
    """Frames on which a light block wanders to the right over a slope of colours."""
    rows, columns = np.mgrid[0:height, 0:width]
    slope = np.stack([rows * 2, columns, np.full_like(rows, 90)], -1).clip(0, 200).astype(np.uint8)
    made = []
    for index in range(count):
        frame = slope.copy()
        frame[16:32, 4 * index : 4 * index + 16] = (240, 240, 200)
        made.append(frame)
    return made


def read(path: Path, max_rate: float = 60) -> list[Image]:
    return list(decoding.frames(decoding.probe(path, max_rate)))


def apart(a: Image, b: Image) -> float:
    return float(np.abs(a.astype(np.float32) - b).mean())


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "a.webp", "a"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    frames = moving(9)
    encoding.write(tmp_path / name, iter(frames), Writing(Fraction(10)))
    clip = decoding.probe(tmp_path / name)
    assert (clip.width, clip.height, clip.count, clip.sound) == (96, 64, 9, False)
    assert clip.rate == (10 if "." in name else decoding.FOLDER_RATE)
    again = list(decoding.frames(clip))
    assert len(again) == 9
    assert max(apart(a, b) for a, b in zip(again, frames, strict=True)) < 4
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing half-written is left"


def test_an_odd_side_grows_by_a_pixel(tmp_path: Path) -> None:
    encoding.write(tmp_path / "odd.mp4", moving(3, 63, 95), Writing(Fraction(10)))
    assert read(tmp_path / "odd.mp4")[0].shape == (64, 96, 3)


@pytest.mark.parametrize("name", ["long.mp4", "long.gif", "long"])
def test_frames_are_streamed_and_never_held(tmp_path: Path, name: str) -> None:
    frames: list[weakref.ref[Image]] = []

    def held() -> int:
        return sum(frame() is not None for frame in frames)

    def some() -> Iterator[Image]:
        for index in range(200):
            frame = np.full((64, 64, 3), index, np.uint8)
            frames.append(weakref.ref(frame))
            yield frame
            assert held() < 6

    encoding.write(tmp_path / name, some(), Writing(Fraction(10)))
    assert len(frames) == 200
    frames.clear()
    for frame in decoding.frames(decoding.probe(tmp_path / name)):
        frames.append(weakref.ref(frame))
        assert held() < 6
    assert len(frames) == 200


def write_uneven(path: Path, times: list[int], rate: int = 100) -> None:
    """Frames of growing brightness, each beginning at its time in hundredths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for index, at in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_a_clip_of_uneven_rate_keeps_its_moments(tmp_path: Path) -> None:
    write_uneven(tmp_path / "uneven.mp4", [0, 10, 50, 60, 100, 110])
    clip = decoding.probe(tmp_path / "uneven.mp4", max_rate=10)
    shown = [
        round(float(frame.mean()) / 20)
        for frame in decoding.frames(decoding.Clip(**{**vars(clip), "rate": Fraction(10)}))
    ]
    assert shown == [0, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4, 5]


def turned(path: Path, matrix: tuple[int, ...]) -> None:
    """Write a display matrix into the header of the track of an mp4 file."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(bytes(data))


def test_a_clip_of_a_phone_that_was_held_upright_stands_upright(tmp_path: Path) -> None:
    frames = moving(3)
    encoding.write(tmp_path / "phone.mp4", frames, Writing(Fraction(10)))
    one = 0x10000
    turned(tmp_path / "phone.mp4", (0, one, 0, -one, 0, 0, 64 * one, 0, 0x40000000))  # a quarter with the clock
    upright = read(tmp_path / "phone.mp4")
    assert upright[0].shape == (96, 64, 3)
    assert apart(upright[0], np.rot90(frames[0], -1)) < 4


def beep(path: Path, codec: str, seconds: float, begin: int = 0) -> None:
    """A video with a tone: the sound is as long as asked, the pictures last one second; both begin at the second
    ``begin``."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = container.add_stream(codec, rate=48000, layout="mono")
        for index, image in enumerate(moving(10)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = 10 * begin + index, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        wave = (np.sin(np.arange(int(48000 * seconds)) * 0.05) * 8000).astype(np.int16)[None]
        for start in range(0, wave.shape[1], 960):
            part = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, start : start + 960]), "s16", "mono")
            part.sample_rate, part.pts, part.time_base = 48000, 48000 * begin + start, Fraction(1, 48000)
            container.mux(audio.encode(part))
        container.mux(audio.encode(None))


def heard(path: Path) -> tuple[str, float, float]:
    """The codec of the sound, its length in seconds and its loudness."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        waves = [frame.to_ndarray().astype(np.float64) for frame in container.decode(stream)]
        rate = stream.codec_context.sample_rate
    whole = np.concatenate([wave.mean(0) for wave in waves])
    return stream.codec_context.name, len(whole) / rate, float(whole.std())


@pytest.mark.parametrize(("name", "codec"), [("out.mp4", "aac"), ("out.webm", "libopus")])
def test_the_sound_goes_with_the_frames_and_ends_with_them(tmp_path: Path, name: str, codec: str) -> None:
    beep(tmp_path / "in.mp4", "aac", 3.0)
    clip = decoding.probe(tmp_path / "in.mp4")
    assert clip.sound
    said: list[str] = []
    encoding.write(tmp_path / name, decoding.frames(clip), Writing(clip.rate, tmp_path / "in.mp4", notice=said.append))
    found, seconds, loud = heard(tmp_path / name)
    assert found == codec.removeprefix("lib")
    assert 0.9 < seconds < 1.2, "no longer than the pictures"
    assert loud > 0
    assert not said


@pytest.mark.parametrize("name", ["out.mp4", "out.webm"])
def test_the_sound_of_a_clip_that_does_not_begin_at_nought_goes_along(tmp_path: Path, name: str) -> None:
    """What was broadcast, or cut out of something longer, begins at any time."""
    beep(tmp_path / "in.ts", "aac", 3.0, begin=5)
    clip = decoding.probe(tmp_path / "in.ts")
    encoding.write(tmp_path / name, decoding.frames(clip), Writing(clip.rate, tmp_path / "in.ts"))
    _, seconds, loud = heard(tmp_path / name)
    assert 0.9 < seconds < 1.2 and loud > 0
    with av.open(str(tmp_path / name)) as container:
        packet = next(container.demux(container.streams.audio[0]))
        assert abs(packet.pts * packet.time_base) < 0.1, "together with the first frame"


def test_a_format_without_sound_says_so(tmp_path: Path) -> None:
    beep(tmp_path / "in.mp4", "aac", 1.0)
    said: list[str] = []
    encoding.write(tmp_path / "a.gif", moving(3), Writing(Fraction(10), tmp_path / "in.mp4", notice=said.append))
    assert [str(one) for one in said] == ["A gif has no sound: the clip's is left out."]


def test_colours_survive_the_way_through_a_video(tmp_path: Path) -> None:
    colours = np.array([(200, 30, 40), (20, 180, 60), (40, 60, 210), (128, 128, 128), (250, 250, 250)], np.uint8)
    card = np.repeat(np.repeat(colours[None], 64, 0), 32, 1)
    encoding.write(tmp_path / "card.mp4", [card] * 3, Writing(Fraction(10)))
    frame = read(tmp_path / "card.mp4")[1]
    for index, colour in enumerate(colours):
        assert np.abs(frame[32, 16 + 32 * index].astype(int) - colour).max() <= 4


def test_what_is_told_lies_in_the_file(tmp_path: Path) -> None:
    encoding.write(tmp_path / "a.mp4", moving(3), Writing(Fraction(10), about='{"seed": 7}'))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.metadata["comment"] == '{"seed": 7}'


def write_hdr(path: Path, nits_signal: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=10, options={"x265-params": "log-level=none"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = tone.PQ, 9, 9
        for index in range(3):
            deep = av.VideoFrame(64, 64, "yuv420p10le")
            for plane, value in zip(deep.planes, (nits_signal, 512, 512), strict=True):
                plane.update(np.full(plane.buffer_size // 2, value, np.uint16).tobytes())
            deep.pts, deep.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(deep))
        container.mux(stream.encode(None))


@pytest.mark.skipif("libx265" not in av.codecs_available, reason="this build of FFmpeg has no HEVC encoder")
def test_high_dynamic_range_is_brought_down_and_not_cut(tmp_path: Path) -> None:
    shown = []
    for signal in (64, 360, 573, 723):  # black, 17, 203 (diffuse white) and 1000 nits, in ten bits of studio range
        write_hdr(tmp_path / "hdr.mp4", signal)
        shown.append(float(read(tmp_path / "hdr.mp4")[1].mean()))
    assert shown[0] < 2
    assert 75 < shown[1] < 87, "a twelfth of white is as dark as without high dynamic range"
    assert 230 < shown[2] < 250
    assert shown[2] + 3 < shown[3] <= 255


def test_grey_stays_grey_in_either_transfer() -> None:
    ramp = np.repeat(np.linspace(0, 65535, 64).astype(np.uint16)[None, :, None], 3, 2)
    for transfer in (tone.PQ, tone.HLG):
        made = tone.to_eight_bits(ramp, transfer).astype(int)[0]
        assert (np.ptp(made, axis=1) <= 1).all()
        assert (np.diff(made[:, 0]) >= 0).all()
        assert made[0, 0] == 0 and made[-1, 0] == 255


# --- what is no clip -------------------------------------------------------------------------------------------------


def sentence(path: Path) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read(path)
    return str(caught.value)


def test_each_fault_has_its_sentence(tmp_path: Path) -> None:
    assert sentence(tmp_path / "none.mp4") == "none.mp4 does not exist."
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert sentence(tmp_path / "empty.mp4") == "empty.mp4 is empty."
    (tmp_path / "text.mp4").write_text("no video at all, but some words that are long enough to be looked at")
    assert "text.mp4 is not a video that can be read" in sentence(tmp_path / "text.mp4")
    pictures.save_png(tmp_path / "still.png", moving(1)[0])
    assert "doesn't move" in sentence(tmp_path / "still.png")
    (tmp_path / "folder").mkdir()
    assert "fewer than two frames" in sentence(tmp_path / "folder")
    encoding.write(tmp_path / "one.mp4", moving(1), Writing(Fraction(10)))
    assert "only one frame" in sentence(tmp_path / "one.mp4")
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as container:
        audio = container.add_stream("aac", rate=48000, layout="mono")
        part = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        part.sample_rate = 48000
        container.mux(audio.encode(part))
        container.mux(audio.encode(None))
    assert sentence(tmp_path / "sound.m4a") == "sound.m4a has sound but no picture."


def test_a_playlist_that_names_other_files_is_no_clip(tmp_path: Path) -> None:
    """FFmpeg would read whatever a playlist names: other people's videos, text files, addresses in the network."""
    encoding.write(tmp_path / "secret.mp4", moving(4), Writing(Fraction(10)))
    lists = {
        "concat": f"ffconcat version 1.0\nfile '{tmp_path / 'secret.mp4'}'\n",
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{tmp_path / 'secret.mp4'}\n#EXT-X-ENDLIST\n",
    }
    for name, text in lists.items():
        (tmp_path / f"{name}.mp4").write_text(text)
        assert "is not a video that can be read" in sentence(tmp_path / f"{name}.mp4")


def test_a_clip_that_was_cut_off_gives_what_is_whole(tmp_path: Path) -> None:
    encoding.write(tmp_path / "whole.webm", moving(20), Writing(Fraction(10)))
    data = (tmp_path / "whole.webm").read_bytes()
    (tmp_path / "cut.webm").write_bytes(data[: len(data) * 3 // 4])
    assert 2 <= len(read(tmp_path / "cut.webm")) < 20


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
def test_an_animated_picture_that_was_cut_off_is_refused_in_one_sentence(
    tmp_path: Path, name: str, share: float
) -> None:
    first, *rest = (Pillow.fromarray(frame) for frame in moving(9))
    first.save(tmp_path / name, save_all=True, append_images=rest, duration=100)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    assert sentence(tmp_path / name).startswith(f"{name} is")


def test_an_animated_picture_that_says_it_is_huge_is_refused(tmp_path: Path) -> None:
    encoding.write(tmp_path / "a.gif", moving(3), Writing(Fraction(10)))
    data = bytearray((tmp_path / "a.gif").read_bytes())
    for side in (10_240, 65_535):
        data[6:10] = struct.pack("<HH", side, side)
        (tmp_path / "a.gif").write_bytes(data)
        assert sentence(tmp_path / "a.gif").startswith("a.gif ")


def test_a_picture_that_hardly_ever_moves_has_a_rate_too(tmp_path: Path) -> None:
    first, *rest = (Pillow.fromarray(frame) for frame in moving(3))
    first.save(tmp_path / "slow.webp", save_all=True, append_images=rest, duration=3_000_000)
    assert len(read(tmp_path / "slow.webp")) >= 3
    first.save(tmp_path / "long.webp", save_all=True, append_images=rest, duration=[20, 16_000_000, 20])
    with pytest.raises(InvalidRequest, match="more than 20000 frames"):
        decoding.probe(tmp_path / "long.webp")


def test_a_folder_of_mixed_sizes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for index, image in enumerate((moving(1)[0], moving(1)[0], moving(1, 32, 32)[0])):
        pictures.save_png(tmp_path / "frames" / f"{index}.png", image)
    assert "different sizes" in sentence(tmp_path / "frames")


def test_too_long_a_clip_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoding.write(tmp_path / "a.mp4", moving(9), Writing(Fraction(10)))
    monkeypatch.setattr(decoding, "MAX_FRAMES", 5)
    with pytest.raises(InvalidRequest, match="more than 5 frames"):
        decoding.probe(tmp_path / "a.mp4")
    monkeypatch.undo()
    monkeypatch.setattr(decoding, "MAX_PIXELS", 10)
    with pytest.raises(InvalidRequest, match="96 x 64 pixels"):
        decoding.probe(tmp_path / "a.mp4")


def test_an_animated_picture_without_a_speed_is_shown_as_browsers_do(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    first, *rest = (Pillow.fromarray(frame) for frame in moving(3))
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=0)
    (tmp_path / "fast.gif").write_bytes(buffer.getvalue())
    assert decoding.probe(tmp_path / "fast.gif").rate == 10


def test_a_gif_is_written_while_its_frames_come(tmp_path: Path) -> None:
    written: list[int] = []

    def frames() -> Iterator[Image]:
        random = np.random.default_rng(1)
        for _ in range(6):
            part = next(tmp_path.iterdir(), None)
            written.append(0 if part is None else part.stat().st_size)
            yield random.integers(0, 255, (120, 160, 3), np.uint8)

    encoding.write(tmp_path / "noise.gif", frames(), Writing(Fraction(25), about="how it was made: 这样"))
    assert written[-1] > 40_000 and written[2] < written[4], "most of it lies on the disk before the last frame comes"
    with Pillow.open(tmp_path / "noise.gif") as made:
        assert (made.n_frames, made.info["loop"], made.info["duration"]) == (6, 0, 40)
        assert made.info["comment"].decode() == "how it was made: 这样"


def test_a_gif_that_stands_still_for_long_is_written_as_long_as_one_can_say(tmp_path: Path) -> None:
    encoding.write(tmp_path / "slow.gif", moving(3), Writing(decoding.SLOWEST))
    with Pillow.open(tmp_path / "slow.gif") as made:
        assert made.info["duration"] == 655_350


def test_a_webp_that_would_fill_the_memory_is_refused_before_it_begins() -> None:
    clip = decoding.Clip(Path("long.mp4"), 1920, 1080, Fraction(25), 20_000, sound=False)
    with pytest.raises(InvalidRequest, match="would take 116 GB of memory, more than 4: choose mp4, webm or gif"):
        encoding.check("webp", clip)
    for kind, only in (("gif", 0), ("mp4", 0), ("webp", 600)):
        encoding.check(kind, replace(clip, only=only))


def test_a_fast_gif_is_not_shown_in_slow_motion(tmp_path: Path) -> None:
    encoding.write(tmp_path / "fast.gif", moving(3), Writing(Fraction(60)))
    assert decoding.probe(tmp_path / "fast.gif").rate == 50, "the fastest that browsers show as it is"


@pytest.mark.parametrize("name", ["a", "a.gif"])
def test_what_a_kill_left_half_written_is_in_nobodys_way(tmp_path: Path, name: str) -> None:
    part = tmp_path / ".a.part"
    part.mkdir()
    (part / "000000.png").write_bytes(b"half a picture")
    encoding.write(tmp_path / name, moving(3), Writing(Fraction(10)))
    assert len(read(tmp_path / name)) == 3

    def breaks() -> Iterator[Image]:
        yield from moving(2)
        raise InvalidRequest("A frame is gone.")

    with pytest.raises(InvalidRequest, match="is gone"):
        encoding.write(tmp_path / "b" / name, breaks(), Writing(Fraction(10)))
    assert not list((tmp_path / "b").iterdir())


def test_writing_nothing_and_an_unknown_ending_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no frames to write"):
        encoding.write(tmp_path / "a.mp4", [], Writing(Fraction(10)))
    with pytest.raises(InvalidRequest, match="can't be written as avi"):
        encoding.write(tmp_path / "a.avi", moving(2), Writing(Fraction(10)))
    assert not list(tmp_path.iterdir())


def test_without_the_package_one_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoding.write(tmp_path / "a.mp4", moving(3), Writing(Fraction(10)))
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(AssetMissing, match="pip install av"):
        decoding.probe(tmp_path / "a.mp4")
    encoding.write(tmp_path / "a.gif", moving(3), Writing(Fraction(10)))
    assert len(read(tmp_path / "a.gif")) == 3, "animated pictures need no package"
