"""Bad input over a live socket: a clear error, nothing lost, nothing left behind, and the server goes on.

What a server answers to each of these frame by frame is recorded in tests/transcripts (bad-*, fault-*).
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import pytest
from live_server import LiveServer, until_gone
from raw_client import RawClient

from udfstore._pb import udfstore_pb2 as pb
from udfstore.wire import codec, limits, varint

CONTENT = b"some content"
HELLO = pb.Response(hello=pb.Hello(protocol=1, credit=True))


def writable(connection: socket.socket) -> bool:
    """Whether the socket takes more, or does so before a server that still reads would have made room."""
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    return bool(poll.poll(500))


@pytest.fixture
def other(live: LiveServer) -> Iterator[RawClient]:
    """Somebody else, connected before and untouched by what a test does."""
    with RawClient(live.socket) as client:
        client.call(1, status=pb.Status())
        client.until("result")
        yield client
        client.call(100, status=pb.Status())
        assert client.until("result").result.call == 100


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that takes a thousand bytes of a save at a time, and small buffers."""
    limits = {"first_window_bytes": 1000, "window_bytes": 1000, "chunk_bytes": 4096, "waiting_bytes": 4096}
    with LiveServer(tmp_path_factory.mktemp("narrow"), **limits) as server:
        yield server


