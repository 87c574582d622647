"""The state of the server over HTTP: who is connected, what is in use, whether it is well, and the metrics."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from udfstore import calls, tasks
from udfstore.admin import Can
from udfstore.http.asking import (
    MOST,
    PAGE,
    Asked,
    Asker,
    Limit,
    Moment,
    answered,
    nanoseconds,
    problems,
    some,
    told,
)
from udfstore.http.guard import Visitor
from udfstore.http.house import House
from udfstore.http.schemas import answer
from udfstore.http.words import ANY_TAG
from udfstore.refs import Tag
from udfstore.service import health

router = APIRouter(prefix="/v1", tags=["server"], responses=problems())
open_router = APIRouter(tags=["health"])
"""Answered to anybody who may connect: no names, no paths."""

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_READY: dict[int | str, dict[str, Any]] = {
    200: {"description": "It takes reads and writes"},
    503: {"description": "It does not; `problems` say why"},
}


@router.get("/sessions", responses={200: told(list[answer(calls.Session)], "The connections")})  # type: ignore[misc]
async def sessions(house: Asked, caller: Asker) -> Response:
    """Who is connected over the socket, and what each follows."""
    return answered(tuple(await some(house, house.service.sessions(caller, calls.Sessions()), MOST)))


@router.get("/used", responses={200: told(list[answer(tasks.Use)], "Newest first")})  # type: ignore[misc]
async def used(
    house: Asked,
    caller: Asker,
    task: Annotated[str, Query(max_length=128, description="Of a task, by name.")] = "",
    tag: Annotated[str, Query(description="Of a tag.", json_schema_extra=ANY_TAG)] = "",
    at: Annotated[Moment | None, Query(description="Up to that time (RFC 3339) instead of now.")] = None,
    everything: Annotated[bool, Query(description="All records, not the newest of each node and tag.")] = False,
    limit: Limit = PAGE,
) -> Response:
    """What followers took into use, or failed to: of a task, of a tag, or at all."""
    at_ns = nanoseconds(at) if at is not None else None
    call = tasks.ListUses(task, Tag.parse(tag) if tag else None, at_ns, everything)
    return answered(tuple(await some(house, house.service.tasks.list_uses(caller, call), limit)))


@router.get("/status", responses={200: told(answer(calls.Health), "How it is")})
async def status(house: Asked, caller: Asker) -> Response:
    """How the store and its server are."""
    return answered(await house.ask(caller, calls.Status()))


@open_router.get("/healthz", responses={200: {"description": "The server answers"}})
async def healthz() -> Response:
    """Whether the server lives: 200 as long as it answers at all."""
    return JSONResponse({"status": "alive"})


@open_router.get("/readyz", responses=_READY)
async def readyz(request: Request, house: Asked) -> Response:
    """Whether the server takes reads and writes: 503 where the log is read-only or the disk near its floor."""
    visitor: Visitor = request.scope["state"]["visitor"]
    names = visitor.can is not None and visitor.can.covers(Can.READ) and house.service.gate.sees_all(visitor.caller)
    found = await house.reading(_problems, house, names)
    return JSONResponse({"status": "not ready" if found else "ready", "problems": found}, 503 if found else 200)


@open_router.get("/metrics", responses={200: {"description": "Prometheus' text format", "content": {"text/plain": {}}}})
async def metrics(request: Request, house: Asked) -> Response:
    """All metrics. Without a token that may read them: counts and ages only, no names of tasks, tags or nodes."""
    visitor: Visitor = request.scope["state"]["visitor"]
    names = visitor.can is not None and house.service.gate.sees_all(visitor.caller)
    text = await house.reading(house.service.exposition, names, True)
    return PlainTextResponse(text, media_type=METRICS_TYPE)


def _problems(house: House, names: bool) -> list[str]:
    """Why the server is not ready, in words that tell no path to who may not read."""
    stopping = ["the server is shutting down"] if house.stopping else []
    return stopping + health.problems(house.service.store, names=names)
