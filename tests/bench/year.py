"""A year of snapshot rounds: what log and catalog grow to when ten tasks are kept each minute, their state always new.

The rounds are those of the server from the saving of a state on: the same service, without sockets, with a clock that
runs with them and the same sweeps. Each is durable before the next of its task, and nothing that it writes is left out.
A year has 5.3 million of them. What is played are two stretches of its beginning, of equal length: what is left at the
end of the segments that the log had after the first, and what the catalog grew by in the second, is what a round leaves
for good; the year is drawn out from that. The newest segments, which nothing has left yet, would not tell. `--year`
plays it whole.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.bench.content import settle
from tests.bench.rows import Probe, Row, Unit, say
from tests.bench.small import SMALL_BYTES
from tests.bench.stand import MIB, Stand
from udfstore.service.gate import Gate
from udfstore.service.tasks import Tasks
from udfstore.snapshots import NO_DAG, Commit, NodeSnapshot, identity_of_name
from udfstore.store import Store
from udfstore.store.layout import Layout, segment_number
from udfstore.tasks import Reason

TASKS = 10
MINUTES = 365 * 24 * 60
WHOLE = TASKS * MINUTES
MINUTE_NS = 60 * 1_000_000_000
BLOCK_BYTES = 512
"""What `st_blocks` counts in."""
SAID = 500
"""Minutes between two lines of progress."""


@contextmanager
def year_probes(stand: Stand) -> Iterator[list[Probe]]:
    """Play some rounds, and as many again."""
    rounds = stand.sizes.snapshots
    root, way = stand.folder / "year", "all played" if 2 * rounds == WHOLE else "drawn out from that"

    def played() -> tuple[float, ...]:
        year = _Year(root)
        year.play(rounds // TASKS)
        log, catalog = year.log_bytes(), year.catalog_bytes()
        half = sum(log.values()) + catalog
        year.play(rounds // TASKS)
        left = sum(size for number, size in year.log_bytes().items() if number <= max(log))
        growth = (left + year.catalog_bytes() - catalog) / rounds
        end = sum(year.log_bytes().values()) + year.catalog_bytes()
        settle()
        with stand.server(root=root) as served:
            started = served.start_seconds
        drawn_out = end + growth * (WHOLE - 2 * rounds)
        return half / MIB, end / MIB, growth, drawn_out / MIB, started

    yield [
        Probe(
            (
                Row(f"log and catalog after {rounds:,} rounds of {TASKS} tasks", Unit.MEMORY),
                Row(f"log and catalog after {2 * rounds:,} rounds", Unit.MEMORY),
                Row("what a round leaves in both", Unit.BYTES),
                Row(f"log and catalog after a year, {WHOLE:,} rounds, {way}", Unit.MEMORY, "100 MiB"),
                Row(f"start after {2 * rounds:,} rounds", Unit.SECONDS, "1 s"),
            ),
            played,
        )
    ]


class _Year:
    """A store whose clock began a year ago, and goes as the rounds do."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._now_ns = time.time_ns() - MINUTES * MINUTE_NS

    def play(self, minutes: int) -> None:
        """In each minute a round of each task, side by side, and a sweep."""
        with Store(self._root, clock=self._clock) as store, ThreadPoolExecutor(TASKS) as threads:
            tasks = Tasks(store, Gate(store), self._clock)
            for minute in range(1, minutes + 1):
                for done in [threads.submit(_round, store, tasks, f"task {number}") for number in range(TASKS)]:
                    done.result()
                self._now_ns += MINUTE_NS
                store.sweep()
                if minute % SAID == 0:
                    say(f"played {minute * TASKS:,} of {minutes * TASKS:,} rounds")

    def log_bytes(self) -> dict[int, int]:
        """What each segment of the log takes of the disk, by its number."""
        numbers = ((segment_number(path.name), path) for path in Layout(self._root).log.iterdir())
        return {number: _taken(path) for number, path in numbers if number is not None}

    def catalog_bytes(self) -> int:
        """What the catalog takes of the disk."""
        return sum(map(_taken, self._root.glob(f"{Layout(self._root).catalog.name}*")))

    def _clock(self) -> int:
        return self._now_ns


def _taken(path: Path) -> int:
    return path.stat().st_blocks * BLOCK_BYTES


def _round(store: Store, tasks: Tasks, task: str) -> None:
    """The state of a task's one node, and the snapshot that names it."""
    upload = store.upload(size=SMALL_BYTES)
    try:
        upload.write(os.urandom(SMALL_BYTES))
        id, _ = upload.commit()
    finally:
        upload.abort()
    node = identity_of_name("node")
    state = NodeSnapshot(node.id, node.name, id, SMALL_BYTES)
    tasks.commit(Commit(0, task, NO_DAG, Reason.INTERVAL, (state,)))
