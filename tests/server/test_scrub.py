"""The scrub finds what the disk has spoiled by itself, gently; a check over a connection goes as fast as it is read."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from inside import LIMITS, Inside, Peer
from kit import eventually
from live_server import LiveServer
from structlog.testing import capture_logs
from trio.testing import MockClock

import udfstore
from udfstore._pb import udfstore_pb2 as pb
from udfstore.calls import Move, Step
from udfstore.digest import BlobId
from udfstore.errors import Corrupt
from udfstore.model import Author
from udfstore.pace import Pace
from udfstore.refs import Ref, Tag
from udfstore.server.limits import ServerLimits
from udfstore.server.rooms import Rooms
from udfstore.server.scrub import look, scrub
from udfstore.service import Register, Service
from udfstore.store import Store, StoreLimits

DAY_NS = 86400 * 10**9


class Clock:
    """The store's clock, which stands still."""

    ns = time.time_ns()

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    limits = StoreLimits(floor_bytes=0, reserve_bytes=4096)
    with Store(tmp_path / "root", limits=limits, clock=clock) as store:
        yield store


def save(store: Store, content: bytes, tag: str) -> BlobId:
    upload = store.upload()
    upload.write(content)
    id, _ = upload.commit()
    step = Step(Tag.parse(tag), Ref.of(id), None, None, ())
    store.submit(Move((step,), "", os.urandom(16)), Author("socket")).result()
    return id


def spoil(root: Path, id: BlobId) -> None:
    path = root / "blobs" / id.hex[:2] / id.hex
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def rooms(store: Store, limits: ServerLimits) -> Rooms:
    limiters = trio.CapacityLimiter(2), trio.CapacityLimiter(2)
    return Rooms(Service(store, Register()), limits, *limiters, trio.lowlevel.ParkingLot(), memoryview(bytearray(1)))


async def looked(store: Store, limits: ServerLimits, clock: MockClock) -> list[dict[str, Any]]:
    """What one look logs. The clock moves whenever the look waits."""
    clock.autojump_threshold = 0
    with capture_logs() as logged:
        await look(store, rooms(store, limits))
    return list(logged)


async def test_what_was_not_verified_for_long_is_and_damage_is_told(
    store: Store, clock: Clock, mock_clock: MockClock
) -> None:
    good, bad = save(store, b"good", "models/good"), save(store, b"bad", "models/bad")
    spoil(store.root, bad)
    assert await looked(store, ServerLimits(), mock_clock) == []
    clock.ns += 31 * DAY_NS
    found, summary = await looked(store, ServerLimits(), mock_clock)
    assert (found["log_level"], found["kind"], found["id"]) == ("error", "damaged", str(bad))
    assert found["refs"] == ["models/bad@1"]
    assert (summary["event"], summary["blobs"], summary["findings"]) == ("content was verified", 2, 1)
    assert store.info(Ref.of(good)).verified_ns == clock.ns
    assert [path.name[:64] for path in (store.root / "quarantine").iterdir()] == [bad.hex]
    figures = store.meters.read()
    assert (figures.verified, figures.damaged) == (1, 1)
    (again,) = await looked(store, ServerLimits(), mock_clock)
    assert (again["kind"], again["refs"]) == ("missing", ["models/bad@1"])


async def test_a_scrub_keeps_its_pace(store: Store, clock: Clock, mock_clock: MockClock) -> None:
    save(store, bytes(20 << 20), "large")
    clock.ns += 31 * DAY_NS
    began = trio.current_time()
    (summary,) = await looked(store, ServerLimits(scrub_bytes=1 << 20), mock_clock)
    assert summary["bytes"] == 20 << 20
    assert trio.current_time() - began == pytest.approx(20 + 1 / 64)


async def test_small_blobs_count_for_the_pace_of_a_scrub(store: Store, clock: Clock, mock_clock: MockClock) -> None:
    for number in range(512):
        save(store, b"%d" % number, f"small/{number}")
    clock.ns += 31 * DAY_NS
    began = trio.current_time()
    (summary,) = await looked(store, ServerLimits(scrub_bytes=1 << 20), mock_clock)
    assert summary["blobs"] == 512
    assert trio.current_time() - began == pytest.approx(512 / 64, rel=0.01)


def test_a_server_finds_it_by_itself(tmp_path: Path) -> None:
    with LiveServer(tmp_path) as server:
        with udfstore.connect(server.socket) as store:
            id = store.save(b"bad", tag="models/bad").id
        assert server.stop() == 0
    spoil(tmp_path / "root", id)
    with LiveServer(tmp_path, scrub_days=1e-9) as server:
        kept = eventually(lambda: list((tmp_path / "root" / "quarantine").iterdir()))
        assert [path.name[:64] for path in kept] == [id.hex]
        with udfstore.connect(server.socket) as store, pytest.raises(Corrupt):
            store.load("models/bad")
        assert server.stop() == 0
    assert any("found in the store" in line and "models/bad@1" in line for line in server.said)


async def test_no_scrub_where_it_is_switched_off_or_nothing_can_be_noted(store: Store, clock: Clock) -> None:
    id = save(store, b"x", "x")
    clock.ns += 31 * DAY_NS
    await scrub(store, rooms(store, ServerLimits(scrub_days=0)))
    store._parts.committer.fail("the disk failed")
    await scrub(store, rooms(store, ServerLimits()))
    assert store.info(Ref.of(id)).verified_ns == clock.ns - 31 * DAY_NS


def test_a_pace_is_a_rate_from_now_on() -> None:
    pace = Pace(10)
    assert [pace.delay(5, 100.0), pace.delay(5, 100.5), pace.delay(20, 101.0)] == [0.5, 0.5, 2.0]
    assert pace.delay(1, 200.0) == pytest.approx(0.1)
    assert pace.delay(0, 300.0) == 0


async def test_a_check_goes_on_as_far_as_pages_are_granted(store: Store) -> None:
    save(store, bytes(40 << 20), "large")
    async with trio.open_nursery() as nursery:
        async with Inside(store, nursery, LIMITS).connected(pb.Hello(protocol=1, credit=True)) as peer:
            await peer.call(1, check=pb.Check())
            await peer.send(pb.Response(credit=pb.Credit(call=1, amount=4)))
            pages = [(await peer.until("page")).page for _ in range(4)]
            assert pages[-1].checked[0].bytes == 8 << 20
            assert store._parts.meters.read().verified == 0
            await peer.send(pb.Response(cancel=pb.Cancel(call=1)))
            assert await ended(peer) == "cancelled"
            await peer.call(2, check=pb.Check(since_ns=0, repair=True))
            await peer.send(pb.Response(credit=pb.Credit(call=2, amount=100)))
            assert await ended(peer) == ""
        nursery.cancel_scope.cancel()


async def ended(peer: Peer) -> str:
    while (message := await peer.next()).WhichOneof("message") not in ("result", "fault"):
        pass
    return message.fault.code


def test_a_check_that_is_left_in_the_middle_keeps_no_server_from_stopping(tmp_path: Path) -> None:
    with LiveServer(tmp_path) as server, udfstore.connect(server.socket) as store:
        store.save(bytes(40 << 20))
        items = store.check()
        next(items)
        assert server.stop() == 0
