"""Errors as RFC 9457 problem details, from the one table of codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.responses import Response

from udfstore.errors import CODES, Code, UdfstoreError, UsageError

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
"""When to try again what may succeed later: a limit is free again, or a server restarted, within a second or so."""

_TITLES: dict[Code, str] = {
    Code.USAGE: "The request makes no sense as given",
    Code.NOT_FOUND: "Nothing has that name",
    Code.GONE: "Only history knows it",
    Code.CONFLICT: "The store is not in the expected state",
    Code.NO_SERVER: "No server answers",
    Code.CLOSING: "The server is shutting down",
    Code.CORRUPT: "Stored bytes are damaged",
    Code.DENIED: "Not allowed",
    Code.NO_SPACE: "There is no room for it",
    Code.MISMATCH: "Content is not what was announced",
    Code.TOO_LARGE: "Too large",
    Code.BUSY: "Over a limit of number",
    Code.READ_ONLY: "The store takes no writes",
    Code.TIMEOUT: "No progress in time",
    Code.UNSUPPORTED: "Not supported",
    Code.CANCELLED: "Taken back",
    Code.INTERNAL: "A bug in the server",
}


class WrongBody(UsageError):
    """A body that parses and makes no sense: to be answered with 422."""


@contextmanager
def of_the_body() -> Iterator[None]:
    """Whatever makes no sense in here came in the body."""
    try:
        yield
    except UsageError as error:
        raise WrongBody(error.message, expected=error.expected, got=error.got) from error


def problem(
    error: UdfstoreError, *, status: int = 0, headers: dict[str, str] | None = None, more: dict[str, Any] | None = None
) -> Response:
    """The response that says what went wrong.

    `status` takes the place of the table's where the request asked in a way of its own (412, 401, 422); `more` are
    members beside the standard ones.
    """
    meaning = CODES[error.code]
    status = status or (422 if isinstance(error, WrongBody) else meaning.http)
    told = {
        "type": f"urn:udfstore:error:{error.code.value}",
        "title": _TITLES[error.code],
        "status": status,
        "detail": error.message,
        "code": error.code.value,
    }
    sides = {name: value for name, value in (("expected", error.expected), ("got", error.got)) if value}
    headers = dict(headers or {})
    if meaning.repeat and status in (429, 503):
        headers.setdefault("Retry-After", str(RETRY_SECONDS))
    body = json.dumps(told | sides | (more or {}), ensure_ascii=False).encode(errors="replace")
    return Response(body, status, headers, MEDIA_TYPE)
