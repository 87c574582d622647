"""A backup of a store at work is that of one moment, and everything acknowledged before it began is in it."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from backup_kit import from_folder, opened, silent
from kit import SECONDS, ServerProcess, in_thread

import udfstore
from udfstore.backup import Folder, Restored, Taken, take
from udfstore.backup.take import Advance
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Gone, NoServer, NotFound
from udfstore.model import Entry

TAGS = [f"t/{number}" for number in range(5)]


def histories(store: udfstore.Store | udfstore.LocalStore) -> dict[str, list[Entry]]:
    return {tag: list(store.history(tag)) for tag in TAGS}


def work(server: ServerProcess, seed: int, over: threading.Event) -> tuple[set[BlobId], set[BlobId]]:
    """Save, move and delete until it is over; gives what was saved and what was asked to be deleted."""
    chance = random.Random(seed)
    saved: list[BlobId] = []
    deleted: set[BlobId] = set()
    with udfstore.connect(server.socket) as store:
        while not over.is_set():
            with suppress(Conflict, Gone, NotFound):  # others have deleted it meanwhile
                match chance.randrange(4):
                    case 0 | 1:
                        saved.append(store.save(chance.randbytes(2000), tag=chance.choice(TAGS)).id)
                    case 2:
                        store.tag(chance.choice(TAGS), chance.choice(saved or [BlobId.of(b"first")]))
                    case 3 if saved:
                        deleted.add(chance.choice(saved))
                        store.delete(chance.choice(sorted(deleted)), force=True, now=True)
    return set(saved), deleted


@pytest.mark.parametrize("seed", range(3))
def test_a_backup_of_a_store_at_work(own_server: ServerProcess, folder: Path, seed: int) -> None:
    over = threading.Event()
    with udfstore.connect(own_server.socket) as store:
        first = [store.save(b"first", tag=tag).id for tag in TAGS]
        before = [store.save(b"before %d" % number, tag=f"b/{number}").id for number in range(50)]
        acknowledged = store.status().revision
        workers = [in_thread(lambda n=n: work(own_server, 10 * seed + n, over)) for n in range(2)]
        with Folder(folder / "backup") as target:
            taken = take(store, target, silent)
        over.set()
        for worker in workers:
            worker.result(SECONDS)
        expected = {
            tag: [entry for entry in entries if entry.revision <= taken.revision]
            for tag, entries in histories(store).items()
        }
    assert taken.revision >= acknowledged
    assert taken.damaged == ()
    from_folder(folder / "backup", folder / "new")
    with opened(folder / "new") as new:
        assert histories(new) == expected
        for id in (*first, *before):
            new.verify(id)
        for info in new.blobs():
            assert BlobId.of(new.load(info.id)) == info.id


def deleting(store: udfstore.Store, ids: list[BlobId]) -> None:
    for id in ids:
        store.delete(id, force=True, now=True)


def test_what_is_deleted_while_it_is_fetched_is_in_the_backup(own_server: ServerProcess, folder: Path) -> None:
    with udfstore.connect(own_server.socket) as store, udfstore.connect(own_server.socket) as other:
        ids = [store.save(b"content %d" % number, tag=f"t/{number % 5}").id for number in range(30)]
        expected = histories(store)

        def begin(_: int) -> Advance:
            deleting(other, ids)
            return lambda _: None

        with Folder(folder / "backup") as target:
            taken = take(store, target, begin)
        assert (taken.blobs, taken.damaged) == (30, ())
        with pytest.raises(Gone):
            other.load(ids[0])
    from_folder(folder / "backup", folder / "new")
    with opened(folder / "new") as new:
        assert histories(new) == expected
        assert [new.load(id) for id in ids] == [b"content %d" % number for number in range(30)]


def test_a_server_that_is_killed_ends_a_backup_that_can_be_begun_anew(own_server: ServerProcess, folder: Path) -> None:
    with udfstore.connect(own_server.socket) as store, udfstore.connect(own_server.socket) as other:
        ids = [store.save(b"content %d" % number).id for number in range(10)]

        def kill(_: int) -> Advance:
            own_server.restart()
            deleting(other, ids[5:])
            return lambda _: None

        with Folder(folder / "backup") as target, pytest.raises(NoServer, match="begin anew"):
            take(store, target, kill)
        with Folder(folder / "backup") as target:
            assert take(store, target, silent).blobs == 5
    assert from_folder(folder / "backup", folder / "new").blobs == 5


def restored(taken: Taken, backup: Path, root: Path) -> Restored:
    found = from_folder(backup, root)
    assert found.revision == taken.revision
    return found


def test_who_watched_the_old_store_is_told_to_begin_anew(own_server: ServerProcess, folder: Path) -> None:
    with udfstore.connect(own_server.socket) as store:
        store.save(b"x", tag="t/0")
        epoch, since = store.epoch, store.status().revision
        with Folder(folder / "backup") as target:
            taken = take(store, target, silent)
    restored(taken, folder / "backup", folder / "new")
    with ServerProcess(folder / "new", folder / "n") as new, udfstore.connect(new.socket) as store:
        with pytest.raises(Conflict, match="restored from a backup"):
            next(store.watch("t/", since=since, epoch=epoch))
        assert store.epoch == epoch + 1
        assert next(store.watch("t/0")).entries[0].id == BlobId.of(b"x")
