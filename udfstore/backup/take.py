"""Taking a backup: first what belongs to it, kept aside, then the content, blob by blob."""

from __future__ import annotations

import hashlib
import io
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import IO, Protocol

from udfstore.admin import BackupBlob, BackupEnd, BackupHead, BackupItem, LogPart
from udfstore.backup.form import FORMAT, SUMS, Summary, blob_name, segment_name, sum_line
from udfstore.calls import Loading
from udfstore.client.base import BaseStore
from udfstore.digest import BlobId
from udfstore.errors import Corrupt, Gone, InternalError, Mismatch, NoServer, NotFound, UdfstoreError
from udfstore.store.backup import LogCheck

Write = Callable[[memoryview], object]
Advance = Callable[[int], object]
"""Told how many bytes are done by now."""


class Writing(Protocol):
    """One blob on its way into a backup. Ends with `keep`, `drop` or `leave`."""

    def begin(self) -> Write:
        """Takes the content from its first byte on; when a connection was lost, once more."""

    def keep(self) -> None:
        """It came whole, and is what its name says."""

    def drop(self) -> None:
        """It cannot be had."""

    def leave(self) -> None:
        """There will be no backup."""


class Target(Protocol):
    """Where a backup goes. `file` and `open` are called in the order of the files."""

    def begin(self, head: BackupHead) -> Summary | None:
        """Take up a backup, or refuse it. Gives what the last one here was."""

    def file(self, name: str, content: IO[bytes], size: int) -> None:
        """Write a file that is no blob."""

    def has(self, blob: BackupBlob) -> bool:
        """Whether a blob is there from an earlier backup."""

    def open(self, blob: BackupBlob) -> Writing:
        """Write a blob."""

    def finish(self, summary: Summary) -> int:
        """Everything is written: make it the backup, durably. Says how many older blobs were removed."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A blob that the store could not give: why, and the versions that name or link it."""

    id: BlobId
    why: str
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup that was taken: of which store and moment, how much it holds, and what that took."""

    store_id: bytes
    epoch: int
    revision: int
    time_ns: int
    blobs: int
    bytes: int
    fetched: int
    fetched_bytes: int
    removed: int
    damaged: tuple[Damage, ...]


def take(store: BaseStore, target: Target, begin: Callable[[int], Advance]) -> Taken:
    """Back a store up. `begin` is told how many bytes there are and gives what is told how far it is.

    Blobs that are damaged in the store are left out and told; all else is an error.
    """
    with ExitStack() as stack:
        items = stack.enter_context(store.backup())
        head = next(items)
        assert isinstance(head, BackupHead)
        last = target.begin(head)
        past = (last.revision, last.chain) if last else None
        sums = _Sums(stack.enter_context(tempfile.TemporaryFile()))
        _put(target, sums, FORMAT, head.format.encode())
        listing = _Listing(stack.enter_context(tempfile.TemporaryFile()))
        log = LogCheck(head.store_id)
        for number, data in _segments(items, listing.add):
            log.add(number, data, past)
            _put(target, sums, segment_name(number), data)
        if log.head.revision != head.revision:
            raise Corrupt("the log is not all there", expected=head.revision, got=log.head.revision)
        taken = _content(store, target, head, listing, sums, begin(head.bytes))
        summary = Summary(
            store_id=head.store_id,
            epoch=head.epoch,
            revision=head.revision,
            chain=log.head.chain,
            time_ns=head.time_ns,
            blobs=taken.blobs,
            size=taken.bytes,
            sums=sums.digest,
            damaged=tuple(damage.id for damage in taken.damaged),
        )
        target.file(SUMS, *sums.content())
        return replace(taken, removed=target.finish(summary))


def _content(
    store: BaseStore, target: Target, head: BackupHead, listing: _Listing, sums: _Sums, advance: Advance
) -> Taken:
    count = _Count(advance)
    for blob in listing:
        why = "" if target.has(blob) else _fetch(store, target, blob, count)
        if why:
            count.damaged.append(Damage(blob.id, why, _versions(store, blob.id)))
        else:
            sums.add(blob.id.raw, blob_name(blob.id))
            count.blobs, count.bytes = count.blobs + 1, count.bytes + blob.size
        count.end(blob)
    return Taken(
        store_id=head.store_id,
        epoch=head.epoch,
        revision=head.revision,
        time_ns=head.time_ns,
        blobs=count.blobs,
        bytes=count.bytes,
        fetched=count.fetched,
        fetched_bytes=count.fetched_bytes,
        removed=0,
        damaged=tuple(count.damaged),
    )


class _Count:
    """How far a backup is."""

    def __init__(self, advance: Advance) -> None:
        self.blobs = self.bytes = self.fetched = self.fetched_bytes = self._before = 0
        self.damaged: list[Damage] = []
        self._advance = advance

    def came(self, part: int) -> None:
        """That many bytes of this blob."""
        self._advance(self._before + part)

    def end(self, blob: BackupBlob) -> None:
        """This blob is done."""
        self._before += blob.size
        self._advance(self._before)


def _fetch(store: BaseStore, target: Target, blob: BackupBlob, count: _Count) -> str:
    """Load a blob, which is checked against its ID as it comes. Says why the store cannot give it, "" when it did."""
    writing: Writing | None = None

    def begin(loading: Loading) -> Write:
        nonlocal writing
        if loading.info.size != blob.size:
            raise Corrupt(f"the file of blob {blob.id} has the wrong length", expected=blob.size, got=loading.info.size)
        if writing is None:
            writing = target.open(blob)
        write, done = writing.begin(), 0

        def take(data: memoryview) -> None:
            nonlocal done
            write(data)
            done += len(data)
            count.came(done)

        return take

    try:
        store.load_into(blob.id, begin)
    except Gone as error:
        if writing is None:
            raise NoServer(
                f"blob {blob.id} was removed while nothing held it: the connection was lost meanwhile; begin anew"
            ) from error
        why = str(error)
    except (Corrupt, Mismatch, NotFound) as error:
        why = str(error)
    except BaseException:
        if writing is not None:
            writing.leave()
        raise
    else:
        assert writing is not None
        writing.keep()
        count.fetched, count.fetched_bytes = count.fetched + 1, count.fetched_bytes + blob.size
        return ""
    if writing is not None:
        writing.drop()
    return why


def _versions(store: BaseStore, id: BlobId) -> tuple[str, ...]:
    with suppress(UdfstoreError):
        kept = store.why(id)
        return tuple(entry.ref for entry in (*kept.named, *kept.linked))
    return ()


def _segments(items: Iterator[BackupItem], listed: Callable[[BackupBlob], object]) -> Iterator[tuple[int, bytes]]:
    """The segments of the log, whole; the blobs before them go to `listed`."""
    number, parts = 0, bytearray()
    for item in items:
        match item:
            case BackupBlob():
                listed(item)
            case LogPart():
                if item.segment != number and number:
                    yield number, bytes(parts)
                    parts.clear()
                number = item.segment
                parts += item.data
            case BackupEnd():
                if number:
                    yield number, bytes(parts)
                return
    raise InternalError("the backup ended before all was told")


def _put(target: Target, sums: _Sums, name: str, content: bytes) -> None:
    target.file(name, io.BytesIO(content), len(content))
    sums.add(hashlib.sha256(content).digest(), name)


class _Sums:
    """SHA256SUMS in the making."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def add(self, digest: bytes, name: str) -> None:
        line = sum_line(digest, name)
        self._file.write(line)
        self._hash.update(line)

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    def content(self) -> tuple[IO[bytes], int]:
        size = self._file.tell()
        self._file.seek(0)
        return self._file, size


class _Listing:
    """The blobs that belong to a backup, in a file: there may be millions."""

    _ROW = struct.Struct(">32sQq")

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, blob: BackupBlob) -> None:
        self._file.write(self._ROW.pack(blob.id.raw, blob.size, blob.saved_ns))

    def __iter__(self) -> Iterator[BackupBlob]:
        self._file.seek(0)
        while row := self._file.read(self._ROW.size):
            id, size, saved_ns = self._ROW.unpack(row)
            yield BackupBlob(BlobId(id), size, saved_ns)
