"""The catalog: a SQLite view of the log and of the blob files, kept up by the committer, made anew when it is missing.

One connection writes, in transactions that `begin`, `commit` and `rollback` bound; any number of others read.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from udfstore.digest import BlobId
from udfstore.errors import Busy, Corrupt, InternalError, UdfstoreError
from udfstore.model import Author, Kind
from udfstore.store import osfs
from udfstore.store.groups import Group
from udfstore.store.log import Head
from udfstore.store.owners import FIRST, TABLES, Owners
from udfstore.store.records import (
    Part,
    Record,
    RecordError,
    State,
    Use,
    decode,
    encode_author,
    encode_labels,
    encode_rest,
)
from udfstore.store.view import View, split_links

SCHEMA = 5
"""Stored as `user_version`; a catalog of another schema is made anew."""

JOURNAL_BYTES = 4 << 20
"""What its journal is cut to after a long read, which is all that lets it grow beyond that (1,000 pages)."""

AUTHORS = 1024
"""Authors whose numbers are kept in memory: more than are at work at one time."""

_TABLES = f"""{TABLES}
CREATE TABLE store (id BLOB NOT NULL);
CREATE TABLE head (revision INTEGER NOT NULL, chain BLOB NOT NULL, segment INTEGER NOT NULL, start INTEGER NOT NULL,
    stop INTEGER NOT NULL);
CREATE TABLE totals (blobs INTEGER NOT NULL, bytes INTEGER NOT NULL, tags INTEGER NOT NULL);
CREATE TABLE authors (number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL);
CREATE TABLE records (revision INTEGER PRIMARY KEY, kind TEXT NOT NULL, time_ns INTEGER NOT NULL,
    author INTEGER NOT NULL, note TEXT NOT NULL, request BLOB, rest TEXT NOT NULL);
CREATE UNIQUE INDEX records_request ON records (request) WHERE request IS NOT NULL;
CREATE TABLE entries (tag TEXT NOT NULL, version INTEGER NOT NULL, revision INTEGER NOT NULL, place INTEGER NOT NULL,
    id BLOB, size INTEGER NOT NULL, origin INTEGER NOT NULL, source TEXT NOT NULL, labels TEXT NOT NULL,
    links BLOB NOT NULL, held INTEGER NOT NULL, PRIMARY KEY (tag, version)) WITHOUT ROWID;
CREATE INDEX entries_revision ON entries (revision);
CREATE INDEX entries_id ON entries (id, revision) WHERE id IS NOT NULL;
CREATE TABLE tags (tag TEXT PRIMARY KEY, version INTEGER NOT NULL, id BLOB) WITHOUT ROWID;
CREATE INDEX tags_id ON tags (id) WHERE id IS NOT NULL;
CREATE TABLE links (id BLOB NOT NULL, tag TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (id, tag, version))
    WITHOUT ROWID;
