"""One connection: the socket's bytes into its session, and the session's events into calls.

A connection has a reader task, a writer task that sleeps until the socket is full, and a task for each call that has to
wait.
"""

from __future__ import annotations

import socket
import time
from dataclasses import replace

import trio

from udfstore import tasks
from udfstore.errors import Cancelled, Closing, ProtocolError, TimedOut, UdfstoreError, UsageError
from udfstore.model import Caller, Place
from udfstore.server.guest import Guest
from udfstore.server.hosting import Hosting
from udfstore.server.open_calls import OpenCalls
from udfstore.server.pump import Broken, Pump
from udfstore.server.rooms import Rooms
from udfstore.server.shares import Share
from udfstore.session.events import (
    Alive,
    Committed,
    Content,
    Failed,
    Granted,
    Hello,
    HostEvent,
    Left,
    Opened,
    Welcome,
    Withdrawn,
)
from udfstore.session.host import HostSession, State
from udfstore.snapshots import check_name
from udfstore.version import __version__


class Connection:
    """A client's connection, from the welcome to the end."""

    def __init__(self, connection: socket.socket, caller: Caller, rooms: Rooms, hosting: Hosting, share: Share) -> None:
        self._connection = connection
        self._rooms = rooms
        self._hosting = hosting
        self._limits = rooms.limits
        store = rooms.service.store
        self._session = HostSession(
            Welcome(
                version=__version__,
                store_id=store.id,
                epoch=store.epoch,
                revision=store.revision,
                chunk_bytes=rooms.limits.chunk_bytes,
                calls=rooms.limits.calls,
                session=caller.session,
                save_credit=rooms.limits.first_window_bytes,
                descriptors=True,
            ),
            rooms.limits.plain_bytes,
            rooms.pool.take,
        )
        self._changed = trio.lowlevel.ParkingLot()
        """Wakes the calls that wait for credit, content or room, and whoever waits for the last call to end."""
        self._ended = False
        self._reading = trio.CancelScope()
        self._pump = Pump(connection, self._session, rooms.limits, rooms.buffer, self._changed, rooms.copies.close)
        self._calls = OpenCalls(
            self._session, self._pump, rooms, hosting, caller, share, self._changed, self._look_round
        )

    @property
    def _guest(self) -> Guest | None:
        return self._calls.guest

    # --- the life of a connection ---

    async def run(self) -> None:
        """Serve the connection until either side ends it."""
        with self._connection, self._calls.meter:
            try:
                async with trio.open_nursery() as nursery:
                    self._calls.nursery = nursery
                    self._pump.flush()
                    nursery.start_soon(self._pump.write)
                    await self._converse()
                    if self._guest is not None:
                        self._guest.leave()
                    await self._finish()
                    nursery.cancel_scope.cancel()
            except* Broken as broken:
                self._calls.log.debug("connection broke", reason=str(broken.exceptions[0]), **self._calls.peer)
            finally:
                self._calls.close()
                self._session.tokens.close()
                self._session.outbox.close()

    def drain(self) -> None:
        """The server stops: take no new calls, end the watches, let the others finish."""
        self._session.close(self._limits.grace_seconds)
        self._calls.end_watches(Closing("the server is shutting down; ask again when it is back"))
        self._pump.flush()
        self._look_round()

    def end(self, why: UdfstoreError | None) -> None:
        """End the conversation: it is at fault, or over."""
        if why is not None and not self._ended:
            self._calls.log.info("conversation ended", reason=str(why), **self._calls.peer)
            self._session.fault(0, why)
            self._pump.flush()
        self._ended = True
        self._reading.cancel()
        if self._guest is not None:
            self._guest.leave()

    async def _converse(self) -> None:
        """Take what comes, until the peer leaves, the server drains, or the conversation is at fault."""
        try:
            with self._reading:
                await self._pump.read(self._take, self._taken, self._has_room)
        except (ProtocolError, TimedOut) as error:
            self.end(error)

    async def _finish(self) -> None:
        """End the calls that nobody waits for, and send what is left."""
        if not self._owed:
            self._calls.cancel_all()
        with trio.move_on_after(self._limits.grace_seconds):
            while self._session.outbox or self._calls.has_tasks or self._owed:
                await self._changed.park()

    @property
    def _owed(self) -> bool:
        """Whether a peer that said goodbye still waits for answers."""
        return self._session.state is State.LEAVING and self._session.open_calls > 0

    def _look_round(self) -> None:
        """Something happened: wake who waits for it, and stop reading if nothing more can come."""
        leaving = self._session.state is State.LEAVING and (self._guest is None or self._guest.over)
        if (leaving or self._session.closing) and not self._session.open_calls:
            self._reading.cancel()
        self._changed.unpark_all()

    def _has_room(self) -> bool:
        """Whether to read on.

        A client that does not read its answers is held back here, and one that counts no credit when it saves faster
        than is written.
        """
        if self._session.outbox.small_bytes > self._limits.waiting_bytes:
            return False
        return self._session.counts_credit or all(
            save.size <= self._limits.window_bytes for save in self._calls.transfers.saves.values()
        )

    # --- events ---

    def _take(self, event: HostEvent) -> None:
        """One event of those that came together; `_taken` follows the last of them."""
        self._calls.take()
        match event:
            case Opened():
                self._calls.open(event.call, event.op, event.file)
            case Content():
                self._calls.transfers.take(event.call, event.data)
            case Committed():
                self._calls.committed(event.call, event.commit)
            case Withdrawn():
                self._calls.cancel(event.call)
            case Failed():
                self._calls.failed(event.call, event.error)
            case Hello():
                self._greet(event)
            case Left():
                self._calls.end_watches(Cancelled("a watch ends with the goodbye of its client"))
                if self._guest is not None:
                    self._guest.goodbye()
            case tasks.Answer():
                if self._guest is not None:
                    self._guest.answered(event)
            case tasks.Restored():
                if self._guest is not None:
                    self._guest.restored(event)
            case Granted() | Alive():
                pass

    def _taken(self) -> None:
        """All is taken that came together: send the answers, and begin what has to wait."""
        self._rooms.service.register.heard(self._calls.caller, time.time_ns())
        self._calls.taken()
        self._pump.flush()
        self._look_round()

    def _greet(self, hello: Hello) -> None:
        author, node = replace(self._calls.caller.author, claim=hello.claim), hello.node
        place = hello.place if node is None else Place(node.task, node.name)
        try:
            for name, what in ((place.task, "a task name"), (place.node, "a node's name")):
                if name:
                    check_name(name, what)
        except UsageError as error:
            self.end(error)
            return
        self._calls.caller = self._rooms.service.register.introduce(self._calls.caller, author, place)
        if node is not None:
            guest = Guest(node, self._calls.caller, self._session, self._pump, self._hosting, self.end)
            self._calls.guest = guest
            self._calls.nursery.start_soon(self._play_host, guest)

    async def _play_host(self, guest: Guest) -> None:
        try:
            await guest.live(self._calls.nursery)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong belongs to this node alone
            self.end(self._calls.explain(error))
        self._look_round()
