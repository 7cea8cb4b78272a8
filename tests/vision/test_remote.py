"""Tests of the vision worker as a real process, with a vision that does no real work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easyphoto.errors import AssetMissing, NoFace, VisionFailed
from easyphoto.ports import Calibration, Face, Image
from easyphoto.vision import protocol
from easyphoto.vision.remote import RemoteVision
from tests.fakes import FakeDetector, FakeEmbedder, FakeVision, blank, draw_face
from tests.waiting import until

FACTORY = "tests.vision.test_remote:troublesome"


class TroublesomeDetector(FakeDetector):
    """Does what the picture's first pixel says."""

    def detect(self, image: Image) -> list[Face]:
        match int(image[0, 0, 0]):
            case 1:
                raise NoFace("There is no face in this picture.")
            case 2:
                raise RuntimeError("a bug")
            case 3:
                os.write(2, b"the native library says: bad alignment\n")
                os.kill(os.getpid(), signal.SIGSEGV)
            case 4:
                time.sleep(60)
            case 5:
                print("libraries print things")
                os.write(1, b"and so does native code\n")
        return super().detect(image)


def troublesome(note: str) -> FakeVision:
    vision = FakeVision()
    vision.detector = TroublesomeDetector(name=note)
    return vision


def fetched(folder: str) -> FakeVision:
    """Another embedder serves once its weights lie in the folder."""
    vision = FakeVision()
    if (Path(folder) / "new.onnx").exists():
        vision.embedder = FakeEmbedder("new", Calibration(0.6, 0.1, 0.1, 0.1, "the new one's"))
    return vision


def picture(trouble: int = 0) -> Image:
    image = draw_face(blank(320, 240), (160, 120), 60, who=20)
    image[0, 0] = trouble
    return image


def remote(**more: Any) -> RemoteVision:
    return RemoteVision(lambda: Path(sys.executable), {"note": "trouble"}, factory=FACTORY, **more)


@pytest.fixture(scope="module")
def vision() -> Iterator[RemoteVision]:
    vision = remote()
    yield vision
    vision.release()


def test_every_role_gives_what_it_gives_in_process(vision: RemoteVision) -> None:
    local, image = FakeVision(), picture()
    other = draw_face(blank(200, 260), (100, 130), 80, who=60)
    (face,), (there,) = local.detector.detect(image), vision.detector.detect(image)
    assert there.box == face.box
    assert there.score == face.score
    assert [near.box for near in vision.detector.detect_near(image, face)] == [face.box]
    assert face.landmarks is not None
    np.testing.assert_array_equal(there.points, face.points)
    np.testing.assert_array_equal(np.asarray(there.landmarks), face.landmarks)
    np.testing.assert_array_equal(vision.landmarks.locate(image, face), local.landmarks.locate(image, face))
    np.testing.assert_array_equal(vision.embedder.embed(image, face), local.embedder.embed(image, face))
    assert vision.embedder.calibration == local.embedder.calibration
    for part in ("face", "skin", "eyes", "brows", "nose", "lips"):
        expected = getattr(local.parser.parse(image, face), part)
        np.testing.assert_array_equal(getattr(vision.parser.parse(image, face), part), expected)
    np.testing.assert_array_equal(vision.saliency.mask(image, None), local.saliency.mask(image, None))
    np.testing.assert_array_equal(vision.retoucher.retouch(image), local.retoucher.retouch(image))
    (source,) = local.detector.detect(other)
    fused = local.fuser.fuse(image, face, other, source)
    np.testing.assert_array_equal(vision.fuser.fuse(image, face, other, source), fused)
    np.testing.assert_array_equal(vision.enhancer.enhance(image, 2.5), local.enhancer.enhance(image, 2.5))
    assert vision.detector.name == "trouble"
    assert vision.backends()["parser"] == "fake-parser"


def test_an_embedder_that_changed_with_its_weights_changes_whole(tmp_path: Path) -> None:
    vision = RemoteVision(
        lambda: Path(sys.executable), {"folder": str(tmp_path)}, factory="tests.vision.test_remote:fetched"
    )
    embedder, preferred = vision.embedder, vision.preferring({"enhancer": "any"}).embedder
    assert (embedder.name, embedder.calibration.same_mean, preferred.name) == ("fake-embedder", 1.0, "fake-embedder")
    (tmp_path / "new.onnx").write_bytes(b"weights")
    assert embedder.calibration.same_mean == 1.0, "the worker that lives still serves with the old ones"
    vision.release()
    assert (embedder.name, embedder.calibration.same_mean, preferred.name) == ("new", 0.6, "new")
    assert preferred.calibration.source == "the new one's"
    assert vision.fuser.bends is True
    vision.release()


def test_pictures_grow_and_shrink(vision: RemoteVision) -> None:
    for side in (8, 2000, 64, 2600):
        image = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
        np.testing.assert_array_equal(vision.enhancer.enhance(image, 1), FakeVision().enhancer.enhance(image, 1))


def test_what_comes_back_is_the_callers_own(vision: RemoteVision) -> None:
    first = vision.enhancer.enhance(picture(), 1)
    before = first.copy()
    vision.enhancer.enhance(255 - picture(), 1)
    np.testing.assert_array_equal(first, before)
    first[:] = 0  # writable


