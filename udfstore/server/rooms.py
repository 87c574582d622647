"""What all connections of one server share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, TypeVarTuple

import trio

from udfstore.server.handed import Copies
from udfstore.server.incoming import Pool
from udfstore.server.limits import ServerLimits
from udfstore.service import Service
from udfstore.service.rules import Rights

HASHES = 2
"""Blobs that are hashed again on request at the same time: each may take minutes, and loads must not wait for them."""

_Args = TypeVarTuple("_Args")
_Result = TypeVar("_Result")


@dataclass(slots=True)
class Rooms:
    """The store's service, the threads that may wait for its disk, and one buffer to read into."""

    service: Service
    limits: ServerLimits
    reads: trio.CapacityLimiter
    writes: trio.CapacityLimiter
    commits: trio.lowlevel.ParkingLot
    """Wakes the watches after each commit."""
    buffer: memoryview
    """Every connection reads into it: nothing of it outlives the call that read."""
    moves: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)
    """Wakes who waits for followers after each change of the register."""
    news: dict[tuple[str, Rights | None, int, int], tuple[Sequence[Any], int]] = field(default_factory=dict)
    """What watches of a prefix with those rights, that stand at a revision, are told at another: pages, and where they
    stand then."""
    pool: Pool = field(init=False)
    """Memory for what is too long to come in one read."""
    hashes: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(HASHES))
    copies: Copies = field(init=False)

    def __post_init__(self) -> None:
        self.pool = Pool(self.limits.chunk_bytes)
        self.copies = Copies(self.limits.progress_seconds)

    async def reading(self, do: Callable[[*_Args], _Result], *args: *_Args) -> _Result:
        """Run what reads files in a thread. It runs to its end: a cancel waits for it."""
        return await trio.to_thread.run_sync(do, *args, limiter=self.reads)

    async def looking(self, long: bool, do: Callable[[*_Args], _Result], *args: *_Args) -> _Result:
        """Run what only looks at files, and leaves nothing behind: a cancel does not wait for it."""
        limiter = self.hashes if long else self.reads
        return await trio.to_thread.run_sync(do, *args, limiter=limiter, abandon_on_cancel=True)

    async def writing(self, do: Callable[[*_Args], _Result], *args: *_Args) -> _Result:
        """Run what writes files in a thread. It runs to its end: a cancel waits for it."""
        return await trio.to_thread.run_sync(do, *args, limiter=self.writes)
