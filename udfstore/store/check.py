"""Checks: the log against its chain, the catalog against the log, content against its names. Repairs nothing unasked.

Only the catalog is ever put right from the log; a log that is damaged is left as it is, for a restore.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from udfstore.admin import Checked, CheckItem, Finding, FindingKind
from udfstore.errors import Closing, Corrupt
from udfstore.store import osfs
from udfstore.store.backup import loader
from udfstore.store.catalog import Catalog, make, remove
from udfstore.store.chain import Break, Chain
from udfstore.store.compare import PLACE, compare
from udfstore.store.groups import Group
from udfstore.store.layout import segment_number
from udfstore.store.log import Head
from udfstore.store.parts import Parts
from udfstore.store.root import Lock, find_root
from udfstore.store.scrub import SHOWN, Scrub
from udfstore.store.start import replay
from udfstore.store.view import View


def everything(parts: Parts, since_ns: int | None, repair: bool) -> Generator[list[CheckItem]]:
    """What `admin.Check` tells, in steps: one for log and catalog, then one for every few MiB of content.

    Content is only checked where the catalog is right: else nobody knows what should be there.
    """
    began_ns = parts.clock()
    scrub = Scrub(parts, since_ns, repair)
    try:
        due = scrub.due_bytes()
        yield [Checked(began_ns, 0, 0, 0, due)]
        findings, revision = _names(parts)
        yield [*findings, Checked(began_ns, revision, 0, 0, due)]
        if any(finding.kind is FindingKind.CATALOG for finding in findings):
            return
        for found in scrub.steps():
            yield [*found, Checked(began_ns, revision, scrub.blobs, scrub.bytes, due)]
    except Corrupt as error:
        yield [Finding(FindingKind.CATALOG, error.message, place=PLACE)]


def set_catalog_aside(root: Path) -> Path:
    """Take the catalog of a store that nobody has open out of use; the next start makes it anew. Says where it is kept.

    Raises as opening the store does.
    """
    layout = find_root(root, create=False)
    kept = layout.quarantine / f"{layout.catalog.name}.{os.urandom(4).hex()}"
    lock = Lock(layout, "")
    try:
        with osfs.telling("setting the catalog aside"):
            for suffix in ("", "-wal", "-shm"):  # one that was closed well has no journals
                with suppress(FileNotFoundError):
                    osfs.rename(layout.root / f"{layout.catalog.name}{suffix}", kept.with_name(kept.name + suffix))
            osfs.fsync_folder(kept.parent)
            osfs.fsync_folder(layout.root)
    finally:
        lock.release()
    return kept


def _names(parts: Parts) -> tuple[list[Finding], int]:
    """What is wrong with log and catalog, as both are at one moment, and the revision up to which the log was read."""
    problem = parts.committer.problem
    findings = [Finding(FindingKind.STOPPED, problem)] if problem else []
    # While it is held the log sheds nothing.
    with parts.checking, parts.remover.hold(), parts.catalog.reading() as view:
        chain = Chain(loader(parts), view.head(), _last(parts) if problem else None)
        with _fresh(parts) as fresh:
            findings += _read(parts, chain, view, fresh)
    return findings, chain.head.revision


def _read(parts: Parts, chain: Chain, view: View, fresh: Catalog) -> Iterator[Finding]:
    """Make a catalog of the log, and hold the one that is there against it."""
    try:
        with osfs.telling("reading the log"):
            replay(fresh, _until_the_end(parts, chain.groups()), lambda _: None)
    except Corrupt as error:
        yield Finding(FindingKind.LOG, error.message, place="log")
        return
    except sqlite3.Error as error:
        raise osfs.told(OSError(0, str(error)), "making a catalog beside the one that is there") from error
    until, head = view.head(), chain.head
    if chain.breaks:
        yield from (_broken(view, broken) for broken in chain.breaks)
    elif head.revision == until.revision and head.chain != until.chain:
        yield Finding(FindingKind.CATALOG, f"its revision {until.revision} is not that of the log", place=PLACE)
    elif head.revision == until.revision:
        yield from compare(view, fresh.view, chain.shed)


def _until_the_end(parts: Parts, groups: Iterator[tuple[Group, Head]]) -> Iterator[tuple[Group, Head]]:
    """The groups; `Closing` when the process is about to end."""
    for group in groups:
        if parts.remover.stopped:
            raise Closing("the server is shutting down; check again when it is back")
        yield group


@contextmanager
def _fresh(parts: Parts) -> Iterator[Catalog]:
    """A catalog with nothing in it, for as long as this is open."""
    path = parts.layout.root / "catalog.new"
    with osfs.telling(f"making {path}"):
        try:
            with closing(make(path, parts.format.id)) as fresh:
                yield fresh
        finally:
            remove(path)


def _broken(view: View, broken: Break) -> Finding:
    """Damage to the log. Whom it hits is what the catalog remembers of the revisions that are lost."""
    lost = f"revisions {broken.first} to {broken.last}" if broken.last > broken.first else f"revision {broken.first}"
    text = f"{lost}: {broken.why}" if broken.last >= broken.first else broken.why
    refs, more = view.told_between(broken.first, broken.last, SHOWN)
    return Finding(FindingKind.LOG, text, None, broken.place, tuple(refs), more)


def _last(parts: Parts) -> int:
    numbers = (segment_number(path.name) for path in parts.layout.log.iterdir())
    return max(number for number in numbers if number is not None)
