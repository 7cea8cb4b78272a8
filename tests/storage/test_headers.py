"""The one reader of safetensors headers, and the two sentences that are made of what it finds."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from easyphoto.catalog.weight_formats import wrong_file
from easyphoto.errors import InvalidRequest
from easyphoto.storage.headers import BrokenHeader, parse, read_header

WHOLE = {"w": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}, "__metadata__": {"rank": 4}}


def made(header: object, weights: int = 12) -> bytes:
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(weights)


def test_a_whole_file_is_read_as_its_header_says(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(made(WHOLE))
    header = parse(path)
    assert (header.shapes, header.dtypes, header.metadata) == ({"w": (2, 3)}, {"w": "F16"}, {"rank": "4"})
    assert read_header(path) == header
    assert wrong_file(path) is None


@pytest.mark.parametrize(
    ("content", "fault", "asked", "fetched"),
    [
        (b"\x05", "no header", "it is truncated or of another format", "is no safetensors file"),
        (b"no safetensors at all", "no header", "it is truncated or of another format", "is no safetensors file"),
        (made(WHOLE)[:40], "cut off", "it is truncated within its header", "is cut off (its header is not whole)"),
        (
            struct.pack("<Q", 9) + b"not json!",
            "unreadable",
            "its header can't be read",
            "is no safetensors file (its header can't be read)",
        ),
        (
            made(WHOLE)[:-4],
            "other size",
            "it has 8 bytes of weights instead of 12",
            "is cut off or damaged (110 bytes where its header says 114)",
        ),
        (
            made({"w": {"dtype": "F16", "shape": [2, 4], "data_offsets": [0, 12]}}),
            "contradicts itself",
            "its header contradicts itself",
            "is no safetensors file (its header can't be read)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_a_broken_file_has_one_fault_and_a_sentence_for_each_who_asks(
    tmp_path: Path, content: bytes, fault: str, asked: str, fetched: str
) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(BrokenHeader) as broken:
        parse(path)
    assert broken.value.fault == fault
    with pytest.raises(InvalidRequest) as refused:
        read_header(path)
    assert str(refused.value) == f"w.safetensors is not a whole safetensors file: {asked}."
    assert wrong_file(path) == fetched
