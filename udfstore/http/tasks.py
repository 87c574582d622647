"""Tasks and their snapshots over HTTP."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from udfstore import tasks
from udfstore.http.asking import (
    MOST,
    PAGE,
    Asked,
    Asker,
    Cursor,
    Limit,
    RequestNumber,
    answered,
    name_in,
    page,
    place_in,
    problems,
    some,
    told,
)
from udfstore.http.problems import of_the_body
from udfstore.http.schemas import NamedBody, PlanBody, SnapshotBody, UseBody, answer
from udfstore.http.words import NAME, NEW_NAME, SNAPSHOT
from udfstore.refs import Ref
from udfstore.tasks import Policy


class _Name(Convertor[str]):
    """A segment of a path without a colon: what stands behind one is a verb."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", _Name())
router = APIRouter(prefix="/v1", tags=["tasks"], responses=problems())

Segment = Annotated[
    str,
    Path(
        description="A name; bytes outside `[A-Za-z0-9._-]`, and a first `.` or `-`, written ~xx.",
        json_schema_extra=NAME,
    ),
]
NewName = Annotated[
    str, Path(description="A name, escaped; not a number, nor what reads as an ID.", json_schema_extra=NEW_NAME)
]
Chosen = Annotated[
    str,
    Path(description="A number, a name (escaped), an ID or eight or more of its digits.", json_schema_extra=SNAPSHOT),
]
Everything = Annotated[bool, Query(description="The named snapshots too.")]


@router.get("/tasks", responses={200: told(list[answer(tasks.Task)], "The tasks, by name")})  # type: ignore[misc]
async def all_tasks(
    request: Request, house: Asked, caller: Asker, limit: Limit = PAGE, cursor: Cursor = ""
) -> Response:
    """All tasks that have snapshots or connected nodes, by name."""
    after = place_in(cursor)
    batches = house.service.tasks.list_tasks(caller, tasks.ListTasks(), after)
    found = await some(house, batches, limit)
    return page(request, found, limit, found[-1].name if found else "")


@router.delete("/tasks/{task:name}", responses={200: told(answer(tasks.Dropped), "The snapshots that are deleted")})
async def delete_task(
    task: Segment, house: Asked, caller: Asker, number: RequestNumber, everything: Everything = False
) -> Response:
    """Delete a task's automatic snapshots and what is known of it. 409 while a node of it is connected."""
    return answered(await house.ask(caller, tasks.DeleteTask(name_in(task), everything, number)))


@router.get("/tasks/{task:name}/snapshots", responses={200: told(list[answer(tasks.Snapshot)], "Newest first")})  # type: ignore[misc]
async def snapshots(task: Segment, house: Asked, caller: Asker) -> Response:
    """The snapshots of a task that are kept, newest first."""
    batches = house.service.tasks.list_snapshots(caller, tasks.ListSnapshots(name_in(task)))
    return answered(tuple(await some(house, batches, MOST)))


@router.post("/tasks/{task:name}/snapshots", responses={200: told(answer(tasks.Taken), "What came of it")})
async def take_snapshot(task: Segment, house: Asked, caller: Asker, body: SnapshotBody | None = None) -> Response:
    """Take a snapshot now; answered when its round has ended. `good`: it holds what was asked for, else `why` not."""
    name = body.name if body else ""
    call = tasks.SaveSnapshot(name_in(task), name=name)
    with of_the_body():
        return answered(await house.ask(caller, call))


@router.get(
    "/tasks/{task:name}/snapshots/{snapshot}",
    responses={200: told(list[answer(tasks.NodeState)], "The states of its nodes")},  # type: ignore[misc]
)
async def states(task: Segment, snapshot: Chosen, house: Asked, caller: Asker) -> Response:
    """The states of a snapshot's nodes; each is a blob."""
    call = tasks.ListStates(name_in(task), _chosen(snapshot))
    return answered(tuple(await some(house, house.service.tasks.list_states(caller, call), MOST)))


@router.delete(
    "/tasks/{task:name}/snapshots/{snapshot}",
    responses={200: told(answer(tasks.Dropped), "The snapshots that are deleted")},
)
async def delete_snapshot(
    task: Segment, snapshot: Chosen, house: Asked, caller: Asker, number: RequestNumber
) -> Response:
    """Delete a snapshot by its number, or one name of it."""
    call = tasks.DeleteSnapshots(name_in(task), (_chosen(snapshot),), request=number)
    return answered(await house.ask(caller, call))


@router.put("/tasks/{task:name}/named/{name:name}", responses={200: told(answer(tasks.Snapshot), "The snapshot")})
async def name_snapshot(
    task: Segment, name: NewName, body: NamedBody, house: Asked, caller: Asker, number: RequestNumber
) -> Response:
    """Give a snapshot a name: it is kept until that is deleted. 409 where another one has the name."""
    call = tasks.NameSnapshot(name_in(task), name_in(name), body.snapshot, body.note, number)
    with of_the_body():
        return answered(await house.ask(caller, call))


@router.put(
    "/tasks/{task:name}/use", responses={200: told(answer(tasks.Snapshot) | None, "What the next start is from")}
)
async def use_snapshot(task: Segment, body: UseBody, house: Asked, caller: Asker, number: RequestNumber) -> Response:
    """Choose what the task is given at its next start; null: nothing. `now` restarts the nodes that are connected."""
    before = Ref.parse(body.before) if body.before is not None else None
    call = tasks.UseSnapshot(name_in(task), body.snapshot, before, body.now, number)
    with of_the_body():
        return answered(await house.ask(caller, call))


@router.post("/tasks/{task:name}:plan", responses={200: told(list[answer(tasks.Given)], "For each node")})  # type: ignore[misc]
async def plan(task: Segment, body: PlanBody, house: Asked, caller: Asker) -> Response:
    """What each node of a DAG would be given now. Changes nothing."""
    dag = b"" if body.dag is None else json.dumps(body.dag).encode(errors="replace")
    call = tasks.PlanRestore(name_in(task), dag, Policy(body.policy), body.snapshot)
    with of_the_body():
        return answered(tuple(await some(house, house.service.tasks.plan_restore(caller, call), MOST)))


def _chosen(segment: str) -> str:
    """A snapshot from a path: its name may be escaped, a number or an ID stands as it is."""
    return segment if segment.startswith("sha256:") else name_in(segment)
