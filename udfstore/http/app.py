"""The application: routes, errors and the door, put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from udfstore.errors import NotFound, UdfstoreError, Unsupported, UsageError
from udfstore.http import blobs, events, page, state, tags, tasks, uploads
from udfstore.http.guard import App, Guard
from udfstore.http.house import House
from udfstore.http.page import errors
from udfstore.http.problems import problem
from udfstore.version import __version__

ABOUT = "Blobs, tags and their history, tasks and their snapshots. docs/http.md tells it for people."


def application(house: House, hosts: Iterable[str], progress_seconds: float) -> App:
    """Everything that HTTP serves, behind its door. `hosts`: the names it answers by."""
    app = _bare(
        house,
        blobs.router,
        uploads.router,
        tags.router,
        tasks.router,
        events.router,
        state.router,
        state.open_router,
        page.router,
    )

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return JSONResponse(app.openapi())

    return Guard(app, house, hosts, progress_seconds, errors.show)


def watching(house: House, progress_seconds: float) -> App:
    """Health and metrics alone, for a listener of their own."""
    return Guard(_bare(house, state.open_router), house, None, progress_seconds)


def _bare(house: House, *routers: APIRouter) -> FastAPI:
    app = FastAPI(
        title="udfstore",
        version=__version__,
        description=ABOUT,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.house, app.state.routers = house, routers
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _unrouted)
    app.add_exception_handler(Exception, _leave_to_the_door)
    return app


async def _leave_to_the_door(request: Request, error: Exception) -> Response:
    """Starlette would answer 500 itself to whatever it does not know."""
    raise error


async def _invalid(request: Request, error: Exception) -> Response:
    """What of a request is wrong: 422 for a body that parses, 400 for the rest of it."""
    assert isinstance(error, RequestValidationError)
    wrong = [_wrong(found) for found in error.errors()]
    body = all(found["loc"][0] == "body" and found["type"] != "json_invalid" for found in error.errors())
    return _told(request, UsageError("; ".join(wrong)), 422 if body else 400)


def _wrong(found: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in found["loc"] if part != "body")
    message: str = found["msg"].removeprefix("Value error, ")
    if found["type"] == "json_invalid":
        return f"the body is not JSON: {found.get('ctx', {}).get('error', message)}"
    if found["type"] == "model_attributes_type" and not place:
        return "the body is no JSON object; send one, with `Content-Type: application/json`"
    return f"{place}: {message}" if place else f"the body: {message}"


def _methods(request: Request) -> set[str]:
    """Those of all routes at this address; Starlette tells those of the first."""
    found: set[str] = set()
    for router in request.app.state.routers:
        for route in router.routes:
            if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
                found |= route.methods or set()
    return found | ({"HEAD"} if "GET" in found else set())


async def _unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, UdfstoreError):  # what went wrong while FastAPI read the body
        raise error.__cause__
    headers = dict(error.headers or {})
    if error.status_code == 405:
        allowed = ", ".join(sorted(_methods(request)))
        wrong = Unsupported(f"{request.method} is not for this address", expected=allowed)
        return _told(request, wrong, 405, {"Allow": allowed})
    if error.status_code == 404:
        return _told(request, NotFound("there is nothing at this address", got=request.url.path[:200]))
    return _told(request, UsageError(str(error.detail)), error.status_code, headers)


def _told(request: Request, error: UdfstoreError, status: int = 0, headers: dict[str, str] | None = None) -> Response:
    """An error as whoever asks reads it: a page for a browser, problem details for a program."""
    shown = errors.show(error, request.scope, status)
    if shown is None:
        return problem(error, status=status, headers=headers)
    shown.headers.update(headers or {})
    return shown
