"""Whether a name or an address means this machine by its loopback interface."""

from __future__ import annotations

import ipaddress


def is_loopback(name: str) -> bool:
    """Return whether ``name`` is ``localhost`` or a loopback address, written without brackets."""
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
