"""Checking content against its ID while the next of it is still coming."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from udfstore.digest import BlobId
from udfstore.errors import Mismatch

BESIDE_BYTES = 8 * 1024 * 1024
"""Content from this size on is hashed by a thread beside the one that receives it: hashing is half the work of a load,
and a core of its own halves the time. For less a thread costs more than it brings."""


class Check:
    """Hashes content as it comes, one piece behind whoever brings it."""

    def __init__(self, id: BlobId, size: int) -> None:
        self._id = id
        self._sha = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1, "udfstore hash") if size >= BESIDE_BYTES else None
        self._piece: Future[None] | None = None

    def update(self, data: memoryview) -> None:
        """The next piece; it must stay as it is until the next call."""
        if self._pool is None:
            self._sha.update(data)
            return
        if self._piece is not None:
            self._piece.result()
        self._piece = self._pool.submit(self._sha.update, data)

    def end(self) -> None:
        """There is no more. Raises `Mismatch` if it is not the content of that ID."""
        self.close()
        got = BlobId(self._sha.digest())
        if got != self._id:
            raise Mismatch("the bytes that came are not those of the blob", expected=self._id, got=got)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the thread, once it has hashed what it was given."""
        if self._pool is not None:
            self._pool.shutdown()
