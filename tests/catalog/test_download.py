"""Tests of what a bad server, line or mirror can do to a file: the file is complete under its name, or it isn't
there."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from easyphoto.catalog import Asset, Bundle, Catalog, Folders, fetching
from easyphoto.catalog.fetching import Options
from easyphoto.config import Paths
from easyphoto.errors import AssetMissing, Cancelled, StorageFailed
from easyphoto.events import Event, Notice, Progress
from tests.catalog.conftest import QUICK, onnx_like, safetensors_like
from tests.catalog.server import Answer, Mirror, serve
from tests.waiting import until

Make = Callable[..., Catalog]


def target(folders: Folders, name: str = "w.onnx") -> Path:
    return folders.destinations["easyphoto"] / name


def test_a_file_arrives_whole_and_its_checksum_is_recorded(make: Make, one: Mirror, folders: Folders) -> None:
    body = onnx_like()
    events: list[Event] = []
    plan = make(body, known=False).fetch("all", folders, offline=False, listener=events.append, options=QUICK)
    assert target(folders).read_bytes() == body and not plan.missing
    record = json.loads((folders.root / "weights.json").read_text())
    assert record["known"]["w"]["sha256"] == hashlib.sha256(body).hexdigest()
    assert sorted(p.name for p in folders.root.iterdir() if p.is_file() and p.name[0] != ".") == [
        "w.onnx",
        "weights.json",
    ]
    last = [e for e in events if isinstance(e, Progress)][-1]
    assert (last.step, last.total) == (len(body), len(body))


def test_what_is_there_is_never_fetched_again(make: Make, one: Mirror, two: Mirror, folders: Folders) -> None:
    catalog = make(onnx_like())
    catalog.fetch("all", folders, offline=False, options=QUICK)
    asked = len(one.asked) + len(two.asked)
    catalog.fetch("all", folders, offline=False, options=QUICK)
    assert len(one.asked) + len(two.asked) == asked == 1


@pytest.mark.parametrize("known", [True, False])
def test_a_broken_line_is_resumed_where_it_broke(make: Make, one: Mirror, folders: Folders, known: bool) -> None:
    body = onnx_like(90_000)
    catalog = make(body, known=known)
    one.answers["/w.onnx"] = [Answer(cut=30_000), Answer(cut=20_000), Answer()]
    catalog.fetch("all", folders, offline=False, options=QUICK)
    assert target(folders).read_bytes() == body
    assert [r for _, r in one.asked] == [None, "bytes=30000-", "bytes=50000-"]
    assert one.sent["/w.onnx"] == len(body), "not one byte came twice"


def test_a_later_process_goes_on_where_an_earlier_one_was_killed(make: Make, one: Mirror, folders: Folders) -> None:
    body = onnx_like(60_000)
    catalog = make(body)
    part = target(folders).with_name("w.onnx.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(body[:45_000])
    assert catalog.plan("all", folders).bytes == 15_000
    catalog.fetch("all", folders, offline=False, options=QUICK)
    assert target(folders).read_bytes() == body and one.sent["/w.onnx"] == 15_000


def test_a_part_that_was_damaged_costs_one_more_download_and_harms_nothing(
    make: Make, one: Mirror, folders: Folders
) -> None:
    body = onnx_like(60_000)
    catalog = make(body)
    part = target(folders).with_name("w.onnx.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 45_000)
    catalog.fetch("all", folders, offline=False, options=QUICK)
    assert target(folders).read_bytes() == body


def test_halves_of_two_versions_are_never_put_together(make: Make, one: Mirror, folders: Folders) -> None:
    """Without a checksum, If-Range lets the server say that the file changed; then it starts again."""
    old, new = onnx_like(50_000, 1), onnx_like(50_000, 2)
    catalog = make(old, known=False)
    catalog.assets["w"] = replace(catalog.assets["w"], sources=(f"{one.url}/w.onnx", f"{one.url}/other"))
    one.answers["/w.onnx"] = [Answer(cut=20_000), Answer(status=404), Answer(etag='"two"')]
    with pytest.raises(AssetMissing):
        catalog.fetch("all", folders, offline=False, options=QUICK)
    one.files["/w.onnx"] = new
    catalog.fetch("all", folders, offline=False, options=QUICK)
    assert target(folders).read_bytes() == new


def test_without_a_checksum_another_mirror_starts_from_the_beginning(
    make: Make, one: Mirror, two: Mirror, folders: Folders
) -> None:
    catalog = make(onnx_like(50_000, 1), known=False)
    two.files["/w.onnx"] = onnx_like(50_000, 2)
    one.answers["/w.onnx"] = [Answer(cut=20_000), Answer(status=403)]
    catalog.fetch("all", folders, offline=False, options=QUICK)
    assert target(folders).read_bytes() == two.files["/w.onnx"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(status=404), "answered 404"),
        (Answer(status=403), "answered 403"),
        (Answer(status=503), "answered 503"),
        (Answer(status=500), "answered 500"),
        (Answer(page=True), "web page"),
        (Answer(page=True, page_as="application/octet-stream"), "bytes"),
        (Answer(flip=True), "sha256"),
        (Answer(promise=-500), "offers 49,500 bytes where the file has 50,000"),
        (Answer(promise=500), "offers 50,500 bytes where the file has 50,000"),
        (Answer(cut=1000, ranges=False), "broke off"),
        (Answer(cut=0), "broke off"),
        (Answer(packed=True), "resumed"),
        (Answer(pause=3), "in time"),
    ],
    ids=lambda v: str(v)[:40] if isinstance(v, str) else "",
)
def test_a_bad_mirror_gives_way_and_alone_says_what_happened(
    make: Make, one: Mirror, two: Mirror, folders: Folders, answer: Answer, says: str
) -> None:
    body = onnx_like()
    catalog = make(body)
    one.answers["/w.onnx"] = [answer]
    two.answers["/w.onnx"] = [Answer(status=404)]
    with pytest.raises(AssetMissing, match=says) as caught:
        catalog.fetch("all", folders, offline=False, options=QUICK)
    assert str(caught.value).startswith("w.onnx could not be downloaded: 127.0.0.1:")
    assert not target(folders).exists()
    two.answers["/w.onnx"] = [Answer()]
    catalog.fetch("all", folders, offline=False, options=QUICK)
    assert target(folders).read_bytes() == body


def test_without_size_and_checksum_structure_still_tells_a_cut_file(
    make: Make, one: Mirror, two: Mirror, folders: Folders
) -> None:
    catalog = make(safetensors_like(), known=False, file="w.safetensors")
    for mirror in (one, two):
        mirror.files["/w.safetensors"] = mirror.files["/w.safetensors"][:-1]
    with pytest.raises(AssetMissing, match="cut off or damaged"):
        catalog.fetch("all", folders, offline=False, options=QUICK)
    assert not target(folders, "w.safetensors").exists()


@pytest.mark.parametrize("body", [b"<html>no</html>", b"version https://git-lfs.github.com/spec/v1\n", b"nothing"])
def test_what_is_no_weights_is_not_taken_for_weights(
    make: Make, one: Mirror, two: Mirror, folders: Folders, body: bytes
) -> None:
    catalog = make(body, known=False, file="w.pth")
    with pytest.raises(AssetMissing, match=r"web page|pointer|no torch file"):
        catalog.fetch("all", folders, offline=False, options=QUICK)
    assert not target(folders, "w.pth").exists()


def test_redirects_and_answers_of_unknown_length_work(make: Make, one: Mirror, two: Mirror, folders: Folders) -> None:
    body = onnx_like()
    catalog = make(body)
    one.answers["/w.onnx"] = [Answer(redirect=f"{two.url}/w.onnx")]
    two.answers["/w.onnx"] = [Answer(chunked=True)]
    catalog.fetch("all", folders, offline=False, options=QUICK)
    assert target(folders).read_bytes() == body


def test_a_checksum_that_a_redirect_announces_is_held_against_the_file(
    make: Make, one: Mirror, two: Mirror, folders: Folders
) -> None:
    catalog = make(onnx_like(), known=False)
    announced = (("X-Linked-ETag", f'"{"0" * 64}"'),)
    one.answers["/w.onnx"] = [Answer(redirect=f"{two.url}/w.onnx", headers=announced)]
    two.answers["/w.onnx"] = [Answer(), Answer(status=404)]
    with pytest.raises(AssetMissing, match="sha256"):
        catalog.fetch("all", folders, offline=False, options=QUICK)


def test_the_first_checksum_is_held_against_every_later_download(make: Make, one: Mirror, folders: Folders) -> None:
    catalog = make(onnx_like(seed=1), known=False)
    catalog.fetch("all", folders, offline=False, options=QUICK)
    target(folders).unlink()
    one.files["/w.onnx"] = onnx_like(seed=2)
    catalog.assets["w"] = replace(catalog.assets["w"], sources=(f"{one.url}/w.onnx", f"{one.url}/none"))
    with pytest.raises(AssetMissing, match="sha256"):
        catalog.fetch("all", folders, offline=False, options=QUICK)
    assert not target(folders).exists()


def test_a_half_file_under_the_final_name_is_replaced_and_a_whole_other_one_kept(
    make: Make, one: Mirror, folders: Folders
) -> None:
    """What the original left behind is half a file under its name; what a user put there may be precious."""
    body = onnx_like()
    catalog = make(body)
    target(folders).parent.mkdir(parents=True)
    target(folders).write_bytes(onnx_like(seed=9))
    catalog.fetch("all", folders, offline=False, options=QUICK)
    assert target(folders).read_bytes() == body
    assert target(folders).with_name("w.onnx.old").read_bytes() == onnx_like(seed=9)
    target(folders).write_bytes(b"")
    target(folders).with_name("w.onnx.old").unlink()
    catalog.fetch("all", folders, offline=False, options=QUICK)
    assert target(folders).read_bytes() == body and not target(folders).with_name("w.onnx.old").exists()


def test_offline_never_asks_anyone(
    make: Make, one: Mirror, two: Mirror, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = make(onnx_like())
    with pytest.raises(AssetMissing, match=r"w\.onnx in "):
        catalog.fetch("all", folders, offline=True, options=QUICK)
    monkeypatch.setenv("EASYPHOTO_OFFLINE", "1")
    with pytest.raises(AssetMissing, match="Offline"):
        catalog.fetch("all", folders, options=QUICK)
    assert not one.asked and not two.asked


def test_too_little_room_is_said_before_anything_is_asked(
    make: Make, one: Mirror, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = make(onnx_like())
    usage = fetching.shutil.disk_usage("/")
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    with pytest.raises(StorageFailed, match="only 100 kB are free"):
        catalog.fetch("all", folders, offline=False, options=QUICK)
    assert not one.asked


def test_a_folder_that_can_not_be_written_is_said(make: Make, one: Mirror, folders: Folders) -> None:
    catalog = make(onnx_like())
    folders.root.parent.mkdir(parents=True, exist_ok=True)
    folders.root.write_bytes(b"a file where the folder should be")
    with pytest.raises(StorageFailed, match="can't be written"):
        catalog.fetch("all", folders, offline=False, options=QUICK)


def test_cancelling_stops_soon_and_keeps_what_came(make: Make, one: Mirror, folders: Folders) -> None:
    body = onnx_like(400_000)
    catalog = make(body)
    one.answers["/w.onnx"] = [Answer(pause=0.02), Answer()]
    part = target(folders).with_name("w.onnx.part")
    with pytest.raises(Cancelled):
        catalog.fetch(
            "all", folders, offline=False, options=QUICK, cancelled=lambda: part.exists() and part.stat().st_size > 0
        )
    assert not target(folders).exists() and part.stat().st_size > 0
    kept, before = part.stat().st_size, one.sent["/w.onnx"]
    catalog.fetch("all", folders, offline=False, options=QUICK)
    assert target(folders).read_bytes() == body
    assert one.sent["/w.onnx"] - before >= len(body) - kept


def test_proxies_of_the_environment_are_used(
    one: Mirror, folders: Folders, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = onnx_like()
    catalog = make(body)
    monkeypatch.setenv("http_proxy", one.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    catalog.assets["w"] = replace(catalog.assets["w"], sources=("http://far.invalid/w.onnx", "http://far.invalid/x"))
    catalog.fetch("all", folders, offline=False, options=QUICK)
    assert target(folders).read_bytes() == body and one.sent["/w.onnx"] == len(body)


def many(mirror: Mirror, count: int, **more: object) -> Catalog:
    assets = {}
    for i in range(count):
        body = onnx_like(30_000, i)
        mirror.files[f"/{i}.onnx"] = body
        assets[f"a{i}"] = Asset(
            name=f"a{i}",
            file=f"{i}.onnx",
            folder="easyphoto",
            what="",
            bytes=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
            licence="MIT",
            commercial=True,
            sources=(f"{mirror.url}/{i}.onnx", f"{mirror.url}/none/{i}.onnx"),
            **more,  # type: ignore[arg-type]
        )
    return Catalog(assets, {"all": Bundle("all", "", tuple(assets))})


def test_files_come_several_at_once_but_never_more_than_asked(one: Mirror, folders: Folders) -> None:
    catalog = many(one, 6)
    for i in range(6):
        one.answers[f"/{i}.onnx"] = [Answer(pause=0.02)]
    plan = catalog.fetch("all", folders, offline=False, options=replace(QUICK, parallel=2))
    # The server notices the end of an answer a little after the client, which may have begun the next by then.
    assert len(plan.present) == 6 and one.most_at_once in (2, 3)


def test_one_file_that_fails_does_not_cost_the_others(one: Mirror, folders: Folders) -> None:
    catalog = many(one, 3)
    one.answers["/1.onnx"] = [Answer(status=404)]
    with pytest.raises(AssetMissing, match=r"^1\.onnx could not") as caught:
        catalog.fetch("all", folders, offline=False, options=QUICK)
    assert "0.onnx" not in str(caught.value)
    assert target(folders, "0.onnx").exists() and target(folders, "2.onnx").exists()


def test_an_optional_file_that_fails_is_a_notice(one: Mirror, folders: Folders) -> None:
    catalog = many(one, 2, optional=True)
    one.answers["/1.onnx"] = [Answer(status=404)]
    events: list[Event] = []
    plan = catalog.fetch("all", folders, offline=False, options=QUICK, listener=events.append)
    assert [a.name for a in plan.missing] == ["a1"]
    assert [e for e in events if isinstance(e, Notice) and "works without it" in e.message]


def test_two_at_the_same_time_download_everything_once(make: Make, one: Mirror, two: Mirror, folders: Folders) -> None:
    catalog = make(onnx_like(200_000))
    one.answers["/w.onnx"] = [Answer(pause=0.02)]
    notices: list[Event] = []
    first = threading.Thread(target=catalog.fetch, args=("all", folders), kwargs={"offline": False, "options": QUICK})
    first.start()
    until(lambda: one.asked)
    catalog.fetch("all", folders, offline=False, options=QUICK, listener=notices.append)
    first.join()
    assert len(one.asked) + len(two.asked) == 1
    assert [e for e in notices if isinstance(e, Notice) and "Another process" in e.message]


answers = st.builds(
    Answer,
    status=st.sampled_from([200] * 5 + [403, 404, 429, 500, 503]),
    ranges=st.booleans(),
    etag=st.sampled_from(['"one"', '"two"', 'W/"weak"', None]),
    cut=st.one_of(st.none(), st.integers(0, 6000)),
    promise=st.sampled_from([0, 0, 0, -7, 9]),
    page=st.sampled_from([False] * 4 + [True]),
    page_as=st.sampled_from(["text/html", "application/octet-stream"]),
    chunked=st.booleans(),
    flip=st.sampled_from([False] * 4 + [True]),
    shift=st.sampled_from([0, 0, 0, 5]),
)
BODY = onnx_like(5000)


@pytest.mark.thorough
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(answers, min_size=1, max_size=5), st.lists(answers, min_size=1, max_size=3), st.integers(0, 4999))
def test_whatever_servers_do_the_file_is_whole_or_absent(
    tmp_path_factory: pytest.TempPathFactory, first: list[Answer], second: list[Answer], kept: int
) -> None:
    """And afterwards, with a server that behaves, only what was lacking is sent."""
    root = tmp_path_factory.mktemp("any")
    folders = Folders.of(Paths.standalone(root))
    with serve() as mirror:
        sources = (f"{mirror.url}/w.onnx", f"{mirror.url}/again.onnx")
        mirror.files = {"/w.onnx": BODY, "/again.onnx": BODY}
        asset = Asset(
            name="w",
            file="w.onnx",
            folder="easyphoto",
            what="",
            bytes=len(BODY),
            sha256=hashlib.sha256(BODY).hexdigest(),
            licence="MIT",
            commercial=True,
            sources=sources,
        )
        catalog = Catalog({"w": asset}, {"all": Bundle("all", "", ("w",))})
        mirror.answers["/w.onnx"], mirror.answers["/again.onnx"] = list(first), list(second)
        part = target(folders).with_name("w.onnx.part")
        part.parent.mkdir(parents=True)
        part.write_bytes(BODY[:kept])
        try:
            catalog.fetch("all", folders, offline=False, options=QUICK)
        except AssetMissing:
            assert not target(folders).exists()
        else:
            assert target(folders).read_bytes() == BODY
        right = len(BODY) if target(folders).exists() else _right(part)
        until(lambda: not mirror.at_once)  # an answer that nobody reads any more still counts its bytes
        mirror.sent.clear()
        mirror.answers.clear()
        catalog.fetch("all", folders, offline=False, options=Options(limits=QUICK.limits))
        assert target(folders).read_bytes() == BODY
        if right is not None:
            assert sum(mirror.sent.values()) == len(BODY) - right, "what was right came again"


def _right(part: Path) -> int | None:
    """How many bytes of the part are right; None when some are not, so that it must be fetched again."""
    there = part.read_bytes() if part.exists() else b""
    return len(there) if BODY.startswith(there) else None
