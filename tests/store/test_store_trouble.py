"""Trouble that comes from outside a blob: nothing good is thrown away for it, and nobody waits for ever."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_kit import (
    AUTHOR,
    Clock,
    abandon,
    blob_path,
    delete,
    failing,
    move,
    open_store,
    overwrite,
    read,
    request,
    save,
)

from udfstore.calls import Delete, Move, Step
from udfstore.digest import BlobId
from udfstore.errors import Busy, Closing, Corrupt, InternalError, NoSpace, ReadOnly, UdfstoreError
from udfstore.refs import Ref, Tag
from udfstore.store import Store, catalog, osfs
from udfstore.store import store as store_module
from udfstore.store.blobs import BlobFile, hash_file

WAIT_S = 30


def folder(store: Store, name: str) -> list[str]:
    return [path.name for path in (store.root / name).iterdir()]


def sql_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("told by SQLite")
    error.sqlite_errorcode = code
    return error


class Stubborn(sqlite3.Connection):
    """A connection on which one statement fails."""

    statement, error = "", sql_error(sqlite3.SQLITE_IOERR)

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if self.statement and sql.startswith(self.statement):
            raise self.error
        return super().execute(sql, *arguments)


@pytest.fixture
def stubborn(monkeypatch: pytest.MonkeyPatch, store: Store) -> type[Stubborn]:
    """Connections of the store's readers from here on."""

    class Reader(Stubborn):
        pass

    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Reader)

    monkeypatch.setattr(catalog, "_connect", connect)
    store._parts.catalog._close_readers()
    return Reader


# --- a catalog that cannot be read -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY, Busy),
        (sqlite3.SQLITE_BUSY | 1 << 8, Busy),
        (sqlite3.SQLITE_CANTOPEN, Busy),
        (sqlite3.SQLITE_IOERR, InternalError),
        (sqlite3.SQLITE_CORRUPT, Corrupt),
        (sqlite3.SQLITE_NOTADB, Corrupt),
    ],
)
def test_a_catalog_that_cannot_be_read_condemns_no_blob(
    store: Store, stubborn: type[Stubborn], code: int, kind: type[UdfstoreError]
) -> None:
    id = save(store, b"good")
    stubborn.statement, stubborn.error = "SELECT", sql_error(code)
    with pytest.raises(kind, match="catalog"):
        store.verify(id)
    with pytest.raises(kind):
        store.sweep()
    assert folder(store, "quarantine") == []
    stubborn.statement = ""
    assert (store.verify(id).size, read(store, id)) == (4, b"good")


def test_a_reader_that_failed_to_end_is_not_used_again(store: Store, stubborn: type[Stubborn]) -> None:
    id = save(store, b"x")
    stubborn.statement = "COMMIT"
    with pytest.raises(InternalError):
        store.info(Ref.of(id))
    stubborn.statement = ""
    move(store, "t", id)
    assert store.entry(Ref.parse("t")).id == id


def test_a_file_of_the_wrong_length_goes_to_quarantine(store: Store) -> None:
    id = save(store, b"content")
    overwrite(blob_path(store, id), b"cont")
    with pytest.raises(Corrupt):
        store.verify(id)
    assert len(folder(store, "quarantine")) == 1


def test_a_blob_that_is_healed_while_it_is_hashed_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    id = save(store, b"content")
    overwrite(blob_path(store, id), b"CONTENT")

    def hash_then_heal(file: BlobFile) -> BlobId:
        found = hash_file(file)
        save(store, b"content")
        return found

    monkeypatch.setattr(store_module, "hash_file", hash_then_heal)
    assert store.verify(id).size == 7
    assert read(store, id) == b"content"


# --- nobody waits for ever -------------------------------------------------------------------------------------------


