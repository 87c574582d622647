"""UDFs under care, with a real server: joined, restored, asked, killed, and the server away."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from host_kit import (
    MOVING_AVERAGE,
    UDFS,
    hosted,
    init,
    kill,
    means,
    node,
    old_udf,
    pid_of,
    point,
    points,
    restore,
    succeeded,
    until,
)
from kit import ServerProcess

import udfstore.aio
from udfstore.bridge.host import HostSettings
from udfstore.bridge.settings import WithoutStore
from udfstore.errors import NoServer
from udfstore.tasks import Node

QUICK = replace(MOVING_AVERAGE, without_store=WithoutStore("wait", 0.2))


@pytest.fixture
def place(unique: str) -> Node:
    """A node of a task that no other test uses."""
    return Node(unique[-100:], "moving_avg2")


async def run(server: ServerProcess, place: Node, start: int, stop: int) -> list[float]:
    """One life of a host, from init to a clean stop; what came out."""
    async with hosted(socket=server.socket) as (host, front):
        assert succeeded(await host.init(init(), place))
        await host.data(points(start, stop))
        await host.stop()
    return front.values


async def snapshots(server: ServerProcess, place: Node) -> list[int]:
    async with udfstore.aio.connect(server.socket) as store:
        return [snapshot.number async for snapshot in store.snapshots(place.task)]


async def test_a_clean_stop_is_where_the_next_start_goes_on(server: ServerProcess, place: Node) -> None:
    assert await run(server, place, 0, 10) + await run(server, place, 10, 20) == means(20)


async def test_kapacitors_question_is_answered_with_where_it_lies(server: ServerProcess, place: Node) -> None:
    async with hosted(socket=server.socket) as (host, _):
        await host.init(init(), place)
        assert host.joined is not None
        assert host.joined.owner
        await host.data(points(0, 5))
        snapped = await host.snapshot()
        assert (snapped.task, snapped.node, snapped.store_id) == (place.task, place.name, host.store_id)
        async with udfstore.aio.connect(server.socket) as store:
            (state,) = [state async for state in store.states(place.task)]
            assert await store.load(state.blob) == b'{"g": [2.0, 3.0, 4.0]}'
            assert [snapshot.id async for snapshot in store.snapshots(place.task)] == [snapped.manifest]


async def test_a_bridge_that_is_killed_loses_nothing_since_its_last_round(server: ServerProcess, place: Node) -> None:
    async with hosted(socket=server.socket) as (host, _):
        await host.init(init(), place)
        await host.data(points(0, 5))
        await host.snapshot()
    assert await run(server, place, 5, 9) == means(9, 5)


async def test_kill_9_of_the_child_between_rounds(server: ServerProcess, place: Node) -> None:
    async with hosted(socket=server.socket) as (host, front):
        await host.init(init(), place)
        for start in range(0, 50, 5):
            await host.data(points(start, start + 5))
            if start % 10:
                await host.snapshot()
            else:
                kill(host)
        await host.stop()
    assert front.values == means(50)


async def test_the_answer_whole_hands_kapacitor_its_states_back(server: ServerProcess, place: Node) -> None:
    async with hosted(socket=server.socket) as (host, _):
        await host.init(init(), place)
        await host.data(points(0, 5))
        assert (await host.snapshot(whole=True)).whole == b'{"g": [2.0, 3.0, 4.0]}'


async def test_no_state_is_stored_for_a_udf_that_has_none(server: ServerProcess, place: Node, tmp_path: Path) -> None:
    (tmp_path / "factor").write_text("2")
    udf = HostSettings(old_udf("factor_of_file", str(tmp_path / "factor")))
    for _ in range(2):
        async with hosted(udf, server.socket) as (host, front):
            await host.init(init(), place)
            await host.data(points(1, 3))
            await host.snapshot()
            await host.stop()
        assert front.values == [2, 4]


async def test_foreign_bytes_are_stored_by_the_next_round(server: ServerProcess, place: Node) -> None:
    async with hosted(socket=server.socket) as (host, _):
        await host.init(init(), place)
        assert succeeded(await host.restore(restore(b'{"g": [0.0, 1.0]}')))
        await host.stop()
    assert await run(server, place, 2, 4) == means(4, 2)


# --- restores that fail --------------------------------------------------------------------------------------------

_PICKY = f"""
import sys; sys.path.insert(0, {str(UDFS)!r})
from by_hand import *
from pathlib import Path
class Picky(Udf):
    kept = b"fresh"
    def init(self, request): return True, ""
    def snapshot(self): return self.kept
    def restore(self, state):
        if state == b"bad":
            HOW
        self.kept = state
        return True, ""
    def point(self, point): self.kept = b"bad" if entries(point[8])["value"] == 2.0 else b"good"
    def end(self, end): pass
