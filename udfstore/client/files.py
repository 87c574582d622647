"""An open blob: a file to read from, seekable, with a path and a descriptor for whoever wants one."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from udfstore.digest import BlobId
from udfstore.errors import Corrupt, Mismatch
from udfstore.model import BlobInfo, Entry

BUFFER_BYTES = 1024 * 1024
"""Read ahead of small reads: a chunk, so that a loader that reads record by record asks seldom."""


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


class SpooledBlob(RawBlob):
    """A blob that lies, checked, in a temporary file."""

    def __init__(self, info: BlobInfo, spool: Spool) -> None:
        super().__init__(info)
        self._spool = spool

    def fetch(self, offset: int, length: int, take: Callable[[memoryview], object]) -> None:
        while length and (data := os.pread(self._spool.fileno(), min(length, BUFFER_BYTES), offset)):
            take(memoryview(data))
            offset, length = offset + len(data), length - len(data)

    def verify(self) -> None:
        digest = hashlib.sha256()
        self.fetch(0, self.info.size, digest.update)
        if (got := BlobId(digest.digest())) != self.info.id:
            raise Corrupt("the temporary file of the blob was altered", expected=self.info.id, got=got)

    def local_path(self) -> Path:
        return Path(self._spool.name)

    def fileno(self) -> int:
        return self._spool.fileno()

    def close(self) -> None:
        self._spool.close()
        super().close()


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