def test_an_error_of_ours_keeps_its_kind_and_the_worker(vision: RemoteVision) -> None:
    vision.backends()
    pid = vision.pid
    with pytest.raises(NoFace, match="There is no face in this picture"):
        vision.detector.detect(picture(1))
    with pytest.raises(VisionFailed, match="detector failed: RuntimeError: a bug"):
        vision.detector.detect(picture(2))
    assert len(vision.detector.detect(picture(5))) == 1, "what is printed must not get into the replies"
    assert vision.pid == pid


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_crash_fails_the_call_with_a_sentence_and_the_next_call_works(vision: RemoteVision) -> None:
    with pytest.raises(VisionFailed, match="ended by signal 11 while it served the detector: the native library says"):
        vision.detector.detect(picture(3))
    assert len(vision.detector.detect(picture())) == 1


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_worker_killed_while_idle_is_replaced_unnoticed(vision: RemoteVision) -> None:
    vision.backends()
    assert vision.pid is not None
    os.kill(vision.pid, signal.SIGKILL)
    until(lambda: vision.pid is None)
    assert len(vision.detector.detect(picture())) == 1


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_worker_killed_while_it_works_fails_that_call_alone(vision: RemoteVision) -> None:
    vision.backends()
    pid = vision.pid
    assert pid is not None
    threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
    before = time.monotonic()
    with pytest.raises(VisionFailed, match="signal 9"):
        vision.detector.detect(picture(4))
    assert time.monotonic() - before < 10
    assert len(vision.detector.detect(picture())) == 1


def test_a_worker_that_hangs_is_given_up() -> None:
    vision = remote(timeout=5.0)
    vision.backends()
    vision._timeout = 0.3
    with pytest.raises(VisionFailed, match=r"did not answer within 0\.3 s"):
        vision.detector.detect(picture(4))
    assert vision.pid is None
    vision._timeout = 30
    assert len(vision.detector.detect(picture())) == 1
    vision.release()


def test_release_ends_the_process_and_leaves_no_files() -> None:
    vision = remote()
    vision.detector.detect(picture())
    assert vision._worker is not None
    process, folder = vision._worker.process, vision._worker._folder
    vision.release()
    assert process.poll() is not None
    assert not folder.exists()


HOST = """
import sys
from pathlib import Path
from tests.vision.test_remote import picture, remote
vision = remote()
vision.detector.detect(picture())
print(vision.pid, vision._worker._folder, flush=True)
sys.stdin.read()
"""


@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("both", [False, True])
def test_a_host_that_is_killed_leaves_no_memory_behind(both: bool) -> None:
    """Its worker cleans up, or, where that is killed too, the next worker of any host."""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", HOST], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as host:
        assert host.stdout is not None
        pid, folder = host.stdout.readline().decode().strip().split(" ", 1)
        assert Path(folder).is_dir()
        if both:
            os.kill(int(pid), signal.SIGKILL)
        host.kill()
    if both:
        vision = remote()
        vision.backends()
        vision.release()
    until(lambda: not Path(folder).exists())
    assert not Path(folder + ".lock").exists()


def test_the_worker_imports_nothing_from_where_the_host_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("json", "logging", "numpy", "sitecustomize", "struct"):
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    vision = remote()
    vision.backends()
    vision.release()
    assert not (tmp_path / "ran").exists()


def test_an_unused_worker_ends_and_comes_back() -> None:
    vision = remote(idle=lambda: 0.4)
    for _ in range(4):
        used = time.monotonic()
        vision.detector.detect(picture())
        time.sleep(0.2)
        there = vision.pid is not None
        assert there or time.monotonic() - used > 0.4, "it was used a moment ago"
    until(lambda: vision.pid is None)
    assert len(vision.detector.detect(picture())) == 1
    vision.release()


def test_threads_take_turns(vision: RemoteVision) -> None:
    wrong = []

    def work(who: int) -> None:
        image = draw_face(blank(320, 240), (160, 120), 60, who=who)
        for _ in range(5):
            if not np.array_equal(vision.enhancer.enhance(image, 1), image):
                wrong.append(who)

    threads = [threading.Thread(target=work, args=(who,)) for who in (10, 40, 70)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_no_environment_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AssetMissing, match="can't be started"):
        RemoteVision(lambda: tmp_path / "no" / "python", {"note": ""}).backends()


def test_a_vision_that_can_not_be_made_is_told_with_its_error() -> None:
    vision = RemoteVision(lambda: Path(sys.executable), {}, factory=FACTORY)
    with pytest.raises(VisionFailed, match=r"ended with status 1 .*missing 1 required positional argument: 'note'"):
        vision.backends()


def test_a_large_mask_is_sent_without_its_empty_border(tmp_path: Path) -> None:
    mask = np.zeros((1024, 1024), np.float32)
    mask[100:200, 300:350] = np.random.default_rng(0).random((100, 50), np.float32)
    writer, reader = protocol.Writer(tmp_path, "a"), protocol.Reader(tmp_path)
    message = protocol.pack({"m": mask, "empty": np.zeros((300, 300), np.float32)}, writer)
    assert [shape for _, shape, _ in message["arrays"]] == [[100, 50], [0, 0]]
    back = protocol.unpack(message, reader)
    np.testing.assert_array_equal(back["m"], mask)
    assert back["empty"].shape == (300, 300)
    assert not back["empty"].any()
    writer.close()
    reader.close()


def test_what_can_not_cross_is_refused() -> None:
    with pytest.raises(TypeError, match="can't be sent"):
        protocol.pack(object(), protocol.Writer(Path(), "x"))
