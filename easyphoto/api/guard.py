"""Who may speak to the server, and what they may send: one ASGI layer around everything that EasyPhoto answers.

A browser can reach this server, and it sends requests for any page that its user opens. So a request is refused unless
it calls the server by a known name (an attacker can make a name of their own resolve to this machine), if it comes from
a page of another site, and if it is too large. Programs that are not browsers send no signs of a page and are let in;
:mod:`easyphoto.api.auth` decides who they are.
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
"""The error code of a request that is refused because of where it comes from."""
CHANGING_GETS = ("/logout",)
"""Paths on which a GET changes something, although it should not; gradio has them."""
DRAIN_BYTES, DRAIN_SECONDS = 2**30, 10.0
"""How many bytes of a refused body are read and thrown away, and for how many seconds at most. A client that is still
sending would not see the answer otherwise."""

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
    """Return the names that this machine has for itself, and those by which its neighbours find it."""
    own = socket.gethostname().casefold()
    first = own.partition(".")[0]
    return frozenset({"localhost", own, first, f"{first}.local"})


def host_name(text: str) -> str:
    """Return a host name for :class:`Door` from what a user writes, with or without a port.

    A leading dot stands for all names below it. Raises :class:`InvalidRequest` if the text is not a host name.
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
    """Return the host and the port in ``text``, or None if it has another form. Only an IPv6 address may stand in
    brackets."""
    found = _AUTHORITY.fullmatch(text)
    if found is None or int(found[3] or 0) > _MAX_PORT:
        return None
    bracketed = found[1] is not None
    return None if bracketed and (":" not in found[1] or not _is_address(found[1])) else found


def _name(found: re.Match[str]) -> str:
    return (found[1] or found[2]).casefold().rstrip(".")


@dataclass(frozen=True)
class Door:
    """The names by which the server may be called, and the other sites whose pages may call it.

    An address always passes: an attacker can point a *name* of their own at this machine, but a browser never takes
    this machine's address for the attacker's site. ``names`` are host names beside localhost and the machine's own, as
    :func:`host_name` returns them. ``origins`` are other sites whose pages are welcome, like ``https://tools.example``.
    ``origin_pattern`` is a regular expression for more of them, or an empty text.
    """

    names: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    origin_pattern: str = ""
    own: frozenset[str] = field(default_factory=_own_names)

    @classmethod
    def named(cls, *names: str) -> Door:
        """Return a door that is also open under these names, which :func:`host_name` reads."""
        return cls(frozenset(map(host_name, names)))

    @classmethod
    def of(cls, names: Iterable[str], origins: Iterable[str] = (), origin_pattern: str = "") -> Door:
        """Return a door as settings describe it. A wrong setting is logged and left out, so that the others still
        hold."""
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
        """Return why a request or a websocket may not come in, or None if it may."""
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
        """Return a refusal if a page of another site sent the request."""
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
    """Return whether an origin, or the address of a page, has the host and the port to which the request goes."""
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
    """Return whether a browser opens the page as a whole, as it does for a link, and not in a frame or for a script."""
    return headers.get("sec-fetch-mode") == ["navigate"] and headers.get("sec-fetch-dest") == ["document"]


# --- bodies ----------------------------------------------------------------------------------------------------------


class Budget:
    """The number of bytes that the bodies of all requests together may hold while they are read. It serves one event
    loop."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0

    def take(self, count: int) -> bool:
        """Take ``count`` bytes, and return whether there was room for them. A request that is alone always has room."""
        if self.taken and self.taken + count > self.size:
            return False
        self.taken += count
        return True

    def give_back(self, count: int) -> None:
        self.taken -= count


class _Metered:
    """A body that breaks off, as if the client had gone, once it is longer than ``limit`` or the budget has no room for
    it."""

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
        """Give the bytes back to the budget once nobody holds the body any more."""
        if self._budget is not None:
            self._budget.give_back(self._held)
        self._held = 0


def release(scope: Scope) -> None:
    """Say that nobody holds the body of this request any more. A request that goes on waiting calls this."""
    give_back: Callable[[], None] = scope.get(_RELEASE, lambda: None)
    give_back()


def too_large(limit: int) -> Refusal:
    size = f"{limit // MB} MB" if limit >= MB else f"{limit} bytes"
    return Refusal(413, InvalidRequest.code, f"The request is larger than {size}.")


def _not_json(scope: Scope, headers: Mapping[str, Sequence[str]]) -> Refusal | None:
    """Refuse a body that is not JSON: a page can make a browser send forms and plain text to any site, but not JSON.

    A request without any content type passes, because clients of the original send their JSON that way.
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
    """Answer, for each path, that its bodies are JSON."""
    return True


class Guard:
    """An ASGI app that refuses what ``door`` doesn't let in and hands the rest to ``app``.

    ``limit`` returns the most bytes that a body may have on a path, and ``takes_json`` whether the bodies of a path
    must be JSON. All requests on all paths share the ``budget``, if there is one. If ``framed`` is False, pages of
    other sites can't show ours in a frame.
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
                raise  # an error after a refusal comes from the body that the guard broke off
        finally:
            metered.release()
        if metered.refusal is not None and not started:
            await _turn_away(metered.refusal, scope, receive, send)

    def _typed(self, scope: Scope) -> Scope:
        """Add the content type that a request left out: newer versions of FastAPI take no JSON without it."""
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
    """Read what the client still sends, up to a limit, because it would not look at the answer before it has sent
    everything."""

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
    """Return the limit of each path for :class:`Guard`: ``upload`` bytes for a path that ends like one of ``uploads``,
    ``usual`` bytes for any other."""
    ends = tuple(uploads)
    return lambda path: upload if path.endswith(ends) else usual
