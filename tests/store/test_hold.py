"""While a backup is open, what is removed stays in the trash, and nobody else notices."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from store_kit import AUTHOR, SMALL, Clock, blob_path, commit, delete, move, removed, save

from udfstore.admin import BackupBlob, BackupEnd, BackupHead, LogPart
from udfstore.calls import Load
from udfstore.digest import BlobId
from udfstore.errors import Closing, Corrupt, Gone, NotFound
from udfstore.refs import Ref
from udfstore.service import Register, Service
from udfstore.store import Store


def trash(store: Store) -> set[str]:
    return {path.name for path in (store.root / "trash").iterdir()}


def test_what_is_removed_at_once_waits_for_the_end(store: Store, clock: Clock) -> None:
    one, two = save(store, b"1"), save(store, b"2")
    with store.backup():
        assert delete(store, one, now=True).id == one
        delete(store, two)
        with pytest.raises(Gone):
            store.open(one)
        clock.advance(3600)
        assert store.sweep() == 0
        assert store.sweep(now=True) == 0
        assert trash(store) == {one.hex, two.hex}
    assert (store.sweep(), trash(store)) == (2, set())


def test_what_snapshots_kept_waits_too(store: Store, clock: Clock) -> None:
    with store.backup():
        for number in range(12):
            clock.advance(301)
            commit(store, b"manifest %d" % number, b"state %d" % number)
        removed(store)
        assert BlobId.of(b"state 0").hex in trash(store)
        with store.open_held(BlobId.of(b"state 0")) as file:
            assert file.pread(0, 10) == b"state 0"
    clock.advance(3600)
    assert store.sweep() == 4


def test_held_content_is_found_wherever_it_lies(store: Store) -> None:
    id = save(store, b"x")
    with store.backup():
        for act in (lambda: None, lambda: delete(store, id), lambda: save(store, b"x"), lambda: delete(store, id)):
            act()
            with store.open_held(id) as file:
                assert file.pread(0, 1) == b"x"
        with pytest.raises(NotFound):
            store.open_held(BlobId.of(b"y"))


def test_two_backups_hold_for_themselves(store: Store) -> None:
    id = save(store, b"x")
    with store.backup():
        with store.backup():
            delete(store, id, now=True)
        assert store.sweep(now=True) == 0
    assert store.sweep(now=True) == 1


def test_all_belongs_to_one_moment(store: Store) -> None:
    here = [save(store, b"content %d" % number) for number in range(1200)]
    move(store, "t", here[0])
    with store.backup() as pages:
        (head,) = next(pages)
        assert isinstance(head, BackupHead)
        delete(store, here[1], now=True)
        move(store, "t", save(store, b"later"))
        items = [item for page in pages for item in page]
    blobs = [item for item in items if isinstance(item, BackupBlob)]
    assert [blob.id for blob in blobs] == sorted(here)
    assert (head.blobs, head.bytes) == (1200, sum(blob.size for blob in blobs))
    assert [blob.saved_ns for blob in blobs[:3]] == [blob_path(store, blob.id).stat().st_mtime_ns for blob in blobs[:3]]
    assert isinstance(items[-1], BackupEnd)
    log = b"".join(item.data for item in items if isinstance(item, LogPart))
    assert (head.revision, head.log_bytes) == (1, len(log))
    assert (store.root / "log" / "00000001").read_bytes().startswith(log)


def test_a_backup_that_nobody_reads_lets_go(store: Store) -> None:
    for _ in range(3):
        with store.backup() as pages:
            next(pages)
    assert store._parts.remover._holds == set()
    assert save(store, b"x")


def test_a_backup_ends_with_the_store(root: Path) -> None:
    store = Store(root, limits=SMALL)
    store.close()
    with pytest.raises(Closing), store.backup():
        pass


def test_a_log_that_cannot_be_read_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    move(store, "t", save(store, b"x"))
    (store.root / "log" / "00000001").rename(store.root / "log" / "away")
    with store.backup() as pages, pytest.raises(Corrupt, match="the log is damaged here"):
        list(pages)
    (store.root / "log" / "away").rename(store.root / "log" / "00000001")


def test_only_who_backs_up_reads_what_is_gone(store: Store) -> None:
    service = Service(store, Register())
    mine, other = service.register.enter(AUTHOR, 0), service.register.enter(AUTHOR, 0)
    id = save(store, b"x")
    call = Load(Ref.of(id))
    with service.backup(mine):
        delete(store, id, now=True)
        head, file = service.open(mine, call)
        with file:
            assert (head.info.size, file.pread(0, 1)) == (1, b"x")
        with pytest.raises(Gone):
            service.open(other, call)
    with pytest.raises(Gone):
        service.open(mine, call)


def test_loads_of_a_backup_never_miss_a_removal(store: Store) -> None:
    """Whatever instant of the removal a load meets."""
    service = Service(store, Register())
    caller = service.register.enter(AUTHOR, 0)
    ids = [save(store, b"%d" % number) for number in range(300)]
    with service.backup(caller):
        deleting = threading.Thread(target=lambda: [delete(store, id, now=True) for id in ids])
        deleting.start()
        while deleting.is_alive():
            for id in ids:
                service.open(caller, Load(Ref.of(id)))[1].close()
        deleting.join()
