"""Questions to the catalog: every query of the store's reads and of the committer's judgement.

A `View` is one SQLite connection seen as the store's nouns. It decides nothing and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from udfstore import tasks
from udfstore.digest import DIGEST_BYTES, BlobId
from udfstore.model import Entry, Event, Kind, Place
from udfstore.refs import SNAPSHOTS, Prefix
from udfstore.store.chores import Chores, range_of
from udfstore.store.log import Head
from udfstore.store.records import Record, State, Use, decode_author, decode_labels, decode_rest

EVENT_SPAN = 10_000
"""Revisions that one look for events goes through at most, so that a watcher far behind never holds a thread long."""


@dataclass(frozen=True, slots=True)
class BlobRow:
    """What the catalog knows of a blob. `state_ns` is the time of the record that gave it its state."""

    id: BlobId
    size: int
    saved_ns: int
    verified_ns: int
    state: State
    state_ns: int


_ENTRY = (
    "SELECT e.tag, e.version, e.id, e.size, e.revision, r.time_ns, a.text, r.note,"
    " e.labels, e.origin, e.source, e.links, e.held"
    " FROM entries e JOIN records r ON r.revision = e.revision JOIN authors a ON a.number = r.author"
)
_NO_SNAPSHOT = "WHERE id IS NOT NULL AND (tag < ? OR tag >= ?)"
_BLOB = "SELECT id, size, saved_ns, verified_ns, state, state_ns FROM blobs"


class View(Chores):
    """The catalog through one connection."""

    def head(self) -> Head:
        """How far the log is applied."""
        return Head(*self.db.execute("SELECT revision, chain, segment, start, stop FROM head").fetchone())

    def totals(self) -> tuple[int, int, int]:
        """Blobs, their bytes, live tags."""
        blobs, size, tags = self.db.execute("SELECT blobs, bytes, tags FROM totals").fetchone()
        return blobs, size, tags

    # --- blobs -----------------------------------------------------------------------------------------------------

    def blob(self, id: BlobId) -> BlobRow | None:
        """What is known of a blob; None: nothing."""
        row = self.db.execute(f"{_BLOB} WHERE id = ?", (id.raw,)).fetchone()
        return row and _blob(row)

    def blobs(self, after: tuple[int, BlobId] | None, limit: int) -> list[BlobRow]:
        """Blobs that are here, oldest first, behind `(saved_ns, id)`."""
        since, id = (after[0], after[1].raw) if after else (-1, b"")
        rows = self.db.execute(
            f"{_BLOB} WHERE state <= 1 AND (saved_ns, id) > (?, ?) ORDER BY saved_ns, id LIMIT ?", (since, id, limit)
        )
        return [_blob(row) for row in rows]

    def here(self) -> Iterator[tuple[BlobId, int, int]]:
        """All blobs that are here by their IDs, each with size and time of saving."""
        rows = self.db.execute("SELECT id, size, saved_ns FROM blobs WHERE state <= 1 ORDER BY id")
        return ((BlobId(id), size, saved_ns) for id, size, saved_ns in rows)

    def bytes_verified_outside(self, first_ns: int, last_ns: int) -> int:
        """Bytes of blobs that are here and were hashed last before or behind that time, or never."""
        query = "SELECT ifnull(sum(size), 0) FROM blobs WHERE state <= 1 AND verified_ns NOT BETWEEN ? AND ?"
        return int(self.db.execute(query, (first_ns, last_ns)).fetchone()[0])

    def links_not_indexed(self) -> list[BlobId]:
        """What links keep though the index does not know it: a power cut may take what was indexed last."""
        query = "SELECT DISTINCT id FROM links WHERE id NOT IN (SELECT id FROM blobs) ORDER BY id"
        return [BlobId(id) for (id,) in self.db.execute(query)]

    def beginning_with(self, digits: str, limit: int) -> list[BlobRow]:
        """Blobs whose hex ID begins with these digits, by their IDs; a `limit` below 0 is none."""
        low = bytes.fromhex(digits.ljust(2 * DIGEST_BYTES, "0"))
        high = bytes.fromhex(digits.ljust(2 * DIGEST_BYTES, "f"))
        rows = self.db.execute(f"{_BLOB} WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?", (low, high, limit))
        return [_blob(row) for row in rows]

    def condemned(self) -> list[BlobRow]:
        """Blobs that are on their way out and not yet erased."""
        return [_blob(row) for row in self.db.execute(f"{_BLOB} WHERE state = {State.CONDEMNED:d}")]

    def leaving(self) -> tuple[int, int]:
        """How many blobs are condemned and not yet erased, and their bytes."""
        query = f"SELECT count(*), ifnull(sum(size), 0) FROM blobs WHERE state = {State.CONDEMNED:d}"
        count, size = self.db.execute(query).fetchone()
        return count, size

    def owner(self, id: BlobId) -> str:
        """Whom a blob counts for; "": no entry keeps it."""
        query = "SELECT o.text FROM blobs b JOIN owners o ON o.number = b.owner WHERE b.id = ?"
        row = self.db.execute(query, (id.raw,)).fetchone()
        return row[0] if row else ""

    def owned(self, owner: str) -> int:
        """The bytes of all content that is here and counts for an owner."""
        row = self.db.execute("SELECT bytes FROM owners WHERE text = ?", (owner,)).fetchone()
        return row[0] if row else 0

    def settled(self, ids: Iterable[BlobId]) -> list[BlobId]:
        """Those blobs that count for an owner, or whose content went."""
        query = "SELECT owner, state FROM blobs WHERE id = ?"
        rows = ((id, self.db.execute(query, (id.raw,)).fetchone()) for id in ids)
        return [id for id, row in rows if row is not None and (row[0] or row[1] > State.MARKED)]

    def is_size_owned(self, size: int) -> bool:
        """Whether a blob of that size is here and counts for an owner."""
        query = f"SELECT 1 FROM blobs WHERE size = ? AND owner != 0 AND state <= {State.MARKED:d} LIMIT 1"
        return self.db.execute(query, (size,)).fetchone() is not None

    def owners(self) -> list[tuple[str, int, int]]:
        """Owners with the blobs and bytes that count for each, most bytes first."""
        query = "SELECT text, blobs, bytes FROM owners WHERE blobs > 0 ORDER BY bytes DESC, text"
        return self.db.execute(query).fetchall()

    # --- entries ---------------------------------------------------------------------------------------------------

    def newest(self, tag: str) -> Entry | None:
        """The newest entry of a tag, which may be a deletion; None: the tag never was."""
        return self._one(f"{_ENTRY} WHERE e.tag = ? ORDER BY e.version DESC LIMIT 1", tag)

    def newest_of(self, tag: str) -> tuple[int, BlobId | None] | None:
        """The newest version of a tag, and what it names; None: the tag never was."""
        row = self.db.execute("SELECT version, id FROM tags WHERE tag = ?", (tag,)).fetchone()
        return row and (row[0], BlobId(row[1]) if row[1] is not None else None)

    def entry(self, tag: str, version: int) -> Entry | None:
        """One version of a tag; None: it never was."""
        return self._one(f"{_ENTRY} WHERE e.tag = ? AND e.version = ?", tag, version)

    def entry_at(self, tag: str, time_ns: int) -> Entry | None:
        """The newest entry of a tag that a record made up to that time tells."""
        return self._one(f"{_ENTRY} WHERE e.tag = ? AND r.time_ns <= ? ORDER BY e.version DESC LIMIT 1", tag, time_ns)

    def below(self, tag: str, version: int) -> Iterator[Entry]:
        """Versions of a tag below that one, newest first."""
        return map(
            _entry,
            self.db.execute(f"{_ENTRY} WHERE e.tag = ? AND e.version < ? ORDER BY e.version DESC", (tag, version)),
        )

    def versions(self, tag: str, below: int) -> Iterator[tuple[int, BlobId | None]]:
        """Versions of a tag below that one, newest first, and the blob that each names."""
        query = "SELECT version, id FROM entries WHERE tag = ? AND version < ? ORDER BY version DESC"
        return ((version, BlobId(id) if id else None) for version, id in self.db.execute(query, (tag, below)))

    def pace(self, tag: str) -> Iterator[tuple[int, bool, int]]:
        """All versions of a tag, newest first: whether each names content, and its time."""
        query = (
            "SELECT e.version, e.id IS NOT NULL, r.time_ns FROM entries e JOIN records r ON r.revision = e.revision"
            " WHERE e.tag = ? ORDER BY e.version DESC"
        )
        rows = self.db.execute(query, (tag,))
        return ((version, bool(names), time_ns) for version, names, time_ns in rows)

    def history(self, tag: str, before: int | None, limit: int) -> list[Entry]:
        """Versions of a tag, newest first, below `before`."""
        return self._all(
            f"{_ENTRY} WHERE e.tag = ? AND e.version < ? ORDER BY e.version DESC LIMIT ?", tag, before or 1 << 62, limit
        )

    def tags(self, prefix: Prefix, after: str, limit: int) -> list[Entry]:
        """The newest entry of each live tag, by name, behind the tag `after`."""
        joined = _ENTRY.replace(
            "FROM entries e", "FROM tags t JOIN entries e ON e.tag = t.tag AND e.version = t.version"
        )
        low, high = range_of(prefix)
        return self._all(
            f"{joined} WHERE t.tag > ? AND t.tag >= ? AND t.tag < ? AND t.id IS NOT NULL ORDER BY t.tag LIMIT ?",
            after,
            low,
            high,
            limit,
        )

    def versions_outside_snapshots(self, limit: int) -> list[tuple[str, int]]:
        """Live tags that are no snapshot's, by name, and the newest version of each."""
        query = f"SELECT tag, version FROM tags {_NO_SNAPSHOT} ORDER BY tag LIMIT ?"
        return self.db.execute(query, (*range_of(Prefix(SNAPSHOTS)), limit)).fetchall()

    def count_outside_snapshots(self) -> int:
        """How many tags those are."""
        query = f"SELECT count(*) FROM tags {_NO_SNAPSHOT}"
        return int(self.db.execute(query, range_of(Prefix(SNAPSHOTS))).fetchone()[0])

    def naming(self, id: BlobId, limit: int, upto: int = 1 << 62) -> list[Entry]:
        """Entries that name a blob, newest first, of revisions up to `upto`."""
        return self._all(
            f"{_ENTRY} WHERE e.id = ? AND e.revision <= ? ORDER BY e.revision DESC, e.tag LIMIT ?", id.raw, upto, limit
        )

    def naming_count(self, id: BlobId, upto: int = 1 << 62) -> int:
        """How many entries name a blob."""
        query = "SELECT count(*) FROM entries WHERE id = ? AND revision <= ?"
        return int(self.db.execute(query, (id.raw, upto)).fetchone()[0])

    def linking(self, id: BlobId, limit: int) -> list[Entry]:
        """Entries whose links keep a blob, newest first: those whose own content is here."""
        return self._all(
            f"{_ENTRY} JOIN links l ON l.tag = e.tag AND l.version = e.version"
            " WHERE l.id = ? ORDER BY e.revision DESC, e.tag LIMIT ?",
            id.raw,
            limit,
        )

    def linking_count(self, id: BlobId) -> int:
        """How many entries keep a blob by their links."""
        return int(self.db.execute("SELECT count(*) FROM links WHERE id = ?", (id.raw,)).fetchone()[0])

    def naming_refs(self, id: BlobId) -> Iterator[tuple[str, int]]:
        """Tag and version of each entry that names a blob."""
        return iter(self.db.execute("SELECT tag, version FROM entries WHERE id = ?", (id.raw,)))

    def linking_refs(self, id: BlobId) -> Iterator[tuple[str, int, BlobId]]:
        """Tag and version of each entry that keeps a blob by a link, and the blob which that entry names."""
        query = (
            "SELECT l.tag, l.version, e.id FROM links l JOIN entries e ON e.tag = l.tag AND e.version = l.version"
            " WHERE l.id = ?"
        )
        return ((tag, version, BlobId(linker)) for tag, version, linker in self.db.execute(query, (id.raw,)))

    def tags_with(self, id: BlobId) -> Iterator[str]:
        """Tags of which a version names a blob, or keeps it by a link."""
        query = "SELECT tag FROM entries WHERE id = ? UNION SELECT tag FROM links WHERE id = ?"
        return (tag for (tag,) in self.db.execute(query, (id.raw, id.raw)))

    def repeated(self) -> int:
        """The bytes that all entries together name beyond those of their blobs, of content that is here."""
        query = (
            "SELECT ifnull(sum(b.size * (e.count - 1)), 0) FROM"
            " (SELECT id, count(*) AS count FROM entries WHERE id IS NOT NULL GROUP BY id) e"
            " JOIN blobs b ON b.id = e.id WHERE b.state <= 1"
        )
        return int(self.db.execute(query).fetchone()[0])

    def links_of(self, id: BlobId) -> list[BlobId]:
        """What the entries that name a blob link, each once."""
        rows = self.db.execute("SELECT links FROM entries WHERE id = ? AND links != x''", (id.raw,))
        return list(dict.fromkeys(link for (links,) in rows for link in split_links(links)))

    def heads_naming(self, id: BlobId, limit: int = 100) -> list[str]:
        """Refs of the newest entries that name a blob now."""
        query = "SELECT tag, version FROM tags WHERE id = ? ORDER BY tag LIMIT ?"
        return [f"{tag}@{version}" for tag, version in self.db.execute(query, (id.raw, limit))]

    def heads_naming_count(self, id: BlobId) -> int:
        """How many tags name a blob now."""
        return int(self.db.execute("SELECT count(*) FROM tags WHERE id = ?", (id.raw,)).fetchone()[0])

    def heads_linking(self, id: BlobId, limit: int = 100) -> list[str]:
        """Refs of the newest entries whose links name a blob now."""
        query = (
            "SELECT t.tag, t.version FROM links l JOIN tags t ON t.tag = l.tag AND t.version = l.version"
            " WHERE l.id = ? ORDER BY t.tag LIMIT ?"
        )
        return [f"{tag}@{version}" for tag, version in self.db.execute(query, (id.raw, limit))]

    def told_between(self, first: int, last: int, limit: int) -> tuple[list[str], int]:
        """Refs of the entries of those revisions, newest first, and how many more there are."""
        query = "FROM entries WHERE revision BETWEEN ? AND ?"
        (count,) = self.db.execute(f"SELECT count(*) {query}", (first, last)).fetchone()
        rows = self.db.execute(f"SELECT tag, version {query} ORDER BY revision DESC LIMIT ?", (first, last, limit))
        refs = [f"{tag}@{version}" for tag, version in rows]
        return refs, count - len(refs)

    # --- records ---------------------------------------------------------------------------------------------------

    def requested(self, request: bytes) -> tuple[int, Record] | None:
        """The record that a request made, without its entries, and its revision; None: it made none."""
        row = self.db.execute(
            "SELECT r.revision, r.kind, r.time_ns, a.text, r.note, r.rest FROM records r"
            " JOIN authors a ON a.number = r.author WHERE r.request = ?",
            (request,),
        ).fetchone()
        if row is None:
            return None
        revision, kind, time_ns, author, note, rest = row
        return revision, Record(Kind(kind), time_ns, decode_author(author), note, request, **decode_rest(rest))

    def entries_of(self, revision: int) -> list[Entry]:
        """The entries of one record, in the order they were given."""
        return self._all(f"{_ENTRY} WHERE e.revision = ? ORDER BY e.place", revision)

    def uses(self, task: str, tag: str, until_ns: int | None, everything: bool) -> list[int]:
        """Revisions of what was told to be in use, newest first; an empty `task` or `tag` is any.

        The newest of each node and tag up to that time, or `everything`.
        """
        conditions = {"p.task = ?": task or None, "u.tag = ?": tag or None, "u.time_ns <= ?": until_ns}
        said = {condition: value for condition, value in conditions.items() if value is not None}
        where = f" WHERE {' AND '.join(said)}" if said else ""
        what, grouped = ("u.revision", "") if everything else ("max(u.revision)", " GROUP BY u.place, u.tag")
        query = f"SELECT {what} FROM uses u JOIN places p ON p.number = u.place{where}{grouped}"
        return sorted((revision for (revision,) in self.db.execute(query, tuple(said.values()))), reverse=True)

    def used(self, revision: int) -> tasks.Use:
        """The use that the record of a revision tells."""
        time_ns, author, rest = self.db.execute(
            "SELECT r.time_ns, a.text, r.rest FROM records r JOIN authors a ON a.number = r.author"
            " WHERE r.revision = ?",
            (revision,),
        ).fetchone()
        use: Use = decode_rest(rest)["use"]
        place = Place(use.task, use.node)
        return tasks.Use(revision, time_ns, use.tag, use.version, use.id, decode_author(author), place, use.error)

    def first_use(self, task: str, id: BlobId) -> int | None:
        """When a node of a task first had a blob in use, under any tag; None: never."""
        query = (
            "SELECT min(u.time_ns) FROM places p JOIN uses u ON u.place = p.number"
            " JOIN entries e ON e.tag = u.tag AND e.version = u.version"
            " WHERE p.task = ? AND e.id = ? AND NOT u.failed"
        )
        found: int | None = self.db.execute(query, (task, id.raw)).fetchone()[0]
        return found

    def events(self, prefix: Prefix, since: int, limit: int) -> tuple[list[Event], int]:
        """Whole revisions behind `since` that have matching entries, and the revision up to which all is told."""
        (newest,) = self.db.execute("SELECT revision FROM head").fetchone()
        until = min(newest, since + EVENT_SPAN)
        low, high = range_of(prefix)
        rows = self.db.execute(
            f"{_ENTRY.replace('entries e', 'entries e INDEXED BY entries_revision')}"
            " WHERE e.revision > ? AND e.revision <= ? AND e.tag >= ? AND e.tag < ? ORDER BY e.revision, e.place",
            (since, until, low, high),
        )
        told: list[Event] = []
        for entry in map(_entry, rows):
            if told and told[-1].revision == entry.revision:
                told[-1] = Event(entry.revision, (*told[-1].entries, entry))
            elif len(told) == limit:
                return told, told[-1].revision
            else:
                told.append(Event(entry.revision, (entry,)))
        return told, max(until, since)

    def _one(self, query: str, *values: Any) -> Entry | None:
        row = self.db.execute(query, values).fetchone()
        return row and _entry(row)

    def _all(self, query: str, *values: Any) -> list[Entry]:
        return [_entry(row) for row in self.db.execute(query, values)]


def split_links(raw: bytes) -> tuple[BlobId, ...]:
    """The IDs that lie one behind the other in a `links` column."""
    return tuple(BlobId(raw[n : n + DIGEST_BYTES]) for n in range(0, len(raw), DIGEST_BYTES))


def _entry(row: tuple[Any, ...]) -> Entry:
    tag, version, id, size, revision, time_ns, author, note, labels, origin, source, links, held = row
    return Entry(
        tag=tag,
        version=version,
        id=BlobId(id) if id is not None else None,
        size=size,
        revision=revision,
        time_ns=time_ns,
        author=decode_author(author),
        note=note,
        labels=decode_labels(labels),
        origin=origin,
        source=source,
        links=split_links(links) if links else (),
        held=bool(held),
    )


def _blob(row: tuple[Any, ...]) -> BlobRow:
    id, size, saved_ns, verified_ns, state, state_ns = row
    return BlobRow(BlobId(id), size, saved_ns, verified_ns, State(state), state_ns)
