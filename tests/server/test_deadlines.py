"""Peers that are slow, silent or gone, by a clock that stands still until it is told."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from inside import LIMITS, Inside, Peer
from trio.testing import MockClock, wait_all_tasks_blocked

from udfstore._pb import udfstore_pb2 as pb
from udfstore.digest import BlobId
from udfstore.server.limits import ServerLimits
from udfstore.store import Store, Upload
from udfstore.wire import codec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "root") as store:
        yield store


@asynccontextmanager
async def connected(
    store: Store, *, credit: bool = True, greet: bool = True, limits: ServerLimits = LIMITS
) -> AsyncIterator[Peer]:
    """A connection served as the server serves it."""
    async with trio.open_nursery() as nursery:
        hello = pb.Hello(protocol=1, credit=credit) if greet else None
        async with Inside(store, nursery, limits).connected(hello) as peer:
            yield peer


def saved(store: Store, content: bytes) -> BlobId:
    upload = store.upload()
    upload.write(content)
    return upload.commit()[0]


def open_files() -> list[Path]:
    return [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


async def test_a_client_that_says_no_hello_is_told_and_left(store: Store, mock_clock: MockClock) -> None:
    async with connected(store, greet=False) as peer:
        await wait_all_tasks_blocked()
        mock_clock.jump(LIMITS.hello_seconds - 1)
        await wait_all_tasks_blocked()
        assert not peer.ended.is_set()
        mock_clock.jump(1)
        fault = (await peer.next()).fault
        assert (fault.call, fault.code) == (0, "timeout")
        assert "no hello in time" in fault.message
        await peer.ended.wait()


async def test_one_byte_a_second_is_cut_off_at_the_limit(store: Store, mock_clock: MockClock) -> None:
    async with connected(store) as peer:
        frame = codec.encode(pb.Response(call=pb.Call(call=1, stat=pb.Stat(ref="x" * 100))))
        for second in range(int(LIMITS.progress_seconds)):
            assert not peer.ended.is_set(), second
            await peer.send_bytes(frame[second : second + 1])
            await wait_all_tasks_blocked()
            mock_clock.jump(1)
        fault = (await peer.next()).fault
        assert (fault.call, fault.code, fault.expected) == (0, "timeout", "within 60 s")
        await peer.ended.wait()


async def test_a_slow_client_that_finishes_its_frames_is_served(store: Store, mock_clock: MockClock) -> None:
    async with connected(store) as peer:
        for number in range(1, 5):
            frame = codec.encode(pb.Response(call=pb.Call(call=number, status=pb.Status())))
            for byte in range(len(frame)):
                await peer.send_bytes(frame[byte : byte + 1])
                await wait_all_tasks_blocked()
                mock_clock.jump(5)
            assert (await peer.until("result")).result.call == number


async def test_a_client_without_open_calls_may_be_silent_for_ever(store: Store, mock_clock: MockClock) -> None:
    async with connected(store) as peer:
        await wait_all_tasks_blocked()
        mock_clock.jump(10**7)
        await wait_all_tasks_blocked()
        await peer.call(1, status=pb.Status())
        assert (await peer.until("result")).result.call == 1


async def test_a_watch_may_be_silent_for_ever_and_slow_to_grant(store: Store, mock_clock: MockClock) -> None:
    saved(store, b"x")
    async with connected(store) as peer:
        await peer.call(1, watch=pb.Watch())
        await wait_all_tasks_blocked()
        mock_clock.jump(10**6)
        await wait_all_tasks_blocked()
        await peer.send(pb.Response(credit=pb.Credit(call=1, amount=1)))
        assert (await peer.until("page")).page.events[0].present


async def test_a_list_waits_for_its_reader_as_long_as_it_takes(store: Store, mock_clock: MockClock) -> None:
    saved(store, b"content")
    async with connected(store) as peer:
        await peer.call(1, list_blobs=pb.ListBlobs())
        await wait_all_tasks_blocked()
        mock_clock.jump(10**6)
        await wait_all_tasks_blocked()
        await peer.send(pb.Response(credit=pb.Credit(call=1, amount=1)))
        assert len((await peer.until("page")).page.blobs) == 1
        assert (await peer.until("result")).result.HasField("ok")


async def test_versions_that_never_were_are_not_said_to_be_in_use(store: Store) -> None:
    async with connected(store) as peer:
        used = pb.Used(tag="models/x", version=7, id=bytes(32), error="x" * 4000)
        for number in range(1, 100):
            await peer.call(number, request=number.to_bytes(16), used=used)
            assert (await peer.until("fault")).fault.code == "not-found"
        await peer.call(100, sessions=pb.Sessions())
        await peer.send(pb.Response(credit=pb.Credit(call=100, amount=1)))
        assert not (await peer.until("page")).page.sessions[0].following


async def test_a_save_whose_content_does_not_come_fails_alone(store: Store, mock_clock: MockClock) -> None:
    async with connected(store) as peer:
        await peer.call(1, save=pb.Save())
        await wait_all_tasks_blocked()
        mock_clock.jump(LIMITS.progress_seconds)
        fault = (await peer.until("fault")).fault
        assert (fault.call, fault.code) == (1, "timeout")
        await peer.call(2, status=pb.Status())
        assert (await peer.until("result")).result.call == 2
    assert list((store.root / "staging").iterdir()) == []


async def test_a_slow_disk_is_not_blamed_on_the_client(
    store: Store, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, write = threading.Event(), Upload.write

    def slow_write(upload: Upload, data: bytes) -> None:
        disk.wait()
        write(upload, data)

    monkeypatch.setattr(Upload, "write", slow_write)
    content = os.urandom(65536)
    frame = codec.chunk_head(1, len(content)) + content
    async with connected(store, credit=False) as peer:
        await peer.call(1, save=pb.Save())
        await peer.send_bytes(4 * frame + frame[:10])  # more than is taken in before some of it was written
        await wait_all_tasks_blocked()
        mock_clock.jump(2 * LIMITS.progress_seconds)
        await wait_all_tasks_blocked()
        disk.set()
        await peer.send_bytes(frame[10:])
        await peer.send(pb.Response(commit=pb.Commit(call=1, size=5 * len(content))))
        assert (await peer.until("result")).result.saved.id == BlobId.of(5 * content).raw


async def test_a_load_that_is_granted_nothing_fails_alone(store: Store, mock_clock: MockClock) -> None:
    id = saved(store, b"content")
    async with connected(store) as peer:
        await peer.call(1, load=pb.Load(ref=str(id)))
        await peer.until("head")
        await wait_all_tasks_blocked()
        mock_clock.jump(LIMITS.progress_seconds)
        fault = (await peer.until("fault")).fault
        assert (fault.call, fault.code) == (1, "timeout")
        assert "credit" in fault.message
        await peer.call(2, status=pb.Status())
        assert (await peer.until("result")).result.call == 2


@pytest.mark.parametrize("content", [b"", b"small"])
async def test_a_client_that_asks_on_and_reads_nothing_is_held_back(
    store: Store, mock_clock: MockClock, content: bytes
) -> None:
    id, most, asked = saved(store, content), 10_000, 0
    async with connected(store, limits=replace(LIMITS, waiting_bytes=1 << 16)) as peer, trio.open_nursery() as nursery:

        async def ask() -> None:
            nonlocal asked
            while asked < most:
                asked += 1
                await peer.call(asked, load=pb.Load(ref=str(id)), credit=5)

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert asked < most
        nursery.cancel_scope.cancel()


async def test_a_client_that_stops_reading_in_mid_load_is_let_go(store: Store, mock_clock: MockClock) -> None:
    id = saved(store, os.urandom(4 << 20))
    async with connected(store, credit=False) as peer:
        await peer.call(1, load=pb.Load(ref=str(id)))
        await peer.until("head")
        while not peer.ended.is_set():
            await wait_all_tasks_blocked()
            mock_clock.jump(LIMITS.progress_seconds / 2)
    assert not [path for path in open_files() if id.hex in path.name]


async def test_calls_that_are_open_at_the_end_of_the_stream_are_taken_back(store: Store) -> None:
    async with connected(store) as peer:
        await peer.call(1, watch=pb.Watch())
        await peer.call(2, save=pb.Save())
        peer.socket.shutdown(socket.SHUT_WR)
        ends = [(await peer.until("fault")).fault for _ in range(2)]
        assert sorted((fault.call, fault.code) for fault in ends) == [(1, "cancelled"), (2, "cancelled")]
        await peer.ended.wait()
    assert list((store.root / "staging").iterdir()) == []


async def test_a_goodbye_ends_watches_and_lets_saves_finish(store: Store) -> None:
    async with connected(store) as peer:
        await peer.call(1, watch=pb.Watch())
        await peer.call(2, save=pb.Save())
        await peer.send(pb.Response(goodbye=pb.Goodbye()))
        assert (await peer.until("fault")).fault.call == 1
        await peer.send(pb.Response(chunk=pb.Chunk(call=2, data=b"x")), pb.Response(commit=pb.Commit(call=2, size=1)))
        assert (await peer.until("result")).result.saved.id == BlobId.of(b"x").raw
        await peer.ended.wait()
