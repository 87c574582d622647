"""Waiting until everybody who follows a tag has a version of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import LiveServer
from raw_client import RawClient

from udfstore._pb import udfstore_pb2 as pb

LONG_MS = 60_000


class Tag:
    """A tag with three versions, and those who follow it."""

    def __init__(self, live: LiveServer, name: str) -> None:
        self.name = name
        self.path: Path = live.socket
        self.entries = []
        with RawClient(self.path) as client:
            for number in range(3):
                id = client.save(2 * number + 1, f"{name} {number}".encode()).id
                step = pb.Step(tag=name, ref=id.hex())
                client.call(2 * number + 2, request=os.urandom(16), move=pb.Move(steps=[step]))
                self.entries.append(client.until("result").result.moved.entries[0])

    def uses(self, follower: RawClient, call: int, version: int, error: str = "") -> None:
        id = self.entries[version - 1].id
        follower.call(call, request=os.urandom(16), used=pb.Used(tag=self.name, version=version, id=id, error=error))
        follower.until("result")

    def wait(self, waiter: RawClient, call: int, version: int, timeout_ms: int = LONG_MS) -> None:
        waiter.call(call, await_followers=pb.AwaitFollowers(tag=self.name, version=version, timeout_ms=timeout_ms))

    def met(self, waiter: RawClient) -> list[list[int]]:
        """Of each follower what it has, and 1 if it failed on a later one."""
        pages, found = [], waiter.next()
        while found.WhichOneof("message") == "page":
            pages += found.page.sessions
            found = waiter.next()
        assert found.result.HasField("ok")
        uses = [next(f for f in session.following if f.tag == self.name) for session in pages]
        return [[use.version, int(bool(use.error))] for use in uses]


@pytest.fixture
def tag(live: LiveServer, unique: str) -> Tag:
    return Tag(live, unique)


@pytest.fixture
def follower(live: LiveServer) -> Iterator[RawClient]:
    with RawClient(live.socket, credit=False) as client:
        yield client


@pytest.fixture
def waiter(live: LiveServer) -> Iterator[RawClient]:
    with RawClient(live.socket, credit=False) as client:
        yield client


def test_nobody_follows(tag: Tag, waiter: RawClient) -> None:
    tag.wait(waiter, 1, 3)
    assert tag.met(waiter) == []


def test_the_last_one_to_come_ends_the_wait(live: LiveServer, tag: Tag, follower: RawClient, waiter: RawClient) -> None:
    with RawClient(live.socket, credit=False) as other:
        tag.uses(follower, 1, 1)
        tag.uses(other, 1, 3)
        tag.wait(waiter, 1, 2)
        waiter.call(2, status=pb.Status())
        assert waiter.next().result.call == 2, "it waits still"
        tag.uses(follower, 2, 2)
        assert tag.met(waiter) == [[2, 0], [3, 0]]


def test_one_that_failed_is_not_waited_for(tag: Tag, follower: RawClient, waiter: RawClient) -> None:
    tag.uses(follower, 1, 1)
    tag.wait(waiter, 1, 3)
    tag.uses(follower, 2, 3, "cannot be read")
    assert tag.met(waiter) == [[1, 1]]
    tag.uses(follower, 3, 2)
    tag.wait(waiter, 2, 3, timeout_ms=0)
    assert tag.met(waiter) == [[2, 0]]


def test_one_that_leaves_is_not_waited_for(live: LiveServer, tag: Tag, waiter: RawClient) -> None:
    with RawClient(live.socket, credit=False) as leaving:
        tag.uses(leaving, 1, 1)
        tag.wait(waiter, 1, 3)
    assert tag.met(waiter) == []


def test_time_is_up(tag: Tag, follower: RawClient, waiter: RawClient) -> None:
    tag.uses(follower, 1, 1)
    tag.wait(waiter, 1, 3, timeout_ms=10)
    assert tag.met(waiter) == [[1, 0]]


def test_a_place_is_told_with_what_is_used_there(live: LiveServer, tag: Tag, waiter: RawClient) -> None:
    with RawClient(live.socket, greet=False) as follower:
        follower.next()
        place = pb.Place(task=tag.name, node="node")
        follower.send(pb.Response(hello=pb.Hello(protocol=1, place=place)))
        tag.uses(follower, 1, 2)
        tag.wait(waiter, 1, 2)
        assert waiter.until("page").page.sessions[0].place == place
        waiter.until("result")
        waiter.call(2, list_uses=pb.ListUses(task=tag.name))
        (use,) = waiter.until("page").page.uses
        assert (use.place, use.version) == (place, 2)


@pytest.mark.parametrize("place", [pb.Place(task="t" * 129, node="n"), pb.Place(task="t", node="two\nlines")])
def test_a_place_that_is_none_is_refused(live: LiveServer, place: pb.Place) -> None:
    with RawClient(live.socket, greet=False) as client:
        client.next()
        client.send(pb.Response(hello=pb.Hello(protocol=1, place=place)))
        (fault,) = [message.fault for message in client.rest()]
        assert (fault.call, fault.code) == (0, "usage")


def test_a_goodbye_ends_the_wait(tag: Tag, follower: RawClient, waiter: RawClient) -> None:
    tag.uses(follower, 1, 1)
    tag.wait(waiter, 1, 3)
    waiter.send(pb.Response(goodbye=pb.Goodbye()))
    assert waiter.next().fault.code == "cancelled"
    assert waiter.rest() == []
