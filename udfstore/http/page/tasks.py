"""The tasks: their DAG, what happened to them, which models they use or used, and the state of their next start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from udfstore import tasks
from udfstore.digest import BlobId
from udfstore.errors import UdfstoreError, UsageError
from udfstore.http.asking import Asked, Asker, cursor_to, name_in, nanoseconds, place_in
from udfstore.http.house import House
from udfstore.http.page import timeline
from udfstore.http.page.look import PAGE, chosen_labels, first, label, look_at
from udfstore.http.page.render import link, page, task_url
from udfstore.model import Caller
from udfstore.snapshots import Snapshot

Segment = Annotated[str, Path(max_length=512)]

router = APIRouter()


@router.get("/tasks")
async def all_tasks(
    request: Request,
    house: Asked,
    caller: Asker,
    cursor: Annotated[str, Query(max_length=2048)] = "",
    done: Annotated[str, Query(max_length=20)] = "",
    n: Annotated[int, Query(ge=0, le=2**53)] = 0,
) -> Response:
    """All tasks."""
    batches = house.service.tasks.list_tasks(caller, tasks.ListTasks(), place_in(cursor))
    found = await house.reading(first, batches, PAGE + 1)
    more = link("/tasks", cursor=cursor_to(found[PAGE - 1].name)) if len(found) > PAGE else ""
    labels = await house.reading(chosen_labels, house.service, found[:PAGE])
    return page(
        request, "tasks.html", here="tasks", tasks=found[:PAGE], labels=labels, label=label, more=more, done=done, n=n
    )


@router.get("/tasks/{task}")
async def one_task(
    request: Request,
    task: Segment,
    house: Asked,
    caller: Asker,
    at: Annotated[str, Query(max_length=40)] = "",
    zone: Annotated[str, Query(max_length=6)] = "0",
    skip: Annotated[int, Query(ge=0, le=2**53)] = 0,
    before: Annotated[str, Query(max_length=1024)] = "",
    done: Annotated[str, Query(max_length=20)] = "",
    s: Annotated[str, Query(max_length=80)] = "",
) -> Response:
    """One task. `done` and `s` tell what a form just did: a word of ours, and a manifest's ID."""
    at_ns = time_of(at, zone)
    look = await house.reading(look_at, house.service, caller, name_in(task), skip, at_ns)
    return page(
        request, "task.html", here="tasks", look=look, label=label, before=before, at=at, done=done, problem=None,
        made=next((kept for kept in look.known.values() if str(kept.id) == s), None), fresh=s == tasks.FRESH,
    )  # fmt: skip


@router.get("/tasks/{task}/snapshots/{snapshot}")
async def one_snapshot(
    request: Request,
    task: Segment,
    snapshot: Segment,
    house: Asked,
    caller: Asker,
    done: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """One snapshot: its states."""
    return await show_snapshot(request, house, caller, name_in(task), chosen(snapshot), done=done)


async def show_task(
    request: Request, house: House, caller: Caller, task: str, problem: UdfstoreError, status: int
) -> Response:
    """A task again, with what a form of it could not do."""
    look = await house.reading(look_at, house.service, caller, task, 0, None)
    return page(
        request, "task.html", here="tasks", status=status, look=look, label=label, before="", at="", done="",
        problem=problem, made=None, fresh=False,
    )  # fmt: skip


async def show_snapshot(
    request: Request,
    house: House,
    caller: Caller,
    task: str,
    text: str,
    *,
    done: str = "",
    problem: UdfstoreError | None = None,
    status: int = 200,
) -> Response:
    """A snapshot, with what a form of it did, or could not do."""

    def read() -> tuple[tasks.Task, Snapshot, dict[BlobId, Snapshot], timeline.Changes]:
        service = house.service.tasks
        kept = service.shelf.snapshots(task)
        found = service.shelf.find(task, text)
        at = next(place for place, other in enumerate(kept) if other.id == found.id)
        older = kept[at + 1] if at + 1 < len(kept) else None
        return service.find_task(caller, task), found, {s.id: s for s in kept}, timeline.changes(found, older)

    known_task, found, known, changed = await house.reading(read)
    return page(
        request,
        "snapshot.html",
        here="tasks",
        status=status,
        task=known_task,
        snapshot=found,
        kept=known,
        changed=changed,
        label=label,
        done=done,
        problem=problem,
        newest=next(iter(known)) == found.id,
        states=found.manifest.nodes[:PAGE],
        more=max(0, len(found.manifest.nodes) - PAGE),
    )


def chosen(segment: str) -> str:
    """A snapshot from a path: its name may be escaped, an ID stands as it is."""
    return segment if segment.startswith("sha256:") else name_in(segment)


def snapshot_url(task: str, id: BlobId) -> str:
    """The page of a snapshot, by the ID of its manifest: its numbers and names may go."""
    return f"{task_url(task)}/snapshots/{id}"


def time_of(text: str, zone: str) -> int | None:
    """A time from a `datetime-local` field and the zone of who filled it in, in minutes east of UTC; "": None."""
    if not text:
        return None
    try:
        local, minutes = datetime.fromisoformat(text), int(zone)
        if local.tzinfo is None:
            local = local.replace(tzinfo=UTC) - timedelta(minutes=minutes)
        # A minute is meant to its end: what began within it was in use then.
        whole = timedelta(seconds=59) if len(text) == len("2026-11-22T20:10") else timedelta()
        return nanoseconds(local + whole)
    except (ValueError, OverflowError):
        raise UsageError("not a time", expected="2026-11-22T20:10", got=repr(text[:80])) from None
