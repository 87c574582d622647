"""Backups under way, and who may read what was removed since they began."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from udfstore.admin import Item
from udfstore.model import Caller
from udfstore.store import Store


class Backups:
    """The backups that are open."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sessions: list[int] = []

    @contextlib.contextmanager
    def begin(self, caller: Caller) -> Iterator[Iterator[list[Item]]]:
        """A backup of this caller's: what it tells, in batches, each of which looks at the disk."""
        with self._store.backup() as pages:
            self._sessions.append(caller.session)
            try:
                yield pages
            finally:
                self._sessions.remove(caller.session)

    def held_for(self, caller: Caller) -> bool:
        """Whether content is held for this caller's connection."""
        return caller.session in self._sessions
