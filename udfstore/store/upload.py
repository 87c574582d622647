"""One save in flight: bytes into a staging file, hashed as they come, published when they are what was announced."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from udfstore.digest import BlobId
from udfstore.errors import Closing, InternalError, Mismatch, NoSpace, TooLarge
from udfstore.store import osfs
from udfstore.store.blobs import Files
from udfstore.store.limits import MIB, StoreLimits

FLOOR_CHECK_BYTES = 16 * MIB
"""Bytes written between two looks at the free space: the default floor, so a save of unknown size stops above zero."""

BESIDE_BYTES = 256 * 1024
"""Pieces from this size on are hashed by a second thread while they are written: either takes about half a millisecond
for a mebibyte, handing over a tenth of that."""


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
    hashing: Executor
    """Threads that hash what is being written."""


class Upload:
    """Content on its way in. Not for several threads at once; every call may block on the disk.

    `size` is what was written so far. Ends with `commit` or `abort`; after any error only `abort` is left to do.
    """

    def __init__(self, yard: Yard, id: BlobId | None = None, size: int | None = None) -> None:
        """Admit a save. Raises `TooLarge` or `NoSpace`."""
        self.size = 0
        self._yard = yard
        self._announced = (size, id)
        self._digest = hashlib.sha256()
        self._room = 0
        self._check_limit(size or 0)
        self._check_floor(size or 0)
        self._path = yard.staging / os.urandom(16).hex()
        with osfs.telling("opening a file for the save"):
            self._fd = osfs.create(self._path, 0o444)
        if size is not None and size >= yard.limits.preallocate_from:
            try:
                osfs.allocate(self._fd, size)
            except OSError as error:
                self.abort()
                raise osfs.told(error, f"reserving {size} bytes for the save") from error

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes.

        Raises `Mismatch` beyond the announced size, `TooLarge` over the limit, `NoSpace`; the bytes are then not kept.
        """
        view = memoryview(data).cast("B")
        self._check_open()
        size = self.size + len(view)
        announced = self._announced[0]
        if announced is not None and size > announced:
            raise Mismatch("more bytes came than were announced", expected=announced, got=size)
        self._check_limit(size)
        if announced is None and len(view) > self._room:
            self._check_floor(len(view))
            self._room = FLOOR_CHECK_BYTES
        with osfs.telling("writing the save"):
            if len(view) < BESIDE_BYTES:
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

    def commit(self, size: int | None = None, id: BlobId | None = None) -> tuple[BlobId, bool]:
        """Make the content durable under its ID and index it; gives the ID and whether the store had it already.

        `size` and `id` are what the sender says it sent, checked like what was announced at first (`Mismatch`). When
        this returns, the content survives a power cut. The staging file is gone either way.
        """
        self._check_open()
        try:
            own = BlobId(self._digest.digest())
            for size_said, id_said in (self._announced, (size, id)):
                if size_said is not None and size_said != self.size:
                    raise Mismatch("the content has another length than announced", expected=size_said, got=self.size)
                if id_said is not None and id_said != own:
                    raise Mismatch("the content is not what was announced", expected=id_said, got=own)
            with osfs.telling("saving the blob"), self._yard.files.lock(own):
                return own, self._settle(own)
        finally:
            self.abort()

    def abort(self) -> None:
        """Forget the content. May be called again, and after `commit`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):  # nobody relies on these bytes
                osfs.close(fd)
            with osfs.telling("removing the file of a save"):
                osfs.unlink(self._path)

    def _settle(self, own: BlobId) -> bool:
        files = self._yard.files
        existed = files.untouched(own, self.size, self._yard.known_saved_ns(own))
        if existed:
            with files.open(own) as file:
                saved_ns = os.fstat(file.fileno()).st_mtime_ns
        else:
            saved_ns = self._yard.clock()
            self._publish(own, saved_ns)
        self._yard.index(own, self.size, saved_ns)
        return existed

    def _publish(self, own: BlobId, saved_ns: int) -> None:
        osfs.stamp(self._fd, saved_ns)
        osfs.fdatasync(self._fd)
        fd, self._fd = self._fd, -1
        try:
            osfs.close(fd)
            self._yard.files.publish(self._path, own)
        except OSError:
            osfs.unlink(self._path)
            raise

    def _check_open(self) -> None:
        if self._fd < 0:
            raise InternalError("the upload has ended already")

    def _check_limit(self, size: int) -> None:
        limit = self._yard.limits.blob_bytes
        if limit is not None and size > limit:
            raise TooLarge("the blob is over the store's limit", expected=limit, got=size)

    def _check_floor(self, coming: int) -> None:
        with osfs.telling("looking at the free space"):
            free = osfs.free_bytes(self._yard.staging)
        if free - coming < self._yard.limits.floor_bytes:
            raise NoSpace(
                "the disk has no room for this save above the floor that tags and removals need",
                expected=f"{coming + self._yard.limits.floor_bytes} bytes free",
                got=free,
            )
