"""Restoring: a new root from the files of a backup, in one pass, with nothing believed that is not checked.

Only the files that a backup consists of are taken, in their order: so none comes twice, and no name leads elsewhere.
The root is a store from the moment its FORMAT gets its name, which is the last step.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from udfstore.backup.form import FORMAT, SUMMARY, SUMS, File, Summary, blob_of, segment_of, sum_line
from udfstore.backup.take import Advance
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Corrupt, UdfstoreError
from udfstore.store import Store, osfs
from udfstore.store import format as formats
from udfstore.store.backup import LogCheck
from udfstore.store.groups import decode_segment_head
from udfstore.store.layout import KNOWN, RESTORING, Layout
from udfstore.store.root import Lock, find_root

PIECE_BYTES = 1 << 20
FORMAT_BYTES = 1 << 16
SEGMENT_BYTES = 1 << 30
SUMMARY_BYTES = 1 << 26
"""What is read into memory whole is at most so large."""

TOLD = 10
"""Damaged blobs that an error names."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A store that was restored. `damaged` are the blobs that were damaged when the backup was made: it lacks them."""

    root: str
    store_id: bytes
    epoch: int
    revision: int
    blobs: int
    bytes: int
    tags: int
    damaged: tuple[BlobId, ...]


def restore(files: Iterator[File], root: Path, advance: Advance, say: Callable[[str], None]) -> Restored:
    """Make a store at `root`, which is empty or not there, from the files of a backup; then open it once.

    It keeps its store ID and gets the next epoch. Raises `Conflict` for a root in which there is something, `Corrupt`
    for a backup that is damaged, cut off or not ours. What is there then is no store; the next restore clears it away.
    """
    layout = find_root(root, create=True)
    _check_empty(layout)
    lock = Lock(layout, "")
    try:
        _check_empty(layout)  # nobody else can come in between from here on
        making = _Making(layout, advance)
        making.take(files)
        summary = making.check()
        making.finish()
    finally:
        lock.release()
    with Store(layout.root, create=False, say=say) as store:
        if store.problem or store.revision != summary.revision:
            raise Corrupt(f"the restored store is not well: {store.problem}", expected=summary.revision)
        return Restored(
            root=str(layout.root),
            store_id=store.id,
            epoch=store.epoch,
            revision=store.revision,
            blobs=summary.blobs,
            bytes=summary.size,
            tags=store.totals()[2],
            damaged=summary.damaged,
        )


def _check_empty(layout: Layout) -> None:
    """Refuse a root with anything in it but what a restore left that was broken off."""
    names = {path.name for path in layout.root.iterdir()} - {"LOCK", "lost+found"}
    if FORMAT in names:
        raise Conflict(f"there is a store at {layout.root}; restore into a folder that is empty or not there")
    if names and not (RESTORING in names and names <= KNOWN | {RESTORING}):
        shown = ", ".join(sorted(names)[:4])
        raise Conflict(f"{layout.root} is not empty: it holds {shown}; restore into a folder that is, or is not there")


