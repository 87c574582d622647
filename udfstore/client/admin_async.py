"""The part of the asynchronous API that is for operators; see `udfstore.client.admin`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import TypeVar

from udfstore import calls
from udfstore.admin import (
    AddToken,
    Backup,
    BackupEnd,
    BackupItem,
    Can,
    CheckItem,
    Garbage,
    Link,
    ListTokens,
    MakeLink,
    NewToken,
    ReadMetrics,
    RemoveToken,
    Text,
    Token,
    check_token_name,
)
from udfstore.client import arguments

Item = TypeVar("Item")


class AsyncAdminCalls(ABC):
    """What operators ask of a store; see `AdminCalls`."""

    @abstractmethod
    async def _ask(self, call: calls.PlainCall) -> calls.Result: ...

    @abstractmethod
    def _items(self, call: calls.StreamCall, kind: type[Item]) -> AsyncGenerator[Item]: ...

    async def add_token(self, name: str, can: Can | str = "read") -> NewToken:
        """Make a token for the HTTP API: for `metrics`, to `read`, or to `write`. `Conflict` when the name is taken."""
        call = AddToken(check_token_name(name), arguments.can(can))
        return arguments.answer(await self._ask(call), NewToken)

    async def remove_token(self, name: str) -> Token:
        """Revoke a token, at once. `NotFound`."""
        return arguments.answer(await self._ask(RemoveToken(name)), Token)

    def tokens(self) -> AsyncIterator[Token]:
        """All tokens, by name."""
        return self._items(ListTokens(), Token)

    async def web_link(self) -> Link:
        """A link that logs a browser into the server's web page once, as you. `Unsupported` where HTTP is off."""
        return arguments.answer(await self._ask(MakeLink()), Link)

    async def metrics(self, *, names: bool = True) -> str:
        """All metrics of the server in Prometheus' text format. `names`: with the names of tasks and tags."""
        return "".join([part.text async for part in self._items(ReadMetrics(names), Text)])

    def collect(
        self, *, grace: float | None = None, now: bool = False, dry_run: bool = False
    ) -> AsyncIterator[Garbage]:
        """Make room: mark what nothing keeps, and remove what was marked for the grace time; gives each such blob."""
        return self._items(arguments.collect(grace, now, dry_run), Garbage)

    @asynccontextmanager
    async def backup(self) -> AsyncIterator[AsyncIterator[BackupItem]]:
        """The names of the store at one moment, and what content belongs to them, while this is open."""
        async with (
            aclosing(self._items(Backup(), BackupItem)) as items,
            aclosing(_until_the_end(items)) as told,
        ):
            yield told

    def check(self, *, since: datetime | int | None = None, repair: bool = False) -> AsyncIterator[CheckItem]:
        """Hold files, log and catalog of the store against each other: what is wrong (`Finding`), and how far
        it is (`Checked`).

        It goes on as its items are taken. `since` leaves out content that was verified since then; `repair` takes
        damaged files out of use, and tells the catalog of blobs that it does not know.
        """
        return self._items(arguments.check(since, repair), CheckItem)


async def _until_the_end(items: AsyncGenerator[BackupItem]) -> AsyncGenerator[BackupItem]:
    """The items, but not what comes after them: that would end the call."""
    async for item in items:
        yield item
        if isinstance(item, BackupEnd):
            return
