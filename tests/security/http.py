"""HTTP written by hand: what browsers and attackers send, and what no client library would send."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

EVIL = "https://evil.example"
FORGED: Mapping[str, Mapping[str, str]] = {
    "a form or fetch of another site": {"Origin": EVIL},
    "the same, marked as such": {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
    "a page that claims to be ours": {"Origin": EVIL, "Sec-Fetch-Site": "same-origin"},
    "a frame without an origin": {"Origin": "null"},
    "another program's page on this machine": {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
    "a page with our name in its own": {"Origin": "http://127.0.0.1.evil.example"},
    "a browser that hides its origin": {"Sec-Fetch-Site": "cross-site"},
    "an old browser": {"Referer": f"{EVIL}/page"},
}
"""What a browser sends along when a page of somebody else makes it call us. An empty Host header stands for ours."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def sentence(self) -> str:
        """The message of an error, which must be one sentence."""
        data = json.loads(self.body)
        assert set(data) == {"code", "message"}, data
        message: str = data["message"]
        assert message.endswith((".", ")")) and "\n" not in message and "Traceback" not in message
        return message


def ask(
    address: str,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | Iterable[bytes] | None = None,
    timeout: float = 60,
) -> Answer:
    """One request on a connection of its own. A body that isn't bytes is sent in chunks, without a length."""
    where = urlsplit(address)
    assert where.hostname is not None
    sent = {"Host": where.netloc, "Connection": "close", **(headers or {})}
    if isinstance(body, bytes):
        sent.setdefault("Content-Length", str(len(body)))
    elif body is not None:
        sent["Transfer-Encoding"] = "chunked"
    head = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in sent.items() if v is not None)]
    with socket.create_connection((where.hostname, where.port), timeout) as line:
        line.sendall(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
        try:
            if isinstance(body, bytes):
                line.sendall(body)
            elif body is not None:
                for part in body:
                    line.sendall(b"%x\r\n%b\r\n" % (len(part), part))
                line.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server has heard enough
        return _answer(line)


def _answer(line: socket.socket) -> Answer:
    raw = b""
    while part := line.recv(65536):
        raw += part
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    found = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in rest)}
    if found.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    return Answer(int(first.split()[1]), found, body)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        count = int(size, 16)
        whole, body = whole + body[:count], body[count + 2 :]
        if not count:
            break
    return whole


def json_body(data: Any) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": "application/json"}, json.dumps(data).encode()
