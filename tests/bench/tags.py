"""Tags: durable moves, reads, and how soon a move reaches those who watch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import udfstore
from tests.bench.crowd import Crowd, Job
from tests.bench.rows import Probe, Row, Unit, per_second, percentile
from tests.bench.small import appended, echoed
from tests.bench.stand import Served, Stand
from udfstore import calls
from udfstore.client import arguments, operations
from udfstore.client.conversation import Conversation
from udfstore.client.operations import Operation
from udfstore.digest import BlobId
from udfstore.model import Event
from udfstore.refs import Prefix, Ref, Tag

CROWD = 64
AHEAD = 32
FIRST = 100
ENTRY_BYTES = 256
"""About what a move takes in the log."""
APPENDED = f"floor: append {ENTRY_BYTES} bytes, fdatasync"
ECHOED = f"floor: trio echo of {ENTRY_BYTES} bytes"
ECHOED_AHEAD = f"{ECHOED}, {AHEAD} on their way"
WATCHED = "bench/watched"


@contextmanager
def tag_probes(stand: Stand) -> Iterator[list[Probe]]:
    """Move and read tags."""
    moves, reads = stand.sizes.moves, stand.sizes.reads
    with (
        stand.server() as served,
        stand.floors() as floors,
        udfstore.connect(served.socket) as store,
        Crowd(served.socket, CROWD) as crowd,
        Crowd(served.socket, 1) as pipe,
    ):
        kept = store.save(b"what the tags name", tag="bench/one").id

        def moved() -> float:
            return per_second(moves, lambda: [store.tag("bench/one", kept) for _ in range(moves)])

        def read() -> float:
            return per_second(reads, lambda: [store.get_tag("bench/one") for _ in range(reads)])

        each = max(1, 4 * moves // CROWD)
        yield [
            Probe.of(Row(APPENDED, Unit.PER_SECOND), lambda: appended(stand.folder, ENTRY_BYTES, moves)),
            Probe.of(Row("tag move, durable, 1 client", Unit.PER_SECOND, "2,000/s", APPENDED), moved),
            Probe.of(
                Row(f"tag move, durable, {CROWD} clients", Unit.PER_SECOND, "15,000/s", APPENDED),
                lambda: each * CROWD / crowd.run(moving(kept, each)),
            ),
            Probe.of(Row(ECHOED, Unit.PER_SECOND), lambda: echoed(floors / "echo", ENTRY_BYTES, reads)),
            Probe.of(Row("tag read", Unit.PER_SECOND, "12,000/s", ECHOED), read),
            Probe.of(
                Row(ECHOED_AHEAD, Unit.PER_SECOND), lambda: echoed(floors / "echo", ENTRY_BYTES, reads, ahead=AHEAD)
            ),
            Probe.of(
                Row(f"tag read, {AHEAD} on their way", Unit.PER_SECOND, "12,000/s", ECHOED_AHEAD),
                lambda: reads / pipe.run(reading("bench/one", reads // AHEAD), AHEAD),
            ),
        ]


def moving(id: BlobId, count: int) -> Job:
    """A client that moves a tag of its own so many times."""

    def job(talk: Conversation) -> Iterator[Operation]:
        assert talk.welcome is not None
        for _ in range(count):
            yield move(talk, f"bench/{talk.welcome.session}", id)

    return job


def reading(name: str, count: int) -> Job:
    """A client that reads a tag so many times."""

    def job(talk: Conversation) -> Iterator[Operation]:
        for _ in range(count):
            yield operations.ask(talk, calls.GetTag(Ref.parse(name)))

    return job


def move(talk: Conversation, name: str, id: BlobId) -> Operation:
    """Move one tag."""
    step = calls.Step(Tag.parse(name), Ref.of(id))
    return operations.ask(talk, calls.Move((step,), "", arguments.request()))


@contextmanager
def watch_probes(stand: Stand) -> Iterator[list[Probe]]:
    """Move a tag that many watch."""
    watchers = stand.sizes.watchers
    with stand.server() as served, watching(served, watchers) as (crowd, kept):
        label = f"a tag move reaches {watchers:,} watchers"
        yield [
            Probe(
                (
                    Row(f"{label}: the first {FIRST}, 99th percentile", Unit.MILLISECONDS, "5 ms"),
                    Row(f"{label}: all, 99th percentile", Unit.MILLISECONDS, "50 ms"),
                ),
                lambda: reached(crowd, kept, watchers, stand.sizes.watched_moves),
            )
        ]


def reached(crowd: Crowd, kept: BlobId, watchers: int, moves: int) -> tuple[float, float]:
    """Milliseconds, 99th percentile, until moves have reached the first of those who watch, and all of them."""
    first, last = [], []
    for _ in range(moves):
        started = perf_counter()
        crowd.begin(watchers, lambda talk: iter([move(talk, WATCHED, kept)]), lambda items: None)
        delays = [1000 * (came - started) for came in crowd.arrivals(range(watchers + 1))]
        first += delays[:FIRST]
        last += delays
    return percentile(first, 99), percentile(last, 99)


@contextmanager
def watching(served: Served, watchers: int) -> Iterator[tuple[Crowd, BlobId]]:
    """So many clients that watch one tag and have been told what there is, and one more to move it."""
    present = 0

    def given(items: tuple[Event, ...]) -> None:
        nonlocal present
        present += sum(event.present and not event.entries for event in items)

    def watch(talk: Conversation) -> Iterator[Operation]:
        yield operations.pages(talk, calls.Watch(Prefix.parse(WATCHED)))

    with udfstore.connect(served.socket) as store, Crowd(served.socket, watchers + 1) as crowd:
        kept = store.save(b"what the watched tag names", tag=WATCHED).id
        for number in range(watchers):
            crowd.begin(number, watch, given)
        crowd.drive(lambda: present == watchers)
        yield crowd, kept
