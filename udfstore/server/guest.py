"""A connection that is a node: restored, put in its place, asked for its state and kept alive, until it leaves.

    hello ── identified ── claimed ── restored ── joined ── goodbye ── last round ── over
                 │            │           │
              refused      refused    set aside, refused

While another connection is the node, a second one is a copy: it gets a copy of the state, is in no round and stores
nothing. Whatever ends the connection, `live` gives up the place that it had.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
import trio

from udfstore import tasks
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Corrupt, Gone, Mismatch, NotFound, TimedOut, TooLarge, UdfstoreError, UsageError
from udfstore.model import Caller
from udfstore.server.pump import Pump
from udfstore.server.task_run import TaskRun
from udfstore.session.host import HostSession
from udfstore.snapshots import Aside, Fingerprint, Identity, Member, NodeSnapshot, Snapshot, State
from udfstore.snapshots.rounds import INTERVAL_S

if TYPE_CHECKING:
    from udfstore.server.hosting import Hosting

LONGEST_TIMEOUT_S = 3600.0
"""A node that may be silent for longer would hold its place for as long after its death."""

QUESTIONS = 1024
"""Questions without an answer that are remembered: a node so far behind has missed as many deadlines."""


class Guest:
    """One node's connection, from its hello on. `end` ends the conversation, with a fault if there is one."""

    identity: Identity
    fingerprint: Fingerprint

    def __init__(
        self,
        node: tasks.Node,
        caller: Caller,
        session: HostSession,
        pump: Pump,
        hosting: Hosting,
        end: Callable[[UdfstoreError | None], None],
    ) -> None:
        self.node = node
        self.caller = caller
        self.leaving = False
        """It said goodbye, or its connection is at its end: it will give up its place."""
        self.over = False
        """It has given up its place: nothing more is expected of it."""
        self.run: TaskRun | None = None
        """The run of its task in which it is its node; None: not yet, or it is a copy."""
        self._session = session
        self._pump = pump
        self._hosting = hosting
        self._rooms = hosting.rooms
        self._end = end
        self.joined: tasks.Joined | None = None
        """What it began with, once it is in place."""
        self._blameless = False
        """If its connection ends now, that is not the fault of a state it was given."""
        self._goodbye = trio.Event()
        self._restored = trio.Event()
        self._failure = ""
        self._asked: deque[int] = deque(maxlen=QUESTIONS)
        self._scope = trio.CancelScope()
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger().bind(
            session=caller.session, task=node.task, node=node.name
        )

    @property
    def session(self) -> int:
        """The number of its conversation."""
        return self.caller.session

    # --- its life ---

    async def live(self, nursery: trio.Nursery) -> None:
        """Play host to the node until its connection ends, or has to. Raises why it has to."""
        self._nursery = nursery
        nursery.start_soon(self._keep_alive)
        try:
            with self._scope:
                await self._arrive()
                await self._goodbye.wait()
                if self.run is not None:
                    await self.run.snapshot(tasks.Reason.STOP, self.node.name)
        finally:
            self.leaving = self.over = True
            if self.run is not None:
                self.run.leave(self.node.name)

    def leave(self) -> None:
        """The connection is at its end: the place is free once what that takes is done."""
        self.leaving = True
        self._scope.cancel()

    def goodbye(self) -> None:
        """The node said goodbye: its last state is wanted, if it has one: it joined, or brought one along."""
        self.leaving = self._blameless = True
        self._goodbye.set()
        if self.joined is None and not self.node.resumed:
            self._end(None)

    def dismiss(self, why: UdfstoreError) -> None:
        """End the conversation though nothing is wrong with the node."""
        self._blameless = True
        self._end(why)

    async def _arrive(self) -> None:
        node, service = self.node, self._rooms.service
        service.gate.check(self.caller, node)
        if node.timeout > LONGEST_TIMEOUT_S:
            got = f"{node.timeout:g} s"
            raise UsageError("the timeout of a node", expected=f"at most {LONGEST_TIMEOUT_S:g} s", got=got)
        self.identity, self.fingerprint, ids = await self._rooms.reading(service.tasks.identify, node)
        self.run = await self._hosting.claim(self)
        if self.run is not None:
            await self.run.open(node, ids)
        if node.resumed:
            self._join(node.restored, 0, "it has its own state still")
            return
        begun = self.run.begun if self.run is not None else None
        given = await self._rooms.reading(service.tasks.given, node, begun)
        if given.state is None or given.snapshot is None:
            service.meters.restored("fresh")
            self._join(None, 0, given.why.value)
            return
        await self._restore(given.state, given.snapshot)
        service.meters.restored("ok")
        self._join(given.snapshot.id, given.snapshot.number, given.why.value)

    def _join(self, manifest: BlobId | None, number: int, why: str) -> None:
        run = self.run
        self.joined = tasks.Joined(run is not None, manifest, number, why)
        self._session.joined(self.joined)
        self._rooms.service.register.joined(self.caller, owner=run is not None)
        self._log.info("a node joined", owner=run is not None, snapshot=number, why=why)
        if run is not None:
            run.join(Member(self.identity, self.node.interval or INTERVAL_S, manifest))
            if self.node.resumed and not self.leaving:
                run.want(tasks.Reason.INTERVAL)
            if self.node.resumed and run.retired:
                self.restart(run.retired)  # it was away when the others were told
        self._pump.flush()

    async def _keep_alive(self) -> None:
        """Ask for a sign of life twice in the time that the node may be silent, and end what is dead."""
        seconds = self.node.timeout or self._rooms.limits.node_seconds
        signs, quiet = self._pump.signs, 0
        while True:
            await trio.sleep(seconds / 2)
            await trio.lowlevel.checkpoint()  # what came while this process stood still is read before it is judged
            if self.over:
                return
            quiet = quiet + 1 if self._pump.signs == signs and not self._pump.held_back else 0
            signs = self._pump.signs
            if quiet == 2:
                self._log.warning("a node is silent", seconds=seconds)
                self._end(TimedOut("no sign of life from the node", expected=f"within {seconds:g} s"))
                return
            self._session.keepalive(time.time_ns())
            self._pump.flush()

    # --- its restore ---

    def restored(self, answer: tasks.Restored) -> None:
        """The node answered its restore."""
        self._failure = answer.error
        self._restored.set()

    async def _restore(self, state: NodeSnapshot, snapshot: Snapshot) -> None:
        """Give the node a state. One that does not work is set aside, and the conversation ends (`Conflict`).

        A state that crashes its node looks like a connection that is lost in the middle of a restore, so that counts
        as one that does not work.
        """
        try:
            plain = await self._rooms.reading(self._content, state) if self.node.plain else b""
        except (NotFound, Gone, Corrupt) as error:
            raise await self._set_aside(state, snapshot, str(error)) from error
        blob = None if self.node.plain else state.blob
        if blob is not None:
            self._rooms.service.gate.lent(self.caller, blob)
        self._session.restore(tasks.Restore(snapshot.id, snapshot.number, state.size, blob, plain))
        self._pump.flush()
        failure, refusal = "the connection ended before the answer", None
        try:
            failure = await self._outcome()
        finally:
            if failure:
                refusal = await self._set_aside(state, snapshot, failure)
        if refusal is not None:
            raise refusal

    async def _outcome(self) -> str:
        """Why the restore did not work; nothing if it did."""
        seconds = self._rooms.limits.restore_seconds
        with trio.move_on_after(seconds):
            await self._restored.wait()
            return self._failure
        return f"no answer within {seconds:g} s"

    def _content(self, state: NodeSnapshot) -> bytes:
        """A state that travels inside its message: nobody but this side can tell whether it is whole."""
        most, store = self._rooms.limits.plain_bytes, self._rooms.service.store
        if state.size > most:
            raise TooLarge(
                f"the state of the node {self.node.name!r} is too large to travel inside a message",
                expected=f"at most {most} bytes",
                got=state.size,
            )
        with store.open(state.blob) as file:
            content = file.pread(0, state.size)
        if BlobId.of(content) != state.blob:
            store.verify(state.blob)
            raise Corrupt(f"the stored bytes of blob {state.blob} are damaged")
        return content

    async def _set_aside(self, state: NodeSnapshot, snapshot: Snapshot, why: str) -> Conflict:
        """Note for good that this state did not work; gives what to tell the node.

        A copy notes nothing, as it may not change what the node gets.
        """
        self._rooms.service.meters.restored("failed")
        told = f"the state of {snapshot} could not be restored, {why}"
        if self.run is None:
            return Conflict(f"{told}: a copy sets nothing aside")
        if not self._blameless and not self._hosting.stopping:
            self._log.warning("a state is set aside", snapshot=str(snapshot), why=why)
            aside, note = Aside(self.identity.id, state.blob), self._rooms.service.tasks.set_aside
            try:
                with trio.CancelScope(shield=True):
                    await self._rooms.writing(note, self.node.task, aside)
            except UdfstoreError as error:
                self._log.error("a state could not be set aside", reason=str(error))
        return Conflict(f"{told}: connect again for the one before")

    # --- its rounds ---

    def ask(self, round: int) -> None:
        """Ask the node for its state."""
        if not self._scope.cancel_called:
            self._asked.append(round)
            self._session.ask(round)
            self._pump.flush()

    def restart(self, why: str) -> None:
        """Let the node leave, and come back fresh; should it leave in the middle of a restore, it was told to."""
        self._blameless = True
        if not self._scope.cancel_called:
            self._session.restart(why)
            self._pump.flush()

    def answered(self, answer: tasks.Answer) -> None:
        """The node answered the round that it names, or else its oldest question without an answer."""
        round = self._question(answer.round)
        if round is None or self.run is None:
            self._log.debug("an answer that nobody waits for", round=answer.round)
            return
        if answer.error:
            self.run.refuse(self.node.name, round, answer.error)
            return
        self._rooms.service.register.holds(self.caller, answer.models)
        if answer.blob is None and not answer.plain:
            self.run.answer(self.node.name, round, None)
        else:
            self._nursery.start_soon(self._take, self.run, round, answer)

    def _question(self, round: int) -> int | None:
        """Answers come in the order of the questions, so those before this one will have none."""
        if round and round not in self._asked:
            return None
        while self._asked:
            oldest = self._asked.popleft()
            if round in (0, oldest):
                return oldest
        return None

    async def _take(self, run: TaskRun, round: int, answer: tasks.Answer) -> None:
        try:
            state = await self._rooms.writing(self._state, answer)
        except UdfstoreError as error:
            run.refuse(self.node.name, round, str(error))
        else:
            run.answer(self.node.name, round, state)

    def _state(self, answer: tasks.Answer) -> State:
        """What an answer brought, as a durable blob. Raises why it cannot be kept."""
        store = self._rooms.service.store
        if answer.blob is None:
            upload = store.upload(None, len(answer.plain))
            try:
                upload.write(answer.plain)
                blob, _ = upload.commit()
            except BaseException:
                upload.abort()
                raise
            return State(blob, len(answer.plain), answer.models)
        hidden = self._rooms.service.gate.hides(self.caller, answer.blob)
        size = None if hidden else store.present(answer.blob)
        if size is None:
            raise NotFound("the blob of its state is not in the store", got=answer.blob.short)
        if size != answer.size:
            raise Mismatch("its state has another size than it said", expected=answer.size, got=size)
        return State(answer.blob, size, answer.models)
