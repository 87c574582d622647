"""Whom content counts for, in the catalog: the author of the first entry that keeps it.

That is the entry of the lowest revision among those that name a blob, and those that link it and whose own content is
here. Each blob has the number of its owner beside it, and each owner what all its content that is here comes to, so
that neither takes a walk.
"""

from __future__ import annotations

import sqlite3

TABLES = """
CREATE TABLE owners (number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, blobs INTEGER NOT NULL,
    bytes INTEGER NOT NULL);
"""

FIRST = (
    "ifnull((SELECT a.owner FROM records r JOIN authors a ON a.number = r.author WHERE r.revision ="
    " (SELECT min(revision) FROM (SELECT min(revision) AS revision FROM entries WHERE id = :id UNION ALL"
    " SELECT min(e.revision) FROM links l JOIN entries e ON e.tag = l.tag AND e.version = l.version"
    " WHERE l.id = :id))), 0)"
)
"""The owner of the blob `:id` as its entries have it; 0: none of them keeps it."""


class Owners:
    """The owners in a catalog, through its writing connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def number(self, text: str) -> int:
        """The number of an owner."""
        self._db.execute("INSERT OR IGNORE INTO owners (text, blobs, bytes) VALUES (?, 0, 0)", (text,))
        (number,) = self._db.execute("SELECT number FROM owners WHERE text = ?", (text,)).fetchone()
        return int(number)

    def claim(self, id: bytes, owner: int) -> None:
        """An entry of that owner's, newer than all others, keeps a blob: it counts for the owner if for no other."""
        if self._db.execute("UPDATE blobs SET owner = ? WHERE id = ? AND owner = 0", (owner, id)).rowcount:
            size, state = self._db.execute("SELECT size, state FROM blobs WHERE id = ?", (id,)).fetchone()
            if state <= 1:
                self._add(owner, 1, size)

    def settle(self, id: bytes) -> None:
        """Entries that kept a blob are gone, or are back: see whom it counts for now."""
        query = f"SELECT owner, size, state, {FIRST} FROM blobs WHERE id = :id"
        row = self._db.execute(query, {"id": id}).fetchone()
        if row is None or row[0] == row[3]:
            return
        before, size, state, now = row
        self._db.execute("UPDATE blobs SET owner = ? WHERE id = ?", (now, id))
        if state <= 1:
            self._add(before, -1, -size)
            self._add(now, 1, size)

    def count(self, id: bytes, blobs: int, size: int) -> None:
        """The content of a blob came or went, or is known to be so much longer."""
        query = "UPDATE owners SET blobs = blobs + ?, bytes = bytes + ? WHERE number ="
        self._db.execute(f"{query} (SELECT owner FROM blobs WHERE id = ?)", (blobs, size, id))

    def _add(self, owner: int, blobs: int, size: int) -> None:
        query = "UPDATE owners SET blobs = blobs + ?, bytes = bytes + ? WHERE number = ?"
        self._db.execute(query, (blobs, size, owner))
