"""One connection: the socket's bytes into its session, the session's events into calls, and the answers back.

A connection has a reader task, a writer task that sleeps until the socket is full, and a task for each call that has to
wait for files or credit. Quick answers are given by the reader; changes are handed to the committer, which calls back.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

import structlog
import trio

from udfstore import admin, calls, tasks
from udfstore.errors import (
    Busy,
    Cancelled,
    Closing,
    Corrupt,
    InternalError,
    ProtocolError,
    TimedOut,
    UdfstoreError,
    UsageError,
)
from udfstore.model import Caller, Place
from udfstore.server.guest import Guest
from udfstore.server.hosting import Hosting
from udfstore.server.incoming import Incoming
from udfstore.server.pump import Broken, Pump
from udfstore.server.rooms import Rooms
from udfstore.server.shares import Charges, Share
from udfstore.server.streams import Streams
from udfstore.server.transfers import Transfers
from udfstore.service.meters import OK
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
from udfstore.session.tokens import Token
from udfstore.snapshots import check_name
from udfstore.store import BlobFile
from udfstore.version import __version__

LOAD_CHUNKS = 3
"""That a load holds at once: one on its way, one that waits to be sent, one that is read."""

HELD_OPEN = calls.Watch | admin.Backup | admin.Check | tasks.AwaitFollowers
"""Streams that wait for something other than their client, or take hours: nobody finishes them when either side leaves.
"""


class Connection:
    """A client's connection, from the welcome to the end."""

    def __init__(self, connection: socket.socket, caller: Caller, rooms: Rooms, hosting: Hosting, share: Share) -> None:
        self._connection = connection
        self._caller = caller
        self._rooms = rooms
        self._hosting = hosting
        self._guest: Guest | None = None
        """The node that the connection is, once it said so."""
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
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger().bind(session=caller.session)
        self._tasks: dict[int, trio.CancelScope] = {}
        self._watches: set[int] = set()
        self._fresh: dict[int, calls.Save] = {}
        """Saves that were opened by what is being taken: a small one may be all there by the end of it."""
        self._handed = 0
        """Bytes of small saves that are with the committer."""
        self._taking = False
        """Whether more is taken at once: what is answered meanwhile is sent after the last of it."""
        self._changed = trio.lowlevel.ParkingLot()
        """Wakes the calls that wait for credit, content or room, and whoever waits for the last call to end."""
        self._ended = False
        self._reading = trio.CancelScope()
        self._pump = Pump(connection, self._session, rooms.limits, rooms.buffer, self._changed, rooms.copies.close)
        self._transfers = Transfers(self._session, self._pump, rooms, self._changed)
        self._charges = Charges(share, rooms.limits, caller.author.uid)
        self._meter = rooms.service.meters.conversation("socket", self._transfers.buffered)
        self._streams = Streams(self._session, self._pump, rooms, self._changed)

    # --- the life of a connection ---

    async def run(self) -> None:
        """Serve the connection until either side ends it."""
        with self._connection, self._meter:
            try:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    self._pump.flush()
                    nursery.start_soon(self._pump.write)
                    await self._converse()
                    if self._guest is not None:
                        self._guest.leave()
                    await self._finish()
                    nursery.cancel_scope.cancel()
            except* Broken as broken:
                self._log.debug("connection broke", reason=str(broken.exceptions[0]), **self._peer)
            finally:
                self._charges.close()
                self._session.tokens.close()
                self._session.outbox.close()

    def drain(self) -> None:
        """The server stops: take no new calls, end the watches, let the others finish."""
        self._session.close(self._limits.grace_seconds)
        self._end_watches(Closing("the server is shutting down; ask again when it is back"))
        self._pump.flush()
        self._look_round()

    def end(self, why: UdfstoreError | None) -> None:
        """End the conversation: it is at fault, or over."""
        if why is not None and not self._ended:
            self._log.info("conversation ended", reason=str(why), **self._peer)
            self._session.fault(0, why)
            self._pump.flush()
        self._ended = True
        self._reading.cancel()
        if self._guest is not None:
            self._guest.leave()

    def _end_watches(self, why: UdfstoreError) -> None:
        for number in list(self._watches):
            self._fault(number, why)
            self._cancel(number)

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
            for number in list(self._tasks):
                self._cancel(number)
        with trio.move_on_after(self._limits.grace_seconds):
            while self._session.outbox or self._tasks or self._owed:
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
            save.size <= self._limits.window_bytes for save in self._transfers.saves.values()
        )

    @property
    def _peer(self) -> dict[str, object]:
        author = self._caller.author
        return {"uid": author.uid, "pid": author.pid, "program": author.program}

    # --- events ---

    def _take(self, event: HostEvent) -> None:
        """One event of those that came together; `_taken` follows the last of them."""
        self._taking = True
        match event:
            case Opened():
                self._open(event.call, event.op, event.file)
            case Content():
                self._transfers.take(event.call, event.data)
            case Committed():
                self._committed(event.call, event.commit)
            case Withdrawn():
                self._cancel(event.call)
            case Failed():
                self._end_call(event.call, event.error.code.value)
                self._cancel(event.call)
            case Hello():
                self._greet(event)
            case Left():
                self._end_watches(Cancelled("a watch ends with the goodbye of its client"))
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
        self._taking = False
        self._rooms.service.register.heard(self._caller, time.time_ns())
        while self._fresh:
            number, call = self._fresh.popitem()
            self._start(number, self._save, call)
        self._pump.flush()
        self._look_round()

    def _greet(self, hello: Hello) -> None:
        author, node = replace(self._caller.author, claim=hello.claim), hello.node
        place = hello.place if node is None else Place(node.task, node.name)
        try:
            for name, what in ((place.task, "a task name"), (place.node, "a node's name")):
                if name:
                    check_name(name, what)
        except UsageError as error:
            self.end(error)
            return
        self._caller = self._rooms.service.register.introduce(self._caller, author, place)
        if node is not None:
            self._guest = Guest(node, self._caller, self._session, self._pump, self._hosting, self.end)
            self._nursery.start_soon(self._play_host, self._guest)

    async def _play_host(self, guest: Guest) -> None:
        try:
            await guest.live(self._nursery)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong belongs to this node alone
            self.end(self._explain(error))
        self._look_round()

    def _open(self, number: int, call: calls.Call, file: Token | None) -> None:
        service = self._rooms.service
        service.register.called(self._caller)
        kind = type(call)
        self._meter.begin(number, kind)
        try:
            self._charges.begin(number)
            if isinstance(call, calls.Save):
                self._charges.hold(number, min(self._limits.window_bytes, call.size or self._limits.window_bytes))
        except Busy as error:
            if file is not None:
                file.close()
            self._fault(number, error)
            return
        if kind in service.quick:
            self._answer(number, lambda: service.quick[kind](self._caller, call))
        elif kind in service.change:
            self._change(number, lambda: service.change[kind](self._caller, call))
        elif isinstance(call, calls.Save):
            self._transfers.saves[number] = Incoming(self._rooms.pool)
            if file is None:
                self._fresh[number] = call
            else:
                self._start(number, self._copy, call, file)
        elif isinstance(call, calls.Load):
            self._begin_load(number, call)
        elif isinstance(call, tasks.SaveSnapshot):
            self._start(number, self._take_snapshot, call)
        elif isinstance(call, calls.StreamCall):
            if isinstance(call, HELD_OPEN):
                self._watches.add(number)
            self._start(number, self._stream, call)
        else:
            self._start(number, self._ask, call)

    def _committed(self, number: int, commit: calls.Commit) -> None:
        """All content of a save is here: a small one that came in one go needs no task and no thread of its own."""
        incoming = self._transfers.saves.get(number)
        if incoming is None:
            return
        incoming.commit = commit
        small = incoming.size <= self._rooms.service.store.small_bytes
        if number in self._fresh and small and self._handed + incoming.size <= self._limits.window_bytes:
            call, content = self._fresh.pop(number), b"".join(self._transfers.saves.pop(number).take())

            def hand_over() -> Future[calls.Saved]:
                saved = self._rooms.service.save_small(self._caller, call, content, commit)
                self._handed += len(content)
                return saved

            def settled(saved: Future[calls.Saved]) -> calls.Saved:
                self._handed -= len(content)
                return saved.result()

            self._change(number, hand_over, settled)

    def _answer(self, number: int, ask: Callable[[], calls.Result]) -> None:
        try:
            result = ask()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong belongs to this call alone
            self._fault(number, self._explain(error))
        else:
            self._result(number, result)

    def _begin_load(self, number: int, call: calls.Load) -> None:
        """Answer a load with a descriptor, or with content that is at hand; else begin to send its content.

        The file is opened here: that is as quick as to ask the catalog.
        """
        try:
            head, file = self._rooms.service.open(self._caller, call)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong belongs to this call alone
            self._fault(number, self._explain(error))
            return
        if self._transfers.load_at_once(number, call, head, file):
            self._result(number, calls.Loaded(head.length))
            return
        try:
            self._charges.hold(number, min(head.length, LOAD_CHUNKS * self._limits.chunk_bytes))
        except Busy as error:
            file.close()
            self._fault(number, error)
            return
        self._start(number, self._load, head, file)

    def _change(
        self,
        number: int,
        hand_over: Callable[[], Future[Any]],
        result: Callable[[Future[Any]], calls.Result] = Future.result,
    ) -> None:
        """Hand a change to the committer and answer when it calls back, from its own thread."""
        token = trio.lowlevel.current_trio_token()

        def done(future: Future[Any]) -> None:
            try:
                token.run_sync_soon(self._answer, number, lambda: result(future))
            except trio.RunFinishedError:
                return  # the server is gone, and the client with it

        try:
            hand_over().add_done_callback(done)
        except Exception as error:  # noqa: BLE001 - as above
            self._fault(number, self._explain(error))

    def _result(self, number: int, result: calls.Result) -> None:
        if self._session.is_open(number):
            self._session.result(number, result)
            self._end_call(number, OK)
        self._answered()

    def _fault(self, number: int, error: UdfstoreError) -> None:
        if self._session.is_open(number):
            self._session.fault(number, error)
            self._end_call(number, error.code.value)
        self._answered()

    def _end_call(self, number: int, outcome: str) -> None:
        self._meter.ended(number, outcome)
        self._charges.ended(number)

    def _answered(self) -> None:
        if not self._taking:
            self._pump.flush()
            self._look_round()

    def _explain(self, error: Exception) -> UdfstoreError:
        if isinstance(error, Corrupt):
            self._log.error("stored content is damaged", reason=str(error))
        if isinstance(error, UdfstoreError):
            return error
        self._log.error("a call failed unexpectedly", exc_info=error)
        return InternalError(f"a bug in the server ({type(error).__name__}); its log has the details")

    # --- calls that take a task ---

    def _start(self, number: int, run: Callable[..., Any], *what: object) -> None:
        scope = self._tasks[number] = trio.CancelScope()
        self._nursery.start_soon(self._run, number, scope, partial(run, number, *what))

    async def _run(self, number: int, scope: trio.CancelScope, run: Callable[[], Any]) -> None:
        try:
            with scope:
                await run()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong belongs to this call alone
            self._fault(number, self._explain(error))
        finally:
            self._tasks.pop(number, None)
            self._transfers.saves.pop(number, None)
            self._watches.discard(number)
            if scope.cancelled_caught:
                self._fault(number, Cancelled("the call was taken back"))
            self._look_round()

    def _cancel(self, number: int) -> None:
        if number in self._tasks:
            self._tasks[number].cancel()
        elif self._fresh.pop(number, None):
            self._transfers.saves.pop(number)
            self._fault(number, Cancelled("the call was taken back"))

    async def _ask(self, number: int, call: calls.PlainCall) -> None:
        if isinstance(call, tasks.ChangeCall):
            self._result(number, await self._hosting.change(self._caller, call))
            return
        answer = self._rooms.service.slow[type(call)]
        if isinstance(call, admin.AddToken | admin.RemoveToken):
            result = await self._rooms.writing(answer, self._caller, call)
            done = "token made" if isinstance(call, admin.AddToken) else "token revoked"
            self._log.info(done, name=call.name, **self._peer)
            self._result(number, result)
            return
        if isinstance(call, calls.Undelete):  # it moves files, and waits for the log
            self._result(number, await self._rooms.writing(answer, self._caller, call))
            return
        long = isinstance(call, calls.Verify)
        self._result(number, await self._rooms.looking(long, answer, self._caller, call))

    async def _save(self, number: int, call: calls.Save) -> None:
        self._saved(number, *await self._transfers.save(number, self._caller, call))

    async def _copy(self, number: int, call: calls.Save, file: Token) -> None:
        self._saved(number, *await self._transfers.copy(number, self._caller, call, file, self._nursery))

    def _saved(self, number: int, saved: calls.Saved, commit: calls.Commit | None) -> None:
        if commit is None or commit.target is None:
            self._result(number, saved)
        else:
            self._change(
                number,
                lambda: self._rooms.service.target(self._caller, saved, commit),
                lambda moved: replace(saved, entry=moved.result().entries[0]),
            )

    async def _load(self, number: int, head: calls.Loading, file: BlobFile) -> None:
        self._result(number, await self._transfers.load(number, head, file))

    async def _take_snapshot(self, number: int, call: tasks.SaveSnapshot) -> None:
        self._result(number, await self._hosting.take(self._caller, call, self._guest))

    async def _stream(self, number: int, call: calls.StreamCall) -> None:
        await self._streams.answer(number, self._caller, call)
        self._result(number, None)
