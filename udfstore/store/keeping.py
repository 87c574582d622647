"""What keeps content below `snapshots/`, and what goes with the versions that are let go.

A blob is kept by each entry that names it, and by each entry that links it and whose own content is here. Of a tag
below `snapshots/` only some versions count: those since it was last untagged, as far as its retention rule goes. What
nothing keeps any more is condemned with what it was part of: a manifest, then the states that it alone linked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from udfstore.digest import BlobId
from udfstore.model import Author, Kind
from udfstore.refs import SNAPSHOTS, Tag
from udfstore.store.committer import HOUSE, Decision, Desk, Judge
from udfstore.store.records import Part, Record
from udfstore.store.retention import rule_for
from udfstore.store.view import View

BEHIND = 16
"""Versions behind the kept ones that are looked at when a tag has moved: one has just been let go, the others in case a
crash came between a move and what it let go."""

AT_ONCE = 4096
"""Blobs that one step condemns; what is more follows with the next one. Their records stay well below a group."""

IN_A_RECORD = 64
"""Blobs in one record of them."""

_NONE = 1 << 62


@dataclass(frozen=True, slots=True)
class Gone:
    """What a step removed: blobs whose content is on its way out."""

    blobs: tuple[BlobId, ...]


def kept(view: View, tag: str) -> Iterator[tuple[int, BlobId]]:
    """The versions of a tag below `snapshots/` that keep their content, newest first, and the blobs that they name."""
    keep, newest = rule_for(tag, ()).versions, 0
    for version, id in view.versions(tag, _NONE):  # not all of them: the log sheds what was let go
        newest = newest or version
        if id is None or (keep is not None and version <= newest - keep):
            return
        yield version, id


def keepers(view: View, id: BlobId) -> list[str]:
    """Refs of the kept versions below `snapshots/` that name or link a blob."""
    floors = _Floors(view)
    named = [(tag, version) for tag, version in view.naming_refs(id) if version >= floors.of(tag)]
    linked = [(tag, version) for tag, version, _ in view.linking_refs(id)]
    return [f"{tag}@{version}" for tag, version in (*named, *linked) if tag.startswith(SNAPSHOTS)]


def let_go(tags: Sequence[Tag]) -> Judge:
    """Remove what the versions that these tags no longer keep kept, and what was postponed; answers with `Gone`."""

    def decide(desk: Desk) -> Decision:
        view = desk.catalog.view
        start = desk.files.wanted.postponed()
        for tag in tags:
            behind = islice(view.versions(tag.name, _Floors(view).of(tag.name)), BEHIND)
            start += [id for _, id in behind if id is not None]
        going = _Going(desk)
        going.take(start)
        return Decision(going.records(HOUSE), lambda _: Gone(tuple(going.blobs)))

    return decide


def drop(untag: Sequence[Tag], versions: Sequence[tuple[Tag, int]], request: bytes, author: Author) -> Judge:
    """Untag those tags, and remove what they and those versions of others alone kept; answers with `Gone`."""

    def decide(desk: Desk) -> Decision:
        view = desk.catalog.view
        made = view.requested(request)
        if made is not None:
            blobs = tuple(id for id, _ in made[1].blobs)
            return Decision((), lambda _: Gone(blobs))
        heads = [head for head in (view.newest(tag.name) for tag in untag) if head is not None and head.id is not None]
        entries = [entry for tag, version in versions if (entry := view.entry(tag.name, version)) is not None]
        going = _Going(desk, {(entry.tag, entry.version) for entry in entries}, {head.tag: _NONE for head in heads})
        asked = [id for head in heads for _, id in kept(view, head.tag)]
        going.take([*asked, *(entry.id for entry in entries if entry.id is not None)], asked=True)
        records = list(going.records(author))
        parts = tuple(Part(head.tag, head.version + 1, None) for head in heads)
        if parts:
            records.insert(0, Record(Kind.MOVE, desk.now_ns, author, entries=parts))
        if records:
            place = 1 if parts and len(records) > 1 else 0
            records[place] = replace(records[place], request=request)
        return Decision(tuple(records), lambda _: Gone(tuple(going.blobs)))

    return decide


@dataclass(slots=True)
class _Floors:
    """The lowest version of each tag that keeps its content; those given are known already."""

    view: View
    known: dict[str, int] = field(default_factory=dict)

    def of(self, tag: str) -> int:
        if not tag.startswith(SNAPSHOTS):
            return 0
        if tag not in self.known:
            self.known[tag] = min((version for version, _ in kept(self.view, tag)), default=_NONE)
        return self.known[tag]


class _Going:
    """Content that is found to be kept by nothing, step by step: what goes no longer keeps what it links."""

    def __init__(
        self, desk: Desk, dropped: Iterable[tuple[str, int]] = (), floors: dict[str, int] | None = None
    ) -> None:
        self.blobs: dict[BlobId, int] = {}
        self._desk, self._view = desk, desk.catalog.view
        self._dropped = frozenset(dropped)
        self._floors = _Floors(self._view, floors or {})

    def take(self, start: Sequence[BlobId], *, asked: bool = False) -> None:
        """Judge these blobs, and what those that go link. `asked`: these go though they were wanted of late."""
        wanted = self._desk.files.wanted
        first = set(start)
        queue = deque(dict.fromkeys(start))
        while queue:
            id = queue.popleft()
            row = self._view.blob(id)
            if id in self.blobs or row is None or not row.state.here or self._kept(id):
                continue
            if len(self.blobs) >= AT_ONCE:
                wanted.postpone([id, *queue])
                return
            if not (asked and id in first) and not wanted.leave(id, self._desk.now_ns):
                continue
            self.blobs[id] = row.size
            queue += self._view.links_of(id)

    def records(self, author: Author) -> tuple[Record, ...]:
        """What condemns them."""
        blobs = list(self.blobs.items())
        return tuple(
            Record(Kind.CONDEMN, self._desk.now_ns, author, blobs=tuple(blobs[n : n + IN_A_RECORD]))
            for n in range(0, len(blobs), IN_A_RECORD)
        )

    def _kept(self, id: BlobId) -> bool:
        named = (ref for ref in self._view.naming_refs(id) if ref not in self._dropped)
        if any(version >= self._floors.of(tag) for tag, version in named):
            return True
        return any(linker not in self.blobs for _, _, linker in self._view.linking_refs(id))
