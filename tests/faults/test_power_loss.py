"""Power cuts at any moment of saves, moves, removals and snapshots: what was acknowledged is there, nothing half done.

A workload runs once on each file system, from the making of its store to the end; then the power goes at moments that
are drawn at random, more of them when `UDFSTORE_CRASH` is set. See `power` for how to add a workload.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from ledger import Ledger
from logdisk import FILESYSTEMS
from power import AUTHOR, LONG, Acknowledged, Apart, Workload, history_of, move, save, survives, survives_twice

from udfstore.calls import Delete
from udfstore.digest import BlobId
from udfstore.refs import Ref, Tag
from udfstore.store import Store

CUTS = 300 if LONG else 12
AGAIN = (30, 10) if LONG else (3, 4)
"""First cuts, and for each as many second ones."""

SIZES = (0, 1, 100, 3000, 5000, 9000, 20_000, 70_000, 300_000, 1_500_000)
"""Bytes: none, within a page, some pages, more than a small blob, several pieces of an upload."""

AUTO = Tag.parse("snapshots/pump/auto")
AUTO_KEPT = 10
"""Versions of such a tag that keep their content (the rule that is built in)."""

everywhere = pytest.mark.parametrize("filesystem", FILESYSTEMS)


def saves_and_moves(store: Store, ledger: Acknowledged) -> None:
    """Four threads save content of all sizes, half of it the same as another's, and move the tag to it."""

    def change(who: int) -> None:
        for number, size in enumerate(SIZES):
            id = save(store, bytes([who // 2, number]) * (size // 2))
            ledger.save(id)
            ledger.move(move(store, id), id)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(change, range(4)))


def small_saves(store: Store, ledger: Acknowledged) -> None:
    """Four threads fill the journal some times over; files become durable in checkpoints, some of them asked for."""

    def change(who: int) -> None:
        for number in range(40):
            id = save(store, b"%d %d " % (who, number) * 700)
            ledger.save(id)
            if number % 8 == who:
                ledger.move(move(store, id), id)
            if number % 15 == who:
                assert store._parts.journal is not None
                store._parts.journal.settle([id])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(change, range(4)))


def removals(store: Store, ledger: Acknowledged) -> None:
    """Save, remove for good or into the trash, and save some of it again."""
    for number in range(20):
        data = b"%d" % number * 3000
        id = save(store, data)
        ledger.save(id)
        if number % 2:
            ledger.remove(id)
            store.submit(Delete(Ref.of(id), now=number % 4 == 1, request=os.urandom(16)), AUTHOR).result()
        if number % 3:
            save(store, data)
            ledger.save(id)
    store.sweep(now=True)


def clones(store: Store, ledger: Acknowledged) -> None:
    """Save files of the same file system that were just written, by their blocks, and write to them again."""
    source = store.root.parent / "source"
    for number in range(12):
        data = b"%d" % number * 100_000
        source.write_bytes(data + b"more than was announced" * (number % 2))
        upload = store.upload(size=len(data))
        with source.open("r+b", buffering=0) as file:
            assert upload.clone(file.fileno())
            file.write(b"another")
            id, _ = upload.commit()
        assert id == BlobId.of(data)
        ledger.save(id)


def snapshots(store: Store, ledger: Acknowledged) -> None:
    """Rounds of a node that changes and one that seldom does; what retention lets go is removed at once."""
    for number in range(3 * AUTO_KEPT):
        states = save(store, b"state %d" % number * 500), save(store, b"state %d" % (number // 15) * 900)
        manifest = save(store, b"manifest %d" % number)
        ledger.move(move(store, manifest, AUTO, states), manifest)
        store.let_go((AUTO,)).result()


def snapshots_kept(store: Store, ledger: Ledger) -> None:
    """The newest snapshot is the acknowledged one or a later one, and those that are kept are whole."""
    history = history_of(store, AUTO)
    versions = {entry.version: entry.id for entry in history}
    assert {version: versions.get(version) for version in ledger.moved} == ledger.moved, "a snapshot was lost"
    for id in {id for entry in history[:AUTO_KEPT] for id in (entry.id, *entry.links)}:
        assert id is not None
        store.verify(id)


@everywhere
@pytest.mark.parametrize("workload", [saves_and_moves, small_saves, removals])
def test_what_was_acknowledged_survives(apart: Apart, filesystem: str, workload: Workload) -> None:
    apart(survives, filesystem, workload, CUTS)


@pytest.mark.parametrize("filesystem", ["xfs", "btrfs"])
def test_blocks_that_were_shared_survive(apart: Apart, filesystem: str) -> None:
    apart(survives, filesystem, clones, CUTS)


@everywhere
def test_snapshots_survive(apart: Apart, filesystem: str) -> None:
    apart(survives, filesystem, snapshots, CUTS, snapshots_kept)


@everywhere
@pytest.mark.parametrize("workload", [saves_and_moves, small_saves])
def test_the_power_goes_again_while_the_store_opens(apart: Apart, filesystem: str, workload: Workload) -> None:
    apart(survives_twice, filesystem, workload, *AGAIN)
