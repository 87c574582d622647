"""The asynchronous store behind the blocking names, so that one set of tests holds for all kinds of stores."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from anyio.from_thread import BlockingPortal

from udfstore.aio import AsyncStore

_END = object()


class Awaited:
    """An `AsyncStore` of a portal's event loop: each call is awaited there, each iterator gone through there."""

    def __init__(self, portal: BlockingPortal, store: AsyncStore) -> None:
        self._portal = portal
        self._store = store

    def close(self) -> None:
        self._portal.call(self._store.aclose)

    def follow(self, *arguments: Any, **options: Any) -> AbstractContextManager[Any]:
        return self._portal.wrap_async_context_manager(self._store.follow(*arguments, **options))

    @contextmanager
    def backup(self) -> Iterator[Iterator[Any]]:
        with self._portal.wrap_async_context_manager(self._store.backup()) as items:
            yield self._iterate(items)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if inspect.iscoroutinefunction(method):
            return lambda *arguments, **options: self._portal.call(partial(method, *arguments, **options))
        if callable(method):
            return lambda *arguments, **options: self._iterate(method(*arguments, **options))
        return method

    def _iterate(self, items: AsyncGenerator[Any]) -> Generator[Any]:
        async def following() -> Any:
            return await anext(items, _END)

        try:
            while (item := self._portal.call(following)) is not _END:
                yield item
        finally:
            self._portal.call(items.aclose)
