"""What a browser remembers of its page while the page is loaded again: whose photos, which jobs, and what was typed.

``javascript/easyphoto.js`` keeps this and sends it back as JSON. The JSON comes from outside, so nothing in it is
trusted to be more than a name.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

ASK = "() => (window.easyphotoKept ? window.easyphotoKept() : '{}')"
"""The piece of script with which a page asks the browser for what it remembers."""
LONGEST = 4000
_PAGE = re.compile(r"[0-9a-f]{32}")
_JOB = re.compile(r"[0-9a-f]{0,32}")
_KINDS = ("train", "generate", "models", "video")
_MAX_NAME = 200


@dataclass(frozen=True)
class Kept:
    """What the browser remembered.

    ``page`` is the secret name of the browser's page. ``jobs`` has the id of its last job of each kind; the id is empty
    if the panel of that job was put away. ``user_id`` is what the user had typed.
    """

    page: str = field(default_factory=lambda: secrets.token_hex(16))
    jobs: Mapping[str, str] = field(default_factory=dict)
    user_id: str = ""

    @classmethod
    def read(cls, text: object) -> Kept:
        """Read what the browser sent, and leave out anything that can't be true."""
        try:
            data = json.loads(text) if isinstance(text, str) and len(text) <= LONGEST else {}
        except (ValueError, RecursionError):
            data = {}
        if not isinstance(data, dict):
            return cls()
        known: dict[str, str] = {}
        page, jobs, user_id = data.get("page"), data.get("jobs"), data.get("user_id")
        if isinstance(page, str) and _PAGE.fullmatch(page):
            known["page"] = page
        if isinstance(user_id, str):
            known["user_id"] = user_id[:_MAX_NAME]
        found = jobs if isinstance(jobs, dict) else {}
        ids = {kind: found[kind] for kind in _KINDS if isinstance(found.get(kind), str) and _JOB.fullmatch(found[kind])}
        return cls(**known, jobs=ids)
