"""Prompts in ComfyUI's notation.

ComfyUI knows ``(word:1.3)`` too, but takes square brackets and ``BREAK`` for words. A prompt is therefore read as a
WebUI reads it and written with weights alone.
"""

from __future__ import annotations

import re

from easyphoto.sd import prompt as prompts

_BRACKETS = re.compile(r"[()]")


def chunks(prompt: str) -> list[str]:
    """Return the pieces of a prompt between its BREAKs, at least one."""
    pieces = [""]
    for span in prompts.parse(prompt):
        if span.is_break:
            pieces.append("")
            continue
        text = _BRACKETS.sub(r"\\\g<0>", span.text)
        pieces[-1] += text if span.weight == 1 else f"({text}:{span.weight:.4g})"
    return [piece for piece in pieces if piece.strip()] or [""]
