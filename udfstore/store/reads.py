"""Questions to a store: all that the catalog answers, each through a connection of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from udfstore import tasks
from udfstore.calls import Kept
from udfstore.digest import BlobId
from udfstore.errors import Closing, NotFound
from udfstore.model import BlobInfo, Entry, Event
from udfstore.refs import Prefix, Ref, Tag
from udfstore.store import keeping
from udfstore.store.catalog import Reading
from udfstore.store.keeping import Floors
from udfstore.store.parts import Parts
from udfstore.store.records import State
from udfstore.store.removal import SECOND
from udfstore.store.resolve import Resolved, check_size, find_entry, newest_entry, resolve
from udfstore.store.retention import rule_for
from udfstore.store.view import BlobRow, View


@dataclass(frozen=True, slots=True)
class Made:
    """What a record tells: its entries, or the first of the blobs it removed."""

    entries: tuple[Entry, ...]
    blobs: tuple[BlobId, ...]


class Reads:
    """The reading half of a store. Methods may be called from any thread and see the newest committed revision."""

    _parts: Parts
    _closed: bool

    def resolve(self, ref: Ref) -> Resolved:
        """What a ref names. Raises `NotFound`, `Gone`, `UsageError` for digits that several IDs begin with."""
        with self._reads() as view:
            return resolve(view, self._parts.files, ref)

    def info(self, ref: Ref) -> BlobInfo:
        """What is known of the blob that a ref names, its file looked at. Raises as `resolve`, and `Corrupt`."""
        with self._reads() as view:
            found = resolve(view, self._parts.files, ref)
            row, size = view.blob(found.id), self._parts.files.size(found.id)
            check_size(found.id, row, size)
            return _info(view, row or BlobRow(found.id, size or 0, 0, 0, State.KEPT, 0), found.entry)

    def entry(self, ref: Ref) -> Entry:
        """The newest entry of a tag, or one version of it. Raises `NotFound`; `Gone` for a deleted tag."""
        with self._reads() as view:
            return find_entry(view, ref)

    def entry_at(self, tag: Tag, time_ns: int) -> Entry:
        """The newest entry that a tag had at a time; a deletion too. Raises `NotFound` where it had none yet."""
        with self._reads() as view:
            newest_entry(view, tag)
            entry = view.entry_at(tag.name, time_ns)
        if entry is None:
            raise NotFound(f"{tag} had no version yet at that time")
        return entry

    def tags(self, prefix: Prefix, after: str = "", limit: int = 100) -> list[Entry]:
        """The newest entry of each live tag by name, behind the tag `after`.

        To follow tags from here on, read `revision` first: what changes while pages are read is then told as an event.
        """
        with self._reads() as view:
            return view.tags(prefix, after, limit)

    def kept(self, tag: Tag) -> list[Entry]:
        """The versions of a tag below `snapshots/` that are kept and whose content is here, newest first."""
        with self._reads() as view:
            kept = keeping.kept(view, tag.name, self._floors(view))
            versions = [version for version, id in kept if _here(view, id)]
            return [entry for version in versions if (entry := view.entry(tag.name, version))]

    def made(self, request: bytes) -> Made | None:
        """What the record tells that a request made; None: it made none."""
        with self._reads() as view:
            found = view.requested(request)
            return found and Made(tuple(view.entries_of(found[0])), tuple(id for id, _ in found[1].blobs))

    def naming(self, id: BlobId) -> list[Entry]:
        """The newest hundred entries that name a blob."""
        with self._reads() as view:
            return view.naming(id, 100)

    def known(self, tag: Tag) -> bool:
        """Whether there is a tag of that name, or was."""
        with self._reads() as view:
            return view.newest_of(tag.name) is not None

    def tags_with(self, id: BlobId) -> list[str]:
        """Tags of which a version names a blob, or keeps it by a link."""
        with self._reads() as view:
            return list(view.tags_with(id))

    def named_by(self, id: BlobId, one: Callable[[str], bool]) -> bool:
        """Whether such a tag of a blob is one that is looked for."""
        with self._reads() as view:
            return any(map(one, view.tags_with(id)))

    def refs_with(self, id: BlobId) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """Tag and version of each entry that names a blob, and of each that keeps it by a link."""
        with self._reads() as view:
            return list(view.naming_refs(id)), [(tag, version) for tag, version, _ in view.linking_refs(id)]

    def owned(self, owner: str) -> int:
        """The bytes of all content that counts for an owner, as `Author.owner` calls it."""
        with self._reads() as view:
            return view.owned(owner)

    def is_owned(self, id: BlobId) -> bool:
        """Whether a blob is here and counts for somebody."""
        with self._reads() as view:
            row = view.blob(id)
            return row is not None and row.state.here and bool(view.owner(id))

    def is_size_owned(self, size: int) -> bool:
        """Whether a blob of that size is here and counts for somebody. Looks through the index of all blobs."""
        with self._reads() as view:
            return view.is_size_owned(size)

    def owners(self) -> list[tuple[str, int, int]]:
        """Owners with the blobs and bytes that count for each, most bytes first."""
        with self._reads() as view:
            return view.owners()

    def settled(self, ids: Iterable[BlobId]) -> list[BlobId]:
        """Those blobs that an entry made count for somebody, or whose content went."""
        with self._reads() as view:
            return view.settled(ids)

    def heads_with(self, id: BlobId) -> list[str]:
        """Refs of the newest entries that name a blob now, all of them."""
        with self._reads() as view:
            return view.heads_naming(id, -1)

    def beginning_with(self, digits: str) -> list[BlobId]:
        """Blobs whose hex ID begins with these digits: those here, else removed ones; of very many the first."""
        with self._reads() as view:
            found = view.beginning_with(digits, 64)
        return [row.id for row in found if row.state.here] or [row.id for row in found]

    def uses(self, task: str, tag: str, until_ns: int | None, everything: bool) -> list[int]:
        """Revisions of what was told to be in use, newest first; an empty `task` or `tag` is any.

        The newest of each node and tag up to that time, or `everything`.
        """
        with self._reads() as view:
            return view.uses(task, tag, until_ns, everything)

    def used(self, revisions: Sequence[int]) -> list[tasks.Use]:
        """Those records of uses."""
        with self._reads() as view:
            return [view.used(revision) for revision in revisions]

    def first_use(self, task: str, id: BlobId) -> int | None:
        """When a node of a task first had a blob in use, in nanoseconds since 1970; None: never."""
        with self._reads() as view:
            return view.first_use(task, id)

    def history(self, tag: Tag, before: int | None = None, limit: int = 100) -> list[Entry]:
        """All versions of a tag, deletions too, newest first, below version `before`. Raises `NotFound`."""
        with self._reads() as view:
            newest_entry(view, tag)
            return view.history(tag.name, before, limit)

    def blobs(self, after: tuple[int, BlobId] | None = None, limit: int = 100) -> list[BlobInfo]:
        """Blobs by the time they were saved, behind `(saved_ns, id)`."""
        with self._reads() as view:
            return [_info(view, row, None) for row in view.blobs(after, limit)]

    def why(self, ref: Ref, limit: int = 100) -> Kept:
        """The entries that keep a blob: those that name it and those that link it, newest first."""
        with self._reads() as view:
            id = resolve(view, self._parts.files, ref).id
            row = view.blob(id) or BlobRow(id, self._parts.files.size(id) or 0, 0, 0, State.KEPT, 0)
            named, linked = view.naming(id, limit), view.linking(id, limit)
            more = view.naming_count(id) - len(named) + view.linking_count(id) - len(linked)
            floors = self._floors(view)
            rules = [rule_for(entry.tag, floors.rules) for entry in named]
            return Kept(
                _info(view, row, None),
                tuple(named),
                tuple(linked),
                more,
                tuple("" if rule.keeps_all else str(rule) for rule in rules),
                tuple(entry.ref for entry in named if entry.version < floors.of(entry.tag)),
                self._goes_ns(view, row, floors),
            )

    def events(self, prefix: Prefix, since: int, limit: int = 100) -> tuple[list[Event], int]:
        """Whole revisions behind `since` with matching entries, at most `limit`, and where to go on from.

        The second value is the revision up to which everything is told: it may lie behind the last event, and before
        `revision`, in which case there is more to ask for.
        """
        with self._reads() as view:
            return view.events(prefix, since, limit)

    def totals(self) -> tuple[int, int, int]:
        """Blobs, their bytes, live tags."""
        with self._reads() as view:
            return view.totals()

    def _goes_ns(self, view: View, row: BlobRow, floors: Floors) -> int:
        """The earliest time at which collection takes a blob; 0: something keeps it."""
        going = keeping.Going(view, floors)
        going.take([row.id], lambda _: True)
        if row.id not in going.blobs:
            return 0
        since_ns = row.state_ns if row.state is State.MARKED else floors.now_ns
        return since_ns + self._parts.limits.gc_grace_s * SECOND

    def _floors(self, view: View) -> Floors:
        return Floors(view, self._parts.limits.retention, self._parts.clock())

    def _reads(self) -> Reading:
        if self._closed:
            raise Closing("the store is closed")
        return self._parts.catalog.reading()


def _here(view: View, id: BlobId) -> bool:
    row = view.blob(id)
    return row is None or row.state.here


def _info(view: View, row: BlobRow, entry: Entry | None) -> BlobInfo:
    tags = view.heads_naming(row.id)
    older = view.naming_count(row.id) - view.heads_naming_count(row.id)
    return BlobInfo(row.id, row.size, row.saved_ns, row.verified_ns, tuple(tags), older, entry)
