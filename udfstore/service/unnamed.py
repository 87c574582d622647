"""What callers saved that no entry keeps yet: beside what entries keep it counts for them, while they are connected.

Plain data, and only where quotas are set. What has got an entry meanwhile is looked for when it matters: when there
seems to be no room, and when there is too much to remember.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from udfstore import quota
from udfstore.calls import Usage
from udfstore.digest import BlobId
from udfstore.errors import Busy, NoSpace
from udfstore.model import Caller
from udfstore.store import Room, Store

REMEMBERED = 16_384
"""Blobs without an entry that one owner may have: 3 MB, and some 50 ms to look for them all."""


@dataclass(slots=True)
class _Saved:
    """What one owner saved, by connection. `looked_at`: the revision at which all that had an entry was left out."""

    of: dict[Hashable, dict[BlobId, int]] = field(default_factory=dict)
    count: int = 0
    bytes: int = 0
    looked_at: int = -1

    def add(self, holder: Hashable, id: BlobId, size: int) -> None:
        """Remember content."""
        self.of.setdefault(holder, {})[id] = size
        self.count, self.bytes = self.count + 1, self.bytes + size

    def drop(self, holder: Hashable, id: BlobId) -> None:
        """Forget content, if it is remembered."""
        size = self.of.get(holder, {}).pop(id, None)
        if size is not None:
            self.count, self.bytes = self.count - 1, self.bytes - size

    def leave(self, holder: Hashable) -> None:
        """Forget all of a connection."""
        for id in list(self.of.get(holder, ())):
            self.drop(holder, id)
        self.of.pop(holder, None)


class Unnamed:
    """The judgement of saves by the quotas of a store. For any thread."""

    def __init__(self, store: Store, hides: Callable[[Caller, BlobId], bool]) -> None:
        self._store, self._hides = store, hides
        self._saved: dict[str, _Saved] = {}
        self._lock = threading.Lock()

    def room(self, caller: Caller) -> Room:
        """The room that there is for one save of a caller."""
        most = self._store.quotas.of(caller.author.owner)
        return Room() if most is None else _RoomOf(self, caller, most)

    def check(self, caller: Caller, most: int, coming: int) -> None:
        """Refuse a save of so many bytes that would pass the quota of its caller (`NoSpace`).

        Where content of just that size counts already, it may turn out to be that: it is judged when it is known.
        """
        owner = caller.author.owner
        try:
            with self._lock:
                self._check(owner, self._saved.get(owner) or _Saved(), most, coming)
        except NoSpace:
            if not self._store.is_size_owned(coming):
                raise

    def take(self, caller: Caller, most: int, id: BlobId, size: int) -> bool:
        """Count content for a caller, unless it counts already; says whether that is new.

        Raises `NoSpace`, and `Busy` for too many blobs without an entry.
        """
        if self._store.is_owned(id) and not self._hides(caller, id):
            return False
        owner = caller.author.owner
        with self._lock:
            saved = self._saved.get(owner) or _Saved()
            if id in saved.of.get(caller.holder, ()):
                return False
            self._check(owner, saved, most, size)
            if saved.count >= REMEMBERED:
                self._look(saved)
            if saved.count >= REMEMBERED:
                raise Busy(f"{owner} saved too much that no tag names", expected=f"at most {REMEMBERED} blobs")
            self._saved[owner] = saved
            saved.add(caller.holder, id, size)
            return True

    def give_back(self, caller: Caller, id: BlobId) -> None:
        """That content did not come to be."""
        with self._lock:
            self._saved.get(caller.author.owner, _Saved()).drop(caller.holder, id)

    def left(self, caller: Caller) -> None:
        """The connection of a caller is over."""
        with self._lock:
            saved = self._saved.get(caller.author.owner)
            if saved is not None:
                saved.leave(caller.holder)
                if not saved.of:
                    del self._saved[caller.author.owner]

    def usage(self) -> list[Usage]:
        """What counts for whom, most bytes first: for all owners of anything, and all that a quota names.

        Without quotas for none: nobody asks then.
        """
        quotas = self._store.quotas
        if not quotas:
            return []
        with self._lock:
            for saved in self._saved.values():
                self._look(saved)
            unnamed = {owner: saved.bytes for owner, saved in self._saved.items()}
        kept = {owner: (blobs, size) for owner, blobs, size in self._store.owners()}
        return [
            Usage(owner, *kept.get(owner, (0, 0)), unnamed.get(owner, 0), quotas.of(owner))
            for owner in dict.fromkeys((*kept, *unnamed, *quotas.named))
        ]

    def _check(self, owner: str, saved: _Saved, most: int, coming: int) -> None:
        if self._store.owned(owner) + saved.bytes + coming > most:
            self._look(saved)
        quota.check(owner, most, self._store.owned(owner) + saved.bytes, coming)

    def _look(self, saved: _Saved) -> None:
        """Leave out what has an entry by now, and what was removed."""
        revision = self._store.revision
        if revision != saved.looked_at:
            for holder, sizes in saved.of.items():
                for id in self._store.settled(sizes):
                    saved.drop(holder, id)
            saved.looked_at = revision


@dataclass(slots=True)
class _RoomOf(Room):
    unnamed: Unnamed
    caller: Caller
    most: int
    counted: BlobId | None = None

    def check(self, coming: int) -> None:
        self.unnamed.check(self.caller, self.most, coming)

    def take(self, id: BlobId, size: int) -> None:
        if self.unnamed.take(self.caller, self.most, id, size):
            self.counted = id

    def give_back(self) -> None:
        if self.counted is not None:
            self.unnamed.give_back(self.caller, self.counted)
