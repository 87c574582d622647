"""The first page: how the store is, how old the newest snapshots are, what happened last."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from udfstore import calls
from udfstore.http.asking import Asked, Asker
from udfstore.http.page.render import page
from udfstore.model import Entry
from udfstore.refs import SNAPSHOTS, Prefix
from udfstore.service import Service, watched
from udfstore.store.meters import Saves

FEED = 15
"""Entries in the list of what happened."""

SPAN = 1000
"""Revisions that are looked through for it, and tags whose newest entry is taken up beside those."""

TASKS = 100

router = APIRouter()


@dataclass(slots=True)
class Happened:
    """An entry, and how many of the same tag came right before it."""

    entry: Entry
    before: int = 0


@dataclass(frozen=True, slots=True)
class Overview:
    """What the page shows."""

    tags: int
    """Without those of snapshots."""
    repeated: int
    """Bytes that all versions of all tags name beyond what is stored of them."""
    again: Saves
    """Saves since the server started that brought what the store had."""
    saves: int
    """All saves since then."""
    tasks: list[watched.WatchedTask]
    more_tasks: int
    lagging: int
    failed: int
    followed: int
    feed: list[Happened]


@router.get("/")
async def overview(request: Request, house: Asked, caller: Asker) -> Response:
    """How it is."""
    health: calls.Health = await house.ask(caller, calls.Status())
    found = await house.reading(_look, house.service)
    return page(request, "overview.html", here="overview", health=health, found=found)


def _look(service: Service) -> Overview:
    now_ns = time.time_ns()
    figures = service.store.meters.read()
    tasks = watched.tasks(service, now_ns)
    having = [followed.having for followed in watched.followed(service, now_ns)]
    return Overview(
        tags=service.store.gauges.versions(0)[1],
        repeated=service.store.gauges.repeated(),
        again=figures.existed,
        saves=figures.existed.count + figures.new.count,
        tasks=sorted(tasks, key=lambda task: (not task.problem, not task.running, -(task.age_s or 0)))[:TASKS],
        more_tasks=max(0, len(tasks) - TASKS),
        lagging=having.count(watched.Having.LAGGING),
        failed=having.count(watched.Having.FAILED),
        followed=len(having),
        feed=_feed(service),
    )


def _feed(service: Service) -> list[Happened]:
    """What happened to tags last, snapshots left out: those of a busy hour would hide everything else.

    The newest revisions, and beside them the newest entry of each tag, so that a quiet store shows something as well.
    """
    store = service.store
    found: dict[str, Entry] = {}
    newest = store.revision
    cursor = max(0, newest - SPAN)
    while cursor < newest:
        events, cursor = store.events(Prefix(""), cursor)
        found |= {e.ref: e for event in events for e in event.entries if not e.tag.startswith(SNAPSHOTS)}
    after, seen = "", 0
    while seen < SPAN and (batch := store.tags(Prefix(""), after)):
        after = batch[-1].tag
        seen += len(batch)
        found |= {entry.ref: entry for entry in batch if not entry.tag.startswith(SNAPSHOTS)}
        if after.startswith(SNAPSHOTS):
            after = f"{SNAPSHOTS}\x7f"  # behind all of them
    told: list[Happened] = []
    for entry in sorted(found.values(), key=lambda entry: (-entry.revision, entry.tag)):
        if told and told[-1].entry.tag == entry.tag:
            told[-1].before += 1
        elif len(told) == FEED:
            break
        else:
            told.append(Happened(entry))
    return told
