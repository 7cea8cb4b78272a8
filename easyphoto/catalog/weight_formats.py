"""Whether a file can be the weights that it is named as: this is told without loading anything."""

from __future__ import annotations

import zipfile
from pathlib import Path

from easyphoto.messages import Message
from easyphoto.storage import headers

PAGE = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")
POINTER = b"version https://git-lfs"


def wrong_start(start: bytes) -> str | None:
    """Return why a file with these first bytes can't be weights, as the end of a sentence; None when nothing speaks
    against it."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if text.startswith(PAGE):
        return Message("is a web page, not weights")
    if text.startswith(POINTER):
        return Message("is a pointer to the weights (Git LFS), not the weights")
    if text.startswith((b'{"error', b'{"message', b'{"code', b'{"detail')):
        return Message("is an error message of the server, not weights")
    return None


def wrong_file(path: Path, suffix: str | None = None) -> str | None:
    """Return why a whole file on disk can't be what its suffix (or ``suffix``) says, None when nothing speaks against
    it.

    A safetensors file must have a whole header, and its tensors must end where the file ends. A torch file that is a
    zip must have its index, which lies at the end, so that a truncated file fails. An older torch file must start as a
    pickle, and an ONNX file as a message.
    """
    size = path.stat().st_size
    if size == 0:
        return Message("is empty")
    with path.open("rb") as file:
        start = file.read(512)
    if reason := wrong_start(start):
        return reason
    suffix = (path.suffix if suffix is None else suffix).lower()
    if suffix == ".safetensors":
        return _wrong_safetensors(path, size)
    if suffix in (".pth", ".pt", ".ckpt", ".bin"):
        if start.startswith(b"PK\x03\x04"):
            return None if zipfile.is_zipfile(path) else Message("is cut off (its index is missing)")
        return None if start[:1] == b"\x80" else Message("is no torch file")
    if suffix == ".jpg":
        return None if start.startswith(b"\xff\xd8\xff") else Message("is no JPEG picture")
    if suffix == ".onnx" and start[:1] not in (b"\x08", b"\x12", b"\x1a", b"\x22", b"\x3a", b"\x42"):
        return Message("is no ONNX model")
    return None


def _wrong_safetensors(path: Path, size: int) -> str | None:
    try:
        headers.parse(path)
    except headers.BrokenHeader as broken:
        if broken.fault == "no header":
            return Message("is no safetensors file")
        if broken.fault == "cut off":
            return Message("is cut off (its header is not whole)")
        if broken.fault == "other size":
            whole = size - broken.there + broken.wanted
            return Message(
                "is cut off or damaged ({size:,} bytes where its header says {whole:,})", size=size, whole=whole
            )
        return Message("is no safetensors file (its header can't be read)")
    return None
