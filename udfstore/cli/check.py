"""The command check."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from udfstore.admin import Checked, CheckItem, Finding, FindingKind
from udfstore.cli import show
from udfstore.cli.output import put, put_lines, tell
from udfstore.cli.progress import Advance, progress
from udfstore.cli.stores import opened, words
from udfstore.cli.words import Json, Root, Socket, amount, moment
from udfstore.digest import BlobId
from udfstore.errors import Corrupt, NotFound, UdfstoreError, UsageError
from udfstore.model import datetime_of
from udfstore.pace import Pace

if TYPE_CHECKING:
    from udfstore.client.base import BaseStore

Healer = Callable[[BlobId], AbstractContextManager[BinaryIO]]
"""Opens the content of a blob elsewhere. Raises `NotFound`."""

LOST = "save the content again, or have it from a backup or another store: check --repair --from PLACE"
CURES: dict[FindingKind, str] = {
    FindingKind.STOPPED: "docs/operations.md, When the store refuses",
    FindingKind.LOG: "nothing is repaired here; restore the newest backup (docs/operations.md, Damage)",
    FindingKind.CATALOG: "stop the server, then: check --repair --root DIR; content is checked once it is right",
    FindingKind.DAMAGED: LOST,
    FindingKind.UNREADABLE: "the disk fails: take a backup, replace it, restore",
    FindingKind.MISSING: f"{LOST}; or, if nobody needs it: rm --force",
    FindingKind.UNLISTED: "check --repair lists it",
}
"""What to do about each kind of finding."""

HEALED = (FindingKind.DAMAGED, FindingKind.MISSING)
"""What content from elsewhere mends."""


@dataclass(slots=True)
class Report:
    """What a check came to, as far as it came."""

    began_ns: int = 0
    revision: int = 0
    blobs: int = 0
    bytes: int = 0
    whole: bool = False
    """Nothing is left to look at."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def catalog_is_wrong(self) -> bool:
        """Whether it has to be made anew: before that content is not looked at."""
        return any(finding.kind is FindingKind.CATALOG and not finding.mended for finding in self.findings)

    def made_anew(self) -> None:
        """The catalog was: what else was found is found again, unless it is mended."""
        mended = (replace(finding, mended=True) for finding in self.findings if finding.kind is FindingKind.CATALOG)
        self.findings = [*mended, *(finding for finding in self.findings if finding.mended)]


PLACE = "a socket, the root of a store, or the folder of a backup"
"""What content can be had from."""


def check(
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what can be; what is replaced is kept in quarantine/.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="PLACE", help="Heal content from there: a socket, a root, a backup's folder."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Leave out content that was verified since then."),
    ] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", metavar="BYTES", help="Read at most so much a second: 20MiB.")
    ] = None,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Check that the store holds what it says: log, catalog, and every byte of content."""
    if source is not None and not repair:
        raise UsageError("--from is where --repair has content from: give both")
    pace = None if rate is None else Pace(amount(rate))
    from_then, report = None if since is None else moment(since), Report()
    try:
        with _healer(source) as heal:

            def run() -> None:
                with _opened(root, socket) as store:
                    _run(store, store.check(since=from_then, repair=repair), report, pace, heal)

            run()
            if repair and root is not None and socket is None and report.catalog_is_wrong:
                _set_aside(root)
                report.made_anew()
                run()
    except KeyboardInterrupt:
        if report.began_ns:
            began = from_then or datetime_of(report.began_ns).astimezone()
            tell(f"to go on: udfstore check --since {began.isoformat(timespec='seconds')}{words(root, socket)}")
        raise
    finally:
        if report.began_ns:
            put(report) if json else put_lines(_lines(report))
    left = sum(not finding.mended for finding in report.findings)
    if left:
        raise Corrupt(f"not mended: {left} finding{'s'[: left != 1]}")


def _opened(root: Path | None, socket: Path | None) -> BaseStore:
    """As `stores.opened`, and what a start had to do is told."""
    if root is not None and socket is None:
        from udfstore.local import open_store

        return open_store(root, create=False, say=tell)
    return opened(root, socket)


def _set_aside(root: Path) -> None:
    from udfstore.store.check import set_catalog_aside

    kept = set_catalog_aside(root)
    tell(f"the catalog is made anew; the old one is {kept}")


def _run(store: BaseStore, items: Iterator[CheckItem], report: Report, pace: Pace | None, heal: Healer | None) -> None:
    """One pass: the report grows as it goes."""
    advance: Advance | None = None
    done = 0
    with ExitStack() as stack:
        for item in items:
            if isinstance(item, Finding):
                mended = heal is not None and item.kind in HEALED and _heal(store, heal, item)
                report.findings.append(replace(item, mended=item.mended or mended))
                continue
            assert isinstance(item, Checked)
            report.began_ns, report.revision = item.began_ns, item.revision
            report.blobs, report.bytes = item.blobs, item.bytes
            if advance is None:
                advance = stack.enter_context(progress("checking", item.of_bytes))
            advance(item.bytes)
            if pace is not None:
                time.sleep(pace.delay(item.bytes - done, time.monotonic()))
            done = item.bytes
    report.whole = not report.catalog_is_wrong


def _heal(store: BaseStore, heal: Healer, finding: Finding) -> bool:
    """Bring a blob from elsewhere: what comes is checked against its ID, and what the store then has once more."""
    assert finding.id is not None
    try:
        with heal(finding.id) as content:
            store.save(content, id=finding.id)
        store.verify(finding.id)
    except UdfstoreError as error:
        tell(f"{finding.id.short} is not healed: {error}")
        return False
    return True


@contextmanager
def _healer(place: Path | None) -> Iterator[Healer | None]:
    """What gives content of a store (by its socket or root), or of a backup's folder."""
    from udfstore.backup.form import SUMMARY

    if place is None:
        yield None
    elif (place / SUMMARY).exists():
        yield partial(_from_backup, place)
    elif place.is_dir():
        with opened(place, None) as store:
            yield store.open
    elif not place.is_socket():
        is_none = "is none" if place.exists() else "is not there"
        raise UsageError(f"--from is {PLACE}; {place} {is_none}")
    else:
        with opened(None, place) as store:
            yield store.open


def _from_backup(folder: Path, id: BlobId) -> BinaryIO:
    from udfstore.backup.form import blob_name

    try:
        return (folder / blob_name(id)).open("rb")
    except FileNotFoundError:
        raise NotFound(f"the backup in {folder} does not have it") from None


def _lines(report: Report) -> Iterator[str]:
    for finding in report.findings:
        what = [finding.kind.value, *([finding.id.short] if finding.id else []), finding.place]
        yield f"{'  '.join(filter(None, what))}: {finding.text}{' (mended)' if finding.mended else ''}"
        if finding.refs:
            yield f"  hits {', '.join(finding.refs)}{f' and {finding.more} more' if finding.more else ''}"
        if not finding.mended:
            yield f"  {CURES[finding.kind]}"
    count = len(report.findings)
    found = f"{count} finding{'s'[: count != 1]}" if count else "nothing is wrong"
    blobs = f"{report.blobs:,} blob{'s'[: report.blobs != 1]}"
    yield f"revision {report.revision}, {blobs}, {show.size(report.bytes)}: {found}{'' if report.whole else ' so far'}"
