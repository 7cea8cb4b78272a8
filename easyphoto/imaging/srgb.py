"""The colours that a file means are converted to those of sRGB, in which everything else expects pictures."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from typing import Any

from PIL import Image as Pillow
from PIL import ImageCms

from easyphoto.imaging import profiles
from easyphoto.imaging.profiles import Space

log = logging.getLogger(__name__)

MAX_PROFILE = 8 * 2**20
"""The most bytes that an embedded profile may have. A larger one is no profile and is ignored; those of printing
presses have 2 MB."""
UNSEEN = 2
"""A conversion that changes no colour by more than so many levels is left out, so that sRGB stays as it is, bit for
bit."""

_COLOUR_SPACE, _INTEROPERABILITY = 0xA001, 0xA005
_CICP_PRIMARIES = {1: profiles.SRGB, 9: profiles.REC_2020, 12: profiles.DISPLAY_P3}
_CICP_CURVES = {1: None, 4: 2.2, 6: None, 8: 1.0, 13: None, 14: None, 15: None}
"""Spaces by their codes in ITU-T H.273. The camera curves of 709 and 2020 are shown with the curve of sRGB, as browsers
do."""


def profile_of(picture: Pillow.Image, head: bytes) -> bytes | None:
    """The ICC profile that says what the numbers of the picture mean: the embedded one, or one that is made from what
    else the file says, which begins with ``head``. None where that is sRGB, or where the file says nothing."""
    embedded = picture.info.get("icc_profile")
    if isinstance(embedded, bytes) and 128 < len(embedded) <= MAX_PROFILE:
        return embedded
    try:
        space = _png_space(picture, head) if picture.format == "PNG" else _exif_space(picture)
        return None if space is None else profiles.icc(space)
    except Exception as error:
        log.debug("what a picture says of its colours is left aside", exc_info=error)
        return None


def to_srgb(picture: Pillow.Image, profile: bytes | None) -> Pillow.Image:
    """``picture`` (RGB, L or CMYK) in RGB, with the colours that ``profile`` gives its numbers. Without a profile, or
    where it is broken or for another kind of picture, the numbers stay as they are."""
    if profile is not None:
        try:
            return _converted(picture, profile)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError, MemoryError) as error:
            log.debug("a picture is taken to be sRGB, for its profile can't be used", exc_info=error)
    return picture.convert("RGB")


def _converted(picture: Pillow.Image, profile: bytes) -> Pillow.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    kind = str(source.profile.xcolor_space).strip()
    wanted = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(kind)
    if wanted != picture.mode:
        if not (wanted == "RGB" and picture.mode == "L"):
            raise ValueError(f"a profile for {kind} in a picture of {picture.mode}")
        picture = picture.convert("RGB")
    transform = ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        picture.mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if picture.mode != "CMYK" and _changes_nothing(transform, picture.mode):
        return picture.convert("RGB")
    converted = ImageCms.applyTransform(picture, transform)
    assert converted is not None
    return converted


def _changes_nothing(transform: Any, mode: str) -> bool:
    """Whether no colour of a coarse grid changes by more than can be seen."""
    steps = range(0, 256, 15)
    if mode == "L":
        grid = Pillow.frombytes("L", (18, 1), bytes(steps))
    else:
        cube = bytes(v for r in steps for g in steps for b in steps for v in (r, g, b))
        grid = Pillow.frombytes("RGB", (18 * 18, 18), cube)
    moved = ImageCms.applyTransform(grid, transform)
    assert moved is not None
    pairs = zip(grid.convert("RGB").tobytes(), moved.tobytes(), strict=True)
    return max(abs(a - b) for a, b in pairs) <= UNSEEN


def _exif_space(picture: Pillow.Image) -> Space | None:
    """AdobeRGB, where the camera says so by ColorSpace 2, or by an uncalibrated one with the interoperability index
    R03."""
    exif = picture.getexif()
    space = exif.get_ifd(0x8769).get(_COLOUR_SPACE)
    if space == 2:
        return profiles.ADOBE_RGB
    index = str(exif.get_ifd(_INTEROPERABILITY).get(1, "")) if space == 0xFFFF else ""
    return profiles.ADOBE_RGB if index.strip("\0 ") == "R03" else None


def _png_space(picture: Pillow.Image, head: bytes) -> Space | None:
    """The space that PNG's own chunks name. The strongest comes first: cICP, then sRGB, then cHRM with gAMA, and last
    the EXIF."""
    place = head.find(b"\0\0\0\x04cICP")  # Pillow doesn't read this one.
    code = head[place + 8 : place + 12]
    if 0 < place < head.find(b"IDAT") % len(head) and len(code) == 4:
        known = _CICP_PRIMARIES.get(code[0])
        if known is None or code[1] not in _CICP_CURVES:
            return None
        return Space(known.red, known.green, known.blue, known.white, _CICP_CURVES[code[1]])
    if "srgb" in picture.info:
        return None
    encoded = float(picture.info.get("gamma") or 0)
    places = picture.info.get("chromaticity") or ()
    if not 0.05 <= encoded <= 5 and not places:
        return _exif_space(picture)
    # Programs write 1/2.2 when they mean sRGB.
    gamma = 1 / encoded if 0.05 <= encoded <= 5 and abs(encoded - 1 / 2.2) > 0.01 else None
    if len(places) != 8:
        return replace(profiles.SRGB, gamma=gamma)
    white, red, green, blue = ((float(places[i]), float(places[i + 1])) for i in range(0, 8, 2))
    return Space(red, green, blue, white, gamma)
