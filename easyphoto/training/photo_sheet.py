"""Draws the photo report as a picture: each photo is small, in a frame of its outcome's colour, with its numbers
below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from easyphoto import likeness, pictures
from easyphoto.ports import Image
from easyphoto.training.photos import PhotoReport, PhotoVerdict

TILE = 200
LABEL = 52
COLUMNS = 5
MARGIN = 8
GREEN, RED, YELLOW = (32, 140, 60), (190, 40, 40), (200, 150, 0)
INK, PAPER = (30, 30, 30), (255, 255, 255)


def draw(report: PhotoReport, images: Mapping[str, Image]) -> Image:
    """Return the contact sheet. ``images`` has the photos by the names of the report. A photo that is taken has a green
    frame, one that is taken with several faces a yellow one, and one that is refused a red one."""
    count = max(len(report.photos), 1)
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    size = (columns * (TILE + MARGIN) + MARGIN, rows * (TILE + LABEL + MARGIN) + MARGIN)
    canvas = Pillow.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=12)
    for index, photo in enumerate(report.photos):
        row, column = divmod(index, columns)
        corner = (MARGIN + column * (TILE + MARGIN), MARGIN + row * (TILE + LABEL + MARGIN))
        _tile(canvas, pen, photo, images[photo.name], corner)
        for line, text in enumerate(_label(photo)):
            place = (corner[0], corner[1] + TILE + 3 + 16 * line)
            pen.text(place, _fit(text, font), fill=_colour(photo) if line == 0 else INK, font=font)
    return np.asarray(canvas, np.uint8)


def save(path: Path, report: PhotoReport, images: Mapping[str, Image]) -> None:
    """Draw the sheet into a JPEG file. Raises ``StorageFailed``."""
    pictures.save_jpg(path, draw(report, images), quality=88)


def _tile(
    canvas: Pillow.Image, pen: ImageDraw.ImageDraw, photo: PhotoVerdict, image: Image, corner: tuple[int, int]
) -> None:
    small = Pillow.fromarray(image)
    scale = TILE / max(small.size)
    small = small.resize((max(1, round(small.width * scale)), max(1, round(small.height * scale))))
    left = corner[0] + (TILE - small.width) // 2
    top = corner[1] + (TILE - small.height) // 2
    canvas.paste(small, (left, top))
    if photo.face is not None:
        x0, y0, x1, y1 = (v * scale for v in photo.face.box)
        pen.rectangle((left + x0, top + y0, left + x1, top + y1), outline=_colour(photo), width=2)
    pen.rectangle((*corner, corner[0] + TILE, corner[1] + TILE), outline=_colour(photo), width=3)


def _label(photo: PhotoVerdict) -> tuple[str, str, str]:
    like = likeness.words(photo.likeness)
    sharp = "-" if photo.sharpness is None else f"{photo.sharpness:.0f}"
    yaw = "-" if photo.yaw is None else f"{photo.yaw:+.0f}°"
    return photo.verdict.value, f"likeness {like}  sharp {sharp}  yaw {yaw}", photo.name


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the text, shortened until it is not wider than a tile."""
    shown = text
    while font.getlength(shown) > TILE and len(shown) > 4:
        shown = shown[:-2] + "…"
    return shown


def _colour(photo: PhotoVerdict) -> tuple[int, int, int]:
    if not photo.taken:
        return RED
    return YELLOW if photo.faces > 1 else GREEN
