"""The journal: what it saves, what a power cut may do, and when it is not there."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from store_kit import (
    AUTHOR,
    DAMAGES,
    JOURNALED,
    Clock,
    abandon,
    blob_path,
    delete,
    failing,
    lose_power,
    move,
    not_synced,
    open_store,
    overwrite,
    read,
    save,
)
from test_committer import Gate, step

from udfstore.digest import BlobId
from udfstore.errors import InternalError, NoSpace, NotFound, ReadOnly, TooLarge
from udfstore.refs import Ref
from udfstore.store import Store, osfs
from udfstore.store.format import parse
from udfstore.store.journaled import EMPTY, HEAD_BYTES, encode_head, records_in
from udfstore.store.small import Small

STORE = b"s" * 16


@pytest.fixture
def store(root: Path, clock: Clock) -> Iterator[Store]:
    with open_store(root, clock=clock, limits=JOURNALED) as store:
        yield store


def segments(store: Store) -> list[Path]:
    return sorted((store.root / "journal").iterdir())


def settle(store: Store) -> None:
    """Wait for a checkpoint of all there is."""
    assert store._parts.journal is not None
    store._parts.journal.settle(not_synced(store))


# --- records as bytes ----------------------------------------------------------------------------------------------


def record(content: bytes, generation: bytes = b"g" * 8) -> bytes:
    return encode_head(STORE, generation, BlobId.of(content), len(content)) + content


def contents(segment: bytes) -> list[bytes]:
    return [found.content for found in records_in(segment.ljust(4096, b"\0"), STORE)]


def test_records_come_back_in_order() -> None:
    assert contents(record(b"one") + record(b"") + record(b"three" * 100)) == [b"one", b"", b"three" * 100]
    assert contents(b"") == []
    assert contents(EMPTY + record(b"left over")) == [], "a segment that was emptied"


def test_damage_to_any_byte_costs_that_record_alone() -> None:
    whole = record(b"one") + record(b"two") + record(b"three")
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 1
        found = contents(bytes(broken))
        hit = 0 if place < HEAD_BYTES + 3 else 1 if place < 2 * (HEAD_BYTES + 3) else 2
        assert found == [content for n, content in enumerate((b"one", b"two", b"three")) if n != hit]


def test_a_cut_at_any_byte_costs_the_record_that_it_cuts() -> None:
    whole = record(b"one") + record(b"two")
    for length in range(1, len(whole)):
        assert contents(whole[:length]) == ([b"one"] if length >= HEAD_BYTES + 3 else [])


def test_what_earlier_uses_left_does_not_count() -> None:
    older = record(b"older", b"o" * 8) + record(b"older still", b"o" * 8)
    assert contents(record(b"new") + older) == [b"new"]


def test_a_torn_first_record_does_not_bring_back_what_earlier_uses_left() -> None:
    torn = record(b"new" * 100)[: HEAD_BYTES + 10].ljust(HEAD_BYTES + 300, b"\0")
    assert contents(torn + record(b"older", b"o" * 8)) == []


def test_a_record_inside_content_is_content() -> None:
    forged = record(b"forged")
    assert contents(record(forged) + record(b"next")) == [forged, b"next"]


def test_another_store_s_records_do_not_count() -> None:
    other = encode_head(b"x" * 16, b"g" * 8, BlobId.of(b"one"), 3) + b"one"
    assert contents(other) == []


# --- saves ---------------------------------------------------------------------------------------------------------


def test_many_that_wait_share_one_sync(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(store)
    moved = store.submit(step("t", save(store, b"first")), AUTHOR)
    assert gate.entered.wait(30)
    smalls = [Small(BlobId.of(b"%d" % n), b"%d" % n) for n in range(8)]
    saved = [store._yard.save_small(small) for small in smalls]
    with failing(monkeypatch, ("fdatasync",), errno.EIO, when=99) as count:
        gate.open.set()
        for small, future in zip(smalls, saved, strict=True):
            future.result()
            assert read(store, small.id) == small.content
        assert count() == 1
    moved.result()


def test_content_over_the_limit_has_a_file_of_its_own_at_once(store: Store) -> None:
    small, large = save(store, b"s" * JOURNALED.small_bytes), save(store, b"l" * (JOURNALED.small_bytes + 1))
    assert not_synced(store) == [small]
    assert read(store, large) == b"l" * (JOURNALED.small_bytes + 1)


def test_content_that_is_there_is_not_journaled_again(store: Store) -> None:
    id = save(store, b"same")
    settle(store)
    upload = store.upload()
    upload.write(b"same")
    assert upload.commit() == (id, True)
    assert not_synced(store) == []


def test_a_damaged_copy_is_mended_and_kept(store: Store) -> None:
    id = save(store, b"good")
    settle(store)
    overwrite(blob_path(store, id), b"bad!")
    save(store, b"good")
    assert read(store, id) == b"good"
    assert [path.read_bytes() for path in (store.root / "quarantine").iterdir()] == [b"bad!"]


def test_the_same_content_from_many_threads(store: Store) -> None:
    def save_same(n: int) -> bool:
        upload = store.upload()
        upload.write(b"same %d" % (n // 8))
        return upload.commit()[1]

    with ThreadPoolExecutor(8) as pool:
        existed = list(pool.map(save_same, range(160)))
    assert store.totals()[0] == 20
    assert existed.count(False) >= 20
    assert not list((store.root / "staging").iterdir())
    assert not list((store.root / "quarantine").iterdir())


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_segments_are_used_again(store: Store) -> None:
    ids = [save(store, b"%d" % n * 800) for n in range(300)]  # five times what the journal holds
    assert len(segments(store)) <= 8
    assert sum(path.stat().st_size for path in segments(store)) <= JOURNALED.journal_bytes
    assert all(read(store, id) for id in ids)


def test_a_clean_end_leaves_an_empty_journal(store: Store) -> None:
    save(store, b"small")
    store.close()
    assert [path.read_bytes()[:HEAD_BYTES] for path in segments(store)] == [EMPTY]


def test_records_do_not_lie_there_for_long(root: Path) -> None:
    with open_store(root, limits=replace(JOURNALED, checkpoint_s=0.01)) as store:
        save(store, b"small")
        with store._parts.journal._state:  # type: ignore[union-attr]
            assert store._parts.journal._state.wait_for(lambda: not not_synced(store), 30)  # type: ignore[union-attr]


def test_a_removed_blob_does_not_come_back_from_the_journal(root: Path, store: Store) -> None:
    id, other = save(store, b"to go"), save(store, b"to stay")
    delete(store, id, now=True)
    assert not_synced(store) == [], "its removal waited for a checkpoint"
    lose_power(store, Path.unlink)
    with open_store(root, limits=JOURNALED) as again:
        assert read(again, other) == b"to stay"
        assert not blob_path(again, id).exists()
        assert again.totals() == (1, 7, 0)


def test_files_one_by_one_where_the_file_system_cannot_be_synced(
    root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [save(store, b"%d" % n) for n in range(5)]
    blob_path(store, ids[0]).unlink()  # somebody's doing; no reason to stop
    with failing(monkeypatch, ("syncfs_at",), errno.EIO), failing(monkeypatch, ("sync_file",), errno.EIO, 99) as count:
        settle(store)
        assert count() == 5
    save(store, b"goes on")


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_checkpoint_that_fails_both_ways_stops_writing_and_keeps_the_records(
    root: Path, store: Store, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """Once is enough: a second sync says that all is well, of files that the disk does not have."""
    id = save(store, b"kept")
    with failing(monkeypatch, ("syncfs_at", "sync_file"), error):
        with pytest.raises(ReadOnly, match="checkpoint"):
            settle(store)
        with pytest.raises(ReadOnly, match="checkpoint of the journal failed"):
            save(store, b"more")
    assert read(store, id) == b"kept"
    store.close()
    overwrite(blob_path(store, id), b"torn")
    with open_store(root, limits=JOURNALED) as again:
        assert read(again, id) == b"kept"


# --- what a power cut leaves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("catalog", ["kept", "lost"])
def test_what_was_never_synced_comes_back(
    root: Path, store: Store, damage: Callable[[Path], None], catalog: str
) -> None:
    ids = [save(store, b"content %d" % n) for n in range(40)]
    move(store, "t", ids[0])
    assert lose_power(store, damage) == ids
    if catalog == "lost":
        for path in root.glob("catalog.db*"):
            path.unlink()
    said: list[str] = []
    with open_store(root, limits=JOURNALED, say=said.append) as again:
        assert [read(again, id) for id in ids] == [b"content %d" % n for n in range(40)]
        assert again.info(Ref.parse("t")).id == ids[0]
        assert again.totals()[0] == 40
        assert not_synced(again) == []
        assert [again.verify(id).id for id in ids] == ids
        upload = again.upload()
        upload.write(b"content 3")
        assert upload.commit() == (ids[3], True)
    assert any("40 small blobs were not on disk yet" in line for line in said)


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_comes_back_where_the_log_has_rot_too(root: Path, store: Store, damage: Callable[[Path], None]) -> None:
    """What is read must be right, also from a store that takes no writes; log and catalog stay as they are."""
    ids = [save(store, b"content %d" % n) for n in range(3)]
    move(store, "t", ids[0])
    lose_power(store, damage)
    log = root / "log" / "00000001"
    log.write_bytes(log.read_bytes().replace(b'"t"', b'"u"', 1))
    rotten = log.read_bytes()
    with open_store(root, limits=JOURNALED) as again:
        assert "was committed, but its group is damaged" in again.problem
        assert [read(again, id) for id in ids] == [b"content %d" % n for n in range(3)]
        assert read(again, "t") == b"content 0"
    assert log.read_bytes() == rotten


def test_a_start_that_is_broken_off_is_begun_again(root: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [save(store, b"content %d" % n) for n in range(3)]
    lose_power(store, Path.unlink)
    for when in range(1, 60):
        with failing(monkeypatch, ("create", "write", "fdatasync", "link", "fsync_folder", "pwrite"), errno.EIO, when):
            try:
                open_store(root, limits=JOURNALED).close()
            except InternalError:
                continue
        break
    assert when > 5, "each goes on where the one before stopped"
    with open_store(root, limits=JOURNALED) as again:
        assert [read(again, id) for id in ids] == [b"content %d" % n for n in range(3)]


def test_a_segment_that_was_being_made_is_made_anew(root: Path, store: Store) -> None:
    id = save(store, b"small")
    abandon(store)
    (root / "journal" / "00000002.new").write_bytes(b"half of it")
    with open_store(root, limits=JOURNALED) as again:
        assert read(again, id) == b"small"
        assert [path.name for path in segments(again)] == ["00000001"]


def test_a_start_without_room_leaves_the_journal_and_opens_for_reading(
    root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, small = save(store, b"l" * 5000), save(store, b"small")
    lose_power(store, Path.unlink)
    with (
        failing(monkeypatch, ("create",), errno.ENOSPC),
        open_store(root, limits=JOURNALED) as full,
    ):
        assert "when there is room" in full.problem
        assert read(full, large) == b"l" * 5000
        with pytest.raises(ReadOnly, match="from the journal"):
            save(full, b"more")
    with open_store(root, limits=JOURNALED) as again:
        assert read(again, small) == b"small"


def test_a_start_leaves_alone_what_is_whole(root: Path, store: Store) -> None:
    id = save(store, b"whole")
    before = blob_path(store, id).stat()
    abandon(store)
    with open_store(root, limits=JOURNALED):
        assert blob_path(store, id).stat().st_ino == before.st_ino


# --- where it cannot be --------------------------------------------------------------------------------------------


def test_a_failed_sync_of_the_journal_acknowledges_nothing_and_stops_writing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = save(store, b"kept")
    failed = pytest.raises(ReadOnly, match="writing the journal failed")
    with failing(monkeypatch, ("fdatasync",), errno.EIO, once=True), failed:
        save(store, b"lost")
    for write in (lambda: save(store, b"lost"), lambda: move(store, "t", kept)):
        with pytest.raises(ReadOnly):
            write()
    assert read(store, kept) == b"kept"
    with pytest.raises(NotFound):
        store.open(BlobId.of(b"lost"))


def test_a_file_that_cannot_be_written_fails_its_save_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    save(store, b"there is a journal")
    with failing(monkeypatch, ("rename",), errno.ENOSPC), pytest.raises(NoSpace):
        save(store, b"no room")
    assert not list((store.root / "staging").iterdir())
    assert read(store, save(store, b"no room")) == b"no room"


def test_without_room_for_a_segment_content_goes_its_own_way(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with failing(monkeypatch, ("write_file",), errno.ENOSPC):
        id = save(store, b"small")
    assert not_synced(store) == []
    assert read(store, id) == b"small"


def test_a_removal_that_waits_is_told_when_the_journal_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    id = save(store, b"to go")
    begun, go_on = threading.Event(), threading.Event()

    def syncfs(fd: int) -> None:
        begun.set()
        assert go_on.wait(30)
        raise OSError(errno.EIO, "lost")

    monkeypatch.setattr(osfs, "syncfs_at", syncfs)
    monkeypatch.setattr(osfs, "sync_file", lambda path: syncfs(0))
    with ThreadPoolExecutor(1) as pool:
        removed = pool.submit(delete, store, id, now=True)
        assert begun.wait(30)
        go_on.set()
        with pytest.raises(ReadOnly):
            removed.result(30)


def test_a_limit_of_descriptors_only_puts_a_checkpoint_off(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    id = save(store, b"small")
    journal = store._parts.journal
    assert journal is not None
    with failing(monkeypatch, ("syncfs_at", "sync_file"), errno.EMFILE, 1) as count:
        with journal._state:
            journal._wanted = True
            journal._state.notify_all()
        while count() < 2:
            os.sched_yield()
        assert store.problem == ""
    assert not_synced(store) == [id]
    move(store, "t", id)


def test_a_small_blob_is_held_to_the_limit_of_all(root: Path) -> None:
    with open_store(root, limits=replace(JOURNALED, blob_bytes=10)) as store, pytest.raises(TooLarge):
        store.save_small(b"more than ten", (), (), None, AUTHOR)


def test_no_segment_is_made_below_the_floor(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(root, limits=replace(JOURNALED, floor_bytes=1 << 20)) as store:
        monkeypatch.setattr(osfs, "free_bytes", lambda path: (1 << 20) + 10_000)
        id = save(store, b"small")
        assert not_synced(store) == []
        assert read(store, id) == b"small"


def test_a_full_disk_is_told(root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(root, clock=clock, limits=replace(JOURNALED, floor_bytes=1 << 20)) as store:
        monkeypatch.setattr(osfs, "free_bytes", lambda path: 1 << 20)
        with pytest.raises(
            NoSpace, match=r"no room for this save above the floor .*; make room: udfstore gc --dry-run shows"
        ):
            save(store, b"small")


def test_an_older_release_may_open_the_store_until_something_is_journaled(root: Path) -> None:
    with open_store(root, limits=JOURNALED) as store:
        save(store, b"l" * (JOURNALED.small_bytes + 1))
        assert parse((root / "FORMAT").read_text()).features == ()
        assert not (root / "journal").exists()
        save(store, b"small")
        assert parse((root / "FORMAT").read_text()).features == ("journal",)


def test_segments_of_another_size_are_made_anew(root: Path, store: Store) -> None:
    id = save(store, b"small")
    abandon(store)
    with open_store(root, limits=replace(JOURNALED, journal_bytes=2 * JOURNALED.journal_bytes)) as again:
        assert read(again, id) == b"small"
        save(again, b"another")
        assert {path.stat().st_size for path in segments(again)} == {2 * JOURNALED.journal_bytes // 8}
