"""A catalog held against one that was just made from the log: row by row, but for what only files or nobody tell."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from udfstore.admin import Finding, FindingKind
from udfstore.digest import BlobId
from udfstore.store.owners import FIRST
from udfstore.store.records import State
from udfstore.store.scrub import SHOWN, hit
from udfstore.store.view import View

PLACE = "catalog.db"

Row = tuple[Any, ...]
Shed = Sequence[tuple[int, int]]
"""Runs of revisions that the log has shed, which a catalog may still know: they leave it later."""


@dataclass(frozen=True, slots=True)
class _Table:
    """What of a table is compared. The first `key` columns are its key; `revision` and `tag` say which columns tell a
    revision, and a tag before its version."""

    name: str
    query: str
    key: int = 1
    revision: int | None = None
    tag: int | None = None


_TABLES = (
    _Table(
        "records",
        "SELECT revision, kind, time_ns, text, note, request, rest FROM records LEFT JOIN authors ON number = author"
        " ORDER BY revision",
        revision=0,
    ),
    _Table(
        "entries",
        "SELECT tag, version, revision, place, id, size, origin, source, labels, links, held FROM entries"
        " ORDER BY tag, version",
        key=2,
        revision=2,
        tag=0,
    ),
    _Table("tags", "SELECT tag, version, id FROM tags ORDER BY tag", tag=0),
    _Table(
        "links",
        "SELECT l.id, l.tag, l.version, e.revision FROM links l LEFT JOIN entries e USING (tag, version)"
        " ORDER BY l.id, l.tag, l.version",
        key=3,
        revision=3,
        tag=1,
    ),
    _Table("states", "SELECT id, revision FROM states ORDER BY id, revision", key=2, revision=1),
    _Table(
        "uses",
        "SELECT revision, task, node, tag, version, time_ns, failed FROM uses LEFT JOIN places ON number = place"
        " ORDER BY revision",
        revision=0,
        tag=3,
    ),
)
_BLOBS = "SELECT id, size, state, iif(state = 0, 0, state_ns) FROM blobs ORDER BY id"
_OWNERS = "SELECT number, blobs, bytes FROM owners WHERE blobs != 0 OR bytes != 0 ORDER BY number"
_OWNED = (
    "SELECT owner, count(*), sum(size) FROM"
    f" (SELECT size, {FIRST.replace(':id', 'b.id')} AS owner FROM blobs b WHERE state <= 1)"
    " WHERE owner != 0 GROUP BY owner ORDER BY owner"
)
_COUNTS = (
    "SELECT (SELECT count(*) FROM blobs WHERE state <= 1), (SELECT ifnull(sum(size), 0) FROM blobs WHERE state <= 1),"
    " (SELECT count(*) FROM tags WHERE id IS NOT NULL)"
)


def compare(ours: View, fresh: View, shed: Shed) -> Iterator[Finding]:
    """What is wrong with `ours`, a finding for each table. `fresh` was made from the log alone, up to the same head."""
    try:
        told = [str(row[0]) for row in ours.db.execute("PRAGMA integrity_check(1)")]
        if told != ["ok"]:
            yield Finding(FindingKind.CATALOG, f"SQLite finds it damaged: {'; '.join(told)}", place=PLACE)
            return
        runs = sorted(shed)
        for table in _TABLES:
            yield from _table(table, ours, fresh, runs)
        yield from _blobs(ours, fresh)
        if ours.totals() != ours.db.execute(_COUNTS).fetchone():
            yield Finding(FindingKind.CATALOG, "its totals are not those of its rows", place=PLACE)
        if ours.db.execute(_OWNERS).fetchall() != ours.db.execute(_OWNED).fetchall():
            yield Finding(FindingKind.CATALOG, "what counts for whom is not what its rows say", place=PLACE)
    except (sqlite3.DatabaseError, TypeError) as error:  # rows whose keys cannot be compared are no rows of ours
        yield Finding(FindingKind.CATALOG, f"it cannot be read: {error}", place=PLACE)


def _table(table: _Table, ours: View, fresh: View, runs: Shed) -> Iterator[Finding]:
    refs: dict[str, None] = {}
    count = 0
    for mine, logs in _unlike(ours.db.execute(table.query), fresh.db.execute(table.query), table.key):
        if logs is None and mine is not None and table.revision is not None and _was_shed(runs, mine[table.revision]):
            continue
        count += 1
        row = logs or mine
        if table.tag is not None and row is not None:
            tag, version = row[table.tag : table.tag + 2]
            refs[f"{tag}@{version}"] = None
    if count:
        yield _finding(table.name, count, list(refs))


def _blobs(ours: View, fresh: View) -> Iterator[Finding]:
    """Blobs that no record names are in the index for their files alone."""
    refs: dict[str, None] = {}
    count = 0
    for mine, logs in _unlike(ours.db.execute(_BLOBS), fresh.db.execute(_BLOBS), 1):
        id = BlobId((logs or mine or ())[0])
        if logs is None and mine is not None and (mine[2] == State.KEPT or ours.states(id)):
            continue
        count += 1
        refs |= dict.fromkeys(hit(fresh, id)[0])
    if count:
        yield _finding("blobs", count, list(refs))


def _finding(table: str, count: int, refs: list[str]) -> Finding:
    rows = f"{count} row{'s'[: count != 1]}"
    text = f"{rows} of its table {table} {'is' if count == 1 else 'are'} not what the log says"
    return Finding(FindingKind.CATALOG, text, None, PLACE, tuple(refs[:SHOWN]), max(0, len(refs) - SHOWN))


def _unlike(ours: Iterator[Row], logs: Iterator[Row], key: int) -> Iterator[tuple[Row | None, Row | None]]:
    """Rows that only one of two lists has, or that differ beyond the key by which both are ordered."""
    mine, other = next(ours, None), next(logs, None)
    while mine is not None or other is not None:
        if other is None or (mine is not None and mine[:key] < other[:key]):
            yield mine, None
            mine = next(ours, None)
        elif mine is None or other[:key] < mine[:key]:
            yield None, other
            other = next(logs, None)
        else:
            if mine != other:
                yield mine, other
            mine, other = next(ours, None), next(logs, None)


def _was_shed(runs: Shed, revision: int | None) -> bool:
    if revision is None:
        return False
    place = bisect_right(runs, revision, key=lambda run: run[0]) - 1
    return place >= 0 and runs[place][0] <= revision <= runs[place][1]