BROKEN = {
    "truncated": (b"\x1e\x92\x02\x1b", True, "ended inside a frame"),
    "varint too long": (b"\xff" * 5, False, "varint without an end"),
    "call too long": (varint.encode(limits.SMALL_BYTES + 1) + b"\x92\x02", False, "over its limit"),
    "chunk too long": (varint.encode(limits.CHUNK_BYTES + 65) + b"\x9a\x02", False, "over every limit"),
    "four gibibytes": (b"\xff\xff\xff\xff\x0f\x9a\x02", False, "over every limit"),
    "not protobuf": (b"\x05\x92\x02\xff\x01\x02", False, "not protobuf"),
    "empty envelope": (b"\x00", False, "empty envelope"),
    "no envelope": (b"GET / HTTP/1.1\r\n\r\n", False, "does not begin with a message"),
    "out of order": (codec.encode(pb.Response(hello=pb.Hello(protocol=1))), False, "out of order"),
    "call 0": (codec.encode(pb.Response(call=pb.Call(status=pb.Status()))), False, "call 0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_conversation_that_has_lost_its_order_ends_with_the_reason(
    name: str, live: LiveServer, other: RawClient
) -> None:
    data, ends, message = BROKEN[name]
    with RawClient(live.socket) as client:
        client.call(1, save=pb.Save())
        client.send_bytes(data)
        if ends:
            client.socket.shutdown(socket.SHUT_WR)
        (fault,) = client.rest()  # and nothing after it: the open save ends with the conversation
        assert (fault.fault.call, fault.fault.code) == (0, "usage")
        assert message in fault.fault.message
    until_gone(lambda: live.staged, "the staging file")


CALLS = {
    "more than announced": (pb.Save(size=3), CONTENT, {}, "mismatch"),
    "fewer than announced": (pb.Save(size=50), CONTENT, {}, "mismatch"),
    "not what was announced": (pb.Save(id=bytes(32)), CONTENT, {}, "mismatch"),
    "not what the commit says": (pb.Save(), CONTENT, {"id": bytes(32)}, "mismatch"),
    "another size than the commit says": (pb.Save(), CONTENT, {"size": 3}, "mismatch"),
    "a commit for a bad tag": (pb.Save(), CONTENT, {"target": pb.Target(tag="../x")}, "usage"),
    "a commit for a reserved tag": (pb.Save(), CONTENT, {"target": pb.Target(tag="snapshots/x")}, "usage"),
    "more than the disk has": (pb.Save(size=2**62), b"", {}, "no-space"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_save_that_is_wrong_fails_alone_and_leaves_nothing(name: str, live: LiveServer, other: RawClient) -> None:
    save, content, commit, code = CALLS[name]
    content = name.encode() + content if content else b""
    with RawClient(live.socket) as client:
        client.send(pb.Response(call=pb.Call(call=1, request=os.urandom(16), save=save)))
        if content:
            if save.id:
                client.until("credit")
            client.chunk(1, content)
            client.send(pb.Response(commit=pb.Commit(call=1, **{"size": len(content), **commit})))
        first = client.until("fault")
        assert (first.fault.call, first.fault.code) == (1, code), first
        until_gone(lambda: live.staged, "the staging file")
        if code == "mismatch":
            assert first.fault.expected
            assert first.fault.got
            client.call(2, missing=pb.Missing(ids=[hashlib.sha256(content).digest()]))
            assert len(client.until("result").result.missing.ids) == 1
        assert client.save(3, b"what is right").id == hashlib.sha256(b"what is right").digest()


def test_content_beyond_its_credit_is_a_fault_of_its_call(narrow: LiveServer) -> None:
    with RawClient(narrow.socket) as client:
        client.call(1, save=pb.Save())
        granted = client.welcome.save_credit
        client.chunk(1, bytes(granted))
        client.until("credit")
        client.chunk(1, bytes(granted + 1))
        client.chunk(1, b"late, and dropped")
        fault = client.until("fault").fault
        assert (fault.call, fault.code, fault.expected, fault.got) == (1, "usage", str(granted), str(granted + 1))
        client.call(2, status=pb.Status())
        assert client.next().result.call == 2
    until_gone(lambda: narrow.staged, "the staging file")


def test_a_client_that_vanishes_in_mid_save_leaves_nothing(live: LiveServer, other: RawClient) -> None:
    with RawClient(live.socket) as client:
        for number in (1, 2, 3):
            client.call(number, save=pb.Save())
            client.chunk(number, b"half of it" * 10_000)
            client.until("credit")
        assert len(live.staged) == 3
    until_gone(lambda: live.staged, "the staging files")


def test_a_save_that_is_taken_back_leaves_nothing(live: LiveServer, other: RawClient) -> None:
    with RawClient(live.socket) as client:
        client.call(1, save=pb.Save())
        client.send(pb.Response(cancel=pb.Cancel(call=1)))
        assert client.until("fault").fault.code == "cancelled"
        assert live.staged == []


def test_content_in_single_bytes_is_gathered_and_stored_right(live: LiveServer, other: RawClient) -> None:
    content = os.urandom(20_000)
    with RawClient(live.socket) as client:
        client.call(1, save=pb.Save())
        client.send_bytes(b"".join(codec.chunk_head(1, 1) + content[n : n + 1] for n in range(len(content))))
        client.send(pb.Response(commit=pb.Commit(call=1, size=len(content))))
        assert client.until("result").result.saved.id == hashlib.sha256(content).digest()


def test_a_client_that_asks_and_never_reads_is_read_no_further(narrow: LiveServer) -> None:
    with RawClient(narrow.socket) as client, RawClient(narrow.socket) as other:
        frames = (codec.encode(pb.Response(call=pb.Call(call=n, get_tag=pb.GetTag(ref="x")))) for n in range(1, 10**6))
        sent = sum(client.socket.send(frame) for frame in takewhile(lambda _: writable(client.socket), frames))
        assert sent < 1 << 20  # what both sockets hold, and the answers to it
        other.call(1, status=pb.Status())  # others are served meanwhile
        assert other.until("result").result.call == 1


def test_more_calls_than_the_welcome_allows_are_refused_one_by_one(live: LiveServer, other: RawClient) -> None:
    with RawClient(live.socket) as client:
        for number in range(1, 66):
            client.call(number, watch=pb.Watch(prefix="x"))
        fault = client.until("fault").fault
        assert (fault.call, fault.code) == (65, "busy")
        assert "64" in fault.expected


@pytest.mark.parametrize("count", [1, 16, 17, 200])
def test_descriptors_that_nobody_asked_for_are_closed_and_end_the_conversation(
    count: int, live: LiveServer, other: RawClient
) -> None:
    before = live.descriptors
    with RawClient(live.socket) as client, Path("/dev/null").open("rb") as file:
        client.send_bytes(codec.encode(pb.Response(call=pb.Call(call=1, status=pb.Status()))), [file.fileno()] * count)
        (fault,) = client.rest()
        assert fault.fault.call == 0
        assert "descriptor" in fault.fault.message
    until_gone(lambda: live.descriptors > before, "descriptors")


def test_one_user_has_no_more_calls_open_than_its_share(tmp_path: Path) -> None:
    with LiveServer(tmp_path, calls_per_user=3) as live, RawClient(live.socket) as one, RawClient(live.socket) as other:
        for number in (1, 2):
            one.call(number, watch=pb.Watch(prefix="x/"))
        one.call(9, status=pb.Status())
        assert one.until("result").result.call == 9
        other.call(1, watch=pb.Watch(prefix="x/"))
        other.call(2, status=pb.Status())
        fault = other.until("fault").fault
        assert (fault.call, fault.code, fault.expected) == (2, "busy", "at most 3")
        assert f"uid {os.getuid()} has as many calls open" in fault.message
        one.send(pb.Response(cancel=pb.Cancel(call=1)))
        assert one.until("fault").fault.call == 1
        other.call(3, status=pb.Status())
        assert other.until("result").result.call == 3


def test_one_user_has_no_more_content_on_its_way_than_its_share(tmp_path: Path) -> None:
    with LiveServer(tmp_path, user_buffer_bytes=5 << 20) as live:
        one, other = RawClient(live.socket), RawClient(live.socket, descriptors=True)
        with one, other, Path("/dev/null").open("rb") as file:
            one.call(1, save=pb.Save())
            one.call(2, status=pb.Status())
            assert one.until("result").result.call == 2
            before = live.descriptors
            other.call(1, save=pb.Save(size=2 << 20))
            other.hand_over(2, file.fileno(), 2 << 20)
            for number in (1, 2):
                fault = other.until("fault").fault
                assert (fault.call, fault.code) == (number, "busy")
                assert "as much content on its way" in fault.message
            until_gone(lambda: live.descriptors > before, "descriptors")
            other.call(3, save=pb.Save(size=5))
            other.chunk(3, b"small")
            other.send(pb.Response(commit=pb.Commit(call=3, size=5)))
            assert other.until("result").result.call == 3
            one.send(pb.Response(cancel=pb.Cancel(call=1)))
            assert one.until("fault").fault.call == 1
            assert other.save(4, b"of a size that was not told").size == 27


def test_ten_thousand_hellos_are_bounded_and_the_rest_hear_why(tmp_path: Path) -> None:
    limit, many, at_once = 20, 10_000, 200
    with LiveServer(tmp_path, connections=limit, connections_per_user=limit - 5) as live:
        clients = [RawClient(live.socket) for _ in range(limit - 5)]
        held = live.descriptors
        for _ in range(many // at_once):
            refused = [RawClient(live.socket, greet=False) for _ in range(at_once)]
            for client in refused:
                with suppress(BrokenPipeError):  # hung up on before it said anything
                    client.send(HELLO)
            for client in refused:
                with client:
                    (fault,) = client.rest()
                    assert (fault.fault.call, fault.fault.code) == (0, "busy")
                    assert "uid" in fault.fault.message
        until_gone(lambda: live.descriptors > held, "descriptors")
        for client in clients:  # those who are in are served, and their places are free again afterwards
            with client:
                client.call(1, status=pb.Status())
                assert client.until("result").result.health.connections == limit - 5
                break
        until_gone(lambda: live.descriptors >= held, "the place of the one that left")
        with RawClient(live.socket) as late:
            late.call(1, status=pb.Status())
            assert late.until("result").result.call == 1
        for client in clients:
            client.socket.close()


def test_a_client_that_stops_reading_in_mid_load_holds_up_nobody(live: LiveServer, other: RawClient) -> None:
    content = os.urandom(16 << 20)
    name = hashlib.sha256(content)
    with RawClient(live.socket, credit=False) as saver:
        saver.call(1, save=pb.Save())
        for start in range(0, len(content), 1 << 20):
            saver.chunk(1, content[start : start + (1 << 20)])
        saver.send(pb.Response(commit=pb.Commit(call=1, size=len(content))))
        assert saver.until("result").result.saved.id == name.digest()
    before = live.descriptors
    with RawClient(live.socket, credit=False) as stuck:
        stuck.call(1, load=pb.Load(ref=name.hexdigest()))
        stuck.until("head")
        other.call(3, load=pb.Load(ref=name.hexdigest()))
        other.send(pb.Response(credit=pb.Credit(call=3, amount=len(content))))
        other.until("head")
        came = hashlib.sha256()
        while (message := other.next()).WhichOneof("message") == "chunk":
            came.update(message.chunk.data)
        assert came.digest() == name.digest()
    until_gone(lambda: live.descriptors > before, "the open blob")
