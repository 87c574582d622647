"""Large content: saves and loads of one big blob in chunks, beside bare sockets, a plain file and an object store."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter

import udfstore
from tests.bench.floors import BUFFER_BYTES, SIZE_BYTES, connect
from tests.bench.peer_nats import object_probes
from tests.bench.rows import Probe, Row, Unit
from tests.bench.stand import MIB, Stand

DIGEST_BYTES = 32
SINK = "floor: socket, SHA-256, durable file"
SOURCE = "floor: sendfile"
CHECKED = "floor: sendfile, hashed by the receiver"


def fresh_content(size: int) -> Callable[[], bytearray]:
    """Gives content that no store has had yet, always in the same memory."""
    content = bytearray(os.urandom(MIB) * (size // MIB))

    def fresh() -> bytearray:
        content[:16] = os.urandom(16)
        return content

    return fresh


@contextmanager
def content_probes(stand: Stand) -> Iterator[list[Probe]]:
    """Save and load one big blob."""
    size = stand.sizes.big_bytes
    fresh = fresh_content(size)
    with ExitStack() as stack:
        served, floors = stack.enter_context(stand.server()), stack.enter_context(stand.floors())
        store = stack.enter_context(udfstore.connect(served.socket, descriptors=False))
        (floors / "content").write_bytes(fresh())
        kept = store.save(floors / "content").id

        def sunk() -> float:
            content = fresh()
            started = perf_counter()
            send(floors / "sink", content)
            took = perf_counter() - started
            settle()
            return size / MIB / took

        def filed() -> float:
            content = fresh()
            figure = rate(lambda: write_plain(stand.folder / "plain", content))()
            (stand.folder / "plain").unlink()
            settle()
            return figure

        def rate(load: Callable[[], object]) -> Callable[[], float]:
            def measure() -> float:
                started = perf_counter()
                load()
                return size / MIB / (perf_counter() - started)

            return measure

        probes = [
            Probe.of(Row(SINK, Unit.RATE), sunk),
            Probe.of(Row("plain file: written, fdatasync, rename, fsync of the folder", Unit.RATE, "", SINK), filed),
            Probe.of(
                Row("save in chunks, durable", Unit.RATE, "0.8 of the floor", SINK), lambda: saved(store, fresh())
            ),
            Probe.of(Row(SOURCE, Unit.RATE), rate(lambda: receive(floors / "source", size, lambda data: None))),
            Probe.of(Row(CHECKED, Unit.RATE), rate(lambda: receive(floors / "source", size, hashlib.sha256().update))),
            Probe.of(
                Row("load in chunks, checked, piece by piece", Unit.RATE, "0.5 of the floor", SOURCE),
                rate(lambda: store.load_into(kept, lambda head: lambda data: None)),
            ),
            Probe.of(Row("load in chunks, checked, to bytes", Unit.RATE, "", SOURCE), rate(lambda: store.load(kept))),
        ]
        yield probes + stack.enter_context(object_probes(stand, fresh, SINK, SOURCE))


def saved(store: udfstore.Store, content: bytearray) -> float:
    """MiB/s of a save of what the store does not have, and does not keep."""
    started = perf_counter()
    id = store.save(content).id
    took = perf_counter() - started
    store.delete(id, now=True)
    settle()
    return len(content) / MIB / took


def write_plain(path: Path, content: bytearray) -> None:
    """A durable file under its name: what a careful program does without a store."""
    part = path.with_suffix(".part")
    with part.open("xb") as file:
        file.write(content)
        file.flush()
        os.fdatasync(file.fileno())
    part.rename(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def settle() -> None:
    """Have the disk finish what the last measurement left behind, so that the next one does not pay for it."""
    os.sync()


def send(path: Path, content: bytearray | memoryview) -> None:
    """Send content to the sink and wait until it is durable there."""
    with connect(path) as connection:
        connection.sendall(len(content).to_bytes(SIZE_BYTES, "big"))
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        if len(connection.recv(DIGEST_BYTES, socket.MSG_WAITALL)) != DIGEST_BYTES:
            raise ConnectionError("the sink ended without an answer")


def receive(path: Path, size: int, take: Callable[[memoryview], object]) -> None:
    """Take the source's file."""
    buffer = memoryview(bytearray(BUFFER_BYTES))
    with connect(path) as connection:
        while got := connection.recv_into(buffer):
            take(buffer[:got])
            size -= got
    if size:
        raise ConnectionError(f"the source sent too little: {size} bytes are missing")