class _Making:
    """A root in the making."""

    def __init__(self, layout: Layout, advance: Advance) -> None:
        self._layout = layout
        self._advance = advance
        self._sums = hashlib.sha256()
        """Of SHA256SUMS as it must be."""
        self._said = b""
        """Hash of SHA256SUMS as it came."""
        self._blobs = self._bytes = self._done = 0
        self._damaged: list[BlobId] = []
        self._format = formats.Format(b"")
        self._summary: Summary | None = None

    def take(self, files: Iterator[File]) -> None:
        """Write all files where they belong, judging each."""
        self._take_format(next(files, None))
        self._log = LogCheck(self._format.id)
        last: BlobId | None = None
        for file in files:
            number, id = segment_of(file.name), blob_of(file.name)
            if self._summary is None and file.name == SUMMARY and self._said:
                self._summary = Summary.decode(_whole(file, SUMMARY_BYTES))
            elif self._said:
                raise _unexpected(file)
            elif file.name == SUMS:
                self._said = _copy(file, lambda _: None)
            elif number is not None and last is None:
                self._take_segment(number, file)
            elif id is not None and (last is None or last < id):
                self._take_blob(id, file)
                last = id
            else:
                raise _unexpected(file)

    def check(self) -> Summary:
        """Hold what came against what BACKUP.json says."""
        summary = self._summary
        if summary is None:
            raise Corrupt(f"the backup is cut off: it has no {SUMMARY} at its end")
        damaged = [id for id in self._damaged if id not in summary.damaged]
        if damaged:
            more = f" and {len(damaged) - TOLD} more" if len(damaged) > TOLD else ""
            raise Corrupt(f"damaged in the backup: blob {', '.join(map(str, damaged[:TOLD]))}{more}")
        of = (summary.store_id, summary.epoch, summary.revision, summary.chain)
        head = self._log.head
        here = (self._format.id, self._format.epoch, head.revision, head.chain)
        if of != here or not self._layout.segment(1).exists():
            raise Corrupt(f"{FORMAT} and log are not those that {SUMMARY} tells of")
        if summary.sums != self._said:
            raise Corrupt(f"{SUMS} is not the one that {SUMMARY} tells of")
        if summary.sums != self._sums.digest() or (summary.blobs, summary.size) != (self._blobs, self._bytes):
            raise Corrupt(f"the files of the backup are not those that {SUMS} names")
        return summary

    def finish(self) -> None:
        """Make everything durable, and the root a store."""
        root = self._layout.root
        with osfs.telling(f"making a store at {root}"):
            for folder in self._layout.folders:
                folder.mkdir(mode=0o700, exist_ok=True)
            osfs.syncfs(root)
            osfs.rename(root / RESTORING, self._layout.format)
            osfs.fsync_folder(root)

    def _take_format(self, file: File | None) -> None:
        if file is None or file.name != FORMAT:
            raise Corrupt(
                f"this is no backup: one begins with {FORMAT}", got=repr(file.name[:80]) if file else "nothing"
            )
        text = _whole(file, FORMAT_BYTES)
        self._format = formats.parse(text.decode(errors="replace"))
        self._sums.update(sum_line(hashlib.sha256(text).digest(), FORMAT))
        root = self._layout.root
        following = formats.render(replace(self._format, epoch=self._format.epoch + 1))
        with osfs.telling(f"making a store at {root}"):
            root.chmod(0o700)
            osfs.write_file(root / RESTORING, following.encode())
            osfs.fsync_folder(root)
            for path in root.iterdir():  # what is left of a restore that was broken off
                if path.name in KNOWN and path.is_dir():
                    shutil.rmtree(path)
            for folder in self._layout.folders:
                folder.mkdir(mode=0o700, exist_ok=True)

    def _take_segment(self, number: int, file: File) -> None:
        data = _whole(file, SEGMENT_BYTES)
        self._log.add(number, data)
        self._sums.update(sum_line(hashlib.sha256(data).digest(), file.name))
        size = decode_segment_head(data).size
        if len(data) > size or size > SEGMENT_BYTES:
            raise Corrupt(f"{file.name} is longer than its head says", expected=size, got=len(data))
        with osfs.telling(f"writing {file.name}"):
            osfs.write_file(self._layout.segment(number), data.ljust(size, b"\0"))

    def _take_blob(self, id: BlobId, file: File) -> None:
        path = self._layout.blob(id)
        with osfs.telling(f"writing blob {id.short}"):
            fd = osfs.create(path, 0o444)
            try:
                digest = _copy(file, lambda data: self._write(fd, data))
                osfs.stamp(fd, file.time_ns)
            finally:
                osfs.close(fd)
            if digest != id.raw:
                osfs.unlink(path)
                self._damaged.append(id)
                return
        self._sums.update(sum_line(digest, file.name))
        self._blobs += 1
        self._bytes += file.size

    def _write(self, fd: int, data: memoryview) -> None:
        osfs.write(fd, data)
        self._done += len(data)
        self._advance(self._done)


def _copy(file: File, write: Callable[[memoryview], object]) -> bytes:
    """Read a file to its end; gives its hash."""
    digest = hashlib.sha256()
    while data := file.read(PIECE_BYTES):
        digest.update(data)
        write(memoryview(data))
    return digest.digest()


def _whole(file: File, most: int) -> bytes:
    if file.size > most:
        raise Corrupt(f"{file.name} of the backup is too long", expected=f"at most {most} bytes", got=file.size)
    parts: list[bytes] = []
    while data := file.read(PIECE_BYTES):
        parts.append(data)
    return b"".join(parts)


def _unexpected(file: File) -> UdfstoreError:
    return Corrupt(
        "the backup holds a file that is not expected here; only what a backup wrote is taken",
        got=repr(file.name[:120]),
    )
