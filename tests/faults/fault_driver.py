"""The process that is killed: forks a child for each line on stdin, which works on a store and tells what was done.

A line is `SCENARIO ROOT NUMBER`. The child answers `ready MAIN COMMITTER CHECKPOINT REMOVER` (thread IDs; 0 for one
that does not run yet), waits for `go`, then writes a line for each acknowledgement at once, so that it lies in a pipe
outside when the kill comes. When the store refuses it says `failed: WHY`, then tries one more save and move, and says
`refused: WHY` when the store does not take these either. This process then says `ended STATUS`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from udfstore.calls import Delete, Move, Step
from udfstore.digest import BlobId
from udfstore.errors import UdfstoreError
from udfstore.model import Author
from udfstore.refs import Ref, Tag
from udfstore.store import Store, StoreLimits, osfs

LIMITS = StoreLimits(
    floor_bytes=0, reserve_bytes=4096, segment_bytes=1 << 16, group_bytes=1 << 14, record_bytes=1 << 13, small_bytes=0
)
AFTER = 1_000_000
"""Added to the number of what is saved after a failure."""

JOURNALED = replace(LIMITS, small_bytes=1 << 14, journal_bytes=8 << 15)


AUTHOR = Author("local")


def say(line: str) -> None:
    with suppress(OSError):  # an error that was meant for another call: then nothing was acknowledged
        osfs.write(1, memoryview(f"{line}\n".encode()))


def wait_for_go() -> None:
    threads = {thread.name: thread.native_id for thread in threading.enumerate()}
    ids = (threads.get(name, 0) for name in ("committer", "checkpoint", "remover_0"))
    say(f"ready {threading.get_native_id()} {' '.join(map(str, ids))}")
    while (byte := os.read(0, 1)) != b"\n":
        if not byte:
            os._exit(1)  # there will be no go


@contextmanager
def going(store: Store, number: int) -> Iterator[None]:
    """Wait for the go. A refusal in the body is told, and that the store goes on, or does not."""
    wait_for_go()
    try:
        yield
    except UdfstoreError as error:
        say(f"failed: {error}")
        try:
            save_and_move(store, AFTER + number)
        except UdfstoreError as error:
            say(f"refused: {error}")


def change(root: Path, number: int) -> None:
    """Save a blob, then move a tag to it."""
    store = Store(root, limits=LIMITS)
    with going(store, number):
        save_and_move(store, number)


def small(root: Path, number: int) -> None:
    """The same through the journal; then have its checkpoint made."""
    store = Store(root, limits=JOURNALED)
    save(store, b"so that all threads run %d" % number)
    with going(store, number):
        id = save_and_move(store, number)
        assert store._parts.journal is not None
        store._parts.journal.settle([id])
        say("settled")


def remove(root: Path, number: int) -> None:
    """Remove a blob for good, and one into the trash; then sweep."""
    store = Store(root, limits=JOURNALED)
    journaled, large = save(store, b"small %d" % number), save(store, content(number) * 10)
    store._parts.remover._pool.submit(int).result()  # so that all threads run
    with going(store, number):
        for id, now in ((journaled, True), (large, False)):
            say(f"removing {id.hex}")
            store.submit(Delete(Ref.of(id), now=now, request=os.urandom(16)), AUTHOR).result()
            say(f"removed {id.hex}")
        store.sweep(now=True)
        say("swept")


def snapshot(root: Path, number: int) -> None:
    """Take a round of the task `pump`, which drops an older one."""
    store = Store(root, limits=LIMITS)
    store._parts.remover._pool.submit(int).result()  # so that all threads run
    with going(store, number):
        say(f"taken {take_round(store, os.urandom(4).hex())}")
        store._parts.remover._pool.submit(int).result()  # what was dropped is gone


def save_and_move(store: Store, number: int) -> BlobId:
    id = save(store, content(number))
    say(f"saved {id.hex}")
    step = Step(Tag.parse("t"), Ref.of(id))
    moved = store.submit(Move((step,), "", number.to_bytes(16, "big")), AUTHOR).result()
    say(f"moved {moved.entries[0].version} {id.hex}")
    return id


def save(store: Store, data: bytes) -> BlobId:
    upload = store.upload()
    upload.write(data)
    return upload.commit()[0]


def upload(root: Path, number: int) -> None:
    """Bring a resumable upload in two parts."""
    store = Store(root, limits=LIMITS)
    data = content(number)
    with going(store, number):
        name = store.uploads.begin(len(data), None, AUTHOR).name
        say(f"begun {name}")
        part = store.uploads.append(name, 0)
        part.write(data[:10])
        part.write(data[10:20])
        say(f"offset {part.commit().offset}")
        part = store.uploads.append(name, 20)
        part.write(data[20:])
        say(f"saved {part.finish().id.hex}")


def take_rounds(root: Path, count: int) -> None:
    """Rounds of the task `pump`: each a manifest and a state of its own; what they drop is removed."""
    with Store(root, limits=LIMITS) as store:
        for number in range(1, count + 1):
            take_round(store, str(number))


def take_round(store: Store, name: str) -> int:
    tag = Tag.parse("snapshots/pump/auto")
    links = (save(store, f"state {name}".encode()),)
    step = Step(tag, Ref.of(save(store, f"manifest {name}".encode())), None, {}, links)
    moved = store.submit(Move((step,), "", os.urandom(16)), Author("server"), reserved=True).result()
    store.let_go((tag,)).result()
    return moved.entries[0].version


def shed(root: Path, number: int) -> None:
    """Sweep a store with old records, two hours from now."""
    store = Store(root, limits=LIMITS, clock=lambda: time.time_ns() + 7200 * 10**9)
    with going(store, number):
        store.sweep()
        say("swept")


def start(root: Path, number: int) -> None:
    """Open the store that a kill left."""
    wait_for_go()
    Store(root, limits=JOURNALED)
    say("opened")


def content(number: int) -> bytes:
    return f"content {number} ".encode() * 500


SCENARIOS = {function.__name__: function for function in (change, small, remove, snapshot, upload, shed, start)}


def main() -> None:
    while line := read_line():
        if line.strip() in ("go", "o", ""):
            continue  # meant for a child that was killed before it read it
        scenario, root, number = line.split()
        child = os.fork()
        if child == 0:
            try:
                SCENARIOS[scenario](Path(root), int(number))
            except UdfstoreError as error:
                say(f"failed: {error}")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)}")


def read_line() -> str:
    """A line from stdin, byte by byte: what follows it is the child's."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return ""
        line += byte
    return line.decode()


if __name__ == "__main__":
    sys.exit(main())
