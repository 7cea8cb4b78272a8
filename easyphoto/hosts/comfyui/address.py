"""The address of a ComfyUI. Photos are sent there, so it has to be this machine unless the user says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from easyphoto.errors import InvalidRequest
from easyphoto.loopback import is_loopback

DEFAULT = "http://127.0.0.1:8188"
_PORT = 8188


@dataclass(frozen=True)
class Address:
    """Where a ComfyUI listens. ``url`` ends without a slash; ``here`` says whether it is this machine by its address,
    so that nothing that is sent there leaves it."""

    url: str
    here: bool

    def __str__(self) -> str:
        return self.url

    @property
    def socket_url(self) -> str:
        """The address of the websocket."""
        return f"ws{self.url.removeprefix('http')}/ws"


def read(text: str, *, elsewhere: bool = False) -> Address:
    """Return the address that a user typed. Raises :class:`InvalidRequest` for one that is no address, and for one of
    another machine unless ``elsewhere`` says that photos may go there."""
    given = text.strip()
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        name, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else _PORT)
    except ValueError:
        name, port = None, 0
    if not name or parts.scheme not in ("http", "https") or parts.query or parts.fragment or parts.username:
        raise InvalidRequest(
            "{given!r} is no address of a ComfyUI: give one like {default}.", given=given, default=DEFAULT
        )
    here = is_loopback(name)
    if not here and not elsewhere:
        raise InvalidRequest(
            "{name} is another machine, and photos stay on this one: give an address like {default}, or add "
            "--comfyui-elsewhere to send photos and pictures to {name}.",
            name=name,
            default=DEFAULT,
        )
    host = f"[{name}]" if ":" in name else name
    return Address(f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}", here)
