"""The process that is killed: forks a child for each line on stdin, which works on a store and tells what was done.

A line is `SCENARIO ROOT NUMBER`. The child answers `ready MAIN COMMITTER` (thread IDs; 0 before the store is open),
waits for `go`, then writes a line for each acknowledgement at once, so that it lies in a pipe outside when the kill
comes. This process then says `ended STATUS`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from udfstore.calls import Move, Step
from udfstore.digest import BlobId
from udfstore.model import Author
from udfstore.refs import Ref, Tag
from udfstore.store import Store, StoreLimits

LIMITS = StoreLimits(
    floor_bytes=0, reserve_bytes=4096, segment_bytes=1 << 16, group_bytes=1 << 14, record_bytes=1 << 13
)


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def wait_for_go(committer: int) -> None:
    say(f"ready {threading.get_native_id()} {committer}")
    while (byte := os.read(0, 1)) != b"\n":
        if not byte:
            os._exit(1)  # there will be no go


def change(root: Path, number: int) -> None:
    """Save a blob, then move a tag to it."""
    store = Store(root, limits=LIMITS)
    committer = next(thread for thread in threading.enumerate() if thread.name == "committer")
    wait_for_go(committer.native_id or 0)
    upload = store.upload()
    upload.write(content(number))
    id, _ = upload.commit()
    say(f"saved {id.hex}")
    step = Step(Tag.parse("t"), Ref.of(id))
    moved = store.submit(Move((step,), "", number.to_bytes(16, "big")), Author("local")).result()
    say(f"moved {moved.entries[0].version} {id.hex}")


def upload(root: Path, number: int) -> None:
    """Bring a resumable upload in two parts."""
    store = Store(root, limits=LIMITS)
    committer = next(thread for thread in threading.enumerate() if thread.name == "committer")
    wait_for_go(committer.native_id or 0)
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
            links = (_save(store, f"state {number}".encode()),)
            step = Step(tag, Ref.of(_save(store, f"manifest {number}".encode())), None, {}, links)
            store.submit(Move((step,), "", os.urandom(16)), Author("server"), reserved=True).result()
            store.let_go((tag,)).result()


def shed(root: Path, number: int) -> None:
    """Sweep a store with old records, two hours from now."""
    store = Store(root, limits=LIMITS, clock=lambda: time.time_ns() + 7200 * 10**9)
    committer = next(thread for thread in threading.enumerate() if thread.name == "committer")
    wait_for_go(committer.native_id or 0)
    store.sweep()
    say("swept")


def _save(store: Store, data: bytes) -> BlobId:
    upload = store.upload()
    upload.write(data)
    return upload.commit()[0]


def start(root: Path, number: int) -> None:
    """Open the store that a kill left."""
    wait_for_go(0)
    Store(root, limits=LIMITS)
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
            {"change": change, "shed": shed, "start": start, "upload": upload}[scenario](Path(root), int(number))
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
