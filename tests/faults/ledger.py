"""What was acknowledged, kept outside the process that is killed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from udfstore.digest import BlobId
from udfstore.errors import Gone, NotFound
from udfstore.model import Entry


class Ledger:
    """Acknowledged saves, and acknowledged moves of one tag; and that a store still has them."""

    def __init__(self) -> None:
        self.saved: set[BlobId] = set()
        self.moved: dict[int, BlobId] = {}
        self.leaving: set[BlobId] = set()
        self.removed: set[BlobId] = set()

    def save(self, id: BlobId) -> None:
        self.saved.add(id)
        self.leaving.discard(id)

    def move(self, version: int, id: BlobId) -> None:
        assert version not in self.moved, "a version number was given twice"
        self.moved[version] = id

    def remove(self, id: BlobId) -> None:
        """From here on it may be gone: called before the removal is asked for."""
        self.saved.discard(id)
        self.leaving.add(id)

    def gone(self, id: BlobId) -> None:
        """Its removal was acknowledged; it is not saved again."""
        self.removed.add(id)

    def check(self, root: Path, verify: Callable[[BlobId], object], history: Sequence[Entry]) -> None:
        """All of it is there, and nothing half done: `history` is the tag's, `verify` raises for a bad blob."""
        versions = {entry.version: entry.id for entry in history}
        assert sorted(versions) == list(range(1, len(history) + 1)), "a gap, or a version twice"
        assert {version: versions.get(version) for version in self.moved} == self.moved, "a move was lost"
        for id in self.saved.union(id for id in versions.values() if id is not None):
            verify(id)
        for id in self.leaving:
            with contextlib.suppress(Gone, NotFound):
                verify(id)
                assert id not in self.removed, "a removal was lost"
        assert list((root / "staging").iterdir()) == [], "half a save was left"
