"""Resumable uploads: they outlive requests, processes and trouble, and become the same blobs as any save."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from store_kit import AUTHOR, CHANGING, SMALL, Clock, abandon, blob_path, failing, open_store, read, save

from udfstore.digest import BlobId
from udfstore.errors import (
    Busy,
    Closing,
    Conflict,
    Gone,
    InternalError,
    Mismatch,
    NoSpace,
    NotFound,
    ReadOnly,
    TooLarge,
    UdfstoreError,
)
from udfstore.refs import Ref
from udfstore.store import Store, osfs, resumable

CONTENT = b"first half|second half"
HALF = len(CONTENT) // 2
ID = BlobId.of(CONTENT)
DAY = 86400


def begin(store: Store, size: int | None = None, id: BlobId | None = None) -> str:
    return store.uploads.begin(size, id, AUTHOR).name


def append(store: Store, name: str, data: bytes) -> None:
    """One request that brings a part and says that more will come."""
    part = store.uploads.append(name, store.uploads.find(name).offset)
    part.write(data)
    part.commit()


def finish(store: Store, name: str, data: bytes = b"", **said: object) -> BlobId:
    part = store.uploads.append(name, store.uploads.find(name).offset)
    try:
        part.write(data)
        return part.finish(**said).id  # type: ignore[arg-type]
    finally:
        part.close()


def files(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "uploads").iterdir())


def half(store: Store, **announced: object) -> str:
    """An upload of which the first half came."""
    name = begin(store, **announced)  # type: ignore[arg-type]
    append(store, name, CONTENT[:HALF])
    return name


# --- the way of an upload --------------------------------------------------------------------------------------------


def test_content_that_comes_in_parts(store: Store, clock: Clock) -> None:
    begun = store.uploads.begin(len(CONTENT), ID, AUTHOR)
    assert (begun.offset, begun.size, begun.complete, begun.author) == (0, len(CONTENT), False, AUTHOR)
    assert begun.expires_ns == clock.ns + DAY * 10**9
    append(store, begun.name, CONTENT[:HALF])
    assert store.uploads.find(begun.name).offset == HALF
    part = store.uploads.append(begun.name, HALF)
    part.write(CONTENT[HALF:])
    saved = part.finish()
    assert (saved.id, saved.size, saved.existed) == (ID, len(CONTENT), False)
    assert read(store, ID) == CONTENT
    assert store.info(Ref.of(ID)).size == len(CONTENT)
    assert stat.S_IMODE(blob_path(store, ID).stat().st_mode) == 0o444
    assert files(store) == [f"{begun.name}.json"]
    found = store.uploads.find(begun.name)
    assert (found.complete, found.offset, found.size, found.saved) == (True, len(CONTENT), len(CONTENT), saved)


@pytest.mark.parametrize("reopened", [False, True])
def test_finishing_again_gives_the_same_answer(root: Path, reopened: bool) -> None:
    store = open_store(root)
    name = half(store)
    part = store.uploads.append(name, HALF)
    part.write(CONTENT[HALF:])
    first = part.finish()
    assert part.finish() == first
    if reopened:
        store.close()
        store = open_store(root)
    with store:
        again = store.uploads.append(name, len(CONTENT), len(CONTENT))
        again.write(b"")
        with pytest.raises(Mismatch):
            again.write(b"more")
        assert again.finish(len(CONTENT), ID) == first
        with pytest.raises(Mismatch):
            again.finish(id=BlobId.of(b"other"))
        assert again.commit().saved == first
        with pytest.raises(Conflict):
            store.uploads.append(name, HALF)


def test_content_that_the_store_has_already(store: Store) -> None:
    save(store, CONTENT)
    name = half(store)
    part = store.uploads.append(name, HALF)
    part.write(CONTENT[HALF:])
    assert part.finish().existed
    assert files(store) == [f"{name}.json"]
    assert store.totals() == (1, len(CONTENT), 0)


def test_nothing_is_content_too(store: Store) -> None:
    assert finish(store, begin(store, 0)) == BlobId.of(b"")


def test_large_pieces(store: Store) -> None:
    content = os.urandom(3 << 20)
    name = begin(store)
    append(store, name, content[: 1 << 20])
    assert finish(store, name, content[1 << 20 :]) == BlobId.of(content)


# --- what does not fit -----------------------------------------------------------------------------------------------


def test_another_offset_is_told(store: Store) -> None:
    name = half(store)
    for offset in (0, HALF - 1, HALF + 1):
        with pytest.raises(Conflict) as caught:
            store.uploads.append(name, offset)
        assert (caught.value.expected, caught.value.got) == (str(HALF), str(offset))
    assert finish(store, name, CONTENT[HALF:]) == ID


def test_one_writer_at_a_time(store: Store) -> None:
    name = begin(store)
    assert not store.uploads.busy(name)
    part = store.uploads.append(name, 0)
    part.write(CONTENT[:HALF])
    assert store.uploads.busy(name)
    with pytest.raises(Conflict, match="another request"):
        store.uploads.append(name, HALF)
    assert store.uploads.find(name).offset == HALF
    part.close()
    part.close()
    assert not store.uploads.busy(name)
    with pytest.raises(InternalError):
        part.write(b"late")
    assert finish(store, name, CONTENT[HALF:]) == ID


def test_more_than_was_announced_is_not_kept(store: Store) -> None:
    name = half(store, size=len(CONTENT))
    part = store.uploads.append(name, HALF)
    with pytest.raises(Mismatch, match="more bytes"):
        part.write(CONTENT)
    assert store.uploads.find(name).offset == HALF
    assert finish(store, name, CONTENT[HALF:]) == ID


def test_an_upload_that_is_too_short_goes_on(store: Store) -> None:
    name = half(store, size=len(CONTENT))
    with pytest.raises(Mismatch, match="length") as caught:
        finish(store, name)
    assert (caught.value.expected, caught.value.got) == (str(len(CONTENT)), str(HALF))
    assert finish(store, name, CONTENT[HALF:]) == ID


def test_a_size_that_is_told_later(store: Store) -> None:
    name = half(store)
    with pytest.raises(Mismatch):
        store.uploads.append(name, HALF, HALF - 1)
    store.uploads.append(name, HALF, len(CONTENT)).close()
    assert store.uploads.find(name).size == len(CONTENT)
    with pytest.raises(Mismatch):
        store.uploads.append(name, HALF, len(CONTENT) + 1)
    assert finish(store, name, CONTENT[HALF:]) == ID


@pytest.mark.parametrize("said_at_the_end", [False, True])
def test_content_that_is_not_what_was_announced_is_gone(store: Store, said_at_the_end: bool) -> None:
    other = BlobId.of(b"other")
    name = half(store, id=None if said_at_the_end else other)
    with pytest.raises(Mismatch) as caught:
        finish(store, name, **({"id": other} if said_at_the_end else {}))
    assert (caught.value.expected, caught.value.got) == (str(other), str(BlobId.of(CONTENT[:HALF])))
    with pytest.raises(Gone, match="not what was announced"):
        store.uploads.find(name)
    assert (files(store), store.totals()) == ([], (0, 0, 0))


def test_limits(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = replace(SMALL, blob_bytes=30, floor_bytes=1000, uploads=2)
    with open_store(root, limits=limits) as store:
        with pytest.raises(TooLarge):
            begin(store, 31)
        name = half(store)
        with pytest.raises(TooLarge):
            store.uploads.append(name, HALF, 31)
        with pytest.raises(TooLarge):
            store.uploads.append(name, HALF).write(bytes(30))
        begin(store)
        with pytest.raises(Busy):
            begin(store)
        assert finish(store, name, CONTENT[HALF:]) == ID
        name = begin(store)
        with monkeypatch.context() as patch:
            patch.setattr(osfs, "free_bytes", lambda path: 1010)
            for size, offset in ((11, None), (None, 11)):
                with pytest.raises(NoSpace, match="floor"):
                    begin(store, size) if size else store.uploads.append(name, 0).write(bytes(offset or 0))
        assert finish(store, name, b"x") == BlobId.of(b"x")


@pytest.mark.parametrize("name", ["", "0" * 32, "../tokens", "A" * 32])
def test_names_that_were_never_given(store: Store, name: str) -> None:
    for call in (store.uploads.find, store.uploads.drop, lambda name: store.uploads.append(name, 0)):
        with pytest.raises(NotFound):
            call(name)
    assert not store.uploads.busy(name)


# --- the end of uploads ----------------------------------------------------------------------------------------------


def test_a_dropped_upload(store: Store) -> None:
    name = half(store)
    part = store.uploads.append(name, HALF)
    store.uploads.drop(name)
    assert files(store) == []
    for call in (lambda: part.write(b"x"), part.commit, part.finish):
        with pytest.raises(Gone, match="dropped"):
            call()
    part.close()
    for again in (store.uploads.find, store.uploads.drop):
        with pytest.raises(Gone, match="dropped"):
            again(name)


def test_uploads_without_progress_expire(store: Store, clock: Clock) -> None:
    idle, kept, done, busy = half(store), half(store), half(store), begin(store)
    finish(store, done, CONTENT[HALF:])
    part = store.uploads.append(busy, 0)
    clock.advance(DAY - 1)
    append(store, kept, b"x")
    clock.advance(1)
    for name in (idle, done):
        with pytest.raises(Gone, match="expired"):
            store.uploads.find(name)
    store.sweep()
    assert files(store) == sorted([kept, f"{kept}.json", busy, f"{busy}.json"])
    with pytest.raises(Gone, match="expired"):
        store.uploads.append(idle, HALF)
    assert read(store, ID) == CONTENT
    part.write(CONTENT)
    assert part.finish().id == ID
    assert store.uploads.find(kept).offset == HALF + 1


def test_expired_uploads_make_room(root: Path, clock: Clock) -> None:
    with open_store(root, clock=clock, limits=replace(SMALL, uploads=1)) as store:
        half(store)
        with pytest.raises(Busy):
            begin(store)
        clock.advance(DAY)
        begin(store)


def test_a_clock_that_stepped_back_starts_the_time_anew(store: Store, clock: Clock) -> None:
    name = half(store)
    clock.advance(-365 * DAY)
    assert store.uploads.expire() == 0
    clock.advance(DAY)
    assert store.uploads.expire() == 1
    with pytest.raises(Gone):
        store.uploads.find(name)


def test_only_the_newest_results_are_remembered(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "REMEMBERED", 2)
    names = []
    for number in range(4):
        clock.advance(1)
        names.append(begin(store))
        finish(store, names[-1], bytes([number]))
    store.uploads.expire()
    assert files(store) == sorted(f"{name}.json" for name in names[2:])
    for name in names[:2]:
        with pytest.raises(Gone):
            store.uploads.find(name)


# --- over restarts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [False, True])
def test_a_restart_at_any_stage(root: Path, clock: Clock, killed: bool) -> None:
    def again(store: Store) -> Store:
        (abandon if killed else Store.close)(store)
        return open_store(root, clock=clock)

    store = open_store(root, clock=clock)
    begun = store.uploads.begin(len(CONTENT), ID, AUTHOR)
    store = again(store)
    assert store.uploads.find(begun.name) == begun
    clock.advance(100)
    append(store, begun.name, CONTENT[:3])
    store = again(store)
    found = store.uploads.find(begun.name)
    assert (found.offset, found.expires_ns) == (3, begun.expires_ns + 100 * 10**9)
    part = store.uploads.append(begun.name, 3)
    part.write(CONTENT[3:HALF])
    store = again(store)
    assert store.uploads.find(begun.name).offset == HALF, "what was written counts, though nobody ended the append"
    part.close()
    assert finish(store, begun.name, CONTENT[HALF:]) == ID
    done = store.uploads.find(begun.name)
    store = again(store)
    assert store.uploads.find(begun.name) == done
    assert read(store, ID) == CONTENT
    store.close()


def test_a_power_cut_goes_back_to_what_was_synced(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(root)
    name = half(store)
    store.uploads.append(name, HALF).write(b"never synced")
    abandon(store)
    for boot in ("another boot", "and another"):
        monkeypatch.setattr(resumable, "boot_id", lambda boot=boot: boot)
        store = open_store(root)
        assert store.uploads.find(name).offset == HALF
        store.uploads.append(name, HALF).write(b"never synced")
        abandon(store)
        with open_store(root) as store:
            assert store.uploads.find(name).offset == HALF + len(b"never synced"), "a kill loses nothing"
    monkeypatch.setattr(resumable, "boot_id", lambda: "")
    with open_store(root) as store:
        assert finish(store, name, CONTENT[HALF:]) == ID


def test_progress_of_a_long_append_is_noted(root: Path, clock: Clock) -> None:
    store = open_store(root, clock=clock)
    part = store.uploads.append(name := begin(store), 0)
    for _ in range(30):
        clock.advance(3600)
        part.write(b"x")
    abandon(store)
    with open_store(root, clock=clock) as store:
        assert store.uploads.find(name).offset == 30


def test_a_finish_that_is_broken_off_anywhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a kill: from some step on nothing reaches the disk any more."""
    for when in range(1, 40):
        store = open_store(root)
        name = half(store)
        part = store.uploads.append(name, HALF)
        part.write(CONTENT[HALF:])
        with failing(monkeypatch, (*CHANGING, "chmod", "truncate", "unlink"), errno.EINTR, when) as count:
            with contextlib.suppress(UdfstoreError):
                part.finish()
            steps = count()
        abandon(store)
        with open_store(root) as store:
            if name_is_known(store, name):
                assert store.uploads.find(name).offset == len(CONTENT)
                assert finish(store, name) == ID
                assert (read(store, ID), store.totals()[0]) == (CONTENT, 1)
                assert store.verify(ID).size == len(CONTENT)
                assert blob_path(store, ID).stat().st_nlink == 1
            else:
                assert store.present(ID) is None, "what became a blob can be told"
        if steps < when:
            return
        shutil.rmtree(root)
    pytest.fail("finishing has more steps than were tried")


