"""Who is which node: the runs of all tasks, who may come to them, and what is asked of a task as a whole."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from udfstore import calls, tasks
from udfstore.errors import Conflict, Gone, NotFound, UsageError
from udfstore.model import REQUEST_BYTES, Caller
from udfstore.server.guest import Guest
from udfstore.server.rooms import Rooms
from udfstore.server.task_run import TaskRun
from udfstore.service.tasks import Live
from udfstore.snapshots import named_tag


class Hosting:
    """The nodes of one server.

    The first connection that claims a node of a task is that node. Nodes of another DAG, and those that come fresh
    while others still have to restart, wait until the nodes that are there have left: a task is never in two minds.
    """

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self.stopping = False
        """The server is about to end: connections that are lost now say nothing about their nodes."""
        self._runs: dict[str, TaskRun] = {}
        self._barred: Counter[str] = Counter()
        self._changed = trio.lowlevel.ParkingLot()
        rooms.service.tasks.live = self.live

    def begin(self, nursery: trio.Nursery) -> None:
        """Where the clocks of the runs tick."""
        self._nursery = nursery

    def stop(self) -> None:
        """The server is about to end: no more rounds."""
        self.stopping = True
        for run in list(self._runs.values()):
            run.stop()

    # --- nodes ---

    async def claim(self, guest: Guest) -> TaskRun | None:
        """Make a connection the node that it says it is; None: it is a copy. Raises `Conflict` when it cannot be.

        The node has a place in its run from here on, and has to `leave` it.
        """
        if guest.node.no_save:
            return None
        with trio.move_on_after(self.rooms.limits.round_seconds):
            while self._obstacle(guest) is not None:
                await self._changed.park()
        obstacle = self._obstacle(guest)
        if obstacle is not None:
            raise obstacle
        task, name = guest.node.task, guest.node.name
        run = self._runs.get(task)
        if run is None:
            run = self._runs[task] = TaskRun(task, guest.fingerprint, self.rooms, self._nursery, self._look_round)
        if name in run.guests:
            return None
        for other in run.guests.values():
            if guest.identity.key and other.identity.key == guest.identity.key:
                raise Conflict(
                    f"the key {guest.identity.key!r} is that of the node {other.node.name!r}", got=repr(name)
                )
        run.guests[name] = guest
        return run

    def _obstacle(self, guest: Guest) -> Conflict | None:
        """What has to end before the connection can be its node, or its copy."""
        node, run = guest.node, self._runs.get(guest.node.task)
        if node.task in self._barred:
            return Conflict(f"the task {node.task!r} is being deleted; connect again")
        if run is None:
            return None
        if run.over:
            return Conflict(f"the last snapshot of the task {node.task!r} is still being stored; connect again")
        if run.fingerprint != guest.fingerprint:
            return Conflict(
                f"nodes of the task {node.task!r} are connected that have another DAG; stop them first",
                expected=run.fingerprint[:8],
                got=guest.fingerprint[:8],
            )
        holder = run.guests.get(node.name)
        if holder is not None and node.resumed == holder.session and not holder.leaving:
            holder.dismiss(Conflict(f"the node {node.name!r} goes on over another connection"))
        if holder is not None and holder.leaving:
            return Conflict(f"the connection that was the node {node.name!r} has not ended yet; connect again")
        if run.retired and not node.resumed:
            return Conflict(f"nodes of the task {node.task!r} still have to restart from the state that was chosen")
        return None

    def _look_round(self) -> None:
        """Something of a run has ended."""
        for task, run in list(self._runs.items()):
            if run.ended:
                del self._runs[task]
        self._changed.unpark_all()

    # --- tasks ---

    async def change(self, caller: Caller, call: tasks.ChangeCall) -> calls.Result:
        """Change what is kept of a task, and let its nodes feel it."""
        do: Callable[[Caller, tasks.ChangeCall], calls.Result] = self.rooms.service.slow[type(call)]
        if isinstance(call, tasks.DeleteTask | tasks.DeleteSnapshots):
            async with self._quiet(call.task):
                return await self.rooms.writing(do, caller, call)
        result = await self.rooms.writing(do, caller, call)
        if isinstance(call, tasks.UseSnapshot) and call.now and call.task in self._runs:
            self._runs[call.task].restart(f"another state was chosen for the task {call.task!r}")
        return result

    def live(self) -> dict[str, Live]:
        """The tasks that have connected nodes. For any thread."""
        return {task: run.live() for task, run in dict(self._runs).items() if not run.over}

    async def take(self, caller: Caller, call: tasks.SaveSnapshot, guest: Guest | None) -> tasks.Taken:
        """Take a snapshot of a task; says what came of it once its round has ended."""
        self.rooms.service.gate.check(caller, call)
        mine = guest is not None and guest.node.task == call.task
        if call.reason is tasks.Reason.KAPACITOR and not mine:
            raise UsageError("only a node of the task asks on behalf of Kapacitor", got=f"task {call.task!r}")
        if call.reason not in (tasks.Reason.KAPACITOR, tasks.Reason.MANUAL):
            raise UsageError(
                "not a reason to ask for a snapshot", expected="manual or kapacitor", got=call.reason.value
            )
        if call.name:
            named_tag(call.task, call.name)  # refused before the work is done
        run = self._runs.get(call.task)
        if guest is not None and mine and guest.run is None:
            return tasks.Taken(await self._newest(caller, call.task), False, "this connection is a copy of its node")
        asks = guest.node.name if guest and call.reason is tasks.Reason.KAPACITOR else ""
        if run is None or run.begun is None:
            newest = await self._newest(caller, call.task)
            return tasks.Taken(newest, False, "no node of the task is connected")
        answer = await run.snapshot(call.reason, asks)
        if answer.snapshot is None:
            return tasks.Taken(None, answer.good, answer.why)
        id = str(answer.snapshot)
        if answer.good and call.name:
            name = tasks.NameSnapshot(call.task, call.name, id, request=secrets.token_bytes(REQUEST_BYTES))
            named = await self.rooms.writing(self.rooms.service.tasks.name_snapshot, caller, name)
            return tasks.Taken(named, True)
        return tasks.Taken(await self._newest(caller, call.task, id), answer.good, answer.why)

    async def _newest(self, caller: Caller, task: str, id: str = "") -> tasks.Snapshot | None:
        find = self.rooms.service.tasks.find_snapshot
        try:
            return await self.rooms.reading(find, caller, tasks.FindSnapshot(task, id))
        except (NotFound, Gone):
            return None

    @asynccontextmanager
    async def _quiet(self, task: str) -> AsyncIterator[None]:
        """Nothing of a task changes by itself meanwhile: what is being stored is first, and who comes has to wait."""
        self._barred[task] += 1
        try:
            while task in self._runs and self._runs[task].over:
                await self._changed.park()
            yield
        finally:
            self._barred[task] -= 1
            self._barred += Counter()
            self._changed.unpark_all()
