"""Age: the same calls of a store with a million blobs and a million entries, and of one that has little else than what
is asked for.

The files of the blobs are written straight to where the store keeps them, each with 4 KiB of its own; a start makes the
catalog from them, as it does after a restore. The entries are moves that the store makes itself, ten versions a tag.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import udfstore
from tests.bench.content import settle
from tests.bench.rows import Probe, Row, Unit, per_second, say
from tests.bench.small import SMALL_BYTES
from tests.bench.stand import Stand
from udfstore.calls import MOVES, Move, Moved, Step
from udfstore.client import arguments
from udfstore.digest import BlobId
from udfstore.model import Author
from udfstore.refs import Ref, Tag
from udfstore.store import Store
from udfstore.store.layout import Layout

VERSIONS = 10
"""Of each tag."""
ASKED = 1000
"""Blobs that are asked for, and a tenth as many tags: a new store has no more."""
AUTHOR = Author(front="local")
WAITING = 64
"""Moves of `MOVES` tags on their way at once: they fill about half a group of the log."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A store that no process owns, and what is asked of it."""

    root: Path
    ids: Sequence[BlobId]
    tags: Sequence[str]


@contextmanager
def age_probes(stand: Stand) -> Iterator[list[Probe]]:
    """Start, load, read and move, with a new store and an old one."""
    new = filled(stand.folder / "new", ASKED)
    old = filled(stand.folder / "old", stand.sizes.aged)
    settle()
    what = (
        ("start, until it takes connections", Unit.SECONDS, "1 s"),
        (f"load of {SMALL_BYTES // 1024} KiB", Unit.PER_SECOND, "within 1.3 of a new store"),
        ("tag read", Unit.PER_SECOND, "within 1.3 of a new store"),
        ("tag move, durable", Unit.PER_SECOND, "within 1.3 of a new store"),
        ("memory of the server after that", Unit.MEMORY, ""),
    )
    floors = tuple(Row(f"floor: a new store: {name}", unit) for name, unit, _ in what)
    label = f"{stand.sizes.aged:,} blobs and entries"
    rows = tuple(
        Row(f"{label}: {name}", unit, goal, floor.name) for (name, unit, goal), floor in zip(what, floors, strict=True)
    )
    yield [Probe(floors, lambda: asked(stand, new)), Probe(rows, lambda: asked(stand, old))]


def asked(stand: Stand, store: Filled) -> tuple[float, ...]:
    """Start a server on a store: seconds; then loads, tag reads and tag moves a second; then its memory in MiB."""
    reads, moves = stand.sizes.reads, stand.sizes.moves
    with stand.server(root=store.root) as served, udfstore.connect(served.socket) as client:
        ids, tags = cycle(store.ids), cycle(store.tags)
        return (
            served.start_seconds,
            per_second(reads, lambda: [client.load(id) for id in islice(ids, reads)]),
            per_second(reads, lambda: [client.get_tag(tag) for tag in islice(tags, reads)]),
            per_second(moves, lambda: [client.tag(tag, next(ids)) for tag in islice(tags, moves)]),
            served.memory_mib("VmRSS"),
        )


def filled(root: Path, count: int) -> Filled:
    """A store with so many blobs and entries."""
    say(f"filling a store with {count:,} blobs and entries")
    with Store(root):
        pass
    layout = Layout(root)
    for suffix in ("", "-wal", "-shm"):
        layout.catalog.with_name(layout.catalog.name + suffix).unlink(missing_ok=True)
    ids = [_written(layout, os.urandom(SMALL_BYTES)) for _ in range(count)]
    tags = [f"aged/{number:07}" for number in range(count // VERSIONS)]
    with Store(root, say=say) as store:
        _move(store, tags, ids)
    chosen = random.Random(count)
    return Filled(root, chosen.sample(ids, ASKED), chosen.sample(tags, ASKED // VERSIONS))


def _written(layout: Layout, content: bytes) -> BlobId:
    id = BlobId(hashlib.sha256(content).digest())
    fd = os.open(layout.blob(id), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444)
    os.write(fd, content)
    os.close(fd)
    return id


def _move(store: Store, tags: Sequence[str], ids: Sequence[BlobId]) -> None:
    """Give each tag its versions, each blob being named once."""
    left = iter(ids)
    waiting: deque[Future[Moved]] = deque()
    for _ in range(VERSIONS):
        for begin in range(0, len(tags), MOVES):
            names = tags[begin : begin + MOVES]
            steps = tuple(Step(Tag.parse(name), Ref.of(next(left))) for name in names)
            waiting.append(store.submit(Move(steps, "", arguments.request()), AUTHOR))
            if len(waiting) > WAITING:
                waiting.popleft().result()
    while waiting:
        waiting.popleft().result()
