"""Commands that make room, and undo it: gc, undelete."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from udfstore.admin import Fate, Garbage
from udfstore.cli import show
from udfstore.cli.output import put, put_lines, tell
from udfstore.cli.stores import opened
from udfstore.cli.words import Json, RefWord, Root, Socket
from udfstore.plain import time_of

SHOWN = 4
"""Versions that are named for one reason."""


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; show what would go, and why.")] = False,
    grace: Annotated[
        float | None,
        typer.Option("--grace", metavar="SECONDS", help="Another grace time than usual; 0: what goes, goes now."),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Free the space at once, with no hour in the trash.")] = False,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Remove what no tag, version, link or snapshot keeps, once that has been so for the grace time."""
    with opened(root, socket, configured=True) as store:
        groups = _grouped(store.collect(grace=grace, now=now, dry_run=dry_run))
    put(_mapping(groups, dry_run)) if json else put_lines(_lines(groups, dry_run))


def undelete(ref: RefWord, json: Json = False, root: Root = None, socket: Socket = None) -> None:
    """Bring removed content back, with what it links, while it is in the trash."""
    with opened(root, socket) as store:
        undeleted = store.undelete(ref)
    put(undeleted) if json else print(undeleted.id)
    if undeleted.versions:
        more = f" and {undeleted.more} more" if undeleted.more else ""
        tell(f"here again: {', '.join(undeleted.versions)}{more}")


class _Group:
    """Blobs with one fate, for one reason."""

    def __init__(self) -> None:
        self.blobs = self.bytes = self.goes_ns = 0
        self.refs: list[str] = []

    def add(self, one: Garbage) -> None:
        self.blobs += 1
        self.bytes += one.size
        self.goes_ns = min(self.goes_ns, one.goes_ns) or one.goes_ns
        self.refs += one.refs[: SHOWN + 1 - len(self.refs)]


_Groups = dict[Fate, dict[str, _Group]]


def _grouped(garbage: Iterable[Garbage]) -> _Groups:
    groups: _Groups = {fate: defaultdict(_Group) for fate in (Fate.REMOVED, Fate.MARKED, Fate.WAITS)}
    for one in garbage:
        groups[one.fate][one.why].add(one)
    return groups


def _mapping(groups: _Groups, dry_run: bool) -> dict[str, Any]:
    """As JSON: for each fate, how much and why."""
    return {"dry_run": dry_run} | {
        fate.value: {
            "blobs": sum(group.blobs for group in reasons.values()),
            "bytes": sum(group.bytes for group in reasons.values()),
            "goes": time_of(min((group.goes_ns for group in reasons.values()), default=0)),
            "why": [
                {"why": why, "blobs": group.blobs, "bytes": group.bytes, "refs": group.refs[:SHOWN]}
                for why, group in reasons.items()
            ],
        }
        for fate, reasons in groups.items()
    }


def _lines(groups: _Groups, dry_run: bool) -> Iterator[str]:
    heads = {
        Fate.REMOVED: "would be removed" if dry_run else "removed",
        Fate.MARKED: "would be marked" if dry_run else "marked",
        Fate.WAITS: "marked before",
    }
    for fate, reasons in groups.items():
        if not reasons:
            continue
        blobs, size = (sum(getattr(group, what) for group in reasons.values()) for what in ("blobs", "bytes"))
        goes_ns = min(group.goes_ns for group in reasons.values())
        until = "" if fate is Fate.REMOVED else f"; to be removed from {show.when(goes_ns)} on"
        yield f"{heads[fate]}: {blobs:,} blob{'s'[: blobs != 1]}, {show.size(size)}{until}"
        yield from show.columns(_row(why, group) for why, group in reasons.items())
    if not any(groups.values()):
        yield "everything is kept"


def _row(why: str, group: _Group) -> tuple[str, str, str]:
    more = ", …" if len(group.refs) > SHOWN or group.blobs > len(group.refs) > 0 else ""
    refs = f": {', '.join(group.refs[:SHOWN])}{more}" if group.refs else ""
    return f"  {group.blobs:,}", show.size(group.bytes), f"{why}{refs}"
