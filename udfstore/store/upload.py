"""Saves in flight: bytes into a file of ours, hashed as they come, published when they are what was announced.

Content that turns out to be small is kept in memory instead, and becomes durable through the journal: many saves with
one sync. What the journal cannot take is written to a file at the end, and goes the way of large content.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from udfstore.digest import BlobId
from udfstore.errors import Closing, InternalError, Mismatch, TooLarge
from udfstore.store import osfs
from udfstore.store.blobs import Files, hash_read
from udfstore.store.limits import MIB, StoreLimits
from udfstore.store.meters import StoreMeters
from udfstore.store.small import Elsewhere, Small

FLOOR_CHECK_BYTES = 16 * MIB
"""Bytes written between two looks at the free space: the default floor, so a save of unknown size stops above zero."""

BESIDE_BYTES = 256 * 1024
"""Pieces from this size on are hashed by a second thread while they are written: either takes about half a millisecond
for a mebibyte, handing over a tenth of that."""


WRITEBACK_BYTES = 16 * MIB
"""Bytes after which the disk is told to begin with them, while the next are received: left alone, the kernel would wait
until a tenth of the memory is dirty, and the sync at the end would have all to do."""


@dataclass(frozen=True, slots=True)
class Yard:
    """What an upload needs of its store."""

    staging: Path
    files: Files
    limits: StoreLimits
    clock: Callable[[], int]
    known_saved_ns: Callable[[BlobId], int | None]
    """When the index says a blob was saved; None: it is not indexed."""
    index: Callable[[BlobId, int, int], None]
    """Index (ID, size, saved_ns) durable content; returns when that is done."""
    save_small: Callable[[Small], Future[None]]
    """Make small content durable through the journal and index it; fails with `Elsewhere` where that cannot be."""
    small_bytes: int
    """The largest content for which that is tried; -1: none."""
    hashing: Executor
    """Threads that hash what is being written."""
    meters: StoreMeters

    def check_limit(self, size: int) -> None:
        """Refuse content over the limit (`TooLarge`)."""
        limit = self.limits.blob_bytes
        if limit is not None and size > limit:
            raise TooLarge("the blob is over the store's limit", expected=limit, got=size)

    def check_floor(self, coming: int) -> None:
        """Refuse bytes that would bring the disk below its floor (`NoSpace`)."""
        osfs.check_floor(self.staging, coming, self.limits.floor_bytes)


class Room:
    """The room that there is for one save; here, as much as the disk has."""

    def check(self, coming: int) -> None:
        """Refuse content of which so many bytes were announced, or have come (`NoSpace`)."""

    def take(self, id: BlobId, size: int) -> None:
        """Now that it is known what the content is: take room for it. Raises `NoSpace`."""

    def give_back(self) -> None:
        """It could not be kept."""

    @contextlib.contextmanager
    def taken(self, id: BlobId, size: int) -> Iterator[None]:
        """Take room, and give it back after an error."""
        self.take(id, size)
        try:
            yield
        except BaseException:
            self.give_back()
            raise


ANY_ROOM = Room()


def check_announced(size: int, id: BlobId | None, sizes: Sequence[int | None], ids: Sequence[BlobId | None]) -> None:
    """Hold what content is against what was said of it, None for nothing. Raises `Mismatch`."""
    for told in sizes:
        if told not in (None, size):
            raise Mismatch("the content has another length than announced", expected=told, got=size)
    for named in ids:
        if named not in (None, id):
            raise Mismatch("the content is not what was announced", expected=named, got=id)


class Incoming:
    """Content on its way into a file of ours, and from there under its name. Not for several threads at once.

    `size` is what was written so far.
    """

    def __init__(self, yard: Yard, path: Path, id: BlobId | None, size: int | None, room: Room) -> None:
        self.size = 0
        self._yard = yard
        self._quota = room
        self._path = path
        self._announced = (size, id)
        self._fd = -1
        self._digest: hashlib._Hash | None = hashlib.sha256()
        """Of what was written; None: only the file knows."""
        self._room = 0
        """Bytes that may be written before the free space is looked at."""
        self._begun = 0
        """How far the disk was told to begin."""
        self._durable = False
        """Whether the file was synced and closed."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes.

        Raises `Mismatch` beyond the announced size, `TooLarge` over the limit, `NoSpace`; the bytes are then not kept.
        """
        view = memoryview(data).cast("B")
        self._check_open()
        size = self.size + len(view)
        self._check_coming(size)
        if len(view) > self._room:
            self._quota.check(size)
            self._yard.check_floor(len(view))
            self._room = FLOOR_CHECK_BYTES
        with osfs.telling("writing the save"):
            if self._digest is None:
                osfs.write(self._fd, view)
            elif len(view) < BESIDE_BYTES:
                osfs.write(self._fd, view)
                self._digest.update(view)
            else:
                try:
                    hashing = self._yard.hashing.submit(self._digest.update, view)
                except RuntimeError as error:  # its threads have ended
                    raise Closing("the store is closed") from error
                try:
                    osfs.write(self._fd, view)
                finally:
                    hashing.result()
        self._room -= len(view)
        self.size = size
        if size - self._begun >= WRITEBACK_BYTES:
            osfs.begin_writeback(self._fd, self._begun, size - self._begun)
            self._begun = size

    def _finish(self, size: int | None, id: BlobId | None) -> tuple[BlobId, bool]:
        """Make the content durable under its ID and index it; gives the ID and whether the store had it already."""
        self._check_open()
        self._check_size(size)  # before the hash, which may take long
        own = self._identify()
        check_announced(self.size, own, (), (self._announced[1], id))
        with self._quota.taken(own, self.size):
            return own, self._keep(own)

    def _keep(self, own: BlobId) -> bool:
        with osfs.telling("saving the blob"), self._yard.files.lock(own):
            return self._settle(own)

    def _identify(self) -> BlobId:
        assert self._digest is not None
        return BlobId(self._digest.digest())

    def _settle(self, own: BlobId) -> bool:
        files = self._yard.files
        existed = files.untouched(own, self.size, self._yard.known_saved_ns(own))
        self._found(own, existed)
        if existed:
            with files.open(own) as file:
                saved_ns = os.fstat(file.fileno()).st_mtime_ns
        else:
            saved_ns = self._yard.clock()
            self._publish(own, saved_ns)
        self._yard.index(own, self.size, saved_ns)
        self._yard.meters.saved(self.size, existed=existed)
        return existed

    def _found(self, own: BlobId, existed: bool) -> None:
        """Called when it is known what the content is, before anything follows from it."""

    def _publish(self, own: BlobId, saved_ns: int) -> None:
        began = time.perf_counter()
        osfs.stamp(self._fd, saved_ns)
        osfs.fdatasync(self._fd)
        fd, self._fd = self._fd, -1
        osfs.close(fd)
        self._durable = True
        self._yard.files.publish(self._path, own)
        self._yard.meters.published(time.perf_counter() - began)

    def _check_open(self) -> None:
        if self._fd < 0:
            raise InternalError("the upload has ended already")

    def _check_coming(self, size: int) -> None:
        """Refuse bytes with which so many would have come."""
        announced = self._announced[0]
        if announced is not None and size > announced:
            raise Mismatch("more bytes came than were announced", expected=announced, got=size)
        self._yard.check_limit(size)

    def _check_size(self, size: int | None) -> None:
        check_announced(self.size, None, (self._announced[0], size), ())


class Upload(Incoming):
    """One save. Every call may block on the disk.

    Ends with `commit` or `abort`; after any error only `abort` is left to do.
    """

    def __init__(self, yard: Yard, id: BlobId | None = None, size: int | None = None, room: Room = ANY_ROOM) -> None:
        """Admit a save. Raises `TooLarge` or `NoSpace`."""
        super().__init__(yard, yard.staging / os.urandom(16).hex(), id, size, room)
        self._small: bytearray | None = None
        """All that was written, while it is small; None: it is in the file."""
        yard.check_limit(size or 0)
        room.check(size or 0)
        if (size or 0) <= yard.small_bytes:
            self._small = bytearray()
            return
        yard.check_floor(size or 0)
        self._stage()
        if size is not None and size >= yard.limits.preallocate_from:
            try:
                osfs.allocate(self._fd, size)
            except OSError as error:
                self.abort()
                raise osfs.told(error, f"reserving {size} bytes for the save") from error

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """As for `Incoming`."""
        small = self._small
        if small is None:
            super().write(data)
            return
        size = len(small) + memoryview(data).nbytes
        if size <= self._yard.small_bytes:
            self._check_coming(size)
            small += memoryview(data).cast("B")
            self.size = size
        else:
            self._spill()
            super().write(data)

    def clone(self, source: int) -> bool:
        """Take all content of a file, of which nobody has taken any yet, by sharing its blocks.

        False: its file system cannot, and nothing was taken. From here on whoever writes to that file writes to blocks
        of its own; what is hashed are ours. Of a longer file than was announced the first bytes are taken.
        """
        size = self._announced[0]
        if self._small is not None or size is None:
            return False
        with osfs.telling("sharing the blocks of a file"):
            try:
                osfs.clone(self._fd, source)
            except OSError:
                osfs.truncate(self._fd, 0)  # it may have come some way
                return False
            self.size = min(size, os.fstat(self._fd).st_size)
            osfs.truncate(self._fd, self.size)
        self._digest = None
        return True

    def commit(self, size: int | None = None, id: BlobId | None = None) -> tuple[BlobId, bool]:
        """Make the content durable under its ID and index it; gives the ID and whether the store had it already.

        `size` and `id` are what the sender says it sent, checked like what was announced at first (`Mismatch`). When
        this returns, the content survives a power cut. The staging file is gone either way.
        """
        try:
            return self._finish(size, id)
        finally:
            self.abort()

    def _finish(self, size: int | None, id: BlobId | None) -> tuple[BlobId, bool]:
        small = self._small
        if small is None:
            return super()._finish(size, id)
        own = BlobId.of(small)
        check_announced(self.size, own, (self._announced[0], size), (self._announced[1], id))
        with self._quota.taken(own, self.size):
            try:
                self._yard.save_small(Small(own, bytes(small))).result()
            except Elsewhere:
                return own, self._keep(own)
        self._yard.meters.saved(self.size, existed=False)
        return own, False

    def _identify(self) -> BlobId:
        if self._digest is not None:
            return super()._identify()
        with osfs.telling("hashing the save"), open(osfs.open_read(self._path), "rb", buffering=0) as file:
            return hash_read(partial(osfs.pread, file.fileno()), self.size)

    def _spill(self) -> None:
        """It is large: go on with a file."""
        small, self._small, self.size = self._small, None, 0
        assert small is not None
        self._stage()
        super().write(small)

    def _stage(self) -> None:
        self._room = self._announced[0] or 0
        with osfs.telling("opening a file for the save"):
            self._fd = osfs.create(self._path, 0o444)

    def abort(self) -> None:
        """Forget the content. May be called again, and after `commit`."""
        self._small = None
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):  # nobody relies on these bytes
                osfs.close(fd)
            with osfs.telling("removing the file of a save"):
                osfs.unlink(self._path)

    def _publish(self, own: BlobId, saved_ns: int) -> None:
        if self._small is not None:
            self._yard.check_floor(self.size)
            self._spill()
        try:
            super()._publish(own, saved_ns)
        except OSError:
            osfs.unlink(self._path)  # `abort` removes it only while it is open
            raise
