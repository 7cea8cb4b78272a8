"""A catalog of two small files that a server of this machine offers."""

from __future__ import annotations

import hashlib

from easyphoto.catalog import Asset, Bundle, Catalog
from tests.catalog.conftest import onnx_like
from tests.catalog.server import Mirror


def little(mirror: Mirror, size: int = 60_000) -> Catalog:
    """Two features: ``free`` of one file of ``size`` bytes, ``both`` of it and one that is not for commercial use."""
    assets: dict[str, Asset] = {}
    for i, (name, commercial) in enumerate((("free-net", True), ("paid-net", False))):
        body = mirror.files[f"/{name}.onnx"] = onnx_like(size, seed=i)
        assets[name] = Asset(
            name=name,
            file=f"{name}.onnx",
            folder="easyphoto",
            what="skin retouching",
            bytes=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
            licence="MIT" if commercial else "GPEN: academic and non-commercial",
            commercial=commercial,
            sources=(f"{mirror.url}/{name}.onnx", f"{mirror.url}/again/{name}.onnx"),
        )
    bundles = (Bundle("free", "Skin retouching", ("free-net",)), Bundle("both", "Fewer steps", tuple(assets)))
    return Catalog(assets, {b.name: b for b in bundles})
