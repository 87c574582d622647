"""Large content by descriptor: saves of a file, loads that map the blob's own file, and saves of what is there already.

The file that is saved lies on the store's file system and is durable there before. What is opened are real blobs, no
sparse files: each was saved once, and is in the page cache as far as memory goes.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter

import udfstore
from tests.bench.content import CHECKED, SINK, receive, send, settle, sync_folder
from tests.bench.floors import REQUEST_BYTES, connect
from tests.bench.rows import Probe, Row, Unit, percentile
from tests.bench.small import SMALL_BYTES
from tests.bench.stand import MIB, Stand
from udfstore.digest import BlobId

ANSWER_BYTES = 256
COPIED = "floor: copy of the file inside the kernel, fdatasync, rename, fsync of the folder"
HASHED = "floor: SHA-256 of the mapped file"
ECHOED = f"floor: trio echo of {ANSWER_BYTES} bytes"


@contextmanager
def descriptor_probes(stand: Stand) -> Iterator[list[Probe]]:
    """Save, save again, load and open."""
    with ExitStack() as stack:
        served, floors = stack.enter_context(stand.server()), stack.enter_context(stand.floors())
        store = stack.enter_context(udfstore.connect(served.socket, descriptors=True))
        kept = stack.enter_context(kept_file(stand.folder / "kept", stand.sizes.big_bytes))
        fresh = stack.enter_context(kept_file(stand.folder / "fresh", stand.sizes.big_bytes))
        yield [
            *_saves(store, floors, fresh),
            *_repeats(store, kept),
            *_loads(store, floors, kept),
            *_opens(store, floors, stand),
        ]


class File:
    """A large file, and its bytes as they are mapped."""

    def __init__(self, path: Path, bytes: memoryview) -> None:
        self.path = path
        self.bytes = bytes

    def renew(self) -> memoryview:
        """Make it content that no store has had yet, durably."""
        self.bytes[:16] = os.urandom(16)
        settle()
        return self.bytes

    def rate(self, do: Callable[[], object]) -> float:
        """MiB/s of what takes the whole file."""
        started = perf_counter()
        do()
        return len(self.bytes) / MIB / (perf_counter() - started)


@contextmanager
def kept_file(path: Path, size: int) -> Iterator[File]:
    """A file of that size, for a while."""
    write_file(path, size)
    try:
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped, memoryview(mapped) as view:
            yield File(path, view)
    finally:
        path.unlink()


def write_file(path: Path, size: int) -> None:
    """A durable file with content that no store has had yet, without holes."""
    block = os.urandom(min(MIB, size))
    with path.open("wb") as file:
        file.write(os.urandom(16))
        for at in range(16, size, len(block)):
            file.write(block[: size - at])
        file.flush()
        os.fsync(file.fileno())


def _saves(store: udfstore.Store, floors: Path, fresh: File) -> list[Probe]:
    def sunk() -> float:
        content = fresh.renew()
        return fresh.rate(lambda: send(floors / "sink", content))

    def copied() -> float:
        fresh.renew()
        return fresh.rate(lambda: copy(fresh.path, fresh.path.with_name("copied")))

    return [
        Probe.of(Row(SINK, Unit.RATE), sunk),
        Probe.of(Row(COPIED, Unit.RATE), copied),
        Probe.of(Row("save by descriptor, durable", Unit.RATE, "0.95 of the floor", SINK), lambda: saved(store, fresh)),
    ]


def saved(store: udfstore.Store, fresh: File) -> float:
    """MiB/s of a save of a file whose content the store does not have, and does not keep."""
    fresh.renew()
    ids: list[BlobId] = []
    figure = fresh.rate(lambda: ids.append(store.save(fresh.path).id))
    store.delete(ids[0], now=True)
    return figure


def copy(source: Path, target: Path) -> None:
    """What a careful program does without a store, at its quickest. It looks at no byte."""
    part = target.with_suffix(".part")
    with source.open("rb") as file, part.open("xb") as into:
        left = os.fstat(file.fileno()).st_size
        while left:
            left -= os.copy_file_range(file.fileno(), into.fileno(), left)
        os.fdatasync(into.fileno())
    part.rename(target)
    sync_folder(target.parent)
    target.unlink()


def _repeats(store: udfstore.Store, kept: File) -> list[Probe]:
    store.save(kept.path)

    def hashed_first() -> None:
        if store.missing([BlobId.of(kept.bytes)]):
            raise LookupError("what was saved is missing")

    goal = "the hash alone"
    return [
        Probe.of(Row(HASHED, Unit.RATE), lambda: kept.rate(lambda: hashlib.sha256(kept.bytes))),
        Probe.of(
            Row("save of what is there already, by descriptor", Unit.RATE, goal, HASHED),
            lambda: kept.rate(lambda: store.save(kept.path)),
        ),
        Probe.of(
            Row("the same by a client that hashes first and asks `missing`", Unit.RATE, goal, HASHED),
            lambda: kept.rate(hashed_first),
        ),
    ]


def _loads(store: udfstore.Store, floors: Path, kept: File) -> list[Probe]:
    (floors / "content").hardlink_to(kept.path)
    id, size = store.save(kept.path).id, len(kept.bytes)

    def received() -> None:
        receive(floors / "source", size, hashlib.sha256().update)

    return [
        Probe.of(Row(CHECKED, Unit.RATE), lambda: kept.rate(received)),
        Probe.of(
            Row("load by descriptor, checked, piece by piece", Unit.RATE, "", CHECKED),
            lambda: kept.rate(lambda: store.load_into(id, lambda head: lambda data: None)),
        ),
        Probe.of(
            Row("load by descriptor, checked, to bytes", Unit.RATE, "", CHECKED),
            lambda: kept.rate(lambda: store.load(id)),
        ),
    ]


def _opens(store: udfstore.Store, floors: Path, stand: Stand) -> list[Probe]:
    count, source = stand.sizes.opens, stand.folder / "source"
    goals = {50: "300 µs", 99: "1 ms"}
    floor = tuple(Row(f"{ECHOED}, {share(at)}", Unit.MICROSECONDS) for at in goals)
    probes = [Probe(floor, lambda: _shares(_echoes(floors / "echo", count), *goals))]
    for size in (SMALL_BYTES, stand.sizes.huge_bytes):
        write_file(source, size)
        id = store.save(source).id
        source.unlink()
        label = f"load by descriptor: {size // 1024:,} KiB opened, mapped, its beginning read"
        rows = tuple(
            Row(f"{label}, {share(at)}", Unit.MICROSECONDS, goal, row.name)
            for (at, goal), row in zip(goals.items(), floor, strict=True)
        )
        probes.append(Probe(rows, partial(_first, store, id, count, *goals)))
    return probes


def share(at: int) -> str:
    """A percentile in words."""
    return "median" if at == 50 else f"{at}th percentile"


def first_bytes(store: udfstore.Store, id: BlobId) -> float:
    """Seconds until a loader has the first bytes of a blob."""
    started = perf_counter()
    with store.open(id) as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[:ANSWER_BYTES]
        return perf_counter() - started


def _first(store: udfstore.Store, id: BlobId, count: int, *shares: int) -> tuple[float, ...]:
    return _shares([first_bytes(store, id) for _ in range(count)], *shares)


def _echoes(path: Path, count: int) -> list[float]:
    request, seconds = ANSWER_BYTES.to_bytes(4, "big").ljust(REQUEST_BYTES, b"\0"), []
    with connect(path) as connection:
        for _ in range(count):
            started = perf_counter()
            connection.sendall(request)
            connection.recv(ANSWER_BYTES)
            seconds.append(perf_counter() - started)
    return seconds


def _shares(seconds: list[float], *shares: int) -> tuple[float, ...]:
    """Microseconds at these percentiles."""
    return tuple(1e6 * percentile(seconds, share) for share in shares)
