"""What a front beside the socket is given of the server: its service, its threads, and those who host nodes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, TypeVarTuple

import trio

from udfstore import calls, tasks
from udfstore.model import Caller
from udfstore.server.hosting import Hosting
from udfstore.server.rooms import Rooms
from udfstore.service import Service

_Args = TypeVarTuple("_Args")
_Result = TypeVar("_Result")


class House:
    """One server, for a front that asks one call at a time."""

    def __init__(self, rooms: Rooms, hosting: Hosting) -> None:
        self.service: Service = rooms.service
        self._rooms = rooms
        self._hosting = hosting

    @property
    def stopping(self) -> bool:
        """Whether the server takes no new requests."""
        return self._hosting.stopping

    async def reading(self, do: Callable[[*_Args], _Result], *args: *_Args) -> _Result:
        """Run what reads files in a thread. It runs to its end: a cancel waits for it."""
        return await self._rooms.reading(do, *args)

    async def writing(self, do: Callable[[*_Args], _Result], *args: *_Args) -> _Result:
        """Run what writes files in a thread. It runs to its end: a cancel waits for it."""
        return await self._rooms.writing(do, *args)

    async def ask(self, caller: Caller, call: calls.PlainCall) -> Any:
        """Answer a call that has one result. Raises what the service raises.

        A change that was handed over happens, whether or not its caller is still there for the answer.
        """
        service, kind = self.service, type(call)
        if isinstance(call, tasks.SaveSnapshot):
            return await self._hosting.take(caller, call, None)
        if isinstance(call, tasks.ChangeCall):
            return await self._hosting.change(caller, call)
        if kind in service.quick:
            return service.quick[kind](caller, call)
        if kind in service.change:
            return await _settled(service.change[kind](caller, call))
        return await self._rooms.looking(isinstance(call, calls.Verify), service.slow[kind], caller, call)

    async def committed(self, after: int) -> None:
        """Wait until the store's revision is beyond `after`, or the server stops."""
        while self.service.store.revision <= after and not self.stopping:
            await self._rooms.commits.park()


async def _settled(future: Future[Any]) -> Any:
    """What a future comes to that another thread resolves."""
    token, done = trio.lowlevel.current_trio_token(), trio.Event()

    def tell(_: Future[Any]) -> None:
        try:
            token.run_sync_soon(done.set)
        except trio.RunFinishedError:
            return  # the server is gone

    future.add_done_callback(tell)
    await done.wait()
    return future.result()
