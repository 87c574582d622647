"""Blob files: how content gets its name, keeps it and loses it. All calls block on the disk; any thread may make them.

Publishing and removing one digest happen under that digest's lock (`Files.lock`). Within a run every name under
`blobs/` that is seen while holding the lock is durable: the start's syncfs covered what was there, and whoever gave a
name since synced content and folder before letting go of the lock, or has the content in the journal.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from udfstore.digest import BlobId
from udfstore.errors import Corrupt
from udfstore.store import osfs
from udfstore.store.layout import Layout
from udfstore.store.wanted import Wanted

HASH_BUFFER = 1 << 20
"""Bytes hashed at a time: large enough that hashlib lets other threads run, small enough for many at once."""


class BlobFile:
    """The content of one blob, open for reading; it stays readable while the blob is being removed.

    A context manager; `pread` may be called by several threads.
    """

    def __init__(self, id: BlobId, size: int, path: Path, fd: int) -> None:
        self.id = id
        self.size = size
        self.path = path
        self._fd = fd

    def fileno(self) -> int:
        """The read-only descriptor; -1 once closed."""
        return self._fd

    def pread(self, offset: int, length: int) -> bytes:
        """Bytes `offset` to `offset + length`, fewer only at the end of the blob.

        Raises `Corrupt` when the file is shorter than the blob.
        """
        length = max(0, min(length, self.size - offset))
        with osfs.telling(f"reading blob {self.id.short}"):
            data = osfs.pread(self._fd, offset, length)
        if len(data) < length:
            raise Corrupt(f"the file of blob {self.id} is cut off", expected=self.size, got=offset + len(data))
        return data

    def pread_nowait(self, offset: int, length: int) -> bytes | None:
        """As `pread` within the blob, of what the kernel has at hand; None: that needs the disk."""
        buffer = bytearray(length)
        try:
            came = os.preadv(self._fd, [buffer], offset, os.RWF_NOWAIT) if length else 0
        except OSError:  # EAGAIN; EOPNOTSUPP from file systems that cannot tell; what is wrong shows when it is read
            return None
        return bytes(buffer) if came == length else None

    def close(self) -> None:
        """Release the descriptor. May be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> BlobFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Files:
    """The blob files of one store.

    `in_doubt` is told when a folder's sync failed for no reason that passes: what is durable in it is then not known,
    and asking again would not tell.
    """

    def __init__(self, layout: Layout) -> None:
        self.in_doubt: Callable[[str], None] = lambda _: None
        self.wanted = Wanted()
        self._layout = layout
        self._guard = threading.Lock()
        self._locks: dict[BlobId, tuple[threading.Lock, int]] = {}

    @contextlib.contextmanager
    def lock(self, id: BlobId) -> Iterator[None]:
        """Hold a digest. Order of locks: a digest, then the committer (which never takes a digest's lock itself)."""
        with self._guard:
            lock, users = self._locks.get(id, (threading.Lock(), 0))
            self._locks[id] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            self._let_go(id)

    @contextlib.contextmanager
    def lock_nowait(self, id: BlobId) -> Iterator[bool]:
        """As `lock`, for who may not wait: whether it is held."""
        lock = threading.Lock()
        with self._guard:
            free = id not in self._locks
            if free:
                lock.acquire()
                self._locks[id] = lock, 1
        try:
            yield free
        finally:
            if free:
                lock.release()
                self._let_go(id)

    def _let_go(self, id: BlobId) -> None:
        with self._guard:
            lock, users = self._locks.pop(id)
            if users > 1:
                self._locks[id] = lock, users - 1

    def size(self, id: BlobId) -> int | None:
        """The size of a blob's file; None: there is none."""
        with osfs.telling(f"looking at blob {id.short}"):
            try:
                return self._layout.blob(id).stat().st_size
            except FileNotFoundError:
                return None

    def durable_size(self, id: BlobId) -> int | None:
        """As `size`, for who cannot wait for the digest's lock: the name is durable when this returns.

        A file gets its name only after its content was synced, so syncing the folder is all that may be missing.
        """
        size = self.size(id)
        if size is not None:
            with self._guard:
                held = id in self._locks
            if held:
                with osfs.telling(f"syncing the folder of blob {id.short}"):
                    self._sync_folder(self._layout.blob(id).parent)
                return self.size(id)
        return size

    def open(self, id: BlobId) -> BlobFile:
        """Open a blob's file. `FileNotFoundError` when there is none."""
        return _opened(id, self._layout.blob(id))

    def open_held(self, id: BlobId) -> BlobFile:
        """As `open`, also from the trash."""
        path, trashed = self._layout.blob(id), self._layout.trashed(id)
        for place in (path, trashed):
            with contextlib.suppress(FileNotFoundError):
                return _opened(id, place)
        return _opened(id, path)  # it came back between the two looks

    def untouched(self, id: BlobId, size: int, saved_ns: int | None) -> bool:
        """Whether the stored copy is whole, for who relies on it without having read it.

        A file whose length is wrong is not. One that was written to since it was saved (its time differs from the
        index) is hashed, and made durable. One that is damaged goes to quarantine. The digest's lock must be held.
        """
        try:
            file = self.open(id)
        except FileNotFoundError:
            return False
        with file:
            if file.size == size and os.fstat(file.fileno()).st_mtime_ns == saved_ns:
                return True
            if file.size == size and hash_file(file) == id:
                self._sync_again(file)
                if saved_ns is not None:
                    osfs.stamp(file.fileno(), saved_ns)
                return True
        self.quarantine(id)
        return False

    def publish(self, staged: Path, id: BlobId) -> None:
        """Give a synced file in staging its name, durably. The digest's lock must be held.

        When the folder cannot be synced the name is taken back: nothing under `blobs/` may be relied on that is not
        durable.
        """
        path = self._layout.blob(id)
        try:
            osfs.link(staged, path)
        except FileExistsError:
            self.quarantine(id)
            osfs.link(staged, path)
        osfs.unlink(staged)
        try:
            self._sync_folder(path.parent)
        except OSError:
            osfs.unlink(path)
            raise

    def land(self, id: BlobId, content: bytes, saved_ns: int) -> bool:
        """Write a file that the journal answers for, unsynced, under its name.

        False where somebody is at that digest, or a file has the name: the caller knows too little to judge it.
        """
        path = self._layout.blob(id)
        with self.lock_nowait(id) as free:
            if not free or path.exists():
                return False
            staged = self._layout.staging / os.urandom(16).hex()
            fd = osfs.create(staged, 0o444)
            try:
                try:
                    osfs.write(fd, memoryview(content))
                    osfs.stamp(fd, saved_ns)
                finally:
                    osfs.close(fd)
                osfs.rename(staged, path)
            except OSError:
                osfs.unlink(staged)
                raise
        return True

    def holds(self, id: BlobId, content: bytes) -> bool:
        """Whether a blob's file has just this content on the disk."""
        try:
            with self.open(id) as file:
                # After a failed sync the kernel's cache has what the disk has not.
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                return file.size == len(content) and file.pread(0, file.size) == content
        except FileNotFoundError:
            return False

    def quarantine(self, id: BlobId) -> None:
        """Take the name from a file that does not deserve it, and keep the file."""
        path = self._layout.blob(id)
        osfs.rename(path, self._layout.quarantined(id, os.urandom(4)))
        self._sync_folder(self._layout.quarantine)
        self._sync_folder(path.parent)

    def to_trash(self, *ids: BlobId) -> None:
        """Take the files of condemned blobs out of `blobs/`, durably. No error for one that is not there."""
        folders: set[Path] = set()
        try:
            for id in ids:
                path = self._layout.blob(id)
                with contextlib.suppress(FileNotFoundError):
                    osfs.rename(path, self._layout.trashed(id))
                    folders.add(path.parent)
        finally:
            for folder in (self._layout.trash, *folders) if folders else ():
                self._sync_folder(folder)

    def from_trash(self, id: BlobId) -> None:
        """Bring a file back that is wanted again."""
        path = self._layout.blob(id)
        osfs.rename(self._layout.trashed(id), path)
        self._sync_folder(path.parent)
        self._sync_folder(self._layout.trash)

    def erase(self, *ids: BlobId) -> None:
        """Unlink files in the trash, durably."""
        for id in ids:
            osfs.unlink(self._layout.trashed(id))
        self._sync_folder(self._layout.trash)

    def _sync_again(self, file: BlobFile) -> None:
        try:
            osfs.fdatasync(file.fileno())
        except OSError:
            self.quarantine(file.id)  # the next sync would say that all is well
            raise
        self._sync_folder(file.path.parent)

    def _sync_folder(self, path: Path) -> None:
        try:
            osfs.fsync_folder(path)
        except OSError as error:
            if not osfs.refused(error):
                self.in_doubt(f"syncing {path} failed: {error.strerror or error}")
            raise


def _opened(id: BlobId, path: Path) -> BlobFile:
    fd = osfs.open_read(path)
    return BlobFile(id, os.fstat(fd).st_size, path, fd)


def hash_file(file: BlobFile) -> BlobId:
    """The ID of what a file holds now."""
    return hash_read(file.pread, file.size)


def hash_read(pread: Callable[[int, int], bytes], size: int) -> BlobId:
    """The ID of `size` bytes, read in parts by `pread(offset, length)`."""
    digest = hashlib.sha256()
    for offset in range(0, size, HASH_BUFFER):
        digest.update(pread(offset, min(HASH_BUFFER, size - offset)))
    return BlobId(digest.digest())
