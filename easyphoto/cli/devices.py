"""The devices that a command line names."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from easyphoto.cli.arguments import shortened
from easyphoto.errors import InvalidRequest


def listed(text: str) -> tuple[str, ...]:
    """Return the devices of ``cuda:0,cuda:1``."""
    found = tuple(part.strip().lower() for part in text.split(","))
    for name in found:
        if not re.fullmatch(r"cpu|mps|cuda:\d{1,3}", name):
            raise argparse.ArgumentTypeError(
                f"must be devices with commas between them, such as cuda:0,cuda:1, not {shortened(text)!r}"
            )
    return found


def require(devices: Sequence[str]) -> None:
    """Raise :class:`InvalidRequest` for a device that this machine hasn't, and for a card that is named twice."""
    cards = [int(name.removeprefix("cuda:")) for name in devices if name.startswith("cuda:")]
    if len(set(cards)) < len(cards):
        raise InvalidRequest("--devices names one card twice: give each once.")
    if not cards and "mps" not in devices:
        return
    import torch

    if "mps" in devices and not torch.backends.mps.is_available():
        raise InvalidRequest("--devices names mps, which this machine doesn't have.")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    missing = [card for card in cards if card >= count]
    if missing:
        raise InvalidRequest(f"--devices names cuda:{missing[0]}, and this machine has {count} such cards.")
