"""Calls of one connection that are answered with pages: lists, watches, backups.

They go as far as the peer grants pages. It may take its time: each is only a cursor here, but for a backup, which holds
the catalog still until all of it is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from math import inf
from typing import Any

import trio

from udfstore import admin, calls, tasks
from udfstore.errors import TimedOut
from udfstore.model import Caller
from udfstore.server.pump import Pump
from udfstore.server.rooms import Rooms
from udfstore.session.host import HostSession

FAR_BEHIND = 1000
"""Revisions behind which a watch catches up in a thread: to look through so many takes the loop about a millisecond."""


NEWS = 64
"""Steps of watches whose page is kept for others that watch the same: as many prefixes, at most 64 KiB each."""


class Streams:
    """The pages of one connection."""

    def __init__(self, session: HostSession, pump: Pump, rooms: Rooms, changed: trio.lowlevel.ParkingLot) -> None:
        self._session = session
        self._pump = pump
        self._rooms = rooms
        self._changed = changed

    async def answer(self, number: int, caller: Caller, call: calls.StreamCall) -> None:
        """Send all items of a call. Watches and backups have no end."""
        rooms, service, kind = self._rooms, self._rooms.service, type(call)
        match call:
            case calls.Watch():
                await self._watch(number, caller, call)
            case admin.Backup():
                await self._back_up(number, caller)
            case admin.Collect() if not call.dry_run:
                await self._from_thread(number, rooms.writing, service.collect(caller, call))
            case admin.Check():
                with closing(service.check(caller, call)) as steps:  # it has a file open
                    await self._from_thread(number, rooms.writing if call.repair else rooms.reading, steps)
            case tasks.AwaitFollowers():
                await self._await_followers(number, caller, call)
            case _ if kind in service.slow_stream:
                await self._from_thread(number, rooms.reading, service.slow_stream[kind](caller, call))
            case _:
                for batch in service.stream[kind](caller, call):
                    await self._send(number, batch)
                    if not batch:  # nothing of it may be seen
                        await trio.lowlevel.checkpoint()

    async def _from_thread(
        self,
        number: int,
        thread: Callable[..., Awaitable[list[Any] | None]],
        batches: Iterator[list[Any]],
        seconds: float = inf,
    ) -> None:
        """Send batches, each made in such a thread."""
        while (batch := await thread(next, batches, None)) is not None:
            await self._send(number, batch, seconds)

    async def _await_followers(self, number: int, caller: Caller, call: tasks.AwaitFollowers) -> None:
        register, gate = self._rooms.service.register, self._rooms.service.gate
        gate.check(caller, call)
        with trio.move_on_after(call.timeout):
            while register.behind(call.tag, call.version):
                await self._rooms.moves.park()
        await self._send(number, gate.shown(caller, register.followers(call.tag)))

    async def _watch(self, number: int, caller: Caller, call: calls.Watch) -> None:
        service = self._rooms.service
        cursor, present = service.begin_watch(caller, call)
        for batch in present:
            await self._send(number, batch)
            if not batch:
                await trio.lowlevel.checkpoint()
        while True:
            if service.store.revision - cursor > FAR_BEHIND:
                events, cursor = await self._rooms.reading(service.go_on_watching, caller, call, cursor)
                await self._send(number, events)
            else:
                pages, cursor = self._news(caller, call, cursor)
                await self._send_pages(number, pages)
            if service.store.revision > cursor:
                await trio.lowlevel.checkpoint()
            while service.store.revision <= cursor:
                await self._rooms.commits.park()

    def _news(self, caller: Caller, call: calls.Watch, cursor: int) -> tuple[Sequence[Any], int]:
        """The pages that a watch is told next, and its cursor then: made once for all who see the same from there."""
        service, news = self._rooms.service, self._rooms.news
        place = call.prefix.text, service.gate.rights(caller), cursor, service.store.revision
        if place in news:
            return news[place]
        events, after = service.go_on_watching(caller, call, cursor)
        pages = list(self._session.pages(events))
        if len(pages) <= 1:  # what is more is told to somebody who was away for long
            if len(news) >= NEWS:
                news.clear()
            news[place] = pages, after
        return pages, after

    async def _back_up(self, number: int, caller: Caller) -> None:
        """Tell what belongs to a backup, and hold it until the call is taken back."""
        backup: AbstractContextManager[Iterator[list[admin.Item]]] = self._rooms.service.backup(caller)
        batches = await self._rooms.reading(backup.__enter__)
        try:
            await self._from_thread(number, self._rooms.reading, batches, self._rooms.limits.progress_seconds)
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await self._rooms.reading(backup.__exit__, None, None, None)

    async def _send(self, number: int, items: list[Any], seconds: float = inf) -> None:
        """Send items as far as the peer granted pages. Raises `TimedOut` where none can be sent for that long."""
        await self._send_pages(number, self._session.pages(items), seconds)

    async def _send_pages(self, number: int, pages: Iterable[Any], seconds: float = inf) -> None:
        session, most = self._session, self._rooms.limits.waiting_bytes
        for page in pages:
            with trio.move_on_after(seconds) as scope:
                while session.credit(number) == 0 or session.outbox.small_bytes >= most:
                    await self._changed.park()
            if scope.cancelled_caught:
                raise TimedOut("no reading from the client", expected=f"within {seconds:g} s")
            session.page(number, page)
            self._pump.flush()
