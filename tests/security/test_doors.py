"""Attacks from the network, as docs/security.md lists them: on the real ``serve`` and in each WebUI."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.acting import Pace, photos_in, trained
from tests.api.conftest import b64
from tests.hosts.fake_webui import A1111, FORGE
from tests.security.conftest import SERVE, Place, serving, webui
from tests.security.http import EVIL, FORGED, Answer, ask, json_body
from tests.waiting import until

V1, LEGACY = "/easyphoto/v1", "/easyphoto/easyphoto_train_forward"
STATE = f"{V1}/jobs"
WAYS = {"typed": f"{V1}/jobs/train", "as before": LEGACY}

# gradio leaves event loops and sockets open; they are collected at any time
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def jobs(place: Place) -> list[object]:
    return list(json.loads(ask(place.address, "GET", STATE).body))


@pytest.fixture
def unchanged(place: Place) -> Iterator[None]:
    """Nothing was queued and nobody deleted by what the test sends."""
    before = jobs(place)
    yield
    assert jobs(place) == before
    assert "ada" in ask(place.address, "GET", f"{V1}/people").body.decode()


# --- host: DNS rebinding ---------------------------------------------------------------------------------------------

NO_HOSTS = ["[abc]", "[:::::]", "[127.0.0.1]", "[::1].evil.example", "localhost:65536", "localhost@evil.example"]
STRANGE_HOSTS = [
    "evil.example",
    "evil.example:7861",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil.example.localhost",
    "127.1",
    "2130706433",
    "photos.example.org.evil.example",
    "xphotos.example.org",
]


@pytest.mark.thorough
@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("host", STRANGE_HOSTS)
@pytest.mark.parametrize("path", [f"{V1}/people", f"{V1}/status"])
def test_a_name_that_was_made_to_resolve_to_this_machine(place: Place, host: str, path: str) -> None:
    answer = ask(place.address, "GET", path, {"Host": host})
    assert answer.status == 403
    assert "--allow-host" in answer.sentence
    assert ask(place.address, "DELETE", f"{V1}/people/ada", {"Host": host, "Origin": f"http://{host}"}).status == 403


@pytest.mark.parametrize(
    "host", ["", "a b", "http://localhost", "localhost:x", "user@localhost", "[::1", "/", *NO_HOSTS]
)
def test_a_host_that_is_none(place: Place, host: str) -> None:
    assert ask(place.address, "GET", f"{V1}/people", {"Host": host}).status == 400


def test_two_hosts(place: Place) -> None:
    assert ask(place.address, "GET", f"{V1}/people", {"Host": "localhost\r\nHost: evil.example"}).status == 400


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:99",
        "localhost.",
        "127.0.0.1",
        "192.168.1.7:7861",
        "[::1]:7861",
        "[fe80::1%25eth0]:7861",
        "[::ffff:192.168.1.7]",
        socket.gethostname(),
        "photos.example.org",
        "Photos.Example.Org:8443",
    ],
)
def test_names_of_this_machine_and_those_that_were_allowed(place: Place, host: str) -> None:
    assert ask(place.address, "GET", f"{V1}/people", {"Host": host}).status == 200


# --- origin: pages of other sites ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
@pytest.mark.parametrize("path", WAYS.values(), ids=WAYS.keys())
def test_a_page_of_another_site_starts_nothing(place: Place, forged: dict[str, str], path: str) -> None:
    body = json.dumps({"user_id": "eve", "photos": ["AAAA"], "instance_images": ["AAAA"]}).encode()
    for kind in ({"Content-Type": "application/json"}, {"Content-Type": "text/plain"}, {}):
        answer = ask(place.address, "POST", path, {**kind, **forged}, body)
        assert answer.status == 403
        assert answer.sentence == "Requests from other web sites are not answered."
        assert "access-control-allow-origin" not in answer.headers
    assert ask(place.address, "DELETE", f"{V1}/people/ada", forged).status == 403


def test_a_page_of_another_site_reads_nothing(place: Place) -> None:
    for forged in FORGED.values():
        answer = ask(place.address, "GET", f"{V1}/people", forged)
        assert answer.status == 403 or set(forged) == {"Referer"}, "a link's referer is no request of the page's"
        assert "access-control-allow-origin" not in answer.headers
    framed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    assert ask(place.address, "GET", f"{V1}/people", framed).status == 403


def test_our_own_page_and_programs_are_let_in(place: Place) -> None:
    kind, body = json_body({"user_ids": ["nobody"]})
    host = urlsplit(place.address).netloc
    tls = {"Host": "photos.example.org", "Origin": "https://photos.example.org", "Sec-Fetch-Site": "same-origin"}
    for sender in (
        {},
        {"Origin": place.address, "Sec-Fetch-Site": "same-origin"},
        {"Origin": f"https://{host}"},
        {"Referer": f"{place.address}/"},
        tls,
    ):
        assert ask(place.address, "POST", f"{V1}/jobs/portrait", {**kind, **sender}, body).status == 404, sender


def test_a_link_from_another_site_opens_a_page(place: Place) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert ask(place.address, "GET", f"{V1}/templates", link).status == 200
    if place.name == SERVE:
        assert ask(place.address, "GET", "/", link).status == 200
        assert ask(place.address, "GET", "/logout", link).status == 403


def test_sites_that_the_webui_was_told_of_may_call(place: Place) -> None:
    kind, body = json_body({"user_ids": ["nobody"]})
    told = {"Origin": "https://tools.example", "Sec-Fetch-Site": "cross-site"}
    status = ask(place.address, "POST", f"{V1}/jobs/portrait", {**kind, **told}, body).status
    assert status == (403 if place.name == SERVE else 404)


# --- content type and size -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "text/plain; charset=application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json-but-not-really",
        "nonsense",
    ],
)
def test_a_body_that_a_form_could_send(place: Place, path: str, kind: str) -> None:
    answer = ask(
        place.address, "POST", path, {"Content-Type": kind}, b'{"user_id": "eve", "instance_images": ["AAAA"]}'
    )
    assert answer.status == 415
    assert "application/json" in answer.sentence


@pytest.mark.parametrize("path", WAYS.values(), ids=WAYS.keys())
def test_json_without_a_content_type_is_taken(place: Place, path: str) -> None:
    """``requests.post(url, data=json.dumps(...))``, as the original's clients do it."""
    for kind in ({}, {"Content-Type": "application/json; charset=utf-8"}, {"Content-Type": "Application/JSON"}):
        answer = ask(place.address, "POST", path, kind, b'{"user_id": "../eve", "photos": ["AAAA"]}')
        assert "user id" in answer.body.decode().lower() or "photos" in answer.body.decode(), answer
        assert answer.status == (200 if path == LEGACY else 422)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize(
    "body", [b"", b"[1]", b"null", b'{"user_id"', b'{"user', b"\xff\xfe{", b"[" * 100000, b'{"a":' + b"9" * 9000]
)
def test_broken_json_is_said_to_be_broken(place: Place, path: str, body: bytes) -> None:
    answer = ask(place.address, "POST", path, {"Content-Type": "application/json"}, body)
    assert answer.status == 422
    assert "JSON" in answer.sentence and " at at " not in answer.sentence


