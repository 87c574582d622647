"""The part of the asynchronous API that is about tasks; see `udfstore.client.tasks`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from datetime import datetime
from typing import TypeVar

from udfstore import calls
from udfstore.client import arguments
from udfstore.client.tasks import AnySnapshot
from udfstore.digest import BlobId
from udfstore.refs import Ref, Tag
from udfstore.tasks import (
    AwaitFollowers,
    DeleteSnapshots,
    DeleteTask,
    Dropped,
    FindSnapshot,
    Given,
    ListSnapshots,
    ListStates,
    ListTasks,
    NameSnapshot,
    NodeState,
    PlanRestore,
    Policy,
    Reason,
    SaveSnapshot,
    Snapshot,
    Taken,
    Task,
    Use,
)

Item = TypeVar("Item")


class AsyncTaskCalls(ABC):
    """What a store says of tasks; see `TaskCalls`."""

    @abstractmethod
    async def _ask(self, call: calls.PlainCall) -> calls.Result: ...

    @abstractmethod
    def _items(self, call: calls.StreamCall, kind: type[Item]) -> AsyncGenerator[Item]: ...

    def tasks(self) -> AsyncIterator[Task]:
        """All tasks that have snapshots or connected nodes, by name."""
        return self._items(ListTasks(), Task)

    async def delete_task(self, task: str, *, everything: bool = False) -> Dropped:
        """Delete a task's automatic snapshots, or with `everything` the named ones too, and what is known of it."""
        call = DeleteTask(task, everything, arguments.request())
        return arguments.answer(await self._ask(call), Dropped)

    def snapshots(self, task: str) -> AsyncIterator[Snapshot]:
        """The snapshots of a task, newest first."""
        return self._items(ListSnapshots(task), Snapshot)

    async def snapshot(self, task: str, ref: AnySnapshot = "") -> Snapshot:
        """One snapshot of a task."""
        return arguments.answer(await self._ask(FindSnapshot(task, str(ref))), Snapshot)

    def states(self, task: str, ref: AnySnapshot = "") -> AsyncIterator[NodeState]:
        """The node states of one snapshot: `.blob` is the content of each."""
        return self._items(ListStates(task, str(ref)), NodeState)

    async def save_snapshot(self, task: str, name: str = "") -> Taken:
        """Take a snapshot of all nodes now, and give it a name as well if there is one."""
        call = SaveSnapshot(task, Reason.MANUAL, name)
        return arguments.answer(await self._ask(call), Taken)

    async def name_snapshot(self, task: str, name: str, snapshot: AnySnapshot = "", *, note: str = "") -> Snapshot:
        """Give a snapshot a name; it is then kept for good."""
        call = NameSnapshot(task, name, str(snapshot), note, arguments.request())
        return arguments.answer(await self._ask(call), Snapshot)

    async def use_snapshot(
        self,
        task: str,
        snapshot: AnySnapshot = "",
        *,
        before: Ref | BlobId | Tag | str | None = None,
        now: bool = False,
    ) -> Snapshot | None:
        """Choose what a task is given at its next start: a snapshot, `fresh`, or the newest from `before` a ref."""
        found = await self._ask(arguments.use(task, snapshot, before, now))
        return None if found is None else arguments.answer(found, Snapshot)

    async def delete_snapshots(
        self, task: str, snapshots: Iterable[AnySnapshot] = (), *, everything: bool = False
    ) -> Dropped:
        """Delete snapshots of a task, or with `everything` all of them."""
        call = DeleteSnapshots(task, tuple(map(str, snapshots)), everything, arguments.request())
        return arguments.answer(await self._ask(call), Dropped)

    def plan_restore(
        self, task: str, dag: bytes | str, policy: Policy | str = "strict", snapshot: AnySnapshot = ""
    ) -> AsyncIterator[Given]:
        """What each node of a DAG (JSON, docs/dag.md) would be given if the task started now. Changes nothing."""
        text = dag.encode() if isinstance(dag, str) else dag
        call = PlanRestore(task, text, arguments.policy(policy), str(snapshot))
        return self._items(call, Given)

    # --- what is in use, and by whom ---

    async def used(self, name: Tag | str, version: int, id: BlobId | str, *, error: str = "") -> int:
        """Record that a version was taken into use, or why it could not be. Returns the record's revision."""
        call = calls.Used(arguments.tag(name), version, arguments.blob_id(id), error, arguments.request())
        return arguments.answer(await self._ask(call), calls.Noted).revision

    def uses(
        self,
        task: str = "",
        tag: Tag | str | None = None,
        at: datetime | int | None = None,
        *,
        everything: bool = False,
    ) -> AsyncIterator[Use]:
        """What was taken into use, newest first: by the nodes of a task, or of a tag."""
        return self._items(arguments.uses(task, tag, at, everything), Use)

    def sessions(self) -> AsyncIterator[calls.Session]:
        """Who is connected."""
        return self._items(calls.Sessions(), calls.Session)

    async def await_followers(
        self,
        tag: Tag | str,
        version: int,
        timeout: float,  # noqa: ASYNC109 - it is the server that waits
    ) -> list[calls.Session]:
        """Wait until every connection that follows a tag has `version` or a later one, or failed on it."""
        call = AwaitFollowers(arguments.tag(tag), version, timeout)
        return [session async for session in self._items(call, calls.Session)]
