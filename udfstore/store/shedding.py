"""Shedding: closed segments of the log are written anew without the records that tell nothing any more. See FORMAT.md.

The log goes first, the catalog follows: each record of a segment is judged by what the catalog says of it, the segment
is replaced, and what it no longer has leaves the catalog. Where that was broken off, the next look finds in the log
what is left to do.
"""

from __future__ import annotations

import contextlib
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace

from udfstore.digest import BlobId
from udfstore.errors import Corrupt, UdfstoreError
from udfstore.model import Kind
from udfstore.store import osfs
from udfstore.store.catalog import Catalog
from udfstore.store.committer import Committer, Decision, Desk, Judge
from udfstore.store.groups import (
    FIRST_BYTES,
    SEGMENT_HEAD_BYTES,
    Damaged,
    Group,
    decode_segment_head,
    encode_segment_head,
    first_revision,
    shed,
)
from udfstore.store.layout import Layout
from udfstore.store.log import Head, groups_in, read_segment, start_of
from udfstore.store.records import Part, Record, RecordError, State, decode
from udfstore.store.removal import Remover
from udfstore.store.retention import AUTOMATIC
from udfstore.store.upkeep import nothing
from udfstore.store.view import BlobRow, View

REMEMBERED_NS = 3600 * 1_000_000_000
"""How long a record stays that tells nothing any more: its request may be repeated, for much longer than any client
does."""

WORTH_BYTES = 4096
"""A segment is written anew when it has one move that may go for so many of its bytes. A round leaves some 1,600: so a
fresh one when about two fifths may go, then what is left of it, until nothing is or other records are most of it."""

AT_ONCE = 32
"""Records that leave the catalog in one step: a millisecond or two that changes wait for."""


class Shedder:
    """Lets the log of one store shed. For any thread; `shed` blocks on the disk.

    `require` makes FORMAT say that the log has shed.
    """

    def __init__(
        self,
        layout: Layout,
        store: bytes,
        catalog: Catalog,
        committer: Committer,
        remover: Remover,
        require: Callable[[], None],
    ) -> None:
        self._layout, self._store = layout, store
        self._catalog, self._committer, self._remover = catalog, committer, remover
        self._require = require
        self._lock = threading.Lock()
        self._firsts: dict[int, int] = {}
        """The first revision of each segment; it stays when the segment sheds."""

    def shed(self, now_ns: int) -> None:
        """Look for segments that are worth it, and let them shed.

        One that is damaged does not keep the others, but where the store takes no writes any more none is written; the
        first error is raised at the end.
        """
        until_ns, errors = now_ns - REMEMBERED_NS, list[UdfstoreError]()
        with self._lock:
            for number, moves in sorted(self._found(until_ns, errors).items()):
                if self._remover.stopped or self._committer.problem:
                    break
                try:
                    with osfs.telling(f"shedding old records of log {number:08d}"):
                        if moves * WORTH_BYTES >= self._layout.segment(number).stat().st_size:
                            self._shed(number, until_ns)
                except UdfstoreError as error:
                    errors.append(error)
        if errors:
            raise errors[0]

    def _found(self, until_ns: int, errors: list[UdfstoreError]) -> Counter[int]:
        """How many moves of versions that were let go and erased each segment has.

        Those of a segment whose beginning cannot be read count for the one before, which sheds nothing then.
        """
        with self._catalog.reading() as view:
            last = view.head().segment
            if last == 1:
                return Counter()
            for number in range(1, last + 1):
                try:
                    self._firsts[number] = self._firsts.get(number) or self._first(number)
                except UdfstoreError as error:
                    errors.append(error)
            known = sorted(self._firsts)
            firsts = [self._firsts[number] for number in known]
            tags = [(tag, newest) for tag, newest in view.snapshot_tags() if AUTOMATIC.fits(tag)]
            erased = (revision for tag, newest in tags for revision in view.erased(tag, newest, until_ns))
            places = (bisect_right(firsts, revision) for revision in erased)
            numbers = (known[place - 1] for place in places if place)
            return Counter(number for number in numbers if number < last)

    def _first(self, number: int) -> int:
        try:
            with osfs.telling(f"looking at log {number:08d}"), self._layout.segment(number).open("rb") as file:
                return first_revision(file.read(FIRST_BYTES))
        except Damaged as damage:
            raise Corrupt(f"log {number:08d}: {damage}") from damage

    def _shed(self, number: int, until_ns: int) -> None:
        data, start = self._load(number)
        groups = self._groups(data, start)
        with self._catalog.reading() as view:
            gone = _needless(view, groups, until_ns)
        if gone:
            data = _without(data, groups, gone)
            groups = self._groups(data, start)  # it must be as whole as what it takes the place of
            with self._remover.unheld() as free:
                if not free:
                    return
                self._replace(number, data)
        with self._catalog.reading() as view:
            runs = (run for group, _ in groups for run in group.shed())
            stale = [revision for first, last in runs for revision in view.recorded(first, last)]
        for place in range(0, len(stale), AT_ONCE):
            self._committer.call(_forget(stale[place : place + AT_ONCE]))

    def _load(self, number: int) -> tuple[bytes, Head]:
        """A segment, and where its first group begins."""
        try:
            data = read_segment(self._layout, self._store, number)
            return data, start_of(data, number)
        except (Damaged, FileNotFoundError) as damage:
            raise Corrupt(f"log {number:08d}: {damage}") from damage

    def _groups(self, data: bytes, start: Head) -> list[tuple[Group, Head]]:
        """The groups of a segment. Raises `Corrupt` unless all of them are whole, and the next segment follows."""
        groups = list(groups_in(data, start))
        end, (_, following) = groups[-1][1], self._load(start.segment + 1)
        if data[end.end :].strip(b"\0") or (following.revision, following.chain) != (end.revision, end.chain):
            place = f"log {end.segment:08d}, offset {end.end}, behind revision {end.revision}"
            raise Corrupt(f"{place}: the log is damaged here")
        return groups

    def _replace(self, number: int, data: bytes) -> None:
        path = self._layout.segment(number)
        try:
            self._require()
            osfs.replace_file(path, data)
        except OSError as error:
            if not osfs.refused(error):  # whether the old or the new one is there after a power cut, is not known
                self._committer.fail(f"writing {path} anew failed: {error.strerror or error}")
            with contextlib.suppress(OSError):
                osfs.unlink(path.with_name(f"{path.name}.new"))
            raise