Picky().serve()
"""
_HOW = {
    "says no": 'return False, "cannot"',
    "crashes": "os._exit(9)",
    "raises": 'raise ValueError("what is this")',
    "hangs": "time.sleep(60)",
}


@pytest.mark.parametrize("how", list(_HOW.values()), ids=list(_HOW))
async def test_a_state_that_cannot_be_restored_is_set_aside(server: ServerProcess, place: Node, how: str) -> None:
    code = "import os, time\n" + _PICKY.replace("HOW", how)
    picky = HostSettings((sys.executable, "-c", code), load_seconds=1.0)
    async with hosted(picky, server.socket) as (host, _):
        await host.init(init(), place)
        for value in (1.0, 2.0):
            await host.data([point(value)])
            async with udfstore.aio.connect(server.socket) as store:
                await store.save_snapshot(place.task)
    async with hosted(picky, server.socket) as (host, _):
        assert succeeded(await host.init(init(), place))
        assert host.joined is not None
        assert host.joined.number == 1
        assert (await host.snapshot(whole=True)).whole == b"good"


# --- another choice ------------------------------------------------------------------------------------------------


async def test_use_now_puts_another_child_on_the_chosen_state(server: ServerProcess, place: Node) -> None:
    async with hosted(socket=server.socket) as (host, front), udfstore.aio.connect(server.socket) as store:
        await host.init(init(), place)
        await host.data(points(0, 5))
        await host.snapshot()
        await host.data(points(5, 8))
        await front.until(lambda: len(front.frames) == 8)
        before = pid_of(host)
        await store.use_snapshot(place.task, "1", now=True)
        await until(lambda: host._care._ready and pid_of(host) != before)
        await host.data(points(5, 8))
        await host.stop()
    assert front.values == means(8) + means(8, 5)


async def test_a_second_one_runs_beside_it_and_stores_nothing(server: ServerProcess, place: Node) -> None:
    async with hosted(socket=server.socket) as (host, _):
        await host.init(init(), place)
        await host.data(points(0, 5))
        await host.snapshot()
        async with hosted(socket=server.socket) as (second, front):
            await second.init(init(), place)
            assert second.joined is not None
            assert not second.joined.owner
            await second.data(points(5, 9))
            await second.stop()
        assert front.values == means(9, 5)
    assert await run(server, place, 5, 9) == means(9, 5)


async def test_a_second_one_stays_a_copy_when_the_server_comes_back(own_server: ServerProcess, place: Node) -> None:
    async with hosted(socket=own_server.socket) as (second, _):
        async with hosted(socket=own_server.socket) as (host, _):
            await host.init(init(), place)
            await host.data(points(0, 5))
            await host.snapshot()
            await second.init(init(), place)
            await second.data(points(100, 200))
            own_server.kill()
        own_server.start()
        await until(lambda: second._standing.here)
        assert second.joined is not None
        assert not second.joined.owner, "what it replayed must not take the place of the task's own state"
        await second.stop()
    assert await run(own_server, place, 5, 9) == means(9, 5)


# --- the server away -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("go", [ServerProcess.kill, ServerProcess.stop], ids=["killed", "upgraded"])
async def test_the_server_goes_and_comes_and_no_point_is_lost(
    own_server: ServerProcess, place: Node, go: Callable[[ServerProcess], int]
) -> None:
    async with hosted(socket=own_server.socket) as (host, front):
        await host.init(init(), place)
        await host.data(points(0, 5))
        await trio.to_thread.run_sync(go, own_server)
        await host.data(points(5, 10))
        assert (await host.snapshot()).whole == b'{"g": [7.0, 8.0, 9.0]}'
        own_server.start()
        await until(lambda: host._standing.here)
        await host.data(points(10, 15))
        assert (await host.snapshot()).manifest is not None
        await host.stop()
    assert front.values == means(15)
    assert await run(own_server, place, 15, 20) == means(20, 15)


async def test_a_start_without_a_server_begins_fresh_and_joins_later(own_server: ServerProcess, place: Node) -> None:
    own_server.stop()
    async with hosted(socket=own_server.socket) as (host, front):
        assert succeeded(await host.init(init(), place))
        await host.data(points(0, 5))
        own_server.start()
        await until(lambda: host._standing.here)
        await host.data(points(5, 10))
        await host.stop()
    assert front.values == means(10)
    assert await run(own_server, place, 10, 12) == means(12, 10)


async def test_a_start_that_needs_its_state_waits_for_the_server(own_server: ServerProcess, place: Node) -> None:
    notes = own_server.root.parent / "notes"
    async with hosted(QUICK, own_server.socket, notes) as (host, _):
        await host.init(init(), place)
        await host.data(points(0, 5))
        await host.stop()
    own_server.stop()
    async with hosted(QUICK, own_server.socket, notes) as (host, _):
        with pytest.raises(NoServer):
            await host.init(init(), place)
    fresh = replace(QUICK, without_store=WithoutStore("fresh"))
    async with hosted(fresh, own_server.socket, notes) as (host, _):
        assert succeeded(await host.init(init(), place))
    patient = replace(QUICK, without_store=WithoutStore("wait", 20))
    async with hosted(patient, own_server.socket, notes) as (host, front), trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, own_server.start)
        await host.init(init(), place)
        await host.data(points(5, 9))
        await host.stop()
    assert front.values == means(9, 5)


async def test_a_reference_of_kapacitors_asks_for_the_state(own_server: ServerProcess, place: Node) -> None:
    await run(own_server, place, 0, 5)
    own_server.stop()
    async with hosted(QUICK, own_server.socket) as (host, front):
        await host.init(init(), place)
        with pytest.raises(NoServer):
            await host.recall()
    async with hosted(socket=own_server.socket) as (host, front), trio.open_nursery() as nursery:
        await host.init(init(), place)
        nursery.start_soon(trio.to_thread.run_sync, own_server.start)
        await host.recall()
        await host.data(points(5, 9))
        await host.stop()
    assert front.values == means(9, 5)


async def test_a_server_that_hangs_stands_in_nobodys_way(own_server: ServerProcess, place: Node) -> None:
    async with hosted(replace(MOVING_AVERAGE, stop_seconds=0.2), own_server.socket) as (host, front):
        await host.init(init(), node(place.name, task=place.task))
        own_server.pause()
        await host.data(points(0, 100))
        await host.stop()
    own_server.go_on()
    assert front.values == means(100)


async def test_what_kapacitor_gave_back_is_newer_than_what_a_server_has_that_was_away(
    own_server: ServerProcess, place: Node
) -> None:
    await run(own_server, place, 0, 5)
    own_server.stop()
    async with hosted(socket=own_server.socket) as (host, front):
        await host.init(init(), place)
        assert succeeded(await host.restore(restore(b'{"g": [100.0]}')))
        own_server.start()
        await until(lambda: host._standing.here)
        assert (await host.snapshot()).manifest is not None
        await host.data([point(200.0)])
        await host.stop()
    assert front.values == [150.0]
