"""Who may call the routes, by HTTP basic authentication. :mod:`easyphoto.api.guard` decides what other web sites may
not do."""

# Annotations are not postponed in this module: an old FastAPI can't look up those of a callable object.
import base64
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials


class _Basic(HTTPBasic):
    """FastAPI's basic authentication for names and passwords in any script; FastAPI's own takes ASCII alone."""

    async def __call__(self, request: Request) -> HTTPBasicCredentials:  # type: ignore[override]
        scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
        try:
            name, colon, password = base64.b64decode(sent, validate=True).decode("utf-8").partition(":")
        except ValueError:
            colon = ""
        if scheme.lower() != "basic" or not colon:
            raise _unknown()
        return HTTPBasicCredentials(username=name, password=password)


def _unknown() -> HTTPException:
    return HTTPException(401, "Incorrect username or password", headers={"WWW-Authenticate": "Basic"})


def basic(credentials: Mapping[str, str]) -> Callable[..., Any] | None:
    """Return a dependency that lets in only these users (name -> password), or None if there are no users to check
    for."""
    if not credentials:
        return None
    known = {name.encode(): password.encode() for name, password in credentials.items()}

    def check(given: HTTPBasicCredentials = Depends(_Basic())) -> None:  # noqa: B008 - FastAPI wants it in this place
        expected = known.get(given.username.encode())
        # The password is compared even for an unknown name, so that the time this takes gives nothing away.
        right = secrets.compare_digest(given.password.encode(), expected or b"")
        if expected is None or not right:
            raise _unknown()

    return check
