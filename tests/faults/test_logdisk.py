"""The disk that remembers: syncs come to it as flushes, and a writer that leaves one out is caught by it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from logdisk import FILESYSTEMS, PIECE_BYTES, Disk, new_disk
from power import Acknowledged, Apart, kept, opened, record, save

from udfstore.errors import UdfstoreError
from udfstore.store import Store, osfs, parts

FILES, CUTS = 30, 10

everywhere = pytest.mark.parametrize("filesystem", FILESYSTEMS)


def synced(filesystem: str) -> tuple[bytes, list[bytes]]:
    """A content, and what came to the disk while a file of it was synced."""
    disk, content = new_disk(filesystem), os.urandom(PIECE_BYTES)
    with disk.mounted() as folder, open(folder / "file", "wb", buffering=0) as file:
        file.write(content)
        before = disk.position()
        os.fdatasync(file.fileno())
        after = disk.position()
    return content, [bytes(record.data) for record in disk.log() if before < record.end <= after]


@everywhere
def test_a_sync_returns_when_the_content_is_written_and_flushed(apart: Apart, filesystem: str) -> None:
    content, records = apart(synced, filesystem)
    flushes = [number for number, data in enumerate(records) if not data]
    assert content in b"".join(records[: flushes[-1]])


def write(path: Path, content: bytes, file_too: bool, folder_too: bool) -> None:
    """What people do: write a file under another name, sync it, rename it, sync its folder; or leave a sync out."""
    staged = path.with_name("staged")
    with open(staged, "wb", buffering=0) as file:
        file.write(content)
        if file_too:
            os.fdatasync(file.fileno())
    staged.rename(path)
    if folder_too:
        osfs.fsync_folder(path.parent)


def written(filesystem: str, file_too: bool, folder_too: bool) -> set[str]:
    """How files that were done are found after power cuts."""
    disk = new_disk(filesystem)
    done: list[tuple[int, str, bytes]] = []
    with disk.mounted() as folder:
        for number in range(FILES):
            content = os.urandom(5000)
            write(folder / str(number), content, file_too, folder_too)
            done.append((disk.position(), str(number), content))
    found = set()
    for crash in disk.crashes(CUTS, random.Random(0)):
        with crash.disk.mounted() as folder:
            found |= {look(folder / name, content) for position, name, content in done if position <= crash.position}
    return found


def look(path: Path, content: bytes) -> str:
    if not path.exists():
        return "missing"
    return "whole" if path.read_bytes() == content else "torn"


@everywhere
def test_a_plain_writer_is_caught_unless_it_syncs_both(apart: Apart, filesystem: str) -> None:
    assert apart(written, filesystem, True, True) == {"whole"}
    assert "missing" in apart(written, filesystem, True, False)
    assert "torn" in apart(written, filesystem, False, True)


def large_saves(store: Store, ledger: Acknowledged) -> None:
    for _ in range(FILES):
        ledger.save(save(store, os.urandom(100_000)))


def small_saves(store: Store, ledger: Acknowledged) -> None:
    for _ in range(FILES):
        ledger.save(save(store, os.urandom(5000)))


def caught(filesystem: str, left_out: str) -> list[str]:
    """What the check of a store says after power cuts if the store leaves out a kind of sync."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(osfs, left_out, lambda _: None)
        return findings(*record(filesystem, large_saves))


def caught_without_the_journal(filesystem: str) -> list[str]:
    """What it says if a start does not look into the journal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "replay", lambda *_: [])
        return findings(*record(filesystem, small_saves))


def findings(disk: Disk, acknowledged: Acknowledged) -> list[str]:
    said = []
    for crash in disk.crashes(CUTS, random.Random(0)):
        try:
            with opened(crash) as store:
                kept(store, acknowledged.until(crash.position))
        except (UdfstoreError, AssertionError) as error:
            said.append(str(error))
    return said


@everywhere
@pytest.mark.parametrize(("left_out", "finding"), [("fdatasync", "are damaged"), ("fsync_folder", "there is no blob")])
def test_a_store_without_its_syncs_is_caught(apart: Apart, filesystem: str, left_out: str, finding: str) -> None:
    assert any(finding in said for said in apart(caught, filesystem, left_out))


@everywhere
def test_a_start_that_leaves_out_the_journal_is_caught(apart: Apart, filesystem: str) -> None:
    assert any(
        "there is no blob" in said or "damaged" in said for said in apart(caught_without_the_journal, filesystem)
    )
