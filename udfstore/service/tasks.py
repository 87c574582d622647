"""Tasks and their snapshots: one function a request, each given its caller; those of a stream give batches.

Everything here reads files and blocks: it belongs into a thread. To take a snapshot is the business of whoever hosts
the nodes of the task.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from udfstore import calls, tasks
from udfstore.calls import MOVES, Step
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Gone, NotFound, UsageError
from udfstore.model import Caller
from udfstore.refs import Ref, Tag
from udfstore.service.gate import Gate, judged
from udfstore.service.hosted import Hosted
from udfstore.snapshots import (
    NO_DAG,
    Choice,
    Dag,
    Given,
    NodeSnapshot,
    Snapshot,
    SnapshotRef,
    SnapshotTag,
    TaskRecord,
    auto_tag,
    identity_of_name,
    made_before,
    named_tag,
    plan,
    record_tag,
    task_prefix,
)
from udfstore.store import Made, Store

BATCH = 20
"""Tasks or snapshots told at once: as many manifests are read."""

USES = 100
"""Records of use told at once."""


@dataclass(frozen=True, slots=True)
class Live:
    """What only the host of a task's nodes knows of it, as in `tasks.Task`."""

    nodes: tuple[str, ...]
    fingerprint: str
    host: tasks.HostKind
    confirmed_ns: int = 0
    problem: str = ""
    joined: Mapping[str, tasks.Joined] = field(default_factory=dict, hash=False)
    """What each node began with that is in place."""


