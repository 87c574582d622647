"""Connections that stand still, come in crowds, or carry more than would fit into memory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from http_kit import HttpServer, Raw
from kit import SECONDS, eventually, in_thread
from test_http_blobs import save

MIB = 1 << 20


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """A server that waits for nobody longer than a second."""
    with HttpServer(
        tmp_path_factory.mktemp("hasty"), progress_seconds=1, http_idle_seconds=1, grace_seconds=5
    ) as server:
        yield server


@pytest.fixture(scope="module")
def big(hasty: HttpServer) -> str:
    """The address of more than sockets hold."""
    with hasty.client() as api:
        return f"/v1/blobs/{save(api, os.urandom(32 * MIB))}"


def nobody_left(server: HttpServer) -> None:
    """Until nobody is connected but the one who asks."""
    eventually(lambda: server.metric("udfstore_connections", front="http") == 1)
    assert not [line for line in server.said if "unexpectedly" in line]


@pytest.mark.parametrize("sent", [b"", b"GET /v1/tags HT", b"GET /v1/tags HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(hasty: HttpServer, sent: bytes) -> None:
    with hasty.raw() as raw:
        raw.send(sent)
        assert raw.rest() == b""
    nobody_left(hasty)


def test_a_connection_that_is_not_used_is_closed(hasty: HttpServer) -> None:
    with hasty.raw() as raw:
        raw.head("GET", "/v1/tags")
        assert raw.answer()[0] == 200
        assert raw.rest() == b""
    nobody_left(hasty)


def test_a_body_that_does_not_go_on_is_answered(hasty: HttpServer) -> None:
    for path in ("/v1/blobs", "/v1/tags:move"):
        with hasty.raw() as raw:
            raw.head("POST", path, {"Content-Length": 1000, "Content-Type": "application/json"})
            raw.send(b"some of it")
            status, body, reply = raw.answer()
            assert (status, reply.headers["Content-Type"]) == (408, "application/problem+json")
            assert b"within 1 s" in body
    assert hasty.staged == []
    nobody_left(hasty)


def test_a_body_that_comes_slowly_is_waited_for(hasty: HttpServer) -> None:
    data = b"slowly"
    with hasty.raw() as raw:
        raw.head("POST", "/v1/blobs", {"Content-Length": len(data)})
        reader, writer = socket.socketpair()
        reader.settimeout(0.4)
        with reader, writer:
            for byte in data:  # a byte every 0.4 s: more in all than one may stand still
                raw.send(bytes([byte]))
                with pytest.raises(TimeoutError):
                    reader.recv(1)
        assert raw.answer()[0] == 201


def stuck(server: HttpServer, path: str) -> Raw:
    """Somebody who asks for much and reads nothing."""
    raw = Raw(server, receive_bytes=4096)
    raw.head("GET", path)
    eventually(lambda: server.metric("udfstore_calls_open", kind="get-blobs"))
    return raw


def test_who_does_not_read_is_cut_off(hasty: HttpServer, big: str) -> None:
    with stuck(hasty, big) as raw, hasty.client() as api:
        assert len(api.get(big).content) == 32 * MIB  # nobody else is held up
        eventually(lambda: hasty.metric("udfstore_calls_open", kind="get-blobs") == 0)
        assert len(raw.rest()) < 32 * MIB
    nobody_left(hasty)


def test_who_sends_and_does_not_read_is_cut_off(hasty: HttpServer, big: str) -> None:
    """Requests in a row whose answers nobody takes: nothing more is read of them."""
    with Raw(hasty, receive_bytes=4096) as raw:
        raw.socket.settimeout(5)

        def ask() -> None:
            for _ in range(10_000):
                raw.head("POST", "/v1/nothing", {"Content-Length": 50_000})
                raw.send(bytes(50_000))

        with pytest.raises((ConnectionError, TimeoutError)):
            ask()
    nobody_left(hasty)


def test_a_stuck_reader_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with HttpServer(tmp_path, progress_seconds=30, grace_seconds=1) as server:
        with server.client() as api:
            path = f"/v1/blobs/{save(api, os.urandom(32 * MIB))}"
        with stuck(server, path), server.raw() as slow, server.raw() as idle:
            slow.head("POST", "/v1/blobs", {"Content-Length": MIB})
            idle.head("GET", "/v1/tags")
            assert idle.answer()[0] == 200
            eventually(lambda: server.staged)
            stopped = in_thread(server.stop)
            assert idle.rest() == b""
            assert stopped.result(SECONDS / 3) == 0
        assert server.staged == []


def test_nobody_waits_for_clients_that_keep_their_connection(tmp_path: Path) -> None:
    with HttpServer(tmp_path) as server, ExitStack() as held:
        for close in ("", "Connection: close\r\n"):
            raw = held.enter_context(server.raw())
            raw.head("GET", "/v1/tags", close)
            assert raw.answer()[0] == 200
        eventually(lambda: server.metric("udfstore_connections", front="http") == 2)  # the first, and the one that asks
        assert server.stop() == 0


def test_what_runs_when_the_server_stops_is_finished(tmp_path: Path) -> None:
    data = os.urandom(MIB)
    with HttpServer(tmp_path) as server, server.raw() as raw:
        raw.head("POST", "/v1/blobs", {"Content-Length": len(data)})
        raw.send(data[:100_000])
        eventually(lambda: server.staged)
        stopped = in_thread(server.stop)
        eventually(lambda: any('"stopping"' in line for line in server.said))
        raw.send(data[100_000:])
        status, body, _ = raw.answer()
        assert (status, hashlib.sha256(data).hexdigest() in body.decode()) == (201, True)
        assert stopped.result(SECONDS) == 0


def test_a_crowd_is_served_up_to_the_limit(tmp_path: Path) -> None:
    limit, crowd = 40, 300
    with HttpServer(tmp_path, http_connections=limit, metrics="127.0.0.1:0") as server, ExitStack() as held:
        connected = [held.enter_context(server.raw()) for _ in range(crowd)]
        for raw in connected[:limit]:
            raw.head("GET", "/healthz")
            assert raw.answer()[0] == 200
        for raw in connected[limit:]:
            status, body, reply = raw.answer()
            assert (status, reply.headers["Content-Type"]) == (429, "application/problem+json")
            assert int(reply.headers["Retry-After"]) > 0
            assert str(limit).encode() in body
            assert raw.rest() == b""
        assert httpx.get(server.places["metrics"], verify=False).status_code == 200
        for raw in connected[: limit // 2]:
            raw.socket.close()
        eventually(lambda: server.metric("udfstore_connections", front="http") == limit // 2 + 1)
        assert server.metric("udfstore_connections_refused_total", front="http") >= crowd - limit


def test_connections_that_were_closed_take_no_room(tmp_path: Path) -> None:
    with HttpServer(tmp_path, http_connections=10) as server:
        held = []
        for _ in range(100):
            with server.raw() as raw:
                raw.head("GET", "/healthz")
                assert raw.answer()[0] == 200
                held.append(server.descriptors)
        assert max(held[10:]) - held[10] < 10
        nobody_left(server)


def test_connections_that_are_reset_in_mid_body_take_no_room(tmp_path: Path) -> None:
    with HttpServer(tmp_path) as server:
        with server.client() as api:
            place = api.post("/v1/uploads", headers={"Upload-Complete": "?0"}).headers["Location"]
        fields = {
            "Upload-Complete": "?0",
            "Upload-Offset": 5,  # which it is not at: the answer begins while the body still comes
            "Content-Type": "application/partial-upload",
            "Content-Length": 100 * MIB,
        }
        for number in range(200):
            raw = server.raw()
            raw.head("PATCH", place, fields)
            with contextlib.suppress(ConnectionError):
                raw.send(bytes(800_000))
            sum(range(number * 2000))  # a little later each time
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.socket.close()
        nobody_left(server)


def test_content_of_any_size_takes_little_memory(tmp_path: Path) -> None:
    size, piece = 300 * MIB, os.urandom(MIB)
    digest = hashlib.sha256()
    with HttpServer(tmp_path) as server, server.client() as api:
        save(api, piece)
        assert api.get(f"/v1/blobs/sha256:{hashlib.sha256(piece).hexdigest()}").content == piece
        before = server.memory("VmRSS")

        def pieces() -> Iterator[bytes]:
            for number in range(size // MIB):
                part = number.to_bytes(8) + piece[8:]
                digest.update(part)
                yield part

        id = api.post("/v1/blobs", content=pieces(), headers={"Content-Length": str(size)}).json()["id"]
        assert id == f"sha256:{digest.hexdigest()}"
        came = hashlib.sha256()
        with api.stream("GET", f"/v1/blobs/{id}") as answer:
            for part in answer.iter_bytes():
                came.update(part)
        assert came.hexdigest() == digest.hexdigest()
        assert server.memory("VmHWM") - before < 40 * MIB


def test_a_flood_of_small_chunks_takes_little_memory(hasty: HttpServer) -> None:
    before = hasty.memory("VmRSS")
    with hasty.raw() as raw:
        raw.head("POST", "/v1/blobs", {"Transfer-Encoding": "chunked"})
        many = b"1\r\nx\r\n" * 5_000
        for _ in range(10):
            raw.send(many)
        raw.send(b"0\r\n\r\n")
        assert raw.answer()[0] == 201
    assert hasty.memory("VmRSS") - before < 40 * MIB


def test_downloads_are_taken_in_turn(hasty: HttpServer, big: str) -> None:
    def load() -> int:
        with hasty.client() as api, api.stream("GET", big) as answer:
            return sum(map(len, answer.iter_bytes()))

    loads = [in_thread(load) for _ in range(8)]
    with hasty.client() as api:
        assert api.get("/v1/status").status_code == 200
    assert [loaded.result(SECONDS) for loaded in loads] == [32 * MIB] * 8


def test_an_answer_after_the_server_was_paused(hasty: HttpServer) -> None:
    with httpx.Client(timeout=SECONDS) as client:
        hasty.pause()
        answer = in_thread(lambda: client.get(f"{hasty.url}/healthz"))
        hasty.go_on()
        assert answer.result(SECONDS).status_code == 200
