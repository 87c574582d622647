"""Content that a connection has received and not yet written."""

from __future__ import annotations

from udfstore import calls

GATHER_BYTES = 64 * 1024
"""Content in smaller chunks is gathered: a thread call for each byte, and the memory of its frame, would cost more."""

Piece = memoryview | bytearray


class Incoming:
    """Content of one save, and its commit once that has come. `size` is of the bytes not yet written."""

    def __init__(self) -> None:
        self.size = 0
        self.commit: calls.Commit | None = None
        self._pieces: list[Piece] = []

    def put(self, data: memoryview) -> None:
        """More of it."""
        self.size += len(data)
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, bytearray) and len(last) + len(data) <= GATHER_BYTES:
            last += data
        else:
            self._pieces.append(bytearray(data) if len(data) < GATHER_BYTES else data)

    def ready(self) -> bool:
        """Whether there is something to write, or to end."""
        return bool(self._pieces) or self.commit is not None

    def take(self) -> list[Piece]:
        """All that waits; say `written` when it was."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def written(self, pieces: list[Piece]) -> None:
        """Those are written, and their memory is free."""
        self.size -= sum(map(len, pieces))
