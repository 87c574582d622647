"""What can be saved: content, a path, or an open file."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

from udfstore.client.conversation import ConnectionLost
from udfstore.descriptors import Descriptor
from udfstore.errors import UsageError

_TEXT: type = io.TextIOBase
_PLAIN = (io.FileIO, io.BufferedReader, io.BufferedRandom)

HAND_OVER_FROM = 256 * 1024
"""Bytes from which a file is handed over to the server instead of its content: for less, both take the same time.
Content in memory is never worth a file (memfd): to write it there takes as long as to send it."""

Content = bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO


class _File(Protocol):
    def read(self, most: int, /) -> Any: ...
    def seek(self, to: int, /) -> Any: ...
    def close(self) -> None: ...


class _View:
    """Content in memory, read in slices of itself, without a copy."""

    def __init__(self, content: bytes | bytearray | memoryview) -> None:
        self.view = memoryview(content).cast("B")
        self._at = 0

    def read(self, most: int, /) -> memoryview:
        data = self.view[self._at : self._at + most]
        self._at += len(data)
        return data

    def seek(self, to: int, /) -> None:
        self._at = to

    def close(self) -> None:
        self.view.release()


class Handed:
    """`size` bytes from `offset` on of a regular file, for the server to read by itself."""

    def __init__(self, file: _File, number: int, offset: int, size: int) -> None:
        self.offset = offset
        self.size = size
        self._file = file
        self._number = number

    def maybe_again(self) -> Descriptor | None:
        """The file once more, to be given away; None when this process may open no more."""
        try:
            return Descriptor(os.dup(self._number))
        except OSError:
            return None

    def skip(self) -> None:
        """Leave the file as if the content had been read from it."""
        self._file.seek(self.offset + self.size)


class Source:
    """Bytes to save, read in order. `size` is None where it cannot be known before the end."""

    handed: Handed | None = None
    """The file itself, where it can be handed over."""

    def __init__(self, file: _File, size: int | None, start: int | None, *, owned: bool) -> None:
        self.size = size
        self._file = file
        self._start = start
        self._owned = owned
        self._begun = False

    @classmethod
    def of(cls, content: Content) -> Source:
        """Text and PathLike are paths, bytes-like is content, files are read from where they stand.

        Raises `TypeError` for anything else, and `OSError` for a path that cannot be read.
        """
        if isinstance(content, bytes | bytearray | memoryview):
            view = _View(content)
            return cls(view, len(view.view), 0, owned=False)
        if isinstance(content, str | os.PathLike):
            file = io.FileIO(Path(content), "rb")
            return cls(file, _size_of(file), 0 if file.seekable() else None, owned=True)._maybe_handed()
        if hasattr(content, "read") and not isinstance(content, _TEXT):
            start = content.tell() if content.seekable() else None
            size = _size_of(content)
            left = None if size is None or start is None else max(0, size - start)
            return cls(content, left, start, owned=False)._maybe_handed()
        raise _unfit(content)

    def _maybe_handed(self) -> Self:
        """Only what reads its descriptor as it is: what is made of it may decompress, or count."""
        file: Any = self._file
        plain = type(file) in _PLAIN and type(getattr(file, "raw", file)) is io.FileIO
        if plain and self._start is not None and self.size is not None and self.size >= HAND_OVER_FROM:
            self.handed = Handed(file, file.fileno(), self._start, self.size)
        return self

    def read(self, most: int) -> bytes | bytearray | memoryview:
        """The next bytes, at most `most`; none at the end.

        Raises `TypeError` for a file that gives something else than bytes, and `UsageError` for one that will not wait.
        """
        self._begun = True
        data = self._file.read(most)
        if data is None:
            raise UsageError("a file in non-blocking mode has nothing to read yet; set it to blocking mode first")
        if not isinstance(data, bytes | bytearray | memoryview):
            raise _unfit(self._file)
        return data

    def rewind(self) -> None:
        """Begin again, for a repeat, with content alone: something on the way may pass nothing else.

        Raises `ConnectionLost` where that is impossible.
        """
        self.handed = None
        if self._start is not None:
            self._file.seek(self._start)
        elif self._begun:
            raise ConnectionLost(
                "the connection to the server was lost in the middle of a save, and what was read from a pipe cannot "
                "be read again: save it anew"
            )

    def close(self) -> None:
        """Close what was opened here."""
        if self._owned:
            self._file.close()


def _unfit(content: object) -> TypeError:
    return TypeError(
        f"{type(content).__name__} cannot be saved: give bytes, a path, or a file open for reading in mode 'rb'"
    )


def _size_of(file: object) -> int | None:
    """Bytes of a regular file; None where they cannot be told.

    The descriptor of a file that decompresses what it reads has another size; so has many a file of the kernel, 0.
    """
    raw = getattr(file, "raw", file)
    if not isinstance(raw, io.FileIO):
        return None
    if isinstance(file, io.BufferedRandom):
        file.flush()  # what was written belongs to it
    status = os.fstat(raw.fileno())
    return status.st_size or None if stat.S_ISREG(status.st_mode) else None
