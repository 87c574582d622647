"""What each optimisation bought: the same work with it and without it, in turn, on servers that differ in nothing else.

The row without it stands in the place of a floor: its share says how many times as fast it is with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import median
from time import perf_counter

import udfstore
from tests.bench.content import fresh_content, saved, settle
from tests.bench.crowd import Crowd, Job
from tests.bench.descriptors import File, first_bytes, kept_file
from tests.bench.descriptors import saved as saved_file
from tests.bench.rows import Probe, Row, Unit, per_second
from tests.bench.small import CROWD as SAVERS
from tests.bench.small import PIPELINED, SMALL_BYTES, loading, saving
from tests.bench.stand import MIB, Served, Stand
from tests.bench.tags import CROWD as MOVERS
from tests.bench.tags import moving, reached, reading, watching
from tests.bench.without import without
from udfstore.digest import BlobId
from udfstore.store import osfs

TAG = "bench/one"
BIG_OPENS = 3
"""Without descriptors each of them copies the whole blob."""


class Ground:
    """A server, clients of it, and what they do there; each method does it once and gives its figure.

    `plain` is what the clients lack, as `tests.bench.without` names it.
    """

    def __init__(self, shared: Shared, served: Served, plain: tuple[str, ...]) -> None:
        self.plain = plain
        self._shared, self._sizes, self._served = shared, shared.stand.sizes, served
        with without(*plain):
            self._store = shared.stack.enter_context(udfstore.connect(served.socket, descriptors=False))
            self._by_file = shared.stack.enter_context(udfstore.connect(served.socket))

    @cached_property
    def _small(self) -> BlobId:
        return self._store.save(os.urandom(SMALL_BYTES), tag=TAG).id

    @cached_property
    def _big(self) -> BlobId:
        return self._store.save(self._shared.fresh()).id

    def save(self) -> float:
        """Small blobs, one client."""
        count = self._sizes.saves
        figure = per_second(count, lambda: [self._store.save(os.urandom(SMALL_BYTES)) for _ in range(count)])
        settle()
        return figure

    def saves(self) -> float:
        """Small blobs, many clients."""
        each = 4 * self._sizes.saves // SAVERS
        figure = self._crowd(SAVERS, 1, each, saving(each))
        settle()
        return figure

    def load(self) -> float:
        """A small blob, one load after another."""
        return self._loads(self._store)

    def load_by_file(self) -> float:
        """The same by the client's default."""
        return self._loads(self._by_file)

    def loads(self) -> float:
        """The same, several loads on their way at once."""
        each = self._sizes.reads // PIPELINED
        return self._crowd(1, PIPELINED, each, loading(self._small, each))

    def move(self) -> float:
        """A tag, one client."""
        count, id = self._sizes.moves, self._small
        return per_second(count, lambda: [self._store.tag(TAG, id) for _ in range(count)])

    def moves(self) -> float:
        """Tags, many clients."""
        each = max(1, 4 * self._sizes.moves // MOVERS)
        return self._crowd(MOVERS, 1, each, moving(self._small, each))

    def read(self) -> float:
        """A tag."""
        count, _ = self._sizes.reads, self._small
        return per_second(count, lambda: [self._store.get_tag(TAG) for _ in range(count)])

    def reads(self) -> float:
        """The same, several on their way at once."""
        each, _ = self._sizes.reads // PIPELINED, self._small
        return self._crowd(1, PIPELINED, each, reading(TAG, each))

    def watched(self) -> float:
        """Until all who watch a tag know of a move."""
        with watching(self._served, self._sizes.watchers) as (crowd, kept):
            return reached(crowd, kept, self._sizes.watchers, self._sizes.watched_moves)[1]

    def save_big(self) -> float:
        """A big blob out of memory."""
        return saved(self._store, self._shared.fresh())

    def save_file(self) -> float:
        """A big blob that is a file."""
        return saved_file(self._by_file, self._shared.file)

    def load_big(self) -> float:
        """A big blob, checked, piece by piece."""
        id, started = self._big, perf_counter()
        self._store.load_into(id, lambda head: lambda data: None)
        return self._sizes.big_bytes / MIB / (perf_counter() - started)

    def open_small(self) -> float:
        """A small blob, until its first bytes are there."""
        return 1e6 * median(first_bytes(self._by_file, self._small) for _ in range(self._sizes.opens))

    def open_big(self) -> float:
        """A big blob, likewise."""
        return 1e6 * median(first_bytes(self._by_file, self._big) for _ in range(BIG_OPENS))

    def _loads(self, store: udfstore.Store) -> float:
        count, id = self._sizes.reads, self._small
        return per_second(count, lambda: [store.load(id) for _ in range(count)])

    def _crowd(self, connections: int, clients: int, each: int, job: Job) -> float:
        with Crowd(self._served.socket, connections) as crowd:
            return connections * clients * each / crowd.run(job, clients)


@dataclass(frozen=True, slots=True)
class Task:
    """What is done, in words, and what measures it."""

    name: str
    unit: Unit
    measure: Callable[[Ground], float]


SAVE = Task("save 4 KiB, 1 client", Unit.PER_SECOND, Ground.save)
SAVES = Task(f"save 4 KiB, {SAVERS} clients", Unit.PER_SECOND, Ground.saves)
LOAD = Task("load 4 KiB in chunks", Unit.PER_SECOND, Ground.load)
LOAD_BY_FILE = Task("load 4 KiB", Unit.PER_SECOND, Ground.load_by_file)
LOADS = Task(f"load 4 KiB in chunks, {PIPELINED} on their way", Unit.PER_SECOND, Ground.loads)
MOVE = Task("tag move, 1 client", Unit.PER_SECOND, Ground.move)
MOVES = Task(f"tag move, {MOVERS} clients", Unit.PER_SECOND, Ground.moves)
READ = Task("tag read", Unit.PER_SECOND, Ground.read)
READS = Task(f"tag read, {PIPELINED} on their way", Unit.PER_SECOND, Ground.reads)
WATCHED = Task("a tag move reaches all watchers, 99th percentile", Unit.MILLISECONDS, Ground.watched)
SAVE_BIG = Task("save in chunks", Unit.RATE, Ground.save_big)
LOAD_BIG = Task("load in chunks", Unit.RATE, Ground.load_big)
SAVE_FILE = Task("save of a file", Unit.RATE, Ground.save_file)
OPEN = Task("4 KiB opened, its beginning read", Unit.MICROSECONDS, Ground.open_small)
OPEN_BIG = Task("a big blob opened, its beginning read", Unit.MICROSECONDS, Ground.open_big)


@dataclass(frozen=True, slots=True)
class Gain:
    """An optimisation, the tasks that it is there for, and how it is taken out: by `flags`, or by names of
    `tests.bench.without`, of the server or else of the `client`. `base` is what both sides lack, for it would hide it.
    """

    name: str
    tasks: tuple[Task, ...]
    flags: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    client: bool = False
    base: tuple[str, ...] = ()


CLONING = "shared blocks"
GAINS = (
    Gain("the journal", (SAVE, SAVES), flags=("--small-bytes", "0")),
    Gain("one sync for all", (SAVES, MOVES), plain=("groups",)),
    Gain("handing over", (SAVE, SAVES), plain=("handing-over",)),
    Gain("one piece", (SAVE,), plain=("one-piece",), base=("handing-over",)),
    Gain("written zeros", (SAVE, MOVE), plain=("written-zeros",)),
    Gain("content at hand", (LOAD, LOADS), plain=("at-hand",)),
    Gain("reading at once", (READ,), plain=("quick",)),
    Gain("content with its head", (LOADS,), plain=("content-with-its-head",)),
    Gain("frames by themselves", (LOADS, READS), plain=("frames-by-themselves",)),
    Gain("kept connections", (LOAD, READ), plain=("kept-readers",)),
    Gain("shared pages", (WATCHED,), plain=("shared-pages",)),
    Gain("descriptors", (OPEN, OPEN_BIG, LOAD_BY_FILE, SAVE_FILE), plain=("descriptors",)),
    Gain(CLONING, (SAVE_FILE,), plain=("clone",)),
    Gain("reading in place", (SAVE_BIG,), plain=("reading-in-place",)),
    Gain("used memory", (SAVE_BIG,), plain=("used-memory",)),
    Gain("early writing", (SAVE_BIG,), plain=("writeback",)),
    Gain("hashing beside", (SAVE_BIG,), plain=("hashing-beside",)),
    Gain("reserved space", (SAVE_BIG,), flags=("--preallocate-from", "1TiB")),
    Gain("large chunks", (SAVE_BIG, LOAD_BIG), flags=("--chunk-bytes", "256KiB")),
    Gain("a large window", (SAVE_BIG,), flags=("--window-bytes", "1MiB")),
    Gain("reading ahead", (LOAD_BIG,), plain=("reading-ahead",)),
    Gain("the client's second chunk", (SAVE_BIG,), plain=("client-second-chunk",), client=True),
    Gain("the client's window", (LOAD_BIG,), plain=("client-window",), client=True),
    Gain("the client's reading in place", (LOAD_BIG,), plain=("client-reading-in-place",), client=True),
    Gain("the client's hashing beside", (LOAD_BIG,), plain=("client-hashing-beside",), client=True),
)
"""docs/performance.md says what each is, and what is done without it."""


class Shared:
    """What all gains have in common: content, and servers that several need."""

    def __init__(self, stand: Stand, stack: ExitStack) -> None:
        self.stand, self.stack = stand, stack
        self._servers: dict[tuple[tuple[str, ...], ...], Served] = {}
        self._grounds: dict[tuple[Served, tuple[str, ...]], Ground] = {}

    @cached_property
    def fresh(self) -> Callable[[], bytearray]:
        """Big content that no store has had yet."""
        return fresh_content(self.stand.sizes.big_bytes)

    @cached_property
    def file(self) -> File:
        """A big file."""
        return self.stack.enter_context(kept_file(self.stand.folder / "fresh", self.stand.sizes.big_bytes))

    def ground(self, flags: tuple[str, ...] = (), plain: tuple[str, ...] = (), client: tuple[str, ...] = ()) -> Ground:
        """A server that lacks `flags` and `plain`, and clients that lack `client`."""
        if (flags, plain) not in self._servers:
            self._servers[flags, plain] = self.stack.enter_context(self.stand.server(*flags, without=plain))
        served = self._servers[flags, plain]
        if (served, client) not in self._grounds:
            self._grounds[served, client] = Ground(self, served, client)
        return self._grounds[served, client]


@contextmanager
def gain_probes(stand: Stand) -> Iterator[list[Probe]]:
    """All gains, each beside the lack of it."""
    with ExitStack() as stack:
        shared, clones = Shared(stand, stack), _clones(stand)
        yield [
            probe
            for gain in GAINS
            for task in gain.tasks
            for probe in (_absent(gain, task) if gain.name == CLONING and not clones else _both(shared, gain, task))
        ]


def _both(shared: Shared, gain: Gain, task: Task) -> list[Probe]:
    having = shared.ground(plain=gain.base)
    lacking = shared.ground(client=gain.plain) if gain.client else shared.ground(gain.flags, gain.base + gain.plain)
    floor = f"{task.name}, without {gain.name}"
    return [
        Probe.of(Row(floor, task.unit), partial(_measure, lacking, task)),
        Probe.of(Row(f"{task.name}, with {gain.name}", task.unit, "", floor), partial(_measure, having, task)),
    ]


def _measure(ground: Ground, task: Task) -> float:
    with without(*ground.plain):
        return task.measure(ground)


def _absent(gain: Gain, task: Task) -> list[Probe]:
    gap = "this file system shares no blocks; xfs and btrfs do: see --folder"
    return [Probe.of(Row(f"{task.name}, with {gain.name}", task.unit, gap=gap), lambda: 0.0)]


def _clones(stand: Stand) -> bool:
    """Whether two files of the folder can share blocks."""
    paths = stand.folder / "cloned", stand.folder / "clone"
    with paths[0].open("wb+") as source, paths[1].open("wb+") as target:
        source.write(bytes(MIB))
        source.flush()
        try:
            osfs.clone(target.fileno(), source.fileno())
        except OSError:
            return False
        return True
