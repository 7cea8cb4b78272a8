"""The gallery with pictures that a server of this machine offers in place of the published ones: each as large as those
are where a box is cut from it, and of one colour of its own."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

from PIL import Image as Pillow

from easyphoto.catalog import Asset, Catalog
from easyphoto.templates.fetched_gallery import BUNDLE
from tests.catalog.server import Mirror

SHEET = (5000, 4100)


def colour(number: int) -> tuple[int, int, int]:
    """The colour of the picture of that number in the bundle."""
    return 40 + 6 * number, 200 - 6 * number, 90


def played(mirror: Mirror) -> Catalog:
    """The whole catalog, whose pictures of the gallery come from ``mirror``."""
    catalog = Catalog.load()
    assets = dict(catalog.assets)
    for number, name in enumerate(catalog.bundles[BUNDLE].assets):
        assets[name] = _offered(assets[name], number, mirror)
    return Catalog(assets, catalog.bundles)


def _offered(asset: Asset, number: int, mirror: Mirror) -> Asset:
    buffer = io.BytesIO()
    size = SHEET if "sheet" in asset.what else (1024, 1024)
    Pillow.new("RGB", size, colour(number)).save(buffer, "JPEG", quality=90)
    body = mirror.files[f"/{asset.file}"] = buffer.getvalue()
    sources = (f"{mirror.url}/{asset.file}", f"{mirror.url}/again/{asset.file}")
    return replace(asset, bytes=len(body), sha256=hashlib.sha256(body).hexdigest(), sources=sources)
