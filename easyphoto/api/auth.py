"""Who may call the routes: HTTP basic authentication, and nothing from other web sites."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials


def basic(credentials: Mapping[str, str]) -> Callable[..., Any] | None:
    """A dependency that lets only these users in (name -> password); None, for no check, when there are none."""
    if not credentials:
        return None
    known = {name.encode(): password.encode() for name, password in credentials.items()}

    def check(given: HTTPBasicCredentials = Depends(HTTPBasic())) -> None:  # noqa: B008 - this is how FastAPI is told
        expected = known.get(given.username.encode())
        # Compared even for an unknown name, so that the time taken tells nothing.
        right = secrets.compare_digest(given.password.encode(), expected or b"")
        if expected is None or not right:
            raise HTTPException(401, "Incorrect username or password", headers={"WWW-Authenticate": "Basic"})

    return check


def same_site(request: Request) -> None:
    """A dependency that turns away what other web sites have a visitor's browser send to this machine."""
    if request.headers.get("sec-fetch-site") == "cross-site" and request.method not in ("GET", "HEAD"):
        raise HTTPException(403, "Requests from other web sites are not answered.")
