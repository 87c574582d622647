"""Calls about one tag, from several clients at once, happen one after the other; kills of the server change nothing."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from kit import SECONDS, ServerProcess
from linear import NEVER, Move, Read, State, linearizable
from raw_client import RawClient

import udfstore
from udfstore._pb import udfstore_pb2 as pb
from udfstore.digest import BlobId
from udfstore.errors import Conflict, NotFound

HISTORIES = 100 if os.environ.get("UDFSTORE_CRASH") else 4
KILLS = 2
"""In each history."""
CALLS = 15
"""Of each client, in each history."""

GOOD = {
    "nothing": [],
    "one after the other": [Move("a", None, 1, 0, 1), Read((1, "a"), 2, 3), Move("b", 1, 2, 4, 5)],
    "at once, either order": [Move("a", None, 2, 0, 9), Move("b", None, 1, 0, 9), Read((2, "a"), 10, 11)],
    "read while it moves": [Move("a", None, 1, 0, 9), Read(NEVER, 1, 2), Read((1, "a"), 3, 4)],
    "one of two wins": [Move("a", 0, 1, 0, 9), Move("b", 0, 0, 0, 9)],
    "unknown, happened": [Move("a", None, None, 0), Read((1, "a"), 1, 2)],
    "unknown, happened late": [Move("a", None, None, 0), Read(NEVER, 1, 2), Read((1, "a"), 3, 4)],
    "unknown, never happened": [Move("a", None, None, 0), Move("b", 0, 1, 1, 2), Read((1, "b"), 3, 4)],
}

BAD = {
    "an old state": [Move("a", None, 1, 0, 1), Read(NEVER, 2, 3)],
    "forth and back": [Move("a", None, 1, 0, 9), Read((1, "a"), 1, 2), Read(NEVER, 3, 4)],
    "both of two win": [Move("a", 0, 1, 0, 9), Move("b", 0, 1, 0, 9)],
    "twice": [Move("a", None, 1, 0, 1), Read((2, "a"), 2, 3)],
    "a conflict with nobody": [Move("a", 0, 0, 0, 1)],
    "lost": [Move("a", None, 1, 0, 1), Move("b", None, 1, 2, 3)],
    "unknown, before it began": [Read((1, "a"), 0, 1), Move("a", None, None, 2)],
    "another value": [Move("a", None, 1, 0, 1), Read((1, "b"), 2, 3)],
}


@pytest.mark.parametrize("name", GOOD)
def test_an_order_is_found(name: str) -> None:
    assert linearizable(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_what_has_no_order_is_found_out(name: str) -> None:
    assert not linearizable(BAD[name])


Client = Callable[[random.Random], list[Read | Move]]


class Calls:
    """Clients of one tag, and blobs that it may name."""

    def __init__(self, socket: Path, tag: str) -> None:
        self._socket, self._tag = socket, tag
        self._came = threading.Semaphore(0)
        with udfstore.connect(socket) as store:
            self._blobs = [store.save(b"%d" % number).id for number in range(4)]

    def wait_for(self, more: int) -> None:
        """Return after so many more calls."""
        for _ in range(more):
            assert self._came.acquire(timeout=SECONDS)

    def patient(self, store: udfstore.Store, chance: random.Random) -> list[Read | Move]:
        """The library's client: it repeats what a kill cut off, and hears in the end what came of it."""
        history: list[Read | Move] = []
        seen = 0
        for _ in range(CALLS):
            self._came.release()
            id, expected, began = chance.choice(self._blobs), chance.choice((None, seen)), time.monotonic()
            if chance.random() < 0.5:
                saw: State = NEVER
                try:
                    entry = store.get_tag(self._tag)
                    saw = entry.version, entry.id
                except NotFound:
                    pass
                history.append(Read(saw, began, time.monotonic()))
                seen = saw[0]
                continue
            try:
                version = store.tag(self._tag, id, expected_version=expected).version
            except Conflict:
                version = 0
            history.append(Move(id, expected, version, began, time.monotonic()))
            seen = version or seen
        return history

    def impatient(self, chance: random.Random) -> list[Read | Move]:
        """One that repeats nothing: what a kill cuts off, it never hears of."""
        history: list[Read | Move] = []
        numbers = itertools.count(1)
        while len(history) < CALLS:
            try:
                with RawClient(self._socket) as client:
                    while len(history) < CALLS:
                        self._came.release()
                        id, began = chance.choice(self._blobs), time.monotonic()
                        try:
                            version = self._move(client, next(numbers), id)
                        except (EOFError, ConnectionError):
                            history.append(Move(id, None, None, began))
                            raise
                        history.append(Move(id, None, version, began, time.monotonic()))
            except (EOFError, ConnectionError, FileNotFoundError):
                continue  # until it is back
        return history

    def _move(self, client: RawClient, number: int, id: BlobId) -> int:
        step = pb.Step(tag=self._tag, ref=id.hex)
        client.call(number, request=os.urandom(16), move=pb.Move(steps=[step]))
        return client.until("result").result.moved.entries[0].version


def test_calls_about_a_tag_have_an_order(own_server: ServerProcess) -> None:
    chance = random.Random(0)
    for number in range(HISTORIES):
        calls = Calls(own_server.socket, f"t/{number}")
        with ExitStack() as stack:
            stores = [stack.enter_context(udfstore.connect(own_server.socket)) for _ in range(4)]
            clients: list[Client] = [*(partial(calls.patient, store) for store in stores), *[calls.impatient] * 2]
            pool = stack.enter_context(ThreadPoolExecutor(len(clients)))
            futures = [pool.submit(client, random.Random(chance.random())) for client in clients]
            for _ in range(KILLS):
                calls.wait_for(chance.randint(1, CALLS * len(clients) // KILLS))
                own_server.restart()
            history = [operation for future in futures for operation in future.result(SECONDS)]
        assert linearizable(history), sorted(history, key=lambda operation: operation.began)
