"""Fairness: what small things wait for while large ones are on their way, and what they take on an idle server."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from time import perf_counter
from typing import Any

import udfstore
from tests.bench.content import fresh_content
from tests.bench.rows import Probe, Row, Unit, percentile
from tests.bench.stand import MIB, Stand
from tests.bench.tags import WATCHED, move, watching
from tests.bench.traffic import TAG

TRANSFERS = 4
LOADERS = 50
READS_PER_MOVE = 10
BOUND = "20 ms"
"""That of the table for keepalives: nothing small shall wait longer."""

WAITS = (
    "tag read, median",
    "tag read, 99th percentile",
    "a tag move reaches a watcher, 99th percentile",
    "keepalive to a node, 99th percentile",
    "tag read on that node's connection, 99th percentile",
)
"""What is measured of an idle server and of a busy one, in this order."""


@contextmanager
def busy_probes(stand: Stand) -> Iterator[list[Probe]]:
    """The same small things, on an idle server and on a busy one."""
    size = stand.sizes.big_bytes
    with (
        stand.server() as served,
        watching(served, 1) as (crowd, kept),
        udfstore.connect(served.socket) as store,
    ):
        big = store.save(fresh_content(size)(), tag=TAG).id

        def read() -> float:
            started = perf_counter()
            store.get_tag(TAG)
            return 1000 * (perf_counter() - started)

        def moved() -> float:
            started = perf_counter()
            crowd.begin(1, lambda talk: iter([move(talk, WATCHED, kept)]))
            return 1000 * (crowd.arrivals(range(1))[0] - started)

        def measured(transfers: int, loaders: int) -> tuple[float, ...]:
            reads, moves, rates = [], [], []
            with ExitStack() as stack:
                beside = [stack.enter_context(traffic("load", served.socket, big, loaders))] if loaders else []
                given = (served.socket, big, size, transfers, stand.sizes.keepalives)
                shared = stack.enter_context(traffic("share", *given))
                while not _tells(shared):
                    reads.append(read())
                    if len(reads) % READS_PER_MOVE == 0:
                        moves.append(moved())
                told = _told(shared)
                rates = [told["rate"], *(_told(process)["rate"] for process in beside)]
            waits = (reads, moves, *([1000 * s for s in told[what]] for what in ("keepalives", "reads")))
            return median(reads), *(percentile(wait, 99) for wait in waits), *(rates if transfers else ())

        moving = f"{TRANSFERS} transfers of {size // MIB} MiB on the node's connection"
        idle = tuple(Row(f"floor: idle server: {what}", Unit.MILLISECONDS) for what in WAITS)
        busy = tuple(
            Row(f"busy server: {what}", Unit.MILLISECONDS, BOUND if "99th" in what else "", floor.name)
            for what, floor in zip(WAITS, idle, strict=True)
        )
        moved_meanwhile = (
            Row(f"busy server: {moving}, together", Unit.RATE),
            Row(f"busy server: {LOADERS} more connections that load, together", Unit.RATE),
        )
        yield [
            Probe(idle, lambda: measured(0, 0)),
            Probe((*busy, *moved_meanwhile), lambda: measured(TRANSFERS, LOADERS)),
        ]


@contextmanager
def traffic(role: str, *given: object) -> Iterator[subprocess.Popen[str]]:
    """A process of `tests.bench.traffic`, from when its content moves."""
    command = (sys.executable, "-m", "tests.bench.traffic", role, *map(str, given))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"{' '.join(command)} failed")
        yield process
    finally:
        process.kill()
        process.communicate()


def _tells(process: subprocess.Popen[str]) -> bool:
    """Whether it has come to its end: what it found may be more than a pipe holds, so that it waits to be heard."""
    return bool(select.select([process.stdout], [], [], 0)[0])


def _told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it found; one that goes on until it is told to stop is told so."""
    said, _ = process.communicate()
    found: dict[str, Any] = json.loads(said)
    return found
