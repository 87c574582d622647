"""The examples for nginx and Caddy, by the real programs: what goes through, and that nothing is slipped past them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import eventually
from proxy_kit import DEPLOY, NAME, Proxied, nginx, proxied

MIB = 1 << 20

needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
needs_caddy = pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed")


KINDS = [pytest.param("nginx", marks=needs_nginx), pytest.param("caddy", marks=needs_caddy)]


@pytest.fixture(scope="module", params=KINDS)
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """A proxy and a server that the tests share."""
    with proxied(tmp_path_factory.mktemp(request.param), request.param) as running:
        yield running


@needs_nginx
def test_nginx_takes_its_example(folder: Path) -> None:
    done = subprocess.run([*nginx(folder, "127.0.0.1:8080"), "-t"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


@needs_caddy
def test_caddy_takes_its_example(folder: Path) -> None:
    command = ["caddy", "validate", "--config", str(DEPLOY / "caddy/Caddyfile"), "--adapter", "caddyfile"]
    done = subprocess.run(command, env={"HOME": str(folder)}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert '"level":"warn"' not in done.stderr


@pytest.mark.parametrize("announced", [True, False], ids=["with its length", "in chunks"])
def test_an_upload_goes_through_as_it_comes(proxy: Proxied, announced: bool) -> None:
    piece, pieces = bytes(range(256)) * 4096, 64
    staging = proxy.root / "staging"

    def content() -> Iterator[bytes]:
        yield piece
        yield piece
        eventually(lambda: any(file.stat().st_size >= MIB // 2 for file in staging.iterdir()))
        for _ in range(pieces - 2):
            yield piece

    length = {"Content_Length": str(pieces * MIB)} if announced else {}
    status, _, told = proxy.ask("POST", "/v1/blobs", content(), **length)
    id = f"sha256:{hashlib.sha256(piece * pieces).hexdigest()}"
    assert (status, json.loads(told)["id"]) == (201 if announced else 200, id)
    assert hashlib.sha256(proxy.ask("GET", f"/v1/blobs/{id}")[2]).hexdigest() == id.removeprefix("sha256:")


def test_events_come_while_the_stream_is_open(proxy: Proxied) -> None:
    id = json.loads(proxy.ask("POST", "/v1/blobs", b"1")[2])["id"]
    with proxy.asked("GET", "/v1/events?prefix=models/") as stream:
        assert (stream.status, stream.headers.get_content_type()) == (200, "text/event-stream")
        for version in (1, 2):
            assert proxy.ask("PUT", "/v1/tags/models/x", {"ref": id})[0] in (200, 201)
            told = next(line for line in stream if b'"version"' in line)
            assert f'"version": {version}'.encode() in told


def test_a_request_keeps_its_name_or_gets_one(proxy: Proxied) -> None:
    assert proxy.ask("GET", "/v1/tags", X_Request_Id="mine-7")[1]["X-Request-Id"] == "mine-7"
    given = proxy.ask("GET", "/v1/tags")[1]["X-Request-Id"]
    assert len(given) >= 32, "made by the proxy, which logs it"


def test_the_host_is_passed_on_and_judged_by_the_server(proxy: Proxied) -> None:
    told = proxy.say(f"GET /v1/tags HTTP/1.1\r\nHost: {NAME}\r\nOrigin: http://{NAME}\r\n\r\n".encode())
    assert told.startswith(b"HTTP/1.1 401 ")
    if proxy.kind == "nginx":  # Caddy answers for no other name
        assert proxy.say(b"GET /v1/tags HTTP/1.1\r\nHost: evil.example\r\n\r\n").startswith(b"HTTP/1.1 403 ")


def test_heads_that_are_too_large_are_refused(proxy: Proxied) -> None:
    many = "".join(f"X-{number}: {'x' * 2000}\r\n" for number in range(20))
    told = proxy.say(f"GET /v1/tags HTTP/1.1\r\nHost: {NAME}\r\n{many}\r\n".encode())
    assert told.split()[1] in (b"400", b"431")


def test_a_request_during_an_upgrade_waits_and_is_answered(proxy: Proxied) -> None:
    token = proxy.token
    for _ in range(2):
        assert proxy.manager.stop() == 0
        with proxy.connect() as waiting:
            head = f"GET /v1/tags HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {token}\r\n\r\n"
            waiting.sendall(head.encode())
            proxy.serve()
            assert waiting.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


HIDDEN = b"PUT /v1/tags/hidden HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer TOKEN\r\nContent-Length: 2\r\n\r\n{}"
"""A request that must reach the server only if the proxy saw it as one too."""

AUTH = b"Host: HOST\r\nAuthorization: Bearer TOKEN\r\n"
POST = b"POST /v1/blobs HTTP/1.1\r\n" + AUTH
GET = b"GET /v1/tags HTTP/1.1\r\n" + AUTH
ATTACKS = {
    "both lengths, chunks first": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: LENGTH\r\n\r\n0\r\n\r\n"
    + HIDDEN,
    "both lengths, length first": POST
    + b"Content-Length: LENGTH\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + HIDDEN,
    "both lengths, a short one": POST
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5a\r\n"
    + HIDDEN
    + b"\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: LENGTH\r\n\r\n" + HIDDEN,
    "a list of lengths": POST + b"Content-Length: 0, LENGTH\r\n\r\n" + HIDDEN,
    "a length with a sign": POST + b"Content-Length: +LENGTH\r\n\r\n" + HIDDEN,
    "a coding with a blank": POST + b"Transfer-Encoding : chunked\r\nContent-Length: LENGTH\r\n\r\n" + HIDDEN,
    "a coding with a tab": POST + b"Transfer-Encoding:\x0bchunked\r\nContent-Length: LENGTH\r\n\r\n" + HIDDEN,
    "a coding twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\nContent-Length: LENGTH\r\n\r\n" + HIDDEN,
    "a coding after a line feed": POST
    + b"X: 1\nTransfer-Encoding: chunked\r\nContent-Length: LENGTH\r\n\r\n0\r\n\r\n"
    + HIDDEN,
    "a folded coding": POST + b"X: 1\r\n Transfer-Encoding: chunked\r\nContent-Length: LENGTH\r\n\r\n" + HIDDEN,
    "bare line feeds": (GET + b"\r\n").replace(b"\r\n", b"\n") + HIDDEN,
    "a bare line feed in a value": GET + b"X: 1\nContent-Length: LENGTH\r\n\r\n" + HIDDEN,
    "bare line feeds that end the head": GET + b"X: 1\n\n" + HIDDEN,
    "a bare carriage return": GET + b"X: 1\rContent-Length: LENGTH\r\n\r\n" + HIDDEN,
    "chunks with line feeds": POST + b"Transfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n" + HIDDEN,
    "an extension with a line feed": POST + b"Transfer-Encoding: chunked\r\n\r\n1;a\nx\r\n0\r\n\r\n" + HIDDEN,
    "a trailer that is a head": POST
    + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nContent-Length: 9\r\n\r\n"
    + HIDDEN,
    "a chunk with a huge size": POST
    + b"Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\nx\r\n0\r\n\r\n"
    + HIDDEN,
    "an absolute target": b"GET http://HOST/v1/tags HTTP/1.1\r\n" + AUTH + b"\r\n",
    "an absolute target elsewhere": b"GET http://evil.example/v1/tags HTTP/1.1\r\n"
    + AUTH
    + b"Content-Length: LENGTH\r\n\r\n"
    + HIDDEN,
    "a target with a line feed": b"GET /v1/tags\n HTTP/1.1\r\n" + AUTH + b"Content-Length: LENGTH\r\n\r\n" + HIDDEN,
    "an encoded line feed": b"GET /v1/tags%0d%0a%0d%0a HTTP/1.1\r\n"
    + AUTH
    + b"Content-Length: LENGTH\r\n\r\n"
    + HIDDEN,
    "a body behind a GET": GET + b"Content-Length: LENGTH\r\n\r\n" + HIDDEN,
    "an upgrade": GET
    + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    + HIDDEN,
    "HTTP/2 with prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_request_is_split_behind_the_proxy(folder: Path, kind: str) -> None:
    with proxied(folder, kind) as proxy:
        attack_all(proxy)
        proxy.stop()
        assert proxy.manager.stop() == 0
        served = Counter(f"{told['method']} {told['path']}" for told in proxy.manager.log if told["event"] == "request")
        assert served["GET /v1/status"] == 1
        assert served <= proxy.forwarded(), served - proxy.forwarded()


def attack_all(proxy: Proxied) -> None:
    token = proxy.token
    length = len(HIDDEN.replace(b"HOST", NAME.encode()).replace(b"TOKEN", token.encode()))
    known = {b"HOST": NAME.encode(), b"TOKEN": token.encode(), b"LENGTH": str(length).encode()}
    assert proxy.ask("GET", "/v1/status")[0] == 200
    for attack in ATTACKS.values():
        for blank, text in known.items():
            attack = attack.replace(blank, text)
        assert not proxy.say(attack).startswith(b"HTTP/1.1 101"), "what follows would pass by the proxy unseen"
