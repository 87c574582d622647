"""Followers for event loops; `follow` has the one for threads."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from typing import Protocol

import anyio
import anyio.to_thread

from udfstore.calls import Watch
from udfstore.client.files import OpenBlob
from udfstore.client.follow import Following, Loader, Model, Swap
from udfstore.digest import BlobId
from udfstore.errors import NotFound, UdfstoreError
from udfstore.model import Entry, Event
from udfstore.refs import Prefix, Tag


class Followed(Protocol):
    """What a follower needs of its store."""

    async def open(self, ref: str, /) -> OpenBlob: ...
    async def used(self, name: str, version: int, id: BlobId, /, *, error: str = "") -> int: ...
    def _watch(self, call: Watch, patience: float, /) -> AsyncGenerator[Event]: ...


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
        try:
            async for event in self._store._watch(Watch(Prefix(self.tag)), math.inf):
                for entry in event.entries:
                    await self._take(entry)
                if event.present and not event.entries and not self._first.is_set():
                    self.error = self.error or NotFound(f"no tag {self.tag} to follow yet")
                    self._first.set()
        except UdfstoreError as error:
            self.ended(error)
        finally:
            self._first.set()

    async def _take(self, entry: Entry) -> None:
        if not self.begins(entry):
            return
        if not self.has(entry):
            try:
                with await self._store.open(entry.ref) as blob:
                    self.put(await anyio.to_thread.run_sync(self._loader, blob), entry)
            except Exception as error:  # noqa: BLE001 - a loader is the user's code and may raise anything
                self.failed(entry, error)
        self._first.set()
        try:
            await self._store.used(*self.used(entry), error=self.failure)
        except UdfstoreError as error:
            self.unreported(entry, error)
