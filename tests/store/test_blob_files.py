"""Content on disk: what is refused, what a full or failing disk does, and files that were deleted or altered."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from store_kit import (
    SMALL,
    Clock,
    abandon,
    blob_path,
    delete,
    failing,
    move,
    open_store,
    overwrite,
    read,
    save,
)

from udfstore.digest import BlobId
from udfstore.errors import Busy, Closing, Corrupt, Gone, InternalError, NoSpace, ReadOnly, TooLarge
from udfstore.refs import Ref
from udfstore.store import Store, osfs


def staged(store: Store) -> list[str]:
    return [path.name for path in (store.root / "staging").iterdir()]


def test_an_aborted_save_leaves_nothing(store: Store) -> None:
    upload = store.upload()
    upload.write(b"half")
    assert len(staged(store)) == 1
    upload.abort()
    upload.abort()
    assert staged(store) == []
    with pytest.raises(InternalError):
        upload.write(b"more")


def test_a_committed_save_leaves_nothing_in_staging(store: Store) -> None:
    save(store, b"x")
    save(store, b"x")
    assert staged(store) == []


def test_blocks_that_cannot_be_shared_are_not_taken(store: Store) -> None:
    """Those of a file of the kernel's; in tests/faults there are some that can, on xfs and btrfs."""
    data = os.urandom(1 << 20)
    upload = store.upload(size=len(data))
    with Path("/proc/self/maps").open("rb") as file:
        assert not upload.clone(file.fileno())
    upload.write(data)
    assert upload.commit() == (BlobId.of(data), False)


def test_blocks_of_a_sharing_that_failed_midway_are_not_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks_off(fd: int, source: int) -> None:
        os.pwrite(fd, bytes(2 << 20), 0)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(osfs, "clone", breaks_off)
    data = os.urandom(1 << 20)
    upload = store.upload(size=len(data))
    with Path("/dev/null").open("rb") as file:
        assert not upload.clone(file.fileno())
    upload.write(data)
    id, _ = upload.commit()
    assert store.verify(id).size == len(data)


def test_what_was_in_flight_is_forgotten_at_the_start(root: Path) -> None:
    store = open_store(root)
    store.upload().write(b"half")
    abandon(store)
    with open_store(root) as store:
        assert staged(store) == []
        assert store.totals() == (0, 0, 0)


def test_a_limit_on_the_size_of_blobs(root: Path) -> None:
    with open_store(root, limits=replace(SMALL, blob_bytes=10)) as store:
        with pytest.raises(TooLarge):
            store.upload(size=11)
        upload = store.upload()
        upload.write(b"0123456789")
        with pytest.raises(TooLarge):
            upload.write(b"x")
        upload.abort()
        save(store, b"0123456789")


def test_saves_stop_at_the_floor_and_tags_go_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(root, limits=replace(SMALL, floor_bytes=1000)) as store:
        id = save(store, b"x")
        monkeypatch.setattr(osfs, "free_bytes", lambda path: 1500)
        with pytest.raises(NoSpace, match="floor"):
            store.upload(size=501)
        upload = store.upload()
        with pytest.raises(NoSpace):
            upload.write(bytes(501))
        upload.abort()
        move(store, "t", id)
        assert read(store, "t") == b"x"