def _endless(size: int) -> Iterator[bytes]:
    yield b'{"user_id": "'
    for _ in range(size // 2**20):
        yield b"A" * 2**20


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", WAYS.values(), ids=WAYS.keys())
def test_a_body_that_says_it_is_too_large(place: Place, path: str) -> None:
    told = {"Content-Type": "application/json", "Content-Length": str(600 * 2**20), "Expect": "100-continue"}
    answer = ask(place.address, "POST", path, told)
    assert answer.status == 413
    assert answer.sentence == "The request is larger than 512 MB."


@pytest.mark.thorough
@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", WAYS.values(), ids=WAYS.keys())
def test_a_body_without_a_length_that_never_ends(place: Place, path: str) -> None:
    answer = ask(place.address, "POST", path, {"Content-Type": "application/json"}, _endless(530 * 2**20))
    assert answer.status == 413
    assert answer.sentence == "The request is larger than 512 MB."


# --- queue -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A WebUI whose trainings take long."""
    with webui(request.param, tmp_path, pace=Pace(1)) as place:
        yield place
        assert place.service is not None
        for job in place.service.jobs.list():
            job.cancel()


both = pytest.mark.parametrize("slow", [A1111, FORGE], indirect=True)


def _train(place: Place, photos: list[str], name: str) -> Answer:
    kind, body = json_body({"user_id": name, "instance_images": photos, "photos": photos})
    return ask(place.address, "POST", LEGACY, kind, body, timeout=120)


@contextmanager
def _clients(place: Place, photos: list[str], count: int) -> Iterator[list[Future[Answer]]]:
    """So many clients of the original that wait for a training each; in the end all jobs are cancelled."""
    assert place.service is not None
    queue = place.service.jobs
    with ThreadPoolExecutor(count) as pool:
        try:
            waiting = [pool.submit(_train, place, photos, f"p{i}") for i in range(count)]
            until(lambda: len(queue.list()) == count)
            yield waiting
        finally:
            for job in reversed(queue.list()):
                job.cancel()


@pytest.mark.thorough
@both
def test_forty_waiting_clients_leave_the_rest_answered(slow: Place, tmp_path: Path) -> None:
    photos = [b64(p) for p in photos_in(tmp_path / "photos")]
    with _clients(slow, photos, 40) as waiting:
        for path in ("/of-the-host", f"{V1}/people", f"{V1}/jobs"):
            begun = time.monotonic()
            assert ask(slow.address, "GET", path).status == 200
            assert time.monotonic() - begun < 5
        more = [_train_typed(slow, photos, f"q{i}") for i in range(12)]
        assert [a.status for a in more] == [202] * 11 + [429]
        assert "try again" in more[-1].sentence
        assert _train(slow, photos, "late").status == 429
    assert {f.result(60).status for f in waiting} == {200}


def _train_typed(place: Place, photos: list[str], name: str) -> Answer:
    kind, body = json_body({"user_id": name, "photos": photos})
    return ask(place.address, "POST", f"{V1}/jobs/train", kind, body)


@pytest.mark.thorough
@both
def test_a_client_that_went_away_holds_nothing(slow: Place, tmp_path: Path) -> None:
    photos = [b64(p) for p in photos_in(tmp_path / "photos")]
    kind, body = json_body({"user_id": "ann", "instance_images": photos})
    with pytest.raises(TimeoutError):
        ask(slow.address, "POST", LEGACY, kind, body, timeout=2)
    assert slow.service is not None
    (job,) = slow.service.jobs.list()
    assert job.state == "running", "the job goes on: others may follow it"


@pytest.mark.thorough
@pytest.mark.parametrize("dialect", [A1111, FORGE])
def test_reloading_the_ui_waits_for_nobody(dialect: str, tmp_path: Path) -> None:
    """A WebUI joins its server, which waits for each open request: they end when it is told to stop."""
    photos = [b64(p) for p in photos_in(tmp_path / "photos")]
    answers: list[Answer] = []
    with webui(dialect, tmp_path, pace=Pace(1)) as place:
        assert place.service is not None
        job_id = json.loads(_train_typed(place, photos, "first").body)["id"]
        clients = [
            threading.Thread(target=lambda: answers.append(_train(place, photos, "second"))),
            threading.Thread(target=lambda: answers.append(ask(place.address, "GET", f"{V1}/jobs/{job_id}/events"))),
        ]
        for client in clients:
            client.start()
        until(lambda: len(place.service.jobs.list()) == 2)  # type: ignore[union-attr]
        time.sleep(0.5)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5, "the server was joined while the training ran"
    for client in clients:
        client.join(10)
    assert sorted(a.status for a in answers) == [200, 200]
    assert any(b"The server stops before the job has ended." in a.body for a in answers)
    for job in place.service.jobs.list():
        job.cancel()


# --- serve alone: gradio's own routes --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("alone")) as (_, address):
        yield address


UPLOAD = "/gradio_api/upload"
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
FILE = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nabc\r\n--x--\r\n'


@pytest.mark.thorough
def test_uploads_of_another_site(served_alone: str) -> None:
    assert ask(served_alone, "POST", UPLOAD, {**FORM, "Origin": served_alone}, FILE).status == 200
    for forged in (*FORGED.values(), {"Host": "evil.example"}):
        assert ask(served_alone, "POST", UPLOAD, {**FORM, **forged}, FILE).status == 403


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/docs", "/openapi.json", "/nothing"])
def test_no_page_answers_to_a_strange_name(served_alone: str, path: str) -> None:
    assert ask(served_alone, "GET", path, {"Host": "evil.example"}).status == 403
    assert ask(served_alone, "GET", path, {"Origin": EVIL}).status == 403


def test_the_tabs_queue_takes_nothing_of_another_site(served_alone: str) -> None:
    body = b'{"data": [], "fn_index": 0, "session_hash": "x"}'
    for kind in ("application/json", "text/plain"):
        for path in ("/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/reset"):
            answer = ask(served_alone, "POST", path, {"Content-Type": kind, "Origin": EVIL}, body)
            assert answer.status == 403
    assert ask(served_alone, "GET", "/gradio_api/queue/data?session_hash=x", {"Origin": EVIL}).status == 403


def test_a_websocket_of_another_site(served_alone: str) -> None:
    shake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    shake["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    for forged in ({"Origin": EVIL}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert ask(served_alone, "GET", "/queue/join", {**shake, **forged}).status == 403


def test_our_page_in_a_frame_of_another_site(served_alone: str) -> None:
    assert ask(served_alone, "GET", "/").headers["content-security-policy"] == "frame-ancestors 'self'"
    framed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    assert ask(served_alone, "GET", "/", framed).status == 403


def test_an_upload_that_never_ends(served_alone: str) -> None:
    told = {**FORM, "Content-Length": str(3 * 2**30), "Expect": "100-continue"}
    assert ask(served_alone, "POST", UPLOAD, told).status == 413
    told["Content-Length"] = str(600 * 2**20)
    assert ask(served_alone, "POST", "/gradio_api/queue/join", told).status == 413


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_the_server_stops_while_it_is_watched(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as (process, address):
        where = urlsplit(address)
        with closing(socket.create_connection((where.hostname, where.port), 30)) as page:  # type: ignore[arg-type]
            page.sendall(f"GET /gradio_api/heartbeat/abc HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
            assert b" 200 " in page.recv(4096)
            begun = time.monotonic()
            process.send_signal(number)
            process.wait(60)
        assert time.monotonic() - begun < 15


# --- a WebUI without --api -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [A1111, FORGE])
def test_a_webui_without_an_api_has_none_of_ours(dialect: str, tmp_path: Path) -> None:
    with webui(dialect, tmp_path, cmd_opts={"api": False}) as place:
        assert place.service is not None
        trained(place.service, "ada")
        for method, path in (("GET", f"{V1}/people"), ("POST", LEGACY), ("DELETE", f"{V1}/people/ada")):
            answer = ask(place.address, method, path)
            assert answer.status == 403
            assert answer.sentence == "EasyPhoto's HTTP API is off: start the WebUI with --api."
        assert [p.user_id for p in place.service.people.list()] == ["ada"]
        assert ask(place.address, "GET", "/of-the-host").status == 200


@pytest.mark.parametrize("dialect", [A1111, FORGE])
def test_the_hosts_own_routes_are_left_alone(dialect: str, tmp_path: Path) -> None:
    with webui(dialect, tmp_path) as place:
        assert ask(place.address, "GET", "/of-the-host", {"Host": "evil.example", "Origin": EVIL}).status == 200
