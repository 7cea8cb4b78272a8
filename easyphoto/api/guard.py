"""Who may speak to the server, and with what: one ASGI layer around everything that EasyPhoto answers.

A browser carries the visitor's reach to every page that the visitor opens. So a request must name this server as one
that is known (an attacker's own name that was made to resolve to this machine is none), must not come from a page of
another site, and must not be larger than what was agreed. Programs that are no browsers send none of the marks of one
and are let in; who they are is a matter for :mod:`easyphoto.api.auth`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse

from easyphoto.errors import InvalidRequest, TooBusy

Scope: TypeAlias = MutableMapping[str, Any]
AsgiMessage: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[AsgiMessage]]
Send: TypeAlias = Callable[[AsgiMessage], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger(__name__)

MB = 2**20
REFUSED = "refused"
"""The code of what is turned away because of where it comes from."""
CHANGING_GETS = ("/logout",)
"""Paths whose GET changes something, against the rule; they are gradio's."""
DRAIN_BYTES, DRAIN_SECONDS = 2**30, 10.0
"""How much of a refused body is read away, and for how long: a client that still sends would never see the answer."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_PORTS = {"http": "80", "https": "443"}
_MAX_PORT = 65535
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([\w.-]+))(?::(\d{1,5}))?")
_RELEASE = "easyphoto.release"


@dataclass(frozen=True)
class Refusal:
    """The status, code and sentence of an answer that turns a request away."""

    status: int
    code: str
    message: str


# --- names and sites -------------------------------------------------------------------------------------------------


def _own_names() -> frozenset[str]:
    """What this machine calls itself, and how its neighbours find it."""
    own = socket.gethostname().casefold()
    first = own.partition(".")[0]
    return frozenset({"localhost", own, first, f"{first}.local"})


def host_name(text: str) -> str:
    """A name for :class:`Door` as a user writes it, with or without a port; a leading dot stands for all names below.

    :class:`InvalidRequest` when it is no host name.
    """
    plain = text.strip()
    below = "." if plain.startswith(".") else ""
    try:
        name = plain.removeprefix(".").rstrip(".").encode("idna").decode("ascii") if plain.isascii() is False else plain
    except UnicodeError:
        name = ""
    found = _authority(name.removeprefix("."))
    if found is None:
        raise InvalidRequest("{text!r} is no host name: write one like photos.example.org.", text=text)
    return below + _name(found)


def _authority(text: str) -> re.Match[str] | None:
    """The host and port that ``text`` is; None when it is none: in brackets stands an IPv6 address and nothing else."""
    found = _AUTHORITY.fullmatch(text)
    if found is None or int(found[3] or 0) > _MAX_PORT:
        return None
    bracketed = found[1] is not None
    return None if bracketed and (":" not in found[1] or not _is_address(found[1])) else found


def _name(found: re.Match[str]) -> str:
    return (found[1] or found[2]).casefold().rstrip(".")


@dataclass(frozen=True)
class Door:
    """By which names the server may be called, and which other sites' pages may call it.

    Addresses always pass: a page can be made to reach this machine under an attacker's *name*, never under an address
    that its browser would take for the attacker's. ``names``: host names beside localhost and the machine's own, as
    :func:`host_name` gives them. ``origins``: other origins whose pages are welcome, like ``https://tools.example``;
    ``origin_pattern``: a regular expression for more of them, or empty.
    """

    names: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    origin_pattern: str = ""
    own: frozenset[str] = field(default_factory=_own_names)

    @classmethod
    def named(cls, *names: str) -> Door:
        """Open under these names too, as :func:`host_name` takes them."""
        return cls(frozenset(map(host_name, names)))

    @classmethod
    def of(cls, names: Iterable[str], origins: Iterable[str] = (), origin_pattern: str = "") -> Door:
        """The same from settings, where what is wrong must not keep the rest away: it is logged and left out."""
        known = set()
        for name in names:
            try:
                known.add(host_name(name))
            except InvalidRequest as error:
                _log.warning("%s", error)
        try:
            re.compile(origin_pattern)
        except re.error as error:
            _log.warning("%r is no pattern of origins: %s", origin_pattern, error)
            origin_pattern = ""
        return cls(frozenset(known), frozenset(origins), origin_pattern)

    def refusal(self, scope: Scope) -> Refusal | None:
        """Why a request or a websocket may not come in; None when it may."""
        headers = _headers(scope)
        hosts = headers.get("host", [])
        host = _authority(hosts[0]) if len(hosts) == 1 else None
        if host is None:
            return Refusal(400, InvalidRequest.code, "The request does not say for which host it is.")
        if not self._knows(_name(host)):
            return Refusal(
                403,
                REFUSED,
                f"This server does not answer to the name {_name(host)!r}: if it is yours, allow it "
                "(serve --allow-host NAME; in a WebUI the setting of EasyPhoto).",
            )
        return self._foreign(scope, headers, host)

    def _knows(self, name: str) -> bool:
        if _is_address(name) or name in self.own or name in self.names:
            return True
        return any(name.endswith(known) for known in self.names if known.startswith("."))

    def _foreign(self, scope: Scope, headers: Mapping[str, Sequence[str]], host: re.Match[str]) -> Refusal | None:
        """A refusal for what a page of another site sends."""
        refusal = Refusal(403, REFUSED, "Requests from other web sites are not answered.")
        origins = headers.get("origin", [])
        if any(self._welcome(origin) for origin in origins) and len(origins) == 1:
            return None
        if not all(_same_site(origin, host) for origin in origins):
            return refusal
        safe = scope["type"] == "http" and scope["method"] in _SAFE and scope["path"] not in CHANGING_GETS
        if not safe and not origins and not all(_same_site(page, host) for page in headers.get("referer", [])):
            return refusal
        sites = headers.get("sec-fetch-site", [])
        if any(site not in ("same-origin", "none") for site in sites) and not (safe and _is_link(headers)):
            return refusal
        return None

    def _welcome(self, origin: str) -> bool:
        if origin in self.origins:
            return True
        return bool(self.origin_pattern) and re.fullmatch(self.origin_pattern, origin) is not None


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1").strip())
    return found


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_site(page: str, host: re.Match[str]) -> bool:
    """Whether an origin (or the address of a page) has the host and port that the request is for."""
    try:
        parts = urlsplit(page)
    except ValueError:
        return False
    theirs = _authority(parts.netloc)
    usual = _PORTS.get(parts.scheme)
    if theirs is None or usual is None:
        return False
    return (_name(theirs), theirs[3] or usual) == (_name(host), host[3] or usual)


def _is_link(headers: Mapping[str, Sequence[str]]) -> bool:
    """Whether a browser goes to the page as a whole, as by a link: not into a frame, not for a script."""
    return headers.get("sec-fetch-mode") == ["navigate"] and headers.get("sec-fetch-dest") == ["document"]


# --- bodies ----------------------------------------------------------------------------------------------------------


class Budget:
    """Bytes of bodies that all requests together may hold while they are read. For one event loop."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0

    def take(self, count: int) -> bool:
        """Whether there was room; one request alone always has it."""
        if self.taken and self.taken + count > self.size:
            return False
        self.taken += count
        return True

    def give_back(self, count: int) -> None:
        self.taken -= count


