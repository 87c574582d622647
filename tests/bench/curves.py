"""`python -m tests.bench.curves`: how cost grows with the size of content, the number of clients, and a store's age.

Each point is the median of several rounds, in each of which all points of a curve are measured. A curve becomes a chart
and a JSON file of the same name.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import udfstore
from tests.bench.age import ASKED, asked, filled
from tests.bench.content import settle
from tests.bench.crowd import Crowd
from tests.bench.descriptors import copy, first_bytes, kept_file
from tests.bench.machine import describe
from tests.bench.rows import say
from tests.bench.small import SMALL_BYTES, appended, saving
from tests.bench.stand import FOLDER, MIB, Sizes, Stand
from tests.bench.svg import Chart, Line, draw
from tests.bench.tags import moving, reading
from udfstore.digest import BlobId

IMAGES = Path("docs/images")
ROUNDS = 5
BYTES_A_POINT = 16 * MIB
MOST_TIMES = 50
"""What is small is done so often in one round, or until it comes to so many bytes; the median counts."""
FLOOR = "floor: "


@dataclass(frozen=True, slots=True)
class Curve:
    """A chart without its lines, and what measures one x: a y for each line, by the line's name."""

    file: str
    title: str
    x: str
    y: str
    ticks: Mapping[int, str]
    measure: Callable[[int], Mapping[str, float]]

    def measured(self, rounds: int) -> Chart:
        """The chart."""
        figures: dict[str, dict[int, list[float]]] = {}
        for number in range(rounds):
            for at, name in self.ticks.items():
                say(f"{self.file}, round {number + 1} of {rounds}: {name}")
                for line, y in self.measure(at).items():
                    figures.setdefault(line, {}).setdefault(at, []).append(y)
        lines = [
            Line(name, [(at, median(ys)) for at, ys in points.items()], name.startswith(FLOOR))
            for name, points in figures.items()
        ]
        return Chart(self.title, self.x, self.y, tuple(self.ticks.items()), lines)


@dataclass(frozen=True, slots=True)
class Extent:
    """The x of all curves."""

    sizes: Sequence[int] = tuple(1024 * 4**step for step in range(12))
    clients: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
    ages: Sequence[int] = (ASKED, 10_000, 100_000, 1_000_000)
    rounds: int = ROUNDS


QUICK = Extent((1024, 64 * 1024, 4 * MIB), (1, 8), (ASKED, 10_000), 1)


@contextmanager
def by_size(stand: Stand, extent: Extent) -> Iterator[list[Curve]]:
    """Saves and loads, in chunks and by descriptor."""
    ticks = {size: in_words(size) for size in extent.sizes}
    with ExitStack() as stack:
        served = stack.enter_context(stand.server())
        chunks = stack.enter_context(udfstore.connect(served.socket, descriptors=False))
        passed = stack.enter_context(udfstore.connect(served.socket, descriptors=True))
        kept: dict[int, BlobId] = {}

        def saves(size: int) -> dict[str, float]:
            with kept_file(stand.folder / "content", size) as content:

                def saved(store: udfstore.Store) -> float:
                    content.renew()
                    started = perf_counter()
                    id = store.save(content.path).id
                    taken = perf_counter() - started
                    store.delete(id, now=True)
                    return taken

                def copied() -> float:
                    content.renew()
                    started = perf_counter()
                    copy(content.path, stand.folder / "copied")
                    return perf_counter() - started

                return {
                    "in chunks, durable": typical(size, lambda: saved(chunks)),
                    "by descriptor, durable": typical(size, lambda: saved(passed)),
                    f"{FLOOR}copy of the file inside the kernel, durable, not hashed": typical(size, copied),
                }

        def loads(size: int) -> dict[str, float]:
            if size not in kept:
                with kept_file(stand.folder / "content", size) as content:
                    kept[size] = passed.save(content.path).id
                settle()
            id = kept[size]

            def loaded(store: udfstore.Store) -> float:
                started = perf_counter()
                store.load_into(id, lambda head: lambda data: None)
                return perf_counter() - started

            return {
                "in chunks, checked": typical(size, lambda: loaded(chunks)),
                "by descriptor, checked": typical(size, lambda: loaded(passed)),
                "by descriptor, mapped, its beginning read": typical(size, lambda: first_bytes(passed, id)),
            }

        yield [
            Curve("save-by-size", "Time of a save, by size", "size", "milliseconds", ticks, saves),
            Curve("load-by-size", "Time of a load, by size", "size", "milliseconds", ticks, loads),
        ]