CREATE TABLE blobs (id BLOB PRIMARY KEY, size INTEGER NOT NULL, saved_ns INTEGER NOT NULL, verified_ns INTEGER NOT NULL,
    state INTEGER NOT NULL, state_ns INTEGER NOT NULL, owner INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE states (id BLOB NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (id, revision)) WITHOUT ROWID;
CREATE INDEX blobs_saved ON blobs (saved_ns, id) WHERE state <= 1;
CREATE TABLE places (number INTEGER PRIMARY KEY, task TEXT NOT NULL, node TEXT NOT NULL, UNIQUE (task, node));
CREATE TABLE uses (revision INTEGER PRIMARY KEY, place INTEGER NOT NULL, tag TEXT NOT NULL, version INTEGER NOT NULL,
    time_ns INTEGER NOT NULL, failed INTEGER NOT NULL);
CREATE INDEX uses_place ON uses (place, tag);
CREATE INDEX uses_tag ON uses (tag);
CREATE INDEX blobs_leaving ON blobs (id) WHERE state = 2;
"""

_STATES = {Kind.MARK: State.MARKED, Kind.RESCUE: State.KEPT, Kind.CONDEMN: State.CONDEMNED, Kind.ERASED: State.ERASED}

_KINDS: dict[int, type[UdfstoreError]] = {
    sqlite3.SQLITE_CORRUPT: Corrupt,
    sqlite3.SQLITE_NOTADB: Corrupt,
    sqlite3.SQLITE_BUSY: Busy,
    sqlite3.SQLITE_LOCKED: Busy,
    sqlite3.SQLITE_CANTOPEN: Busy,  # above all, out of descriptors
}


class Unusable(Exception):
    """A catalog file that is not one of this store, or not whole: make it anew."""


class Reading:
    """What `Catalog.reading` gives. A class of its own, because every read of the store passes through it: a generator
    around another takes as long as the question to SQLite."""

    __slots__ = ("_catalog", "_db")

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def __enter__(self) -> View:
        try:
            self._db = self._catalog.take_reader()
        except sqlite3.Error as error:
            raise _told(error) from error
        return View(self._db)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._catalog.give_reader(self._db)
        except sqlite3.Error as failed:
            raise _told(failed) from failed
        if isinstance(error, sqlite3.Error):
            raise _told(error) from error


class Catalog:
    """The catalog of one store, open. `view` is the writing connection seen as nouns."""

    def __init__(self, path: Path, store: bytes) -> None:
        """Open an existing catalog. Raises `Unusable`."""
        self._path = path
        self._readers: deque[sqlite3.Connection] = deque()
        self._closed = False
        self._authors: dict[str, tuple[int, int]] = {}
        """The numbers of authors, and of the owner that each is."""
        if not path.exists():
            raise Unusable("there is no catalog")
        db = _connect(path)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
            _check(db, store)
        except Unusable:
            db.close()
            raise
        except sqlite3.DatabaseError as error:
            db.close()
            trouble = "is damaged" if _kind(error) is Corrupt else "cannot be read"
            raise Unusable(f"the catalog {trouble} ({error})") from error
        self.view = View(db)
        self._owners = Owners(db)

    def reading(self) -> Reading:
        """A view that holds still: everything read in the body belongs to one revision. For any thread.

        Raises `Corrupt` for a damaged catalog, `Busy` or `InternalError` for one that cannot be read at present.
        """
        return Reading(self)

    def take_reader(self) -> sqlite3.Connection:
        """A connection for `Reading`, in a transaction."""
        try:
            db = self._readers.pop()
        except IndexError:
            db = _connect(self._path)
        db.execute("BEGIN")
        return db

    def give_reader(self, db: sqlite3.Connection) -> None:
        """Take it back."""
        try:
            if db.in_transaction:  # some errors end it
                db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.close()
            else:
                self._readers.append(db)
            if self._closed:
                self._close_readers()

    def fold(self) -> None:
        """Bring all that SQLite has in its journal into the file.

        The end of a connection does it too, but tells nobody when it fails.
        """
        self.view.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def begin(self) -> None:
        """Begin the transaction that one group is judged and applied in."""
        self.view.db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Keep what was applied."""
        self.view.db.execute("COMMIT")

    def rollback(self) -> None:
        """Forget what was applied since `begin`."""
        self._authors.clear()
        if self.view.db.in_transaction:
            self.view.db.execute("ROLLBACK")

    def apply_group(self, group: Group, head: Head) -> None:
        """Apply a group read from the log. Raises `Corrupt` for a record that this release cannot read."""
        for revision, framed in enumerate(group.records, group.revision):
            if framed.payload is None:
                continue
            try:
                self.apply(revision, decode(framed.kind, framed.payload))
            except RecordError as error:
                raise Corrupt(f"log record at revision {revision}: {error}") from error
        self.set_head(head)

    def apply(self, revision: int, record: Record) -> None:
        """Apply one record at its revision."""
        author, owner = self._author(record.author)
        self.view.db.execute(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                revision,
                record.kind.value,
                record.time_ns,
                author,
                record.note,
                record.request or None,
                encode_rest(record),
            ),
        )
        for place, part in enumerate(record.entries):
            self._apply_part(revision, place, part, record.time_ns, owner)
        if record.use is not None:
            self._add_use(revision, record.use, record.time_ns)
        state = _STATES.get(record.kind)
        if state is not None:
            for id, size in record.blobs:
                self.view.db.execute("INSERT OR IGNORE INTO states VALUES (?, ?)", (id.raw, revision))
                self._set_state(id, size, state, record.time_ns)

    def forget(self, revisions: Iterable[int]) -> None:
        """Take records out that the log has shed, and blobs of which nothing else tells that they ever were."""
        db, ids = self.view.db, set[bytes]()
        for revision in revisions:
            told = [id.raw for id, _ in self.view.blobs_of(revision)]
            db.executemany("DELETE FROM states WHERE id = ? AND revision = ?", [(id, revision) for id in told])
            ids.update(told)
            query = "SELECT tag, version, id, links FROM entries WHERE revision = ?"
            for tag, version, id, links in db.execute(query, (revision,)).fetchall():
                rows = [(link.raw, tag, version) for link in set(split_links(links))]
                db.executemany("DELETE FROM links WHERE id = ? AND tag = ? AND version = ?", rows)
                db.execute("DELETE FROM entries WHERE tag = ? AND version = ?", (tag, version))
                ids.update((id, *(link for link, _, _ in rows)))
            db.execute("DELETE FROM uses WHERE revision = ?", (revision,))
            db.execute("DELETE FROM records WHERE revision = ?", (revision,))
        for id in ids:
            self._owners.settle(id)
        db.executemany(
            f"DELETE FROM blobs WHERE id = ? AND state = {State.ERASED:d}"
            " AND NOT EXISTS (SELECT * FROM states s WHERE s.id = blobs.id)"
            " AND NOT EXISTS (SELECT * FROM entries e WHERE e.id = blobs.id)",
            [(id,) for id in ids],
        )

    def set_head(self, head: Head) -> None:
        """Say how far the log is applied."""
        values = (head.revision, head.chain, head.segment, head.start, head.end)
        self.view.db.execute("UPDATE head SET revision = ?, chain = ?, segment = ?, start = ?, stop = ?", values)

    def add_blob(self, id: BlobId, size: int, saved_ns: int, verified_ns: int) -> bool:
        """Index a blob; False: it was known."""
        added = self.view.db.execute(
            f"INSERT OR IGNORE INTO blobs VALUES (:id, :size, :saved_ns, :verified_ns, 0, 0, {FIRST})",
            {"id": id.raw, "size": size, "saved_ns": saved_ns, "verified_ns": verified_ns},
        )
        if added.rowcount:
            self._count(1, size, 0)
            self._owners.count(id.raw, 1, size)
        return bool(added.rowcount)

    def set_saved(self, id: BlobId, saved_ns: int) -> None:
        """Correct when a blob was saved, from its file."""
        self.view.db.execute("UPDATE blobs SET saved_ns = ? WHERE id = ?", (saved_ns, id.raw))

    def set_verified(self, id: BlobId, verified_ns: int) -> None:
        """Note that a blob's file was hashed and is right."""
        self.view.db.execute("UPDATE blobs SET verified_ns = ? WHERE id = ?", (verified_ns, id.raw))

    def close(self) -> None:
        """Close all connections; the last one folds the journal into the file."""
        self._closed = True
        self.rollback()
        self._close_readers()
        self.view.db.close()

    def _close_readers(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._readers.pop().close()

    def _author(self, author: Author) -> tuple[int, int]:
        text = encode_author(author)
        numbers = self._authors.get(text)
        if numbers is None:
            values = (text, self._owners.number(author.owner))
            self.view.db.execute("INSERT OR IGNORE INTO authors (text, owner) VALUES (?, ?)", values)
            query = "SELECT number, owner FROM authors WHERE text = ?"
            numbers = self.view.db.execute(query, (text,)).fetchone()
            if len(self._authors) >= AUTHORS:
                self._authors.clear()
            self._authors[text] = numbers
        return numbers

    def _apply_part(self, revision: int, place: int, part: Part, time_ns: int, owner: int) -> None:
        db, id = self.view.db, part.id.raw if part.id else None
        links = b"".join(link.raw for link in part.links)
        labels = encode_labels(part.labels)
        row = (part.tag, part.version, revision, place, id, part.size, part.origin, part.source, labels, links)
        db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, part.held))
        if part.links and self._is_here(part.id):
            rows = [(link.raw, part.tag, part.version) for link in set(part.links)]
            db.executemany("INSERT INTO links VALUES (?, ?, ?)", rows)
            for link, _, _ in rows:
                self._owners.claim(link, owner)
        before = db.execute("SELECT id FROM tags WHERE tag = ?", (part.tag,)).fetchone()
        db.execute("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", (part.tag, part.version, id))
        was_live = before is not None and before[0] is not None
        if was_live != (id is not None):
            self._count(0, 0, -1 if was_live else 1)
        if part.id is not None and not self.add_blob(part.id, part.size, time_ns, 0):
            self._owners.claim(part.id.raw, owner)

    def _add_use(self, revision: int, use: Use, time_ns: int) -> None:
        db, place = self.view.db, (use.task, use.node)
        db.execute("INSERT OR IGNORE INTO places (task, node) VALUES (?, ?)", place)
        (number,) = db.execute("SELECT number FROM places WHERE task = ? AND node = ?", place).fetchone()
        row = (revision, number, use.tag, use.version, time_ns, bool(use.error))
        db.execute("INSERT INTO uses VALUES (?, ?, ?, ?, ?, ?)", row)

    def _set_state(self, id: BlobId, size: int, state: State, time_ns: int) -> None:
        old = self.view.blob(id)
        if old is None:
            row = {"id": id.raw, "size": size, "time_ns": time_ns, "state": state}
            query = f"INSERT INTO blobs VALUES (:id, :size, :time_ns, 0, :state, :time_ns, {FIRST})"
            self.view.db.execute(query, row)
        else:
            changed = (state, time_ns, size, id.raw)
            self.view.db.execute("UPDATE blobs SET state = ?, state_ns = ?, size = ? WHERE id = ?", changed)
        was, now = (old.size if old and old.state.here else None), (size if state.here else None)
        if was != now:
            blobs, more = (now is not None) - (was is not None), (now or 0) - (was or 0)
            self._count(blobs, more, 0)
            self._owners.count(id.raw, blobs, more)
        if not state.here or (old is not None and not old.state.here):
            self._set_links(id, state.here)

    def _is_here(self, id: BlobId | None) -> bool:
        """Whether the content of what an entry names is not known to be gone, as it may be when a tag is released."""
        row = self.view.blob(id) if id is not None else None
        return row is None or row.state.here

    def _set_links(self, id: BlobId, here: bool) -> None:
        """What links a blob keeps nothing while its own content is gone."""
        db = self.view.db
        query = "SELECT tag, version, links FROM entries WHERE id = ? AND links != x''"
        for tag, version, links in db.execute(query, (id.raw,)).fetchall():
            rows = [(link.raw, tag, version) for link in set(split_links(links))]
            change = (
                "INSERT OR IGNORE INTO links VALUES (?, ?, ?)"
                if here
                else "DELETE FROM links WHERE id = ? AND tag = ? AND version = ?"
            )
            db.executemany(change, rows)
            for link, _, _ in rows:
                self._owners.settle(link)

    def _count(self, blobs: int, size: int, tags: int) -> None:
        query = "UPDATE totals SET blobs = blobs + ?, bytes = bytes + ?, tags = tags + ?"
        self.view.db.execute(query, (blobs, size, tags))


