"""Traffic: a process that keeps a server busy, and tells how small things fare on its connection meanwhile.

    share SOCKET ID SIZE TRANSFERS KEEPALIVES
        One connection, a node's, with so many transfers at once: by turns a save of SIZE bytes and a load of ID, over
        and over; beside them one tag read after the other. It ends when so many keepalives have come.
    load SOCKET ID CONNECTIONS
        Each connection loads ID, over and over, until standard input ends.

Each prints `ready` when content moves everywhere, and at its end a JSON object.
"""

from __future__ import annotations

import json
import select
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from tests.bench.crowd import Crowd, Job
from tests.bench.memory import repeated
from tests.bench.stand import MIB
from udfstore import calls
from udfstore._pb import udfstore_pb2 as pb
from udfstore.client import arguments, operations
from udfstore.client.conversation import Conversation
from udfstore.client.operations import Operation
from udfstore.digest import BlobId
from udfstore.model import Claim
from udfstore.refs import Ref
from udfstore.session.udf import UdfSession
from udfstore.tasks import Node

TAG = "bench/busy"
"""What is read; it has to be there."""
NODE = Node("bench", "busy", interval=1e6, timeout=0.1)
"""The shortest timeout there is: a keepalive every 50 ms. It is never asked for its state."""


class _Session(UdfSession):
    """Notes how old each keepalive is when it is answered: the server writes into it when it sent it."""

    def __init__(self, ages: list[float]) -> None:
        super().__init__(Claim(person="bench"), NODE)
        self._ages = ages

    def _on_keepalive(self, message: pb.KeepaliveRequest) -> None:
        self._ages.append((time.time_ns() - message.time) / 1e9)
        super()._on_keepalive(message)


@dataclass(slots=True)
class Tally:
    """Bytes that one transfer moved."""

    bytes: int = 0

    def count(self, data: memoryview) -> None:
        """Count these in."""
        self.bytes += len(data)


def loading(id: BlobId, tally: Tally) -> Job:
    """A client that loads a blob over and over."""

    def job(talk: Conversation) -> Iterator[Operation]:
        while True:
            yield operations.load(talk, calls.Load(Ref.of(id)), lambda head: tally.count)

    return job


def saving(size: int, tally: Tally) -> Job:
    """A client that saves content that no store had before, and has it removed, over and over."""

    def job(talk: Conversation) -> Iterator[Operation]:
        while True:
            yield saved_and_removed(talk)

    def saved_and_removed(talk: Conversation) -> Operation:
        content = repeated(size)

        def read(most: int) -> memoryview:
            data = content(most)
            tally.count(data)
            return data

        saved = yield from operations.save(talk, calls.Save(size=size), read, calls.Commit(size))
        yield from operations.ask(talk, calls.Delete(Ref.of(saved.id), True, True, arguments.request()))

    return job


def reading(seconds: list[float]) -> Job:
    """A client that reads a tag over and over."""

    def job(talk: Conversation) -> Iterator[Operation]:
        while True:
            started = perf_counter()
            yield operations.ask(talk, calls.GetTag(Ref.parse(TAG)))
            seconds.append(perf_counter() - started)

    return job


def share(path: Path, id: BlobId, size: int, transfers: int, keepalives: int) -> dict[str, object]:
    """Share one connection; gives ages of keepalives and times of reads in seconds, and MiB moved in a second."""
    ages: list[float] = []
    reads: list[float] = []

    def converse() -> Conversation:
        talk = Conversation(Claim(person="bench"), NODE)
        talk.session = _Session(ages)
        return talk

    tallies = [Tally() for _ in range(transfers)]
    with Crowd(path, 1, converse) as crowd:
        for number, tally in enumerate(tallies):
            crowd.begin(0, loading(id, tally) if number % 2 else saving(size, tally))
        _warm(crowd, tallies)
        crowd.begin(0, reading(reads))
        ages.clear()
        rate = _driven(crowd, tallies, lambda: len(ages) >= keepalives)
    return {"keepalives": ages, "reads": reads, "rate": rate}


def load(path: Path, id: BlobId, connections: int) -> dict[str, object]:
    """Load on many connections; gives MiB moved in a second."""
    tallies = [Tally() for _ in range(connections)]
    with Crowd(path, connections) as crowd:
        for number, tally in enumerate(tallies):
            crowd.begin(number, loading(id, tally))
        _warm(crowd, tallies)
        rate = _driven(crowd, tallies, lambda: bool(select.select([sys.stdin], [], [], 0)[0]))
    return {"rate": rate}


def _warm(crowd: Crowd, tallies: list[Tally]) -> None:
    crowd.drive(lambda: all(tally.bytes for tally in tallies))
    print("ready", flush=True)


def _driven(crowd: Crowd, tallies: list[Tally], until: Callable[[], bool]) -> float:
    before, started = sum(tally.bytes for tally in tallies), perf_counter()
    crowd.drive(until)
    return (sum(tally.bytes for tally in tallies) - before) / MIB / (perf_counter() - started)


def main(role: str, path: str, id: str, *numbers: str) -> None:
    """Do what was asked for, and tell."""
    roles: dict[str, Callable[..., dict[str, object]]] = {"share": share, "load": load}
    print(json.dumps(roles[role](Path(path), BlobId.parse(id), *map(int, numbers))))


if __name__ == "__main__":
    main(*sys.argv[1:])
