"""Memory for long frames, used again."""

from __future__ import annotations

from udfstore.server.incoming import KEPT, Incoming, Pool

CHUNK = 100_000


def test_memory_is_used_again_once_its_content_is_written() -> None:
    pool = Pool(CHUNK)
    incoming = Incoming(pool)
    frame = pool.take(CHUNK)
    incoming.put(frame[10:])
    pieces = incoming.take()
    other = pool.take(CHUNK)
    assert other.obj is not frame.obj, "while it waits to be written it is not"
    incoming.written(pieces)
    assert pool.take(CHUNK).obj is frame.obj


def test_what_is_kept_is_bounded() -> None:
    pool = Pool(CHUNK)
    frames = [pool.take(CHUNK) for _ in range(KEPT + 3)]
    for frame in frames:
        pool.give(frame)
    known = {id(frame.obj) for frame in frames}
    assert sum(id(pool.take(CHUNK).obj) in known for _ in range(KEPT)) == KEPT
    assert id(pool.take(CHUNK).obj) not in known, "the others were let go"


def test_a_shorter_frame_holds_no_more_than_it_needs() -> None:
    pool = Pool(CHUNK)
    memory = pool.take(CHUNK // 3).obj
    assert len(memory) == CHUNK // 3
    pool.give(memoryview(memory))
    assert pool.take(CHUNK // 3).obj is not memory


def test_gathered_content_is_not_mistaken_for_a_frame() -> None:
    pool = Pool(CHUNK)
    incoming = Incoming(pool)
    for _ in range(3):
        incoming.put(memoryview(b"123"))
    pieces = incoming.take()
    assert [bytes(piece) for piece in pieces] == [b"123123123"]
    incoming.written(pieces)
    assert incoming.size == 0
