"""Content that a connection has received and not yet written."""

from __future__ import annotations

from collections import deque

from udfstore import calls

GATHER_BYTES = 64 * 1024
"""Content in smaller chunks is gathered: a thread call for each byte, and the memory of its frame, would cost more."""


class Incoming:
    """Content of one save, and its commit once that has come. `size` is of the bytes that wait."""

    def __init__(self) -> None:
        self.data: deque[memoryview | bytearray] = deque()
        self.size = 0
        self.commit: calls.Commit | None = None

    def put(self, data: memoryview) -> None:
        """More of it."""
        self.size += len(data)
        last = self.data[-1] if self.data else None
        if isinstance(last, bytearray) and len(last) + len(data) <= GATHER_BYTES:
            last += data
        else:
            self.data.append(bytearray(data) if len(data) < GATHER_BYTES else data)

    def take(self) -> memoryview | bytearray:
        """The next of it to be written."""
        data = self.data.popleft()
        self.size -= len(data)
        return data
