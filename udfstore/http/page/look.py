"""What the pages of tasks show, read from the service. All of it reads files and belongs into a thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from markupsafe import Markup

from udfstore import tasks
from udfstore.digest import BlobId
from udfstore.errors import NotFound, UdfstoreError
from udfstore.http.page import dag as pictures
from udfstore.http.page import timeline
from udfstore.http.page.render import size
from udfstore.model import Caller
from udfstore.refs import Ref, Tag
from udfstore.service import Service
from udfstore.service.tasks import Live
from udfstore.snapshots import NO_DAG, Dag, Node, NodeSnapshot, Snapshot, TaskRecord

PAGE = 100
"""Tasks, nodes and models of one page."""

SNAPSHOTS = 40
"""Of one page of a timeline."""

RECORDS = 1000
"""Records of use that are looked through."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node with state, or connected."""

    name: str
    connected: bool
    joined: tasks.Joined | None
    """What it began with, if it is in place."""
    state: NodeSnapshot | None
    """In the newest snapshot."""
    began: Snapshot | None
    """The snapshot that its state is from, if that is kept."""
    aside: bool
    given: tasks.Given | None
    """What it would get at the next start."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model that a node had in use at a time; version 0: none yet."""

    node: str
    tag: str
    version: int
    id: BlobId
    since_ns: int
    failed: tasks.Use | None = None
    """A newer version that it could not take into use."""
    newest: int = 0
    """The version that the tag has now; 0: none."""
    snapshot: Snapshot | None = None
    """The snapshot that tells of it, where no record of use does."""


