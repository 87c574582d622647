"""Who is let in over HTTP, as whom, and from where."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_kit import HttpServer
from kit import eventually
from test_http_blobs import problem, save

import udfstore
from udfstore.cli import main

Content = Callable[..., bytes]

METRICS, READ, WRITE = "metrics", "read", "write"
EVERYBODY = {"/healthz", "/readyz", "/metrics"}
CHANGING = {"put", "patch", "delete", "post"}
ASKING = {("post", "/v1/blobs:missing"), ("post", "/v1/tasks/{task}:plan")}


@pytest.fixture(scope="module")
def tokens(live: HttpServer) -> dict[str, str]:
    """A token of each kind."""
    with live.store() as store:
        return {can: store.add_token(f"for-{can}", can).secret for can in (METRICS, READ, WRITE)}


@pytest.fixture(scope="module")
def clients(live: HttpServer, tokens: dict[str, str]) -> Iterator[dict[str, httpx.Client]]:
    """A client with each, and one without."""
    found = {"": live.client(None)} | {can: live.client(secret) for can, secret in tokens.items()}
    yield found
    for client in found.values():
        client.close()


def operations(api: httpx.Client) -> list[tuple[str, str]]:
    described = api.get("/openapi.json").json()["paths"]
    return [(method, path) for path, methods in described.items() for method in methods]


def test_each_operation_has_a_weakest_token(clients: dict[str, httpx.Client]) -> None:
    """Refused at the door with 401 or 403, else let in: whatever becomes of it there."""
    found = operations(clients[READ])
    assert len(found) > 30
    for method, path in found:
        url = re.sub(r"\{.*?\}", "0" * 64, path)
        changing = method in CHANGING and (method, path) not in ASKING
        weakest = "" if path in EVERYBODY else WRITE if changing else READ
        order = ["", METRICS, READ, WRITE]
        for can in order:
            with clients[can].stream(method, url) as answer:
                refused = answer.status_code in (401, 403)
                assert refused is (order.index(can) < order.index(weakest)), (method, path, can)
                if refused:
                    assert answer.status_code == (401 if not can else 403)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Bearer",
        "Bearer x",
        "Basic dTpw",
        "bearer udfs_",
        "Bearer udfs_" + "x" * 43,
        "Token {}",
        "{}",
        "Bearer {} x",
    ],
)
def test_a_wrong_token_is_no_token(live: HttpServer, said: str) -> None:
    with live.client(None) as client:
        answer = client.get("/v1/tags", headers={"Authorization": said.format(live.token)})
        problem(answer, 401, "denied")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="udfstore"'
        assert live.token not in answer.text


def test_health_does_not_hang_on_a_token_that_was_revoked(live: HttpServer) -> None:
    with live.client("udfs_" + "x" * 43) as client:
        assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
        problem(client.get("/metrics"), 401, "denied")


def test_the_scheme_is_read_in_any_case(live: HttpServer) -> None:
    with live.client(None) as client:
        assert client.get("/v1/tags", headers={"Authorization": f"bEARER {live.token}"}).status_code == 200


def test_a_revoked_token_is_worth_nothing_at_once(live: HttpServer) -> None:
    with live.store() as store:
        secret = store.add_token("passing", "read").secret
        with live.client(secret) as client:
            assert client.get("/v1/tags").status_code == 200
            store.remove_token("passing")
            problem(client.get("/v1/tags"), 401, "denied")


def test_a_weak_token_is_told_what_it_lacks_and_the_log_who_wanted_it(
    live: HttpServer, clients: dict[str, httpx.Client]
) -> None:
    named = {"X-Request-ID": "weak-token"}
    told = problem(clients[READ].post("/v1/blobs", content=b"x", headers=named), 403, "denied")
    assert (told["expected"], told["got"]) == (WRITE, READ)

    def noted() -> list[dict[str, object]]:
        lines = [json.loads(line) for line in live.said if '"weak-token"' in line]
        return [line for line in lines if line["event"] == "refused"]

    eventually(noted)
    assert [(line["right"], line["what"], line["by"]) for line in noted()] == [("write", "/v1/blobs", "its token")]


def test_the_author_is_the_token_and_the_person_a_claim(
    clients: dict[str, httpx.Client], content: Content, unique: str
) -> None:
    api = clients[WRITE]
    id = save(api, content())
    for person in ("Ada", "Jürgen"):
        answer = api.put(f"/v1/tags/{unique}", json={"ref": id}, headers={"Udfstore-Author": person.encode()})
        author = answer.raise_for_status().json()["author"]
        assert (author["front"], author["token"], author["claim"]["person"]) == ("http", "for-write", person)
        assert author["uid"] == -1
    for person in ("x" * 1025, "a\tb"):
        problem(api.put(f"/v1/tags/{unique}", json={"ref": id}, headers={"Udfstore-Author": person}), 400, "usage")


# --- browsers -----------------------------------------------------------------------------------------------------


@pytest.fixture
def browser(live: HttpServer) -> Iterator[httpx.Client]:
    """A browser that opened a link."""
    with live.store() as store, live.client(None) as client:
        assert client.get(store.web_link().url).has_redirect_location
        yield client


def test_a_browser_needs_the_word_of_a_page_for_changes(browser: httpx.Client) -> None:
    assert browser.get("/v1/tags").status_code == 200
    for headers in ({}, {"X-CSRF-Token": "guessed"}, {"X-CSRF-Token": ""}):
        problem(browser.post("/v1/blobs", content=b"x", headers=headers), 403, "denied")
    found = re.search(r'name="csrf"[^>]* (?:content|value)="([^"]+)"', browser.get("/").text)
    assert found
    assert browser.post("/v1/blobs", content=b"x", headers={"X-CSRF-Token": found[1]}).is_success


def test_a_cookie_that_nobody_gave_is_no_session(live: HttpServer) -> None:
    with live.client(None) as client:
        for cookie in ("udfstore=x", "udfstore=", 'udfstore="', "=;=", "udfstore=\xff"):
            problem(client.get("/v1/tags", headers={"Cookie": cookie.encode("latin-1")}), 401, "denied")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "file://",
        "https://127.0.0.1",
        "http://127.0.0.1:1",
        "http://{}.evil.example",
        "http://user@{}",
        "http://[",
        "",
        "chrome-extension://{}",
    ],
)
def test_pages_of_other_sites_are_refused(live: HttpServer, api: httpx.Client, origin: str) -> None:
    host = live.url.removeprefix("http://")
    for method, path in (("GET", "/v1/tags"), ("POST", "/v1/blobs"), ("GET", "/v1/events")):
        answer = api.request(method, path, headers={"Origin": origin.format(host)})
        problem(answer, 403, "denied")
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_page_of_this_server_may_ask(live: HttpServer, api: httpx.Client) -> None:
    assert api.get("/v1/tags", headers={"Origin": live.url}).status_code == 200


def test_two_origins_are_one_too_many(live: HttpServer) -> None:
    with live.raw() as raw:
        raw.head("GET", "/v1/tags", f"Origin: {live.url}\r\nOrigin: http://evil.example\r\n")
        assert raw.answer()[0] == 403


# --- the name by which it is asked ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "localhost.evil.example", "{}x", "x@{}", "", "[::1]", "0"]
)
def test_it_answers_by_its_own_names_only(live: HttpServer, api: httpx.Client, host: str) -> None:
    """A page of another site whose name leads here would otherwise be of the same origin (DNS rebinding)."""
    name = host.format(live.url.removeprefix("http://"))
    problem(api.get("/v1/tags", headers={"Host": name}), 403, "denied")
    assert api.get("/healthz", headers={"Host": name}).status_code == 200


def test_it_answers_by_localhost_too(live: HttpServer, api: httpx.Client) -> None:
    port = live.address[1]
    for name in (f"localhost:{port}", f"LocalHost:{port}", "localhost", f"[::1]:{port}"):
        assert api.get("/v1/tags", headers={"Host": name}).status_code == 200


def test_other_names_are_added(tmp_path: Path) -> None:
    with HttpServer(tmp_path, http_hosts="box:8080, Box.lan") as server, server.client() as api:
        for name in ("box:8080", "box.lan", "BOX:8080"):
            assert api.get("/v1/tags", headers={"Host": name, "Origin": f"http://{name}"}).status_code == 200
            assert api.get("/v1/tags", headers={"Host": name, "Origin": f"https://{name}"}).status_code == 200
        problem(api.get("/v1/tags", headers={"Host": "box"}), 403, "denied")


def test_no_host_and_two_hosts_are_refused(live: HttpServer) -> None:
    host = live.url.removeprefix("http://")
    for head in (
        "GET /v1/tags HTTP/1.1\r\n",
        "GET /v1/tags HTTP/1.0\r\n",
        f"GET /v1/tags HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n",
        f"GET /v1/tags HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n",
    ):
        with live.raw() as raw:
            raw.send(f"{head}Authorization: Bearer {live.token}\r\n\r\n".encode())
            assert raw.answer()[0] in (400, 403)


# --- what every answer carries ----------------------------------------------------------------------------------------


def test_every_answer_is_guarded(live: HttpServer, api: httpx.Client, clients: dict[str, httpx.Client]) -> None:
    id = save(api, b"<script>alert(1)</script>")
    answers = [
        api.get("/v1/tags"),
        api.get("/healthz"),
        api.get("/metrics"),
        api.get("/openapi.json"),
        api.get("/v1/nothing"),
        api.delete("/v1/tags"),
        api.get("/v1/tags?limit=x"),
        clients[""].get("/v1/tags"),
        clients[READ].post("/v1/blobs"),
        api.get(f"/v1/blobs/{id}"),
        api.get(f"/v1/blobs/{id}", headers={"Range": "bytes=90-"}),
        api.get(f"/v1/blobs/{id}", headers={"If-None-Match": "*"}),
        api.get("/v1/tags", headers={"Host": "evil.example"}),
    ]
    with live.raw() as raw:
        raw.send(b"GARBAGE\r\n\r\n")
        garbage = raw.answer()[2]
    for headers in [answer.headers for answer in answers] + [garbage.headers]:
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Server" not in headers
        assert headers["Cache-Control"]
    assert {answer.headers["Cache-Control"] for answer in answers[:9]} == {"no-store"}


def test_content_is_never_shown_by_a_browser(api: httpx.Client, unique: str) -> None:
    id = save(api, b"<script>alert(1)</script>")
    api.put(f"/v1/tags/{unique}/x.html", json={"ref": id}).raise_for_status()
    for path in (f"/v1/blobs/{id}", f"/v1/content/{unique}/x.html"):
        answer = api.get(path, headers={"Accept": "text/html"})
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
        assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"


def test_a_request_bears_a_name_through_the_log(live: HttpServer, api: httpx.Client) -> None:
    answer = api.get("/v1/nothing", headers={"X-Request-ID": "deploy-17"})
    assert answer.headers["X-Request-ID"] == "deploy-17"
    for odd in ("a b", "x" * 65, "é".encode(), "a\tb", ""):
        given = api.get("/v1/nothing", headers={"X-Request-ID": odd}).headers["X-Request-ID"]
        assert re.fullmatch("[0-9a-f]{16}", given)
    eventually(lambda: any('"request": "deploy-17"' in line for line in live.said))


def test_no_secret_is_logged(live: HttpServer, tokens: dict[str, str]) -> None:
    assert not any(secret in line for line in live.said for secret in (live.token, *tokens.values()))


def test_the_log_of_a_bug_tells_no_values() -> None:
    """Content, tokens and cookies are among the variables of whatever failed."""
    program = (
        "import structlog, sys\n"
        "from udfstore.server import logging\n"
        "logging.configure(sys.argv[1], 'info')\n"
        "def fail(token): raise ZeroDivisionError\n"
        "try: fail(''.join(['s3', 'cr3t']))\n"
        "except ZeroDivisionError as error: structlog.get_logger().error('failed', exc_info=error)\n"
    )
    for form in ("json", "human"):
        done = subprocess.run([sys.executable, "-c", program, form], capture_output=True, text=True)
        assert "ZeroDivisionError" in done.stderr
        assert "s3cr3t" not in done.stderr


# --- where it listens ------------------------------------------------------------------------------------------------


def test_nothing_is_served_unless_it_is_asked_for(own_server: Any) -> None:
    listening = [line for line in own_server.said if "ready" in line]
    assert "http" not in listening[-1]
    assert not (own_server.root / "http-token").exists()
    with udfstore.connect(own_server.socket) as store, pytest.raises(udfstore.Unsupported):
        store.web_link()


def test_the_first_token_is_for_the_owner_alone_and_stays(tmp_path: Path) -> None:
    with HttpServer(tmp_path) as server:
        first = server.token
        assert stat.S_IMODE((server.root / "http-token").stat().st_mode) == 0o600
        assert first not in (server.root / "tokens.json").read_text()
        server.stop()
        server.start()
        assert server.token == first
        with server.client() as api:
            assert api.get("/v1/tags").status_code == 200


@pytest.mark.parametrize(("options", "mode"), [({}, 0o600), ({"socket_mode": "0660"}, 0o660)])
def test_http_on_a_socket_of_its_own(folder: Path, options: dict[str, object], mode: int) -> None:
    path = folder / "http"
    with HttpServer(folder, http=f"unix:{path}", **options) as server:
        assert server.url == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == mode
        headers = {"Authorization": f"Bearer {server.token}"}
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://localhost", headers=headers) as client:
            assert client.get("/v1/tags").status_code == 200
            problem(client.get("/v1/tags", headers={"Host": "box"}), 403, "denied")
            problem(client.get("/v1/tags", headers={"Authorization": ""}), 401, "denied")
        server.stop()
        assert not path.exists()


def test_the_metrics_have_a_listener_that_serves_nothing_else(tmp_path: Path) -> None:
    with HttpServer(tmp_path, metrics="127.0.0.1:0") as server:
        url = str(server.places["metrics"])
        assert url.endswith("/metrics")
        base = url.removesuffix("/metrics")
        assert base != server.url
        with server.client() as api:
            for path in ("/metrics", "/healthz", "/readyz"):
                assert httpx.get(f"{base}{path}", headers={"Host": "prometheus:9090"}).status_code == 200
            for method, path in operations(api):
                if path not in EVERYBODY:
                    url = re.sub(r"\{.*?\}", "0" * 64, f"{base}{path}")
                    assert httpx.request(method, url, headers=api.headers).status_code in (401, 403, 404), path
            for path in ("/", "/login", "/openapi.json", "/static/style.css"):
                assert httpx.get(f"{base}{path}", headers=api.headers).status_code in (401, 403, 404)


def test_metrics_alone(tmp_path: Path) -> None:
    with HttpServer(tmp_path, metrics="127.0.0.1:0", http="127.0.0.1:0") as both:
        assert both.places["metrics"]
    with HttpServer(tmp_path, http=None, metrics="127.0.0.1:0") as server:
        assert "http" not in server.places
        assert httpx.get(server.places["metrics"]).status_code == 200


@pytest.mark.parametrize("address", ["8080", "localhost:", "localhost:x", "localhost:65536", ":80", "unix:"])
def test_what_is_no_address(tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--root", str(tmp_path / "root"), "--socket", str(tmp_path / "s"), "--http", address]) == 2
    assert "HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "999.1.1.1"])
def test_what_is_no_host(tmp_path: Path, host: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--root", str(tmp_path / "root"), "--socket", str(tmp_path / "s"), "--http", f"{host}:80"]
    assert main(["serve", *given]) == 2
    assert f"no address of this machine: {host}" in capsys.readouterr().err


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(["serve", "--root", str(tmp_path / "root"), "--socket", str(tmp_path / "s"), "--http", place]) == 4
    assert place in capsys.readouterr().err
