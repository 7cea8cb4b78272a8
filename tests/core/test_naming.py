"""Tests of which model a name means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyphoto import naming
from easyphoto.naming import AmbiguousName, Named


def find(wanted: str, *names: str) -> str | None:
    return naming.find(wanted, [Named(name, name) for name in names], "model")


@pytest.mark.parametrize(
    ("wanted", "names", "found"),
    [
        ("b/model", ("a/model", "b/model"), "b/model"),
        ("b/model", ("a/model.safetensors", "b/model.safetensors"), "b/model.safetensors"),
        ("b\\model", ("a/model.safetensors", "b/model.safetensors"), "b/model.safetensors"),
        ("b/model", ("a\\model.safetensors", "b\\model.safetensors"), "b\\model.safetensors"),
        ("real_v5.9", ("real_v5.safetensors",), None),
        ("model.v2", ("model.safetensors", "model"), None),
        ("model", ("model.v2.safetensors",), None),
        ("model.v2", ("model.v2.safetensors",), "model.v2.safetensors"),
        ("model", ("model.ckpt", "model"), "model"),
        ("model.pt", ("model.ckpt",), None),
        ("model.safetensors", ("model",), "model"),
        ("MODEL.SAFETENSORS", ("model.safetensors",), "model.safetensors"),
        ("model", ("model.SAFETENSORS",), "model.SAFETENSORS"),
        ("Model", ("model.safetensors", "Model.safetensors"), "Model.safetensors"),
        ("model", ("sub/model.safetensors", "model.safetensors"), "model.safetensors"),
        ("sub/model", ("deep/sub/model.safetensors",), "deep/sub/model.safetensors"),
        ("other/model", ("sub/model.safetensors",), None),
        ("ub/model", ("sub/model.safetensors",), None),
        ("model [0a1b2c3d4e]", ("sub/model.safetensors",), "sub/model.safetensors"),
        ("cafe\u0301", ("caf\u00e9.safetensors",), "caf\u00e9.safetensors"),
        ("", ("model",), None),
    ],
)
def test_one_name_means_one_thing(wanted: str, names: tuple[str, ...], found: str | None) -> None:
    assert find(wanted, *names) == find(wanted, *reversed(names)) == found


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("model", ("a/model.safetensors", "b/model.safetensors")),
        ("model", ("model.ckpt", "model.safetensors")),
        ("MODEL", ("model.safetensors", "Model.safetensors")),
        ("a/model", ("x/a/model", "y/a/model")),
    ],
)
def test_two_that_could_be_meant_are_both_named(wanted: str, names: tuple[str, ...]) -> None:
    with pytest.raises(AmbiguousName) as caught:
        find(wanted, *names)
    assert all(name in str(caught.value) for name in names)


_NAME = st.text("ab./\\ [1]", min_size=1, max_size=8)


@given(st.lists(_NAME, min_size=1, max_size=5, unique=True))
def test_whatever_is_listed_is_found_by_the_name_in_the_list(names: list[str]) -> None:
    for name in names:
        assert find(name, *names) == name


def test_an_alias_means_its_owner_alone() -> None:
    entries = [Named("a/model", 1, ("0a1b",)), Named("b/model", 2, ("model [ff]",))]
    assert naming.find("0a1b", entries, "model") == 1
    assert naming.find("model [ff]", entries, "model") == 2


def test_near_names_are_offered_in_order() -> None:
    assert naming.near("chiloutmix", ["x/ChilloutMix_v1.safetensors", "sdxl.safetensors"]) == [
        "x/ChilloutMix_v1.safetensors"
    ]
    assert naming.near("q", ["sdxl"]) == []


def test_a_folder_is_listed_with_what_is_broken_in_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.SafeTensors").write_bytes(b"")
    (tmp_path / "a.txt").write_bytes(b"")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "folder.safetensors" / "inside.safetensors").write_bytes(b"")
    (tmp_path / "diffusers").mkdir()
    (tmp_path / "diffusers" / "model_index.json").write_bytes(b"{}")
    (tmp_path / "gone.ckpt").symlink_to(tmp_path / "nothing")
    (tmp_path / "self.ckpt").symlink_to(tmp_path / "self.ckpt")
    (tmp_path / "round").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe.pt")
    names = [entry.name for entry in naming.listed(tmp_path)]
    assert names == ["diffusers", "folder.safetensors", "gone.ckpt", "pipe.pt", "self.ckpt", "sub/b.SafeTensors"]
    assert naming.listed(tmp_path / "not there") == []
