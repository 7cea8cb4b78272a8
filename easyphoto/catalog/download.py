"""The download of one file from the first of its sources that gives it whole."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests

from easyphoto.catalog.part import Part
from easyphoto.catalog.weight_formats import wrong_file, wrong_start
from easyphoto.errors import AssetMissing, Cancelled
from easyphoto.messages import Message, joined

log = logging.getLogger(__name__)

CHUNK = 1 << 16
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
HEX = re.compile(r'^"?([0-9a-f]{64})"?$')


@dataclass(frozen=True)
class Limits:
    """How patient a download is. It goes ``rounds`` times through all sources, and waits ``pause`` seconds after the
    first round that brought nothing, twice as long after each further one, up to ``longest_pause``. After ``connect``
    or ``read`` seconds of silence a connection counts as dead."""

    rounds: int = 4
    pause: float = 1.0
    longest_pause: float = 30.0
    connect: float = 10.0
    read: float = 60.0


@dataclass(frozen=True)
class Wanted:
    """What to download. ``size`` (bytes) and ``sha256`` are None where they are not known."""

    name: str
    urls: Sequence[str]
    target: Path
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Got:
    sha256: str
    size: int
    url: str


class _Refused(Exception):
    """The source does not have the file, and asking it again would not help."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Broke(Exception):
    """The source broke off or asked for patience. What came so far is kept."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.after = reason, after


class Download:
    """The download of one file. ``on_bytes`` is called with the number of bytes that are there so far; ``cancelled`` is
    asked between two pieces."""

    def __init__(
        self,
        wanted: Wanted,
        session: requests.Session,
        limits: Limits,
        *,
        on_bytes: Callable[[int], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._wanted = wanted
        self._session = session
        self._limits = limits
        self._on_bytes = on_bytes
        self._cancelled = cancelled
        self._part = Part(wanted.target)
        self._failures: dict[str, str] = {}

    def run(self) -> Got:
        """Download the file and return it under its final name, whole. Raises AssetMissing with one sentence when no
        source gives it, StorageFailed when it can't be written, and Cancelled. After an error the final name is as it
        was before."""
        refused: set[str] = set()
        for turn in range(self._limits.rounds):
            patience = 0.0
            for url in [u for u in self._wanted.urls if u not in refused]:
                try:
                    return self._from(url)
                except _Refused as error:
                    refused.add(url)
                    self._failures[url] = error.reason
                except _Broke as error:
                    self._failures[url] = error.reason
                    patience = max(patience, error.after)
                log.info("%s: %s %s", self._wanted.name, _host(url), self._failures[url])
            if len(refused) == len(self._wanted.urls):
                break
            if turn + 1 < self._limits.rounds:
                self._wait(max(patience, self._limits.pause * 2**turn))
        tried = joined(
            [Message("{host} {reason}", host=_host(url), reason=reason) for url, reason in self._failures.items()], "; "
        )
        raise AssetMissing(
            "{wanted} could not be downloaded: {tried}.",
            wanted=self._wanted.name,
            tried=tried or Message("it has no source"),
        )

    def _from(self, url: str) -> Got:
        """Download from one source, for as long as every attempt brings more of the file than was there before."""
        while True:
            before = self._part.size
            try:
                announced = self._attempt(url)
                return self._finish(url, announced, resumed=before > 0)
            except _Broke:
                if self._part.size <= before:
                    raise
                self._wait(min(self._limits.pause, self._limits.longest_pause))

    def _attempt(self, url: str) -> str | None:
        """Make one request. Returns the sha256 that the source announces, if it announces one, when the file is
        whole."""
        headers = self._headers(url)
        try:
            with self._session.get(
                url, headers=headers, stream=True, timeout=(self._limits.connect, self._limits.read)
            ) as answer:
                total = self._check(answer, asked_from=self._part.size if "Range" in headers else 0)
                announced = _announced(answer)
                if total == self._part.size and answer.status_code == 416:
                    return announced
                if answer.status_code == 200:
                    self._part.clear()
                self._part.begin(url, _validator(answer.headers))
                # The length is checked below; urllib3 would throw away the last bytes before the line broke.
                answer.raw.enforce_content_length = False
                for piece in answer.iter_content(CHUNK):
                    self._take(piece)
        except requests.RequestException as error:
            raise _Broke(_in_words(error)) from error
        if total is not None and self._part.size < total:
            raise _Broke(Message("broke off after {size:,} of {total:,} bytes", size=self._part.size, total=total))
        return announced

    def _headers(self, url: str) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", "User-Agent": "easyphoto"}
        part = self._part
        same = part.url == url and part.validator
        if part.size and not same and not self._wanted.sha256:
            # Without a checksum nothing could tell afterwards that the halves come from two different files; the
            # validator tells it beforehand, and only of the same source.
            part.clear()
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
            if same and not self._wanted.sha256:
                headers["If-Range"] = part.validator
        return headers

    def _check(self, answer: requests.Response, asked_from: int) -> int | None:
        """Return the size of the whole file if the source says it. Nothing that was downloaded is given up before the
        answer looks like the file."""
        status, headers = answer.status_code, answer.headers
        if status == 416 and asked_from:
            total = _number(headers.get("Content-Range", "").rpartition("/")[2])
            if total != asked_from:
                self._part.clear()
                raise _Broke(Message("has no bytes where the download stopped"))
            return total
        if status in PASSING:
            raise _Broke(
                Message("answered {status}", status=status), min(_number(headers.get("Retry-After", "")) or 0, 30)
            )
        if status not in (200, 206):
            raise _Refused(Message("answered {status}", status=status))
        if "text/html" in headers.get("Content-Type", ""):
            raise _Refused(Message("gave a web page instead of the weights"))
        if headers.get("Content-Encoding", "identity") != "identity":
            raise _Refused(Message("packs the file in a way that can't be resumed"))
        total = _number(headers.get("Content-Length", ""))
        if status == 206:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
            if not found or int(found[1]) != asked_from:
                self._part.clear()
                raise _Broke(Message("answered with another part of the file than was asked for"))
            total = _number(found[2])
        if self._wanted.size is not None and total is not None and total != self._wanted.size:
            raise _Refused(
                Message("offers {total:,} bytes where the file has {size:,}", total=total, size=self._wanted.size)
            )
        return total

    def _take(self, piece: bytes) -> None:
        if self._cancelled():
            raise Cancelled("The download was stopped; what came so far is kept.")
        if self._part.size == 0 and (reason := wrong_start(piece)):
            raise _Refused(Message("gave something that {reason}", reason=reason))
        if self._wanted.size is not None and self._part.size + len(piece) > self._wanted.size:
            self._part.clear()
            raise _Refused(Message("gave more bytes than the file has"))
        self._part.append(piece)
        self._on_bytes(self._part.size)

    def _finish(self, url: str, announced: str | None, *, resumed: bool) -> Got:
        """Check the whole file, then give it its name. A file that is wrong is removed; if it was resumed, it is
        downloaded once more from the beginning."""
        part, wanted = self._part, self._wanted
        digest = part.sha256()
        expected = wanted.sha256 or announced
        reason = wrong_file(part.path, wanted.target.suffix) if part.size else Message("is empty")
        if wanted.size is not None and part.size != wanted.size:
            reason = Message("has {size:,} bytes instead of {wanted:,}", size=part.size, wanted=wanted.size)
        elif expected and digest != expected:
            reason = Message(
                "is not the expected file (its sha256 is {digest}..., not {expected}...)",
                digest=digest[:12],
                expected=expected[:12],
            )
        if reason:
            part.clear()
            raise (
                _Broke(Message("gave a file that {reason}", reason=reason))
                if resumed
                else _Refused(Message("gave a file that {reason}", reason=reason))
            )
        part.finish(keep_old=wanted.target.is_file() and wrong_file(wanted.target) is None)
        return Got(digest, part.size, url)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + min(seconds, self._limits.longest_pause)
        while (left := until - time.monotonic()) > 0:
            if self._cancelled():
                raise Cancelled("The download was stopped; what came so far is kept.")
            time.sleep(min(left, 0.2))


def _validator(headers: Mapping[str, str]) -> str:
    """Return what If-Range may hold: a strong ETag, else the date of change (RFC 9110, 13.1.5)."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


def _announced(answer: requests.Response) -> str | None:
    """Return the sha256 of a large file that Hugging Face names in the answer that redirects to it."""
    for response in (*answer.history, answer):
        if found := HEX.match(response.headers.get("X-Linked-ETag", "")):
            return found[1]
    return None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _host(url: str) -> str:
    return urlsplit(url).netloc or url


def _in_words(error: requests.RequestException) -> str:
    # A silence within the body comes as ConnectionError; only its text tells.
    if isinstance(error, requests.Timeout) or "timed out" in str(error).lower():
        return Message("did not answer in time")
    if isinstance(error, requests.exceptions.SSLError):
        return Message("has no valid certificate")
    if isinstance(error, requests.exceptions.ProxyError):
        return Message("can't be reached through the proxy")
    if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        return Message("broke off")
    if isinstance(error, requests.ConnectionError):
        return Message("can't be reached")
    return Message("failed ({kind})", kind=type(error).__name__)
