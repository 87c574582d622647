"""Content that somebody relies on before any name does: what was asked for or saved again a short while ago."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from udfstore.digest import BlobId

WANTED_NS = 300 * 1_000_000_000
"""How long content stays wanted: a round's states are saved, answered and committed well within five minutes."""

MOST = 10_000
"""Blobs that are remembered, the newest ones: about two megabytes. Who relies on one beyond them may be told that it is
gone when a tag is to name it, and saves it again."""


class Wanted:
    """Which content must not be removed without a grace time, though nothing names or links it at present.

    Only content that was there before needs it: what is new has no entry whose end could take it along. For any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: OrderedDict[BlobId, int] = OrderedDict()
        self._leaving: set[BlobId] = set()
        self._refused: set[BlobId] = set()

    def want(self, id: BlobId, now_ns: int) -> bool:
        """Rely on content from here on. False: it is leaving, and must be saved again."""
        with self._lock:
            self._since[id] = now_ns
            self._since.move_to_end(id)
            if len(self._since) > MOST:
                self._since.popitem(last=False)
            return id not in self._leaving

    def settle(self, ids: Iterable[BlobId]) -> None:
        """An entry names or links them: that keeps them from here on."""
        with self._lock:
            for id in ids:
                self._since.pop(id, None)

    def leave(self, id: BlobId, now_ns: int) -> bool:
        """Whether content may be removed: nobody wanted it of late. From here on to `left`, nobody can."""
        with self._lock:
            if 0 <= now_ns - self._since.get(id, now_ns - WANTED_NS) < WANTED_NS:  # not from a clock that was ahead
                return False
            self._since.pop(id, None)
            self._leaving.add(id)
            return True

    def left(self) -> None:
        """All that was leaving is in the catalog for all to see, or came to nothing: for the committer to say."""
        with self._lock:
            self._leaving.clear()

    def postpone(self, ids: Iterable[BlobId]) -> None:
        """These might go with what snapshots kept, but not in this step."""
        with self._lock:
            self._refused.update(ids)

    def postponed(self) -> list[BlobId]:
        """What could not go when nothing kept it any more: to be judged once more."""
        with self._lock:
            ids, self._refused = list(self._refused), set()
            return ids
