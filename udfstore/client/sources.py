"""What can be saved: content, a path, or an open file."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, Protocol

_TEXT: type = io.TextIOBase

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


class Source:
    """Bytes to save, read in order. `size` is None where it cannot be known before the end."""

    def __init__(self, file: _File, size: int | None, start: int | None, *, owned: bool) -> None:
        self.size = size
        self._file = file
        self._start = start
        self._owned = owned

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
            return cls(file, _size_of(file), 0 if file.seekable() else None, owned=True)
        if hasattr(content, "read") and not isinstance(content, _TEXT):
            start = content.tell() if content.seekable() else None
            size = _size_of(content)
            return cls(content, None if size is None or start is None else size - start, start, owned=False)
        raise TypeError(
            f"{type(content).__name__} cannot be saved: give bytes, a path, or a file open for reading in mode 'rb'"
        )

    def read(self, most: int) -> bytes | memoryview:
        """The next bytes, at most `most`; none at the end."""
        data: bytes | memoryview | None = self._file.read(most)
        return data or b""

    def rewind(self) -> bool:
        """Begin again, for a repeat. False where that is impossible."""
        if self._start is None:
            return False
        self._file.seek(self._start)
        return True

    def close(self) -> None:
        """Close what was opened here."""
        if self._owned:
            self._file.close()


def _size_of(file: object) -> int | None:
    """Bytes of a regular file; None for pipes and for objects without a descriptor."""
    try:
        status = os.fstat(file.fileno())  # type: ignore[attr-defined]
    except (OSError, AttributeError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
