"""Commands about the snapshots of a task: snapshot ls, show, save, name, use, get, rm, plan."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from udfstore.cli.complete import chosen, nodes, refs, snapshots
from udfstore.cli.files import read_dag, to_path, to_stdout
from udfstore.cli.output import put, put_array, put_lines, tell
from udfstore.cli.show import columns
from udfstore.cli.show_tasks import given_row, number, snapshot_facts, snapshot_row, state_row
from udfstore.cli.stores import opened
from udfstore.cli.words import Json, Note, Root, SnapshotWord, Socket, TaskWord
from udfstore.errors import Conflict, NotFound, UsageError
from udfstore.plain import mapping

if TYPE_CHECKING:
    from udfstore.tasks import Snapshot

Of = Annotated[
    str,
    typer.Option(
        "--snapshot",
        metavar="SNAPSHOT",
        help="Of this one, not the newest.",
        autocompletion=snapshots,
        show_default=False,
    ),
]


def _rows(snapshots: Iterable[Snapshot]) -> Iterable[str]:
    now = time.time_ns()
    return columns(snapshot_row(snapshot, now) for snapshot in snapshots)


def snapshot_ls(task: TaskWord, json: Json = False, root: Root = None, socket: Socket = None) -> None:
    """List the snapshots of a task, newest first."""
    with opened(root, socket) as store:
        put_array(store.snapshots(task)) if json else put_lines(_rows(store.snapshots(task)))


def snapshot_show(
    task: TaskWord, snapshot: SnapshotWord = "", json: Json = False, root: Root = None, socket: Socket = None
) -> None:
    """Show a snapshot (the newest, if none is named) and the state of each node in it."""
    with opened(root, socket) as store:
        found = store.snapshot(task, snapshot)
        states = list(store.states(task, found.id))
    if json:
        put({**mapping(found), "states": states})
    else:
        put_lines(snapshot_facts(found, time.time_ns()))
        put_lines(columns(map(state_row, states)))


def snapshot_save(
    task: TaskWord,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Keep it for good, under this name.")] = "",
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Take a snapshot of all connected nodes of a task now."""
    with opened(root, socket) as store:
        taken = store.save_snapshot(task, name)
    if not taken.good:
        newest = f"; the newest good one is {number(taken.snapshot)}" if taken.snapshot else ""
        raise Conflict(f"no snapshot was taken: {taken.why}{newest}")
    put(taken.snapshot) if json else put_lines(_rows([taken.snapshot] if taken.snapshot else []))


def snapshot_name(
    task: TaskWord,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name from now on.", show_default=False)],
    snapshot: SnapshotWord = "",
    note: Note = "",
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Give a snapshot (the newest, if none is named) a name, so that it is kept for good."""
    with opened(root, socket) as store:
        found = store.name_snapshot(task, name, snapshot, note=note)
    put(found) if json else put_lines(_rows([found]))


def snapshot_use(
    task: TaskWord,
    snapshot: Annotated[
        str,
        typer.Argument(
            metavar="SNAPSHOT|fresh",
            help="Its number, name, ID or eight or more of its digits; fresh: none.",
            autocompletion=chosen,
            show_default=False,
        ),
    ] = "",
    before: Annotated[
        str | None,
        typer.Option(
            "--before", metavar="REF", help="The newest made before any node had this in use.", autocompletion=refs
        ),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Restart the connected nodes from it.")] = False,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Choose what a task is given at its next start, whoever starts it."""
    with opened(root, socket) as store:
        connected = now and any(one.nodes for one in store.tasks() if one.name == task)
        found = store.use_snapshot(task, snapshot, before=before, now=now)
    if json:
        put(found)
    elif found is not None:
        put_lines(_rows([found]))
    what = "begins fresh" if found is None else f"is given snapshot {number(found)}"
    restarted = "its connected nodes are restarted now" if connected else "no node of it is connected now"
    tell(f"{task} {what} at its next start" + (f"; {restarted}" if now else ""))


def snapshot_get(
    task: TaskWord,
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="A node of it, by name.", autocompletion=nodes, show_default=False)
    ],
    out: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write there: whole and checked, or not at all."),
    ] = None,
    snapshot: Of = "",
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Write the state of one node, as it gave it, to stdout or to a file."""
    to_file = out is not None and out != "-"
    if json and not to_file:
        raise UsageError("--json describes what -o FILE was given; without it stdout holds the state")
    with opened(root, socket) as store:
        states = list(store.states(task, snapshot))
        found = next((state for state in states if state.name == node), None)
        if found is None:
            held = ", ".join(state.name for state in states) or "none"
            raise NotFound(f"the snapshot holds no state of a node {node}", expected=held)
        ref = str(found.blob)
        to_path(store, ref, Path(out or "")) if to_file else to_stdout(store, ref)
    if json:
        put(found)


def snapshot_rm(
    task: TaskWord,
    snapshot: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SNAPSHOT...",
            help="Numbers, names, IDs or eight or more of their digits.",
            autocompletion=snapshots,
            show_default=False,
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them, also the named ones.")] = False,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Delete snapshots of a task, and list them."""
    if bool(snapshot) == everything:
        raise UsageError("name the snapshots to delete, or say --all")
    with opened(root, socket) as store:
        dropped = store.delete_snapshots(task, snapshot or (), everything=everything)
    put(dropped) if json else put_lines(_rows(dropped.snapshots))


def snapshot_plan(
    task: TaskWord,
    dag: Annotated[
        Path,
        typer.Option("--dag", metavar="FILE", help="The task's DAG: JSON, or Kapacitor's dot.", show_default=False),
    ],
    policy: Annotated[
        str, typer.Option("--policy", metavar="strict|upstream|key", help="What a change leaves.")
    ] = "strict",
    snapshot: Of = "",
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Show what each node would be given if the task started with that DAG now. Changes nothing."""
    from udfstore.snapshots import Why

    text = read_dag(dag)
    with opened(root, socket) as store:
        found = list(store.plan_restore(task, text, policy, snapshot))
    put_array(found) if json else put_lines(columns(map(given_row, found)))
    if any(given.why == Why.NO_SNAPSHOT.value for given in found):
        tell(f"no snapshot of the task {task!r} is kept")