def make(path: Path, store: bytes) -> Catalog:
    """A new, empty catalog to be filled and then put in place with `finish`. An older file in its way is removed."""
    remove(path)
    osfs.close(osfs.create(path))  # SQLite would let others read it, and gives its journals the same rights
    with contextlib.closing(_connect(path)) as db:
        db.execute("PRAGMA synchronous = OFF")  # nothing reads the file before `finish` has synced it
        db.executescript(_TABLES)
        db.execute("INSERT INTO store VALUES (?)", (store,))
        db.execute("INSERT INTO totals VALUES (0, 0, 0)")
        genesis = Head()
        values = (genesis.revision, genesis.chain, genesis.segment, genesis.start, genesis.end)
        db.execute("INSERT INTO head VALUES (?, ?, ?, ?, ?)", values)
        db.execute(f"PRAGMA user_version = {SCHEMA}")
    return Catalog(path, store)


def remove(path: Path) -> None:
    """Unlink a catalog and its journals."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        osfs.unlink(path.with_name(path.name + suffix))


def finish(filled: Path, path: Path) -> None:
    """Put a filled and closed catalog in its place, durably."""
    # The old file goes first: without its journal it might pass for a whole catalog that it is not.
    for suffix in ("", "-wal", "-shm"):
        osfs.unlink(path.with_name(path.name + suffix))
    fd = osfs.open_update(filled)
    try:
        osfs.fdatasync(fd)
    finally:
        osfs.close(fd)
    osfs.rename(filled, path)
    osfs.fsync_folder(path.parent)


def _told(error: sqlite3.Error) -> UdfstoreError:
    kind = _kind(error)
    cure = "; stop the server and delete it, it is made anew" if kind is Corrupt else ""
    return kind(f"the catalog cannot be read ({error}){cure}")


def _kind(error: sqlite3.Error) -> type[UdfstoreError]:
    # The low byte is the kind of error, the rest its detail; an error of the module itself has no code.
    return _KINDS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, InternalError)


def _connect(path: Path) -> sqlite3.Connection:
    # The pool hands a connection to one thread at a time, which is what check_same_thread is there to ensure.
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10, cached_statements=256)


def _check(db: sqlite3.Connection, store: bytes) -> None:
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    if schema != SCHEMA:
        raise Unusable(f"the catalog has schema {schema}, this release uses {SCHEMA}")
    (owner,) = db.execute("SELECT id FROM store").fetchone()
    if owner != store:
        raise Unusable("the catalog belongs to another store")
