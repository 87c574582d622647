"""The start: bring the catalog into line with log and files before anything is read or written."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from udfstore.digest import BlobId
from udfstore.store import osfs
from udfstore.store.catalog import Catalog, Unusable, finish, make
from udfstore.store.groups import Damaged, Group
from udfstore.store.layout import FAN, Layout, blob_of, quarantined_blob
from udfstore.store.log import FileLog, Head

_BATCH = 1000
"""Groups or files in one transaction of a rebuild, and between two lines of progress times a hundred."""

OLD = "the catalog is older than what the log has shed"


def empty_staging(layout: Layout) -> None:
    """Forget the saves that were in flight when the last owner ended."""
    with osfs.telling(f"emptying {layout.staging}"):
        for path in layout.staging.iterdir():
            osfs.unlink(path)


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Turn any error of SQLite in the body into the one that a caller is given."""
    try:
        yield
    except (sqlite3.Error, Unusable) as error:
        number = errno.ENOSPC if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL else 0
        raise osfs.told(OSError(number, str(error)), "bringing the catalog up to date") from error


def open_catalog(layout: Layout, store: bytes, log: FileLog, say: Callable[[str], None]) -> tuple[Catalog, str]:
    """The catalog, with everything applied that the log has; and what is wrong with the log, "" for nothing.

    A catalog that is missing, damaged or another store's is made anew. Raises `Corrupt` for a log without a beginning;
    within `telling`.
    """
    log.check_there()
    try:
        catalog = Catalog(layout.catalog, store)
    except Unusable as reason:
        if not log.empty():
            say(f"{reason}: making it from the log and the files")
        catalog = rebuild(layout, store, log, say)
    try:
        return catalog, _catch_up(catalog, log)
    except Unusable as reason:
        say(f"{reason}: making it from the log and the files")
    except sqlite3.OperationalError:
        raise  # the disk refuses; that says nothing of the catalog
    except sqlite3.DatabaseError as error:
        say(f"the catalog is damaged ({error}): making it from the log and the files")
    catalog = rebuild(layout, store, log, say)
    return catalog, _catch_up(catalog, log)


def _catch_up(catalog: Catalog, log: FileLog) -> str:
    """Apply what the log has and the catalog has not; what is wrong with the log. An error closes the catalog."""
    with contextlib.ExitStack() as undo:
        undo.callback(catalog.close)
        problem = _apply_rest(catalog, log)
        undo.pop_all()
    return problem


def _apply_rest(catalog: Catalog, log: FileLog) -> str:
    head = catalog.view.head()
    if head.revision:
        try:
            log.group_at(head)
        except (Damaged, FileNotFoundError) as damage:
            if log.was_shed(head.segment):
                raise Unusable(OLD) from damage
            place = f"log {head.segment:08d}, offset {head.start}"
            return f"{place}: revision {head.revision} was committed, but its group is damaged or missing ({damage})"
    for group, following in log.groups(head):
        if group.shed():
            raise Unusable(OLD)
        catalog.begin()
        catalog.apply_group(group, following)
        catalog.commit()
        head = following
    return log.settle(head)


def rebuild(layout: Layout, store: bytes, log: FileLog, say: Callable[[str], None]) -> Catalog:
    """Make the catalog anew: names and removals from the log, the index of blobs from the files.

    When a file was hashed last is not known afterwards.
    """
    fresh = layout.catalog.with_name("catalog.new")
    with contextlib.closing(make(fresh, store)) as catalog:
        replay(catalog, log.groups(Head()), say)
        _walk(catalog, layout, say)
        catalog.fold()
    with osfs.telling("putting the catalog in its place"):
        finish(fresh, layout.catalog)
    return Catalog(layout.catalog, store)


def replay(catalog: Catalog, groups: Iterable[tuple[Group, Head]], say: Callable[[str], None]) -> None:
    """Apply all groups of a log to a new catalog."""
    catalog.begin()
    for count, (group, head) in enumerate(groups, 1):
        catalog.apply_group(group, head)
        if count % _BATCH == 0:
            catalog.commit()
            catalog.begin()
        if count % (100 * _BATCH) == 0:
            say(f"making the catalog: revision {head.revision}")
    catalog.commit()


def _walk(catalog: Catalog, layout: Layout, say: Callable[[str], None]) -> None:
    count = 0
    for number, name in enumerate(FAN, 1):
        catalog.begin()
        for id, entry in _blobs_in(layout.blobs / name):
            _index(catalog, id, entry.stat(follow_symlinks=False))
            count += 1
        catalog.commit()
        if number % 32 == 0 and count >= 10 * _BATCH:
            say(f"making the catalog: {count} blobs, {number} of {len(FAN)} folders")
    catalog.begin()
    for path in layout.quarantine.iterdir():
        quarantined = quarantined_blob(path.name)
        if quarantined is not None:
            found = path.stat()
            catalog.add_blob(quarantined, found.st_size, found.st_mtime_ns, 0)
    catalog.commit()


def _blobs_in(folder: Path) -> list[tuple[BlobId, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        named = [(blob_of(entry.name), entry) for entry in entries]
    return [(id, entry) for id, entry in named if id is not None]


def index(catalog: Catalog, layout: Layout, held: Sequence[BlobId]) -> None:
    """Index what the journal held: a power cut may have taken it from the catalog, or changed the time of its file."""
    if held:
        catalog.begin()
        for id in held:
            _index(catalog, id, layout.blob(id).stat())
        catalog.commit()


def _index(catalog: Catalog, id: BlobId, found: os.stat_result) -> None:
    if not catalog.add_blob(id, found.st_size, found.st_mtime_ns, 0):
        catalog.set_saved(id, found.st_mtime_ns)
