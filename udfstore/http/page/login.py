"""In and out: a link of `udfstore web` becomes a session, and a session ends."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from udfstore.http.asking import Asked
from udfstore.http.guard import COOKIE
from udfstore.http.page.render import form, go, page

router = APIRouter()


@router.get("/login")
async def login(
    request: Request, house: Asked, code: Annotated[str, Query(max_length=200, description="Of a link.")] = ""
) -> Response:
    """Begin a session with the code of a link, which works once."""
    session = house.service.doors.open(code) if code else None
    if session is None:
        return page(request, "enter.html", status=403 if code else 200, why="used" if code else "")
    answer = go("/")
    answer.set_cookie(COOKIE, session.cookie, httponly=True, samesite="strict", path="/", secure=_encrypted(request))
    return answer


@router.post("/logout")
async def logout(request: Request, house: Asked) -> Response:
    """End the session."""
    await form(request)
    house.service.doors.close(request.cookies.get(COOKIE, ""))
    answer = page(request, "enter.html", why="left")
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


def _encrypted(request: Request) -> bool:
    """Whether the browser came by https: as seen here, or as told by the proxy that alone reaches a Unix socket."""
    if request.url.scheme == "https":
        return True
    return request.client is None and request.headers.get("x-forwarded-proto", "").lower() == "https"
