"""The server: one store, its socket, and everybody who connects to it."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import structlog
import trio

from udfstore.admin import Fate, Garbage
from udfstore.errors import Busy, Closing, UdfstoreError
from udfstore.model import Caller
from udfstore.pace import Pace
from udfstore.server.connection import Connection
from udfstore.server.hosting import Hosting
from udfstore.server.house import House
from udfstore.server.limits import ServerLimits
from udfstore.server.listener import Listener
from udfstore.server.peer import author_of
from udfstore.server.process import raise_descriptor_limit
from udfstore.server.pump import RECEIVE_BYTES
from udfstore.server.rooms import Rooms
from udfstore.server.scrub import scrub
from udfstore.server.shares import Share, Shares
from udfstore.service import Register, Service
from udfstore.service.gate import Refusal
from udfstore.service.rules import Rules
from udfstore.session.host import refusal
from udfstore.store import Store

SWEEP_SECONDS = 60.0
"""Between two looks for removed files whose time has come; the grace itself is an hour."""

COLLECT_SECONDS = 3600.0
"""Between two searches for what nothing keeps, while there is room: it has a day of grace."""

COLLECT_SHARE = 0.1
"""Of its time that such a search is at work, while there is room: it looks at every blob, and nobody waits for it."""


async def _quiet() -> None:
    """Nobody wants to know."""


class Server:
    """Everything that one process serves."""

    def __init__(self, store: Store, limits: ServerLimits, rules: Rules) -> None:
        self.service = Service(store, Register())
        self.service.gate.rules, self.service.gate.audit = rules, self._audit
        self._store = store
        self._limits = limits
        self._rooms = Rooms(
            service=self.service,
            limits=limits,
            reads=trio.CapacityLimiter(limits.reads),
            writes=trio.CapacityLimiter(limits.writes),
            commits=trio.lowlevel.ParkingLot(),
            buffer=memoryview(bytearray(RECEIVE_BYTES)),
        )
        self._hosting = Hosting(self._rooms)
        self.house = House(self._rooms, self._hosting)
        """For a front beside the socket."""
        self._connections: set[Connection] = set()
        self._shares = Shares(limits)
        self._closing = False
        self._collected = -COLLECT_SECONDS
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger()
        self.service.tasks.shelf.say = self._log.warning

    async def run(
        self,
        listeners: Sequence[Listener],
        ready: Callable[[], Awaitable[None]],
        stopping: Callable[[], Awaitable[None]] = _quiet,
    ) -> None:
        """Serve until SIGTERM or SIGINT, then drain: no new calls, and a grace time for those that run.

        `ready` is called once connections are taken, `stopping` when no more are.
        """
        raise_descriptor_limit()
        async with self._told(), trio.open_nursery() as serving:
            self._hosting.begin(serving)
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(self._sweep)
                    accepting.start_soon(scrub, self._store, self._rooms)
                    for listener in listeners:
                        accepting.start_soon(self._accept, listener, serving)
                    await ready()
                    async for number in signals:
                        self._log.info("stopping", signal=signal.Signals(number).name, open=len(self._connections))
                        break
                    self._hosting.stop()
                    self._store.stop_sweeping()
                    self._rooms.commits.unpark_all()
                    accepting.cancel_scope.cancel()
                for listener in listeners:
                    listener.close()
                await stopping()
                serving.cancel_scope.deadline = trio.current_time() + self._limits.grace_seconds
                self._closing = True
                for connection in list(self._connections):
                    connection.drain()
        self._log.info("stopped")

    async def _accept(self, listener: Listener, serving: trio.Nursery) -> None:
        serve = partial(self._serve, listener.name)
        await trio.serve_listeners(serve, [listener.trio_listener()], handler_nursery=serving)

    async def _serve(self, listener: str, stream: trio.SocketStream) -> None:
        with socket.socket(fileno=stream.socket.detach()) as peer:
            peer.setblocking(False)
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                peer.setsockopt(socket.SOL_SOCKET, option, self._limits.chunk_bytes)
            author = author_of(peer)
            try:
                self._admit()
                share = self._shares.enter(author.uid)
            except UdfstoreError as error:
                self.service.meters.refused("socket")
                self._log.warning(
                    "connection refused", reason=str(error), uid=author.uid, pid=author.pid, listener=listener
                )
                _refuse(peer, error)
                return
            caller = self.service.register.enter(author, time.time_ns(), listener)
            try:
                await self._hold(peer, caller, share)
            finally:
                self._shares.leave(author.uid)
                self.service.register.leave(caller)
                self.service.gate.left(caller)
                self.service.unnamed.left(caller)

    def _audit(self, refusal: Refusal) -> None:
        """Note that somebody may not do something. On any thread."""
        caller = refusal.caller
        author = caller.author
        self._log.warning(
            "refused",
            right=refusal.right.value,
            what=refusal.what,
            by=refusal.by,
            listener=caller.listener,
            session=caller.session,
            uid=author.uid,
            pid=author.pid,
            program=author.program,
            token=author.token,
        )

    def _admit(self) -> None:
        limits = self._limits
        if self._closing:
            raise Closing("the server is shutting down")
        if len(self._connections) >= limits.connections:
            raise Busy("the server has as many connections as it takes", expected=f"at most {limits.connections}")

    async def _hold(self, peer: socket.socket, caller: Caller, share: Share) -> None:
        connection = Connection(peer, caller, self._rooms, self._hosting, share)
        self._connections.add(connection)
        try:
            await connection.run()
        except Exception as error:  # noqa: BLE001 - a bug met on one connection must not take the others along
            self._log.error("a connection failed unexpectedly", session=caller.session, exc_info=error)
        finally:
            self._connections.discard(connection)

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """While it is open, the committer's thread wakes those who wait for commits, or for what others follow."""
        token = trio.lowlevel.current_trio_token()

        def wake(waiting: trio.lowlevel.ParkingLot) -> None:
            try:
                token.run_sync_soon(waiting.unpark_all, idempotent=True)
            except trio.RunFinishedError:
                return  # nobody waits any more

        def committed(revision: int) -> None:
            wake(self._rooms.commits)

        def moved() -> None:
            wake(self._rooms.moves)

        self._store.on_commit.append(committed)
        self.service.register.on_change.append(moved)
        try:
            yield
        finally:
            self._store.on_commit.remove(committed)
            self.service.register.on_change.remove(moved)

    async def _sweep(self) -> None:
        """Remove what nothing keeps, and unlink removed files whose grace is over: neither keeps the other from it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._now_and_then, self._collect)
            nursery.start_soon(self._now_and_then, self._unlink)

    async def _now_and_then(self, chore: Callable[[], Awaitable[None]]) -> None:
        while not self._store.problem:  # with one, it takes no writes until it is opened again
            try:
                await chore()
            except Closing:
                return
            except Exception as error:  # noqa: BLE001 - housekeeping that fails must not end the service
                self._log.warning("no room could be made", reason=str(error), exc_info=_unforeseen(error))
            await trio.sleep(SWEEP_SECONDS)

    async def _unlink(self) -> None:
        swept = await self._rooms.writing(self._store.sweep)
        if swept:
            self._log.info("unlinked removed files", blobs=swept)

    async def _collect(self) -> None:
        """One batch after the other, so that an end of the server waits for one of them at most."""
        now = trio.current_time()
        if now - self._collected < COLLECT_SECONDS and not self._store.is_short:
            return
        self._collected = now
        batches, pace, count, size = _timed(self._store.collect()), Pace(COLLECT_SHARE), 0, 0
        while (batch := await self._rooms.writing(next, batches, None)) is not None:
            seconds, removed = batch
            count, size = count + len(removed), size + sum(removed)
            if not self._store.is_short:
                await trio.sleep(min(pace.delay(seconds, trio.current_time()), SWEEP_SECONDS))
        if count:
            self._log.info("removed what nothing keeps", blobs=count, bytes=size)


def _timed(batches: Iterator[list[Garbage]]) -> Iterator[tuple[float, list[int]]]:
    """How many seconds each batch took, and the sizes of what it removed."""
    began = time.monotonic()
    for batch in batches:
        yield time.monotonic() - began, [one.size for one in batch if one.fate is Fate.REMOVED]
        began = time.monotonic()


def _unforeseen(error: Exception) -> Exception | None:
    """The error, where its text alone does not say enough."""
    return None if isinstance(error, UdfstoreError) else error


def _refuse(peer: socket.socket, error: UdfstoreError) -> None:
    """Say why, as far as the socket's buffer goes, and hang up."""
    try:
        peer.send(refusal(error))
    except OSError:
        return  # gone already
