"""Bad input over HTTP, byte by byte: a clear answer, nothing left behind, and the server goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import httpx
import pytest
from http_kit import HttpServer, Raw
from kit import eventually
from test_http_blobs import id_of, problem, save

Content = Callable[..., bytes]


@pytest.fixture(autouse=True)
def others(live: HttpServer, api: httpx.Client) -> Iterator[None]:
    """Whatever a test does: others are served, nothing is left in staging, no connection hangs, nothing unforeseen."""
    with live.client() as before:
        yield
        assert before.get("/v1/status").status_code == 200
        assert api.get("/v1/status").status_code == 200
    eventually(lambda: not live.staged)
    eventually(lambda: live.metric("udfstore_connections", front="http") <= 2)  # that one, and the one that asks
    assert not [line for line in live.said if "unexpectedly" in line]


def answers(live: HttpServer, data: bytes) -> list[int]:
    """The statuses of all answers to those bytes, until the server closes or has no more to say."""
    with live.raw() as raw:
        raw.send(data)
        found, rest = [], raw.ended()
        while rest.startswith(b"HTTP/1.1 "):
            head, _, body = rest.partition(b"\r\n\r\n")
            found.append(int(head[9:12]))
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            rest = body[int(length[0].partition(b":")[2]) :] if length else b""
        return found


def head(live: HttpServer, line: str = "GET /v1/tags HTTP/1.1", more: str = "", host: str = "") -> bytes:
    """A request that is let in, but for what is changed."""
    host = host or live.url.removeprefix("http://")
    return f"{line}\r\nHost: {host}\r\nAuthorization: Bearer {live.token}\r\n{more}\r\n".encode("latin-1")


# --- heads ---------------------------------------------------------------------------------------------------------


def test_a_head_that_is_too_large(live: HttpServer) -> None:
    with live.raw() as raw:
        raw.send(head(live, more=f"X: {'x' * 20_000}\r\n"))
        status, body, reply = raw.answer()
        assert (status, reply.headers["Content-Type"]) == (431, "application/problem+json")
        assert json.loads(body)["expected"] == "at most 16384 bytes"
        assert raw.rest() == b""


def test_a_head_that_never_ends(live: HttpServer) -> None:
    with live.raw() as raw:
        raw.send(b"GET /v1/tags HTTP/1.1\r\n" + b"X: y\r\n" * 4000)
        assert raw.answer()[0] == 431


GARBAGE = {
    "no HTTP": b"GARBAGE\r\n\r\n",
    "TLS": bytes.fromhex("1603010200010001fc0303") + os.urandom(200),
    "NULs": bytes(100) + b"\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "a version that is none": b"GET / HTTP/9\r\n\r\n",
    "a space in a name": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\nHost: x\r\n y\r\nA: b\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
    "a bare carriage return": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rGET /x HTTP/1.1\r\n\r\n",
    "a target with bytes": b"GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_is_no_request_is_refused_and_the_connection_closed(live: HttpServer, name: str) -> None:
    with live.raw() as raw:
        raw.send(GARBAGE[name])
        status, _, reply = raw.answer()
        assert status in (400, 401, 403)
        assert reply.headers["Content-Type"] == "application/problem+json"
        if name != "a folded line":  # the standard lets a server read that
            assert raw.rest() == b""


def test_an_empty_line_before_a_request_is_passed_over_or_refused(live: HttpServer) -> None:
    assert answers(live, b"\r\n" + head(live)) in ([200], [400])


def test_bare_line_feeds_split_no_request(live: HttpServer) -> None:
    smuggled = head(live, "DELETE /v1/blobs/x HTTP/1.1").replace(b"\r\n", b"\n")
    assert answers(live, head(live).replace(b"\r\n", b"\n")) in ([200], [400])
    value = smuggled.decode().replace("\n", " ")
    assert answers(live, head(live, more=f"X: {value}\r\n")) == [200]


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1/v1/tags", "http://evil.example/v1/tags", "*", "v1/tags", "?x", "127.0.0.1:80", "//"]
)
def test_a_target_that_is_no_path(live: HttpServer, target: str) -> None:
    assert answers(live, head(live, f"GET {target} HTTP/1.1")) in ([400], [404])
    assert answers(live, head(live, f"OPTIONS {target} HTTP/1.1"))[0] in (400, 404)
    assert answers(live, head(live, f"CONNECT {target} HTTP/1.1"))[0] in (400, 404, 405)


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: \r\n",
        "Content-Length: \xb2\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        f"Content-Length: {10**30}\r\n",
        f"Content-Length: {'9' * 5000}\r\n",
    ],
)
def test_lengths_that_can_be_read_in_two_ways(live: HttpServer, headers: str) -> None:
    """Refused, and nothing behind it on the connection is read as a request."""
    inner = head(live, "GET /v1/status HTTP/1.1")
    data = head(live, "POST /v1/blobs HTTP/1.1", headers) + b"0\r\n\r\n" + inner
    found = answers(live, data)
    assert len(found) == 1
    assert found[0] in (400, 413, 501, 507), found


def test_the_same_length_twice_is_one(live: HttpServer, content: Content) -> None:
    size = len(content())
    data = head(live, "POST /v1/blobs HTTP/1.1", f"Content-Length: {size}\r\nContent-Length: {size}\r\n") + content()
    assert answers(live, data)[0] in (201, 400)


@pytest.mark.parametrize(
    "chunks",
    [
        b"x\r\n",
        b"-1\r\nx\r\n",
        b"5\r\nab\r\n0\r\n\r\n",
        b"2\r\nabc\r\n0\r\n\r\n",
        b"fffffffffffffffffffffff\r\n",
        b"5 5\r\nabcde\r\n0\r\n\r\n",
        b"0x5\r\nabcde\r\n0\r\n\r\n",
        b"5;" + b"x" * 20_000,
        b"\r\n\r\n",
    ],
)
def test_chunks_that_are_none(live: HttpServer, chunks: bytes) -> None:
    """The connection ends; what came of the content is not kept."""
    with live.raw() as raw:
        raw.head("POST", "/v1/blobs", {"Transfer-Encoding": "chunked"})
        raw.send(chunks)
        assert not raw.ended().startswith(b"HTTP/1.1 2")


# --- upgrades -------------------------------------------------------------------------------------------------------


def test_http_2_and_web_sockets_are_not_spoken(live: HttpServer) -> None:
    for headers in (
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ):
        with live.raw() as raw:
            raw.head("GET", "/v1/tags", headers)
            assert raw.answer()[0] == 200
        host = live.url.removeprefix("http://")
        with live.raw() as raw:
            raw.send(f"GET /v1/tags HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode())
            assert raw.answer()[0] == 401


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2f..%2fetc%2fpasswd",
        "../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "a/../b",
        "a//b",
        "/a",
        "a/",
        "a%00b",
        "a%0d%0aX:%20y",
        "%ff%fe",
        "%c0%ae%c0%ae",
        "%",
        "%zz",
        "%u0041",
        "a%20b",
        "a%5cb",
        ".hidden",
        "-x",
        "%EF%BF%BD",
        "x" * 5000,
        "sha256:..",
        "a@0",
        "a@x",
        f"a@{'9' * 100}",
        "a%C3%A4",
    ],
)
def test_a_name_that_none_has(live: HttpServer, name: str) -> None:
    for place in ("content", "tags", "info", "history"):
        (status,) = answers(live, head(live, f"GET /v1/{place}/{name} HTTP/1.1"))
        assert status in (400, 404), (place, name)
    body, kind = b'{"ref": "x"}', "Content-Length: 12\r\nContent-Type: application/json\r\n"
    for method in ("PUT", "DELETE"):
        (status,) = answers(live, head(live, f"{method} /v1/tags/{name} HTTP/1.1", kind) + body)
        assert status in (400, 404)


@pytest.mark.parametrize("id", ["0" * 63, "0" * 65, "g" * 64, "A" * 64, "md5:" + "0" * 32, "%00" * 64, "..", "0" * 8])
def test_an_id_that_none_has(live: HttpServer, id: str) -> None:
    for method in ("GET", "DELETE", "PUT"):
        found = answers(live, head(live, f"{method} /v1/blobs/{id} HTTP/1.1", "Content-Length: 0\r\n"))
        assert found in ([400], [404])


def test_slashes_in_a_path_are_not_folded(live: HttpServer) -> None:
    for path in ("/v1//tags", "//v1/tags", "/v1/tags/", "/V1/tags", "/v1/tags%2f"):
        assert answers(live, head(live, f"GET {path} HTTP/1.1")) in ([400], [404]), path


@pytest.mark.parametrize("method", ["FOO", "get", "TRACE", "PROPFIND", "x" * 100])
def test_a_method_that_is_not_for_it(live: HttpServer, method: str) -> None:
    found = answers(live, head(live, f"{method} /v1/blobs HTTP/1.1"))
    assert found in ([405], [403], [400]) or (method == "get" and found == [200])


# --- JSON ------------------------------------------------------------------------------------------------------------


BODIES = {
    "nothing": (b"", 422),
    "not JSON": (b"{", 400),
    "not text": (b"\xff\xfe\xfd", 400),
    "a list": (b"[]", 422),
    "a number": (b"1", 422),
    "nil": (b"null", 422),
    "no ref": (b"{}", 422),
    "an unknown member": (b'{"ref": "x", "refs": "y"}', 422),
    "a number for a text": (b'{"ref": 1}', 422),
    "a list for a text": (b'{"ref": ["x"]}', 422),
    "NaN": (b'{"ref": NaN}', 422),
    "a label that is a number": (b'{"ref": "x", "labels": {"a": 1}}', 422),
    "NaN as a label": (b'{"ref": "x", "labels": {"a": NaN}}', 422),
    "a label without a name": (b'{"ref": "x", "labels": {"": "1"}}', 422),
    "a note too long": (json.dumps({"ref": "x", "note": "n" * 5000}).encode(), 422),
    "too many labels": (json.dumps({"ref": "x", "labels": {str(n): "" for n in range(40)}}).encode(), 422),
    "labels too long": (json.dumps({"ref": "x", "labels": {"a": "x" * 2000}}).encode(), 422),
    "half a character": (b'{"ref": "x", "note": "\\ud800"}', 422),
    "not a ref": (b'{"ref": "../x"}', 422),
    "NUL in a ref": (b'{"ref": "a\\u0000b"}', 422),
    "deeply nested": (b'{"ref": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "a huge number": (b'{"ref": ' + b"9" * 10_000 + b"}", 400),
    "huge": (b'{"ref": "' + b"x" * (2 << 20) + b'"}', 413),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_makes_no_sense(api: httpx.Client, unique: str, name: str) -> None:
    body, status = BODIES[name]
    answer = api.put(f"/v1/tags/{unique}", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text[:300]
    assert answer.json()["code"] == ("too-large" if status == 413 else "usage")
    assert len(answer.content) < 4000
    assert api.get(f"/v1/tags/{unique}").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"steps": []},
        {"steps": [{"tag": "x", "ref": "y"}] * 33},
        {"steps": [{"tag": "x", "ref": "y", "expected": -1}]},
        {"steps": [{"tag": "x", "ref": "y", "expected": 2**80}]},
        {"steps": [{"tag": "x", "ref": "y", "expected": 1.5}]},
        {"steps": [{"tag": "x", "ref": "y", "expected": True}]},
        {"steps": [{"tag": "x", "ref": "y", "expected": "1"}]},
    ],
)
def test_steps_that_make_no_sense(api: httpx.Client, body: object) -> None:
    problem(api.post("/v1/tags:move", json=body), 422, "usage")


def test_a_body_of_another_type(api: httpx.Client, unique: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data; boundary=x"):
        answer = api.put(f"/v1/tags/{unique}", content=b'{"ref": "x"}', headers={"Content-Type": kind})
        assert answer.status_code in (400, 415, 422)


@pytest.mark.parametrize("query", ["limit=1&limit=2", "limit=%00", "prefix=%00", "prefix=..", "limit=" + "9" * 5000])
def test_a_query_that_makes_no_sense(api: httpx.Client, query: str) -> None:
    assert api.get(f"/v1/tags?{query}").status_code in (200, 400)


# --- bodies ----------------------------------------------------------------------------------------------------------


def test_a_sender_who_vanishes_leaves_nothing(live: HttpServer, api: httpx.Client) -> None:
    data = os.urandom(3 << 20)
    with live.raw() as raw:
        raw.head("POST", "/v1/blobs", {"Content-Length": len(data)})
        raw.send(data[: 2 << 20])
        eventually(lambda: live.staged)
    eventually(lambda: not live.staged)
    problem(api.get(f"/v1/blobs/{id_of(data)}"), 404, "not-found")


def test_more_than_the_disk_has_is_refused_before_it_comes(live: HttpServer) -> None:
    with live.raw() as raw:
        raw.head("POST", "/v1/blobs", {"Content-Length": 2**62})
        status, body, _ = raw.answer()
        assert (status, json.loads(body)["code"]) == (507, "no-space")


def test_content_in_single_bytes(live: HttpServer, api: httpx.Client, content: Content) -> None:
    data = content()
    with live.raw() as raw:
        raw.head("POST", "/v1/blobs", {"Transfer-Encoding": "chunked"})
        raw.send(b"".join(b"1\r\n%c\r\n" % byte for byte in data) + b"0\r\n\r\n")
        assert raw.answer()[0] == 201
    assert api.get(f"/v1/blobs/{id_of(data)}").content == data


def test_requests_in_a_row_are_answered_in_a_row(live: HttpServer, content: Content) -> None:
    post = head(live, "POST /v1/blobs HTTP/1.1", f"Content-Length: {len(content())}\r\n") + content()
    assert answers(live, head(live) * 3 + post + head(live, more="Connection: close\r\n")) == [200] * 3 + [201, 200]


def early(raw: Raw, total: int) -> int:
    """Send that many bytes of a body, or as many as are taken; the status of the answer."""
    piece = bytes(1 << 20)
    try:
        for _ in range(total // len(piece)):
            raw.send(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return raw.answer()[0]


def test_a_refusal_reaches_who_is_still_sending(live: HttpServer) -> None:
    for token, status in (("x", 401), (live.token, 404)):
        with live.raw() as raw:
            raw.send(
                f"POST /v1/{'blobs' if status == 401 else 'nothing'} HTTP/1.1\r\nHost: {live.url[7:]}\r\n"
                f"Authorization: Bearer {token}\r\nContent-Length: {100 << 20}\r\n\r\n".encode()
            )
            assert early(raw, 100 << 20) == status


def test_a_body_that_nobody_expects_is_passed_over(live: HttpServer) -> None:
    get = head(live, "GET /v1/status HTTP/1.1", "Content-Length: 5\r\n") + b"stuff"
    assert answers(live, get + head(live, more="Connection: close\r\n")) == [200, 200]


def test_who_asks_first_is_told_to_go_on(live: HttpServer, content: Content) -> None:
    with live.raw() as raw:
        raw.head("POST", "/v1/blobs", {"Content-Length": len(content()), "Expect": "100-continue"})
        assert raw.socket.recv(12) == b"HTTP/1.1 100"
        raw.send(content())
        while raw.socket.recv(1) != b"\n":
            pass
        assert b"HTTP/1.1 201" in raw.ended()


def test_damaged_content_is_cut_off_and_never_passed_off_as_whole(
    live: HttpServer, api: httpx.Client, content: Content
) -> None:
    data = os.urandom(4 << 20)
    id = save(api, data)
    (path,) = (live.root / "blobs").rglob(f"*{id[-60:]}")
    with api.stream("GET", f"/v1/blobs/{id}") as answer:
        path.chmod(0o600)
        os.truncate(path, 100)
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()
    problem(api.get(f"/v1/blobs/{id}"), 500, "corrupt")
    assert api.post("/v1/blobs", content=data).is_success  # which heals it
    assert api.get(f"/v1/blobs/{id}").content == data


def test_a_small_body_may_be_as_large_as_told(api: httpx.Client) -> None:
    def status(size: int) -> int:
        body = b'{"steps": [], "note": "' + b"x" * size
        return api.post("/v1/tags:move", content=body + b'"}', headers={"Content-Type": "application/json"}).status_code

    most = (1 << 20) - 25
    assert status(most) == 422
    assert status(most + 1) == 413
