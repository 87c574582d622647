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
        self._told: dict[str, int] | None = {} if call.since is None else None
        """Versions of the present entries told so far; None once all of them were."""

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
            if not event.present:
                self._since = event.revision
                yield event
            elif self._told is not None:
                entries = tuple(entry for entry in event.entries if self._told.get(entry.tag) != entry.version)
                self._told.update((entry.tag, entry.version) for entry in entries)
                if not event.entries:  # the last of them
                    self._since, self._told = event.revision, None
                if entries or not event.entries:
                    yield replace(event, entries=entries)
