"""What a ref names: one reading of refs for the store's answers and for the committer's judgement."""

from __future__ import annotations

from dataclasses import dataclass

from udfstore.digest import BlobId
from udfstore.errors import Corrupt, Gone, NotFound, UsageError
from udfstore.model import Entry
from udfstore.refs import Ref, Tag
from udfstore.store.blobs import Files
from udfstore.store.records import State
from udfstore.store.view import BlobRow, View

_CANDIDATES = 8


@dataclass(frozen=True, slots=True)
class Resolved:
    """The blob that a ref names, and the entry through which it did, if it named a tag."""

    id: BlobId
    entry: Entry | None = None


def resolve(view: View, files: Files, ref: Ref) -> Resolved:
    """What a ref names.

    Raises `NotFound` where nothing ever was, `Gone` for a deleted tag or version or removed content, `UsageError` for
    digits that several IDs begin with.
    """
    if ref.id is not None:
        _known(view, files, ref.id)
        return Resolved(ref.id)
    if ref.tag is not None and (not ref.short or view.newest(ref.tag.name) is not None):
        entry = find_entry(view, ref)
        if entry.id is None:
            raise Gone(f"{entry.ref} is a deletion: it names no blob")
        row = view.blob(entry.id)
        if row is not None and not row.state.here:
            raise Gone(f"the content of {entry.ref} was removed; its history remains{_undo(row)}")
        return Resolved(entry.id, entry)
    return Resolved(_by_digits(view, ref))


def find_entry(view: View, ref: Ref) -> Entry:
    """The entry that a tag or tag@version names; a deletion only when its version is given.

    Raises `UsageError` for an ID, `NotFound`, `Gone`.
    """
    if ref.tag is None:
        raise UsageError("not a tag", expected="a tag, or tag@version", got=ref.text)
    newest = newest_entry(view, ref.tag)
    if ref.version is None:
        if newest.id is None:
            raise Gone(f"{newest.tag} was untagged; `udfstore rollback {newest.tag}` brings it back")
        return newest
    version = ref.version if ref.version > 0 else newest.version + ref.version
    entry = view.entry(newest.tag, version)
    if entry is None and 0 < version < newest.version:
        raise Gone(f"{newest.tag}@{version} is not kept any more")
    if version < 1:
        oldest = f"@-{newest.version - 1} at most" if newest.version > 1 else "@1, the only one"
        raise NotFound(f"{newest.tag} has no version so far back", expected=oldest, got=ref.text)
    if entry is None:
        raise NotFound(f"{newest.tag} has no version {version}", expected=f"1 to {newest.version}", got=ref.text)
    return entry


def newest_entry(view: View, tag: Tag) -> Entry:
    """The newest entry of a tag, deletion or not. Raises `NotFound`."""
    newest = view.newest(tag.name)
    if newest is None:
        raise NotFound(f"there is no tag {tag}")
    return newest


def find_removed(view: View, ref: Ref) -> BlobId:
    """What a ref names, removed or not; of several IDs that begin with the same digits, the one that is on its way out.

    Raises as `resolve` where it names nothing, or too much.
    """
    if ref.id is not None:
        if view.blob(ref.id) is None:
            raise NotFound(f"there is no blob {ref.id}")
        return ref.id
    if ref.tag is not None and (not ref.short or view.newest(ref.tag.name) is not None):
        entry = find_entry(view, ref)
        if entry.id is None:
            raise Gone(f"{entry.ref} is a deletion: it names no blob")
        return entry.id
    found = view.beginning_with(ref.short, 64)
    leaving = [row.id for row in found if row.state is State.CONDEMNED]
    if len(leaving or found) != 1:
        return _by_digits(view, ref)
    return leaving[0] if leaving else found[0].id


def check_content(view: View, files: Files, id: BlobId) -> tuple[int, BlobRow | None]:
    """The size of a blob whose content is here and durable, and its row.

    Raises `NotFound`, `Gone`, or `Corrupt` for a file that is missing or has the wrong length.
    """
    row = view.blob(id)
    if row is not None and not row.state.here:
        raise Gone(f"blob {id} was removed{_undo(row)}")
    size = files.durable_size(id)
    check_size(id, row, size)
    assert size is not None
    return size, row


def check_size(id: BlobId, row: BlobRow | None, size: int | None) -> None:
    """Hold a file's size (None: no file) against what the catalog knows. Raises `NotFound` or `Corrupt`."""
    if size is None and row is None:
        raise NotFound(f"there is no blob {id}")
    if size is None:
        raise Corrupt(f"the file of blob {id} is missing or in quarantine; saving the same content again heals it")
    if row is not None and row.size != size:
        raise Corrupt(f"the file of blob {id} has the wrong length", expected=row.size, got=size)


def _known(view: View, files: Files, id: BlobId) -> None:
    row = view.blob(id)
    if row is not None and not row.state.here:
        raise Gone(f"blob {id} was removed{_undo(row)}")
    if row is None and files.size(id) is None:
        raise NotFound(f"there is no blob {id}")


def _by_digits(view: View, ref: Ref) -> BlobId:
    # One more than is shown, among removed ones too: those must not hide that the digits are unique.
    found = view.beginning_with(ref.short, 64)
    here = [row.id for row in found if row.state.here]
    if len(here) > 1:
        shown = ", ".join(id.hex[:16] for id in here[:_CANDIDATES])
        raise UsageError(f"several blob IDs begin with {ref.short}: {shown}; give more digits")
    if here:
        return here[0]
    if found:
        raise Gone(f"blob {found[0].id} was removed{_undo(found[0])}")
    raise NotFound(f"nothing is called {ref.text}: no tag, and no blob ID begins so")


def _undo(row: BlobRow) -> str:
    """How to have removed content back, while there is a way."""
    return f"; `udfstore undelete {row.id.hex[:16]}` brings it back" if row.state is State.CONDEMNED else ""
