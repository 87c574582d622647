"""Uploads that go on after a broken connection: draft-ietf-httpbis-resumable-upload-10, but for its interim responses.

Hypercorn sends none (104), so a client asks for the address of its upload first: POST with `Upload-Complete: ?0`.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import trio
from fastapi import APIRouter, Header, Path, Request
from starlette.responses import JSONResponse, Response

from udfstore import calls
from udfstore.errors import Cancelled, Conflict, TimedOut, UdfstoreError, UsageError
from udfstore.http.asking import Asked, Asker, problems, told
from udfstore.http.content import etag_of
from udfstore.http.house import House
from udfstore.http.incoming import check_plain, pieces
from udfstore.http.problems import problem
from udfstore.http.schemas import answer
from udfstore.model import Caller
from udfstore.plain import plain
from udfstore.store.appender import Appender
from udfstore.store.partial import Partial

PARTIAL = "application/partial-upload"

_TYPES = "https://iana.org/assignments/http-problem-types#"
_BODY: dict[str, Any] = {"content": {PARTIAL: {"schema": {"type": "string", "format": "binary"}}}}
_OCTETS: dict[str, Any] = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
_SAVED: dict[int | str, dict[str, Any]] = {
    200: told(answer(calls.Saved), "All is there, and was before"),
    201: told(answer(calls.Saved) | answer(Partial), "All is there; or how far the upload is"),
}

router = APIRouter(prefix="/v1", tags=["uploads"], responses=problems())

Name = Annotated[str, Path(description="As in the Location of the first answer.", pattern="^[0-9a-f]{32}$")]
Complete = Annotated[
    str, Header(alias="Upload-Complete", pattern=r"^\?[01]$", description="`?1`: the body is all that is left.")
]
Length = Annotated[
    int | None, Header(alias="Upload-Length", ge=0, le=2**62, description="Of the whole content, in bytes.")
]
Offset = Annotated[int, Header(alias="Upload-Offset", ge=0, le=2**62, description="Where the body begins.")]


@router.post("/uploads", status_code=201, responses=_SAVED, openapi_extra={"requestBody": _OCTETS})
async def begin(
    request: Request, house: Asked, caller: Asker, upload_complete: Complete, upload_length: Length = None
) -> Response:
    """Begin an upload; the body is its first part and may be empty. `Location` is where to go on."""
    check_plain(request)
    size = _size(request, 0, upload_complete, upload_length)
    upload: Partial = await house.writing(house.service.begin_upload, caller, size, None)
    return await _append(request, house, caller, upload, 0, upload_complete, size)


@router.head("/uploads/{name}", status_code=204, responses={204: {"description": "How far it has come"}})
async def progress(name: Name, house: Asked, caller: Asker) -> Response:
    """How far an upload has come: `Upload-Offset` is where to go on."""
    upload = await house.reading(house.service.find_upload, caller, name)
    return Response(status_code=204, headers=_state(upload))


@router.patch(
    "/uploads/{name}",
    status_code=204,
    responses={204: {"description": "The part is there"}, **_SAVED},
    openapi_extra={"requestBody": _BODY},
)
async def append(
    request: Request,
    name: Name,
    house: Asked,
    caller: Asker,
    upload_offset: Offset,
    upload_complete: Complete,
    upload_length: Length = None,
) -> Response:
    """Bring the next part. 409 where it does not begin at the upload's offset, or somebody else brings one."""
    check_plain(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != PARTIAL:
        return problem(UsageError("not the type of a part", expected=PARTIAL, got=kind), status=415)
    upload = await house.reading(house.service.find_upload, caller, name)
    size = _size(request, upload_offset, upload_complete, upload_length)
    return await _append(request, house, caller, upload, upload_offset, upload_complete, size)


@router.delete("/uploads/{name}", status_code=204, responses={204: {"description": "It is forgotten"}})
async def drop(name: Name, house: Asked, caller: Asker) -> Response:
    """Forget an upload and what came of it so far."""
    await house.writing(house.service.drop_upload, caller, name)
    return Response(status_code=204)


async def _append(
    request: Request, house: House, caller: Caller, upload: Partial, offset: int, complete: str, size: int | None
) -> Response:
    service = house.service
    try:
        appender: Appender = await house.writing(service.append, caller, upload.name, offset, size)
    except Conflict as error:
        now = await house.reading(service.find_upload, caller, upload.name)
        return _refused(error, now, offset)
    try:
        async for piece in pieces(request):
            await house.writing(appender.write, piece)
            service.meters.received("http", len(piece))
        if complete == "?1":
            return _saved(await house.writing(service.finish, caller, appender))
        upload = await house.writing(appender.commit)
    except (Cancelled, TimedOut, trio.Cancelled):  # the sender is gone: what came of it is what it goes on from
        with trio.CancelScope(shield=True):
            await house.writing(appender.commit)
        raise
    finally:
        with trio.CancelScope(shield=True):
            await house.writing(appender.close)
    headers = _state(upload) | {"Location": f"/v1/uploads/{upload.name}"}
    if request.method == "POST":
        return JSONResponse(plain(upload), 201, headers)
    return Response(status_code=204, headers=headers)


def _refused(error: UdfstoreError, upload: Partial, offset: int) -> Response:
    """A part that cannot be taken: the draft has types of its own for the two reasons that a client acts on."""
    more: dict[str, Any] = {}
    if upload.complete:
        more = {"type": f"{_TYPES}completed-upload"}
    elif upload.offset != offset:
        more = {
            "type": f"{_TYPES}mismatching-upload-offset",
            "expected-offset": upload.offset,
            "provided-offset": offset,
        }
    return problem(error, headers=_state(upload), more=more)


def _saved(saved: calls.Saved) -> Response:
    headers = {"Upload-Complete": "?1", "Location": f"/v1/blobs/{saved.id}", "ETag": etag_of(saved.id)}
    return JSONResponse(plain(saved), 200 if saved.existed else 201, headers)


def _state(upload: Partial) -> dict[str, str]:
    left = max(0, upload.expires_ns - time.time_ns()) // 1_000_000_000
    headers = {
        "Upload-Offset": str(upload.offset),
        "Upload-Complete": "?1" if upload.complete else "?0",
        "Upload-Limit": f"max-age={left}",
        "Cache-Control": "no-store",
    }
    if upload.size is not None:
        headers["Upload-Length"] = str(upload.size)
    if upload.saved is not None:
        headers["Location"] = f"/v1/blobs/{upload.saved.id}"
    return headers


def _size(request: Request, offset: int, complete: str, length: int | None) -> int | None:
    """The size of the whole, as far as the request tells. Raises `UsageError` where it tells two."""
    content = request.headers.get("content-length")
    if complete == "?0" or content is None:
        return length
    size = offset + int(content)
    if length is not None and length != size:
        raise UsageError("the last part ends elsewhere than announced", expected=length, got=size)
    return size