@dataclass(frozen=True, slots=True)
class AsideRow:
    """A state that a node could not be restored from."""

    node: str
    blob: BlobId
    snapshots: tuple[Snapshot, ...]


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a task at a time; `at_ns` None: now."""

    rows: list[ModelRow]
    at_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """All that the page of a task shows."""

    task: tasks.Task
    picture: Markup | None
    listed: list[tuple[Node, pictures.Mark]]
    has_dag: bool
    nodes: list[NodeRow]
    more_nodes: int
    asides: list[AsideRow]
    chosen: Snapshot | None
    next_problem: str
    moments: list[timeline.Moment]
    snapshots: int
    skip: int
    known: Mapping[BlobId, Snapshot]
    models: Models
    refs: list[str]
    """Versions of models that it used, the newest first: to start from before one of them."""


def label(snapshot: Snapshot | tasks.Snapshot | None) -> str:
    """What people call a snapshot by."""
    if snapshot is None:
        return ""
    return f"snapshot {snapshot.number or next(iter(snapshot.names), snapshot.id.short)}"


def look_at(service: Service, caller: Caller, name: str, skip: int, at_ns: int | None) -> Look:
    """What is known of a task. Raises `NotFound`."""
    shelf = service.tasks.shelf
    record, snapshots = shelf.record(name), shelf.snapshots(name)
    live = service.tasks.live().get(name)
    known = {snapshot.id: snapshot for snapshot in snapshots}
    uses = first(service.tasks.list_uses(caller, tasks.ListUses(name, everything=True)), RECORDS)
    task = _task(service, caller, name, uses)
    given, problem = _next(service, caller, name)
    rows = _nodes(record, snapshots, live, given)
    dag = record.dag if record and record.dag else _without_dag(rows)
    marks = {row.name: _mark(row, known) for row in rows}
    drawn = pictures.lay_out(dag) if dag else None
    words = f"The nodes of the task {name}, as listed below" if dag else ""
    skip = min(skip, max(0, len(snapshots) - 1))
    return Look(
        task=task,
        picture=pictures.svg(drawn, marks, words) if drawn else None,
        listed=[(node, marks.get(node.name, pictures.Mark())) for node in pictures.in_order(dag)] if dag else [],
        has_dag=bool(record and record.dag),
        nodes=rows[:PAGE],
        more_nodes=max(0, len(rows) - PAGE),
        asides=_asides(record, snapshots),
        chosen=known.get(task.chosen) if task.chosen else None,
        next_problem=problem,
        moments=timeline.told(snapshots, uses, skip, SNAPSHOTS),
        snapshots=len(snapshots),
        skip=skip,
        known=known,
        models=_models(service, caller, name, snapshots, uses, at_ns),
        refs=list(dict.fromkeys(f"{use.tag}@{use.version}" for use in uses if not use.error))[:PAGE],
    )


def _task(service: Service, caller: Caller, name: str, uses: list[tasks.Use]) -> tasks.Task:
    """The task of that name; one without nodes and snapshots where followers alone speak of it."""
    try:
        return service.tasks.find_task(caller, name)
    except NotFound:
        if not uses:
            raise
        return tasks.Task(name, NO_DAG, tasks.HostKind.DIRECT)


def _nodes(
    record: TaskRecord | None, snapshots: list[Snapshot], live: Live | None, given: Mapping[str, tasks.Given]
) -> list[NodeRow]:
    """Those that are connected, and those with state in the newest snapshot."""
    known = {snapshot.id: snapshot for snapshot in snapshots}
    states = {node.name: node for node in (snapshots[0].manifest.nodes if snapshots else ())}
    connected = live.nodes if live else ()
    aside = {entry.blob for entry in record.aside} if record else set()
    rows = []
    for name in sorted({*states, *connected}):
        state, joined = states.get(name), live.joined.get(name) if live else None
        began = joined.manifest if joined else state.restored if state else None
        lost = bool(state and state.blob in aside)
        row = NodeRow(
            name, name in connected, joined, state, known.get(began) if began else None, lost, given.get(name)
        )
        rows.append(row)
    return rows


def _next(service: Service, caller: Caller, task: str) -> tuple[dict[str, tasks.Given], str]:
    """What each node would get now under the strictest policy, or why that cannot be said."""
    try:
        planned = first(service.tasks.plan_restore(caller, tasks.PlanRestore(task, b"")), RECORDS)
    except UdfstoreError as error:
        return {}, str(error)
    return {given.node: given for given in planned if not given.lost}, ""


def _without_dag(rows: list[NodeRow]) -> Dag | None:
    return Dag(tuple(Node(row.name, row.name) for row in rows)) if rows else None


def _mark(row: NodeRow, known: Mapping[BlobId, Snapshot]) -> pictures.Mark:
    """A node of the picture."""
    said = ["connected" if row.connected else "not connected"]
    if row.state:
        said.append(f"keeps state, {size(row.state.size)} in {label(next(iter(known.values())))}")
        said += [f"with {model.tag}@{model.version}" for model in row.state.models[:3]]
    if row.aside:
        said.append("could not be restored from that state")
    return pictures.Mark(True, row.connected, row.aside, ", ".join(said))


def _asides(record: TaskRecord | None, snapshots: list[Snapshot]) -> list[AsideRow]:
    """States that were set aside, the newest first, as far as a snapshot still has them."""
    asides = tuple(reversed(record.aside)) if record else ()
    holders: dict[tuple[str, BlobId], list[tuple[Snapshot, str]]] = {(aside.node, aside.blob): [] for aside in asides}
    for snapshot in snapshots if asides else ():
        for node in snapshot.manifest.nodes:
            if (node.id, node.blob) in holders:
                holders[node.id, node.blob].append((snapshot, node.name))
    return [
        AsideRow(held[0][1], blob, tuple(snapshot for snapshot, _ in held[:5]))
        for (_, blob), held in islice(holders.items(), RECORDS)
        if held
    ][:PAGE]


def _models(
    service: Service,
    caller: Caller,
    task: str,
    snapshots: list[Snapshot],
    uses: list[tasks.Use],
    at_ns: int | None,
) -> Models:
    """Which models the nodes had in use at a time: by their records, and by a snapshot for those that made none."""
    newest = first(service.tasks.list_uses(caller, tasks.ListUses(task, at_ns=at_ns)), PAGE)
    worked: dict[tuple[str, str], tasks.Use] = {}
    for use in uses:
        if not use.error and (at_ns is None or use.time_ns <= at_ns):
            worked.setdefault((use.place.node, use.tag), use)
    rows: dict[tuple[str, str], ModelRow] = {}
    for last in newest:
        key = last.place.node, last.tag
        had, failed = (worked.get(key), last) if last.error else (last, None)
        version, id, since_ns = (had.version, had.id, had.time_ns) if had else (0, last.id, 0)
        rows[key] = ModelRow(last.place.node, last.tag, version, id, since_ns, failed)
    told = next((s for s in snapshots if at_ns is None or s.manifest.time_ns <= at_ns), None)
    for node in told.manifest.nodes if told else ():
        for model in node.models[: max(0, PAGE - len(rows))]:
            row = ModelRow(node.name, model.tag, model.version, model.blob, 0, snapshot=told)
            rows.setdefault((node.name, model.tag), row)
    current = {tag: newest_version(service, tag) for tag in {row.tag for row in islice(rows.values(), PAGE)}}
    shown = sorted(islice(rows.values(), PAGE), key=lambda row: (row.node, row.tag))
    return Models([replace(row, newest=current[row.tag]) for row in shown], at_ns)


def newest_version(service: Service, tag: str) -> int:
    """Of a tag; 0: it names nothing now."""
    try:
        return service.store.entry(Ref.of(Tag(tag))).version
    except UdfstoreError:
        return 0


def chosen_labels(service: Service, found: list[tasks.Task]) -> dict[str, str]:
    """What the chosen snapshots of these tasks are called."""
    labels = {}
    for task in found:
        if task.chosen is not None:
            try:
                labels[task.name] = label(service.tasks.shelf.find(task.name, str(task.chosen)))
            except UdfstoreError:
                labels[task.name] = f"snapshot {task.chosen.short}, which is not kept any more"
    return labels


def first(batches: Iterator[list[_Item]], count: int) -> list[_Item]:
    """The first of what the service gives in batches."""
    found: list[_Item] = []
    for batch in batches:
        found += batch
        if len(found) >= count:
            break
    return found[:count]
