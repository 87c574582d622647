"""The open calls of one connection, each from its message to its one answer.

Quick answers are given by whoever reads; changes are handed to the committer, which calls back; what has to wait for
files or credit is a task.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

import structlog
import trio

from udfstore import admin, calls, tasks
from udfstore.errors import Busy, Cancelled, Corrupt, InternalError, UdfstoreError
from udfstore.model import Caller
from udfstore.server.guest import Guest
from udfstore.server.hosting import Hosting
from udfstore.server.incoming import Incoming
from udfstore.server.pump import Pump
from udfstore.server.rooms import Rooms
from udfstore.server.shares import Charges, Share
from udfstore.server.streams import Streams
from udfstore.server.transfers import Transfers
from udfstore.service.meters import OK
from udfstore.session.host import HostSession
from udfstore.session.tokens import Token
from udfstore.store import BlobFile

LOAD_CHUNKS = 3
"""That a load holds at once: one on its way, one that waits to be sent, one that is read."""

HELD_OPEN = calls.Watch | admin.Backup | admin.Check | tasks.AwaitFollowers
"""Streams that wait for something other than their client, or take hours: nobody finishes them when either side leaves.
"""


class OpenCalls:
    """The calls of one connection that have not ended."""

    nursery: trio.Nursery
    """Of the connection: set before the first call."""

    def __init__(
        self,
        session: HostSession,
        pump: Pump,
        rooms: Rooms,
        hosting: Hosting,
        caller: Caller,
        share: Share,
        changed: trio.lowlevel.ParkingLot,
        look_round: Callable[[], None],
    ) -> None:
        """`look_round` is called when a call has ended."""
        self.caller = caller
        self.guest: Guest | None = None
        """The node that the connection is, once it said so."""
        self.log: structlog.stdlib.BoundLogger = structlog.get_logger().bind(session=caller.session)
        self._session = session
        self._pump = pump
        self._rooms = rooms
        self._hosting = hosting
        self._limits = rooms.limits
        self._look_round = look_round
        self._tasks: dict[int, trio.CancelScope] = {}
        self._watches: set[int] = set()
        self._fresh: dict[int, calls.Save] = {}
        """Saves that were opened by what is being taken: a small one may be all there by the end of it."""
        self._handed = 0
        """Bytes of small saves that are with the committer."""
        self._taking = False
        """Whether more is taken at once: what is answered meanwhile is sent after the last of it."""
        self.transfers = Transfers(session, pump, rooms, changed)
        self._charges = Charges(share, rooms.limits, caller.author.uid)
        self.meter = rooms.service.meters.conversation("socket", self.transfers.buffered)
        self._streams = Streams(session, pump, rooms, changed)

    @property
    def has_tasks(self) -> bool:
        """Whether any of them is at work in a task."""
        return bool(self._tasks)

    @property
    def peer(self) -> dict[str, object]:
        """Who it is, for the log."""
        author = self.caller.author
        return {"uid": author.uid, "pid": author.pid, "program": author.program}

    def take(self) -> None:
        """More comes; `taken` follows the last of it."""
        self._taking = True

    def taken(self) -> None:
        """All is taken that came together: begin what has to wait."""
        self._taking = False
        while self._fresh:
            number, call = self._fresh.popitem()
            self._start(number, self._save, call)

    def cancel_all(self) -> None:
        """Nobody waits for them any more."""
        for number in list(self._tasks):
            self.cancel(number)

    def end_watches(self, why: UdfstoreError) -> None:
        """End what nobody finishes."""
        for number in list(self._watches):
            self._fault(number, why)
            self.cancel(number)

    def failed(self, number: int, error: UdfstoreError) -> None:
        """The session ended a call that broke its rules."""
        self._end_call(number, error.code.value)
        self.cancel(number)

    def close(self) -> None:
        """The connection is over."""
        self._charges.close()

    def open(self, number: int, call: calls.Call, file: Token | None) -> None:
        """A call has come; `file` is what a save by descriptor brought."""
        service = self._rooms.service
        service.register.called(self.caller)
        kind = type(call)
        self.meter.begin(number, kind)
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
            self._answer(number, lambda: service.quick[kind](self.caller, call))
        elif kind in service.change:
            self._change(number, lambda: service.change[kind](self.caller, call))
        elif isinstance(call, calls.Save):
            self.transfers.saves[number] = Incoming(self._rooms.pool)
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

    def committed(self, number: int, commit: calls.Commit) -> None:
        """All content of a save is here: a small one that came in one go needs no task and no thread of its own."""
        incoming = self.transfers.saves.get(number)
        if incoming is None:
            return
        incoming.commit = commit
        small = incoming.size <= self._rooms.service.store.small_bytes
        if number in self._fresh and small and self._handed + incoming.size <= self._limits.window_bytes:
            call, content = self._fresh.pop(number), b"".join(self.transfers.saves.pop(number).take())

            def hand_over() -> Future[calls.Saved]:
                saved = self._rooms.service.save_small(self.caller, call, content, commit)
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
            self._fault(number, self.explain(error))
        else:
            self._result(number, result)

    def _begin_load(self, number: int, call: calls.Load) -> None:
        """Answer a load with a descriptor, or with content that is at hand; else begin to send its content.

        The file is opened here: that is as quick as to ask the catalog.
        """
        try:
            head, file = self._rooms.service.open(self.caller, call)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong belongs to this call alone
            self._fault(number, self.explain(error))
            return
        if self.transfers.load_at_once(number, call, head, file):
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
            self._fault(number, self.explain(error))

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
        self.meter.ended(number, outcome)
        self._charges.ended(number)

    def _answered(self) -> None:
        if not self._taking:
            self._pump.flush()
            self._look_round()

    def explain(self, error: Exception) -> UdfstoreError:
        """What the peer is told of an error; what only the operator can do something about is logged."""
        if isinstance(error, Corrupt):
            self.log.error("stored content is damaged", reason=str(error))
        if isinstance(error, UdfstoreError):
            return error
        self.log.error("a call failed unexpectedly", exc_info=error)
        return InternalError(f"a bug in the server ({type(error).__name__}); its log has the details")

    # --- calls that take a task ---

    def _start(self, number: int, run: Callable[..., Any], *what: object) -> None:
        scope = self._tasks[number] = trio.CancelScope()
        self.nursery.start_soon(self._run, number, scope, partial(run, number, *what))

    async def _run(self, number: int, scope: trio.CancelScope, run: Callable[[], Any]) -> None:
        try:
            with scope:
                await run()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong belongs to this call alone
            self._fault(number, self.explain(error))
        finally:
            self._tasks.pop(number, None)
            self.transfers.saves.pop(number, None)
            self._watches.discard(number)
            if scope.cancelled_caught:
                self._fault(number, Cancelled("the call was taken back"))
            self._look_round()

    def cancel(self, number: int) -> None:
        """Take a call back, if it is a task or a save that has not begun; others end by themselves."""
        if number in self._tasks:
            self._tasks[number].cancel()
        elif self._fresh.pop(number, None):
            self.transfers.saves.pop(number)
            self._fault(number, Cancelled("the call was taken back"))

    async def _ask(self, number: int, call: calls.PlainCall) -> None:
        if isinstance(call, tasks.ChangeCall):
            self._result(number, await self._hosting.change(self.caller, call))
            return
        answer = self._rooms.service.slow[type(call)]
        if isinstance(call, admin.AddToken | admin.RemoveToken):
            result = await self._rooms.writing(answer, self.caller, call)
            done = "token made" if isinstance(call, admin.AddToken) else "token revoked"
            self.log.info(done, name=call.name, **self.peer)
            self._result(number, result)
            return
        if isinstance(call, calls.Undelete):  # it moves files, and waits for the log
            self._result(number, await self._rooms.writing(answer, self.caller, call))
            return
        long = isinstance(call, calls.Verify)
        self._result(number, await self._rooms.looking(long, answer, self.caller, call))

    async def _save(self, number: int, call: calls.Save) -> None:
        self._saved(number, *await self.transfers.save(number, self.caller, call))

    async def _copy(self, number: int, call: calls.Save, file: Token) -> None:
        self._saved(number, *await self.transfers.copy(number, self.caller, call, file, self.nursery))

    def _saved(self, number: int, saved: calls.Saved, commit: calls.Commit | None) -> None:
        if commit is None or commit.target is None:
            self._result(number, saved)
        else:
            self._change(
                number,
                lambda: self._rooms.service.target(self.caller, saved, commit),
                lambda moved: replace(saved, entry=moved.result().entries[0]),
            )

    async def _load(self, number: int, head: calls.Loading, file: BlobFile) -> None:
        self._result(number, await self.transfers.load(number, head, file))

    async def _take_snapshot(self, number: int, call: tasks.SaveSnapshot) -> None:
        self._result(number, await self._hosting.take(self.caller, call, self.guest))

    async def _stream(self, number: int, call: calls.StreamCall) -> None:
        await self._streams.answer(number, self.caller, call)
        self._result(number, None)
