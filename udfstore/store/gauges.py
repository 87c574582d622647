"""What of a store operators watch beside its figures: how much there is of what, all of it at one revision."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from udfstore.digest import BlobId
from udfstore.store.catalog import Catalog

COUNT_AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much a store holds. Sizes are bytes."""

    blobs: int
    bytes: int
    tags: int
    """Tags that are not deleted, those of snapshots too."""
    revision: int
    leaving: int
    """Removed blobs whose files are not unlinked yet."""
    leaving_bytes: int


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest version of a tag: the blob it names (None: the tag is deleted)."""

    version: int
    id: BlobId | None


class Gauges:
    """Reads of one store. For any thread; they block on the disk and raise as the store's other reads."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._repeated = 0.0, 0

    def amounts(self) -> Amounts:
        """How much there is."""
        with self._catalog.reading() as view:
            return Amounts(*view.totals(), view.head().revision, *view.leaving())

    def repeated(self) -> int:
        """How many bytes more it would be if each version of each tag had a copy of its own: at most a minute old.

        To count takes about half a second for a million versions.
        """
        until, found = self._repeated
        if time.monotonic() >= until:
            with self._catalog.reading() as view:
                found = view.repeated()
            self._repeated = time.monotonic() + COUNT_AGAIN_SECONDS, found
        return found

    def newest(self, tags: Iterable[str]) -> dict[str, Newest]:
        """The newest version of each of these tags that ever was."""
        with self._catalog.reading() as view:
            found = {tag: view.newest_of(tag) for tag in tags}
        return {tag: Newest(*newest) for tag, newest in found.items() if newest}

    def since(self, tag: str, version: int) -> int | None:
        """When a version of a tag was made, in nanoseconds since 1970; None: it never was."""
        with self._catalog.reading() as view:
            entry = view.entry(tag, version)
        return entry.time_ns if entry else None

    def versions(self, most: int) -> tuple[dict[str, int], int]:
        """The newest version of each tag that is no snapshot's, the first `most` by name; and how many more are."""
        with self._catalog.reading() as view:
            versions = dict(view.versions_outside_snapshots(most))
            return versions, view.count_outside_snapshots() - len(versions)
