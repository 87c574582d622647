"""One resumable upload on disk, and the requests that bring parts of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from udfstore.calls import Saved
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Corrupt, Gone, Mismatch
from udfstore.store import osfs
from udfstore.store.blobs import hash_read
from udfstore.store.partial import Note, Partial
from udfstore.store.upload import Incoming, Room, Yard

SECOND = 1_000_000_000

NOTED_NS = 3600 * SECOND
"""Progress is noted on disk at least this often while bytes come, lest a kill lets a long append look old."""


@dataclass(frozen=True, slots=True)
class Folder:
    """`uploads/`: its paths and notes. `boot` is the ID of this boot of the machine."""

    path: Path
    boot: str
    say: Callable[[str], None]

    def content(self, name: str) -> Path:
        """The content of an upload as far as it came."""
        return self.path / name

    def note(self, name: str) -> Path:
        """What is noted beside it."""
        return self.path / f"{name}.json"

    def fresh(self, name: str) -> Path:
        """A note that is being written."""
        return self.path / f"{name}.json.new"

    def write(self, name: str, note: Note) -> None:
        """Write a note anew, durable but for its name."""
        note.boot = self.boot
        try:
            osfs.write_file(self.fresh(name), note.encode())
            osfs.rename(self.fresh(name), self.note(name))
        except OSError:
            with contextlib.suppress(OSError):
                osfs.unlink(self.fresh(name))
            raise

    def remove(self, name: str) -> None:
        """Remove the files of an upload; those that cannot be are left to the next start."""
        for path in (self.note(name), self.fresh(name), self.content(name)):
            try:
                osfs.unlink(path)
            except OSError as error:
                self.say(f"removing {path} failed: {error.strerror or error}")


@dataclass(eq=False, slots=True)
class Entry:
    """One upload. `lock` keeps apart what ends it; `appender` is whoever has it at present."""

    name: str
    folder: Folder
    note: Note
    expiry_ns: int
    offset: int = 0
    complete: bool = False
    gone: str = ""
    """Why it is no more."""
    digest: hashlib._Hash | None = None
    seen: tuple[int, ...] = ()
    """What the file looked like when `digest` was its hash; changes when somebody else writes to it."""
    noted_ns: int = 0
    appender: Appender | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def saved(self) -> Saved | None:
        """What it became."""
        return self.note.found if self.complete else None

    @property
    def expires_ns(self) -> int:
        """When it is forgotten unless it grows."""
        return self.note.progress_ns + self.expiry_ns

    @property
    def partial(self) -> Partial:
        """What a caller is told."""
        return Partial(self.name, self.offset, self.note.size, self.note.author, self.expires_ns, self.saved)

    def write_note(self) -> None:
        """Make the note durable, but for its name."""
        self.folder.write(self.name, self.note)
        self.noted_ns = self.note.progress_ns

    def end(self, why: str) -> None:
        """Forget the upload."""
        self.gone = self.gone or why
        self.digest = None
        self.folder.remove(self.name)

    def check(self) -> None:
        """Raise `Gone` for an upload that is no more."""
        if self.gone:
            raise Gone(f"the upload is gone: {self.gone}")


class Appender(Incoming):
    """One request's part of an upload. Not for several threads at once; every call may block on the disk.

    `size` is the offset behind what was written. After any error only `close` is left to do; what was written before
    it stays. `close` it in any case.
    """

    def __init__(self, yard: Yard, entry: Entry, check_writable: Callable[[], None], room: Room) -> None:
        super().__init__(yard, entry.folder.content(entry.name), entry.note.id, entry.note.size, room)
        self._entry = entry
        self._check_writable = check_writable
        self._publishing = False

    def begin(self, offset: int, size: int | None) -> None:
        """Open the content; `Uploads.append` does it."""
        entry, note = self._entry, self._entry.note
        with entry.lock:
            entry.check()
            if not entry.complete:
                with osfs.telling("opening a resumable upload"):
                    self._open_content()
            self.size = entry.offset
            if offset != entry.offset:
                raise Conflict("the upload has another offset", expected=entry.offset, got=offset)
            if size is not None:
                self._announce(size)
            if not entry.complete:
                self._quota.check(note.size or offset)
                self._yard.check_floor((note.size or offset) - offset)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes.

        Raises `Mismatch` beyond the announced size, `TooLarge`, `NoSpace` (the bytes are then not kept); `Gone` when
        the upload was dropped, `ReadOnly`, `Closing`.
        """
        self._check()
        entry = self._entry
        if entry.complete:
            if len(data):
                raise Mismatch("more bytes came for an upload that is complete")
            return
        try:
            super().write(data)
        except BaseException:
            self._digest = None
            self.close()
            raise
        entry.offset = self.size
        entry.note.progress_ns = self._yard.clock()
        if entry.note.progress_ns - entry.noted_ns >= NOTED_NS:
            self.sync()

    def sync(self) -> None:
        """Make durable what was written so far. A failed sync ends the upload: its bytes may be lost."""
        entry = self._entry
        with entry.lock, osfs.telling("syncing a resumable upload"):
            self._check()
            if entry.complete:
                return
            self._check_open()
            try:
                osfs.fdatasync(self._fd)
            except OSError:
                entry.end("the disk may have lost bytes of it")
                raise
            entry.note.synced = self.size
            entry.write_note()

    def commit(self) -> Partial:
        """End the append and keep what was written: it outlives a power cut when this returns."""
        try:
            self.sync()
        finally:
            self.close()
        self._entry.check()
        return self._entry.partial

    def finish(self, size: int | None = None, id: BlobId | None = None) -> Saved:
        """End the upload: its content becomes a blob, checked and made durable as by `Upload.commit`.

        `size` and `id` are what the sender says of the whole. Raises `Mismatch` for an upload that is too short, which
        may be gone on with, and for one that is not what was announced, which is gone. A second time gives the same
        answer.
        """
        entry = self._entry
        try:
            with entry.lock:
                if entry.saved is None:
                    self._check()
                    self._make_blob(size, id)
                saved = entry.saved
                assert saved is not None
                for said, got in ((size, saved.size), (id, saved.id)):
                    if said is not None and said != got:
                        raise Mismatch("the content is not what was announced", expected=said, got=got)
                return saved
        finally:
            self.close()

    def close(self) -> None:
        """Let others append. What was written is kept, without waiting for the disk. May be called again."""
        entry = self._entry
        fd, self._fd = self._fd, -1
        if fd >= 0:
            try:
                if not entry.gone:
                    if os.fstat(fd).st_size > self.size:  # a write failed half-way
                        osfs.truncate(fd, self.size)
                    entry.digest, entry.seen = self._digest, _look(fd)
            except OSError:
                entry.end("the disk may have lost bytes of it")
            try:
                osfs.close(fd)
            except OSError:
                entry.end("the disk may have lost bytes of it")
        if entry.appender is self:
            entry.appender = None

    # --- inside ----------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        self._entry.check()
        self._check_writable()

    def _announce(self, size: int) -> None:
        entry, note = self._entry, self._entry.note
        if note.size not in (None, size) or size < entry.offset:
            known = f"at least {entry.offset}" if note.size is None else note.size
            raise Mismatch("the upload has another size", expected=known, got=size)
        self._yard.check_limit(size)
        self._quota.check(size)
        note.size = size
        self._announced = (size, note.id)

    def _open_content(self) -> None:
        entry = self._entry
        try:
            self._fd = open_alone(self._path)
        except (FileNotFoundError, Shared) as error:
            entry.end("its content was removed from outside")
            raise Gone(f"the upload is gone: {entry.gone}") from error
        length = os.fstat(self._fd).st_size
        self.size = entry.offset = min(entry.offset, length)
        self._digest = entry.digest if entry.seen == _look(self._fd) else None
        if length > self.size:
            osfs.truncate(self._fd, self.size)
        os.lseek(self._fd, self.size, os.SEEK_SET)
        if entry.note.boot != entry.folder.boot:
            entry.write_note()

    def _make_blob(self, size: int | None, id: BlobId | None) -> None:
        entry = self._entry
        self._check_open()
        self._check_size(size)
        try:
            existed = self._finish(size, id)[1]
        except Mismatch:
            entry.end("its content was not what was announced")
            raise
        except BaseException:
            if self._publishing and not (self._durable and _is_alone(self._path)):
                entry.end("the disk may have lost bytes of it")
            entry.note.found = None
            raise
        entry.note.size, entry.complete = self.size, True
        if existed:
            with contextlib.suppress(OSError):  # the next start finds it
                osfs.unlink(self._path)

    def _identify(self) -> BlobId:
        if self._digest is not None:
            return super()._identify()
        with osfs.telling("hashing a resumable upload"):
            return hash_read(self._read, self.size)

    def _read(self, offset: int, length: int) -> bytes:
        part = osfs.pread(self._fd, offset, length)
        if len(part) < length:
            raise Corrupt("the file of the upload was cut off from outside", expected=self.size)
        return part

    def _found(self, own: BlobId, existed: bool) -> None:
        """Note what the content is before it goes there: a start that finds it gone knows where."""
        note = self._entry.note
        note.found, note.progress_ns = Saved(own, self.size, existed), self._yard.clock()
        self._entry.write_note()
        osfs.fsync_folder(self._path.parent)
        osfs.chmod(self._fd, 0o444)

    def _publish(self, own: BlobId, saved_ns: int) -> None:
        self._publishing = True
        super()._publish(own, saved_ns)


class Shared(OSError):
    """A file has another name besides: who writes to it changes that one too."""


def open_alone(path: Path) -> int:
    """A descriptor to go on with a file that has no other name (`Shared`)."""
    fd = osfs.open_read(path)
    try:
        found = os.fstat(fd)
        if found.st_nlink != 1 or not stat.S_ISREG(found.st_mode):
            raise Shared(f"{path} is not a file of its own")
        if stat.S_IMODE(found.st_mode) != 0o600:
            osfs.chmod(fd, 0o600)  # it was on its way to become a blob
        return osfs.open_update(path)
    finally:
        osfs.close(fd)


def _is_alone(path: Path) -> bool:
    try:
        return path.lstat().st_nlink == 1
    except OSError:
        return False


def _look(fd: int) -> tuple[int, ...]:
    """What changes when a file is written to or replaced."""
    found = os.fstat(fd)
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
