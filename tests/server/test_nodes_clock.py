"""Nodes that are slow, silent or dead, by a clock that stands still until it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from inside import LIMITS, Inside, Peer
from trio.testing import MockClock, wait_all_tasks_blocked

from udfstore._pb import udfstore_pb2 as pb
from udfstore.store import Store
from udfstore.tasks import Task


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "root") as store:
        yield store


@asynccontextmanager
async def serving(store: Store) -> AsyncIterator[Inside]:
    async with trio.open_nursery() as nursery:
        yield Inside(store, nursery, replace(LIMITS, round_seconds=30, restore_seconds=600, node_seconds=10))


@asynccontextmanager
async def node(inside: Inside, name: str = "node", **fields: object) -> AsyncIterator[Peer]:
    """A node whose states travel in its messages; it may be silent for an hour unless told otherwise."""
    told = pb.Node(task="task", name=name, plain=True, **({"timeout_ms": 3_600_000} | fields))  # type: ignore[arg-type]
    async with inside.connected(pb.Hello(protocol=1, node=told)) as peer:
        yield peer


async def answer(peer: Peer, state: bytes) -> None:
    number = (await peer.until("snapshot")).snapshot.round
    await peer.send(pb.Response(snapshot=pb.SnapshotResponse(round=number, snapshot=state)))


async def stored(inside: Inside, peer: Peer, state: bytes) -> None:
    """Have a snapshot of the only node taken."""
    await peer.call(1, save_snapshot=pb.SaveSnapshot(task="task", reason="manual"))
    await answer(peer, state)
    assert (await peer.until("result")).result.taken.good


def task(inside: Inside) -> Task:
    (found,) = [task for batch in inside.service.tasks.list_tasks(None, None) for task in batch]  # type: ignore[arg-type]
    return found


# --- rounds --------------------------------------------------------------------------------------------------------


async def test_a_round_opens_at_the_shortest_interval(store: Store, mock_clock: MockClock) -> None:
    async with serving(store) as inside, node(inside, "a") as a, node(inside, "b", interval_ms=5000) as b:
        await a.until("joined")
        await b.until("joined")
        for number in (1, 2):
            await wait_all_tasks_blocked()
            mock_clock.jump(4.9)
            await wait_all_tasks_blocked()
            assert task(inside).automatic == number - 1
            mock_clock.jump(0.2)
            await answer(a, b"a%d" % number)
            await answer(b, b"")
            while task(inside).automatic != number:
                await trio.lowlevel.checkpoint()


async def test_a_node_that_never_answers_voids_the_round_and_not_the_next(store: Store, mock_clock: MockClock) -> None:
    async with serving(store) as inside, node(inside, "a") as a, node(inside, "b") as b:
        await a.until("joined")
        await b.until("joined")
        await a.call(1, save_snapshot=pb.SaveSnapshot(task="task", reason="manual"))
        await answer(a, b"")
        await b.until("snapshot")
        await wait_all_tasks_blocked()
        mock_clock.jump(30)
        void = (await a.until("result")).result.taken
        assert (void.good, void.HasField("snapshot"), void.why) == (False, False, "no answer in time from 'b'")
        await a.call(2, save_snapshot=pb.SaveSnapshot(task="task", reason="manual"))
        await answer(a, b"a")
        await answer(b, b"b")
        assert (await a.until("result")).result.taken.snapshot.nodes == 2


async def test_a_goodbye_waits_for_others_only_so_long(store: Store, mock_clock: MockClock) -> None:
    async with serving(store) as inside, node(inside, "a") as a, node(inside, "b") as b:
        await a.until("joined")
        await b.until("joined")
        await a.send(pb.Response(goodbye=pb.Goodbye()))
        await answer(a, b"")
        await b.until("snapshot")
        await wait_all_tasks_blocked()
        assert not a.ended.is_set()
        mock_clock.jump(30)
        await a.ended.wait()


async def test_another_dag_waits_until_the_first_has_left(store: Store, mock_clock: MockClock) -> None:
    dag = b'{"nodes": [{"name": "node", "kind": "x"}]}'
    async with serving(store) as inside, node(inside) as old:
        await old.until("joined")
        async with node(inside, dag=dag) as new:
            await inside.hosting.rooms.reading(bool)
            while not inside.hosting._changed:
                await trio.lowlevel.checkpoint()
            mock_clock.jump(30)
            assert (await new.until("fault")).fault.code == "conflict"
        async with node(inside, dag=dag) as new:
            while not inside.hosting._changed:
                await trio.lowlevel.checkpoint()
            await old.send(pb.Response(goodbye=pb.Goodbye()))
            await answer(old, b"")
            assert (await new.until("joined")).joined.owner


# --- signs of life -------------------------------------------------------------------------------------------------


async def test_a_silent_node_is_taken_for_dead(store: Store, mock_clock: MockClock) -> None:
    async with serving(store) as inside:
        async with node(inside, timeout_ms=0) as peer:
            await peer.until("joined")
            await wait_all_tasks_blocked()
            mock_clock.jump(5)
            await peer.until("keepalive")
            await wait_all_tasks_blocked()
            assert not peer.ended.is_set()
            mock_clock.jump(5)
            fault = (await peer.until("fault")).fault
            assert (fault.call, fault.code, fault.expected) == (0, "timeout", "within 10 s")
            await peer.ended.wait()
        assert task_names(inside) == []


def task_names(inside: Inside) -> list[str]:
    return list(inside.service.tasks.live())


@pytest.mark.parametrize(
    "sign",
    [
        pb.Response(keepalive=pb.KeepaliveResponse(time=1)),
        pb.Response(credit=pb.Credit(call=0, amount=1)),
        pb.Response(snapshot=pb.SnapshotResponse(round=99)),
    ],
)
async def test_any_whole_frame_is_a_sign_of_life(store: Store, mock_clock: MockClock, sign: pb.Response) -> None:
    async with serving(store) as inside, node(inside, timeout_ms=4000) as peer:
        await peer.until("joined")
        for _ in range(20):
            await peer.send(sign)
            await wait_all_tasks_blocked()
            mock_clock.jump(2)
            await wait_all_tasks_blocked()
        assert not peer.ended.is_set()


async def test_a_frame_that_never_ends_is_none(store: Store, mock_clock: MockClock) -> None:
    async with serving(store) as inside, node(inside, timeout_ms=4000) as peer:
        await peer.until("joined")
        await peer.send_bytes(b"\x64")
        for _ in range(2):
            await wait_all_tasks_blocked()
            mock_clock.jump(2)
        assert (await peer.until("fault")).fault.code == "timeout"


# --- restores ------------------------------------------------------------------------------------------------------


async def test_a_restore_that_hangs_is_set_aside_though_the_node_lives(store: Store, mock_clock: MockClock) -> None:
    async with serving(store) as inside:
        async with node(inside) as peer:
            await peer.until("joined")
            await stored(inside, peer, b"poison")
        async with node(inside) as peer:
            assert (await peer.until("restore")).restore.snapshot == b"poison"
            await wait_all_tasks_blocked()
            mock_clock.jump(599)
            await wait_all_tasks_blocked()
            assert not peer.ended.is_set()
            mock_clock.jump(1)
            fault = (await peer.until("fault")).fault
            assert (fault.call, fault.code, "no answer within 600 s" in fault.message) == (0, "conflict", True)
            await peer.ended.wait()
        async with node(inside) as peer:
            joined = (await peer.until("joined")).joined
            assert (joined.owner, joined.number) == (True, 0)
            assert "failed before" in joined.why


async def test_a_restore_that_stops_every_thread_is_set_aside(store: Store, mock_clock: MockClock) -> None:
    async with serving(store) as inside:
        async with node(inside) as peer:
            await peer.until("joined")
            await stored(inside, peer, b"poison")
        async with node(inside, timeout_ms=10_000) as peer:
            await peer.until("restore")
            for _ in range(2):
                await wait_all_tasks_blocked()
                mock_clock.jump(5)
            assert (await peer.until("fault")).fault.code == "timeout"
            await peer.ended.wait()
        async with node(inside) as peer:
            assert (await peer.until("joined")).joined.number == 0


async def test_a_restore_cut_off_by_the_end_of_the_server_is_not_set_aside(store: Store) -> None:
    async with serving(store) as inside:
        async with node(inside) as peer:
            await peer.until("joined")
            await stored(inside, peer, b"state")
        async with node(inside) as peer:
            await peer.until("restore")
            inside.hosting.stopping = True
            peer.socket.close()
            await peer.ended.wait()
            inside.hosting.stopping = False
        async with node(inside) as peer:
            assert (await peer.until("restore")).restore.snapshot == b"state"
