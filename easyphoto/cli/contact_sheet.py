"""Contact sheets: rows of pictures, with a line of words under each picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from easyphoto.ports import Image

MARGIN = 10
LINE = 22


@dataclass(frozen=True, eq=False)
class Cell:
    """A picture and the words under it."""

    image: Image
    caption: str


@dataclass(frozen=True, eq=False)
class Row:
    """Pictures of the same height, side by side under a title."""

    title: str
    cells: Sequence[Cell]


def draw(rows: Sequence[Row], footer: str = "", *, width: int = 1280) -> Image:
    """Draw the sheet, ``width`` pixels wide. The pictures of a row keep their proportions and fill the row."""
    font = ImageFont.load_default(15)
    heights = [_height(row, width) for row in rows]
    total = sum(h + 2 * LINE + MARGIN for h in heights) + LINE + 2 * MARGIN
    sheet = Pillow.new("RGB", (width, total), "white")
    pen = ImageDraw.Draw(sheet)
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        pen.text((MARGIN, top), row.title, fill=(90, 90, 90), font=font)
        top, left = top + LINE, MARGIN
        for cell in row.cells:
            w = max(1, round(cell.image.shape[1] * height / cell.image.shape[0]))
            sheet.paste(Pillow.fromarray(cell.image).resize((w, height), Pillow.Resampling.LANCZOS), (left, top))
            pen.text((left, top + height + 2), cell.caption, fill="black", font=font)
            left += w + MARGIN
        top += height + LINE + MARGIN
    pen.text((MARGIN, top), footer, fill=(90, 90, 90), font=font)
    return np.asarray(sheet).copy()


def _height(row: Row, width: int) -> int:
    room = width - MARGIN * (len(row.cells) + 1)
    return max(40, min(320, int(room / sum(c.image.shape[1] / c.image.shape[0] for c in row.cells))))