@pytest.mark.parametrize("name", ["create", "write", "allocate", "fdatasync", "link", "fsync_folder"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_fails_that_save_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    kept = save(store, b"kept")
    content = bytes(2 << 20)
    with failing(monkeypatch, (name,), number), pytest.raises(NoSpace):
        _save_whole(store, content)
    assert staged(store) == []
    assert store.problem == ""
    assert store.present(BlobId.of(content)) is None
    assert read(store, kept) == b"kept"
    delete(store, kept)
    assert save(store, content) == BlobId.of(content)


def _save_whole(store: Store, content: bytes) -> None:
    upload = store.upload(size=len(content))
    try:
        upload.write(content)
        upload.commit()
    finally:
        upload.abort()


def test_a_small_file_system_that_fills_up(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        with open_store(disk / "root", limits=replace(SMALL, preallocate_from=1 << 40)) as store:
            kept = save(store, b"kept")
            move(store, "t", kept)
            upload = store.upload()
            with pytest.raises(NoSpace):
                upload.write(os.urandom(4 << 20))
            upload.abort()
            move(store, "t", kept)
            assert read(store, "t@2") == b"kept"
            save(store, b"again")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_failed_sync_is_never_acknowledged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with failing(monkeypatch, ("fdatasync",), errno.EIO), pytest.raises(InternalError, match="Input/output"):
        save(store, b"x")
    assert store.present(BlobId.of(b"x")) is None
    assert store.problem == "", "the file that failed is gone; others are not in doubt"
    save(store, b"x")


def test_a_failed_sync_of_a_folder_ends_writing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(root)
    kept = save(store, b"kept")
    with failing(monkeypatch, ("fsync_folder",), errno.EIO), pytest.raises(InternalError):
        save(store, b"x")
    assert "Input/output" in store.problem
    for write in (lambda: store.upload(), lambda: move(store, "t", kept), lambda: store.sweep()):
        with pytest.raises(ReadOnly, match="restart"):
            write()
    assert read(store, kept) == b"kept"
    store.close()
    with open_store(root) as store:
        assert store.present(BlobId.of(b"x")) is None
        save(store, b"x")


def test_too_many_open_files_fail_that_save_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with failing(monkeypatch, ("fsync_folder",), errno.EMFILE), pytest.raises(Busy):
        save(store, b"x")
    assert store.problem == ""
    assert store.present(BlobId.of(b"x")) is None
    save(store, b"x")


def test_a_deleted_file_is_corrupt_and_a_save_heals_it(store: Store) -> None:
    id = save(store, b"content")
    move(store, "t", id)
    blob_path(store, id).unlink()
    for look in (lambda: store.open(id), lambda: store.info(Ref.parse("t")), lambda: move(store, "u", "t")):
        with pytest.raises(Corrupt, match="missing"):
            look()
    assert store.present(id) is None
    with pytest.raises(Corrupt):
        store.verify(id)
    save(store, b"content")
    assert read(store, "t") == b"content"


@pytest.mark.parametrize("content", [b"", b"conten", b"content and more"])
def test_a_file_of_the_wrong_length_is_corrupt_and_a_save_heals_it(store: Store, content: bytes) -> None:
    id = save(store, b"content")
    move(store, "t", id)
    overwrite(blob_path(store, id), content)
    for look in (lambda: store.open(id), lambda: store.info(Ref.of(id)), lambda: move(store, "u", id)):
        with pytest.raises(Corrupt, match="length"):
            look()
    assert store.missing([id]) == [id]
    save(store, b"content")
    assert read(store, "t") == b"content"
    assert [path.read_bytes() for path in (store.root / "quarantine").iterdir()] == [content]


def test_altered_bytes_are_found_by_hashing_and_kept_aside(store: Store, clock: Clock) -> None:
    id = save(store, b"content")
    move(store, "t", id)
    clock.advance(10)
    assert store.verify(id).verified_ns == clock.ns
    overwrite(blob_path(store, id), b"CONTENT")
    with pytest.raises(Corrupt, match="damaged") as caught:
        store.verify(id)
    assert caught.value.got == str(BlobId.of(b"CONTENT"))
    for look in (lambda: store.open(id), lambda: store.info(Ref.parse("t"))):
        with pytest.raises(Corrupt):
            look()
    assert [path.read_bytes() for path in (store.root / "quarantine").iterdir()] == [b"CONTENT"]
    save(store, b"content")
    assert store.verify(store.resolve(Ref.parse("t")).id).size == 7


def test_altered_bytes_are_never_taken_for_the_content_of_a_save(store: Store) -> None:
    id = save(store, b"content")
    overwrite(blob_path(store, id), b"CONTENT")
    assert store.present(id) is None, "the client must send the bytes"
    save(store, b"content")
    assert read(store, id) == b"content"
    overwrite(blob_path(store, id), b"CONTENT")
    save(store, b"content")
    assert read(store, id) == b"content"


def test_a_file_that_was_only_touched_stays(store: Store) -> None:
    id = save(store, b"content")
    os.utime(blob_path(store, id))
    inode = blob_path(store, id).stat().st_ino
    assert store.present(id) == 7
    save(store, b"content")
    assert blob_path(store, id).stat().st_ino == inode


def test_content_that_was_published_but_never_indexed_is_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(root)
    monkeypatch.setattr(store, "_yard", replace(store._yard, index=lambda *_: None))
    id = save(store, b"x")
    abandon(store)
    with open_store(root) as store:
        assert read(store, id) == b"x"
        assert store.present(id) == 1
        move(store, "t", id)
        assert store.totals() == (1, 1, 1)


def test_many_threads_save_the_same_and_different_content(store: Store) -> None:
    contents = [bytes([n]) * 1000 for n in range(4)]
    existed: list[bool] = []

    def work() -> None:
        for content in contents:
            upload = store.upload()
            upload.write(content)
            existed.append(upload.commit()[1])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert existed.count(False) == len(contents)
    assert store.totals() == (4, 4000, 0)
    assert staged(store) == []


def test_a_closed_store_says_so(store: Store) -> None:
    id = save(store, b"x")
    upload = store.upload()
    upload.write(b"y")
    store.close()
    store.close()
    for call in (lambda: store.info(Ref.of(id)), lambda: store.upload(), lambda: move(store, "t", id), upload.commit):
        with pytest.raises(Closing):
            call()


def test_gone_is_not_corrupt(store: Store) -> None:
    id = save(store, b"x")
    delete(store, id, now=True)
    with pytest.raises(Gone):
        store.verify(id)