def test_a_change_that_is_durable_is_answered_without_reading(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    id, parts = save(store, b"x"), store._parts
    commit = parts.catalog.commit

    def commit_then_break() -> None:
        commit()
        monkeypatch.setattr(parts.catalog.view, "head", fail)

    def fail() -> None:
        raise sql_error(sqlite3.SQLITE_IOERR)

    monkeypatch.setattr(parts.catalog, "commit", commit_then_break)
    future = store.submit(Move((Step(Tag.parse("t"), Ref.of(id)),), "", request()), AUTHOR)
    assert future.result(WAIT_S).entries[0].version == 1
    assert store.revision == 1


def raising(error: Exception) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


def test_a_log_that_cannot_be_prepared_ends_writing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(root)
    id = save(store, b"x")
    monkeypatch.setattr(store._parts.committer._log, "prepare", raising(OSError(errno.EIO, "broken")))
    move(store, "t", id)
    future = store.submit(Move((Step(Tag.parse("t"), Ref.of(id)),), "", request()), AUTHOR)
    with pytest.raises(ReadOnly, match="broken"):
        future.result(WAIT_S)
    store.close()


def test_a_catalog_that_cannot_even_roll_back_ends_writing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(root)
    id, parts = save(store, b"x"), store._parts
    with monkeypatch.context() as patch:
        for name in ("begin", "rollback"):
            patch.setattr(parts.catalog, name, raising(sql_error(sqlite3.SQLITE_IOERR)))
        for _ in range(2):
            future = store.submit(Move((Step(Tag.parse("t"), Ref.of(id)),), "", request()), AUTHOR)
            with pytest.raises(ReadOnly, match="catalog"):
                future.result(WAIT_S)
    store.close()


def test_a_deletion_while_the_store_closes_is_answered(root: Path) -> None:
    store = open_store(root)
    id = save(store, b"x")
    store._parts.remover.close()
    with pytest.raises(Closing):
        store.submit(Delete(Ref.of(id), request=request()), AUTHOR).result(WAIT_S)
    abandon(store)
    with open_store(root) as store:
        assert folder(store, "trash") == [id.hex]


def test_a_large_piece_of_a_save_after_the_close(store: Store) -> None:
    upload = store.upload()
    store.close()
    with pytest.raises(Closing):
        upload.write(bytes(1 << 20))
    upload.abort()


# --- removal ---------------------------------------------------------------------------------------------------------


def test_one_blob_that_cannot_be_removed_does_not_keep_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, *others = [save(store, content) for content in (b"1", b"2", b"3")]
    for id in (one, *others):
        delete(store, id)
    unlink, busy = osfs.unlink, True

    def unlink_but_one(path: Path) -> None:
        if busy and path.name == one.hex:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        unlink(path)

    monkeypatch.setattr(osfs, "unlink", unlink_but_one)
    with pytest.raises(InternalError, match="removing"):
        store.sweep(now=True)
    assert folder(store, "trash") == [one.hex]
    busy = False
    assert store.sweep(now=True) == 1


def test_a_sweep_tells_what_the_disk_refuses(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store._parts.reserve, "restore", lambda floor: raising(OSError(errno.EIO, "broken"))())
    with pytest.raises(InternalError, match="broken"):
        store.sweep()


def test_content_that_is_saved_again_leaves_nothing_in_the_trash(store: Store, clock: Clock) -> None:
    id = save(store, b"x")
    delete(store, id)
    assert folder(store, "trash") == [id.hex]
    save(store, b"x")
    assert folder(store, "trash") == []
    assert read(store, id) == b"x"


# --- a copy that somebody wrote anew ---------------------------------------------------------------------------------


def test_a_touched_file_is_synced_before_a_save_relies_on_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    id = save(store, b"x")
    os.utime(blob_path(store, id))
    synced: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(osfs, "fdatasync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
        patch.setattr(osfs, "fsync_folder", lambda path: synced.append(str(path)))
        assert store.present(id) == 1
    path = blob_path(store, id)
    assert synced == [str(path), str(path.parent)]


@pytest.mark.parametrize(("error", "told"), [(errno.EIO, InternalError), (errno.ENOSPC, NoSpace)])
def test_a_touched_file_that_cannot_be_synced_is_not_relied_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: int, told: type[Exception]
) -> None:
    id = save(store, b"x")
    os.utime(blob_path(store, id))
    with failing(monkeypatch, ("fdatasync",), error, once=True), pytest.raises(told):
        store.present(id)
    assert store.present(id) is None, "a second sync would only say that all is well"
    save(store, b"x")
    assert store.present(id) == 1


def test_a_store_that_cannot_note_its_end_closes_all_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(root)
    move(store, "t", save(store, b"x"))
    store._parts.committer._log.close()
    with failing(monkeypatch, ("open_update",), errno.EIO):
        store.close()
    with open_store(root) as store:
        assert store.problem == ""
        assert read(store, "t") == b"x"


def test_a_sweep_ends_where_a_folder_is_in_doubt(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"1", b"2"):
        delete(store, save(store, content))
    with failing(monkeypatch, ("fsync_folder",), errno.EIO) as count:
        with pytest.raises(InternalError):
            store.sweep(now=True)
        assert count() == 1, "a second sync would only say that all is well"
    assert "syncing" in store.problem
