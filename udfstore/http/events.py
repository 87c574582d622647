"""What happens to tags, as server-sent events (WHATWG HTML, 9.2), resumed by their IDs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Annotated

import trio
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from udfstore import calls
from udfstore.errors import UsageError
from udfstore.http.asking import Asked, Asker, problems
from udfstore.http.guard import Receive, Scope, Send, Visitor, end_with_reader
from udfstore.http.house import House
from udfstore.http.tags import PrefixText
from udfstore.model import Caller, Event
from udfstore.plain import plain
from udfstore.refs import Prefix

HEARTBEAT_SECONDS = 15.0
"""Between two comments while nothing happens: below the minute after which proxies give a connection up."""

_EVENT_ID = re.compile(r"([1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})", re.ASCII)

router = APIRouter(prefix="/v1", tags=["events"], responses=problems())


@router.get(
    "/events",
    responses={200: {"description": "Events, until the connection ends", "content": {"text/event-stream": {}}}},
)
async def events(
    request: Request,
    house: Asked,
    caller: Asker,
    prefix: PrefixText = "",
    since: Annotated[int | None, Query(ge=0, le=2**53, description="Only what came after this revision.")] = None,
    last_event_id: Annotated[str | None, Header(description="As a browser sends it: go on after that event.")] = None,
) -> Response:
    """Every change of the tags that match. Without a place to go on from, first the entries as they stand.

    Each event is one revision: `id` is epoch-revision, the data `{"revision", "entries", "present"}`. 409 where the
    place is of another epoch (the store was restored from a backup) or beyond the newest revision: begin anew.
    """
    epoch = 0
    if last_event_id:
        match = _EVENT_ID.fullmatch(last_event_id)
        if match is None:
            raise UsageError("not the ID of an event", expected="epoch-revision", got=repr(last_event_id[:80]))
        epoch, since = int(match[1]), int(match[2])
    call = calls.Watch(Prefix.parse(prefix), since, epoch)
    cursor, present = house.service.begin_watch(caller, call)
    return _Stream(house, caller, call, cursor, present, _still_let_in(request, house))


def _still_let_in(request: Request, house: House) -> Callable[[], bool]:
    """Whether who asked may still: tokens are revoked, and sessions end, while a stream goes on."""
    visitor: Visitor = request.scope["state"]["visitor"]
    doors, tokens, web = house.service.doors, house.service.tokens, visitor.web
    if web is not None:
        return lambda: doors.lasts(web.cookie)
    name = visitor.caller.author.token
    token = tokens.named(name)
    return lambda: token is not None and tokens.named(name) == token


class _Stream(Response):
    """Events as they come, until the reader leaves, may not read any more, or the server stops.

    A slow reader is only a cursor here.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        house: House,
        caller: Caller,
        call: calls.Watch,
        cursor: int,
        present: Iterator[list[Event]],
        let_in: Callable[[], bool],
    ) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self.raw_headers = [header for header in self.raw_headers if header[0] != b"content-length"]
        self._house, self._caller, self._call, self._cursor, self._present = house, caller, call, cursor, present
        self._let_in = let_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_with_reader, receive, nursery.cancel_scope)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._tell(send)
            with trio.CancelScope(shield=True):  # Hypercorn says "disconnect" in the middle of it
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            nursery.cancel_scope.cancel()

    async def _tell(self, send: Send) -> None:
        house, service, cursor = self._house, self._house.service, self._cursor
        await _put(send, "retry: 1000\n\n")
        while (batch := await house.reading(next, self._present, None)) is not None:
            await _put(send, "".join(self._told(event) for event in batch))
        while not house.stopping:
            found, cursor = await house.reading(service.go_on_watching, self._caller, self._call, cursor)
            if not self._let_in():
                return
            if found:
                await _put(send, "".join(self._told(event) for event in found))
            if service.store.revision <= cursor:
                with trio.move_on_after(HEARTBEAT_SECONDS) as quiet:
                    await house.committed(cursor)
                if quiet.cancelled_caught:
                    await _put(send, ": still here\n\n")

    def _told(self, event: Event) -> str:
        data = json.dumps(plain(event), ensure_ascii=False)
        # A present event resumes only at the end of all that are present: the one without entries.
        id = "" if event.present and event.entries else f"id: {self._house.service.store.epoch}-{event.revision}\n"
        return f"{id}data: {data}\n\n"


async def _put(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
