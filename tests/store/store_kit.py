"""What the tests of the store share: a small store, short forms of its calls, and faults at the seam to the disk."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from udfstore.calls import Delete, Deleted, Hold, Move, Moved, Release, Rollback, Step, Untag
from udfstore.digest import BlobId
from udfstore.model import Author, Entry
from udfstore.refs import Ref, Tag
from udfstore.store import Store, StoreLimits, osfs
from udfstore.store.committer import HOUSE
from udfstore.store.records import decode_author
from udfstore.store.view import split_links

AUTHOR = Author(front="local", uid=1000, gids=(1000,), pid=7, program="pytest")

SMALL = StoreLimits(
    floor_bytes=0,
    reserve_bytes=4096,
    segment_bytes=64 << 10,
    group_bytes=16 << 10,
    record_bytes=8 << 10,
    preallocate_from=1 << 20,
    small_bytes=0,
)
"""A store that is made in milliseconds and whose log fills a segment soon; without its journal."""

JOURNALED = replace(SMALL, small_bytes=4096, journal_bytes=8 * 16 << 10)
"""The same with a journal whose segments fill soon."""

TINY = replace(SMALL, segment_bytes=14 << 10, group_bytes=6 << 10, record_bytes=5 << 10)
"""One whose segment holds a dozen rounds."""

START_NS = 1_700_000_000 * 10**9
_numbers = itertools.count(1)


class Clock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.ns = START_NS

    def __call__(self) -> int:
        return self.ns

    def advance(self, seconds: float) -> None:
        self.ns += int(seconds * 10**9)


def request() -> bytes:
    """A request number that no other test uses."""
    return next(_numbers).to_bytes(16, "big")


def open_store(root: Path, **options: Any) -> Store:
    return Store(root, **({"limits": SMALL} | options))


def save(store: Store, content: bytes) -> BlobId:
    """Save content; the store must give it its ID."""
    upload = store.upload()
    try:
        upload.write(content)
        id, _ = upload.commit()
    finally:
        upload.abort()
    assert id == BlobId.of(content)
    return id


def read(store: Store, ref: str | BlobId) -> bytes:
    with store.open(store.resolve(Ref.of(ref)).id) as file:
        return file.pread(0, file.size)


def move(
    store: Store,
    tag: str,
    ref: str | BlobId,
    *,
    expected: int | None = None,
    labels: Mapping[str, str] | None = None,
    links: tuple[BlobId, ...] = (),
    note: str = "",
    number: bytes | None = None,
    author: Author = AUTHOR,
) -> Moved:
    step = Step(Tag.parse(tag), Ref.of(ref), expected, labels, links)
    return store.submit(Move((step,), note, number or request()), author).result()


def commit(store: Store, manifest: bytes, *states: bytes, task: str = "pump") -> BlobId:
    """A round, as the store sees it: states and a manifest are saved, the task's tag moves, retention goes to work."""
    for state in states:
        save(store, state)
    return commit_saved(store, manifest, states, task)


def commit_saved(store: Store, manifest: bytes, states: Iterable[bytes], task: str = "p") -> BlobId:
    """The same, of states that are there."""
    links = tuple(map(BlobId.of, states))
    id, tag = save(store, manifest), Tag.parse(f"snapshots/{task}/auto")
    step = Step(tag, Ref.of(id), None, {}, links)
    store.submit(Move((step,), "", request()), HOUSE, reserved=True).result()
    store.let_go((tag,)).result()
    return id


def rounds(store: Store, first: int, last: int, *more: bytes) -> None:
    """Rounds by their numbers, each with a manifest and a state of its own."""
    for n in range(first, last + 1):
        commit(store, b"manifest %d" % n, b"state %d" % n, *more)


def removed(store: Store) -> None:
    """Wait until the files of what was removed without a grace time are gone."""
    store._parts.remover._pool.submit(int).result()


def rollback(store: Store, tag: str, to: int | None = None, expected: int | None = None) -> Entry:
    (entry,) = store.submit(Rollback(Tag.parse(tag), to, expected, request=request()), AUTHOR).result().entries
    return entry


def untag(store: Store, *tags: str) -> Moved:
    return store.submit(Untag(tuple(map(Tag.parse, tags)), request=request()), AUTHOR).result()


def hold(store: Store, tag: str, note: str = "why") -> Entry:
    (entry,) = store.submit(Hold(Tag.parse(tag), note, request()), AUTHOR).result().entries
    return entry


def release(store: Store, tag: str, note: str = "") -> Entry:
    (entry,) = store.submit(Release(Tag.parse(tag), note, request()), AUTHOR).result().entries
    return entry