class Tasks(Hosted):
    """The tasks of one store.

    `live` gives the tasks that have connected nodes, by name. It is called from any thread.
    """

    def __init__(self, store: Store, gate: Gate, clock: Callable[[], int] = time.time_ns) -> None:
        super().__init__(store, clock)
        self.gate = gate
        self.live: Callable[[], Mapping[str, Live]] = dict

    # --- reads ---

    @judged
    def list_tasks(self, caller: Caller, call: tasks.ListTasks, after: str = "") -> Iterator[list[tasks.Task]]:
        """All tasks that have snapshots or connected nodes, by name, behind the one of that name."""
        live = self.live()
        names = sorted(name for name in {*self.shelf.task_names(), *live} if name > after)
        for start in range(0, len(names), BATCH):
            yield [self._task(name, live.get(name)) for name in names[start : start + BATCH]]

    def find_task(self, caller: Caller, task: str) -> tasks.Task:
        """One task. Raises `NotFound`."""
        self.gate.check(caller, tasks.ListSnapshots(task))
        self._check_known(task)
        return self._task(task, self.live().get(task))

    def confirmed(self) -> dict[str, int]:
        """When each task last had a round that ended well, in nanoseconds since 1970; 0: never.

        A task that is not connected was confirmed with its newest automatic snapshot.
        """
        confirmed = self.shelf.newest_ns()
        for task, live in self.live().items():
            confirmed[task] = live.confirmed_ns or confirmed.get(task, 0)
        return confirmed

    @judged
    def list_snapshots(self, caller: Caller, call: tasks.ListSnapshots) -> Iterator[list[tasks.Snapshot]]:
        """The snapshots of a task, newest first. Raises `NotFound` for a task that is not known."""
        snapshots = self.shelf.snapshots(call.task)
        if not snapshots:
            self._check_known(call.task)
        for start in range(0, len(snapshots), BATCH):
            yield [_told(snapshot) for snapshot in snapshots[start : start + BATCH]]

    @judged
    def find_snapshot(self, caller: Caller, call: tasks.FindSnapshot) -> tasks.Snapshot:
        """One snapshot. Raises `NotFound`, `Gone`, `UsageError`."""
        return _told(self.shelf.find(call.task, call.snapshot))

    def find_before(self, caller: Caller, task: str, before: Ref) -> tasks.Snapshot:
        """The snapshot that `UseSnapshot` with that `before` would choose. Raises `NotFound`, `Gone`, `UsageError`."""
        self.gate.check(caller, tasks.ListSnapshots(task))
        before = self.gate.check(caller, calls.Stat(before)).ref
        return _told(self._meant(tasks.UseSnapshot(task, before=before)))

    @judged
    def list_states(self, caller: Caller, call: tasks.ListStates) -> Iterator[list[tasks.NodeState]]:
        """The node states of a snapshot. Raises as `find_snapshot`."""
        nodes = self.shelf.find(call.task, call.snapshot).manifest.nodes
        for start in range(0, len(nodes), BATCH):
            yield [_state(node) for node in nodes[start : start + BATCH]]

    @judged
    def plan_restore(self, caller: Caller, call: tasks.PlanRestore) -> Iterator[list[tasks.Given]]:
        """What each node of a DAG would get now, then the states that no node gets. Raises as `given`."""
        record = self.shelf.record(call.task)
        snapshots = self.shelf.snapshots(call.task)
        choice = record.use if record else None
        if call.snapshot:
            choice = self._chosen(call.task, call.snapshot)
        dag = Dag.from_json(call.dag) if call.dag else record.dag if record else None
        if dag:
            nodes, fingerprint = [dag.identity(node.name) for node in dag.nodes], dag.fingerprint
        else:
            known = snapshots[0].manifest.nodes if snapshots else ()
            nodes, fingerprint = [identity_of_name(n.name, key=n.key, options=n.options) for n in known], NO_DAG
        aside = record.aside if record else ()
        planned = plan(nodes, fingerprint, snapshots, policy=call.policy, choice=choice, aside=aside)
        items = [_given(given) for given in planned.nodes]
        base = _told(planned.base) if planned.base else None
        why = "no node of this DAG is given it"
        items += [tasks.Given(s.name, s.id, why, _state(s), base, lost=True) for s in planned.lost]
        for start in range(0, len(items), BATCH):
            yield items[start : start + BATCH]

    @judged
    def list_uses(self, caller: Caller, call: tasks.ListUses) -> Iterator[list[tasks.Use]]:
        """What followers took into use, newest first."""
        tag = call.tag.name if call.tag else ""
        revisions = self._store.uses(call.task, tag, call.at_ns, call.everything)
        for start in range(0, len(revisions), USES):
            yield self._store.used(revisions[start : start + USES])

    # --- changes ---

    @judged
    def name_snapshot(self, caller: Caller, call: tasks.NameSnapshot) -> tasks.Snapshot:
        """Give a snapshot a name. Raises `Conflict` when another one has it."""
        tag = named_tag(call.task, call.name)
        made = self._store.made(call.request)
        if made is None:
            snapshot = self.shelf.find(call.task, call.snapshot)
            if call.name not in snapshot.names:
                self._check_free(call.task, call.name)
                step = Step(tag, Ref.of(snapshot.id), 0, {}, snapshot.manifest.links)
                self.shelf.move([step], note=call.note, author=caller.author, request=call.request)
        elif [entry.tag for entry in made.entries] != [tag.name]:
            raise Conflict("this request number was used for another change")
        return _told(self.shelf.find(call.task, call.name))

    @judged
    def use_snapshot(self, caller: Caller, call: tasks.UseSnapshot) -> tasks.Snapshot | None:
        """Choose what a task is given at its next start; None: nothing. Restarting its nodes is left to their host."""
        if call.before is not None and call.snapshot:
            raise UsageError("either a snapshot is chosen, or the newest before something was in use")
        made = self._store.made(call.request)
        if made is not None:
            if [entry.tag for entry in made.entries] != [record_tag(call.task).name]:
                raise Conflict("this request number was used for another change")
            links = made.entries[0].links
            return _told(self.shelf.find(call.task, links[0].hex)) if links else None
        snapshot = None if call.snapshot == tasks.FRESH else self._meant(call)
        if snapshot is None:
            self._check_known(call.task)
        states = {node.blob for node in snapshot.manifest.nodes} if snapshot else set()

        def choose(record: TaskRecord) -> TaskRecord:
            aside = tuple(aside for aside in record.aside if aside.blob not in states)
            return replace(record, use=Choice(snapshot.id if snapshot else None), aside=aside)

        self.shelf.amend(call.task, choose, author=caller.author, request=call.request)
        return _told(snapshot) if snapshot else None

    @judged
    def delete_snapshots(self, caller: Caller, call: tasks.DeleteSnapshots) -> tasks.Dropped:
        """Delete snapshots. A number that has names too, and the chosen one, are a `Conflict`."""
        made = self._store.made(call.request)
        if made is not None:
            return self._remembered(call.task, made)
        if call.everything:
            self._check_known(call.task)
            self._check_idle(call.task)
            if self.shelf.record(call.task):
                self.shelf.amend(call.task, lambda record: replace(record, use=None))
            doomed = {s: _Doom(set(s.names), number=True) for s in self.shelf.snapshots(call.task)}
        else:
            doomed = self._doomed(call)
        names = [named_tag(call.task, name) for doom in doomed.values() for name in sorted(doom.names)]
        numbers = [(auto_tag(call.task), s.number) for s, doom in doomed.items() if doom.number and s.number]
        self._drop(names, numbers, caller, call.request)
        return tasks.Dropped(tuple(map(_told, doomed)))

    @judged
    def delete_task(self, caller: Caller, call: tasks.DeleteTask) -> tasks.Dropped:
        """Delete a task's automatic snapshots and what is known of it, or everything."""
        made = self._store.made(call.request)
        if made is not None:
            return self._remembered(call.task, made)
        self._check_idle(call.task)
        self._check_known(call.task)
        snapshots = [s for s in self.shelf.snapshots(call.task) if call.everything or not s.names]
        names = [named_tag(call.task, name) for s in snapshots for name in s.names]
        self._drop([*names, auto_tag(call.task), record_tag(call.task)], [], caller, call.request)
        return tasks.Dropped(tuple(map(_told, snapshots)))

    def _doomed(self, call: tasks.DeleteSnapshots) -> dict[Snapshot, _Doom]:
        """What is to be deleted of which snapshots. Raises `Conflict` for one that would stay all the same."""
        if not 1 <= len(call.snapshots) <= MOVES:
            raise UsageError(
                "a number of snapshots that one call cannot delete", expected=f"1 to {MOVES}", got=len(call.snapshots)
            )
        doomed: dict[Snapshot, _Doom] = {}
        for text in call.snapshots:
            snapshot = self.shelf.find(call.task, text)
            doom = doomed.setdefault(snapshot, _Doom())
            ref = SnapshotRef.parse(text) if text else None
            if ref and ref.name in snapshot.names:
                doom.names.add(ref.name)
            else:
                doom.number = True
                by_number = ref is not None and bool(ref.number) and ref.number == snapshot.number
                doom.names |= set() if ref is None or by_number else set(snapshot.names)
        record, newest = self.shelf.record(call.task), self.shelf.find(call.task, "")
        for snapshot, doom in doomed.items():
            rest = sorted(set(snapshot.names) - doom.names)
            if doom.number and rest:
                raise Conflict(f"{snapshot} of the task {call.task!r} has a name, delete that too: {', '.join(rest)}")
            going = not rest and (doom.number or not snapshot.number)
            if going and record and snapshot.id in record.links:
                raise Conflict(f"{snapshot} is chosen for the next start of {call.task!r}: choose another one first")
            if going and snapshot.id == newest.id:
                self._check_idle(call.task)  # its rounds only store what is not in the newest snapshot
        return doomed

    def _drop(self, names: list[Tag], numbers: list[tuple[Tag, int]], caller: Caller, request: bytes) -> None:
        # The request belongs to the last step, so that one that was broken off before is taken up again.
        while len(names) > MOVES:
            self._store.drop(names[:MOVES], (), os.urandom(16), caller.author).result()
            names = names[MOVES:]
        self._store.drop(names, numbers, request, caller.author).result()

    def _remembered(self, task: str, made: Made) -> tasks.Dropped:
        """What a deletion that was made before deleted, as far as that is known still."""
        if not all(entry.id is None and task_prefix(task).matches(entry.tag) for entry in made.entries):
            raise Conflict("this request number was used for another change")
        names = []
        for entry in made.entries:
            with suppress(Gone):  # the log has shed it
                names.append(self._store.entry(Ref.parse(f"{entry.tag}@{entry.version - 1}")).id)
        found = []
        for id in dict.fromkeys((*made.blobs, *filter(None, names))):
            ours = [e for e in self._store.naming(id) if task_prefix(task).matches(e.tag) and e.links]
            if not ours or ours[0].tag == record_tag(task).name:
                continue
            number = next((e.version for e in ours if e.tag == auto_tag(task).name), 0)
            under = tuple(SnapshotTag.parse(e.tag).name or "" for e in ours if e.tag != auto_tag(task).name)
            manifest = self.shelf.manifest(id)
            if manifest is not None:
                found.append(_told(Snapshot(id, manifest, number, under)))
            else:
                time_ns, nodes = ours[-1].time_ns, len(ours[-1].links)
                reason = tasks.Reason.INTERVAL
                found.append(tasks.Snapshot(id, task, number, under, time_ns, reason, "", nodes, 0))
        return tasks.Dropped(tuple(found))

    # --- parts of the above ---

    def _task(self, name: str, live: Live | None) -> tasks.Task:
        record, snapshots = self.shelf.record(name), self.shelf.snapshots(name)
        newest = _told(snapshots[0]) if snapshots else None
        confirmed_ns = live.confirmed_ns if live else 0
        use = record.use if record else None
        return tasks.Task(
            name=name,
            fingerprint=live.fingerprint if live else record.fingerprint if record else NO_DAG,
            host=live.host if live else (record and record.host) or tasks.HostKind.DIRECT,
            nodes=live.nodes if live else (),
            newest=newest,
            confirmed_ns=confirmed_ns or (newest.time_ns if newest else 0),
            automatic=sum(1 for s in snapshots if s.number),
            named=sum(len(s.names) for s in snapshots),
            chosen=use.snapshot if use else None,
            fresh=use is not None and use.snapshot is None,
            problem=live.problem if live else "",
        )

    def _check_free(self, task: str, name: str) -> None:
        if SnapshotRef.parse(name).short:
            raise UsageError("this cannot name a snapshot: it reads as the beginning of an ID", got=repr(name))
        other = next((s for s in self.shelf.snapshots(task) if name in s.names), None)
        if other is not None:
            raise Conflict(
                f"{other} of the task {task!r} has the name {name!r}: choose another name, or delete that one first"
            )

    def _meant(self, call: tasks.UseSnapshot) -> Snapshot:
        if call.before is None:
            return self.shelf.find(call.task, call.snapshot)
        model = self._model(call.before)
        snapshots = self.shelf.snapshots(call.task)
        try:
            return made_before(snapshots, model, self._store.first_use(call.task, model))
        except NotFound:
            raise NotFound(
                f"no snapshot of the task {call.task!r} is kept from before {call.before} was in use; `fresh` begins "
                "without a state"
            ) from None

    def _model(self, ref: Ref) -> BlobId:
        """The blob that a ref names, though its content may be gone."""
        if ref.tag is None or ref.short:
            return self._store.resolve(ref).id
        id = self._store.entry(ref).id
        if id is None:
            raise UsageError("a deletion was never in use", got=ref.text)
        return id

    def _check_idle(self, task: str) -> None:
        live = self.live().get(task)
        if live is not None:
            got = ", ".join(live.nodes[:8])
            raise Conflict(f"nodes of the task {task!r} build on its newest snapshot; stop them first", got=got)

    def _check_known(self, task: str) -> None:
        if task not in self.live() and not self.shelf.knows(task):
            raise NotFound(f"there is no task {task!r}")


@dataclass(slots=True)
class _Doom:
    """What is deleted of a snapshot: names of it, and its number."""

    names: set[str] = field(default_factory=set)
    number: bool = False


def _told(snapshot: Snapshot) -> tasks.Snapshot:
    manifest = snapshot.manifest
    return tasks.Snapshot(
        id=snapshot.id,
        task=manifest.task,
        number=snapshot.number,
        names=snapshot.names,
        time_ns=manifest.time_ns,
        reason=manifest.reason,
        fingerprint=manifest.fingerprint,
        nodes=len(manifest.nodes),
        bytes=sum(node.size for node in manifest.nodes),
    )


def _state(node: NodeSnapshot) -> tasks.NodeState:
    return tasks.NodeState(
        id=node.id,
        name=node.name,
        blob=node.blob,
        size=node.size,
        key=node.key,
        options=node.options,
        restored=node.restored,
        carried=node.carried,
        models=node.models,
    )


def _given(given: Given) -> tasks.Given:
    state = _state(given.state) if given.state else None
    snapshot = _told(given.snapshot) if given.snapshot else None
    return tasks.Given(given.node.name, given.node.id, given.why.value, state, snapshot)
