"""The parts of a client by themselves: when it tries again, what a watch tells, what a follower outlives."""

from __future__ import annotations

import logging
import os
import resource
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from kit import SECONDS, ServerProcess, in_thread

import udfstore
from udfstore import NoServer, aio
from udfstore.calls import Watch
from udfstore.client.follow import Follower
from udfstore.client.following import AsyncFollower
from udfstore.client.retry import FIRST_SECONDS, MOST_SECONDS, PATIENCE_SECONDS, Retry
from udfstore.client.watching import Watching
from udfstore.digest import BlobId
from udfstore.model import Author, Entry, Event
from udfstore.refs import Prefix, Tag

AWAY = NoServer("away")


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def lose(retry: Retry, clock: Clock, *, lived: float) -> float:
    """A connection that is made and lost; the wait that follows."""
    retry.linked()
    clock.now += lived
    delay = retry.delay(AWAY)
    clock.now += delay
    return delay


def until_given_up(step: Callable[[], float]) -> list[float]:
    """The waits of a retry, to the end of its patience."""
    delays = []
    with suppress(NoServer):
        while True:
            delays.append(step())
    return delays


def find_nobody(retry: Retry, clock: Clock) -> float:
    """A try to connect that fails; the wait that follows."""
    delay = retry.delay(AWAY)
    clock.now += delay
    return delay


def test_a_connection_that_worked_for_a_while_is_tried_again_with_new_patience() -> None:
    clock = Clock()
    retry = Retry(clock)
    for _ in range(5):
        assert lose(retry, clock, lived=PATIENCE_SECONDS) <= FIRST_SECONDS
        assert sum(until_given_up(lambda: find_nobody(retry, clock))) > PATIENCE_SECONDS - 1


def test_a_server_that_takes_connections_and_dies_at_once_is_given_up() -> None:
    clock = Clock()
    retry = Retry(clock)
    delays = until_given_up(lambda: lose(retry, clock, lived=0.001))
    assert max(delays) > MOST_SECONDS / 2
    assert clock.now < 1000 + PATIENCE_SECONDS + 1


def entry(tag: str, version: int, revision: int) -> Entry:
    return Entry(tag, version, BlobId(bytes(32)), 0, revision, 0, Author("local", 0, (0,), 1))


def told(watching: Watching, *events: Event) -> list[tuple[int, list[str]]]:
    return [(event.revision, [entry.ref for entry in event.entries]) for event in watching.new(events)]


def test_what_was_newer_than_its_revision_when_it_was_told_as_present_does_not_come_again() -> None:
    x4, x5, x6, y1, y2 = entry("x", 4, 8), entry("x", 5, 9), entry("x", 6, 11), entry("y", 1, 9), entry("y", 2, 10)
    watching = Watching(Watch(Prefix("")))
    present = [Event(7, (x5,), present=True), Event(7, (), present=True)]
    assert told(watching, *present) == [(7, ["x@5"]), (7, [])]
    assert told(watching, Event(8, (x4,))) == []
    assert watching.call(0).since == 8
    assert told(watching, Event(9, (x5, y1)), Event(10, (y2,)), Event(11, (x6,))) == [
        (9, ["y@1"]),
        (10, ["y@2"]),
        (11, ["x@6"]),
    ]


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Allow this process so many more file descriptors."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("left", [0, 1], ids=["no socket", "no pipe"])
def test_without_file_descriptors_there_is_no_connection_and_nothing_stays_open(
    own_server: ServerProcess, left: int
) -> None:
    connect = udfstore.connect
    for _ in range(2):
        with pytest.raises(NoServer, match="too many open files"), descriptors_left(left):
            connect(own_server.socket)
    udfstore.connect(own_server.socket).close()


class Broken:
    """A store whose watches fail in a way that nobody thought of."""

    def _watch(self, call: Watch, *_: Any) -> Iterator[Event]:
        raise ZeroDivisionError("a bug")
        yield

    def _wake(self) -> None:
        pass


class AsyncBroken:
    """The same for event loops."""

    async def _watch(self, call: Watch, *_: Any) -> AsyncGenerator[Event]:
        raise ZeroDivisionError("a bug")
        yield


def follow(store: Any) -> Any:
    follower: Any = Follower(store, Tag("x"), lambda blob: "", "fallback", "beside")
    follower.close()
    return follower


def follow_asynchronously(store: Any) -> Any:
    follower: Any = AsyncFollower(store, Tag("x"), lambda blob: "", "fallback", "beside")
    anyio.run(follower.run)
    return follower


@pytest.mark.parametrize(("run", "store"), [(follow, Broken()), (follow_asynchronously, AsyncBroken())])
def test_a_follower_that_ends_says_why(run: Callable[[Any], Any], store: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "udfstore"):
        follower = run(store)
    assert isinstance(follower.error, ZeroDivisionError)
    assert follower.value == "fallback"
    assert [record.getMessage() for record in caplog.records] == ["following x ended: ZeroDivisionError('a bug')"]


@pytest.fixture
def crowded(folder: Path) -> Iterator[Path]:
    """A socket whose queue of connections is full, as a server's that hangs."""
    path = folder / "crowded.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(os.fspath(path))
            yield path


def test_a_server_with_a_full_queue_does_not_hold_up_the_event_loop(crowded: Path) -> None:
    async def main() -> None:
        await aio.connect(crowded)

    for connect in (lambda: anyio.run(main), lambda: udfstore.connect(crowded)):
        with pytest.raises(NoServer, match="takes no connection now"):
            in_thread(connect).result(SECONDS)


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_calls_to_a_server_that_does_not_read_wait_idly(
    own_server: ServerProcess, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = 0
    ids = [BlobId(number.to_bytes(32, "big")) for number in range(2000)]
    wait_writable = anyio.wait_writable

    async def counted(sock: Any) -> None:
        nonlocal waits
        waits += 1
        await wait_writable(sock)

    async def main() -> None:
        with anyio.fail_after(SECONDS):
            async with aio.connect(own_server.socket) as store, anyio.create_task_group() as tasks:
                await store.status()
                monkeypatch.setattr(anyio, "wait_writable", counted)
                own_server.pause()
                for _ in range(8):
                    tasks.start_soon(store.missing, ids)
                while not waits:
                    await anyio.lowlevel.checkpoint()
                for _ in range(2000):
                    await anyio.lowlevel.checkpoint()
                waited = waits
                own_server.go_on()
                assert waited < 100

    anyio.run(main, backend=backend)
