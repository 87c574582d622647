"""Followers for event loops; `follow` has the one for threads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol

import anyio
import anyio.to_thread

from udfstore.calls import GetTag, Result, Used, Watch
from udfstore.client import arguments
from udfstore.client.files import OpenBlob
from udfstore.client.follow import Following, Loader, Model, Swap
from udfstore.errors import NotFound, UdfstoreError
from udfstore.model import Entry, Event
from udfstore.refs import Prefix, Ref, Tag


class Followed(Protocol):
    """What a follower needs of its store."""

    async def open(self, ref: str, /) -> OpenBlob: ...
    async def _ask(self, call: Used | GetTag, /) -> Result: ...
    def _watch(
        self, call: Watch, patience: Callable[[], float], anew: Callable[[], Awaitable[object]], /
    ) -> AsyncGenerator[Event]: ...


class AsyncFollower(Following[Model]):
    """A value that follows a tag, kept up to date by a task; the loader runs in a worker thread."""

    def __init__(self, store: Followed, tag: Tag, loader: Loader[Model], fallback: Model | None, swap: Swap) -> None:
        super().__init__(tag, fallback, swap)
        self._store = store
        self._loader = loader
        self._first = anyio.Event()

    async def first(self) -> None:
        """Return when the first version was loaded, or could not be."""
        await self._first.wait()

    async def run(self) -> None:
        """Follow, until cancelled."""
        watch = Watch(Prefix(self.tag))
        while True:
            try:
                if self.pinned is not None:
                    await self._take(await self._pin(self.pinned))
                    return
                async with aclosing(self._store._watch(watch, self.patience, self._say_again)) as events:
                    async for event in events:
                        for entry in event.entries:
                            await self._take(entry)
                        if event.present and not event.entries and not self._begun:
                            self.error = self.error or NotFound(f"no tag {self.tag} to follow yet")
                            self._begin()
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, whoever reads `error` is told
                if not self.goes_on(error):
                    return
            finally:
                self._begin()

    async def _pin(self, version: int) -> Entry:
        return arguments.answer(await self._store._ask(GetTag(Ref.parse(f"{self.tag}@{version}"))), Entry)

    def _begin(self) -> None:
        self._begun = True
        self._first.set()

    async def _take(self, entry: Entry) -> None:
        if not self.begins(entry):
            return
        if not self.has(entry):
            try:
                with await self._store.open(entry.ref) as blob:
                    self.put(await anyio.to_thread.run_sync(self._loader, blob), entry)
            except Exception as error:
                if self.lost(error):
                    raise
                self.failed(entry, error)
        self._begin()
        if self.pinned is None:
            await self._say(self.report(entry))

    async def _say_again(self) -> None:
        if self.reported is not None:
            await self._say(self.reported)

    async def _say(self, used: Used) -> None:
        try:
            await self._store._ask(used)
        except UdfstoreError as error:
            self.unreported(used, error)
