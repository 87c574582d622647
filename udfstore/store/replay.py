"""The start of the journal: bring the files into line with what it holds, then empty it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from udfstore.digest import BlobId
from udfstore.store import osfs
from udfstore.store.blobs import Files
from udfstore.store.journaled import EMPTY, HEAD_BYTES, Journaled, records_in
from udfstore.store.layout import Layout
from udfstore.store.limits import JOURNAL_SEGMENTS, StoreLimits


def replay(layout: Layout, store: bytes, files: Files, limits: StoreLimits, say: Callable[[str], None]) -> list[BlobId]:
    """Write again the files of small blobs that are missing or wrong; gives all blobs that the journal held.

    Afterwards their files are durable by themselves, and the journal is empty. May be broken off and begun again.
    """
    held: dict[BlobId, None] = {}
    mended = 0
    segments = layout.journal_segments()
    for path in segments.values():
        for record in records_in(path.read_bytes(), store):
            if not files.holds(record.id, record.content):
                _write(layout, files, record)
                mended += 1
            held[record.id] = None
    if mended:
        osfs.syncfs(layout.root)
        say(f"the journal: {mended} small blobs were not on disk yet, and are now")
    for path in segments.values():
        _empty(path, limits.journal_bytes // JOURNAL_SEGMENTS)
    for path in layout.journal.glob("*.new"):
        osfs.unlink(path)
    return list(held)


def _write(layout: Layout, files: Files, record: Journaled) -> None:
    staged = layout.staging / os.urandom(16).hex()
    fd = osfs.create(staged, 0o444)
    try:
        osfs.write(fd, memoryview(record.content))
        osfs.fdatasync(fd)
    finally:
        osfs.close(fd)
    files.publish(staged, record.id)


def _empty(path: Path, size: int) -> None:
    if path.stat().st_size != size:  # made by a release or under limits that had others
        osfs.unlink(path)
        return
    fd = osfs.open_update(path)
    try:
        if os.pread(fd, HEAD_BYTES, 0) != EMPTY:
            osfs.pwrite(fd, memoryview(EMPTY), 0)
            osfs.fdatasync(fd)
    finally:
        osfs.close(fd)
