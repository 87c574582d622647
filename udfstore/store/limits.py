"""What a store refuses, and how it lays itself out: each number with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from udfstore.errors import UsageError
from udfstore.store.retention import Rule

KIB, MIB = 1 << 10, 1 << 20

JOURNAL_SEGMENTS = 8
"""Segments of the journal: while those that are full wait for a checkpoint, saves go on in the others."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Limits of one store. Sizes are bytes, times seconds."""

    blob_bytes: int | None = None
    """Largest blob; None: whatever the disk takes. The promise is that blobs have no size of their own."""

    floor_bytes: int = 16 * MIB
    """Free space below which saves are refused: room for two log segments and a full catalog journal, so that tags,
    removals and gc still work on a disk that saves have filled."""

    reserve_bytes: int = 4 * MIB
    """Size of the `reserve` file: what SQLite's journal grows to before it is folded into the catalog (1,000 pages)."""

    segment_bytes: int = 4 * MIB
    """Size of a log segment: about 10,000 moves, a few milliseconds to preallocate."""

    group_bytes: int = 1 * MIB
    """Largest group of records that one sync makes durable. Above it more company no longer lowers the cost of a
    record; it bounds what one torn write can cover, and two always fit a segment."""

    record_bytes: int = 48 * KIB
    """Largest payload of a record: the encoding of the wire is never longer, so one always fits a page there."""

    queue: int = 4096
    """Changes that may wait for the committer; the next is told `busy`. At 15,000 a second that is 0.3 s."""

    preallocate_from: int = 8 * MIB
    """Announced sizes from here on are allocated before the first byte: a full disk is told at once, the file lies in
    one piece. Below it the extra call costs more than it brings."""

    small_bytes: int = 64 * KIB
    """Largest content that becomes durable through the journal: above it a copy more costs as much as the syncs that it
    saves. 0: none does."""

    journal_bytes: int = 64 * MIB
    """Size of the journal: some 15,000 small blobs between two checkpoints at most, which a start reads in a tenth of a
    second."""

    checkpoint_s: float = 10.0
    """How long a small blob lies in the journal before its file is synced, when there are few: what comes back from the
    journal after a power cut stays little."""

    trash_grace_s: int = 3600
    """How long a removed file stays in `trash/` before it is unlinked: time to notice a mistake."""

    gc_grace_s: int = 86400
    """How long content stays that nothing keeps, from when that is found out: whoever saved it has a day to name it."""

    uploads: int = 100
    """Resumable uploads that are not complete; the next is told `busy`. Each may hold as much as the disk takes."""

    upload_expiry_s: int = 86400
    """How long a resumable upload is kept without progress, and its result afterwards: a night and a working day."""

    retention: tuple[Rule, ...] = ()
    """Which versions of tags keep their content; without a rule all do, but for those of automatic snapshots."""

    def __post_init__(self) -> None:
        if self.record_bytes + KIB > self.group_bytes or 2 * self.group_bytes + KIB > self.segment_bytes:
            raise UsageError(
                "a record must fit a group, and two groups a segment",
                got=f"record {self.record_bytes}, group {self.group_bytes}, segment {self.segment_bytes}",
            )
        if self.journal_bytes < JOURNAL_SEGMENTS * (self.small_bytes + KIB):
            raise UsageError(
                "a segment of the journal, an eighth of it, must hold the largest small blob",
                got=f"journal {self.journal_bytes}, small {self.small_bytes}",
            )
