"""The catalog is a view: lost, damaged or old, it comes out the same."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from store_kit import AUTHOR, Clock, abandon, delete, failing, move, open_store, read, request, rollback, save, untag

from udfstore.calls import Used
from udfstore.errors import Corrupt, UdfstoreError
from udfstore.model import BlobInfo, Entry, Event
from udfstore.refs import Prefix, Ref, Tag
from udfstore.store import Store
from udfstore.store.catalog import JOURNAL_BYTES, Catalog, Unusable

ALL = Prefix.parse("")


def fill(store: Store, clock: Clock) -> None:
    """Something of everything."""
    ids = []
    for n in range(6):
        clock.advance(1)
        ids.append(save(store, bytes([n]) * (n + 1)))
    move(store, "m/a", ids[0], labels={"k": "ü"}, links=(ids[5],), note="first")
    move(store, "m/a", ids[1])
    rollback(store, "m/a")
    move(store, "m/b", ids[2])
    untag(store, "m/b")
    move(store, "c", ids[3])
    delete(store, "c@1", force=True)
    delete(store, ids[4], now=True)
    store.submit(Used(Tag.parse("m/a"), 3, ids[0], "why not", request()), AUTHOR).result()
    delete(store, ids[2])
    save(store, b"\2\2\2")


def picture(store: Store) -> tuple[tuple[int, int, int], list[Entry], list[list[Entry]], list[Event], list[BlobInfo]]:
    """All that the store tells; when a file was hashed last is left out, because only the catalog knows it."""
    histories = [store.history(Tag.parse(tag)) for tag in ("m/a", "m/b", "c")]
    blobs = [BlobInfo(b.id, b.size, b.saved_ns, 0, b.tags, b.history) for b in store.blobs()]
    return store.totals(), store.tags(ALL), histories, store.events(ALL, 0)[0], blobs


@pytest.fixture
def filled(root: Path, clock: Clock) -> Path:
    with open_store(root, clock=clock) as store:
        fill(store, clock)
    return root


def remove_catalog(root: Path) -> None:
    for path in root.glob("catalog.db*"):
        path.unlink()


def test_a_long_read_leaves_no_large_journal(tmp_path: Path) -> None:
    with open_store(tmp_path / "root") as store:
        id = save(store, b"x")

        def moves(count: int) -> int:
            for n in range(count):
                move(store, f"m/{n}", id)
            return (store.root / "catalog.db-wal").stat().st_size

        with store._parts.catalog.reading() as view:
            view.head()
            grown = moves(250)
        assert grown > JOURNAL_BYTES
        assert moves(3) <= JOURNAL_BYTES


def test_a_lost_catalog_is_made_again_and_tells_the_same(filled: Path) -> None:
    with open_store(filled) as store:
        before = picture(store)
    remove_catalog(filled)
    said: list[str] = []
    with open_store(filled, say=said.append) as store:
        assert picture(store) == before
        with pytest.raises(UdfstoreError):
            store.resolve(Ref.parse("c"))
    assert any("no catalog" in line for line in said)


def test_totals_are_what_a_count_gives(filled: Path) -> None:
    with open_store(filled) as store:
        assert store.totals() == (
            len(store.blobs()),
            sum(blob.size for blob in store.blobs()),
            len(store.tags(ALL)),
        )


@pytest.mark.parametrize("place", [0, 5000, -5000])
def test_a_damaged_catalog_is_made_again(filled: Path, place: int) -> None:
    with open_store(filled) as store:
        before = picture(store)
    path = filled / "catalog.db"
    data = bytearray(path.read_bytes())
    for n in range(0, len(data), 4096) if place else (0,):
        data[n : n + 100] = b"\xff" * 100
    path.write_bytes(data)
    said: list[str] = []
    with open_store(filled, say=said.append) as store:
        assert picture(store) == before
    assert said[0].startswith("the catalog is damaged (")


def test_a_catalog_that_cannot_be_read_is_not_called_damaged(filled: Path) -> None:
    with open_store(filled) as store:
        id = store.id
    filled.joinpath("catalog.db-wal").mkdir()
    with pytest.raises(Unusable, match=r"^the catalog cannot be read \(unable to open"):
        Catalog(filled / "catalog.db", id)


@pytest.mark.parametrize(
    "change",
    [lambda data: b"", lambda data: bytes(len(data)), lambda data: data[: len(data) // 2], lambda data: data + data],
    ids=["empty", "zeroed", "short", "grown"],
)
def test_a_catalog_that_is_not_what_was_written(filled: Path, change: Callable[[bytes], bytes]) -> None:
    with open_store(filled) as store:
        before = picture(store)
    path = filled / "catalog.db"
    path.write_bytes(change(path.read_bytes()))
    with open_store(filled) as store:
        assert store.problem == ""
        assert picture(store) == before


def test_an_old_catalog_catches_up(root: Path, clock: Clock) -> None:
    with open_store(root, clock=clock) as store:
        old = save(store, b"old")
        move(store, "t", old)
    shutil.copy(root / "catalog.db", root.with_name("saved.db"))
    with open_store(root, clock=clock) as store:
        fill(store, clock)
        move(store, "t", old)
        before = store.tags(ALL), store.events(ALL, 0), store.revision
    shutil.copy(root.with_name("saved.db"), root / "catalog.db")
    with open_store(root, clock=clock) as store:
        assert store.revision == before[2] + 1, "and the note of the clean end"
        assert (store.tags(ALL), store.events(ALL, 0)[0]) == (before[0], before[1][0])
        assert read(store, "t") == b"old"


def test_a_catalog_of_another_store_is_made_again(filled: Path, clock: Clock) -> None:
    other = filled.with_name("other")
    with open_store(other, clock=clock) as store:
        move(store, "foreign", save(store, b"x"))
    shutil.copy(other / "catalog.db", filled / "catalog.db")
    with open_store(filled) as store:
        assert [entry.tag for entry in store.tags(ALL)] == ["c", "m/a"]


def test_a_catalog_of_another_schema_is_made_again(filled: Path) -> None:
    db = sqlite3.connect(filled / "catalog.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with open_store(filled) as store:
        assert len(store.tags(ALL)) == 2


def test_making_it_again_may_be_broken_off_anywhere(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(filled) as store:
        before = picture(store)
    remove_catalog(filled)
    names = ("create", "fdatasync", "rename", "fsync_folder", "unlink", "open_update")
    for when in range(1, 40):
        with failing(monkeypatch, names, errno.EIO, when) as count:
            try:
                store = open_store(filled)
            except UdfstoreError:
                continue
            reached = count() >= when
            abandon(store)
        if not reached:
            break
    with open_store(filled) as store:
        assert picture(store) == before


def test_a_damaged_blob_is_still_known_when_the_catalog_is_made_again(root: Path) -> None:
    with open_store(root) as store:
        tagged, untagged = save(store, b"tagged"), save(store, b"untagged")
        move(store, "t", tagged)
        for id in (tagged, untagged):
            path = root / "blobs" / id.hex[:2] / id.hex
            path.chmod(0o600)
            path.write_bytes(b"broken")
            with pytest.raises(Corrupt):
                store.verify(id)
    remove_catalog(root)
    with open_store(root) as store:
        for id in (tagged, untagged):
            with pytest.raises(Corrupt):
                store.open(id)


def test_strangers_among_the_files_are_not_blobs(root: Path) -> None:
    with open_store(root) as store:
        save(store, b"x")
    (root / "blobs" / "ab" / "README").write_text("hello")
    (root / "trash" / "README").write_text("hello")
    remove_catalog(root)
    with open_store(root) as store:
        assert store.totals() == (1, 1, 0)
