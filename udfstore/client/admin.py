"""The part of the Python API that is for operators: tokens, links into the web page, metrics, backups."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from datetime import datetime

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
from udfstore.client.retry import never


class AdminCalls(ABC):
    """What operators ask of a store."""

    @abstractmethod
    def _ask(self, call: calls.PlainCall, called_off: Callable[[], bool] = never) -> calls.Result: ...

    @abstractmethod
    def _items(self, call: calls.StreamCall) -> Generator[calls.Item]: ...

    def add_token(self, name: str, can: Can | str = "read") -> NewToken:
        """Make a token for the HTTP API: for `metrics`, to `read`, or to `write`. `Conflict` when the name is taken.

        `.secret` is told this once. If the connection is lost before the answer, the repeat may find the name taken:
        remove the token, then, and make it again.
        """
        return arguments.answer(self._ask(AddToken(check_token_name(name), arguments.can(can))), NewToken)

    def remove_token(self, name: str) -> Token:
        """Revoke a token, at once. `NotFound`."""
        return arguments.answer(self._ask(RemoveToken(name)), Token)

    def tokens(self) -> Iterator[Token]:
        """All tokens, by name."""
        return arguments.only(self._items(ListTokens()), Token)

    def web_link(self) -> Link:
        """A link that logs a browser into the server's web page once, as you. `Unsupported` where HTTP is off."""
        return arguments.answer(self._ask(MakeLink()), Link)

    def metrics(self, *, names: bool = True) -> str:
        """All metrics of the server in Prometheus' text format. `names`: with the names of tasks and tags."""
        return "".join(part.text for part in arguments.only(self._items(ReadMetrics(names)), Text))

    def collect(self, *, grace: float | None = None, now: bool = False, dry_run: bool = False) -> Iterator[Garbage]:
        """Make room: mark what nothing keeps, and remove what was marked for the grace time; gives each such blob.

        It goes on as you iterate. `grace`: another grace time than the server's, in seconds. `now`: files are unlinked
        at once, instead of after an hour in the trash. `dry_run`: nothing is changed.
        """
        return arguments.only(self._items(arguments.collect(grace, now, dry_run)), Garbage)

    @contextmanager
    def backup(self) -> Iterator[Iterator[BackupItem]]:
        """The names of the store at one moment, and what content belongs to them, while this is open.

            with store.backup() as items:
                for item in items:
                    ...

        Gives a `BackupHead`, a `BackupBlob` for each blob, `LogPart`s, and a `BackupEnd`. Until the end of the block
        all those blobs can be loaded by ID from this store, even those that are deleted meanwhile. A connection that
        is lost ends that.
        """
        with closing(self._items(Backup())) as items:
            yield _until_the_end(items)

    def check(self, *, since: datetime | int | None = None, repair: bool = False) -> Iterator[CheckItem]:
        """Hold files, log and catalog of the store against each other: what is wrong (`Finding`), and how far
        it is (`Checked`).

        It goes on as its items are taken, so whoever takes them sets the pace. `since` leaves out content that was
        verified since then (nanoseconds since 1970, or a time). `repair` takes damaged files out of use, as `verify`
        does, and tells the catalog of blobs that it does not know; all else is left as it is.
        """
        return arguments.only(self._items(arguments.check(since, repair)), CheckItem)


def _until_the_end(items: Iterator[calls.Item]) -> Iterator[BackupItem]:
    """The items, but not what comes after them: that would end the call."""
    for item in arguments.only(items, BackupItem):
        yield item
        if isinstance(item, BackupEnd):
            return
