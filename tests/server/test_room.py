"""The server makes room by itself."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import trio
from inside import Inside, Peer
from kit import SECONDS, ServerProcess, eventually
from trio.testing import MockClock

import udfstore
from udfstore import aio
from udfstore._pb import udfstore_pb2 as pb
from udfstore.admin import Garbage
from udfstore.errors import Gone
from udfstore.server import server
from udfstore.server.limits import ServerLimits
from udfstore.server.server import COLLECT_SHARE, Server
from udfstore.service.rules import Rules
from udfstore.store import Store
from udfstore.store.keeping import IN_A_RECORD


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "root") as store:
        yield store


def save(store: Store, content: bytes) -> None:
    upload = store.upload()
    upload.write(content)
    upload.commit()


async def ended(peer: Peer) -> str:
    """The code of the fault that a call ends with, "" for a result."""
    with trio.fail_after(SECONDS):
        while (message := await peer.next()).WhichOneof("message") not in ("result", "fault"):
            pass
    return message.fault.code


def test_a_server_takes_what_nothing_keeps_with_nobody_asking(tmp_path: Path) -> None:
    with udfstore.open_store(tmp_path / "root") as store:
        loose = store.save(b"nobody names it").id
        for content in (b"one", b"two"):
            store.save(content, tag="m/x")
    with (
        ServerProcess(tmp_path / "root", tmp_path / "s", gc_grace_s=0, retention="m/* keep 1") as process,
        udfstore.connect(process.socket) as store,
    ):
        eventually(lambda: len(list(store.blobs())) == 1)
        for ref in (loose, "m/x@1"):
            with pytest.raises(Gone):
                store.load(ref)
            assert store.undelete(ref).size
        assert [store.load(ref) for ref in (loose, "m/x@1", "m/x")] == [b"nobody names it", b"one", b"two"]


async def test_the_same_names_await(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "root", tmp_path / "s") as process:
        async with aio.connect(process.socket) as store:
            loose = await store.save(b"nobody names it")
            assert [one.id async for one in store.collect(grace=0)] == [loose.id]
            assert (await store.undelete(loose.id)).id == loose.id
            assert await store.load(loose.id) == b"nobody names it"


async def test_who_collects_is_told_that_the_server_stops(store: Store) -> None:
    for n in range(3 * IN_A_RECORD):
        save(store, b"%d" % n)
    async with trio.open_nursery() as nursery:
        async with Inside(store, nursery).connected(pb.Hello(protocol=1, credit=True)) as peer:
            await peer.call(1, collect=pb.Collect(grace_s=0))
            await peer.send(pb.Response(credit=pb.Credit(call=1, amount=1)))
            await peer.until("page")
            store.stop_sweeping()
            await peer.send(pb.Response(credit=pb.Credit(call=1, amount=100)))
            assert await ended(peer) == "closing"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("dry_run", "busy"), [(False, "reads"), (True, "writes")])
async def test_a_collection_waits_for_those_who_do_as_it_does(store: Store, dry_run: bool, busy: str) -> None:
    """It writes, a dry run reads: neither has need of a thread of the others."""
    save(store, b"loose")
    async with trio.open_nursery() as nursery:
        inside = Inside(store, nursery)
        limiter: trio.CapacityLimiter = getattr(inside.rooms, busy)
        async with inside.connected(pb.Hello(protocol=1)) as peer:
            for borrower in range(int(limiter.total_tokens)):
                await limiter.acquire_on_behalf_of(borrower)
            await peer.call(1, collect=pb.Collect(grace_s=0, dry_run=dry_run))
            assert await ended(peer) == ""
        nursery.cancel_scope.cancel()


def refuse() -> Iterator[list[Garbage]]:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def rest() -> Iterator[list[Garbage]]:
    """It found nothing so far, and leaves the time to others."""
    while True:
        yield []


@pytest.mark.parametrize("collect", [refuse, rest])
async def test_a_collection_keeps_nothing_from_being_unlinked(
    store: Store, monkeypatch: pytest.MonkeyPatch, collect: Callable[[], Iterator[list[Garbage]]]
) -> None:
    swept, sweep = trio.Event(), store.sweep

    def swept_by() -> int:
        trio.from_thread.run_sync(swept.set)
        return sweep()

    monkeypatch.setattr(store, "collect", collect)
    monkeypatch.setattr(store, "sweep", swept_by)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Server(store, ServerLimits(), Rules())._sweep)
        with trio.fail_after(SECONDS):
            await swept.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("short", "seconds"), [(False, 3 * 1 / COLLECT_SHARE), (True, 0)])
async def test_a_collection_leaves_the_time_to_others_while_there_is_room(
    store: Store, monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock, short: bool, seconds: float
) -> None:
    clock = count()
    monkeypatch.setattr(store, "collect", lambda: iter([[], [], []]))
    monkeypatch.setattr(server.time, "monotonic", lambda: next(clock))  # each batch takes a second
    monkeypatch.setattr(Store, "is_short", property(lambda _: short))
    mock_clock.autojump_threshold = 0
    began = trio.current_time()
    await Server(store, ServerLimits(), Rules())._collect()
    assert trio.current_time() - began == pytest.approx(seconds)
