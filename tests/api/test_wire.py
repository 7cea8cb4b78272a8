"""Tests of what the API says about files."""

from __future__ import annotations

from pathlib import Path

import pytest

from easyphoto.api.wire import Scrubber
from easyphoto.config import Paths

ROOT = Path("/srv/my data 数据").resolve()


@pytest.fixture(scope="module")
def scrubber() -> Scrubber:
    return Scrubber(Paths.standalone(ROOT))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"{ROOT}/models/Stable-diffusion/x.safetensors", "models/Stable-diffusion/x.safetensors"),
        (f"Put it into {ROOT}/models/Stable-diffusion.", "Put it into models/Stable-diffusion."),
        (f"OSError: '{ROOT}/outputs/easyphoto-outputs/a b.png'", "OSError: 'outputs/easyphoto-outputs/a b.png'"),
        (f"{ROOT}/ is full", "the data folder is full"),
        (f"{ROOT} is full", "the data folder is full"),
        (f"({ROOT}/models)", "(models)"),
    ],
)
def test_a_path_below_the_data_is_told_from_there(scrubber: Scrubber, said: str, told: str) -> None:
    assert scrubber.text(said) == told


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("look at /home/ada/foo/bar.safetensors.", "look at bar.safetensors."),
        ("[Errno 2] No such file: '/opt/my things/a b.txt'", "[Errno 2] No such file: 'a b.txt'"),
        ('"C:\\Users\\ada\\x y\\z.png" and C:\\Users\\ada\\z.png', '"z.png" and z.png'),
        ("'C:\\\\Users\\\\ada\\\\z.png'", "'z.png'"),
        ("\\\\server\\share\\z.png", "z.png"),
        ("in /tmp/pip-build-x/y/: no", "in a folder: no"),
    ],
)
def test_any_other_path_is_cut(scrubber: Scrubber, said: str, told: str) -> None:
    assert scrubber.text(said) == told


@pytest.mark.parametrize(
    "said",
    [
        "see https://photos.example/a/b and http://127.0.0.1:7861/easyphoto/v1/jobs",
        "POST /easyphoto/v1/jobs/train",
        "5/10 photos, and/or 2 of them, 3:4/5",
        "models/Lora/ada.safetensors and templates/grace-hopper.jpg",
    ],
)
def test_what_is_no_path_of_the_server_stays(scrubber: Scrubber, said: str) -> None:
    assert scrubber.text(said) == said


def test_data_of_any_depth(scrubber: Scrubber) -> None:
    assert scrubber.value({"a": [f"{ROOT}/outputs/x", {"b": ("/var/lib/y", 3)}]}) == {
        "a": ["outputs/x", {"b": ["y", 3]}]
    }
