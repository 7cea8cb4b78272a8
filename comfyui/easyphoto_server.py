"""The HTTP API of a running EasyPhoto (``easyphoto serve``), with nothing but the standard library."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

DEFAULT = "http://127.0.0.1:7861"
AUTH = "EASYPHOTO_AUTH"
"""The environment variable with USER:PASSWORD for a server that was started with --auth."""
POLL = 0.5
"""How many seconds lie between two looks at a job."""
TIMEOUT = 120
_OVER = ("finished", "failed", "cancelled")


class EasyPhotoFault(RuntimeError):
    """What went wrong, in one sentence."""


class EasyPhotoServer:
    """One running EasyPhoto on this machine. Photos are sent there, so other machines are refused."""

    def __init__(self, url: str) -> None:
        self.url = _checked(url)
        # no proxy is asked: photos go to this address alone
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())

    def get(self, path: str) -> Any:
        return json.loads(self._ask("GET", path))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return json.loads(self._ask("POST", path, body))

    def picture(self, job: str, number: int) -> bytes:
        """The file of a picture of a job."""
        return self._ask("GET", f"jobs/{job}/pictures/{number}")

    def person(self, user_id: str) -> dict[str, Any] | None:
        """What is known of a person, None if there is no such person."""
        found = [person for person in self.get("people") if person["user_id"] == user_id]
        return found[0] if found else None

    def follow(self, job: str, tell: Callable[[int, int], None]) -> dict[str, Any]:
        """The job when it has finished. ``tell`` is called with the step and the number of steps again and again; if
        it raises, the job is cancelled."""
        try:
            while True:
                state: dict[str, Any] = self.get(f"jobs/{job}")
                progress = state.get("progress") or {}
                tell(int(progress.get("step", 0)), max(int(progress.get("total", 1)), 1))
                if state["state"] in _OVER:
                    break
                time.sleep(POLL)
        except BaseException:
            self._cancel(job)
            raise
        if state["state"] == "finished":
            return state
        error = state.get("error") or {}
        raise EasyPhotoFault(error.get("message") or f"EasyPhoto's job was {state['state']}.")

    def _cancel(self, job: str) -> None:
        try:
            self._ask("DELETE", f"jobs/{job}")
        except EasyPhotoFault:  # it is gone or over, and what happened before is what has to be told
            return

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/easyphoto/v1/{path}", data, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if os.environ.get(AUTH):
            request.add_header("Authorization", f"Basic {base64.b64encode(os.environ[AUTH].encode()).decode()}")
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as error:
            raise EasyPhotoFault(_sentence(error)) from None
        except OSError:
            raise EasyPhotoFault(f"EasyPhoto does not answer at {self.url}: start it with `easyphoto serve`.") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _checked(url: str) -> str:
    parts = urllib.parse.urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise EasyPhotoFault(f"{url!r} is no address of an EasyPhoto: give one like {DEFAULT}.")
    if parts.hostname != "localhost" and not _is_loopback(parts.hostname):
        raise EasyPhotoFault(f"{parts.hostname} is another machine, and photos stay on this one.")
    return url.strip().rstrip("/")


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _sentence(error: urllib.error.HTTPError) -> str:
    """What the server says is wrong."""
    if error.code == 401:
        return f"EasyPhoto asks for a name and password: set {AUTH} to USER:PASSWORD before you start ComfyUI."
    try:
        return str(json.loads(error.read())["message"])
    except (ValueError, KeyError, TypeError):
        return f"What answers at {error.url} is not EasyPhoto (status {error.code})."
