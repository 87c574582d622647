"""What whoever hosts the nodes of tasks needs of the store: who a node is, what it is given, and what it leaves.

Everything here reads or writes files and blocks: it belongs into a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from udfstore import tasks
from udfstore.digest import BlobId
from udfstore.errors import Conflict, NotFound, UsageError
from udfstore.service.shelf import Shelf
from udfstore.snapshots import (
    NO_DAG,
    Aside,
    Choice,
    Commit,
    Dag,
    Fingerprint,
    Given,
    Identity,
    NodeId,
    NodeSnapshot,
    Snapshot,
    TaskRecord,
    Why,
    auto_tag,
    carried,
    check_name,
    encode,
    identity_of_name,
    plan,
)
from udfstore.store import Store


@dataclass(frozen=True, slots=True)
class Kept:
    """What the rounds of a task begin with: its newest snapshot, the states that nodes may still ask for, and the
    task's choice that this follows, if there was one."""

    newest: Snapshot | None
    states: tuple[NodeSnapshot, ...]
    choice: Choice | None = None


class Hosted:
    """The nodes of the tasks of one store. `clock` gives nanoseconds since 1970."""

    def __init__(self, store: Store, clock: Callable[[], int] = time.time_ns) -> None:
        self.shelf = Shelf(store)
        self._store = store
        self._clock = clock

    def identify(self, node: tasks.Node) -> tuple[Identity, Fingerprint, frozenset[NodeId]]:
        """Who a node is, the fingerprint of its DAG, and the IDs of all nodes of that.

        Raises `UsageError` for a DAG or a name that is none, `NotFound` for a fingerprint that is not known, `Conflict`
        for a task that another kind of host drove, where `run` would overwrite its state unasked.
        """
        check_name(node.task, "a task name")
        for text, what in ((node.key, "the key"), (node.options, "the options digest")):
            if text:
                check_name(text, f"{what} of the node {node.name!r}")
        record = self.shelf.record(node.task)
        asked = node.take_over or node.no_save or node.source
        if node.host is tasks.HostKind.RUN and record and record.host not in (None, node.host) and not asked:
            raise Conflict(
                f"the task {node.task!r} belongs to another kind of host; take it over, fork it, or save nothing",
                expected=record.host.value if record.host else "",
                got=node.host.value,
            )
        dag = self._dag(node, record)
        if dag is None:
            who = identity_of_name(node.name, key=node.key, options=node.options)
            return who, NO_DAG, frozenset((who.id,))
        who = dag.identity(node.name, key=node.key, options=node.options)
        return who, dag.fingerprint, frozenset(dag.ids.values())

    def given(self, node: tasks.Node, begun: Kept | None = None) -> Given:
        """What a node that starts is given: `state` of `snapshot`, or nothing; and `why`.

        `begun` is what the rounds began with that it comes to: a choice made since is for another start than theirs.

        Raises `Conflict` for a snapshot of another DAG that was asked for and the policy does not allow, `NotFound` or
        `Gone` for one that is not there or has no state of this node. What it gives is not removed for some minutes.
        """
        who, fingerprint, _ = self.identify(node)
        record = self.shelf.record(node.task)
        if record and begun:
            record = replace(record, use=begun.choice)
        snapshots, choice, ours = self._base(node, record)
        aside = record.aside if record else ()
        given = plan([who], fingerprint, snapshots, policy=node.policy, choice=choice, aside=aside).nodes[0]
        if not ours and choice and choice.snapshot and given.why is Why.NO_STATE:
            _refuse_without_state(node, next(s for s in snapshots if s.id == choice.snapshot))
        if given.state and given.snapshot:
            for id in (given.snapshot.id, given.state.blob):
                self._store.want(id)
        return given

    def kept(self, node: tasks.Node, fingerprint: Fingerprint, ids: frozenset[NodeId]) -> Kept:
        """What the rounds of a task begin with when that node is its first to connect. Raises as `given`."""
        snapshots, choice, ours = self._base(node, self.shelf.record(node.task))
        base: Snapshot | None = next(iter(snapshots), None)
        if choice is not None:
            base = next((s for s in snapshots if s.id == choice.snapshot), None)
        states = carried(ids, fingerprint, base.manifest if base else None, node.policy)
        for state in states:  # until the first round keeps them: what they are from may be let go before
            self._store.want(state.blob)
        return Kept(next(iter(self.shelf.snapshots(node.task)), None), states, choice if ours else None)

    def commit(self, commit: Commit, choice: Choice | None = None) -> BlobId:
        """Store the manifest of a round, move the task's tag to it, and let go of what is no longer kept.

        `choice` is what the start followed that led here: it is spent in the same record, and the newest one counts.
        """
        manifest = commit.manifest(self._clock())
        data = encode(manifest)
        step = self.shelf.step(auto_tag(commit.task), data, manifest.links)
        self.shelf.amend(
            commit.task,
            lambda record: replace(record, use=None) if choice and record.use == choice else record,
            beside=[step],
        )
        assert step.ref.id is not None
        self.shelf.remember(step.ref.id, manifest, len(data))
        return step.ref.id

    def set_aside(self, task: str, aside: Aside) -> None:
        """Remember that a node could not be restored from a state."""
        self.shelf.amend(task, lambda record: record.with_aside(aside))

    def began(self, node: tasks.Node) -> None:
        """A node that owns its place is connected: remember its DAG, and who drives the task."""
        dag = self._dag(node, self.shelf.record(node.task))
        self.shelf.amend(node.task, lambda record: replace(record, host=node.host, dag=dag))

    def _base(self, node: tasks.Node, record: TaskRecord | None) -> tuple[list[Snapshot], Choice | None, bool]:
        """The snapshots that a node may be given of, newest first; the choice among them; and if it is the task's."""
        source = node.source or node.task
        snapshots = self.shelf.snapshots(source)
        if node.source and not snapshots:
            raise NotFound(f"the task {source!r} has no snapshot to begin from")
        if node.snapshot:
            return snapshots, self._chosen(source, node.snapshot), False
        # A node that goes on from its own state has started before the choice was made.
        if record and record.use and not node.source and not node.resumed:
            return snapshots, record.use, True
        return [s for s in snapshots if s.manifest.time_ns >= node.not_before_ns], None, False

    def _chosen(self, task: str, text: str) -> Choice:
        return Choice(None if text == tasks.FRESH else self.shelf.find(task, text).id)

    def _dag(self, node: tasks.Node, record: TaskRecord | None) -> Dag | None:
        if node.dag:
            dag = Dag.from_json(node.dag)
            if node.fingerprint not in ("", dag.fingerprint):
                raise UsageError(
                    "the fingerprint is not that of the DAG", expected=dag.fingerprint, got=node.fingerprint
                )
            return dag
        if node.fingerprint in ("", NO_DAG):
            return None
        if record is None or record.fingerprint != node.fingerprint:
            raise NotFound(
                f"no DAG of the task {node.task!r} with that fingerprint is known: send the DAG itself",
                expected=record.fingerprint[:8] if record else "",
                got=node.fingerprint[:8],
            )
        return record.dag


def _refuse_without_state(node: tasks.Node, snapshot: Snapshot) -> None:
    """What was asked for by name is never replaced by a fresh start in silence."""
    known = ", ".join(repr(state.name) for state in snapshot.manifest.nodes[:20])
    raise NotFound(f"{snapshot} has no state of the node {node.name!r}", expected=known or "it has none at all")
