"""A web server on this machine that misbehaves as a test tells it to, and counts the bytes that it sends."""

from __future__ import annotations

import contextlib
import gzip
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@dataclass(frozen=True)
class Answer:
    """How to answer one request for a file.

    ``cut``: send only so many bytes of what was promised. ``promise``: claim so many bytes more (or fewer). ``shift``:
    answer a range with bytes from elsewhere. ``flip``: change one byte of the body.
    """

    status: int = 200
    ranges: bool = True
    etag: str | None = '"one"'
    cut: int | None = None
    promise: int = 0
    redirect: str | None = None
    page: bool = False
    page_as: str = "text/html; charset=utf-8"
    chunked: bool = False
    packed: bool = False
    flip: bool = False
    shift: int = 0
    pause: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Mirror:
    """``files``: path -> body. ``answers``: path -> what to do request by request; the last one repeats."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(lambda: [Answer()]))
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, path: str) -> Answer:
        with self.lock:
            left = self.answers[path]
            return left.pop(0) if len(left) > 1 else left[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    mirror: Mirror

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        mirror, path = self.mirror, self.path
        if path.startswith("http://"):
            path = "/" + path.split("/", 3)[3]
        with mirror.lock:
            mirror.asked.append((path, self.headers.get("Range")))
            mirror.at_once += 1
            mirror.most_at_once = max(mirror.most_at_once, mirror.at_once)
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._answer(path, mirror.next(path))
        finally:
            with mirror.lock:
                mirror.at_once -= 1

    def _answer(self, path: str, answer: Answer) -> None:
        if answer.redirect:
            self._head(302, {"Location": answer.redirect, "Content-Length": "0", **dict(answer.headers)})
        elif answer.page:
            self._head(200, {"Content-Type": answer.page_as, "Content-Length": str(len(PAGE))})
            self.wfile.write(PAGE)
        elif answer.status != 200:
            self._head(answer.status, {"Content-Length": "4", **dict(answer.headers)})
            self.wfile.write(b"nope")
        elif path not in self.mirror.files:
            self._head(404, {"Content-Length": "0"})
        else:
            self._file(path, answer)

    def _file(self, path: str, answer: Answer) -> None:
        body = self.mirror.files[path]
        if answer.flip:
            body = body[:-1] + bytes([body[-1] ^ 1])
        headers = {"Content-Type": "application/octet-stream", **dict(answer.headers)}
        if answer.etag:
            headers["ETag"] = answer.etag
        start, status = self._start(len(body), answer), 200
        if start is not None and start >= len(body):
            self._head(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
            return
        if start is not None:
            status = 206
            headers["Content-Range"] = f"bytes {start + answer.shift}-{len(body) - 1}/{len(body)}"
        piece = body[start or 0 :]
        if answer.packed:
            piece = gzip.compress(piece)
            headers["Content-Encoding"] = "gzip"
        if answer.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(max(0, len(piece) + answer.promise))
        self._head(status, headers)
        self._send(path, piece if answer.cut is None else piece[: answer.cut], answer)
        if answer.cut is not None or answer.promise:
            self.close_connection = True

    def _start(self, size: int, answer: Answer) -> int | None:
        wanted = self.headers.get("Range")
        if not (wanted and answer.ranges):
            return None
        if_range = self.headers.get("If-Range")
        if if_range and if_range != answer.etag:
            return None
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def _send(self, path: str, piece: bytes, answer: Answer) -> None:
        step = 4096 if answer.pause else max(1, len(piece))
        for at in range(0, len(piece), step):
            bit = piece[at : at + step]
            time.sleep(answer.pause)
            self.wfile.write(f"{len(bit):x}\r\n".encode() + bit + b"\r\n" if answer.chunked else bit)
            with self.mirror.lock:
                self.mirror.sent[path] += len(bit)
        if answer.chunked and answer.cut is None:
            self.wfile.write(b"0\r\n\r\n")

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextlib.contextmanager
def serve() -> Iterator[Mirror]:
    """A running server; it stops with the block."""
    mirror = Mirror()
    handler = type("Handler", (_Handler,), {"mirror": mirror})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    mirror.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield mirror
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


__all__ = ["PAGE", "Answer", "Mirror", "serve"]
