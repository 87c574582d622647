"""The part of the Python API that is about tasks, their snapshots, and what their nodes have in use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from udfstore import calls
from udfstore.client import arguments
from udfstore.client.retry import never
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

AnySnapshot = str | int | BlobId
"""A snapshot's number, name, or manifest ID (or eight or more of its digits)."""


class TaskCalls(ABC):
    """What a store says of tasks. Snapshots are named by number, name, or manifest ID; empty: the newest."""

    @abstractmethod
    def _ask(self, call: calls.PlainCall, called_off: Callable[[], bool] = never) -> calls.Result: ...

    @abstractmethod
    def _items(self, call: calls.StreamCall) -> Iterator[calls.Item]: ...

    def tasks(self) -> Iterator[Task]:
        """All tasks that have snapshots or connected nodes, by name."""
        return arguments.only(self._items(ListTasks()), Task)

    def delete_task(self, task: str, *, everything: bool = False) -> Dropped:
        """Delete a task's automatic snapshots, or with `everything` the named ones too, and what is known of it.

        `Conflict` while a node of it is connected.
        """
        call = DeleteTask(task, everything, arguments.request())
        return arguments.answer(self._ask(call), Dropped)

    def snapshots(self, task: str) -> Iterator[Snapshot]:
        """The snapshots of a task, newest first."""
        return arguments.only(self._items(ListSnapshots(task)), Snapshot)

    def snapshot(self, task: str, ref: AnySnapshot = "") -> Snapshot:
        """One snapshot of a task."""
        return arguments.answer(self._ask(FindSnapshot(task, str(ref))), Snapshot)

    def states(self, task: str, ref: AnySnapshot = "") -> Iterator[NodeState]:
        """The node states of one snapshot: `.blob` is the content of each."""
        return arguments.only(self._items(ListStates(task, str(ref))), NodeState)

    def save_snapshot(self, task: str, name: str = "") -> Taken:
        """Take a snapshot of all nodes now, and give it a name as well if there is one.

        Returns when its round has ended: `.good` says whether it holds what was asked for, `.why` why not.
        """
        call = SaveSnapshot(task, Reason.MANUAL, name)
        return arguments.answer(self._ask(call), Taken)

    def name_snapshot(self, task: str, name: str, snapshot: AnySnapshot = "", *, note: str = "") -> Snapshot:
        """Give a snapshot a name; it is then kept for good."""
        call = NameSnapshot(task, name, str(snapshot), note, arguments.request())
        return arguments.answer(self._ask(call), Snapshot)

    def use_snapshot(
        self,
        task: str,
        snapshot: AnySnapshot = "",
        *,
        before: Ref | BlobId | Tag | str | None = None,
        now: bool = False,
    ) -> Snapshot | None:
        """Choose what a task is given at its next start: a snapshot, `fresh`, or the newest from `before` a ref.

        `before`: the newest snapshot made before any node of the task had that version in use. `now`: connected nodes
        are restarted from it. Returns the snapshot that was chosen, None for `fresh`.
        """
        found = self._ask(arguments.use(task, snapshot, before, now))
        return None if found is None else arguments.answer(found, Snapshot)

    def delete_snapshots(
        self, task: str, snapshots: Iterable[AnySnapshot] = (), *, everything: bool = False
    ) -> Dropped:
        """Delete snapshots of a task, or with `everything` all of them."""
        call = DeleteSnapshots(task, tuple(map(str, snapshots)), everything, arguments.request())
        return arguments.answer(self._ask(call), Dropped)

    def plan_restore(
        self, task: str, dag: bytes | str, policy: Policy | str = "strict", snapshot: AnySnapshot = ""
    ) -> Iterator[Given]:
        """What each node of a DAG (JSON, docs/dag.md) would be given if the task started now. Changes nothing."""
        text = dag.encode() if isinstance(dag, str) else dag
        call = PlanRestore(task, text, arguments.policy(policy), str(snapshot))
        return arguments.only(self._items(call), Given)

    # --- what is in use, and by whom ---

    def used(self, name: Tag | str, version: int, id: BlobId | str, *, error: str = "") -> int:
        """Record that a version was taken into use, or why it could not be. Returns the record's revision."""
        call = calls.Used(arguments.tag(name), version, arguments.blob_id(id), error, arguments.request())
        return arguments.answer(self._ask(call), calls.Noted).revision

    def uses(
        self,
        task: str = "",
        tag: Tag | str | None = None,
        at: datetime | int | None = None,
        *,
        everything: bool = False,
    ) -> Iterator[Use]:
        """What was taken into use, newest first: by the nodes of a task, or of a tag.

        The newest record of each node and tag up to `at` (a datetime, or nanoseconds since 1970; None: now), or with
        `everything` all of them.
        """
        return arguments.only(self._items(arguments.uses(task, tag, at, everything)), Use)

    def sessions(self) -> Iterator[calls.Session]:
        """Who is connected."""
        return arguments.only(self._items(calls.Sessions()), calls.Session)

    def await_followers(self, tag: Tag | str, version: int, timeout: float) -> list[calls.Session]:
        """Wait until every connection that follows a tag has `version` or a later one, or failed on it.

        At most `timeout` seconds. Returns those that follow the tag as they are then: whether they have it is in their
        `.following`.
        """
        call = AwaitFollowers(arguments.tag(tag), version, timeout)
        return list(arguments.only(self._items(call), calls.Session))
