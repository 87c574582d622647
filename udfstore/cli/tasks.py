"""Commands about tasks and who is connected: tasks, task rm, sessions, used."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from udfstore.cli.complete import tasks_and_tags
from udfstore.cli.output import put, put_array, put_lines
from udfstore.cli.show import columns
from udfstore.cli.show_tasks import session_row, snapshot_row, task_row, use_row
from udfstore.cli.stores import opened
from udfstore.cli.words import Json, Root, Socket, TaskWord, moment
from udfstore.errors import Denied, NotFound, UsageError
from udfstore.refs import Tag

if TYPE_CHECKING:
    from udfstore.client.base import BaseStore
    from udfstore.tasks import Use


def tasks(json: Json = False, root: Root = None, socket: Socket = None) -> None:
    """List tasks: who runs them, the nodes that are connected, and how old the newest snapshot is."""
    now = time.time_ns()
    with opened(root, socket) as store:
        put_array(store.tasks()) if json else put_lines(columns(task_row(task, now) for task in store.tasks()))


def task_rm(
    task: TaskWord,
    everything: Annotated[bool, typer.Option("--all", help="Its named snapshots, too.")] = False,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Delete a task's automatic snapshots and what is known of it; list what is deleted."""
    with opened(root, socket) as store:
        dropped = store.delete_task(task, everything=everything)
    now = time.time_ns()
    put(dropped) if json else put_lines(columns(snapshot_row(snapshot, now) for snapshot in dropped.snapshots))


def sessions(json: Json = False, root: Root = None, socket: Socket = None) -> None:
    """List who is connected, for which node, and what each has in use."""
    now = time.time_ns()
    with opened(root, socket) as store:
        found = store.sessions()
        put_array(found) if json else put_lines(columns(session_row(session, now) for session in found))


def used(
    name: Annotated[
        str,
        typer.Argument(metavar="TASK|TAG", help="A task or a tag.", autocompletion=tasks_and_tags, show_default=False),
    ],
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="As it was then: 2026-11-22T18:00 (local), or with a zone."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All records, not the newest of each node and tag.")
    ] = False,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Show what was in use: which version of which tag, at which node, since when; newest first."""
    then, now = None if at is None else _time(at), time.time_ns()
    with opened(root, socket) as store:
        found = _uses(store, name, then, everything)
        first = next(found, None)
        if first is None:
            raise NotFound(f"nothing was taken into use by a task or from a tag {name}" + (" by then" if at else ""))
        found = chain([first], found)
        put_array(found) if json else put_lines(columns(use_row(use, now) for use in found))


def _uses(store: BaseStore, name: str, at: datetime | None, everything: bool) -> Iterator[Use]:
    """Of the task and of the tag of that name, each record once. Who may read one of the two is told of that one."""
    refused: list[Denied] = []
    lists = [_allowed(store.uses(name, at=at, everything=everything), refused)]
    with suppress(UsageError):  # no tag can have that name
        lists.append(_allowed(store.uses(tag=Tag.parse(name), at=at, everything=everything), refused))
    told = 0
    for use in heapq.merge(*lists, key=lambda use: -use.revision):
        if use.revision != told:
            yield use
        told = use.revision
    if refused and not told:
        raise refused[-1]


def _allowed(uses: Iterator[Use], refused: list[Denied]) -> Iterator[Use]:
    try:
        yield from uses
    except NotFound:
        pass
    except Denied as error:
        refused.append(error)


def _time(text: str) -> datetime:
    read = moment(text)
    return read if read.microsecond else read.replace(microsecond=999_999)  # a time to the second: all of it
