"""Resumable uploads: content that comes in several requests, over days, and outlives the process.

`uploads/NAME` is the content as far as it came, `uploads/NAME.json` a note beside it. The offset is what the file
holds: bytes that were written but not synced outlive a kill, and a start after a power cut goes back to those that
were synced.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from udfstore.calls import Saved
from udfstore.digest import BlobId
from udfstore.errors import Busy, Conflict, Gone, NotFound, UdfstoreError
from udfstore.model import Author
from udfstore.store import osfs
from udfstore.store.appender import SECOND, Appender, Entry, Folder, Shared, open_alone
from udfstore.store.layout import upload_name
from udfstore.store.partial import Note, Partial, Torn
from udfstore.store.upload import ANY_ROOM, Room, Yard

REMEMBERED = 1000
"""Complete uploads whose result is remembered, and others of which is remembered that they are gone: the newest."""


class Uploads:
    """The resumable uploads of one store. For any thread; calls may block on the disk."""

    def __init__(
        self, folder: Path, yard: Yard, check_writable: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        """Take up what the last owner left. An upload that cannot be gone on with is removed, and `say` told."""
        self._folder, self._yard, self._say = Folder(folder, boot_id(), say), yard, say
        self._check_writable = check_writable
        self._expiry_ns = yard.limits.upload_expiry_s * SECOND
        self._guard = threading.Lock()
        self._entries = {entry.name: entry for entry in self._left()}

    def begin(self, size: int | None, id: BlobId | None, author: Author, room: Room = ANY_ROOM) -> Partial:
        """Make an upload; `size` and `id` announce what will come. When this returns, it outlives a power cut.

        Raises `TooLarge`, `NoSpace`, `ReadOnly`, and `Busy` when there are too many that are not complete.
        """
        self._check_writable()
        self._yard.check_limit(size or 0)
        room.check(size or 0)
        self._yard.check_floor(size or 0)
        now, most = self._yard.clock(), self._yard.limits.uploads
        note = Note(author, size, id, now, self._folder.boot)
        entry = Entry(os.urandom(16).hex(), self._folder, note, self._expiry_ns, digest=hashlib.sha256())
        self.expire()
        with self._guard:
            if sum(not (other.complete or other.gone) for other in self._entries.values()) >= most:
                raise Busy("too many uploads were begun and not finished", expected=f"at most {most}")
            self._entries[entry.name] = entry
        try:
            with osfs.telling("beginning a resumable upload"):
                osfs.close(osfs.create(self._folder.content(entry.name)))
                entry.write_note()
                osfs.fsync_folder(self._folder.path)
        except BaseException:
            entry.end("it could not be begun")
            raise
        return entry.partial

    def find(self, name: str) -> Partial:
        """What is known of an upload. Raises `NotFound`, and `Gone` for one that ended a while ago without a result."""
        return self._get(name).partial

    def busy(self, name: str) -> bool:
        """Whether somebody appends to an upload at present."""
        with self._guard:
            return name in self._entries and self._entries[name].appender is not None

    def append(self, name: str, offset: int, size: int | None = None, room: Room = ANY_ROOM) -> Appender:
        """Go on with an upload behind `offset` bytes, alone until the appender is closed. `size` is the whole one's.

        A complete one takes no more bytes; finishing it again gives its result.

        Raises `NotFound`, `Gone`; `Conflict` when somebody appends to it, or when it has another offset (told as
        `expected`); `Mismatch` when another size was announced; `TooLarge`, `NoSpace`, `ReadOnly`.
        """
        self._check_writable()
        entry = self._get(name)
        appender = Appender(self._yard, entry, self._check_writable, room)
        with self._guard:
            if entry.appender is not None:
                raise Conflict("another request appends to this upload at present")
            entry.appender = appender
        try:
            appender.begin(offset, size)
        except BaseException:
            appender.close()
            raise
        return appender

    def drop(self, name: str) -> None:
        """Forget an upload, its content and its result; who appends to it is told `Gone`. Raises as `find`."""
        entry = self._get(name)
        with entry.lock:
            entry.end("it was dropped")

    def expire(self) -> int:
        """Forget what had no progress for too long, and the oldest of too many results; says how many."""
        now, count = self._yard.clock(), 0
        with self._guard:
            idle = [entry for entry in self._entries.values() if entry.appender is None]
            for entry in [entry for entry in idle if entry.gone][:-REMEMBERED]:
                del self._entries[entry.name]
        results = sorted((entry for entry in idle if entry.saved), key=lambda entry: entry.note.progress_ns)
        forgotten = set(results[:-REMEMBERED])
        for entry in idle:
            if not entry.lock.acquire(blocking=False):
                continue  # somebody has it again
            try:
                if not entry.gone and entry.appender is None:
                    entry.note.progress_ns = min(entry.note.progress_ns, now)  # the clock has stepped back
                    if now >= entry.expires_ns or entry in forgotten:
                        entry.end("it expired")
                        count += 1
            finally:
                entry.lock.release()
        return count

    def _get(self, name: str) -> Entry:
        with self._guard:
            entry = self._entries.get(name)
        if entry is None:
            raise NotFound("there is no such upload")
        entry.check()
        if entry.appender is None and self._yard.clock() >= entry.expires_ns:
            raise Gone("the upload is gone: it expired")
        return entry

    # --- the start -------------------------------------------------------------------------------------------------

    def _left(self) -> Iterator[Entry]:
        try:
            names = {name for path in self._folder.path.iterdir() if (name := upload_name(path.name))}
        except OSError as error:
            self._say(f"reading {self._folder.path} failed: {error.strerror or error}; its uploads are left out")
            return
        for name in sorted(names):
            try:
                yield self._take_up(name)
            except Torn as reason:
                self._say(f"upload {name} cannot be gone on with: {reason}; removed")
                self._folder.remove(name)
            except (OSError, UdfstoreError) as error:
                self._say(f"upload {name} cannot be gone on with: {error}; left as it is")

    def _take_up(self, name: str) -> Entry:
        """An upload as the last owner left it. Raises `Torn` for what is no use any more."""
        osfs.unlink(self._folder.fresh(name))
        try:
            note = Note.decode(self._folder.note(name).read_bytes())
        except FileNotFoundError as error:
            raise Torn("its note is missing") from error
        entry = Entry(name, self._folder, note, self._expiry_ns, noted_ns=note.progress_ns)
        try:
            fd = open_alone(self._folder.content(name))
        except (FileNotFoundError, Shared) as error:
            if note.found is None or self._yard.files.size(note.found.id) != note.found.size:
                raise Torn("its content is not there any more") from error
            osfs.unlink(self._folder.content(name))
            self._index(note.found)
            entry.complete, entry.offset = True, note.found.size
            return entry
        note.found = None  # it never came to that
        try:
            entry.offset = os.fstat(fd).st_size
            if not note.boot or note.boot != self._folder.boot:
                entry.offset = min(entry.offset, note.synced)
                osfs.truncate(fd, entry.offset)
        finally:
            osfs.close(fd)
        return entry

    def _index(self, found: Saved) -> None:
        """Index a blob that had just got its name when the last owner ended."""
        if self._yard.known_saved_ns(found.id) is None:
            with self._yard.files.open(found.id) as file:
                saved_ns = os.fstat(file.fileno()).st_mtime_ns
            self._yard.index(found.id, found.size, saved_ns)


def boot_id() -> str:
    """The ID of this boot of the machine; "" where it is not told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
