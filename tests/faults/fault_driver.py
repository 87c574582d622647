"""The process that is killed: forks a child for each line on stdin, which works on a store and tells what was done.

A line is `SCENARIO ROOT NUMBER`. The child answers `ready MAIN COMMITTER CHECKPOINT` (thread IDs; 0 for one that does
not run yet), waits for `go`, then writes a line for each acknowledgement at once, so that it lies in a pipe outside
when the kill comes, and `failed: WHY` when the store refuses. This process then says `ended STATUS`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from udfstore.calls import Move, Step
from udfstore.digest import BlobId
from udfstore.errors import UdfstoreError
from udfstore.model import Author
from udfstore.refs import Ref, Tag
from udfstore.store import Store, StoreLimits

LIMITS = StoreLimits(
    floor_bytes=0, reserve_bytes=4096, segment_bytes=1 << 16, group_bytes=1 << 14, record_bytes=1 << 13, small_bytes=0
)
JOURNALED = replace(LIMITS, small_bytes=1 << 14, journal_bytes=8 << 15)


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def wait_for_go() -> None:
    threads = {thread.name: thread.native_id for thread in threading.enumerate()}
    say(f"ready {threading.get_native_id()} {threads.get('committer', 0)} {threads.get('checkpoint', 0)}")
    while (byte := os.read(0, 1)) != b"\n":
        if not byte:
            os._exit(1)  # there will be no go


def change(root: Path, number: int) -> None:
    """Save a blob, then move a tag to it."""
    store = Store(root, limits=LIMITS)
    wait_for_go()
    save_and_move(store, number)


def small(root: Path, number: int) -> None:
    """The same through the journal; then have its checkpoint made."""
    store = Store(root, limits=JOURNALED)
    save(store, b"so that all threads run %d" % number)
    wait_for_go()
    id = save_and_move(store, number)
    assert store._parts.journal is not None
    store._parts.journal.settle([id])
    say("settled")


def save_and_move(store: Store, number: int) -> BlobId:
    id = save(store, content(number))
    say(f"saved {id.hex}")
    step = Step(Tag.parse("t"), Ref.of(id))
    moved = store.submit(Move((step,), "", number.to_bytes(16, "big")), Author("local")).result()
    say(f"moved {moved.entries[0].version} {id.hex}")
    return id


def save(store: Store, data: bytes) -> BlobId:
    upload = store.upload()
    upload.write(data)
    return upload.commit()[0]


def upload(root: Path, number: int) -> None:
    """Bring a resumable upload in two parts."""
    store = Store(root, limits=LIMITS)
    wait_for_go()
    data = content(number)
    name = store.uploads.begin(len(data), None, Author("local")).name
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
    tag = Tag.parse("snapshots/pump/auto")
    with Store(root, limits=LIMITS) as store:
        for number in range(1, count + 1):
            links = (save(store, f"state {number}".encode()),)
            step = Step(tag, Ref.of(save(store, f"manifest {number}".encode())), None, {}, links)
            store.submit(Move((step,), "", os.urandom(16)), Author("server"), reserved=True).result()
            store.let_go((tag,)).result()


def shed(root: Path, number: int) -> None:
    """Sweep a store with old records, two hours from now."""
    store = Store(root, limits=LIMITS, clock=lambda: time.time_ns() + 7200 * 10**9)
    wait_for_go()
    store.sweep()
    say("swept")


def start(root: Path, number: int) -> None:
    """Open the store that a kill left."""
    wait_for_go()
    Store(root, limits=JOURNALED)
    say("opened")


def content(number: int) -> bytes:
    return f"content {number} ".encode() * 500


def main() -> None:
    while line := read_line():
        if line.strip() in ("go", "o", ""):
            continue  # meant for a child that was killed before it read it
        scenario, root, number = line.split()
        child = os.fork()
        if child == 0:
            try:
                scenarios = {"change": change, "small": small, "shed": shed, "start": start, "upload": upload}
                scenarios[scenario](Path(root), int(number))
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
