"""What was there is there again after backup and restore, by folder and by stream, whatever breaks a backup off."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from backup_kit import (
    SMALL,
    Killed,
    damage,
    everything,
    files_of,
    fill,
    from_bytes,
    from_folder,
    kill_at,
    opened,
    silent,
    to_bytes,
    to_folder,
)

from udfstore.backup import Folder, Stream, take
from udfstore.backup.take import Advance
from udfstore.calls import Move, Step
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Corrupt, NoSpace, NotFound
from udfstore.local import LocalStore
from udfstore.model import Claim
from udfstore.refs import Ref, Tag
from udfstore.store import Store, osfs
from udfstore.store.committer import HOUSE
from udfstore.store.format import parse

START_NS = 1_700_000_000 * 10**9


@pytest.fixture
def store(folder: Path) -> Iterator[LocalStore]:
    with opened(folder / "root") as store:
        fill(store)
        yield store


def blob_file(root: Path, id: BlobId) -> Path:
    return root / "blobs" / id.hex[:2] / id.hex


def test_a_folder_brings_everything_back(store: LocalStore, folder: Path) -> None:
    before = everything(store)
    taken = to_folder(store, folder / "backup")
    restored = from_folder(folder / "backup", folder / "new")
    assert len(list((folder / "backup" / "log").iterdir())) > 1, "the log shall have several segments"
    assert (taken.blobs, taken.fetched, taken.damaged) == (len(before["blobs"]), len(before["blobs"]), ())
    assert (restored.store_id, restored.revision) == (store.status().store_id, taken.revision)
    assert (restored.epoch, restored.blobs, restored.tags) == (2, taken.blobs, len(list(store.tags())))
    with opened(folder / "new") as new:
        assert everything(new) == before
        assert new.revision == taken.revision
        assert new.save(b"more", tag="models/1").entry is not None, "it goes on from there"


def test_a_stream_brings_everything_back(store: LocalStore, folder: Path) -> None:
    before = everything(store)
    from_bytes(to_bytes(store), folder / "new")
    with opened(folder / "new") as new:
        assert everything(new) == before


def test_a_store_without_anything_is_backed_up_too(folder: Path) -> None:
    with opened(folder / "root") as store:
        to_folder(store, folder / "backup")
        stream = to_bytes(store)
    assert from_folder(folder / "backup", folder / "one").revision == 0
    assert from_bytes(stream, folder / "two").blobs == 0


def test_a_stream_that_is_unpacked_is_a_folder(store: LocalStore, folder: Path) -> None:
    (folder / "t.tar").write_bytes(to_bytes(store))
    (folder / "backup").mkdir()
    subprocess.run(["tar", "xf", folder / "t.tar", "-C", folder / "backup"], check=True)
    to_folder(store, folder / "other")
    unpacked, other = files_of(folder / "backup"), files_of(folder / "other")
    for backup in (unpacked, other):
        del backup["BACKUP.json"]  # they have their own times
    assert unpacked == other
    before = everything(store)
    from_folder(folder / "backup", folder / "new")
    with opened(folder / "new") as new:
        assert everything(new) == before
    assert to_folder(store, folder / "backup").fetched == 0


def test_standard_tools_verify_a_folder(store: LocalStore, folder: Path) -> None:
    to_folder(store, folder / "backup")
    command = ["sha256sum", "-c", "--quiet", "SHA256SUMS"]
    subprocess.run(command, cwd=folder / "backup", check=True)
    damage(blob_file(folder / "backup", BlobId.of(b"no name")))
    failed = subprocess.run(command, cwd=folder / "backup", capture_output=True, text=True)
    assert BlobId.of(b"no name").hex in failed.stdout


def test_the_next_backup_takes_only_what_is_new(store: LocalStore, folder: Path) -> None:
    first = to_folder(store, folder / "backup")
    again = to_folder(store, folder / "backup")
    assert (again.fetched, again.fetched_bytes, again.removed) == (0, 0, 0)
    assert (again.blobs, again.bytes) == (first.blobs, first.bytes)
    store.save(b"new", tag="models/1")
    store.delete(BlobId.of(b"no name"))
    later = to_folder(store, folder / "backup")
    assert (later.fetched, later.fetched_bytes, later.removed) == (1, 3, 1)
    assert not blob_file(folder / "backup", BlobId.of(b"no name")).exists()
    before = everything(store)
    from_folder(folder / "backup", folder / "new")
    with opened(folder / "new") as new:
        assert everything(new) == before


def test_a_restored_store_goes_on_with_the_same_folder(store: LocalStore, folder: Path) -> None:
    to_folder(store, folder / "backup")
    from_folder(folder / "backup", folder / "new")
    with opened(folder / "new") as new:
        new.save(b"after", tag="models/1")
        assert to_folder(new, folder / "backup").fetched == 1
    with pytest.raises(Conflict, match="what this store does not know"):
        to_folder(store, folder / "backup")
    assert from_folder(folder / "backup", folder / "third").epoch == 3


def test_two_histories_are_not_mixed(store: LocalStore, folder: Path) -> None:
    to_folder(store, folder / "backup")
    for name in ("one", "two"):
        from_folder(folder / "backup", folder / name)
    with opened(folder / "one") as one:
        one.save(b"one", tag="models/1")
        to_folder(one, folder / "backup")
    kept = files_of(folder / "backup")
    with opened(folder / "two") as two:
        two.save(b"two", tag="models/1")
        two.save(b"two more", tag="models/1")
        with pytest.raises(Conflict, match="another history"):
            to_folder(two, folder / "backup")
    assert {name: data for name, data in files_of(folder / "backup").items() if "new" not in name} == kept


def test_a_log_that_has_shed_comes_along(folder: Path) -> None:
    """Also into a folder whose last backup ends in the middle of what was shed since."""
    now, auto = [START_NS], Tag.parse("snapshots/pump/auto")
    with LocalStore(Store(folder / "root", limits=SMALL, clock=lambda: now[0]), Claim()) as store:

        def rounds(*numbers: int) -> None:
            for number in numbers:
                id = store.save(b"manifest %d" % number).id
                move = Move((Step(auto, Ref.of(id), None, {}, ()),), "", os.urandom(16))
                store._store.submit(move, HOUSE, reserved=True).result()
                store._store.let_go((auto,)).result()

        rounds(*range(50))
        to_folder(store, folder / "backup")
        rounds(*range(50, 100))
        store._store._parts.remover._pool.submit(int).result()  # what was let go is erased
        now[0] += 7200 * 10**9
        store._store.sweep()
        told = [entry.version for entry in store.history(auto.name)]
        assert len(told) < 40
        before = files_of(folder / "root" / "log")
        assert to_folder(store, folder / "backup").fetched == 10
        stream = to_bytes(store)
    assert "shed" in parse((folder / "backup" / "FORMAT").read_text()).features
    for taken in (from_folder(folder / "backup", folder / "one"), from_bytes(stream, folder / "two")):
        log = files_of(Path(taken.root) / "log")
        assert [log[name] == before[name] for name in sorted(log)[:-1]] == [True] * (len(log) - 1)
        with opened(Path(taken.root)) as restored:
            assert [entry.version for entry in restored.history(auto.name)] == told


def test_what_a_folder_holds_is_hashed_when_asked_for(store: LocalStore, folder: Path) -> None:
    to_folder(store, folder / "backup")
    damage(blob_file(folder / "backup", BlobId.of(b"no name")))
    cut = blob_file(folder / "backup", BlobId.of(b"linked"))
    cut.chmod(0o600)
    cut.write_bytes(b"lin")
    assert to_folder(store, folder / "backup").fetched == 1, "another length is seen at a look"
    with pytest.raises(Corrupt, match=BlobId.of(b"no name").hex):
        from_folder(folder / "backup", folder / "new")
    assert to_folder(store, folder / "backup", verify=True).fetched == 1
    from_folder(folder / "backup", folder / "new")


def test_other_folders_are_left_alone(store: LocalStore, folder: Path) -> None:
    with opened(folder / "other root") as other:
        to_folder(other, folder / "backup")
    with pytest.raises(Conflict, match="another store"):
        to_folder(store, folder / "backup")
    for path in (folder, folder / "root"):
        kept = sorted(path.iterdir())
        with pytest.raises(Conflict, match="no backup, and not empty"):
            to_folder(store, path)
        assert sorted(path.iterdir()) == kept


@pytest.mark.parametrize("name", ["new/letters", "new/log/../x", "blobs/letters", "blobs/sha256"])
def test_names_like_ours_are_not_enough(store: LocalStore, folder: Path, name: str) -> None:
    (folder / "other" / "new" / "log").mkdir(parents=True)
    (folder / "other" / name).mkdir(parents=True)
    with pytest.raises(Conflict, match="no backup, and not empty"):
        to_folder(store, folder / "other")
    assert (folder / "other" / name).exists()


def test_a_folder_that_is_full_is_named(store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: memoryview) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(osfs, "write", full)
    with pytest.raises(NoSpace, match=f"writing to {folder / 'backup'} failed"):
        to_folder(store, folder / "backup")


def test_a_folder_inside_a_store_is_refused(store: LocalStore, folder: Path) -> None:
    inside = folder / "root" / "blobs" / "backup"
    with pytest.raises(Conflict, match="inside the store"):
        Folder(inside)
    assert not inside.exists()


def test_a_folder_is_in_use_once(store: LocalStore, folder: Path) -> None:
    to_folder(store, folder / "backup")
    with Folder(folder / "backup"):
        with pytest.raises(Conflict, match="in use"):
            to_folder(store, folder / "backup")
        with pytest.raises(Conflict, match="in use"):
            from_folder(folder / "backup", folder / "new")


def test_what_else_lies_in_a_backup_stays(store: LocalStore, folder: Path) -> None:
    to_folder(store, folder / "backup")
    notes = [folder / "backup" / "README", folder / "backup" / "blobs" / "ab" / "note"]
    for note in notes:
        note.parent.mkdir(exist_ok=True)
        note.write_text("keep")
    to_folder(store, folder / "backup")
    assert all(note.read_text() == "keep" for note in notes)
    from_folder(folder / "backup", folder / "new")


def test_copies_by_hard_links_keep_older_backups(store: LocalStore, folder: Path) -> None:
    to_folder(store, folder / "backup")
    subprocess.run(["cp", "-al", folder / "backup", folder / "older"], check=True)
    kept = files_of(folder / "older")
    store.save(b"new", tag="models/1")
    store.delete(BlobId.of(b"no name"))
    to_folder(store, folder / "backup")
    assert files_of(folder / "older") == kept
    from_folder(folder / "older", folder / "new")


def test_a_backup_that_is_broken_off_leaves_the_one_before(
    store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_folder(store, folder / "first")
    old = everything(store)
    store.save(b"new", tag="models/1")
    store.delete(BlobId.of(b"no name"))
    new = everything(store)
    number, ends = 0, []
    while True:
        number += 1
        shutil.copytree(folder / "first", folder / "backup")
        with monkeypatch.context() as patch, Folder(folder / "backup") as target:
            kill_at(patch, number)
            try:
                take(store, target, silent)
            except Killed:
                finished = False
            else:
                finished = True
        from_folder(folder / "backup", folder / "new")
        with opened(folder / "new") as restored:
            found = everything(restored)
        ends.append(found == new)
        assert ends[-1] or found == old
        assert to_folder(store, folder / "backup").removed == (0 if finished else 1) or ends[-1]
        assert "new" not in {path.name for path in (folder / "backup").iterdir()}
        for name in ("backup", "new"):
            shutil.rmtree(folder / name)
        if finished:
            break
    assert ends == sorted(ends), "from one step on it is the new one"
    assert ends.count(False) > 5
    assert ends.count(True) > 5


@pytest.mark.parametrize("begun_anew", [False, True])
def test_a_first_backup_that_is_broken_off_is_none(
    store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch, begun_anew: bool
) -> None:
    with monkeypatch.context() as patch, Folder(folder / "backup") as target:
        kill_at(patch, 30)
        with pytest.raises(Killed):
            take(store, target, silent)
    with pytest.raises(NotFound, match="none that was ever finished"):
        from_folder(folder / "backup", folder / "new")
    if begun_anew:  # and killed again, between the removal of `new/` and the next one
        shutil.rmtree(folder / "backup" / "new")
    to_folder(store, folder / "backup")
    from_folder(folder / "backup", folder / "new")


def harm(store: LocalStore, root: Path) -> dict[str, BlobId]:
    """Damage of three kinds in the store, by what it is."""
    content = {"turned": b"no name", "cut": b"linked", "missing": b"model 1" * 50}
    ids = {kind: BlobId.of(data) for kind, data in content.items()}
    damage(blob_file(root, ids["turned"]))
    cut = blob_file(root, ids["cut"])
    cut.chmod(0o600)
    cut.write_bytes(b"lin")
    blob_file(root, ids["missing"]).unlink()
    return ids


@pytest.mark.parametrize("stream", [False, True])
def test_damage_is_told_and_does_not_hide_the_rest(store: LocalStore, folder: Path, stream: bool) -> None:
    ids = harm(store, folder / "root")
    if stream:
        data = to_bytes(store)
        restored = from_bytes(data, folder / "new")
    else:
        taken = to_folder(store, folder / "backup")
        assert {found.id: found.versions for found in taken.damaged} == {
            ids["turned"]: (),
            ids["cut"]: ("linking@1",),
            ids["missing"]: ("models/1@1",),
        }
        assert json.loads((folder / "backup" / "BACKUP.json").read_text())["damaged"] == sorted(
            id.hex for id in ids.values()
        )
        restored = from_folder(folder / "backup", folder / "new")
    assert set(restored.damaged) == set(ids.values())
    with opened(folder / "new") as new:
        for id in ids.values():
            with pytest.raises((Corrupt, NotFound)):
                new.load(id)
        assert new.load("models/2") == store.load("models/2")
        assert new.save(b"model 1" * 50).id == ids["missing"]
        assert new.load("models/1@1") == b"model 1" * 50


def test_a_folder_keeps_what_the_store_has_lost(store: LocalStore, folder: Path) -> None:
    before = everything(store)
    to_folder(store, folder / "backup")
    harm(store, folder / "root")
    assert to_folder(store, folder / "backup").damaged == ()
    from_folder(folder / "backup", folder / "new")
    with opened(folder / "new") as new:
        assert everything(new) == before


def test_a_damaged_log_is_not_backed_up(store: LocalStore, folder: Path) -> None:
    damage(folder / "root" / "log" / "00000001")
    with pytest.raises(Corrupt, match="log 0000000"):
        to_folder(store, folder / "backup")


def test_what_links_keep_comes_along_though_the_catalog_forgot_it(store: LocalStore, folder: Path) -> None:
    """A power cut takes what the catalog indexed last; names are in the log."""
    db = store._store._parts.catalog.view.db
    db.execute("BEGIN IMMEDIATE")
    db.execute("DELETE FROM blobs WHERE id = ?", (BlobId.of(b"linked").raw,))
    db.execute("UPDATE totals SET blobs = blobs - 1, bytes = bytes - 6")
    db.execute("COMMIT")
    to_folder(store, folder / "backup")
    from_folder(folder / "backup", folder / "new")
    with opened(folder / "new") as new:
        assert new.load(BlobId.of(b"linked")) == b"linked"


def test_a_stream_that_is_given_up_ends_at_once(store: LocalStore, folder: Path) -> None:
    """Not with as many zeros as the blob has bytes."""

    class Interrupted(BaseException):
        """As Ctrl-C does."""

    def begin(_: int) -> Advance:
        def advance(_: int) -> None:
            raise Interrupted

        return advance

    out = io.BytesIO()
    store.save(bytes(5_000_000))
    with pytest.raises(Interrupted):
        take(store, Stream(out), begin)
    assert len(out.getvalue()) < 4_000_000
    with pytest.raises(Corrupt, match="cut off"):
        from_bytes(out.getvalue(), folder / "new")
