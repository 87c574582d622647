"""What keeps content, and what goes with the versions that are let go below `snapshots/`.

A blob is kept by each entry that names it, and by each entry that links it and whose own content is here. Of a tag only
those versions count that its retention rule keeps; below `snapshots/` only those since it was last untagged. What
snapshots alone kept is condemned as soon as they are let go, with what it was part of: a manifest, then the states that
it alone linked. All other content that nothing keeps is left to `collecting`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile

from udfstore.digest import BlobId
from udfstore.model import Author, Kind
from udfstore.refs import SNAPSHOTS, Tag
from udfstore.store.committer import HOUSE, Decision, Desk, Judge
from udfstore.store.records import Part, Record
from udfstore.store.retention import Rule, floor, rule_for
from udfstore.store.view import BlobRow, View

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


@dataclass(slots=True)
class Floors:
    """The lowest version of each tag that keeps its content; those in `known` are known already."""

    view: View
    rules: Sequence[Rule]
    now_ns: int
    known: dict[str, int] = field(default_factory=dict)

    def of(self, tag: str) -> int:
        """That of one tag; 0: all its versions do."""
        if tag not in self.known:
            rule = rule_for(tag, self.rules)
            self.known[tag] = floor(rule, self.view.pace(tag), self.now_ns, ends=tag.startswith(SNAPSHOTS))
        return self.known[tag]


def kept(view: View, tag: str, floors: Floors) -> Iterator[tuple[int, BlobId]]:
    """The versions of a tag that keep their content, newest first, and the blobs that they name."""
    lowest = floors.of(tag)
    versions = takewhile(lambda found: found[0] >= lowest, view.versions(tag, _NONE))
    return ((version, id) for version, id in versions if id is not None)


def keepers(view: View, id: BlobId, floors: Floors) -> list[str]:
    """Refs of the kept versions below `snapshots/` that name or link a blob."""
    named = [(tag, version) for tag, version in view.naming_refs(id) if version >= floors.of(tag)]
    linked = [(tag, version) for tag, version, _ in view.linking_refs(id)]
    return [f"{tag}@{version}" for tag, version in (*named, *linked) if tag.startswith(SNAPSHOTS)]


class Going:
    """Content that is found to be kept by nothing, step by step: what goes no longer keeps what it links.

    `dropped`: versions that do not count.
    """

    def __init__(self, view: View, floors: Floors, dropped: Iterable[tuple[str, int]] = ()) -> None:
        self.blobs: dict[BlobId, int] = {}
        self._view, self._floors = view, floors
        self._dropped = frozenset(dropped)

    def take(self, start: Iterable[BlobId], may: Callable[[BlobRow], bool]) -> list[BlobId]:
        """Judge these blobs, and what those that go link: those go that are here, that nothing keeps, and that `may`.

        Gives those that were too many for one step.
        """
        queue = deque(dict.fromkeys(start))
        while queue:
            id = queue.popleft()
            row = self._view.blob(id)
            if id in self.blobs or row is None or not row.state.here or self._kept(id):
                continue
            if len(self.blobs) >= AT_ONCE:
                return [id, *queue]
            if may(row):
                self.blobs[id] = row.size
                queue += self._view.links_of(id)
        return []

    def named(self, id: BlobId) -> bool:
        """Whether a version that counts names a blob."""
        refs = (ref for ref in self._view.naming_refs(id) if ref not in self._dropped)
        return any(version >= self._floors.of(tag) for tag, version in refs)

    def _kept(self, id: BlobId) -> bool:
        linkers = (linker for _, _, linker in self._view.linking_refs(id) if linker != id)  # itself it does not keep
        return self.named(id) or any(linker not in self.blobs for linker in linkers)


def records(kind: Kind, blobs: Iterable[tuple[BlobId, int]], now_ns: int, author: Author = HOUSE) -> list[Record]:
    """What gives those blobs (ID, size) a state."""
    waiting = list(blobs)
    return [
        Record(kind, now_ns, author, blobs=tuple(waiting[n : n + IN_A_RECORD]))
        for n in range(0, len(waiting), IN_A_RECORD)
    ]


def floors_of(desk: Desk) -> Floors:
    """Those at the time of a judgement."""
    return Floors(desk.catalog.view, desk.rules, desk.now_ns)


def let_go(tags: Sequence[Tag]) -> Judge:
    """Remove what the versions that these tags no longer keep kept, and what was postponed; answers with `Gone`."""

    def decide(desk: Desk) -> Decision:
        view, floors = desk.catalog.view, floors_of(desk)
        start = desk.files.wanted.postponed()
        for tag in tags:
            behind = islice(view.versions(tag.name, floors.of(tag.name)), BEHIND)
            start += [id for _, id in behind if id is not None]
        going = Going(view, floors)
        _condemn(desk, going, start)
        return Decision(tuple(records(Kind.CONDEMN, going.blobs.items(), desk.now_ns)), lambda _: _gone(going))

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
        floors = floors_of(desk)
        asked = [id for head in heads for _, id in kept(view, head.tag, floors)]
        asked += [entry.id for entry in entries if entry.id is not None]
        floors.known |= {head.tag: _NONE for head in heads}
        going = Going(view, floors, {(entry.tag, entry.version) for entry in entries})
        _condemn(desk, going, asked, asked=frozenset(asked))
        condemned = records(Kind.CONDEMN, going.blobs.items(), desk.now_ns, author)
        parts = tuple(Part(head.tag, head.version + 1, None) for head in heads)
        if parts:
            condemned.insert(0, Record(Kind.MOVE, desk.now_ns, author, entries=parts))
        if condemned:
            place = 1 if parts and len(condemned) > 1 else 0
            condemned[place] = replace(condemned[place], request=request)
        return Decision(tuple(condemned), lambda _: _gone(going))

    return decide


def _condemn(desk: Desk, going: Going, start: Iterable[BlobId], asked: Container[BlobId] = ()) -> None:
    """Take what may go at once; what was wanted of late is for later, unless it was asked for."""
    wanted = desk.files.wanted

    def may(row: BlobRow) -> bool:
        if row.id in asked or wanted.leave(row.id, desk.now_ns):
            return True
        wanted.postpone([row.id])
        return False

    wanted.postpone(going.take(start, may))


def _gone(going: Going) -> Gone:
    return Gone(tuple(going.blobs))
