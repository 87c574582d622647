"""What a backup needs to know of a store: its names at one moment, and what content belongs to them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from itertools import islice

from udfstore.admin import PART_BYTES, BackupBlob, BackupEnd, BackupHead, Item, LogPart
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Corrupt
from udfstore.store import osfs
from udfstore.store.format import render
from udfstore.store.groups import SEGMENT_HEAD_BYTES, Damaged, Group
from udfstore.store.log import Head, check_segment, groups_in, read_groups, read_segment
from udfstore.store.parts import Parts
from udfstore.store.view import View

BATCH = 500
"""Blobs told at once: about a millisecond."""

Load = Callable[[int], bytes]
"""Gives the bytes of a segment of a log, by its number. Raises `FileNotFoundError`, `Damaged`."""


def pages(parts: Parts) -> Generator[list[Item]]:
    """What `admin.Backup` tells, in batches; raises `Corrupt` where the log is damaged.

    The moment is that of the first batch. The catalog is read as it stood then until the blobs are told; the log only
    grows, so what it held then can be read later.
    """
    with parts.catalog.reading() as view:
        head = view.head()
        blobs, size, _ = view.totals()
        loose = list(_loose(view, parts))
        yield [
            BackupHead(
                store_id=parts.format.id,
                epoch=parts.format.epoch,
                revision=head.revision,
                format=render(parts.format),
                blobs=blobs + len(loose),
                bytes=size + sum(blob.size for blob in loose),
                log_bytes=_log_bytes(parts, head),
                time_ns=parts.clock(),
            )
        ]
        known = (BackupBlob(*row) for row in view.here())
        ordered = heapq.merge(known, loose, key=lambda blob: blob.id)
        while batch := list(islice(ordered, BATCH)):
            yield [*batch]
    with osfs.telling("reading the log"):
        for number, data in segments(loader(parts), head):
            for start in range(0, len(data), PART_BYTES):
                yield [LogPart(number, data[start : start + PART_BYTES])]
    yield [BackupEnd()]


def segments(load: Load, until: Head) -> Iterator[tuple[int, bytes]]:
    """The segments of a log, each without what follows its last group, up to the group that ends at `until`.

    Raises `Corrupt` unless every group up to there is whole and follows the one before.
    """
    last = Head()
    if last.revision < until.revision:
        for _, head in read_groups(load, last):
            if head.segment != last.segment:
                yield last.segment, load(last.segment)[: last.end]
            last = head
            if head.revision >= until.revision:
                break
    if last != until:
        place = f"log {last.segment:08d}, offset {last.end}, behind revision {last.revision}"
        raise Corrupt(f"{place}: the log is damaged here", expected=f"revision {until.revision}")
    yield last.segment, load(last.segment)[: last.end]


class LogCheck:
    """Follows a log of a store, segment by segment, none with anything behind its last group. `head` is its end."""

    def __init__(self, store: bytes) -> None:
        self.head = Head()
        self._store = store
        self._number = 0

    def add(self, number: int, data: bytes, past: tuple[int, bytes] | None = None) -> None:
        """Take the next segment. `past`: a revision that a group ended at once, and the hash of that group.

        Raises `Corrupt` for damage, and `Conflict` where another group lies at the past revision: another history.
        """
        try:
            if number != self._number + 1:
                raise Damaged(f"it does not follow segment {self._number:08d}")
            check_segment(data, self._store, number)
        except Damaged as damage:
            raise Corrupt(f"log {number:08d}: {damage}") from damage
        self._number = number
        self.head = replace(self.head, segment=number, start=0, end=SEGMENT_HEAD_BYTES)
        for group, head in groups_in(data, self.head):
            self.head = head
            if past is not None and _contradicts(group, *past):
                raise Conflict(
                    f"the store has another history than the one that was backed up here: revision {past[0]} differs"
                )
        if self.head.end != len(data):
            raise Corrupt(f"log {number:08d}, offset {self.head.end}: the log is damaged here")


def _contradicts(group: Group, revision: int, chain: bytes) -> bool:
    """Whether a group tells that none of that hash ended at that revision. A gap does not know what ended within it."""
    known = bool(group.records) or group.last == revision
    return known and group.revision <= revision <= group.last and (revision, chain) != (group.last, group.chain)


def loader(parts: Parts) -> Load:
    """Gives the segments of the log as they are on the disk; keeps the last one at hand."""
    cached: tuple[int, bytes] = (0, b"")

    def load(number: int) -> bytes:
        nonlocal cached
        if cached[0] != number:
            cached = number, read_segment(parts.layout, parts.format.id, number)
        return cached[1]

    return load


def _log_bytes(parts: Parts, head: Head) -> int:
    """Bytes of the log up to `head`, the ends of full segments that no group fills included."""
    with osfs.telling("looking at the log"):
        full = sum(parts.layout.segment(number).stat().st_size for number in range(1, head.segment))
    return full + head.end


def _loose(view: View, parts: Parts) -> Iterator[BackupBlob]:
    for id in view.links_not_indexed():
        yield BackupBlob(id, *_found(parts, id))


def _found(parts: Parts, id: BlobId) -> tuple[int, int]:
    with osfs.telling(f"looking at blob {id.short}"):
        try:
            found = parts.layout.blob(id).stat()
        except FileNotFoundError:
            return 0, 0  # whoever loads it is told that it is missing
    return found.st_size, found.st_mtime_ns
