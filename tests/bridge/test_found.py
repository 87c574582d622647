"""What Kapacitor's own agent and examples showed behind a host."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from host_kit import MOVING_AVERAGE, NODE, UDFS, hosted, init, means, points, succeeded
from kit import ServerProcess

import udfstore.aio
from udfstore.bridge.host import HostSettings
from udfstore.errors import UdfstoreError
from udfstore.tasks import Node


def program(code: str, *arguments: object) -> HostSettings:
    """A UDF of a few lines; `Udf` is the old UDFs' helper."""
    head = f"import os, sys; sys.path.insert(0, {str(UDFS)!r}); from by_hand import *\n"
    return HostSettings((sys.executable, "-c", head + code, *map(str, arguments)))


async def test_a_udf_that_dies_over_snapshots_is_not_asked_with_each_point(tmp_path: Path) -> None:
    """It would be ended at each point once the data kept for a crash is half of what may be kept."""
    starts = tmp_path / "starts"
    mirror = program(
        """
open(sys.argv[1], "a").write(".")
class Mirror(Udf):
    def snapshot(self): self.say(ERROR, {1: [b"text where bytes belong"]}); os._exit(0)
    def point(self, point): self.say(POINT, point)
Mirror().serve()
""",
        starts,
    )
    async with hosted(replace(mirror, replay_bytes=20_000)) as (host, front):
        await host.init(init(), NODE)
        for number in range(0, 200, 10):
            await host.data(points(number, number + 10))
            await front.until(lambda seen=number + 10: len(front.frames) >= seen)
        with pytest.raises(UdfstoreError, match=r"not asked for its state: .*text where bytes belong"):
            await host.snapshot()
        await host.stop()
    assert front.values == [*range(200)]
    assert not front.failure
    assert len(starts.read_text()) == 3  # it was asked, and once more


async def test_a_stop_while_the_server_restarts_still_takes_a_last_snapshot(
    own_server: ServerProcess, unique: str
) -> None:
    place = Node(unique[-100:], "moving_avg2")
    async with hosted(MOVING_AVERAGE, own_server.socket) as (host, front):
        assert succeeded(await host.init(init(), place))
        own_server.restart()
        await host.data(points(0, 10))
        await front.until(lambda: len(front.values) == 10)
        await host.stop()
    async with udfstore.aio.connect(own_server.socket) as store:
        assert [snapshot.number async for snapshot in store.snapshots(place.task)] == [1]
    async with hosted(MOVING_AVERAGE, own_server.socket) as (host, front):
        assert succeeded(await host.init(init(), place))
        await host.data(points(10, 20))
        await host.stop()
    assert front.values == means(20, start=10)


async def test_a_udf_that_prints_is_told_what_it_did() -> None:
    async with hosted(HostSettings((sys.executable, "-c", "print('hello, I am a UDF', flush=True); input()"))) as (
        host,
        _,
    ):
        with pytest.raises(UdfstoreError, match="print"):
            await host.info()
