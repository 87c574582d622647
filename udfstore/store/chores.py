"""Questions to the catalog that the store asks for its own sake: what may be collected, and what the log may shed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from udfstore.digest import BlobId
from udfstore.model import Kind
from udfstore.refs import SNAPSHOTS, Prefix
from udfstore.store.records import State, decode_rest


class Chores:
    """The half of a `View` that nobody outside asks for."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    # --- what may be collected ---

    def last_ns(self) -> int:
        """The time of the newest record; 0: there is none."""
        row = self.db.execute("SELECT time_ns FROM records ORDER BY revision DESC LIMIT 1").fetchone()
        return row[0] if row else 0

    def loose(self, after: BlobId | None, limit: int) -> list[tuple[BlobId, bool]]:
        """Blobs that are here by their IDs, and whether each may be kept by nothing: marked, or in no entry."""
        rows = self.db.execute(
            f"SELECT id, state = {State.MARKED:d} OR NOT (EXISTS (SELECT * FROM entries e WHERE e.id = b.id)"
            " OR EXISTS (SELECT * FROM links l WHERE l.id = b.id))"
            " FROM blobs b WHERE id > ? AND state <= 1 ORDER BY id LIMIT ?",
            (after.raw if after else b"", limit),
        )
        return [(BlobId(id), bool(loose)) for id, loose in rows]

    def tag_names(self, prefix: Prefix, after: str, limit: int) -> list[str]:
        """Tags that match, deleted ones too, by name, behind the tag `after`."""
        query = "SELECT tag FROM tags WHERE tag > ? AND tag >= ? AND tag < ? ORDER BY tag LIMIT ?"
        return [tag for (tag,) in self.db.execute(query, (after, *range_of(prefix), limit))]

    def here_between(self, tag: str, above: int, below: int, limit: int) -> list[tuple[int, BlobId]]:
        """Versions of a tag between those two, oldest first, that name content which is here, and that content."""
        rows = self.db.execute(
            "SELECT e.version, e.id FROM entries e JOIN blobs b ON b.id = e.id"
            " WHERE e.tag = ? AND e.version > ? AND e.version < ? AND b.state <= 1 ORDER BY e.version LIMIT ?",
            (tag, above, below, limit),
        )
        return [(version, BlobId(id)) for version, id in rows]

    # --- what may be shed ---

    def states(self, id: BlobId) -> list[int]:
        """Revisions of the records that gave a blob its states, oldest first."""
        query = "SELECT revision FROM states WHERE id = ? ORDER BY revision"
        return [revision for (revision,) in self.db.execute(query, (id.raw,))]

    def named_at(self, id: BlobId) -> list[int]:
        """Revisions of the entries that name a blob."""
        return [revision for (revision,) in self.db.execute("SELECT revision FROM entries WHERE id = ?", (id.raw,))]

    def snapshot_tags(self) -> list[tuple[str, int]]:
        """Tags of snapshots, deleted ones too, and the newest version of each."""
        query = "SELECT tag, version FROM tags WHERE tag >= ? AND tag < ?"
        return self.db.execute(query, range_of(Prefix(SNAPSHOTS))).fetchall()

    def erased(self, tag: str, below: int, until_ns: int) -> Iterator[int]:
        """Revisions of versions of a tag below that one, of content that was erased up to that time."""
        rows = self.db.execute(
            "SELECT e.revision FROM entries e JOIN blobs b ON b.id = e.id WHERE e.tag = ? AND e.version < ?"
            f" AND b.state = {State.ERASED:d} AND b.state_ns <= ?",
            (tag, below, until_ns),
        )
        return (revision for (revision,) in rows)

    def recorded(self, first: int, last: int) -> list[int]:
        """Those revisions from `first` to `last` that a record is known of, those with entries last."""
        query = "SELECT revision FROM records WHERE revision BETWEEN ? AND ? ORDER BY kind = ?, revision"
        return [revision for (revision,) in self.db.execute(query, (first, last, Kind.MOVE.value))]

    def blobs_of(self, revision: int) -> tuple[tuple[BlobId, int], ...]:
        """The blobs (ID, size) that the record of a revision gave a state."""
        row = self.db.execute("SELECT rest FROM records WHERE revision = ?", (revision,)).fetchone()
        return decode_rest(row[0])["blobs"] if row else ()


def range_of(prefix: Prefix) -> tuple[str, str]:
    """Tags t of the prefix are those with low <= t < high, by bytes."""
    if not prefix.text:
        return "", "\x7f"
    if prefix.many:
        return prefix.text, prefix.text[:-1] + chr(ord("/") + 1)
    return prefix.text, prefix.text + "\0"
