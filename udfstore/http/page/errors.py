"""Errors as pages, for whoever asks with a browser."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response

from udfstore.errors import CODES, Code, UdfstoreError
from udfstore.http.guard import NoToken
from udfstore.http.page.render import render

_NOT_PAGES = ("/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/static/")

_HEADINGS: dict[Code, str] = {
    Code.NOT_FOUND: "There is nothing here",
    Code.GONE: "Only history knows it",
    Code.CONFLICT: "Somebody was faster",
    Code.CORRUPT: "Stored bytes are damaged",
    Code.DENIED: "Not allowed",
    Code.NO_SPACE: "There is no room for it",
    Code.CLOSING: "The server is shutting down",
    Code.READ_ONLY: "The store takes no writes",
    Code.INTERNAL: "A bug in the server",
}

_CURES: dict[Code, str] = {
    Code.NOT_FOUND: "Look for it with the search box: a tag, a task, or the beginning of an ID will do.",
    Code.GONE: "Its history remains: who put it there, when, and why.",
    Code.CONFLICT: "Nothing was changed. Go back, load the page again, and look at what is there now.",
    Code.CORRUPT: "Saving the same content again heals it.",
    Code.DENIED: "Nothing was changed.",
    Code.NO_SPACE: "Nothing was changed. Make room, or have the quota raised, then try again.",
    Code.CLOSING: "Try again in a moment.",
    Code.BUSY: "Nothing was changed. Try again in a moment.",
    Code.TIMEOUT: "Try again.",
    Code.INTERNAL: "The server's log has the details, under the request named below.",
}


def show(error: UdfstoreError, scope: MutableMapping[str, Any], status: int = 0) -> Response | None:
    """The page that says what went wrong; None where a program asks."""
    path: str = scope["path"]
    if path.startswith(_NOT_PAGES) or "text/html" not in Headers(scope=scope).get("accept", ""):
        return None
    if isinstance(error, NoToken):
        return render(scope, "enter.html", status=401, headers={"WWW-Authenticate": 'Bearer realm="udfstore"'}, why="")
    return render(
        scope,
        "error.html",
        status=status or CODES[error.code].http,
        heading=_HEADINGS.get(error.code, "That did not work"),
        error=error,
        cure=_CURES.get(error.code, ""),
        request_id=scope.get("state", {}).get("request_id", ""),
    )