def delete(store: Store, ref: str | BlobId, *, force: bool = False, now: bool = False) -> Deleted:
    return store.submit(Delete(Ref.of(ref), force, now, request()), AUTHOR).result()


def blob_path(store: Store, id: BlobId) -> Path:
    return store.root / "blobs" / id.hex[:2] / id.hex


def overwrite(path: Path, content: bytes) -> None:
    """Do to a read-only file what a careless person would."""
    path.chmod(0o600)
    path.write_bytes(content)
    path.chmod(0o444)


def dump(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """All that the catalog holds, but for what only it knows: when what was saved was hashed, and rescued."""
    queries = {
        "records": "SELECT revision, kind, time_ns, text, note, request, rest FROM records"
        " JOIN authors ON number = author ORDER BY revision",
        "entries": "SELECT * FROM entries ORDER BY tag, version",
        "tags": "SELECT * FROM tags ORDER BY tag",
        "links": "SELECT * FROM links ORDER BY id, tag, version",
        "states": "SELECT * FROM states ORDER BY id, revision",
        "blobs": "SELECT id, size, iif(state < 2, saved_ns, 0), state, iif(state = 0, 0, state_ns) FROM blobs"
        " ORDER BY id",
        "uses": "SELECT revision, task, node, tag, version, time_ns, failed FROM uses JOIN places ON number = place",
        "totals": "SELECT * FROM totals",
        "owned": "SELECT id, text FROM blobs LEFT JOIN owners ON number = owner ORDER BY id",
        "owners": "SELECT text, blobs, bytes FROM owners WHERE blobs > 0 ORDER BY text",
        "head": "SELECT * FROM head",
    }
    with store._parts.catalog.reading() as view:
        return {name: view.db.execute(query).fetchall() for name, query in queries.items()}


def counted(store: Store) -> dict[str, tuple[int, int]]:
    """The blobs and bytes that count for each owner, by a walk through all entries."""
    query = (
        "SELECT e.id, e.links, a.text FROM entries e JOIN records r ON r.revision = e.revision"
        " JOIN authors a ON a.number = r.author ORDER BY e.revision"
    )
    with store._parts.catalog.reading() as view:
        here = {id.raw: size for id, size, _ in view.here()}
        first: dict[bytes, str] = {}
        for id, links, author in view.db.execute(query):
            kept = [id, *(link.raw for link in split_links(links))] if id in here else [id]
            for one in kept:
                first.setdefault(one, decode_author(author).owner)
    found: dict[str, tuple[int, int]] = {}
    for raw in here.keys() & first.keys():
        blobs, size = found.get(first[raw], (0, 0))
        found[first[raw]] = blobs + 1, size + here[raw]
    return found


def forget_catalog(root: Path) -> None:
    for path in root.glob("catalog.db*"):
        path.unlink()


def abandon(store: Store) -> None:
    """End a store as a kill would: nothing more is written, not even that it ended."""
    store._closed = True
    if store._parts.journal is not None:
        store._parts.journal._failed = "killed"
    store._parts.committer.stop()
    store._parts.remover.close()
    store._parts._release.close()


def not_synced(store: Store) -> list[BlobId]:
    """The blobs whose files a power cut might take: the journal answers for them."""
    journal = store._parts.journal
    assert journal is not None
    return [id for segment in journal._used for id in segment.blobs]


def _cut_off(path: Path) -> None:
    overwrite(path, path.read_bytes()[:-1])


def _zero(path: Path) -> None:
    overwrite(path, bytes(path.stat().st_size))


DAMAGES: tuple[Callable[[Path], None], ...] = (Path.unlink, _cut_off, _zero)
"""What a power cut may do to a file that was never synced: no name, too short, the right length of nothing."""


def lose_power(store: Store, damage: Callable[[Path], None]) -> list[BlobId]:
    """End a store as a power cut would, with that damage done to each file that was never synced; gives their blobs."""
    lost = not_synced(store)
    abandon(store)
    for id in lost:
        if blob_path(store, id).exists():
            damage(blob_path(store, id))
    return lost


CHANGING = ("create", "write", "pwrite", "allocate", "stamp", "fdatasync", "close", "fsync_folder", "link", "rename")
"""The calls of the seam that change files; `unlink` is left out where the sweep needs it to clean up."""


@contextmanager
def failing(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], error: int, when: int = 1, once: bool = False
) -> Iterator[Callable[[], int]]:
    """Let calls of the seam fail with an errno from the `when`th on (`once`: only that one); gives how many came."""
    count = 0

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == when or (count > when and not once):
                if real.__name__ == "close":
                    real(*arguments)  # Linux lets go of the descriptor even when close fails
                raise OSError(error, os.strerror(error))
            return real(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(osfs, name, wrap(getattr(osfs, name)))
        yield lambda: count