class _Metered:
    """A body that ends as if the client had gone once it is longer than ``limit``, or there is no room for it."""

    def __init__(self, receive: Receive, limit: int, budget: Budget | None) -> None:
        self._receive = receive
        self._limit = limit
        self._budget = budget
        self._size = 0
        self._held = 0
        self.refusal: Refusal | None = None

    async def __call__(self) -> AsgiMessage:
        if self.refusal is None:
            message = await self._receive()
            self.refusal = self._weigh(len(message.get("body", b"")))
            if self.refusal is None:
                return message
        return {"type": "http.disconnect"}

    def _weigh(self, count: int) -> Refusal | None:
        self._size += count
        if self._size > self._limit:
            return too_large(self._limit)
        if self._budget is not None and count:
            if not self._budget.take(count):
                return Refusal(
                    TooBusy.http_status, TooBusy.code, "Too much is being sent at the same time: try again later."
                )
            self._held += count
        return None

    def release(self) -> None:
        """Called when nobody holds the body any more."""
        if self._budget is not None:
            self._budget.give_back(self._held)
        self._held = 0


def release(scope: Scope) -> None:
    """Say that the body of this request is no longer held, for one that goes on waiting."""
    give_back: Callable[[], None] = scope.get(_RELEASE, lambda: None)
    give_back()


