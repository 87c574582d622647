"""The tag log on disk: hash-chained groups in preallocated segments. One thread at a time; see FORMAT.md.

`groups` reads what follows a place known to be good; `settle` then judges the bytes behind the last whole group, and
only after it said "" may anything be appended.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from udfstore.errors import Corrupt, NoSpace
from udfstore.model import Kind
from udfstore.store import osfs
from udfstore.store.groups import (
    GENESIS,
    SEGMENT_HEAD_BYTES,
    Damaged,
    Group,
    SegmentHead,
    decode_group,
    decode_segment_head,
    encode_group,
    encode_segment_head,
    find_group,
)
from udfstore.store.layout import Layout, segment_number
from udfstore.store.limits import StoreLimits


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a log: newest revision, hash of the last group, and where that group starts and ends."""

    revision: int = 0
    chain: bytes = GENESIS
    segment: int = 1
    start: int = 0
    end: int = SEGMENT_HEAD_BYTES


class HeadMoved(Exception):
    """The log's newest revision is not the one that was named: read what is new, then judge again."""


class LogFailed(Exception):
    """Whether the group is in the log is not known; only a restart can tell. The message says what failed."""


class Log(Protocol):
    """What the committer needs of a log. A shared one may answer `HeadMoved`; a file's never does."""

    head: Head

    def append(self, records: Sequence[tuple[Kind, bytes]], *, after: int) -> Head:
        """Make records durable as one group behind revision `after`, all or none, and give the new head.

        Raises `HeadMoved`; an `UdfstoreError` when nothing was written, `NoSpace` above all; `LogFailed`.
        """

    def groups(self, after: Head) -> Iterator[tuple[Group, Head]]:
        """Whole groups behind `after` in order, each with the head it makes."""

    def prepare(self) -> None:
        """Make room for later appends, when that does not keep anybody waiting."""

    def close(self) -> None:
        """Release descriptors."""


def read_groups(load: Callable[[int], bytes], after: Head) -> Iterator[tuple[Group, Head]]:
    """Whole groups behind `after` in order, each with the head it makes, of a log whose segments `load` gives.

    Ends silently at the first bytes that are no whole group of the chain, where `load` raises `Damaged`, and at a
    segment that is not there (`FileNotFoundError`).
    """
    head = after
    while True:
        for number, offset in ((head.segment, head.end), (head.segment + 1, SEGMENT_HEAD_BYTES)):
            try:
                group = decode_group(load(number), offset)
            except (Damaged, FileNotFoundError):
                continue
            if group.revision == head.revision + 1 and group.previous == head.chain:
                head = Head(group.last, group.chain, number, offset, offset + group.length)
                yield group, head
                break
        else:
            return


def start_of(data: bytes, number: int) -> Head:
    """Where the first group of a segment begins, and what it says that it follows. Raises `Damaged` where none is."""
    first = decode_group(data, SEGMENT_HEAD_BYTES)
    return Head(first.revision - 1, first.previous, number)


def groups_in(data: bytes, after: Head) -> Iterator[tuple[Group, Head]]:
    """As `read_groups`, of the one segment that `after` names."""

    def load(number: int) -> bytes:
        if number != after.segment:
            raise FileNotFoundError
        return data

    return read_groups(load, after)


def check_segment(data: bytes, store: bytes, number: int) -> SegmentHead:
    """The head of a segment, if it is that segment of this store's log. Raises `Damaged`."""
    head = decode_segment_head(data)
    if (head.store, head.number) != (store, number):
        raise Damaged("it belongs to another store or place")
    return head


def read_segment(layout: Layout, store: bytes, number: int) -> bytes:
    """A whole segment. Raises `FileNotFoundError`, `Damaged` for one with a wrong head or length."""
    data = layout.segment(number).read_bytes()
    head = check_segment(data, store, number)
    if head.size != len(data):
        raise Damaged(f"it has {len(data)} bytes instead of {head.size}")
    return data


