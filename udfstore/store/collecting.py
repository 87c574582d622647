"""Collection: what nothing keeps is marked, and condemned once it was marked for the grace time.

Candidates come from the catalog, page by page, and are judged again where the log is written: what was named, linked or
saved meanwhile stays. It may be broken off anywhere; what is left is found the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from udfstore.admin import Fate, Garbage
from udfstore.digest import BlobId
from udfstore.errors import Closing
from udfstore.model import Kind
from udfstore.refs import SNAPSHOTS, Prefix
from udfstore.store.catalog import Catalog
from udfstore.store.committer import Committer, Decision, Desk, Judge
from udfstore.store.keeping import IN_A_RECORD, Floors, Going, floors_of, records
from udfstore.store.limits import StoreLimits
from udfstore.store.records import State
from udfstore.store.removal import SECOND, Remover
from udfstore.store.retention import DAY, Rule, rule_for
from udfstore.store.view import BlobRow, View

PAGE = 4096
"""Blobs, versions or tags looked at before others have their turn: some 10 ms."""

REFS = 8
"""Versions that are named of one blob."""

FAR_NS = 2 * DAY
"""Time in which nothing was written and nobody looked, after which the clock is not believed: it may have stepped, or
the machine was off. Marks then count anew, which costs a day of room."""


@dataclass(frozen=True, slots=True)
class Grace:
    """When a mark is old enough. Marks from before `since_ns` and from the future do not count."""

    ns: int
    since_ns: int

    def counts(self, row: BlobRow, now_ns: int) -> bool:
        """Whether a blob is marked."""
        return row.state is State.MARKED and self.since_ns <= row.state_ns <= now_ns

    def over(self, row: BlobRow, now_ns: int) -> bool:
        """Whether a blob has been marked for long enough."""
        return not self.ns or (self.counts(row, now_ns) and now_ns - row.state_ns >= self.ns)


class Collector:
    """Finds and removes what nothing keeps. For any thread; blocks on the disk."""

    def __init__(
        self,
        catalog: Catalog,
        committer: Committer,
        remover: Remover,
        limits: StoreLimits,
        clock: Callable[[], int],
    ) -> None:
        self._catalog, self._committer, self._remover = catalog, committer, remover
        self._rules, self._grace_s, self._clock = limits.retention, limits.gc_grace_s, clock
        self._looked_ns = 0
        self._since_ns = 0

    def collect(self, grace_s: int | None, *, now: bool, dry_run: bool) -> Iterator[list[Garbage]]:
        """What nothing keeps, and what became of it; `dry_run`: what would. Batches may be empty.

        `grace_s`: another grace time than usual; `now`: files are unlinked at once. Raises `Closing` when the process
        is about to end.
        """
        grace, told = self._begin(self._grace_s if grace_s is None else grace_s), set[BlobId]()
        for ids in self._candidates():
            with self._catalog.reading() as view:
                look = _look(view, Floors(view, self._rules, self._clock()), ids, grace, lambda _: True)
            for found in [look.garbage] if dry_run else self._changes(look, grace, now):
                yield [one for one in found if one.id not in told]
                told.update(one.id for one in found)

    def _changes(self, look: _Look, grace: Grace, now: bool) -> Iterator[list[Garbage]]:
        yield look.waiting
        ids = look.changing
        for start in range(0, len(ids), IN_A_RECORD):
            if self._remover.stopped:
                raise Closing("the server is shutting down; what is left goes with the next gc")
            found: list[Garbage] = self._committer.call(_judge(ids[start : start + IN_A_RECORD], grace))
            self._remover.take_out([one.id for one in found if one.fate is Fate.REMOVED], now)
            yield found

    def _begin(self, grace_s: int) -> Grace:
        now_ns = self._clock()
        with self._catalog.reading() as view:
            last_ns = max(self._looked_ns, view.last_ns())
        if now_ns - last_ns > FAR_NS:
            self._since_ns = now_ns
        elif now_ns < self._since_ns:  # that was wrong, then; marks from there are from the future
            self._since_ns = 0
        self._looked_ns = now_ns
        return Grace(grace_s * SECOND, self._since_ns)

    def _candidates(self) -> Iterator[list[BlobId]]:
        """What may be kept by nothing, among much that is kept. Each batch is read at a moment of its own."""
        last: BlobId | None = None
        while True:
            with self._catalog.reading() as view:
                rows = view.loose(last, PAGE)
            if not rows:
                break
            last = rows[-1][0]
            yield [id for id, loose in rows if loose]
        tag, prefix = "", Prefix("" if self._rules else SNAPSHOTS)
        while True:
            with self._catalog.reading() as view:
                tags = view.tag_names(prefix, tag, PAGE)
            if not tags:
                break
            for tag in tags:
                yield from self._let_go(tag)

    def _let_go(self, tag: str) -> Iterator[list[BlobId]]:
        """Content of versions of a tag that no longer keep it."""
        if rule_for(tag, self._rules).keeps_all and not tag.startswith(SNAPSHOTS):
            return
        version = 0
        while True:
            with self._catalog.reading() as view:
                found = view.here_between(tag, version, Floors(view, self._rules, self._clock()).of(tag), PAGE)
            if not found:
                return
            version = found[-1][0]
            yield [id for _, id in found]


@dataclass(frozen=True, slots=True)
class _Look:
    """What there is to do about some blobs, as they stand. `kept`: marked ones that a version names again."""

    garbage: list[Garbage]
    kept: list[tuple[BlobId, int]]

    def with_fate(self, fate: Fate) -> list[tuple[BlobId, int]]:
        """Those blobs and their sizes."""
        return [(one.id, one.size) for one in self.garbage if one.fate is fate]

    @property
    def waiting(self) -> list[Garbage]:
        """What is marked, but not for long enough."""
        return [one for one in self.garbage if one.fate is Fate.WAITS]

    @property
    def changing(self) -> list[BlobId]:
        """What takes a record."""
        return [id for id, _ in (*self.kept, *self.with_fate(Fate.MARKED), *self.with_fate(Fate.REMOVED))]


def _look(view: View, floors: Floors, ids: Sequence[BlobId], grace: Grace, leave: Callable[[BlobId], bool]) -> _Look:
    """Look at blobs, and at what those link that nothing keeps. `leave`: nobody relies on it at this moment."""
    now_ns, out, loose = floors.now_ns, Going(view, floors), Going(view, floors)
    out.take(ids, lambda row: grace.over(row, now_ns) and leave(row.id))
    loose.take(ids, lambda _: True)
    garbage = []
    for id in out.blobs | loose.blobs:
        row = view.blob(id)
        assert row is not None
        if id in out.blobs:
            fate, goes_ns = Fate.REMOVED, now_ns
        elif grace.counts(row, now_ns):
            fate, goes_ns = Fate.WAITS, row.state_ns + grace.ns
        else:
            fate, goes_ns = Fate.MARKED, now_ns + grace.ns
        why, refs = _why(view, floors.rules, id)
        garbage.append(Garbage(id, row.size, fate, why, refs, goes_ns))
    rows = [row for id in ids if id not in loose.blobs and (row := view.blob(id)) is not None]
    return _Look(garbage, [(row.id, row.size) for row in rows if row.state is State.MARKED and loose.named(row.id)])


def _judge(ids: Sequence[BlobId], grace: Grace) -> Judge:
    """Mark, rescue and condemn; answers with what nothing keeps."""

    def decide(desk: Desk) -> Decision:
        def leave(id: BlobId) -> bool:
            return desk.files.wanted.leave(id, desk.now_ns)

        look = _look(desk.catalog.view, floors_of(desk), ids, grace, leave)
        changes = {
            Kind.RESCUE: look.kept,
            Kind.MARK: look.with_fate(Fate.MARKED),
            Kind.CONDEMN: look.with_fate(Fate.REMOVED),
        }
        written = [record for kind, blobs in changes.items() for record in records(kind, blobs, desk.now_ns)]
        return Decision(tuple(written), lambda _: look.garbage)

    return decide


def _why(view: View, rules: Sequence[Rule], id: BlobId) -> tuple[str, tuple[str, ...]]:
    """Why nothing keeps a blob, and the first of the versions that name it."""
    named = list(islice(view.naming_refs(id), REFS))
    found = {str(rule) for tag, _ in named if not (rule := rule_for(tag, rules)).keeps_all}
    refs = tuple(f"{tag}@{version}" for tag, version in named)
    if found:
        return f"let go by {', '.join(sorted(found))}", refs
    if named:
        return "untagged", refs
    return ("linked only by what goes" if any(view.linking_refs(id)) else "nothing names it"), ()