def name_is_known(store: Store, name: str) -> bool:
    try:
        store.uploads.find(name)
    except NotFound:
        return False
    return True


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-5]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"[1]"),
        lambda path: path.write_bytes(b'{"author":{"front":"http"},"progress":"soon","synced":0}'),
        lambda path: path.unlink(),
        lambda path: path.with_suffix("").unlink(),
        lambda path: os.link(path.with_suffix(""), path.parent / "kept"),
    ],
)
def test_an_upload_that_cannot_be_gone_on_with_is_removed(root: Path, damage: object) -> None:
    with open_store(root) as store:
        name, other = half(store), half(store)
    damage(root / "uploads" / f"{name}.json")  # type: ignore[operator]
    (root / "uploads" / "notes.txt").write_text("not ours")
    said: list[str] = []
    with open_store(root, say=said.append) as store:
        assert [line for line in said if name in line and "removed" in line]
        with pytest.raises(NotFound):
            store.uploads.find(name)
        assert set(files(store)) - {"kept"} == {other, f"{other}.json", "notes.txt"}
        assert finish(store, other, CONTENT[HALF:]) == ID


def test_a_note_of_a_later_release(root: Path) -> None:
    with open_store(root) as store:
        name = half(store)
    path = root / "uploads" / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mood": "good"}))
    with open_store(root) as store:
        assert finish(store, name, CONTENT[HALF:]) == ID


