"""The committer: many at once, a log that moved, a log or a catalog that cannot be written."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from store_kit import AUTHOR, SMALL, abandon, failing, move, open_store, read, request, save

from udfstore.calls import Move, Moved, Step
from udfstore.digest import BlobId
from udfstore.errors import Busy, Closing, Conflict, InternalError, NoSpace, ReadOnly, TooLarge
from udfstore.model import Kind
from udfstore.refs import Prefix, Ref, Tag
from udfstore.store import Head, HeadMoved, Store
from udfstore.store.blobs import Files
from udfstore.store.catalog import Catalog, make
from udfstore.store.changes import judge
from udfstore.store.committer import Committer
from udfstore.store.groups import Group, decode_group, encode_group
from udfstore.store.layout import Layout


class Gate:
    """Holds the committer inside a commit until told, so that others queue up behind it."""

    def __init__(self, store: Store) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        store.on_commit.append(self)
        self.store = store

    def __call__(self, revision: int) -> None:
        self.entered.set()
        assert self.open.wait(30)
        self.store.on_commit.remove(self)


def step(tag: str, ref: str | BlobId, expected: int | None = None) -> Move:
    return Move((Step(Tag.parse(tag), Ref.of(ref), expected),), "", request())


def test_what_gathers_meanwhile_becomes_one_group(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    id, gate = save(store, b"x"), Gate(store)
    futures = [store.submit(step("t", id), AUTHOR)]
    assert gate.entered.wait(30)
    futures += [store.submit(step("t", id, expected=n), AUTHOR) for n in range(1, 21)]
    with failing(monkeypatch, ("fdatasync",), errno.EIO, when=99) as count:
        gate.open.set()
        versions = [future.result().entries[0].version for future in futures]
    assert versions == list(range(1, 22)), "each is judged after the one before"
    assert count() == 1


def test_one_refusal_in_a_group_leaves_the_others(store: Store) -> None:
    id, gate = save(store, b"x"), Gate(store)
    first = store.submit(step("t", id), AUTHOR)
    assert gate.entered.wait(30)
    futures = [store.submit(step("t", id, expected=1), AUTHOR) for _ in range(3)]
    gate.open.set()
    assert first.result().entries[0].version == 1
    assert futures[0].result().entries[0].version == 2
    for future in futures[1:]:
        with pytest.raises(Conflict, match="moved"):
            future.result()
    assert store.revision == 2


def test_the_same_request_twice_in_one_group_is_one_record(store: Store) -> None:
    id, gate = save(store, b"x"), Gate(store)
    store.submit(step("t", id), AUTHOR)
    assert gate.entered.wait(30)
    call = step("u", id)
    futures = [store.submit(call, AUTHOR) for _ in range(2)]
    gate.open.set()
    assert futures[0].result() == futures[1].result()
    assert store.revision == 2


def test_a_full_queue_says_busy(root: Path) -> None:
    with open_store(root, limits=replace(SMALL, queue=3)) as store:
        id, gate = save(store, b"x"), Gate(store)
        store.submit(step("t", id), AUTHOR)
        assert gate.entered.wait(30)
        waiting = [store.submit(step("t", id), AUTHOR) for _ in range(4)]
        with pytest.raises(Busy):
            waiting[3].result()
        gate.open.set()
        assert waiting[2].result().entries[0].version == 4


def test_closing_finishes_what_is_queued(root: Path) -> None:
    store = open_store(root)
    id, gate = save(store, b"x"), Gate(store)
    store.submit(step("t", id), AUTHOR)
    assert gate.entered.wait(30)
    waiting = [store.submit(step("t", id), AUTHOR) for _ in range(50)]
    closing = threading.Thread(target=store.close)
    closing.start()
    gate.open.set()
    closing.join()
    assert [future.result().entries[0].version for future in waiting] == list(range(2, 52))
    with pytest.raises(Closing):
        store.submit(step("t", id), AUTHOR).result()
    with open_store(root) as store:
        assert store.revision == 52, "51 moves and the note of the clean end"


def test_a_group_that_grows_too_large_is_two(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    id, gate = save(store, b"x"), Gate(store)
    store.submit(step("t", id), AUTHOR)
    assert gate.entered.wait(30)
    futures = [store.submit(replace(step("t", id), note="n" * 4000), AUTHOR) for _ in range(8)]
    with failing(monkeypatch, ("fdatasync",), errno.EIO, when=99) as count:
        gate.open.set()
        assert [future.result().entries[0].version for future in futures] == list(range(2, 10))
    assert count() >= 3, "16 KiB hold three such records"


def test_a_record_that_no_group_can_hold_is_refused(store: Store) -> None:
    links = tuple(save(store, bytes([n])) for n in range(130))
    with pytest.raises(TooLarge):
        move(store, "t", links[0], links=links)
    assert store.revision == 0


def test_watchers_are_told_before_the_answer(store: Store) -> None:
    told: list[int] = []
    store.on_commit.append(told.append)
    id = save(store, b"x")
    assert told == [], "a save makes no record"
    move(store, "t", id)
    assert told == [1]


def test_a_bug_in_one_change_fails_that_change(store: Store) -> None:
    id = save(store, b"x")
    broken: Any = Move((None,), "", request())  # type: ignore[arg-type]
    with pytest.raises(InternalError, match="judging"):
        store.submit(broken, AUTHOR).result()
    assert move(store, "t", id).entries[0].version == 1


# --- a log that fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pwrite", "fdatasync"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_failed_write_of_the_log_ends_writing_until_the_restart(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    store = open_store(root)
    id = save(store, b"x")
    move(store, "t", id)
    with failing(monkeypatch, (name,), number, once=True), pytest.raises(ReadOnly, match="restart"):
        move(store, "t", id)
    assert "writing the log failed" in store.problem
    with pytest.raises(ReadOnly):
        move(store, "t", id)
    with pytest.raises(ReadOnly):
        save(store, b"y")
    assert (store.revision, read(store, "t")) == (1, b"x")
    assert store.entry(Ref.parse("t")).version == 1
    store.close()
    with open_store(root) as store:
        assert store.problem == ""
        move(store, "t", id)


def test_an_append_needs_no_space(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with open_store(root, say=said.append) as store:
        id = save(store, b"x")
        with failing(monkeypatch, ("write", "allocate"), errno.ENOSPC):
            for _ in range(14):
                move(store, "t", id, note="n" * 4000)
            with pytest.raises(NoSpace, match="log"):
                move(store, "t", id, note="n" * 4000)
            assert store.problem == ""
            assert read(store, "t") == b"x"
            moved = store.revision
        assert move(store, "t", id).entries[0].version == moved + 1
    assert any("next segment" in line for line in said)


def test_too_many_open_files_fail_that_change_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    id = save(store, b"x")
    for _ in range(14):
        move(store, "t", id, note="n" * 4000)
    with failing(monkeypatch, ("open_update",), errno.EMFILE):
        with pytest.raises(Busy):
            move(store, "t", id, note="n" * 4000)
        assert save(store, b"y") == BlobId.of(b"y"), "a save needs no record"
    assert store.problem == ""
    assert move(store, "t", id, note="n" * 4000).entries[0].version == 15


def test_a_next_segment_whose_name_may_not_last_is_not_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(root)
    id = save(store, b"x")
    with failing(monkeypatch, ("fsync_folder",), errno.EIO):
        for _ in range(8):
            with contextlib.suppress(ReadOnly):
                move(store, "t", id, note="n" * 4000)
    assert "next segment" in store.problem
    assert not (root / "log" / "00000002").exists()
    versions = store.entry(Ref.parse("t")).version
    store.close()
    with open_store(root) as store:
        assert move(store, "t", id).entries[0].version == versions + 1


# --- a catalog that fails --------------------------------------------------------------------------------------------


class FailingCommits:
    """Lets the catalog's COMMIT fail as on a full disk, so many times."""

    def __init__(self, catalog: Catalog, times: int) -> None:
        self.catalog, self.times, self.real = catalog, times, catalog.commit

    def __call__(self) -> None:
        if self.times:
            self.times -= 1
            raise sqlite3.OperationalError("database or disk is full")
        self.real()


