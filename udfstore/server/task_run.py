"""One run of a task: the machine of its rounds, between a clock, its nodes' connections and the store."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import structlog
import trio

from udfstore import tasks
from udfstore.digest import BlobId
from udfstore.errors import InternalError, NoSpace, ReadOnly, UdfstoreError
from udfstore.server.rooms import Rooms
from udfstore.service.hosted import Kept
from udfstore.service.tasks import Live
from udfstore.snapshots import Answer, Ask, Commit, End, Ended, Fingerprint, Identity, Member, NodeId, Rounds, State
from udfstore.snapshots.rounds import Command


class Seated(Protocol):
    """The connection of a node, as its run sees it."""

    node: tasks.Node
    identity: Identity
    joined: tasks.Joined | None
    leaving: bool

    @property
    def session(self) -> int: ...
    def ask(self, round: int) -> None: ...
    def restart(self, why: str) -> None: ...
    def dismiss(self, why: UdfstoreError) -> None: ...


class Ticket:
    """Somebody waits for a snapshot."""

    def __init__(self) -> None:
        self._answered = trio.Event()
        self._answer: Answer | None = None

    def settle(self, answer: Answer) -> None:
        """The answer is there."""
        self._answer = answer
        self._answered.set()

    async def wait(self) -> Answer:
        """The answer, once it is there."""
        await self._answered.wait()
        assert self._answer is not None
        return self._answer


class TaskRun:
    """From the first node of a task to connect until the last one has left; all of them are of one DAG.

    `guests` are the connections that are its nodes, by name, also those that are not restored yet. `changed` is called
    when a node has left, and when something was committed.
    """

    def __init__(
        self, task: str, fingerprint: Fingerprint, rooms: Rooms, nursery: trio.Nursery, changed: Callable[[], None]
    ) -> None:
        self.task = task
        self.fingerprint = fingerprint
        self.guests: dict[str, Seated] = {}
        self.retired = ""
        """Why its nodes were told to restart from another state: who comes fresh then belongs to the next run."""
        self.confirmed_ns = 0
        """When a round last ended well; 0: none has."""
        self.problem = ""
        """Why the last round was void."""
        self._rooms = rooms
        self._nursery = nursery
        self._tell = changed
        self.begun: Kept | None = None
        """What it began with, once it is open; a choice that it followed is in there until it is spent."""
        self._rounds: Rounds | None = None
        self._opening = trio.Lock()
        self._committing = False
        self._stirred = trio.lowlevel.ParkingLot()
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger().bind(task=task)

    @property
    def over(self) -> bool:
        """Whether its last node has left."""
        return not self.guests

    @property
    def ended(self) -> bool:
        """Whether that is so, and nothing is being stored any more."""
        return self.over and not self._committing

    def live(self) -> Live:
        """How the task is at present. For any thread."""
        guests = list(self.guests.values())
        host = guests[0].node.host if guests else tasks.HostKind.DIRECT
        names = tuple(sorted(guest.node.name for guest in guests))
        joined = {guest.node.name: guest.joined for guest in guests if guest.joined is not None}
        return Live(names, self.fingerprint, host, self.confirmed_ns, self.problem, joined)

    # --- its nodes ---

    async def open(self, node: tasks.Node, ids: frozenset[NodeId]) -> None:
        """Before a node is given anything: look up what the task has, once, and note who drives it.

        Raises what the store raises.
        """
        service = self._rooms.service.tasks
        async with self._opening:
            if self._rounds is None:
                begun = await self._rooms.reading(service.kept, node, self.fingerprint, ids)
                seconds = self._rooms.limits.round_seconds
                self.begun = begun
                self._rounds = Rounds(
                    self.task, self.fingerprint, newest=begun.newest, kept=begun.states, deadline=seconds
                )
                self._nursery.start_soon(self._keep_time)
            try:
                await self._rooms.writing(service.began, node)
            except (NoSpace, ReadOnly) as error:
                self._log.warning("who drives the task could not be noted", reason=str(error))

    def join(self, member: Member) -> None:
        """A node is in place. Raises `UsageError` or `Conflict` where it cannot be."""
        self._do(self._machine.join(trio.current_time(), member))

    def leave(self, name: str) -> None:
        """A node's connection is over."""
        del self.guests[name]
        if self._rounds is not None:
            self._do(self._rounds.leave(trio.current_time(), name))
        self._tell()

    def answer(self, name: str, round: int, state: State | None) -> None:
        """A node answered; None: it has no state."""
        self._do(self._machine.answer(trio.current_time(), name, round, state))

    def refuse(self, name: str, round: int, why: str) -> None:
        """A node answered, but not with a state that can be kept."""
        self._do(self._machine.refuse(trio.current_time(), name, round, why))

    def restart(self, why: str) -> None:
        """Let every node leave, and come back fresh."""
        self.retired = why
        for guest in self.guests.values():
            guest.restart(why)

    def stop(self) -> None:
        """The server is about to end."""
        if self._rounds is not None:
            self._do(self._rounds.stop(trio.current_time()))

    # --- its snapshots ---

    def want(self, reason: tasks.Reason, node: str = "") -> Ticket:
        """Ask for a snapshot; `node` is the one that stops, or that Kapacitor asked."""
        ticket = Ticket()
        self._do(self._machine.ask(trio.current_time(), reason, ticket, node))
        return ticket

    async def snapshot(self, reason: tasks.Reason, node: str = "") -> Answer:
        """Take a snapshot and wait for the end of its round."""
        return await self.want(reason, node).wait()

    @property
    def _machine(self) -> Rounds:
        assert self._rounds is not None, "a node joins a run that is open"
        return self._rounds

    def _do(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Ask():
                    self.guests[command.node].ask(command.round)
                case Commit():
                    self._committing = True
                    self._nursery.start_soon(self._commit, command)
                case Ended():
                    self._note(command)
                case Answer(ticket=Ticket() as ticket):
                    ticket.settle(command)
        self._stirred.unpark_all()

    async def _keep_time(self) -> None:
        rounds = self._machine
        try:
            while not self.ended:
                with trio.move_on_at(math.inf if rounds.deadline is None else rounds.deadline):
                    await self._stirred.park()
                self._do(rounds.tick(trio.current_time()))
        except Exception as error:  # noqa: BLE001 - a bug met in one task must not take the others along
            self._give_up(error)

    async def _commit(self, commit: Commit) -> None:
        try:
            manifest, why = None, ""
            try:
                manifest = await self._rooms.writing(self._store, commit)
            except UdfstoreError as error:
                why = f"not stored: {error}"
            finally:
                self._committing = False
            now = trio.current_time()
            if manifest is None:
                self._do(self._machine.not_committed(now, commit.round, why))
            else:
                self._do(self._machine.committed(now, commit.round, manifest))
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)
        self._tell()

    def _store(self, commit: Commit) -> BlobId:
        service, begun = self._rooms.service.tasks, self.begun
        manifest = service.commit(commit, begun.choice if begun else None)
        if begun is not None:
            self.begun = replace(begun, choice=None)
        return manifest

    def _note(self, ended: Ended) -> None:
        self._rooms.service.meters.round_ended(good=ended.end is not End.VOID)
        if ended.end is End.VOID:
            self.problem = ended.why
            self._log.warning("a round was void", round=ended.round, reason=ended.reason.value, why=ended.why)
        else:
            self.problem, self.confirmed_ns = "", time.time_ns()
            self._log.debug("a round ended", round=ended.round, reason=ended.reason.value, end=ended.end.value)

    def _give_up(self, error: Exception) -> None:
        self._log.error("the rounds of a task failed unexpectedly", exc_info=error)
        for guest in list(self.guests.values()):
            guest.dismiss(InternalError("a bug in the server ended the rounds of the task; its log has the details"))