def test_a_store_that_knew_no_uploads(root: Path) -> None:
    with open_store(root):
        pass
    (root / "uploads").rmdir()
    with open_store(root) as store:
        half(store)


# --- trouble ---------------------------------------------------------------------------------------------------------


def test_damage_between_requests_is_in_the_hash(store: Store) -> None:
    announced, unsaid = half(store, id=ID), half(store)
    for name in (announced, unsaid):
        path = store.root / "uploads" / name
        path.write_bytes(CONTENT[:HALF].upper())
        os.utime(path, ns=(0, 0))  # a file written twice in the same tick of the clock may look untouched
    with pytest.raises(Mismatch):
        finish(store, announced, CONTENT[HALF:])
    id = finish(store, unsaid, CONTENT[HALF:])
    assert id == BlobId.of(CONTENT[:HALF].upper() + CONTENT[HALF:])
    assert store.verify(id).size == len(CONTENT)


def test_content_that_was_cut_off_from_outside(store: Store) -> None:
    name = half(store)
    os.truncate(store.root / "uploads" / name, 3)
    with pytest.raises(Conflict) as caught:
        store.uploads.append(name, HALF)
    assert caught.value.expected == "3"
    assert finish(store, name, CONTENT[3:]) == ID


def test_a_file_with_another_name_is_never_written_to(store: Store) -> None:
    name, id = half(store), save(store, b"a blob")
    path = store.root / "uploads" / name
    path.unlink()
    os.link(blob_path(store, id), path)
    with pytest.raises(Gone, match="outside"):
        store.uploads.append(name, 6)
    assert read(store, id) == b"a blob"


