"""What can be done to a task from its pages: take, name, use and delete snapshots. Plain forms.

Each is answered with the page that shows what came of it. What may not be done is told on the page that it was asked
from, beside what is there now.
"""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from udfstore import tasks
from udfstore.digest import BlobId
from udfstore.errors import CODES, Code, Conflict, NotFound, UdfstoreError, UsageError
from udfstore.http.asking import Asked, Asker, name_in
from udfstore.http.house import House
from udfstore.http.page.render import Form, form, go, task_url
from udfstore.http.page.tasks import Segment, chosen, show_snapshot, show_task, snapshot_url
from udfstore.model import Caller
from udfstore.refs import Ref

router = APIRouter()

_ON_THE_PAGE = frozenset({Code.CONFLICT, Code.USAGE, Code.NOT_FOUND, Code.GONE})
"""What the reader of a form can do something about: told beside it. All else is a page of its own."""


@router.post("/tasks/{task}/take")
async def take(request: Request, task: Segment, house: Asked, caller: Asker) -> Response:
    """Take a snapshot now, and give it a name too if there is one."""
    sent, name = await form(request), name_in(task)
    try:
        taken: tasks.Taken = await house.ask(caller, tasks.SaveSnapshot(name, name=sent.text("name")))
        if not taken.good or taken.snapshot is None:
            raise Conflict(f"no snapshot was taken: {taken.why}")
    except UdfstoreError as error:
        return await _task_again(request, house, caller, name, error)
    return go(task_url(name), done="taken", s=taken.snapshot.id)


@router.post("/tasks/{task}/use")
async def use(request: Request, task: Segment, house: Asked, caller: Asker) -> Response:
    """Choose what the next start is from: a snapshot, the newest from before a model was in use, or nothing."""
    sent, name = await form(request), name_in(task)
    now = sent.ticked("now")
    try:
        await _check_choice(house, caller, name, sent)
        found = await house.ask(caller, _use(name, sent, now=now))
    except UdfstoreError as error:
        if sent.text("from") == "snapshot":
            return await _snapshot_again(request, house, caller, name, sent.text("snapshot"), error)
        return await _task_again(request, house, caller, name, error)
    return go(task_url(name), done="used-now" if now else "used", s=found.id if found else tasks.FRESH)


@router.post("/tasks/{task}/delete")
async def delete_task(request: Request, task: Segment, house: Asked, caller: Asker) -> Response:
    """Delete a task: its automatic snapshots and what is known of it, and the named ones too where that is ticked."""
    sent, name = await form(request), name_in(task)
    try:
        if sent.text("sure") != name:
            raise UsageError("type the name of the task to delete it", expected=name, got=sent.text("sure")[:128])
        call = tasks.DeleteTask(name, sent.ticked("everything"), sent.request)
        dropped: tasks.Dropped = await house.ask(caller, call)
    except UdfstoreError as error:
        return await _task_again(request, house, caller, name, error)
    return go("/tasks", done="deleted", n=len(dropped.snapshots))


@router.post("/tasks/{task}/snapshots/{snapshot}/name")
async def name_snapshot(request: Request, task: Segment, snapshot: Segment, house: Asked, caller: Asker) -> Response:
    """Give a snapshot a name: it is kept until that is deleted."""
    sent, name, which = await form(request), name_in(task), chosen(snapshot)
    try:
        call = tasks.NameSnapshot(name, sent.text("name"), which, sent.text("note"), sent.request)
        named: tasks.Snapshot = await house.ask(caller, call)
    except UdfstoreError as error:
        return await _snapshot_again(request, house, caller, name, which, error)
    return go(snapshot_url(name, named.id), done="named")


@router.post("/tasks/{task}/snapshots/{snapshot}/delete")
async def delete_snapshot(request: Request, task: Segment, snapshot: Segment, house: Asked, caller: Asker) -> Response:
    """Delete a snapshot with all its names, or one name of it."""
    sent, name, which = await form(request), name_in(task), chosen(snapshot)
    only = sent.text("name")
    try:
        if only:
            found = await house.ask(caller, tasks.FindSnapshot(name, only))
            if str(found.id) != which:
                raise Conflict(f"another snapshot has the name {only!r} now", got=found.id.short)
        await house.ask(caller, tasks.DeleteSnapshots(name, (only or which,), request=sent.request))
    except UdfstoreError as error:
        return await _snapshot_again(request, house, caller, name, which, error)
    try:
        left = await house.ask(caller, tasks.FindSnapshot(name, which))
    except UdfstoreError:
        return go(task_url(name) if await _is_there(house, caller, name) else "/tasks", done="deleted", n=1)
    return go(snapshot_url(name, left.id), done="unnamed")


@router.get("/tasks/{task}/{form}")
async def back_to_task(task: Segment, form: Segment) -> Response:
    """The address of a form, asked for as a page: that is where its answer stood when something was refused."""
    return _back(form, task_url(name_in(task)), ("take", "use", "delete"))


@router.get("/tasks/{task}/snapshots/{snapshot}/{form}")
async def back_to_snapshot(task: Segment, snapshot: Segment, form: Segment) -> Response:
    """As above, of a snapshot."""
    return _back(form, f"{task_url(name_in(task))}/snapshots/{quote(snapshot, safe=':')}", ("name", "delete"))


def _back(form: str, page: str, forms: tuple[str, ...]) -> Response:
    if form not in forms:
        raise NotFound("there is nothing at this address", got=form[:80])
    return go(page)


def _use(task: str, sent: Form, *, now: bool) -> tasks.UseSnapshot:
    match sent.text("from"):
        case "snapshot":
            return tasks.UseSnapshot(task, str(BlobId.parse(sent.text("snapshot"))), None, now, sent.request)
        case "newest":
            return tasks.UseSnapshot(task, "", None, now, sent.request)
        case "fresh":
            return tasks.UseSnapshot(task, tasks.FRESH, None, now, sent.request)
        case "before":
            if not sent.text("before"):
                raise UsageError(
                    "name the version of a model that the state shall be from before", expected="models/x@8"
                )
            return tasks.UseSnapshot(task, "", Ref.parse(sent.text("before")), now, sent.request)
    raise UsageError("choose what the next start shall be from")


async def _check_choice(house: House, caller: Caller, task: str, sent: Form) -> None:
    """Refuse to choose where somebody else has chosen since the form was made (`Conflict`)."""
    known = await house.reading(house.service.tasks.find_task, caller, task)
    if sent.text("chosen") != choice_of(known):
        raise Conflict("somebody has chosen for the next start since this page was loaded; look again, then choose")


def choice_of(task: tasks.Task) -> str:
    """What is chosen for the next start of a task, as a form carries it."""
    return tasks.FRESH if task.fresh else str(task.chosen) if task.chosen else ""


async def _is_there(house: House, caller: Caller, task: str) -> bool:
    try:
        await house.reading(house.service.tasks.find_task, caller, task)
    except NotFound:
        return False
    return True


async def _task_again(request: Request, house: House, caller: Caller, task: str, error: UdfstoreError) -> Response:
    if error.code not in _ON_THE_PAGE:
        raise error
    return await show_task(request, house, caller, task, error, CODES[error.code].http)


async def _snapshot_again(
    request: Request, house: House, caller: Caller, task: str, which: str, error: UdfstoreError
) -> Response:
    if error.code not in _ON_THE_PAGE:
        raise error
    try:
        status = CODES[error.code].http
        return await show_snapshot(request, house, caller, task, which, problem=error, status=status)
    except UdfstoreError:  # it is gone by now: that is what is to be told
        return await _task_again(request, house, caller, task, error)
