"""What a store measures of itself while it is open: how long syncs take, what saves brought, what was removed."""

from __future__ import annotations

import copy
import threading
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Bounds of times: from a call that is answered from memory to a blob on a slow disk."""

RECORDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)
"""Bounds of the size of a group: up to all that may wait for the committer."""


class Histogram:
    """How many values were how large. For one thread at a time to fill; any may take a copy."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.sum = 0.0
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        """One more value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def copy(self) -> Histogram:
        """What it is now."""
        twin = Histogram(self._bounds)
        twin.sum, twin._counts = self.sum, self._counts.copy()
        return twin

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._counts)

    def __iter__(self) -> Iterator[tuple[float, int]]:
        """Each bound, infinity last, with the number of values up to it."""
        return zip((*self._bounds, float("inf")), accumulate(self._counts), strict=True)


@dataclass(slots=True)
class Saves:
    """Saves that ended well, and their bytes."""

    count: int = 0
    bytes: int = 0


@dataclass(slots=True)
class StoreFigures:
    """What was measured since the store was opened."""

    group_seconds: Histogram = field(default_factory=Histogram)
    """For a group of records to be written to the log and synced."""
    group_records: Histogram = field(default_factory=lambda: Histogram(RECORDS))
    blob_seconds: Histogram = field(default_factory=Histogram)
    """For written content to be synced and get its name."""
    new: Saves = field(default_factory=Saves)
    existed: Saves = field(default_factory=Saves)
    """Content that the store had already."""
    removed: int = 0
    """Blobs whose files were unlinked."""
    verified: int = 0
    """Blobs that a scrub or a check hashed and found right."""
    damaged: int = 0
    """How often one found a blob that was not."""
    sweeps: int = 0
    failed_sweeps: int = 0


class StoreMeters:
    """The figures of one store. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures = StoreFigures()

    def committed(self, records: int, seconds: float) -> None:
        """A group was written and synced."""
        with self._lock:
            self._figures.group_records.observe(records)
            self._figures.group_seconds.observe(seconds)

    def published(self, seconds: float) -> None:
        """A blob was synced and named."""
        with self._lock:
            self._figures.blob_seconds.observe(seconds)

    def landed(self, count: int, seconds: float) -> None:
        """So many small blobs were made durable and named together."""
        with self._lock:
            for _ in range(count):
                self._figures.blob_seconds.observe(seconds)

    def saved(self, size: int, *, existed: bool) -> None:
        """A save ended well."""
        with self._lock:
            saves = self._figures.existed if existed else self._figures.new
            saves.count += 1
            saves.bytes += size

    def removed(self, blobs: int) -> None:
        """Files of blobs were unlinked."""
        with self._lock:
            self._figures.removed += blobs

    def scrubbed(self, *, right: int, damaged: int) -> None:
        """So many blobs were looked at."""
        with self._lock:
            self._figures.verified += right
            self._figures.damaged += damaged

    def swept(self, *, failed: bool) -> None:
        """A look for removed files whose time had come is over."""
        with self._lock:
            self._figures.sweeps += 1
            self._figures.failed_sweeps += failed

    def read(self) -> StoreFigures:
        """All figures as they are now."""
        with self._lock:
            return copy.deepcopy(self._figures)