def test_a_catalog_that_fails_once_gets_the_reserve(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    id = save(store, b"x")
    monkeypatch.setattr(store._parts.catalog, "commit", FailingCommits(store._parts.catalog, 1))
    moved = move(store, "t", id)
    assert (moved.entries[0].version, store.revision, store.problem) == (1, 1, "")
    assert not (store.root / "reserve").exists()
    assert save(store, b"y") == BlobId.of(b"y")
    store.sweep()
    assert (store.root / "reserve").exists(), "taken again when there is room"


def test_a_catalog_that_fails_twice_ends_writing_and_the_log_keeps_the_change(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(root)
    id = save(store, b"x")
    monkeypatch.setattr(store._parts.catalog, "commit", FailingCommits(store._parts.catalog, 2))
    with pytest.raises(ReadOnly, match="catalog"):
        move(store, "t", id)
    assert "catalog" in store.problem
    abandon(store)
    with open_store(root) as store:
        assert read(store, "t") == b"x", "the group was synced; whoever repeats finds it"


# --- a log that others write, too ------------------------------------------------------------------------------------


class SharedLog:
    """A log in memory that somebody else may append to."""

    def __init__(self) -> None:
        self.head = Head()
        self.data: list[tuple[bytes, Head]] = []

    def append(self, records: Sequence[tuple[Kind, bytes]], *, after: int) -> Head:
        if after != self.head.revision:
            raise HeadMoved
        data, chain = encode_group(after + 1, self.head.chain, records)
        self.head = Head(after + len(records), chain, 1, 0, 0)
        self.data.append((data, self.head))
        return self.head

    def groups(self, after: Head) -> Iterator[tuple[Group, Head]]:
        for data, head in self.data:
            if head.revision > after.revision:
                yield decode_group(data), head

    def prepare(self) -> None:
        """Memory needs none."""

    def close(self) -> None:
        """Nor is there anything to release."""


@pytest.fixture
def pair(root: Path) -> Iterator[tuple[Committer, Committer]]:
    """Two committers, each with a catalog of its own, over one log and one set of files."""
    layout, log = Layout(root), SharedLog()
    for folder in layout.folders:
        folder.mkdir(parents=True)
    committers = []
    for name in ("a", "b"):
        catalog = make(root / name, b"s" * 16)
        committer = Committer(
            log, catalog, Files(layout), SMALL, clock=lambda: 1, release_reserve=lambda: False, require=str
        )
        committer.start()
        committers.append((committer, catalog))
    (one, _), (two, _) = committers
    yield one, two
    for committer, catalog in committers:
        committer.stop()
        catalog.close()


def test_a_log_that_moved_is_read_and_the_change_judged_again(root: Path, pair: tuple[Committer, Committer]) -> None:
    one, two = pair
    id = BlobId.of(b"x")
    Layout(root).blob(id).write_bytes(b"x")

    def submit(committer: Committer, call: Move) -> Future[Moved]:
        return committer.submit(judge(call, AUTHOR))

    call = step("t", id, expected=0)
    assert submit(one, call).result().entries[0].version == 1
    with pytest.raises(Conflict, match="exists"):
        submit(two, step("t", id, expected=0)).result()
    assert submit(two, step("t", id, expected=1)).result().entries[0].version == 2
    assert submit(one, step("t", id)).result().entries[0].version == 3
    assert submit(two, call).result().entries[0].version == 1, "a repeat that reaches the other one"
    assert (one.revision, two.revision) == (3, 2)


def test_events_far_behind_come_in_bounded_looks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("udfstore.store.view.EVENT_SPAN", 4)
    id = save(store, b"x")
    for tag in ("a", "a", "b", "b", "b", "b", "b", "b", "b", "a"):
        move(store, tag, id)
    cursor, seen = 0, []
    while cursor < store.revision:
        events, cursor = store.events(Prefix.parse("a"), cursor)
        seen += [event.revision for event in events]
    assert seen == [1, 2, 10]


def test_a_burst_longer_than_what_is_left_of_the_log_makes_its_segments_as_it_goes(store: Store) -> None:
    id, gate = save(store, b"x"), Gate(store)
    futures = [store.submit(step("t", id), AUTHOR)]
    assert gate.entered.wait(30)
    futures += [store.submit(step(f"t/{n}", id), AUTHOR) for n in range(1200)]
    gate.open.set()
    assert all(future.result().entries for future in futures)
    assert len(list((store.root / "log").iterdir())) > 4
