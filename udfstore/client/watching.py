"""Where a watch is, so that it goes on over reconnects with no gap and no repeat. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from udfstore import calls
from udfstore.model import Event


class Watching:
    """The cursor of one watch."""

    def __init__(self, call: calls.Watch) -> None:
        self._call = call
        self._since = call.since
        self._epoch = call.epoch
        self._listing = call.since is None
        """Whether present entries are still to come."""
        self._told: dict[str, int] = {}
        """Versions of the present entries told so far, until no event can repeat one."""
        self._newest = 0
        """The newest revision among those."""

    def call(self, epoch: int) -> calls.Watch:
        """What to ask a server for, the first time and again; `epoch` is the one it said it has.

        The first epoch met is kept: a store that was restored from a backup meanwhile answers `Conflict`.
        """
        if not self._epoch:
            self._epoch = epoch
        return replace(self._call, since=self._since, epoch=self._epoch)

    def new(self, items: Iterable[object]) -> Iterator[Event]:
        """Those of the server's events that were not told before."""
        for event in items:
            if not isinstance(event, Event):
                continue
            if event.present and not self._listing:
                continue
            entries = tuple(entry for entry in event.entries if entry.version > self._told.get(entry.tag, 0))
            if event.present and event.entries:
                self._told.update((entry.tag, entry.version) for entry in entries)
                self._newest = max(self._newest, *(entry.revision for entry in event.entries))
            else:
                self._since, self._listing = event.revision, False
                if event.revision >= self._newest:  # present entries may be newer than the revision they end with
                    self._told = {}
            if entries or not event.entries:
                yield replace(event, entries=entries)
