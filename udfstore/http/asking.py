"""What routes share: who asks, of whom, and how a page of many is cut and linked."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Header, Query, Request
from pydantic import BeforeValidator
from starlette.responses import JSONResponse, Response

from udfstore.digest import BlobId
from udfstore.errors import UsageError
from udfstore.http.house import House
from udfstore.http.schemas import Problem
from udfstore.model import REQUEST_BYTES, Caller
from udfstore.plain import plain
from udfstore.snapshots import unescape

PAGE = 100
MOST = 1000
"""Items of one page: what is asked for without a number, and at most."""

KEY_CHARACTERS = 255

_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.I
)

_NUMBER = re.compile(r"[0-9]{1,18}|[1-8][0-9]{18}", re.ASCII)

_Item = TypeVar("_Item")


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house


def _caller(request: Request) -> Caller:
    caller: Caller = request.scope["state"]["caller"]
    return caller


def _key(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="A change that is repeated with the same key by the same caller happens once.",
            max_length=KEY_CHARACTERS,
        ),
    ] = None,
) -> bytes:
    """The request number of a change: of the key that was given, so that a repeat is known, else random."""
    if idempotency_key is None:
        return os.urandom(REQUEST_BYTES)
    author = _caller(request).author
    said = f"{author.token}\0{author.uid}\0{request.method} {request.url.path}\0{idempotency_key}"
    return hashlib.sha256(said.encode(errors="replace")).digest()[:REQUEST_BYTES]


def _moment(text: str) -> datetime:
    if _RFC3339.fullmatch(text) is None:
        raise ValueError("not a time as RFC 3339 has it, like 2026-11-20T08:00:00Z (a + has to be written %2B)")
    return datetime.fromisoformat(text.upper())


Asked = Annotated[House, Depends(_house)]
Asker = Annotated[Caller, Depends(_caller)]
RequestNumber = Annotated[bytes, Depends(_key)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
"""A time as RFC 3339 has it."""
Limit = Annotated[int, Query(ge=1, le=MOST, description="Items of one page.")]
Cursor = Annotated[str, Query(max_length=2048, description="Where the page before ended; from its `Link` header.")]


def cursor_to(place: str) -> str:
    """A cursor: opaque to whoever passes it on."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def place_in(cursor: str) -> str:
    """What stands in a cursor; "" in none. Raises `UsageError` for text that is none of ours."""
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        raise UsageError("not a cursor", expected="one from a Link header", got=repr(cursor[:80])) from None


def number_in(place: str) -> int:
    """The number in a cursor. Raises `UsageError` for text that is none of ours."""
    if _NUMBER.fullmatch(place) is None:
        raise UsageError("not a cursor of this list", expected="one from its Link header", got=repr(place[:80]))
    return int(place)


async def some(house: House, batches: Iterator[list[_Item]], count: int) -> list[_Item]:
    """The first `count` of what the service gives in batches, read in a thread."""

    def gather() -> list[_Item]:
        found: list[_Item] = []
        for batch in batches:
            found += batch
            if len(found) >= count:
                break
        return found[:count]

    return await house.reading(gather)


def page(request: Request, items: Sequence[Any], limit: int, place: str) -> Response:
    """One page of many; `place` is where the next one begins, used where the page is full (RFC 8288, `rel=next`)."""
    headers = {}
    if len(items) == limit:
        query = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        query.append(("cursor", cursor_to(place)))
        headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
    return JSONResponse([plain(item) for item in items], headers=headers)


def answered(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """One value."""
    return JSONResponse(plain(value), status, headers)


def nanoseconds(time: datetime) -> int:
    """A time as the store counts it."""
    found = int(time.timestamp()) * 1_000_000_000 + time.microsecond * 1000
    return max(0, min(found, 2**63 - 1))  # from 1970 into the year 2262


def name_in(segment: str) -> str:
    """The name of a task, node or snapshot from a segment of a path, where bytes may be written ~xx."""
    return unescape(segment)


def blob_id(text: str) -> BlobId:
    """A blob ID from a path, whole. Raises `UsageError`."""
    return BlobId.parse(text)


def told(model: Any, description: str = "") -> dict[str, Any]:
    """A response for OpenAPI."""
    return {"model": model, "description": description or (model.__doc__ or "").split("\n")[0]}


def problems() -> dict[int | str, dict[str, Any]]:
    """The answers that any route may give."""
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"default": {"description": "What went wrong", "content": {"application/problem+json": {"schema": schema}}}}