@pytest.mark.parametrize("name", ["create", "write", "fdatasync", "rename", "fsync_folder"])
def test_an_upload_that_cannot_be_begun_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with failing(monkeypatch, (name,), errno.ENOSPC), pytest.raises(NoSpace):
        begin(store)
    assert files(store) == []
    half(store)


def test_a_full_disk_keeps_what_was_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    name = half(store)

    def write_in_part(fd: int, data: memoryview) -> None:
        os.write(fd, data[:5])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(osfs, "write", write_in_part)
        with pytest.raises(NoSpace):
            store.uploads.append(name, HALF).write(CONTENT[HALF:])
    assert not store.uploads.busy(name)
    assert store.uploads.find(name).offset == HALF == (store.root / "uploads" / name).stat().st_size
    assert finish(store, name, CONTENT[HALF:]) == ID


@pytest.mark.parametrize("step", ["write", "rename", "link"])
def test_a_disk_that_is_full_at_the_end_keeps_all_of_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    name = half(store)
    append(store, name, CONTENT[HALF:])
    with failing(monkeypatch, (step,), errno.ENOSPC), pytest.raises(NoSpace):
        finish(store, name)
    assert not store.uploads.find(name).complete
    assert finish(store, name) == ID
    assert stat.S_IMODE(blob_path(store, ID).stat().st_mode) == 0o444


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_failed_sync_is_never_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch, at_the_end: bool) -> None:
    name = half(store)
    part = store.uploads.append(name, HALF)
    part.write(CONTENT[HALF:])
    when = 2 if at_the_end else 1  # the note is synced before the content gets its name
    with failing(monkeypatch, ("fdatasync",), errno.EIO, when), pytest.raises(InternalError):
        part.finish() if at_the_end else part.commit()
    with pytest.raises(Gone, match="lost"):
        store.uploads.find(name)
    assert (files(store), store.present(ID)) == ([], None)


def test_a_store_that_takes_no_writes(root: Path) -> None:
    store = open_store(root)
    name, done = half(store), half(store)
    finish(store, done, CONTENT[HALF:])
    part = store.uploads.append(name, HALF)
    store._parts.committer.fail("broken")
    for call in (lambda: begin(store), lambda: part.write(b"x"), part.finish):
        with pytest.raises(ReadOnly):
            call()
    assert store.uploads.find(done).complete
    store.close()
    with pytest.raises(Closing):
        begin(store)
    with open_store(root) as store:
        assert finish(store, name, CONTENT[HALF:]) == ID


def test_appending_after_the_close_writes_nothing(root: Path) -> None:
    store = open_store(root)
    name = half(store)
    part = store.uploads.append(name, HALF)
    store.close()
    with open_store(root) as store:
        with pytest.raises(Closing):
            part.write(b"from the past")
        part.close()
        assert finish(store, name, CONTENT[HALF:]) == ID
