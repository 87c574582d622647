"""Small content: durable saves and loads of 4 KiB, beside bare appends, plain files, an echo, and other stores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter

import udfstore
from tests.bench.crowd import Crowd, Job
from tests.bench.floors import REQUEST_BYTES, connect
from tests.bench.peer_nats import key_value_probes
from tests.bench.peer_redis import redis_probes
from tests.bench.rows import Probe, Row, Unit, per_second
from tests.bench.stand import MIB, Stand
from udfstore import calls
from udfstore.client import operations
from udfstore.client.conversation import Conversation
from udfstore.client.operations import Operation
from udfstore.client.sources import Source
from udfstore.digest import BlobId
from udfstore.refs import Ref

SMALL_BYTES = 4096
CROWD = 16
PIPELINED = 32
ASKED = 1000
APPENDED = "floor: append 4 KiB, fdatasync"
LOOKED = f"floor: {ASKED:,} files looked at by name"
FILED = "floor: plain 4 KiB file, fdatasync, rename, fsync of the folder"
ECHOED = "floor: trio echo of 4 KiB"
ECHOED_AHEAD = f"floor: trio echo of 4 KiB, {PIPELINED} on their way"


@contextmanager
def small_probes(stand: Stand) -> Iterator[list[Probe]]:
    """Save and load many small blobs."""
    saves, reads = stand.sizes.saves, stand.sizes.reads
    with ExitStack() as stack:
        served, floors = stack.enter_context(stand.server()), stack.enter_context(stand.floors())
        store = stack.enter_context(udfstore.connect(served.socket))
        in_chunks = stack.enter_context(udfstore.connect(served.socket, descriptors=False))
        crowd, single = stack.enter_context(Crowd(served.socket, CROWD)), stack.enter_context(Crowd(served.socket, 1))
        kept = store.save(os.urandom(SMALL_BYTES)).id

        def saved() -> float:
            return per_second(saves, lambda: [store.save(os.urandom(SMALL_BYTES)) for _ in range(saves)])

        def loaded(by: udfstore.Store) -> float:
            return per_second(reads, lambda: [by.load(kept) for _ in range(reads)])

        probes = [
            Probe.of(Row(APPENDED, Unit.PER_SECOND), lambda: appended(stand.folder, SMALL_BYTES, saves)),
            Probe.of(Row(FILED, Unit.PER_SECOND), lambda: filed(stand.folder, saves)),
            Probe.of(Row("save 4 KiB, durable, 1 client", Unit.PER_SECOND, "3,000/s", APPENDED), saved),
            Probe.of(
                Row(f"save 4 KiB, durable, {CROWD} clients", Unit.PER_SECOND, "12,000/s", APPENDED),
                lambda: saves * CROWD / crowd.run(saving(saves)),
            ),
            Probe.of(Row(ECHOED, Unit.PER_SECOND), lambda: echoed(floors / "echo", SMALL_BYTES, reads)),
            Probe.of(Row("load 4 KiB, one connection", Unit.PER_SECOND, "12,000/s", ECHOED), lambda: loaded(store)),
            Probe.of(
                Row("load 4 KiB, one connection, in chunks", Unit.PER_SECOND, "", ECHOED), lambda: loaded(in_chunks)
            ),
            Probe.of(
                Row(ECHOED_AHEAD, Unit.PER_SECOND), lambda: echoed(floors / "echo", SMALL_BYTES, reads, PIPELINED)
            ),
            Probe.of(
                Row(f"load 4 KiB, one connection, {PIPELINED} on their way", Unit.PER_SECOND, "30,000/s", ECHOED_AHEAD),
                lambda: reads // PIPELINED * PIPELINED / single.run(loading(kept, reads // PIPELINED), PIPELINED),
            ),
            *_missing(stand, store),
        ]
        for others in (redis_probes, key_value_probes):
            probes += stack.enter_context(others(stand, SMALL_BYTES, CROWD, PIPELINED, APPENDED, ECHOED))
        yield probes


def _missing(stand: Stand, store: udfstore.Store) -> list[Probe]:
    """Ask for many blobs at once, every other one being there."""
    ids = []
    for number in range(ASKED):
        content = os.urandom(SMALL_BYTES)
        ids.append(BlobId.of(content) if number % 2 else store.save(content).id)
    here = stand.folder / "here"
    here.touch()
    names = [str(here), str(stand.folder / "not-here")] * (ASKED // 2)

    def milliseconds(do: Callable[[], object]) -> float:
        started = perf_counter()
        do()
        return 1000 * (perf_counter() - started)

    return [
        Probe.of(Row(LOOKED, Unit.MILLISECONDS), lambda: milliseconds(lambda: [*map(os.path.exists, names)])),
        Probe.of(
            Row(f"missing: {ASKED:,} IDs asked for at once, half of them there", Unit.MILLISECONDS, "", LOOKED),
            lambda: milliseconds(lambda: store.missing(ids)),
        ),
    ]


def saving(count: int) -> Job:
    """A client that saves small blobs that no store has had yet."""

    def job(talk: Conversation) -> Iterator[Operation]:
        for _ in range(count):
            source = Source.of(os.urandom(SMALL_BYTES))
            yield operations.save(talk, calls.Save(size=SMALL_BYTES), source.read, calls.Commit(SMALL_BYTES))

    return job


def loading(id: BlobId, count: int) -> Job:
    """A client that loads a blob so many times."""

    def job(talk: Conversation) -> Iterator[Operation]:
        for _ in range(count):
            yield operations.load(talk, calls.Load(Ref.of(id)), lambda head: lambda data: None)

    return job


def appended(folder: Path, size: int, count: int) -> float:
    """Appends a second, each durable before the next, into space that was written before: only the data is synced."""
    data = os.urandom(size)
    path = folder / "appended"
    with path.open("wb") as file:
        file.write(bytes(max(MIB, size * count)))
        file.flush()
        os.fsync(file.fileno())
    fd = os.open(path, os.O_WRONLY)

    def append() -> None:
        for number in range(count):
            os.pwrite(fd, data, number * size)
            os.fdatasync(fd)

    try:
        return per_second(count, append)
    finally:
        os.close(fd)
        path.unlink()


def filed(folder: Path, count: int) -> float:
    """Files a second, each durable under its name before the next: what a careful program without a store does."""
    target = folder / "filed"
    target.mkdir()
    names = os.open(target, os.O_RDONLY)

    def save() -> None:
        for number in range(count):
            with (target / "part").open("xb") as file:
                file.write(os.urandom(SMALL_BYTES))
                file.flush()
                os.fdatasync(file.fileno())
            (target / "part").rename(target / str(number))
            os.fsync(names)

    try:
        return per_second(count, save)
    finally:
        os.close(names)
        for path in target.iterdir():
            path.unlink()
        target.rmdir()


def echoed(path: Path, size: int, count: int, ahead: int = 1) -> float:
    """Answers of so many bytes a second, with so many requests on their way at once."""
    requests = ahead * size.to_bytes(4, "big").ljust(REQUEST_BYTES, b"\0")
    buffer = memoryview(bytearray(size * ahead))

    def exchange() -> None:
        with connect(path) as connection:
            for _ in range(count // ahead):
                connection.sendall(requests)
                left = len(buffer)
                while left:
                    left -= connection.recv_into(buffer, left)

    return per_second(count // ahead * ahead, exchange)