class FileLog:
    """The log of one store. `store` is the store ID; `say` gets lines for people."""

    def __init__(self, layout: Layout, store: bytes, limits: StoreLimits, say: Callable[[str], None]) -> None:
        self.head = Head()
        self._layout = layout
        self._store = store
        self._limits = limits
        self._say = say
        self._fd = -1
        self._open_number = 0
        self._size = 0
        self._failed = ""

    def create(self) -> None:
        """Make the first segment."""
        self._make_segment(1)

    def check_there(self) -> None:
        """Refuse a log folder without a first segment: a missing log is not an empty store."""
        if not self._layout.segment(1).exists():
            raise Corrupt(f"the log is missing: {self._layout.segment(1)} is not there; restore it from a backup")

    def empty(self) -> bool:
        """Whether no group was ever written."""
        return next(self.groups(Head()), None) is None

    # --- reading ---------------------------------------------------------------------------------------------------

    def group_at(self, head: Head) -> Group:
        """The last group before `head`. Raises `Damaged` when it is not there as `head` says."""
        group = decode_group(self._load(head.segment), head.start)
        if (group.last, group.chain) != (head.revision, head.chain):
            raise Damaged(f"group at revision {group.revision}: not the one that was applied")
        return group

    def was_shed(self, number: int) -> bool:
        """Whether a segment was written anew without some of its records: places in it are not what they were."""
        try:
            data = self._load(number)
            return any(group.shed() for group, _ in groups_in(data, start_of(data, number)))
        except (Damaged, FileNotFoundError):
            return False

    def groups(self, after: Head) -> Iterator[tuple[Group, Head]]:
        """As `Log.groups`; ends silently at the first bytes that are no whole group of the chain."""
        self._cached = (0, b"")  # it may have grown
        return read_groups(self._load, after)

    def _load(self, number: int) -> bytes:
        if number != self._cached[0]:
            self._cached = (number, read_segment(self._layout, self._store, number))
        return self._cached[1]

    _cached: tuple[int, bytes] = (0, b"")

    # --- the tail --------------------------------------------------------------------------------------------------

    def settle(self, head: Head) -> str:
        """Judge what lies behind the last whole group, and cut it if it is the one group that was never synced.

        `head` must not lie before what the catalog has applied. Returns "" when the log may be appended to, else what
        is wrong with it: rot, told by group.
        """
        problem = self._rot(head)
        if not problem:
            self._cut(head)
            self.head = head
        self._cached = (0, b"")
        return problem

    def _rot(self, head: Head) -> str:
        where = f"log {head.segment:08d}, offset {head.end}, behind revision {head.revision}"
        tails: list[tuple[int, int]] = []
        largest = 0
        numbers = self._numbers()
        lost = set(range(1, max(numbers | {head.segment}) + 1)) - numbers
        if lost:
            return f"{where}: segment {min(lost):08d} is missing"
        for number in range(head.segment, max(numbers) + 1):
            try:
                data = self._load(number)
            except Damaged as damage:
                return f"{where}: segment {number:08d}: {damage}"
            largest = max(largest, decode_segment_head(data).largest)
            begin = head.end if number == head.segment else SEGMENT_HEAD_BYTES
            later = find_group(data, begin, head.revision)
            if later is not None:
                return f"{where}: {self._damage(head)}; a whole group at revision {later[1].revision} follows it"
            extent = len(data[begin:].rstrip(b"\0"))
            if extent:
                tails.append((number, extent))
        if len(tails) > 1 or any(extent > largest for _, extent in tails):
            return f"{where}: {self._damage(head)}; more is damaged than one group can cover"
        return ""

    def _damage(self, head: Head) -> str:
        try:
            decode_group(self._load(head.segment), head.end)
        except Damaged as damage:
            return str(damage)
        return "the group here does not follow the one before"

    def _cut(self, head: Head) -> None:
        for number in range(head.segment, max(self._numbers()) + 1):
            data = self._load(number)
            begin = head.end if number == head.segment else SEGMENT_HEAD_BYTES
            extent = len(data[begin:].rstrip(b"\0"))
            if not extent:
                continue
            copy = self._keep_copy(number, begin, data[begin : begin + extent])
            self._blank(number, begin, extent)
            self._say(
                f"the log ended in a write that a crash broke off, never acknowledged: {extent} bytes cut"
                f" (segment {number:08d}, offset {begin}) and kept as {copy}"
            )

    def _keep_copy(self, number: int, offset: int, data: bytes) -> str:
        taken = {path.name for path in self._layout.log.iterdir()}
        tries = (f"cut-{number:08d}-{offset}-{n}" for n in range(1, len(taken) + 2))
        name = next(name for name in tries if name not in taken)
        osfs.write_file(self._layout.log / name, data)
        osfs.fsync_folder(self._layout.log)
        return name

    def _blank(self, number: int, offset: int, length: int) -> None:
        fd = osfs.open_update(self._layout.segment(number))
        try:
            osfs.pwrite(fd, memoryview(bytes(length)), offset)
            osfs.fdatasync(fd)
        finally:
            osfs.close(fd)

    def _numbers(self) -> set[int]:
        found = (segment_number(path.name) for path in self._layout.log.iterdir())
        return {number for number in found if number is not None}

    # --- writing ---------------------------------------------------------------------------------------------------

    def append(self, records: Sequence[tuple[Kind, bytes]], *, after: int) -> Head:
        """As `Log.append`. After a `LogFailed` every later append fails too: what the disk holds is not known."""
        if self._failed:
            raise LogFailed(self._failed)
        if after != self.head.revision:
            raise HeadMoved
        data, chain = encode_group(after + 1, self.head.chain, records)
        number, offset = self._place(len(data))
        try:
            osfs.pwrite(self._fd, memoryview(data), offset)
            osfs.fdatasync(self._fd)
        except OSError as error:
            self._failed = f"writing the log failed: {error.strerror or error}"
            raise LogFailed(self._failed) from error
        self.head = Head(after + len(records), chain, number, offset, offset + len(data))
        return self.head

    def _place(self, length: int) -> tuple[int, int]:
        number, offset = self.head.segment, self.head.end
        self._use(number)
        if offset + length > self._size:
            number, offset = number + 1, SEGMENT_HEAD_BYTES
            with osfs.telling("opening the log"):
                there = self._layout.segment(number).exists()
            if not there:
                raise NoSpace("the log is full and the disk has no room for its next segment; reads and removals go on")
            self._use(number)
        return number, offset

    def _use(self, number: int) -> None:
        if number == self._open_number:
            return
        self.close()
        with osfs.telling("opening the log"):
            self._fd = osfs.open_update(self._layout.segment(number))
            self._size = os.fstat(self._fd).st_size
        self._open_number = number

    def prepare(self) -> None:
        """Preallocate the next segment before the present one is half full, so that an append never needs space."""
        following = self._layout.segment(self.head.segment + 1)
        if 2 * self.head.end + self._limits.group_bytes <= self._limits.segment_bytes:
            return
        try:
            if not following.exists():
                self._make_segment(self.head.segment + 1)
        except OSError as error:
            told = f"the next segment of the log cannot be made: {error.strerror or error}"
            if not osfs.refused(error):
                self._failed = told
            self._say(told)

    def _make_segment(self, number: int) -> None:
        path = self._layout.segment(number)
        fresh = path.with_name(path.name + ".new")
        size = self._limits.segment_bytes
        head = encode_segment_head(SegmentHead(self._store, number, size, self._limits.group_bytes))
        osfs.unlink(fresh)
        try:
            # Written zeros, not only allocated blocks: the sync of an append then has no block map to update.
            osfs.write_file(fresh, head.ljust(size, b"\0"))
            osfs.rename(fresh, path)
            osfs.fsync_folder(self._layout.log)
        except OSError:
            # Nor may the name stay: nothing may be appended to a segment that a power cut could take away.
            osfs.unlink(fresh)
            osfs.unlink(path)
            raise

    def close(self) -> None:
        """Release the descriptor."""
        if self._fd >= 0:
            fd, self._fd, self._open_number = self._fd, -1, 0
            with contextlib.suppress(OSError):  # every append was synced before: nothing is left to be lost
                osfs.close(fd)
