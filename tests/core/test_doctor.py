"""Tests that the doctor names what is there, what is missing, and what the missing parts would give."""

from __future__ import annotations

from pathlib import Path

from easyphoto.config import Family, Paths
from easyphoto.doctor import examine, table
from easyphoto.errors import AssetMissing
from easyphoto.ports import Checkpoint
from easyphoto.vision import registry
from easyphoto.vision.remote import RemoteVision
from tests.fakes import FakeHost


def test_every_role_and_what_it_lacks(paths: Paths) -> None:
    findings = examine(FakeHost(), registry.create(paths.models), paths)
    vision = {f.what: f for f in findings if f.area == "vision"}
    assert set(vision) == {"detector", "landmarks", "embedder", "parser", "saliency", "retoucher", "fuser", "enhancer"}
    embedder = vision["embedder"]
    assert embedder.status == "fallback" and "ArcFace" in embedder.advice and "lacks" in embedder.advice
    text = table(findings)
    assert all(f.what in text for f in findings) and "nobody yet" in text
    missing = [f for f in findings if f.status == "missing"]
    assert all(f.advice for f in missing), "what is missing says what it would give"


def test_only_controls_that_a_pass_uses_are_missed(paths: Paths) -> None:
    known = [
        Checkpoint(f"{f.value}.safetensors", paths.models / f.value, f) for f in (Family.SD1, Family.SD2, Family.SDXL)
    ]
    findings = examine(FakeHost(available=known, roles=frozenset()), registry.create(paths.models), paths)
    assert [f.what for f in findings if " control " in f.what] == [
        *(f"sd1 control {role}" for role in ("canny", "openpose", "color", "tile")),
        *(f"sd2 control {role}" for role in ("canny", "openpose", "color")),
        "sdxl control canny",
    ]


def test_without_a_place_for_vision_to_run_in_the_rest_is_told(paths: Paths) -> None:
    def interpreter() -> Path:
        raise AssetMissing("EasyPhoto's own environment isn't made yet.")

    findings = examine(FakeHost(), RemoteVision(interpreter, {"models": str(paths.models)}), paths)
    (vision,) = [f for f in findings if f.area == "vision"]
    assert (vision.status, vision.advice) == ("missing", "EasyPhoto's own environment isn't made yet.")
    assert any(f.area == "people" for f in findings)
