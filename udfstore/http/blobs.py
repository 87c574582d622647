"""Blobs over HTTP: content in and out, by ID and by any ref."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, Response

from udfstore import calls
from udfstore.digest import BlobId
from udfstore.http.asking import (
    PAGE,
    Asked,
    Asker,
    Cursor,
    Limit,
    RequestNumber,
    answered,
    blob_id,
    number_in,
    page,
    place_in,
    problems,
    some,
    told,
)
from udfstore.http.content import ASK_AGAIN, FOREVER, condition, etag_of, headers_of, sending
from udfstore.http.house import House
from udfstore.http.incoming import take
from udfstore.http.schemas import MissingBody, answer
from udfstore.http.words import REF
from udfstore.model import BlobInfo, Caller
from udfstore.plain import plain
from udfstore.refs import Ref

router = APIRouter(prefix="/v1", tags=["blobs"], responses=problems())

OCTETS: dict[str, Any] = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The content", **OCTETS},
    206: {
        "description": "The ranges asked for",
        "content": {**OCTETS["content"], "multipart/byteranges": {"schema": {"type": "string", "format": "binary"}}},
    },
    304: {"description": "The caller has it already"},
}
_HEAD: dict[int | str, dict[str, Any]] = {200: {"description": "Its size and digest", **OCTETS}, 304: _CONTENT[304]}
_SAVED: dict[int | str, dict[str, Any]] = {
    200: told(answer(calls.Saved), "The content was there"),
    201: told(answer(calls.Saved), "The content is saved"),
}

Id = Annotated[
    str, Path(description="`sha256:` and 64 hex digits, or these alone.", pattern=r"^(sha256:)?[0-9a-f]{64}$")
]
AnyRef = Annotated[
    str, Path(description="A tag, tag@version, an ID or eight or more of its digits.", json_schema_extra=REF)
]


@router.post("/blobs", status_code=201, responses=_SAVED, openapi_extra={"requestBody": OCTETS})
async def save(request: Request, house: Asked, caller: Asker) -> Response:
    """Save content; its ID is the answer. 200 where the content was there before."""
    return _saved(await take(request, house, caller, calls.Save(size=_length(request))))


@router.put("/blobs/{id}", status_code=201, responses=_SAVED, openapi_extra={"requestBody": OCTETS})
async def save_as(request: Request, id: Id, house: Asked, caller: Asker) -> Response:
    """Save content under the ID that it must have: 422 where it has another one."""
    return _saved(await take(request, house, caller, calls.Save(blob_id(id), _length(request))))


@router.get("/blobs", responses={200: told(list[answer(BlobInfo)], "Blobs, oldest first")})  # type: ignore[misc]
async def blobs(request: Request, house: Asked, caller: Asker, limit: Limit = PAGE, cursor: Cursor = "") -> Response:
    """All blobs, oldest first."""
    found = await some(house, house.service.blobs(caller, calls.ListBlobs(), _after(cursor)), limit)
    place = f"{found[-1].saved_ns} {found[-1].id}" if found else ""
    return page(request, found, limit, place)


@router.post("/blobs:missing", responses={200: told(answer(calls.MissingIds), "Those that are not there")})
async def missing(body: MissingBody, house: Asked, caller: Asker) -> Response:
    """Which of these blobs would a save have to bring?"""
    return answered(await house.ask(caller, calls.Missing(tuple(map(BlobId.parse, body.ids)))))


@router.head("/blobs/{id}", responses=_HEAD, operation_id="look")
@router.get("/blobs/{id}", responses=_CONTENT)
async def load(request: Request, id: Id, house: Asked, caller: Asker) -> Response:
    """The content of a blob, or ranges of it."""
    return await _load(request, house, caller, Ref.of(blob_id(id)))


@router.delete("/blobs/{id}", status_code=204, responses={204: {"description": "It is removed"}})
async def delete(
    id: Id,
    house: Asked,
    caller: Asker,
    number: RequestNumber,
    force: Annotated[bool, Query(description="Though a tag names it now.")] = False,
    now: Annotated[bool, Query(description="Free the space at once.")] = False,
) -> Response:
    """Remove content. 409 while a tag names it, 410 where only history knows it."""
    await house.ask(caller, calls.Delete(Ref.of(blob_id(id)), force, now, number))
    return Response(status_code=204)


@router.head("/content/{ref:path}", responses=_HEAD, operation_id="look_by_ref")
@router.get("/content/{ref:path}", responses=_CONTENT)
async def load_by_ref(request: Request, ref: AnyRef, house: Asked, caller: Asker) -> Response:
    """The content that a ref names now, or ranges of it. `Content-Location` is its own address."""
    return await _load(request, house, caller, Ref.parse(ref))


@router.get("/info/{ref:path}", responses={200: told(answer(calls.Kept), "What keeps it")})
async def info(ref: AnyRef, house: Asked, caller: Asker) -> Response:
    """What is known of the blob that a ref names, and what keeps it."""
    return answered(await house.ask(caller, calls.Why(Ref.parse(ref))))


async def _load(request: Request, house: House, caller: Caller, ref: Ref) -> Response:
    loading, file = await house.reading(house.service.open, caller, calls.Load(ref))
    id, entry = loading.info.id, loading.info.entry
    headers = headers_of(id, entry.tag.rpartition("/")[2] if entry else id.hex, FOREVER if ref.id else ASK_AGAIN)
    if entry:
        headers |= {"Content-Location": f"/v1/blobs/{id}", "Udfstore-Entry": entry.ref}
    other = condition(request, id, headers)
    if other is not None:
        file.close()
        return other
    return sending(request, house, file, headers)


def _saved(saved: calls.Saved) -> Response:
    headers = {"Location": f"/v1/blobs/{saved.id}", "ETag": etag_of(saved.id)}
    return JSONResponse(plain(saved), 200 if saved.existed else 201, headers)


def _length(request: Request) -> int | None:
    given = request.headers.get("content-length")
    return int(given) if given is not None else None


def _after(cursor: str) -> tuple[int, BlobId] | None:
    if not cursor:
        return None
    since, _, id = place_in(cursor).partition(" ")
    return number_in(since), BlobId.parse(id)
