"""The judgement of changes: what a move, rollback, hold, delete or note does to the store as it stands, or why not.

Each function gives a `Judge` for the committer. A request that already made a record is answered with that record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from udfstore import quota
from udfstore.calls import (
    MOVES,
    Delete,
    Deleted,
    Hold,
    Move,
    Moved,
    Noted,
    Release,
    Rollback,
    Step,
    Untag,
    Used,
)
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Corrupt, Gone, Mismatch, NotFound, UsageError
from udfstore.model import (
    NOTE_BYTES,
    NOWHERE,
    Author,
    Entry,
    Kind,
    Place,
    check_labels,
    check_note,
    check_request,
)
from udfstore.refs import SNAPSHOTS, Tag
from udfstore.store import osfs
from udfstore.store.committer import Decision, Desk, Judge
from udfstore.store.format import HOLDS
from udfstore.store.keeping import floors_of, keepers
from udfstore.store.records import Part, Record, State, Use, entry_of
from udfstore.store.resolve import Resolved, check_content, newest_entry, resolve
from udfstore.store.view import BlobRow, View

Change = Move | Rollback | Untag | Hold | Release | Delete | Used
"""What a client may ask for that changes the store."""

SHOWN = 100
"""Versions that one answer names at most; at 800 bytes each they fit the answer of the wire."""

HOLD_SHOWN = 500
"""Characters that a refusal tells of why a tag is held; the history has them all."""


def judge(call: Change, author: Author, *, reserved: bool = False, place: Place = NOWHERE) -> Judge:
    """The judge of a change. `reserved`: it may write tags below `snapshots/`. `place`: where the author works."""

    def decide(desk: Desk) -> Decision:
        check_request(call.request)
        made = desk.catalog.view.requested(call.request)
        if made is not None:
            return _repeated(desk.catalog.view, call, *made)
        bench = _Bench(desk, author, call.request, reserved)
        match call:
            case Move():
                return _move(bench, call)
            case Rollback():
                return _rollback(bench, call)
            case Untag():
                return _untag(bench, call)
            case Hold() | Release():
                return _hold(bench, call)
            case Delete():
                return _delete(bench, call)
            case Used():
                return _used(bench, call, place)

    return decide


@dataclass(slots=True)
class _Bench:
    """A judgement in the making."""

    desk: Desk
    author: Author
    request: bytes
    reserved: bool

    @property
    def view(self) -> View:
        return self.desk.catalog.view

    def record(self, kind: Kind, **fields: Any) -> Record:
        return Record(kind, self.desk.now_ns, self.author, **fields)

    def content(self, id: BlobId) -> BlobRow:
        """A blob that is here, durable, and not on its way out (it may be marked)."""
        size, row = check_content(self.view, self.desk.files, id)
        return row or BlobRow(id, size, 0, 0, State.KEPT, 0)

    def check_tag(self, tag: Tag) -> None:
        if tag.reserved and not self.reserved:
            raise UsageError(f"tags below {SNAPSHOTS} belong to the snapshot calls", got=tag.name)

    def check_quota(self, wanted: Sequence[BlobRow]) -> None:
        """Refuse to keep, for the author, what nothing kept before, where that passes its quota (`NoSpace`)."""
        owner = self.author.owner
        most = self.desk.quotas.of(owner)
        if most is not None:
            fresh = {row.id: row.size for row in wanted if not self.view.owner(row.id)}
            quota.check(owner, most, self.view.owned(owner), sum(fresh.values()))

    def moved(
        self,
        note: str,
        parts: Sequence[Part],
        before: Sequence[Entry | None],
        wanted: Sequence[BlobRow],
        skipped: Sequence[str] = (),
    ) -> Decision:
        """A move record, behind a rescue of those blobs it needs that are marked."""
        self.desk.files.wanted.settle(row.id for row in wanted)
        marked = {row.id: row.size for row in wanted if row.state is State.MARKED}
        rescue = [self.record(Kind.RESCUE, blobs=tuple(marked.items()))] if marked else []
        self.check_quota(wanted)
        told = tuple(skipped[:SHOWN])
        move = self.record(Kind.MOVE, note=note, request=self.request, entries=tuple(parts), skipped=told)

        def answer(revision: int) -> Moved:
            return Moved(tuple(entry_of(move, revision, part) for part in parts), tuple(before), told)

        return Decision((*rescue, move), answer)


# --- tags ----------------------------------------------------------------------------------------------------------


def _move(bench: _Bench, call: Move) -> Decision:
    _check_tags(bench, [step.tag for step in call.steps])
    check_note(call.note)
    parts: list[Part] = []
    before = [bench.view.newest(step.tag.name) for step in call.steps]
    wanted: list[BlobRow] = []
    for step, head in zip(call.steps, before, strict=True):
        part, rows = _step(bench, step, head)
        parts.append(part)
        wanted += rows
    return bench.moved(call.note, parts, before, wanted)


def _step(bench: _Bench, step: Step, head: Entry | None) -> tuple[Part, list[BlobRow]]:
    _check_free(step.tag, head, step.expected)
    # `content` below looks for the file, so an ID needs no look here.
    found = Resolved(step.ref.id) if step.ref.id else resolve(bench.view, bench.desk.files, step.ref)
    source = found.entry
    links = step.links or (source.links if source else ())
    rows = [bench.content(found.id), *(bench.content(link) for link in links)]
    back = source is not None and head is not None and source.tag == head.tag and source.version < head.version
    part = Part(
        tag=step.tag.name,
        version=head.version + 1 if head else 1,
        id=found.id,
        size=rows[0].size,
        origin=(source.origin or source.version) if source and back else 0,
        source=step.ref.text,
        labels=_labels(step.labels, source),
        links=links,
    )
    bench.desk.signers.check(step.tag, found.id, part.labels)
    return part, rows


def _rollback(bench: _Bench, call: Rollback) -> Decision:
    bench.check_tag(call.tag)
    check_note(call.note)
    head = newest_entry(bench.view, call.tag)
    _check_free(call.tag, head, call.expected)
    skipped: list[str] = []
    if call.to is not None:
        source, rows = _version_to(bench, head, call.to)
    else:
        source, rows = _version_before(bench, head, skipped)
    part = Part(
        tag=head.tag,
        version=head.version + 1,
        id=source.id,
        size=rows[0].size,
        origin=source.origin or source.version,
        source=source.ref,
        labels=_labels(call.labels, source),
        links=source.links,
    )
    assert source.id is not None
    bench.desk.signers.check(call.tag, source.id, part.labels)
    return bench.moved(call.note, [part], [head], rows, skipped)


def _version_to(bench: _Bench, head: Entry, to: int) -> tuple[Entry, list[BlobRow]]:
    source = bench.view.entry(head.tag, to)
    if source is None:
        raise NotFound(f"{head.tag} has no version {to}", expected=f"1 to {head.version}", got=to)
    if source.id is None:
        raise Gone(f"{source.ref} is a deletion: there is nothing to go back to")
    if source.version == head.version:
        raise Conflict(f"{head.tag} is at version {to} already")
    return source, _contents(bench, source)


def _version_before(bench: _Bench, head: Entry, skipped: list[str]) -> tuple[Entry, list[BlobRow]]:
    """The version before the one whose content the head has; of a deleted tag, the one that the deletion took away.

    Older versions with the very same content are none to go back to: that would change nothing.
    """
    base = head.version if head.id is None else head.origin or head.version
    for entry in bench.view.below(head.tag, base):
        if entry.id is None or entry.id == head.id:
            continue
        try:
            return entry, _contents(bench, entry)
        except (NotFound, Gone, Corrupt):
            skipped.append(entry.ref)
    told = f"; the content of {', '.join(skipped[:SHOWN])} is gone" if skipped else ""
    raise Conflict(f"{head.tag} has nothing before version {base} to go back to{told}")


def _contents(bench: _Bench, entry: Entry) -> list[BlobRow]:
    assert entry.id is not None
    return [bench.content(entry.id), *(bench.content(link) for link in entry.links)]


def _untag(bench: _Bench, call: Untag) -> Decision:
    _check_tags(bench, call.tags)
    check_note(call.note)
    if call.expected and len(call.expected) != len(call.tags):
        raise UsageError("one expected version for each tag, or none", expected=len(call.tags), got=len(call.expected))
    parts: list[Part] = []
    before: list[Entry] = []
    for tag, expected in zip(call.tags, call.expected or (None,) * len(call.tags), strict=True):
        head = newest_entry(bench.view, tag)
        _check_free(tag, head, expected)
        if head.id is None:
            raise Gone(f"{tag} was untagged already")
        parts.append(Part(tag.name, head.version + 1, None))
        before.append(head)
    return bench.moved(call.note, parts, before, [])


def _check_tags(bench: _Bench, tags: Sequence[Tag]) -> None:
    if not 1 <= len(tags) <= MOVES:
        raise UsageError("a number of tags that one step cannot move", expected=f"1 to {MOVES}", got=len(tags))
    for tag in tags:
        bench.check_tag(tag)
        if tags.count(tag) > 1:
            raise UsageError(f"{tag} stands twice in one step")


def _hold(bench: _Bench, call: Hold | Release) -> Decision:
    """The next version names what this one does. Of a release the content may be gone: it is possible all the same."""
    bench.check_tag(call.tag)
    check_note(call.note)
    head = newest_entry(bench.view, call.tag)
    if head.id is None:
        raise Gone(f"{call.tag} was untagged")
    rows: list[BlobRow] = []
    if isinstance(call, Hold):
        if not call.note:
            raise UsageError("a hold says why, in its note")
        _check_free(call.tag, head, None)
        rows = _contents(bench, head)
        with osfs.telling("noting in FORMAT that a tag is held"):
            bench.desk.require(HOLDS)
    elif not head.held:
        raise Conflict(f"{call.tag} is not held")
    part = Part(
        tag=head.tag,
        version=head.version + 1,
        id=head.id,
        size=head.size,
        origin=head.origin,
        source=head.source,
        labels=head.labels,
        links=head.links,
        held=isinstance(call, Hold),
    )
    return bench.moved(call.note, [part], [head], rows)


def _check_free(tag: Tag, head: Entry | None, expected: int | None) -> None:
    """Refuse to move a held tag, and one that is not at the version expected."""
    if head is not None and head.held:
        why = f"{head.author}: {head.note[:HOLD_SHOWN]!r}"
        raise Conflict(f"{tag} is held at version {head.version} by {why}; first: udfstore release {tag}")
    if expected is None:
        return
    live = head is not None and head.id is not None
    if expected == 0:
        if live:
            assert head is not None
            raise Conflict(f"{tag} exists", expected="no such tag", got=f"version {head.version}")
        return
    got = head.version if head else 0
    if got != expected:
        raise Conflict(
            f"{tag} has moved", expected=f"version {expected}", got=f"version {got}" if got else "no such tag"
        )


def _labels(given: Mapping[str, str] | None, source: Entry | None) -> Mapping[str, str]:
    if given is not None:
        return dict(check_labels(given))
    return source.labels if source else {}


# --- content and notes -----------------------------------------------------------------------------------------------


def _delete(bench: _Bench, call: Delete) -> Decision:
    view = bench.view
    id = resolve(view, bench.desk.files, call.ref).id
    kept = keepers(view, id, floors_of(bench.desk))
    named = list(dict.fromkeys((*view.heads_naming(id), *view.heads_linking(id), *kept)))
    named = [ref for ref in named if not ref.startswith(SNAPSHOTS)] + [
        ref for ref in named if ref.startswith(SNAPSHOTS)
    ]
    if named and not call.force:
        more = f" and {len(named) - 8} more" if len(named) > 8 else ""
        raise Conflict(f"blob {id.short} is what {', '.join(named[:8])}{more} names now; untag it first, or use force")
    row = view.blob(id)
    size = row.size if row else bench.desk.files.size(id) or 0
    record = bench.record(Kind.CONDEMN, request=bench.request, blobs=((id, size),), source=call.ref.text)
    return Decision((record,), lambda revision: _deleted(view, id, size, revision))


def _deleted(view: View, id: BlobId, size: int, revision: int) -> Deleted:
    versions = tuple(entry.ref for entry in view.naming(id, SHOWN, revision))
    return Deleted(id, size, versions, view.naming_count(id, revision) - len(versions))


def _used(bench: _Bench, call: Used, place: Place) -> Decision:
    entry = bench.view.entry(call.tag.name, call.version)
    if entry is None:
        raise NotFound(f"{call.tag} has no version {call.version}")
    if entry.id != call.id:
        raise Mismatch(f"{entry.ref} names another blob", expected=entry.id or "a deletion", got=call.id)
    if len(call.error.encode()) > NOTE_BYTES:
        raise UsageError(f"the reason has at most {NOTE_BYTES} bytes", got=len(call.error.encode()))
    use = Use(call.tag.name, call.version, call.id, call.error, place.task, place.node)
    return Decision((bench.record(Kind.USED, request=bench.request, use=use),), Noted)


# --- repeats -------------------------------------------------------------------------------------------------------


def _repeated(view: View, call: Change, revision: int, record: Record) -> Decision:
    """Answer a request with the record it made the first time. Raises `Conflict` when that was for something else."""
    answer: Callable[[], Any] | None = None
    match call:
        case Move() | Rollback() | Untag() | Hold() | Release() if record.kind is Kind.MOVE:
            if _same_tags(call, view.entries_of(revision)):
                answer = lambda: _moved(view, revision, record.skipped)  # noqa: E731
        case Delete() if record.kind is Kind.CONDEMN and record.source == call.ref.text:
            ((id, size),) = record.blobs
            answer = lambda: _deleted(view, id, size, revision)  # noqa: E731
        case Used() if record.use and replace(record.use, task="", node="") == Use(
            call.tag.name, call.version, call.id, call.error
        ):
            answer = lambda: Noted(revision)  # noqa: E731
        case _:
            pass
    if answer is None:
        raise Conflict(f"this request number was used for another change, revision {revision}")
    made = answer
    return Decision((), lambda _: made())


def _moved(view: View, revision: int, skipped: tuple[str, ...]) -> Moved:
    entries = tuple(view.entries_of(revision))
    before = tuple(view.entry(entry.tag, entry.version - 1) for entry in entries)
    return Moved(entries, before, skipped)


def _same_tags(call: Move | Rollback | Untag | Hold | Release, entries: Sequence[Entry]) -> bool:
    match call:
        case Move():
            return [(step.tag.name, step.ref.text) for step in call.steps] == [(e.tag, e.source) for e in entries]
        case Rollback():
            to = f"{call.tag}@{call.to}"
            return [e.tag for e in entries] == [call.tag.name] and (call.to is None or entries[0].source == to)
        case Untag():
            return [(tag.name, None) for tag in call.tags] == [(e.tag, e.id) for e in entries]
        case Hold() | Release():
            return [(call.tag.name, isinstance(call, Hold))] == [(e.tag, e.held) for e in entries]
