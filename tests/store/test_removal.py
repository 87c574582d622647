"""Removal, broken off anywhere: what is condemned goes, what is wanted again stays, nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import errno
import shutil
import threading
from pathlib import Path

import pytest
from store_kit import Clock, abandon, blob_path, delete, failing, move, open_store, read, save

from udfstore.digest import BlobId
from udfstore.errors import Gone, NotFound, UdfstoreError
from udfstore.model import Kind
from udfstore.refs import Ref
from udfstore.store import Store, removal
from udfstore.store.committer import HOUSE, Decision, Desk
from udfstore.store.records import Record


def trash(store: Store) -> list[str]:
    return [path.name for path in (store.root / "trash").iterdir()]


def write_record(store: Store, kind: Kind, *ids: BlobId) -> None:
    """What collection will do: a record about blobs."""

    def decide(desk: Desk) -> Decision:
        blobs = tuple((id, 1) for id in ids)
        return Decision((Record(kind, desk.now_ns, HOUSE, blobs=blobs),), lambda _: None)

    store._parts.committer.call(decide)


def kinds(store: Store) -> list[str]:
    with store._parts.catalog.reading() as view:
        return [kind for (kind,) in view.db.execute("SELECT kind FROM records ORDER BY revision")]


def test_a_deleted_blob_lies_in_the_trash_for_its_grace_time(store: Store, clock: Clock) -> None:
    id = save(store, b"x")
    delete(store, id)
    assert (trash(store), blob_path(store, id).exists()) == ([id.hex], False)
    clock.advance(3599)
    assert (store.sweep(), trash(store)) == (0, [id.hex])
    clock.advance(1)
    assert (store.sweep(), trash(store)) == (1, [])
    assert kinds(store) == ["condemn", "erased"]
    assert store.sweep(now=True) == 0
    with pytest.raises(Gone):
        store.open(id)


def test_now_skips_the_grace_time(store: Store) -> None:
    one, two = save(store, b"1"), save(store, b"2")
    delete(store, one, now=True)
    assert trash(store) == []
    delete(store, two)
    assert (store.sweep(now=True), trash(store)) == (1, [])


def test_a_clock_that_stepped_back_starts_the_grace_anew(store: Store, clock: Clock) -> None:
    delete(store, save(store, b"x"))
    clock.advance(-86_400 * 365)
    assert store.sweep() == 0
    clock.advance(3599)
    assert store.sweep() == 0
    clock.advance(1)
    assert store.sweep() == 1


def test_the_grace_time_outlives_a_restart(root: Path, clock: Clock) -> None:
    with open_store(root, clock=clock) as store:
        delete(store, save(store, b"x"))
    clock.advance(3600)
    with open_store(root, clock=clock) as store:
        assert len(trash(store)) == 1
        assert store.sweep() == 1


def test_a_sweep_ends_soon_where_the_process_has_to(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    with open_store(root, clock=clock) as store:
        ids = [save(store, bytes([n])) for n in range(4)]
        for id in ids[:3]:
            delete(store, id)
        clock.advance(3600)
        erase = store._parts.files.erase

        def erase_and_stop(*leaving: BlobId) -> None:
            erase(*leaving)
            store.stop_sweeping()

        monkeypatch.setattr(removal, "IN_A_RECORD", 1)
        monkeypatch.setattr(store._parts.files, "erase", erase_and_stop)
        assert store.sweep() == 1
        assert (store.sweep(), len(trash(store))) == (0, 2)
        delete(store, ids[3], now=True)  # somebody waits for that
        assert len(trash(store)) == 2
    with open_store(root, clock=clock) as store:
        assert (store.sweep(), trash(store)) == (2, [])


def test_saving_again_takes_it_back(store: Store) -> None:
    id = save(store, b"x")
    delete(store, id)
    save(store, b"x")
    assert kinds(store) == ["condemn", "rescue"]
    assert (read(store, id), store.present(id)) == (b"x", 1)
    assert store.sweep(now=True) == 0
    delete(store, id)
    with pytest.raises(Gone):
        read(store, id)


def test_a_marked_blob_is_rescued_by_whoever_relies_on_it(store: Store) -> None:
    ids = [save(store, bytes([n])) for n in range(4)]
    write_record(store, Kind.MARK, *ids)
    assert read(store, ids[0]) == b"\0", "a mark takes nothing away"
    assert store.present(ids[0]) == 1
    assert store.missing([ids[1]]) == []
    save(store, b"\2")
    move(store, "t", ids[3])
    assert kinds(store) == ["mark", "rescue", "rescue", "rescue", "rescue", "move"]
    with store._parts.catalog.reading() as view:
        assert [row.state.name for id in ids if (row := view.blob(id))] == ["KEPT"] * 4


def test_a_missing_file_can_be_deleted(store: Store) -> None:
    id = save(store, b"x")
    blob_path(store, id).unlink()
    assert delete(store, id, now=True).id == id
    with pytest.raises(Gone):
        store.open(id)
    with pytest.raises(NotFound):
        delete(store, BlobId.of(b"never"))


def test_deleted_names_the_versions_that_go(store: Store) -> None:
    id, other = save(store, b"x"), save(store, b"y")
    for n in range(103):
        move(store, "t", id if n != 50 else other)
    deleted = delete(store, id, force=True)
    assert (deleted.versions[0], len(deleted.versions), deleted.more, deleted.size) == ("t@103", 100, 2, 1)


# --- broken off ------------------------------------------------------------------------------------------------------

SEAM = ("pwrite", "fdatasync", "fsync_folder", "rename", "unlink", "link", "create", "write", "stamp", "close")


@pytest.mark.parametrize("now", [False, True])
def test_a_deletion_broken_off_anywhere_is_finished(
    root: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, now: bool
) -> None:
    for when in range(1, 40):
        store = open_store(root, clock=clock)
        id, kept = save(store, b"x"), save(store, b"kept")
        move(store, "t", kept)
        done = False
        with failing(monkeypatch, SEAM, errno.EIO, when) as count:
            with contextlib.suppress(UdfstoreError):
                delete(store, id, now=now)
                done = True
            reached = count() >= when
        abandon(store)
        with open_store(root, clock=clock) as store:
            assert read(store, "t") == b"kept"
            if done:
                with pytest.raises(Gone):
                    store.open(id)
            with contextlib.suppress(Gone):
                assert read(store, id) == b"x", "wholly there or wholly gone"
                delete(store, id)
            clock.advance(3600)
            store.sweep()
            assert (trash(store), blob_path(store, id).exists()) == ([], False)
            save(store, b"x")
            assert read(store, id) == b"x"
        if not reached:
            assert done
            return
        shutil.rmtree(root)
    pytest.fail("deleting has more steps than were tried")


def test_a_save_of_deleted_content_broken_off_anywhere(
    root: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    for when in range(1, 40):
        store = open_store(root, clock=clock)
        id = save(store, b"x")
        move(store, "t", id)
        delete(store, id, force=True)
        done = False
        with failing(monkeypatch, SEAM, errno.EIO, when) as count:
            with contextlib.suppress(UdfstoreError):
                save(store, b"x")
                done = True
            reached = count() >= when
        abandon(store)
        with open_store(root, clock=clock) as store:
            if done:
                assert read(store, "t") == b"x"
            clock.advance(3600)
            store.sweep()
            with contextlib.suppress(Gone):
                assert read(store, "t") == b"x"
            save(store, b"x")
            assert read(store, "t") == b"x"
        if not reached:
            assert done
            return
        shutil.rmtree(root)
    pytest.fail("saving has more steps than were tried")


def test_a_rescue_whose_file_is_still_in_the_trash_brings_it_back(root: Path) -> None:
    said: list[str] = []
    store = open_store(root)
    id = save(store, b"x")
    delete(store, id)
    write_record(store, Kind.RESCUE, id)
    abandon(store)
    with open_store(root, say=said.append) as store:
        assert (read(store, id), trash(store)) == (b"x", [])
        assert any("brought back" in line for line in said)


def test_a_condemned_file_that_never_moved_goes_at_the_start(root: Path) -> None:
    store = open_store(root)
    id = save(store, b"x")
    write_record(store, Kind.CONDEMN, id)
    assert blob_path(store, id).exists()
    with pytest.raises(Gone):
        store.open(id)
    assert store.present(id) is None
    abandon(store)
    with open_store(root) as store:
        assert (trash(store), blob_path(store, id).exists()) == ([id.hex], False)


def test_saves_and_deletions_of_one_content_side_by_side(store: Store) -> None:
    """Whoever comes last is right, and an acknowledged save is never undone by a deletion that came before it."""
    id = BlobId.of(b"x")

    def saving() -> None:
        for _ in range(40):
            save(store, b"x")

    def deleting() -> None:
        for n in range(40):
            with contextlib.suppress(Gone, NotFound):
                delete(store, id, now=bool(n % 2))

    threads = [threading.Thread(target=work) for work in (saving, deleting, saving, deleting)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    save(store, b"x")
    assert read(store, id) == b"x"
    store.sweep(now=True)
    assert read(store, id) == b"x"
    assert store.totals() == (1, 1, 0)
    assert store.info(Ref.of(id)).size == 1