def _needless(view: View, groups: Iterable[tuple[Group, Head]], until_ns: int) -> set[int]:
    """The revisions of records that tell nothing any more, and were made until that time."""
    gone: set[int] = set()
    for group, _ in groups:
        for revision, framed in enumerate(group.records, group.revision):
            if framed.payload is None:
                continue
            try:
                record = decode(framed.kind, framed.payload)
            except RecordError as error:
                raise Corrupt(f"log record at revision {revision}: {error}") from error
            if record.time_ns <= until_ns and _is_needless(view, revision, record, gone, until_ns):
                gone.add(revision)
    return gone


def _is_needless(view: View, revision: int, record: Record, gone: Container[int], until_ns: int) -> bool:
    match record.kind:
        case Kind.CLOSED:
            return True
        case Kind.MOVE:
            return all(_is_over(view, part, until_ns) for part in record.entries)
        case Kind.USED:
            assert record.use is not None
            entry = view.entry(record.use.tag, record.use.version)
            return AUTOMATIC.fits(record.use.tag) and (entry is None or entry.revision in gone)
        case _:
            return all(_is_past(view, id, revision, record, gone, until_ns) for id, _ in record.blobs)


def _is_over(view: View, part: Part, until_ns: int) -> bool:
    """Whether a version was let go and its content is gone. The newest one of a tag says what the next one will be."""
    if part.id is None or not AUTOMATIC.fits(part.tag):
        return False
    newest, row = view.newest_of(part.tag), view.blob(part.id)
    return newest is not None and part.version < newest[0] and _is_erased(row, until_ns)


def _is_past(view: View, id: BlobId, revision: int, record: Record, gone: Container[int], until_ns: int) -> bool:
    """Whether what a record did to a blob is the same as nothing: another one followed, or nothing is left of both.

    The oldest goes first, so that those that are left always end with the one that counts.
    """
    left = [other for other in view.states(id) if other not in gone]
    row = view.blob(id)
    if left[:1] != [revision] or row is None:
        return False
    if row.state is State.KEPT:
        return True
    if record.source:
        return False
    named = any(other not in gone for other in view.named_at(id))
    return len(left) > 1 or (_is_erased(row, until_ns) and not named)


def _is_erased(row: BlobRow | None, until_ns: int) -> bool:
    return row is not None and row.state is State.ERASED and row.state_ns <= until_ns


def _without(data: bytes, groups: Iterable[tuple[Group, Head]], gone: Container[int]) -> bytes:
    """A segment without those records."""
    rest = shed(data, ((group, head.start) for group, head in groups), gone)
    head = replace(decode_segment_head(data), size=SEGMENT_HEAD_BYTES + len(rest))
    return encode_segment_head(head) + rest


def _forget(revisions: Sequence[int]) -> Judge:
    """Take records that the log has shed out of the catalog."""

    def decide(desk: Desk) -> Decision:
        desk.catalog.forget(revisions)
        return nothing

    return decide
