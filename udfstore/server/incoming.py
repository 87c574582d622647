"""Content that a connection has received and not yet written, and the memory that it lies in."""

from __future__ import annotations

from udfstore import calls
from udfstore.wire.framing import fresh

GATHER_BYTES = 64 * 1024
"""Content in smaller chunks is gathered: a thread call for each byte, and the memory of its frame, would cost more."""

FRAME_BYTES = 64
"""More than a chunk's frame has beside its content."""

KEPT = 8
"""Pieces of memory that are kept while nothing needs them: as many as two saves have on their way."""

Piece = memoryview | bytearray


class Pool:
    """Memory of long frames, used again: to have it from the system and zeroed costs as much as to receive into it."""

    def __init__(self, chunk_bytes: int) -> None:
        self._size = chunk_bytes + FRAME_BYTES
        self._free: list[bytearray] = []

    def take(self, size: int) -> memoryview:
        """So many bytes. Of a frame much shorter than the longest the memory is its own: it would hold too much."""
        if not self._size // 2 < size <= self._size:
            return fresh(size)
        memory = self._free.pop() if self._free else bytearray(self._size)
        return memoryview(memory)[:size]

    def give(self, piece: Piece) -> None:
        """Nobody looks at that any more, nor at anything else in its frame."""
        memory = piece.obj if isinstance(piece, memoryview) else None
        if isinstance(memory, bytearray) and len(memory) == self._size and len(self._free) < KEPT:
            self._free.append(memory)


class Incoming:
    """Content of one save, and its commit once that has come. `size` is of the bytes not yet written."""

    def __init__(self, pool: Pool) -> None:
        self.size = 0
        self.commit: calls.Commit | None = None
        self._pool = pool
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
        for piece in pieces:
            self._pool.give(piece)
