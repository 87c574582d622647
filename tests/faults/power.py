"""Power cuts for a store: a workload on a disk that remembers, cuts at many moments of it, and what must be there then.

A workload is given a store and a ledger, in which it notes each acknowledgement once it has it. A check is given the
store as it opens after a cut, and a ledger of what had been acknowledged when the power went.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

from fault_driver import JOURNALED, content
from ledger import Ledger
from logdisk import Crash, Disk, new_disk

from udfstore.calls import Move, Step
from udfstore.digest import BlobId
from udfstore.errors import NotFound
from udfstore.model import Author, Entry
from udfstore.refs import Ref, Tag
from udfstore.store import Store

LONG = bool(os.environ.get("UDFSTORE_CRASH"))

TAG = Tag.parse("t")
"""The tag whose moves a ledger keeps, unless a workload has a check of its own."""

AUTHOR = Author("local")


class Acknowledged:
    """A ledger that knows when: each note is kept with how much the disk had logged by then. For many threads."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._notes: list[tuple[int, Callable[[Ledger], None]]] = []

    def save(self, id: BlobId) -> None:
        self._note(lambda ledger: ledger.save(id))

    def move(self, version: int, id: BlobId) -> None:
        self._note(lambda ledger: ledger.move(version, id))

    def remove(self, id: BlobId) -> None:
        self._note(lambda ledger: ledger.remove(id))

    def until(self, position: int) -> Ledger:
        """What had been acknowledged when the log was that long."""
        ledger = Ledger()
        for noted, note in self._notes:
            if noted <= position:
                note(ledger)
        return ledger

    def _note(self, note: Callable[[Ledger], None]) -> None:
        self._notes.append((self._disk.position(), note))


Workload = Callable[[Store, Acknowledged], None]
Check = Callable[[Store, Ledger], None]

Apart = Callable[..., Any]
"""The fixture that calls `body(filesystem, ...)` where it may make disks."""


def kept(store: Store, ledger: Ledger) -> None:
    """All that was acknowledged is there, no name below blobs/ lies, and the store goes on."""
    assert store.problem == "", store.problem
    history = history_of(store, TAG)
    ledger.check(store.root, store.verify, history)
    for path in (store.root / "blobs").glob("*/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name, f"{path.name} has another content"
    assert move(store, save(store, content(-1))) == len(history) + 1


def history_of(store: Store, tag: Tag) -> list[Entry]:
    """All versions of a tag, newest first; none of one that never was."""
    try:
        return store.history(tag, limit=100_000)
    except NotFound:
        return []


def save(store: Store, data: bytes) -> BlobId:
    upload = store.upload()
    try:
        upload.write(data)
        return upload.commit()[0]
    finally:
        upload.abort()


def move(store: Store, id: BlobId, tag: Tag = TAG, links: tuple[BlobId, ...] = ()) -> int:
    """Move a tag, and say to which version."""
    call = Move((Step(tag, Ref.of(id), links=links),), "", os.urandom(16))
    (entry,) = store.submit(call, AUTHOR, reserved=True).result().entries
    return entry.version


def survives(filesystem: str, workload: Workload, cuts: int, check: Check = kept) -> None:
    """Check what power cuts leave, at so many moments between the making of a store and its end after a workload."""
    disk, acknowledged = record(filesystem, workload)
    for crash in disk.crashes(cuts, random.Random(workload.__name__)):
        with opened(crash) as store:
            check(store, acknowledged.until(crash.position))


def survives_twice(filesystem: str, workload: Workload, cuts: int, again: int, check: Check = kept) -> None:
    """Check the same where the power goes once more while the first cut is recovered from, at `again` moments."""
    disk, acknowledged = record(filesystem, workload)
    chance = random.Random(workload.__name__)
    for first in disk.crashes(cuts, chance):
        with opened(first):
            pass
        for second in first.disk.crashes(again, chance):
            with told(first), opened(second) as store:
                check(store, acknowledged.until(first.position))


def record(filesystem: str, workload: Workload) -> tuple[Disk, Acknowledged]:
    """Make a store on a new disk and run a workload: the disk, and what was acknowledged when."""
    disk = new_disk(filesystem)
    acknowledged = Acknowledged(disk)
    with disk.mounted() as folder, Store(folder / "root", limits=JOURNALED) as store:
        workload(store, acknowledged)
    return disk, acknowledged


@contextlib.contextmanager
def opened(crash: Crash) -> Iterator[Store]:
    """The store as it opens after a power cut."""
    with told(crash), crash.disk.mounted() as folder, Store(folder / "root", limits=JOURNALED) as store:
        yield store


@contextlib.contextmanager
def told(crash: Crash) -> Iterator[None]:
    """Let an error of the body say after which power cut it came."""
    try:
        yield
    except Exception as error:
        error.add_note(crash.story)
        raise
