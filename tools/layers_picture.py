"""Draw ``docs/images/layers.svg``: the layers of the import contract in ``pyproject.toml``, from top to bottom.

    python tools/layers_picture.py

A test holds the picture to the contract; run this when you change the layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from importlinter import api

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "images" / "layers.svg"
WIDTH, MARGIN, LEFT = 940, 24, 96
"""Pixels: of the picture, around it, and of the column on the left that holds the arrow."""
BOX, GAP, PADDING, MOST = 28, 6, 6, 6
"""Height of a box, what lies between boxes, what lies around the boxes of a layer, and boxes beside one another."""
LINE = 22
"""Height of a line of text below the layers."""
COLOURS = ("#e7f0fb", "#e6f5ec", "#fdf3dc", "#f8e8ef", "#ece9f8")
"""The bands of the layers, in turn from the top."""
STYLE = """\
text { font: 15px "DejaVu Sans", Verdana, sans-serif; fill: #1f2933; }
.box { fill: #ffffff; stroke: #7b8794; }
.small { font-size: 13px; fill: #52606d; }
.arrow { stroke: #52606d; stroke-width: 2; fill: none; }"""


def contracts() -> Sequence[Mapping[str, Any]]:
    """The contracts as import-linter reads them."""
    found: Sequence[Mapping[str, Any]] = api.read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    return found


def layers(known: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The names of the modules of each layer without the package's own, from the top layer down."""
    (contract,) = (c for c in known if c["type"] == "layers")
    return [[name.strip().removeprefix("easyphoto.") for name in row.split("|")] for row in contract["layers"]]


def draw(known: Sequence[Mapping[str, Any]]) -> str:
    """The picture as SVG."""
    top = MARGIN
    parts: list[str] = []
    for i, names in enumerate(layers(known)):
        lines = _lines(names)
        height = len(lines) * (BOX + GAP) - GAP + 2 * PADDING
        parts.append(_rectangle(LEFT, top, WIDTH - LEFT - MARGIN, height, f'fill="{COLOURS[i % len(COLOURS)]}"'))
        for k, line in enumerate(lines):
            parts += _boxes(line, top + PADDING + k * (BOX + GAP))
        top += height + GAP
    parts += _arrow(MARGIN + GAP, top - 2 * GAP)
    for text in ("A module imports only from the layers below its own; modules side by side don't import one another.",
                 *_sentences(known)):  # fmt: skip
        parts.append(f'<text class="small" x="{LEFT}" y="{top + LINE - 6}">{escape(text)}</text>')
        top += LINE
    height = top + MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">'
    title = "<title>The layers of EasyPhoto, from the commands at the top to the messages at the bottom</title>"
    background = f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, title, f"<style>\n{STYLE}\n</style>", background, *parts, "</svg>"]) + "\n"


def _sentences(known: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the other contracts say, by their names."""
    names = (str(c["name"]) for c in known if c["type"] != "layers")
    return [f"{name[:1].upper()}{name[1:]}." for name in names]


def _lines(names: Sequence[str]) -> list[Sequence[str]]:
    """The names in as few lines as there is room for, as even as they go."""
    count = -(-len(names) // MOST)
    each = -(-len(names) // count)
    return [names[k : k + each] for k in range(0, len(names), each)]


def _boxes(names: Sequence[str], top: int) -> list[str]:
    """Boxes of one width, side by side over the whole layer."""
    left, right = LEFT + PADDING, WIDTH - MARGIN - PADDING
    width = (right - left - GAP * (len(names) - 1)) / len(names)
    parts = []
    for i, name in enumerate(names):
        x = left + i * (width + GAP)
        parts.append(_rectangle(x, top, width, BOX, 'class="box"'))
        middle = f'x="{x + width / 2:g}" y="{top + BOX / 2 + 5:g}"'
        parts.append(f'<text {middle} text-anchor="middle">{escape(name)}</text>')
    return parts


def _rectangle(x: float, y: float, width: float, height: float, looks: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" {looks}/>'


def _arrow(top: int, bottom: int) -> list[str]:
    """An arrow down, with the word beside it."""
    x, middle = LEFT - 28, (top + bottom) // 2
    return [
        f'<path class="arrow" d="M{x} {top} V{bottom} M{x - 6} {bottom - 10} L{x} {bottom} L{x + 6} {bottom - 10}"/>',
        f'<text class="small" transform="translate({x - 14} {middle}) rotate(-90)" text-anchor="middle">imports</text>',
    ]


if __name__ == "__main__":
    TARGET.write_text(draw(contracts()), encoding="utf-8")
