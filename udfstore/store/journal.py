"""The journal: small content is durable here with one sync for many, and becomes durable as files later, all at once.

The committer's thread appends; a thread of the journal's own makes checkpoints, so that nobody waits for one but who
removes a blob. A segment is free, open (records are appended to it), or full (it waits for a checkpoint).
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from udfstore.digest import BlobId
from udfstore.errors import ReadOnly
from udfstore.store import osfs
from udfstore.store.journaled import EMPTY, GENERATION_BYTES, HEAD_BYTES, encode_head
from udfstore.store.layout import Layout
from udfstore.store.limits import JOURNAL_SEGMENTS, StoreLimits


@dataclass(eq=False, slots=True)
class _Segment:
    """One segment: `end` is where its next record goes, `blobs` are those of its records."""

    fd: int
    generation: bytes = b""
    end: int = 0
    blobs: dict[BlobId, None] = field(default_factory=dict)


class Journal:
    """The journal of an open store.

    `begin` is called before the first segment is made, `fail` is told why nothing may be written any more.
    """

    def __init__(
        self,
        layout: Layout,
        store: bytes,
        limits: StoreLimits,
        begin: Callable[[], None],
        fail: Callable[[str], None],
    ) -> None:
        self._layout, self._store, self._begin, self._fail = layout, store, begin, fail
        self._size = limits.journal_bytes // JOURNAL_SEGMENTS
        self._delay = limits.checkpoint_s
        self._state = threading.Condition()
        """Guards all that follows; held while records are appended and their files are written."""
        self._free: list[_Segment] = []
        self._open: _Segment | None = None
        self._full: list[_Segment] = []
        self._made = 0
        self._root = osfs.open_folder(layout.root)
        self._floor = limits.floor_bytes
        self._due = 0.0
        """When the oldest record is old enough, by the monotonic clock."""
        self._wanted = False
        """Somebody waits for a checkpoint."""
        self._failed = ""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
        for number, path in layout.journal_segments().items():
            self._free.append(_Segment(osfs.open_update(path)))
            self._made = max(self._made, number)
        self._thread.start()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold off checkpoints: records that are appended in the body get their files in it, too."""
        with self._state:
            yield

    def append(self, blobs: Sequence[tuple[BlobId, bytes]]) -> bool:
        """Make content durable, all of it with one sync; False, and nothing done, where there is no room at present.

        Within `writing`. Raises `OSError` when that failed: whether the records are there is not known, so nothing more
        is appended.
        """
        size = sum(HEAD_BYTES + len(content) for _, content in blobs)
        segment = self._segment_for(size)
        if segment is None:
            return False
        parts = [
            part
            for id, content in blobs
            for part in (encode_head(self._store, segment.generation, id, len(content)), content)
        ]
        try:
            osfs.pwrite(segment.fd, memoryview(b"".join(parts)), segment.end)
            osfs.fdatasync(segment.fd)
        except OSError as error:
            if osfs.refused(error):  # a quota, or a file system that copies on writing: this one takes no more
                self._full.append(segment)
                self._open = None
                return False
            self._failed = f"writing the journal failed: {error.strerror or error}"
            self._state.notify_all()
            raise
        if not segment.blobs:
            if not self._full:
                self._due = time.monotonic() + self._delay
            self._state.notify_all()
        segment.end += size
        segment.blobs.update(dict.fromkeys(id for id, _ in blobs))
        return True

    def prepare(self) -> None:
        """Make the next segment before the open one is full, when nobody waits."""
        with self._state:
            full = self._open is not None and 2 * self._open.end > self._size
            if full and not self._free and self._made < JOURNAL_SEGMENTS and not self._failed:
                with contextlib.suppress(OSError):  # no room: small content goes the way of large content
                    self._free.append(self._make())

    def settle(self, ids: Sequence[BlobId]) -> None:
        """Return once the files of these blobs are durable by themselves. Raises `ReadOnly` when they cannot be."""
        with self._state:
            while any(id in segment.blobs for segment in self._used for id in ids):
                if self._failed:
                    raise ReadOnly(f"the store takes no writes: {self._failed}")
                self._wanted = True
                self._state.notify_all()
                self._state.wait()

    def close(self) -> None:
        """Make a last checkpoint, and let go of the segments."""
        with self._state:
            self._stopping = True
            self._state.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        for segment in (*self._free, *self._used):
            osfs.close(segment.fd)
        self._free, self._open, self._full = [], None, []
        osfs.close(self._root)

    # --- segments --------------------------------------------------------------------------------------------------

    @property
    def _used(self) -> list[_Segment]:
        return [*self._full, self._open] if self._open else self._full

    def _segment_for(self, size: int) -> _Segment | None:
        if self._failed or size > self._size:
            return None
        if self._open is not None and self._open.end + size > self._size:
            self._full.append(self._open)
            self._open = None
        if self._open is None:
            if not self._free and self._made < JOURNAL_SEGMENTS:
                try:
                    self._free.append(self._make())
                except OSError:
                    return None  # above all for want of space: what is not journaled tells it
            if not self._free:
                return None
            self._open = self._free.pop()
            self._open.generation, self._open.end = os.urandom(GENERATION_BYTES), 0
        return self._open

    def _make(self) -> _Segment:
        if osfs.free_bytes(self._layout.root) - self._size < self._floor:
            raise OSError(errno.ENOSPC, "no room for a segment above the floor")
        folder = self._layout.journal
        if not self._made:
            self._begin()
            folder.mkdir(mode=0o700, exist_ok=True)
            osfs.fsync_folder(folder.parent)
        path = self._layout.journal_segment(self._made + 1)
        fresh = path.with_name(path.name + ".new")
        try:
            # Written zeros, not only allocated blocks: the sync of an append then has no block map to update.
            osfs.write_file(fresh, bytes(self._size))
            osfs.rename(fresh, path)
            osfs.fsync_folder(folder)
            fd = osfs.open_update(path)
        except OSError:
            # Nor may the name stay: nothing may be appended to a segment that a power cut could take away.
            osfs.unlink(fresh)
            osfs.unlink(path)
            raise
        self._made += 1
        return _Segment(fd)

    # --- checkpoints -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._state:
                while not self._is_due():
                    self._state.wait(max(0.0, self._due - time.monotonic()) if self._has_records() else None)
                if self._failed or not self._has_records():
                    self._state.notify_all()
                    return  # it is being closed
                if self._open is not None and self._open.blobs:
                    self._full.append(self._open)
                    self._open = None
                self._wanted = False
                segments = list(self._full)
            try:
                self._make_durable(segments)
                for segment in segments:
                    osfs.pwrite(segment.fd, memoryview(EMPTY), 0)
                    osfs.fdatasync(segment.fd)
            except OSError as error:
                if osfs.scarce(error):  # nothing is lost, and it may pass
                    with self._state:
                        self._due = time.monotonic() + self._delay
                        if not self._stopping:
                            continue
                        return  # the next start finds the records
                with self._state:
                    self._failed = f"a checkpoint of the journal failed: {error.strerror or error}"
                    self._state.notify_all()
                self._fail(self._failed)
                return
            with self._state:
                for segment in segments:
                    self._full.remove(segment)
                    segment.blobs.clear()
                    self._free.append(segment)
                self._due = time.monotonic() + self._delay
                self._state.notify_all()

    def _has_records(self) -> bool:
        return bool(self._full) or (self._open is not None and bool(self._open.blobs))

    def _is_due(self) -> bool:
        if self._stopping or self._failed:
            return True
        if not self._has_records():
            return False
        return self._wanted or 2 * len(self._full) >= JOURNAL_SEGMENTS or time.monotonic() >= self._due

    def _make_durable(self, segments: Sequence[_Segment]) -> None:
        try:
            osfs.syncfs_at(self._root)
        except OSError:
            # It may have been another file's: each of ours tells of its own.
            folders: set[Path] = set()
            for id in (id for segment in segments for id in segment.blobs):
                path = self._layout.blob(id)
                with contextlib.suppress(FileNotFoundError):  # it went to quarantine, or its file could not be written
                    osfs.sync_file(path)
                    folders.add(path.parent)
            for folder in folders:
                osfs.fsync_folder(folder)
