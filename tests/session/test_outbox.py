from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from udfstore.descriptors import sender
from udfstore.session.outbox import TAKE_BYTES, TAKE_FRAMES, Outbox


def large(text: bytes) -> bytes:
    """Content that is sent alone."""
    return text.ljust(TAKE_BYTES, b".")


def taken(outbox: Outbox) -> Iterator[bytes]:
    """What each system call would send."""
    while outbox:
        calls: list[bytes] = []

        def send(buffers: list[memoryview], token: object, calls: list[bytes] = calls) -> int:
            if calls:
                raise BlockingIOError
            calls.append(b"".join(buffers))
            return len(calls[0])

        with_more = True
        try:
            outbox.flush(send)
        except BlockingIOError:
            with_more = bool(outbox)
        yield calls[0].rstrip(b".")
        if not with_more:
            return


def test_small_frames_go_before_chunks() -> None:
    outbox = Outbox()
    outbox.put_chunk(1, b"<", large(b"content>"))
    outbox.put(b"keepalive")
    assert list(taken(outbox)) == [b"keepalive", b"<content>"]


def test_what_is_short_goes_at_once() -> None:
    outbox = Outbox()
    outbox.put_chunk(1, b"<", b"content>")
    outbox.put(b"result", 1)
    outbox.put(b"head")
    outbox.put_chunk(2, b"<", large(b"more>"))
    assert list(taken(outbox)) == [b"head<content>result", b"<more>"]


def test_chunks_of_several_calls_take_turns() -> None:
    outbox = Outbox()
    for round in range(3):
        for call in (1, 2, 3):
            outbox.put_chunk(call, b"%d" % call, large(b"%d" % round))
    outbox.put_chunk(1, b"1", large(b"last"))
    assert b" ".join(taken(outbox)) == b"10 20 30 11 21 31 12 22 32 1last"


def test_a_chunk_that_is_put_while_others_wait_goes_behind_them() -> None:
    outbox = Outbox()
    outbox.put_chunk(1, b"1", large(b"a"))
    outbox.put_chunk(2, b"2", large(b"a"))
    order = taken(outbox)
    assert next(order) == b"1a"
    outbox.put_chunk(1, b"1", large(b"b"))
    assert list(order) == [b"2a", b"1b"]


def test_the_end_of_a_call_stays_behind_its_content() -> None:
    outbox = Outbox()
    outbox.put_chunk(1, b"1", large(b"a"))
    outbox.put_chunk(1, b"1", large(b"b"))
    outbox.put(b"result of 1", 1)
    outbox.put(b"result of 2", 2)
    assert list(taken(outbox)) == [b"result of 2", b"1a", b"1" + large(b"b") + b"result of 1"]


def test_what_was_dropped_is_not_sent_and_a_frame_that_began_is_finished() -> None:
    outbox = Outbox()
    outbox.put_chunk(1, b"head", large(b"content"))
    outbox.put_chunk(1, b"never", large(b"sent"))
    with pytest.raises(BlockingIOError):
        outbox.flush(_two_bytes_then_full())
    outbox.drop(1)
    outbox.put(b"fault")
    assert b"".join(taken(outbox)) == large(b"adcontent").rstrip(b".") + b"fault"


def _two_bytes_then_full():  # type: ignore[no-untyped-def]
    sizes = iter((2,))

    def send(buffers: list[memoryview], token: object) -> int:
        for size in sizes:
            return size
        raise BlockingIOError

    return send


def test_every_cut_of_a_send_gives_the_same_bytes() -> None:
    for step in (1, 2, 3, 5, 1000):
        outbox = Outbox()
        outbox.put(b"first")
        outbox.put_chunk(1, b"head", memoryview(b"content"))
        outbox.put(b"last", 1)
        got = bytearray()

        def send(buffers: list[memoryview], token: object, got: bytearray = got, step: int = step) -> int:
            got.extend(b"".join(buffers)[:step])
            return min(step, sum(map(len, buffers)))

        assert outbox.flush(send)
        assert bytes(got) == b"firstheadcontentlast"
        assert not outbox


def test_it_tells_how_much_of_small_frames_waits() -> None:
    outbox = Outbox()
    outbox.put(b"12345")
    outbox.put_chunk(1, b"head", bytes(1000))
    assert outbox.small_bytes == 5
    assert outbox.waiting(1) == 1
    list(taken(outbox))
    assert outbox.small_bytes == outbox.waiting(1) == 0
    assert not outbox.flush(lambda buffers, token: 0)


def test_more_small_frames_than_one_system_call_takes_are_sent_in_several() -> None:
    here, there = socket.socketpair()
    with here, there:
        outbox = Outbox()
        for _ in range(5 * TAKE_FRAMES):
            outbox.put(b"x")
        outbox.flush(sender(here))
        assert len(there.recv(1 << 20)) == 5 * TAKE_FRAMES