@contextmanager
def by_clients(stand: Stand, extent: Extent) -> Iterator[list[Curve]]:
    """Small calls of many clients at once."""
    ticks = {clients: str(clients) for clients in extent.clients}
    with stand.server() as served, udfstore.connect(served.socket) as store:
        kept = store.save(b"what the tags name", tag="bench/one").id

        def rates(clients: int) -> dict[str, float]:
            saves, moves, reads = (
                max(4, count // clients) for count in (stand.sizes.saves, stand.sizes.moves, stand.sizes.reads)
            )
            with Crowd(served.socket, clients) as crowd:
                return {
                    "save of 4 KiB, durable": clients * saves / crowd.run(saving(saves)),
                    "tag move, durable": clients * moves / crowd.run(moving(kept, moves)),
                    "tag read": clients * reads / crowd.run(reading("bench/one", reads)),
                    f"{FLOOR}append of 4 KiB, fdatasync, one after another": appended(
                        stand.folder, SMALL_BYTES, stand.sizes.saves
                    ),
                }

        yield [Curve("calls-by-clients", "Calls of all clients together", "clients", "per second", ticks, rates)]


@contextmanager
def by_age(stand: Stand, extent: Extent) -> Iterator[list[Curve]]:
    """Calls and start of stores with more and more in them."""
    stores = {count: filled(stand.folder / f"aged{count}", count) for count in extent.ages}
    settle()

    def times(count: int) -> dict[str, float]:
        start, loads, reads, moves, _ = asked(stand, stores[count])
        return {
            "start of the server": 1000 * start,
            "load of 4 KiB": 1000 / loads,
            "tag move, durable": 1000 / moves,
            "tag read": 1000 / reads,
        }

    ticks = {count: f"{count:,}" for count in extent.ages}
    title = "Time of a start and of calls, by what the store holds"
    yield [Curve("calls-by-age", title, "blobs, and as many entries", "milliseconds", ticks, times)]


CURVES: dict[str, Callable[[Stand, Extent], AbstractContextManager[list[Curve]]]] = {
    "size": by_size,
    "clients": by_clients,
    "age": by_age,
}


def typical(size: int, seconds: Callable[[], float]) -> float:
    """Milliseconds at the median, the smaller the size the more often."""
    times = max(1, min(MOST_TIMES, BYTES_A_POINT // size))
    return 1000 * median(seconds() for _ in range(times))


def in_words(size: int) -> str:
    """A size in the largest unit that it fills."""
    power = (size.bit_length() - 1) // 10
    return f"{size >> 10 * power} {('B', 'KiB', 'MiB', 'GiB')[power]}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.curves", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few points, one round: shows that it runs, no more")
    parser.add_argument("--only", choices=CURVES, nargs="+", default=list(CURVES), help="only these")
    parser.add_argument("--out", type=Path, help=f"write charts and figures there (default: {IMAGES})")
    parser.add_argument("--folder", type=Path, default=Path(), help=f"work in {FOLDER} there, which is emptied")
    given = parser.parse_args(arguments)
    if given.quick and not given.out:
        parser.error("what --quick measures is not for the documents: say where it goes, by --out")
    extent, sizes = (QUICK, Sizes.quick()) if given.quick else (Extent(), Sizes())
    out, machine = given.out or IMAGES, describe(given.folder)
    with Stand(given.folder / FOLDER, sizes) as stand:
        for name in given.only:
            with CURVES[name](stand, extent) as curves:
                for curve in curves:
                    chart = curve.measured(extent.rounds)
                    (out / f"{curve.file}.svg").write_text(draw(chart))
                    (out / f"{curve.file}.json").write_text(as_json(chart, machine, quick=given.quick))


def as_json(chart: Chart, machine: Mapping[str, str], *, quick: bool) -> str:
    """What a chart shows."""
    lines = {line.name: dict(line.points) for line in chart.lines}
    told = {"machine": machine, "quick": quick, "title": chart.title, "x": chart.x, "y": chart.y, "lines": lines}
    return json.dumps(told, indent=2) + "\n"


if __name__ == "__main__":
    main()
