"""The judgement of what the store does by itself: index what was saved, rescue what is wanted, note what was erased."""

from __future__ import annotations

from collections.abc import Sequence

from udfstore import quota
from udfstore.digest import BlobId
from udfstore.model import Author, Kind
from udfstore.store.committer import HOUSE, Decision, Desk, Judge
from udfstore.store.records import Record, State
from udfstore.store.small import Elsewhere, Small

nothing = Decision((), lambda _: None)
"""No record, no answer."""


def index(id: BlobId, size: int, saved_ns: int) -> Judge:
    """Index content that is durable under its name; content that was on its way out is rescued. Says if it was."""

    def decide(desk: Desk) -> Decision:
        row = desk.catalog.view.blob(id)
        if row is None:
            desk.catalog.add_blob(id, size, saved_ns, saved_ns)
            return nothing
        desk.files.wanted.want(id, desk.now_ns)  # entries of its may be let go while it waits for a new one
        if row.saved_ns != saved_ns:
            desk.catalog.set_saved(id, saved_ns)
        return _rescue(desk, id, size) if row.state is not State.KEPT else nothing

    return decide


def index_small(small: Small) -> Judge:
    """Index small content that has just become durable; the committer judges it only then.

    `Elsewhere` for what was removed since it got its file, in a group before: the file may be on its way out.
    """

    def decide(desk: Desk) -> Decision:
        row = desk.catalog.view.blob(small.id)
        if row is not None and not row.state.here:
            raise Elsewhere
        return index(small.id, len(small.content), small.saved_ns)(desk)

    return decide


def both(first: Judge, then: Judge) -> Judge:
    """Two changes as one, of which the second is judged after the first and gives the answer."""

    def decide(desk: Desk) -> Decision:
        before, after = first(desk), then(desk)
        return Decision((*before.records, *after.records), after.answer)

    return decide


def rescue(id: BlobId) -> Judge:
    """Take back the mark of a blob that somebody relies on; says whether its content is (still) not condemned."""

    def decide(desk: Desk) -> Decision:
        row = desk.catalog.view.blob(id)
        if row is not None and row.state is State.MARKED:
            return _rescue(desk, id, row.size)
        here = row is None or row.state.here
        return Decision((), lambda _: here)

    return decide


def brought_back(ids: Sequence[BlobId], author: Author) -> Judge:
    """Take back the removal of blobs whose files are in their places again.

    `NoSpace` where those of them that count for the author pass its quota.
    """

    def decide(desk: Desk) -> Decision:
        decision = _of_condemned(Kind.RESCUE, ids, author)(desk)
        view, owner = desk.catalog.view, author.owner
        most = desk.quotas.of(owner)
        if most is not None:
            back = (one for record in decision.records for one in record.blobs)
            quota.check(owner, most, view.owned(owner), sum(size for id, size in back if view.owner(id) == owner))
        return decision

    return decide


def erased(ids: Sequence[BlobId]) -> Judge:
    """Note that the files of condemned blobs are unlinked."""
    return _of_condemned(Kind.ERASED, ids, HOUSE)


def verified(ids: Sequence[BlobId]) -> Judge:
    """Note that files were hashed and are right."""

    def decide(desk: Desk) -> Decision:
        for id in ids:
            desk.catalog.set_verified(id, desk.now_ns)
        return nothing

    return decide


def grace_anew(id: BlobId) -> Judge:
    """Count the time in the trash from now, because the clock has stepped back behind its beginning."""

    def decide(desk: Desk) -> Decision:
        row = desk.catalog.view.blob(id)
        if row is None or row.state is not State.CONDEMNED:
            return nothing
        return Decision((Record(Kind.CONDEMN, desk.now_ns, HOUSE, blobs=((id, row.size),)),), lambda _: None)

    return decide


def closed(desk: Desk) -> Decision:
    """Note that everything before this was finished cleanly."""
    return Decision((Record(Kind.CLOSED, desk.now_ns, HOUSE),), lambda _: None)


def _rescue(desk: Desk, id: BlobId, size: int) -> Decision:
    return Decision((Record(Kind.RESCUE, desk.now_ns, HOUSE, blobs=((id, size),)),), lambda _: True)


def _of_condemned(kind: Kind, ids: Sequence[BlobId], author: Author) -> Judge:
    """A record about those of the blobs that are condemned still."""

    def decide(desk: Desk) -> Decision:
        rows = [desk.catalog.view.blob(id) for id in ids]
        blobs = tuple((row.id, row.size) for row in rows if row is not None and row.state is State.CONDEMNED)
        if not blobs:
            return nothing
        return Decision((Record(kind, desk.now_ns, author, blobs=blobs),), lambda _: None)

    return decide
