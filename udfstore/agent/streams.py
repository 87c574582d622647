"""The wire of an agent: descriptors that nobody else writes to, and frames gathered on their way out."""

from __future__ import annotations

import io
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

FLUSH_BYTES = 64 * 1024
"""Gathered output that is worth a system call by itself: what a pipe holds on Linux."""

FLUSH_SECONDS = 0.005
"""Between two system calls for output while the handler has more to do: at 40,000 points/s each takes 200 of them."""


class Raw(Protocol):
    """A binary stream without a buffer of its own."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...
    def write(self, data: memoryview, /) -> int | None: ...
    def close(self) -> None: ...


def is_standard(stream: Any) -> bool:
    """Whether a stream is standard input."""
    return _descriptor(stream) == 0


def private(stream: Any) -> Raw:
    """A way to read from or write to what `stream` is, for the wire alone.

    Standard input and output are moved to descriptors of their own, which no child inherits; then standard input is
    empty, and what is printed goes to standard error.
    """
    descriptor = _descriptor(stream)
    if descriptor is None:
        raw: Raw = stream  # bytes in memory
        return raw
    if descriptor == 0:
        own = os.dup(0)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
        return io.FileIO(own, "r")
    if descriptor == 1:
        own = os.dup(1)
        os.dup2(2, 1)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # as a log is read: by the line, at once
        return io.FileIO(own, "w")
    return io.FileIO(descriptor, "r+", closefd=False)


def _descriptor(stream: Any) -> int | None:
    try:
        descriptor: int = stream.fileno()
    except (AttributeError, OSError, ValueError):  # it has none, or is closed
        return None
    return descriptor


def hang_up(stream: Any) -> None:
    """Close a stream; whoever reads from it, if it is a socket, wakes up."""
    descriptor = _descriptor(stream)
    with suppress(OSError):
        if descriptor is not None and stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            with socket.socket(fileno=os.dup(descriptor)) as connection:
                connection.shutdown(socket.SHUT_RDWR)
        stream.close()


class Output:
    """Frames on their way out, whole and in the order in which they were put. For any thread.

    Whoever flushes writes for all others. A host that is gone takes no more: `gone` is set, and nothing is kept.
    """

    def __init__(self, raw: Raw, clock: Callable[[], float] = time.monotonic) -> None:
        self._raw = raw
        self._clock = clock
        self._lock = threading.Lock()
        """Held for moments, around the three below."""
        self._frames: list[bytes] = []
        self._size = 0
        self._flushed = clock()
        self._writing = threading.Lock()
        """Held while bytes go out, as long as the host lets them wait."""
        self.gone = False

    def put(self, frame: bytes) -> None:
        """A frame; flushed when enough waits, or when the last flush was long enough ago."""
        with self._lock:
            self._frames.append(frame)
            self._size += len(frame)
        self.flush_late()

    def put_now(self, frame: bytes, *, wait: bool) -> None:
        """A frame that goes out at once. Without `wait` it is left to the one who is writing, if there is one."""
        with self._lock:
            self._frames.append(frame)
            self._size += len(frame)
        self.flush(wait=wait)

    def flush_late(self) -> None:
        """Flush what has waited long enough."""
        if self._size >= FLUSH_BYTES or (self._frames and self._clock() - self._flushed >= FLUSH_SECONDS):
            self.flush()

    def flush(self, *, wait: bool = True) -> None:
        """Send what waits. Without `wait` it is left to the one who is writing, if there is one."""
        while self._frames and self._writing.acquire(blocking=wait):
            try:
                with self._lock:
                    frames, self._frames, self._size = self._frames, [], 0
                self._flushed = self._clock()
                self._write(memoryview(frames[0] if len(frames) == 1 else b"".join(frames)))
            finally:
                self._writing.release()

    def close(self) -> None:
        """Send what waits, and close."""
        self.flush()
        with self._writing:
            self.gone = True
            self._raw.close()

    def _write(self, data: memoryview) -> None:
        try:
            while len(data) and not self.gone:
                data = data[self._raw.write(data) or 0 :]
        except OSError:  # the host hung up, and will not read an answer to this either
            self.gone = True