def too_large(limit: int) -> Refusal:
    size = f"{limit // MB} MB" if limit >= MB else f"{limit} bytes"
    return Refusal(413, InvalidRequest.code, f"The request is larger than {size}.")


def _not_json(scope: Scope, headers: Mapping[str, Sequence[str]]) -> Refusal | None:
    """A page can have a browser send forms and plain text to any site; JSON it must ask for first.

    No content type at all passes: clients of the original send their JSON so.
    """
    if scope["method"] in _SAFE:
        return None
    for given in headers.get("content-type", []):
        kind = given.partition(";")[0].strip().lower()
        if kind not in ("application/json", ""):
            return Refusal(
                415,
                InvalidRequest.code,
                f"The body must be JSON with the content type application/json, not {kind[:100]}.",
            )
    return None


# --- the layer -------------------------------------------------------------------------------------------------------


def everything(path: str) -> bool:
    """Bodies are JSON on every path."""
    return True


class Guard:
    """An ASGI app that turns away what ``door`` doesn't let in and hands the rest to ``app``.

    ``limit`` gives the most bytes of a body by path, ``takes_json`` the paths whose bodies must be JSON; ``budget`` is
    shared by the requests of all paths, if given. ``framed`` False keeps pages of other sites from showing ours in a
    frame.
    """

    def __init__(
        self,
        app: App,
        door: Door,
        limit: Callable[[str], int],
        takes_json: Callable[[str], bool] = everything,
        budget: Budget | None = None,
        framed: bool = True,
    ) -> None:
        self._app = app
        self._door = door
        self._limit = limit
        self._takes_json = takes_json
        self._budget = budget
        self._framed = framed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            if self._door.refusal(scope) is not None:
                await send({"type": "websocket.close", "code": 1008, "reason": ""})
                return
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is not None:
            await _turn_away(refusal, scope, receive, send)
            return
        metered = _Metered(receive, self._limit(scope["path"]), self._budget)
        started = False

        async def passed_on(message: AsgiMessage) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                if metered.refusal is not None:
                    return
                started = True
                if not self._framed:
                    message["headers"] = [
                        *message.get("headers", ()),
                        (b"content-security-policy", b"frame-ancestors 'self'"),
                    ]
            if started:
                await send(message)

        try:
            await self._app({**self._typed(scope), _RELEASE: metered.release}, metered, passed_on)
        except Exception:
            if metered.refusal is None or started:
                raise  # else it is about the body that we ended
        finally:
            metered.release()
        if metered.refusal is not None and not started:
            await _turn_away(metered.refusal, scope, receive, send)

    def _typed(self, scope: Scope) -> Scope:
        """The request with the content type that it left out: newer FastAPI takes no JSON without one."""
        if scope["method"] in _SAFE or not self._takes_json(scope["path"]):
            return scope
        named = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-type"]
        return {**scope, "headers": [*named, (b"content-type", b"application/json")]}

    def _refusal(self, scope: Scope) -> Refusal | None:
        refused = self._door.refusal(scope)
        if refused is not None:
            return refused
        headers = _headers(scope)
        refused = _not_json(scope, headers) if self._takes_json(scope["path"]) else None
        if refused is not None:
            return refused
        limit = self._limit(scope["path"])
        if any(length.isdigit() and int(length) > limit for length in headers.get("content-length", [])):
            return too_large(limit)
        return None


async def _turn_away(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    if "100-continue" not in (value.lower() for value in _headers(scope).get("expect", [])):
        await _drain(receive)
    answer = JSONResponse({"code": refusal.code, "message": refusal.message}, refusal.status)
    await answer(scope, receive, send)


async def _drain(receive: Receive) -> None:
    """Read what the client still sends, within bounds: it would not look at the answer before it has sent all."""

    async def all_of_it() -> None:
        size = 0
        while size <= DRAIN_BYTES:
            message = await receive()
            size += len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body", False):
                return

    try:
        await asyncio.wait_for(all_of_it(), DRAIN_SECONDS)
    except asyncio.TimeoutError:
        return


def limits(usual: int, upload: int, uploads: Iterable[str]) -> Callable[[str], int]:
    """Bytes by path for :class:`Guard`: ``upload`` for those that end like ``uploads``, else ``usual``."""
    ends = tuple(uploads)
    return lambda path: upload if path.endswith(ends) else usual
