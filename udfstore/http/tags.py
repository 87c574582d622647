"""Tags over HTTP: what they point at, when they did, and moving them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, Response
from werkzeug.http import parse_etags

from udfstore import calls
from udfstore.errors import Conflict, Gone, NotFound, UsageError
from udfstore.http.asking import (
    PAGE,
    Asked,
    Asker,
    Cursor,
    Limit,
    Moment,
    RequestNumber,
    answered,
    nanoseconds,
    number_in,
    page,
    place_in,
    problems,
    some,
    told,
)
from udfstore.http.house import House
from udfstore.http.problems import problem
from udfstore.http.schemas import HoldBody, MoveBody, ReleaseBody, RollbackBody, TagBody, answer
from udfstore.http.words import PREFIX, TAG, TAG_OR_VERSION
from udfstore.model import Caller, Entry
from udfstore.plain import plain
from udfstore.refs import Prefix, Ref, Tag

router = APIRouter(prefix="/v1", tags=["tags"], responses=problems())

Name = Annotated[str, Path(description="A tag; `models/pump` stands in the path as it is.", json_schema_extra=TAG)]
Named = Annotated[str, Path(description="A tag, or one version of it: tag@version.", json_schema_extra=TAG_OR_VERSION)]
At = Annotated[Moment | None, Query(description="What it named at that time (RFC 3339) instead of now.")]
PrefixText = Annotated[
    str,
    Query(
        description="All tags below it if it ends in `/`, else the tag of that name; all without it.",
        json_schema_extra=PREFIX,
    ),
]

PRECONDITION: dict[int | str, dict[str, Any]] = {
    412: {"description": "The tag is not in the state that the request asked for; `entry` is what it has"}
}


@router.get("/tags", responses={200: told(list[answer(Entry)], "The newest entry of each tag")})  # type: ignore[misc]
async def tags(
    request: Request,
    house: Asked,
    caller: Asker,
    prefix: PrefixText = "",
    limit: Limit = PAGE,
    cursor: Cursor = "",
) -> Response:
    """All tags that match, by name, each with its newest entry."""
    batches = house.service.tags(caller, calls.ListTags(Prefix.parse(prefix)), place_in(cursor))
    found = await some(house, batches, limit)
    return page(request, found, limit, found[-1].tag if found else "")


@router.post("/tags:move", responses={200: told(answer(calls.Moved), "The tags are moved")})
async def move(body: MoveBody, house: Asked, caller: Asker, number: RequestNumber) -> Response:
    """Move several tags in one step: all of them or none."""
    steps = tuple(calls.Step(Tag.parse(s.tag), Ref.parse(s.ref), s.expected, s.labels) for s in body.steps)
    return answered(await house.ask(caller, calls.Move(steps, body.note, number)))


@router.post("/tags:rollback", responses={200: told(answer(calls.Moved), "The tag is back")})
async def rollback(body: RollbackBody, house: Asked, caller: Asker, number: RequestNumber) -> Response:
    """Move a tag back, to a version or to the one before."""
    call = calls.Rollback(Tag.parse(body.tag), body.to, body.expected, body.note, body.labels, number)
    return answered(await house.ask(caller, call))


@router.post("/tags:hold", responses={200: told(answer(calls.Moved), "The tag is held")})
async def hold(body: HoldBody, house: Asked, caller: Asker, number: RequestNumber) -> Response:
    """Keep a tag where it is: moves of it are refused, with the note, until its release."""
    return answered(await house.ask(caller, calls.Hold(Tag.parse(body.tag), body.note, number)))


@router.post("/tags:release", responses={200: told(answer(calls.Moved), "The tag may move again")})
async def release(body: ReleaseBody, house: Asked, caller: Asker, number: RequestNumber) -> Response:
    """Let a held tag move again."""
    return answered(await house.ask(caller, calls.Release(Tag.parse(body.tag), body.note, number)))


@router.get("/tags/{name:path}", responses={200: told(answer(Entry), "The entry")})
async def tag(request: Request, name: Named, house: Asked, caller: Asker, at: At = None) -> Response:
    """What a tag points at, now or at a time. A version may be named: `models/pump@3`."""
    ref = Ref.parse(name)
    if at is None:
        entry = await house.ask(caller, calls.GetTag(ref))
    elif ref.tag is None or ref.version is not None:
        raise UsageError("a tag without a version goes with a time", got=name)
    else:
        entry = await house.reading(house.service.tag_at, caller, ref.tag, nanoseconds(at))
        if entry.id is None:
            raise Gone(f"{entry.tag} was untagged at that time")
    given = request.headers.get("if-none-match")
    if given is not None and parse_etags(given).contains_weak(str(entry.version)):
        return Response(status_code=304, headers=_etag(entry))
    return JSONResponse(plain(entry), headers=_etag(entry) | {"Cache-Control": "private, no-cache"})


@router.put(
    "/tags/{name:path}",
    responses={
        200: told(answer(Entry), "The tag is moved"),
        201: told(answer(Entry), "The tag is new"),
        **PRECONDITION,
    },
)
async def point(
    request: Request, name: Name, body: TagBody, house: Asked, caller: Asker, number: RequestNumber
) -> Response:
    """Point a tag at a blob. `If-Match: "3"` moves it from version 3 only, `If-None-Match: *` only where it is new."""
    tag = Tag.parse(name)
    expected = _expected(request)
    step = calls.Step(tag, Ref.parse(body.ref), expected, body.labels)
    moved = await _on_condition(house, caller, tag, expected, calls.Move((step,), body.note, number))
    if isinstance(moved, Response):
        return moved
    entry, before = moved.entries[0], moved.before[0]
    status = 201 if before is None or before.id is None else 200
    return JSONResponse(plain(entry), status, _etag(entry) | {"Location": f"/v1/tags/{entry.tag}"})


@router.delete("/tags/{name:path}", responses={200: told(answer(Entry), "The deletion"), **PRECONDITION})
async def untag(
    request: Request,
    name: Name,
    house: Asked,
    caller: Asker,
    number: RequestNumber,
    note: Annotated[str, Query(description="Why, for the history.", max_length=4096)] = "",
) -> Response:
    """Delete a tag. Its history stays, and a rollback brings it back."""
    tag, expected = Tag.parse(name), _expected(request)
    untag = calls.Untag((tag,), (expected,), note, number)
    moved = await _on_condition(house, caller, tag, expected, untag)
    if isinstance(moved, Response):
        return moved
    return JSONResponse(plain(moved.entries[0]), headers=_etag(moved.entries[0]))


@router.get("/history/{name:path}", responses={200: told(list[answer(Entry)], "Its versions, newest first")})  # type: ignore[misc]
async def history(
    request: Request, name: Name, house: Asked, caller: Asker, limit: Limit = PAGE, cursor: Cursor = ""
) -> Response:
    """All versions of a tag, deletions too, newest first."""
    place = place_in(cursor)
    batches = house.service.history(caller, calls.History(Tag.parse(name)), number_in(place) if place else None)
    found = await some(house, batches, limit)
    return page(request, found, limit, str(found[-1].version) if found else "")


async def _on_condition(
    house: House, caller: Caller, tag: Tag, expected: int | None, call: calls.Move | calls.Untag
) -> calls.Moved | Response:
    """Make a change; where the version that was expected is not there, the answer that says what is."""
    try:
        moved: calls.Moved = await house.ask(caller, call)
    except Conflict as error:
        if expected is None:
            raise
        now = await _now(house, caller, tag)
        if (now.version if now else 0) == expected:
            raise  # for another reason: it is held
        return problem(error, status=412, headers=_etag(now) if now else None, more={"entry": plain(now)})
    return moved


async def _now(house: House, caller: Caller, tag: Tag) -> Entry | None:
    try:
        entry: Entry = await house.ask(caller, calls.GetTag(Ref.of(tag)))
    except (NotFound, Gone):
        return None
    return entry


def _expected(request: Request) -> int | None:
    """The version that the request's conditions name; 0: none, None: whatever."""
    none_match, match = request.headers.get("if-none-match"), request.headers.get("if-match")
    if none_match is not None:
        if none_match.strip() != "*" or match is not None:
            raise UsageError("a change asks for `If-None-Match: *` or for `If-Match` with one version", got=none_match)
        return 0
    if match is None:
        return None
    tags = parse_etags(match)
    versions = [tag for tag in tags if tag.isascii() and tag.isdigit() and 0 < len(tag) < 18]
    if tags.star_tag or len(versions) != 1 or len(tags) != 1:
        raise UsageError("a change is made from one version", expected='If-Match: "3"', got=match)
    return int(versions[0])


def _etag(entry: Entry) -> dict[str, str]:
    return {"ETag": f'"{entry.version}"'}
