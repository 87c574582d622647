"""A tag goes back: first a page that shows what would happen, then the form that makes it so."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from udfstore import calls, tasks
from udfstore.digest import BlobId
from udfstore.errors import CODES, Conflict, Gone, NotFound, UdfstoreError, UsageError
from udfstore.http.asking import Asked, Asker
from udfstore.http.page.render import form, go, number, page, tag_url
from udfstore.model import REQUEST_BYTES, Caller, Entry
from udfstore.refs import Ref, Tag
from udfstore.service import Service
from udfstore.store import Store

LOOKED_THROUGH = 500
"""Versions among which one to go back to is looked for."""

TASKS = 50

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Start:
    """A task that had the suspected version in use, and its newest snapshot from before that (None: none is kept)."""

    task: str
    snapshot: tasks.Snapshot | None
    running: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rollback would do: `newest` is what the tag has now, `to` what it would have again.

    `suspect` is the version to get away from: the newest one, unless an older one is in question.
    """

    newest: Entry
    suspect: Entry
    to: Entry
    starts: tuple[Start, ...]

    @property
    def nothing(self) -> bool:
        """Whether the tag has that content already."""
        return self.newest.id == self.to.id


@router.get("/rollback")
async def plan(
    request: Request,
    house: Asked,
    caller: Asker,
    tag: Annotated[str, Query(max_length=1024)],
    to: Annotated[str, Query(max_length=20)] = "",
    suspect: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """What would happen."""
    name, target, suspected = Tag.parse(tag), number(to, "to"), number(suspect, "suspect")
    try:
        planned = await house.reading(_plan, house.service, caller, name, target, suspected)
    except (NotFound, Gone, UsageError) as error:
        await house.reading(house.service.store.history, name, None, 1)  # a tag that is unknown has no page to go to
        return page(request, "nowhere.html", status=CODES[error.code].http, here="tags", tag=tag, error=error)
    return page(request, "rollback.html", here="tags", tag=tag, plan=planned)


@router.post("/rollback")
async def rollback(request: Request, house: Asked, caller: Asker) -> Response:
    """Make it so: the tag first, which ends the harm, then the states."""
    given = await form(request)
    tag, to, expected = Tag.parse(given.text("tag")), given.number("to"), given.number("expected")
    if to is None or expected is None:
        raise UsageError("this form is incomplete; load its page again")
    call = calls.Rollback(tag, to, expected, given.text("note"), None, given.request)
    try:
        moved: calls.Moved = await house.ask(caller, call)
    except Conflict as error:
        now = (await house.reading(house.service.store.history, tag, None, 1))[0]
        return page(request, "conflict.html", status=409, here="tags", error=error, now=now, to=to, expected=expected)
    before = Ref.parse(f"{tag}@{given.number('suspect') or expected}")
    failed: list[tuple[str, UdfstoreError]] = []
    chosen = given.chosen("state")[:TASKS]
    for task in chosen:
        use = tasks.UseSnapshot(task, "", before, given.ticked("now"), _derived(given.request, task))
        try:
            await house.ask(caller, use)
        except UdfstoreError as error:
            failed.append((task, error))
    entry = moved.entries[0]
    if failed:
        return page(request, "half.html", status=409, here="tags", entry=entry, failed=failed)
    return go(tag_url(tag.name), made=entry.version, state=chosen)


def _plan(service: Service, caller: Caller, tag: Tag, to: int | None, suspect: int | None) -> Plan:
    store = service.store
    newest = store.history(tag, None, 1)[0]
    suspected = newest if suspect is None else store.entry(Ref(tag.name, tag=tag, version=suspect))
    wanted = version_before(store, suspected) if to is None else store.entry(Ref(tag.name, tag=tag, version=to))
    if wanted is None:
        raise NotFound(f"{tag} has no version before {suspected.ref} that could be used: choose one by its number")
    if wanted.id is None:
        raise UsageError("a deletion is nothing to go back to", got=wanted.ref)
    if not is_here(store, wanted.id):
        raise Gone(f"the content of {wanted.ref} was removed; its history remains")
    return Plan(newest, suspected, wanted, tuple(_starts(service, caller, suspected)))


def is_here(store: Store, id: BlobId) -> bool:
    """Whether the content of a blob can be had."""
    try:
        store.resolve(Ref.of(id))
    except (NotFound, Gone):
        return False
    return True


def version_before(store: Store, suspected: Entry) -> Entry | None:
    """The newest version below the suspected one that has another content, which is here; None: there is none."""
    below = suspected.origin or suspected.version
    for entry in store.history(Tag(suspected.tag), below, LOOKED_THROUGH):
        if entry.id is not None and entry.id != suspected.id and is_here(store, entry.id):
            return entry
    return None


def _starts(service: Service, caller: Caller, suspected: Entry) -> list[Start]:
    """The tasks that had a version in use, each with the state from before."""
    if suspected.id is None:
        return []
    uses = service.tasks.list_uses(caller, tasks.ListUses(tag=Tag(suspected.tag)))
    names = {use.place.task for batch in uses for use in batch if use.place.task}
    live = service.tasks.live()
    found: list[Start] = []
    for task in sorted(names):
        if len(found) == TASKS:
            break
        if service.store.first_use(task, suspected.id) is None:
            continue
        try:
            snapshot = service.tasks.find_before(caller, task, Ref.parse(suspected.ref))
        except (NotFound, Gone):
            snapshot = None
        found.append(Start(task, snapshot, task in live))
    return found


def _derived(request: bytes, task: str) -> bytes:
    """The number of a request that belongs to another: a form that is sent twice chooses a state once."""
    return hashlib.sha256(request + task.encode(errors="replace")).digest()[:REQUEST_BYTES]
