"""Operations driven by the tasks of an event loop: whoever waits moves the bytes, for all others too.

No background task: of the tasks that wait on one connection one leads, as in `blocking`. So a plain `await` is enough
to use it, and a cancelled task leaves nothing half done: bytes move only in calls that do not wait.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

import anyio
import anyio.to_thread

from udfstore import calls
from udfstore.client.blocking import WELCOME_SECONDS
from udfstore.client.conversation import ConnectionLost, Conversation
from udfstore.client.link import Link
from udfstore.client.operations import Give, Operation, Wait, Work
from udfstore.model import Event

Opened = TypeVar("Opened", bound="Closable", covariant=True)


class Closable(Protocol):
    """What can be closed."""

    async def aclose(self) -> None: ...


class Opening(Generic[Opened]):
    """Something about to be opened: `await` it to have it, or `async with` it to have it closed at the end."""

    def __init__(self, open: Callable[[], Coroutine[Any, Any, Opened]]) -> None:
        self._open = open

    def __await__(self) -> Generator[Any, Any, Opened]:
        return self._open().__await__()

    async def __aenter__(self) -> Opened:
        self._opened = await self._open()
        return self._opened

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()


class AsyncLink:
    """A connection that tasks share."""

    def __init__(self, connection: socket.socket, talk: Conversation) -> None:
        self._link = Link(connection, talk)
        self.talk = talk
        self._leader: anyio.CancelScope | None = None
        self._leads_sending = False
        """Whether the one that leads waits for room too, not only for what comes."""
        self._changed = anyio.Event()

    @classmethod
    async def open(cls, connection: socket.socket, talk: Conversation) -> AsyncLink:
        """Wait for the welcome. Raises `ConnectionLost` when none comes."""
        link = cls(connection, talk)
        try:
            with anyio.move_on_after(WELCOME_SECONDS) as scope:
                await link._wait(lambda: link.talk.welcome is not None)
            if scope.cancelled_caught:
                raise ConnectionLost(f"the server said nothing for {WELCOME_SECONDS:g} s")
        except BaseException:
            link.close()
            raise
        return link

    @property
    def lost(self) -> bool:
        """Whether the connection is over."""
        return self.talk.lost is not None

    def close(self) -> None:
        """End the connection; whoever waits on it gets `ConnectionLost`."""
        if self._link.socket.fileno() == -1:
            return
        anyio.notify_closing(self._link.socket)
        self._link.close()
        self._notify()

    def push(self) -> None:
        """Send what was put into the conversation: now, or by whoever waits once there is room."""
        self._link.flush()
        if self._link.sending and self._leader is not None and not self._leads_sending:
            self._leader.cancel()

    async def run(self, operation: Operation) -> Any:
        """Drive an operation to its result."""
        result: list[Any] = []
        async for _ in self.iterate(operation, result):
            raise AssertionError("an operation without items gave some")
        return result[0]

    async def iterate(
        self, operation: Operation, result: list[Any] | None = None
    ) -> AsyncGenerator[tuple[calls.Item | Event, ...]]:
        """Drive an operation and hand out what it gives; its result goes into `result`."""
        value: Any = None
        try:
            while True:
                step = operation.send(value)
                value = None
                match step:
                    case Wait():
                        await self._wait(step.ready)
                    case Work():
                        value = await anyio.to_thread.run_sync(step.do)
                    case Give():
                        yield step.items
        except StopIteration as done:
            if result is not None:
                result.append(done.value)
        finally:
            operation.close()
            self._link.flush()

    async def _wait(self, ready: Callable[[], bool]) -> None:
        while True:
            self._link.flush()
            if ready():
                self._notify()
                return
            if self.talk.lost is not None:
                raise ConnectionLost(self.talk.lost.message) from self.talk.lost
            if self._leader is None:
                await self._lead()
            else:
                if self._link.sending and not self._leads_sending:
                    self._leader.cancel()  # it has to wait for room as well
                await self._changed.wait()

    async def _lead(self) -> None:
        self._leads_sending = self._link.sending
        try:
            with anyio.CancelScope() as self._leader:
                if self._leads_sending:
                    await self._either(anyio.wait_readable, anyio.wait_writable)
                else:
                    await self._until(anyio.wait_readable)
        finally:
            self._leader = None
            self._notify()
        if self.talk.lost is None:
            self._link.receive()
        self._notify()

    async def _either(self, *waits: Callable[[socket.socket], Awaitable[None]]) -> None:
        async with anyio.create_task_group() as tasks:

            async def first(wait: Callable[[socket.socket], Awaitable[None]]) -> None:
                await self._until(wait)
                tasks.cancel_scope.cancel()

            for wait in waits:
                tasks.start_soon(first, wait)

    async def _until(self, wait: Callable[[socket.socket], Awaitable[None]]) -> None:
        with suppress(anyio.ClosedResourceError, OSError):  # closed here meanwhile: the conversation says so
            await wait(self._link.socket)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
