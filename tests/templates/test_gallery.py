"""Tests of the gallery that can be downloaded: what it names, what comes of a download, and what of a damaged one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from easyphoto import pictures
from easyphoto.catalog import Catalog, Folders
from easyphoto.cli.main import main
from easyphoto.config import Paths
from easyphoto.templates import TemplateStore
from easyphoto.templates.fetched_gallery import BUNDLE, rows
from tests.catalog.server import Mirror, serve
from tests.templates.played_gallery import SHEET, colour, played

ADDRESS = re.compile(r"(github|jsdelivr):[\w.-]+/[\w.-]+@[0-9a-f]{40}/.+\.jpg")
FREE = ("CC0-1.0", "MIT", "public domain")


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with serve() as mirror:
        yield mirror


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.standalone(tmp_path / "data")


@pytest.fixture
def store(mirror: Mirror, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> TemplateStore:
    """The templates of a program whose gallery comes from the mirror."""
    catalog = played(mirror)
    monkeypatch.setattr(Catalog, "load", lambda: catalog)
    for name in ("http_proxy", "https_proxy", "EASYPHOTO_OFFLINE", "HF_HUB_OFFLINE", "EASYPHOTO_MODEL_FOLDERS"):
        monkeypatch.delenv(name, raising=False)
    return TemplateStore(paths)


def test_each_picture_has_a_fixed_address_a_mirror_a_checksum_a_free_licence_and_a_credit() -> None:
    catalog = Catalog.load()
    assets = [catalog.assets[name] for name in catalog.bundles[BUNDLE].assets]
    assert len(assets) >= 20
    for asset in assets:
        assert len(asset.sources) >= 2 and all(ADDRESS.fullmatch(source) for source in asset.sources), asset.name
        assert len({source.partition(":")[2] for source in asset.sources}) == 1, "the same file at every address"
        assert asset.sha256 and not asset.about and asset.credit, asset.name
        assert asset.licence.startswith(FREE), asset.name
        assert asset.file == f"{asset.name.removeprefix('template-')}.jpg"
    raw = assets[0].urls({})[0]
    assert re.fullmatch(r"https://raw\.githubusercontent\.com/[\w.-]+/[\w.-]+/[0-9a-f]{40}/[\w./-]+\.jpg", raw)


def test_the_gallery_has_room_for_one_two_and_three_people() -> None:
    named = rows()
    assert len(named) >= 24
    assert {row.faces for row in named} == {1, 2, 3}
    for texts in ([r.name for r in named], [r.title for r in named], [r.title_zh for r in named]):
        assert len(set(texts)) == len(named) and all(texts)
    used = [name for row in named for name, _ in row.parts]
    assert set(used) == set(Catalog.load().bundles[BUNDLE].assets)
    for row in named:
        for _, box in row.parts:
            assert box is None or (0 <= box[0] < box[2] <= SHEET[0] and 0 <= box[1] < box[3] <= SHEET[1])
    kinds = {word for row in named for word in row.words.split()}
    assert {"woman", "man", "old", "young", "studio", "outdoors", "hat", "glasses", "half"} <= kinds
    assert {"女士", "男士", "年长", "年轻", "影棚", "户外", "帽子", "眼镜", "半身"} <= kinds


@pytest.mark.thorough
def test_what_was_downloaded_shows_up_among_the_presets(store: TemplateStore, paths: Paths) -> None:
    before = [t.name for t in store.list()]
    plan = Catalog.load().fetch(BUNDLE, Folders.of(paths))
    assert not plan.missing
    found = {t.name: t for t in store.list()}
    assert list(found)[: len(before)] == before, "what ships comes first"
    assert set(found) - set(before) == {row.name for row in rows()}
    assert [t.name for t in store.list() if t.shipped] == before, "only these are validated on"
    for row in rows():
        template = found[row.name]
        assert (template.faces, template.title, template.own) == (row.faces, row.title, False)
        assert template.licence and template.source
        assert paths.models in template.path.parents
    assert {t.name for t in store.search("影棚 女士")} == {t.name for t in store.search("studio woman")} != set()


@pytest.mark.thorough
def test_parts_are_cut_out_and_stand_side_by_side(store: TemplateStore, paths: Paths) -> None:
    catalog = Catalog.load()
    catalog.fetch(BUNDLE, Folders.of(paths))
    found = {t.name: t.path for t in store.list()}
    numbers = {name: number for number, name in enumerate(catalog.bundles[BUNDLE].assets)}
    for row in rows():
        if row.parts[0][1] is None:
            continue
        image = pictures.load(found[row.name])
        left = 0
        for name, box in row.parts:
            assert box is not None
            width, height = box[2] - box[0], box[3] - box[1]
            assert image.shape[0] == height
            part = image[:, left : left + width].astype(int)
            assert np.abs(part - colour(numbers[name])).max() <= 4, row.name
            left += width + round(height / 40)
        assert image.shape[1] == left - round(image.shape[0] / 40)
    made = {path: path.stat().st_mtime_ns for path in found.values()}
    assert {t.path: t.path.stat().st_mtime_ns for t in store.list() if t.path in made} == made, "made once"


@pytest.mark.thorough
def test_a_picture_that_is_not_the_published_one_gives_no_template(store: TemplateStore, paths: Paths) -> None:
    Catalog.load().fetch(BUNDLE, Folders.of(paths))
    place = paths.models / "EasyPhoto" / "templates"
    (place / "sari.jpg").write_bytes((place / "sari.jpg").read_bytes()[:-7])
    (place / "denim.jpg").unlink()
    (place / "grey-studio.jpg").unlink()
    left = {t.name for t in store.list()}
    assert {row.name for row in rows()} - left == {"sari", "denim", "grey-studio", "side-by-side"}


@pytest.mark.thorough
def test_a_template_of_yours_keeps_its_name(store: TemplateStore, paths: Paths) -> None:
    mine = store.add("sari", np.full((64, 64, 3), 7, np.uint8))
    Catalog.load().fetch(BUNDLE, Folders.of(paths))
    assert store.get("sari").path == mine.path
    assert store.get("sari (gallery)").path.name == "sari.jpg"


@pytest.mark.thorough
def test_the_command_downloads_the_gallery(
    store: TemplateStore, paths: Paths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "data")
    assert main(["models", "plan", BUNDLE, "--commercial-only", "--data", data, "--json"]) == 0
    missing = json.loads(capsys.readouterr().out)["missing"]
    assert len(missing) == len(Catalog.load().bundles[BUNDLE].assets) - 1, "NASA allows no advertising with its people"
    assert main(["models", "fetch", BUNDLE, "--data", data]) == 0
    assert "everything is there" in capsys.readouterr().out
    assert len(store.list()) >= len(rows())
    assert main(["models", "verify", BUNDLE, "--data", data]) == 0
    (paths.models / "EasyPhoto" / "templates" / "sari.jpg").write_bytes(b"<!doctype html>")
    assert main(["models", "verify", BUNDLE, "--data", data]) == 1
