"""What is measured, and how often: rows of the table, probes that fill them, and the rounds in which probes take turns.

Machines drift: a disk is fast until its cache is full, a processor until it is hot. So the probes of one group, floors
included, are measured in turn in every round, forwards and backwards by turns, and a share of a floor is taken within
each round before the median is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import median
from time import perf_counter


class Unit(Enum):
    """What a row's figures count."""

    RATE = "MiB/s"
    PER_SECOND = "/s"
    MICROSECONDS = "µs"
    MILLISECONDS = "ms"
    SECONDS = "s"
    MEMORY = "MiB"
    BYTES = "B"

    @property
    def more_is_better(self) -> bool:
        """Whether a larger figure is the better one."""
        return self in (Unit.RATE, Unit.PER_SECOND)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `floor` names the row of the same group that it is held against; `gap` says why there is
    no figure."""

    name: str
    unit: Unit
    goal: str = ""
    floor: str = ""
    gap: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """Measures once and gives a figure for each of its rows, in their order. That of a gap is never asked."""

    rows: tuple[Row, ...]
    measure: Callable[[], tuple[float, ...]]

    @classmethod
    def of(cls, row: Row, measure: Callable[[], float]) -> Probe:
        """A probe with one row."""
        return cls((row,), lambda: (measure(),))

    @classmethod
    def absent(cls, program: str, package: str) -> Probe:
        """In place of what another program would be asked for, where that is not installed."""
        return cls((Row(program, Unit.RATE, gap=f"not installed: apt-get install {package}"),), lambda: ())


@dataclass(slots=True)
class Result:
    """A row and its figures, one a round; a gap has none."""

    row: Row
    figures: list[float] = field(default_factory=list)
    floor: Result | None = None

    @property
    def median(self) -> float | None:
        """The middle figure; None without any."""
        return median(self.figures) if self.figures else None

    @property
    def share(self) -> float | None:
        """How near the floor comes, 1 being as good as the floor: the middle of the rounds. None without a floor."""
        if self.floor is None:
            return None
        pairs = zip(self.figures, self.floor.figures, strict=True)
        return median(own / floor if self.row.unit.more_is_better else floor / own for own, floor in pairs)


def take_rounds(name: str, probes: Sequence[Probe], rounds: int, *, warm_up: bool = True) -> list[Result]:
    """Measure all probes in every round, after one round that is thrown away."""
    results = {row.name: Result(row) for probe in probes for row in probe.rows}
    for result in results.values():
        if result.row.floor:
            result.floor = results[result.row.floor]
    measured = [probe for probe in probes if not probe.rows[0].gap]
    for number in range(0 if warm_up else 1, rounds + 1):
        for probe in measured if number % 2 else reversed(measured):
            label = f"round {number} of {rounds}" if number else "warm-up"
            say(f"{name}, {label}: {probe.rows[0].name}")
            figures = probe.measure()
            if number:
                for row, figure in zip(probe.rows, figures, strict=True):
                    results[row.name].figures.append(figure)
    return list(results.values())


def per_second(count: int, do: Callable[[], object]) -> float:
    """How many a second, when `do` does so many."""
    started = perf_counter()
    do()
    return count / (perf_counter() - started)


def percentile(figures: Sequence[float], share: int) -> float:
    """The smallest figure that so many of a hundred do not exceed (nearest rank)."""
    return sorted(figures)[-(-len(figures) * share // 100) - 1]


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)
