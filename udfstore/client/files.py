"""An open blob: a file to read from, seekable, with a path and a descriptor for whoever wants one."""

from __future__ import annotations

import io
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeAlias

from udfstore.client.hashing import Check
from udfstore.client.retry import nothing
from udfstore.digest import BlobId
from udfstore.errors import Corrupt, Mismatch, NoServer
from udfstore.model import BlobInfo, Entry

BUFFER_BYTES = 1024 * 1024
"""Read ahead of small reads: a chunk, so that a loader that reads record by record asks seldom."""


PIECE_BYTES = 1024 * 1024
"""Read from a file at once: as a chunk over a socket."""


class File(Protocol):
    """Something open."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...


def pieces(number: int, size: int, offset: int = 0) -> Iterator[memoryview]:
    """`size` bytes of an open file. Raises `Mismatch` when it ends before."""
    while size:
        piece = os.pread(number, min(size, PIECE_BYTES), offset)
        if not piece:
            raise Mismatch("the file of a blob ends too soon", expected=offset + size, got=offset)
        yield memoryview(piece)
        offset, size = offset + len(piece), size - len(piece)


Spool: TypeAlias = "tempfile._TemporaryFileWrapper[bytes]"


class RawBlob(io.RawIOBase, ABC):
    """Where an open blob's bytes come from."""

    def __init__(self, info: BlobInfo) -> None:
        super().__init__()
        self.info = info
        self._at = 0

    @abstractmethod
    def fetch(self, offset: int, length: int, take: Callable[[memoryview], object]) -> None:
        """Give `take` the bytes from `offset` on, as they come; `length` stays within the blob.

        A whole blob is checked against its ID (`Mismatch`).
        """

    @abstractmethod
    def verify(self) -> None:
        """Hash what is stored. Raises `Corrupt` when it is not what its name says."""

    @abstractmethod
    def local_path(self) -> Path:
        """A file of this machine that holds the content, until this is closed."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.info.size}[whence])
        return self._at

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        into = memoryview(buffer).cast("B")
        length = min(len(into), max(0, self.info.size - self._at))
        filled = 0

        def take(data: memoryview) -> None:
            nonlocal filled
            into[filled : filled + len(data)] = data
            filled += len(data)

        if length:
            self.fetch(self._at, length, take)
        self._at += length
        return length

    def readall(self) -> bytes:
        """The rest. From the beginning on that is the whole blob, and is checked (`Corrupt`, `Mismatch`)."""
        content = io.BytesIO()
        if self._at == 0:
            self.fetch_whole(content.write)
        elif self._at < self.info.size:
            self.fetch(self._at, self.info.size - self._at, content.write)
        self._at = max(self._at, self.info.size)
        return content.getvalue()  # the buffer itself, not a copy of it

    def fetch_whole(self, take: Callable[[memoryview], object]) -> None:
        """Give `take` all bytes. Raises `Corrupt` where what is stored is damaged, `Mismatch` where only the way is."""
        if self.info.size:
            try:
                self.fetch(0, self.info.size, take)
            except Mismatch:
                self.verify()
                raise


class OpenBlob(io.BufferedReader):
    """A blob open for reading, as any binary file is; a context manager. It stays the same blob when its tag moves."""

    raw: RawBlob

    def __init__(self, raw: RawBlob) -> None:
        super().__init__(raw, BUFFER_BYTES)

    @property
    def id(self) -> BlobId:
        """The blob's ID."""
        return self.raw.info.id

    @property
    def size(self) -> int:
        """The blob's length in bytes."""
        return self.raw.info.size

    @property
    def entry(self) -> Entry | None:
        """The entry of the tag through which it was opened; None if it was opened by ID."""
        return self.raw.info.entry

    @property
    def tag(self) -> str | None:
        """The tag through which it was opened."""
        return None if self.entry is None else self.entry.tag

    @property
    def version(self) -> int | None:
        """The version of that tag."""
        return None if self.entry is None else self.entry.version

    @property
    def path(self) -> Path:
        """A file with the content, for loaders that want a name. It may go when this is closed; never write to it."""
        return self.raw.local_path()

    def fileno(self) -> int:
        """A descriptor with the content."""
        return self.raw.fileno()

    def verify(self) -> None:
        """Hash what is stored. Raises `Corrupt` when it is not what its name says."""
        self.raw.verify()

    def write(self, data: object, /) -> int:
        raise io.UnsupportedOperation("a blob never changes: save the new content and move the tag")


class FileBlob(RawBlob):
    """A blob that lies in an open file. It stays readable, whatever becomes of the server and of the blob's name.

    `report` is called when it is damaged, to have the store look at its own copy.
    """

    def __init__(self, info: BlobInfo, file: File, report: Callable[[], object]) -> None:
        super().__init__(info)
        self._file = file
        self._report = report

    def fetch(self, offset: int, length: int, take: Callable[[memoryview], object]) -> None:
        content = pieces(self._file.fileno(), length, offset)
        if length < self.info.size:
            for piece in content:
                take(piece)
            return
        with Check(self.info.id, length) as check:
            for piece in content:
                check.update(piece)
                take(piece)
            check.end()

    def verify(self) -> None:
        try:
            self.fetch(0, self.info.size, lambda _: None)
        except Mismatch as error:
            with suppress(NoServer):
                self._report()
            raise Corrupt("the file of the blob is damaged", expected=self.info.id, got=error.got) from error

    def local_path(self) -> Path:
        return Path(f"/proc/{os.getpid()}/fd/{self._file.fileno()}")

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()
        super().close()


class SpooledBlob(FileBlob):
    """A blob that was loaded into a temporary file."""

    def __init__(self, info: BlobInfo, spool: Spool) -> None:
        super().__init__(info, spool, nothing)
        self._spool = spool

    def local_path(self) -> Path:
        return Path(self._spool.name)


def new_spool() -> Spool:
    """A temporary file that goes when it is closed."""
    return tempfile.NamedTemporaryFile(prefix="udfstore-")


class LazilySpooled(RawBlob):
    """A raw blob whose bytes come from elsewhere: a path or descriptor makes it a temporary file, once, checked."""

    _spool: Spool | None = None

    def local_path(self) -> Path:
        return Path(self._spooled().name)

    def fileno(self) -> int:
        return self._spooled().fileno()

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        super().close()

    def _spooled(self) -> Spool:
        if self._spool is None:
            spool = new_spool()
            try:
                self.fetch_whole(spool.write)
                spool.seek(0)  # writes what is buffered, and a descriptor is expected at the beginning
            except BaseException:
                spool.close()
                raise
            self._spool = spool
        return self._spool
