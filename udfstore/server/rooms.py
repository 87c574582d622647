"""What all connections of one server share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

import trio

from udfstore.server.limits import ServerLimits
from udfstore.service import Service

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

    async def reading(self, do: Callable[[*_Args], _Result], *args: *_Args) -> _Result:
        """Run what reads files in a thread. It runs to its end: a cancel waits for it."""
        return await trio.to_thread.run_sync(do, *args, limiter=self.reads)

    async def writing(self, do: Callable[[*_Args], _Result], *args: *_Args) -> _Result:
        """Run what writes files in a thread. It runs to its end: a cancel waits for it."""
        return await trio.to_thread.run_sync(do, *args, limiter=self.writes)
