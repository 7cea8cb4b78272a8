"""Who may call the routes: HTTP basic authentication. What other web sites may not do is in ``guard``."""

# No annotations of the future here: old FastAPI can't look up those of an object that is called.
import base64
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials


class _Basic(HTTPBasic):
    """As FastAPI's, which takes ASCII alone, for names and passwords in any script."""

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
    """A dependency that lets only these users in (name -> password); None, for no check, when there are none."""
    if not credentials:
        return None
    known = {name.encode(): password.encode() for name, password in credentials.items()}

    def check(given: HTTPBasicCredentials = Depends(_Basic())) -> None:  # noqa: B008 - this is how FastAPI is told
        expected = known.get(given.username.encode())
        # Compared even for an unknown name, so that the time taken tells nothing.
        right = secrets.compare_digest(given.password.encode(), expected or b"")
        if expected is None or not right:
            raise _unknown()

    return check
