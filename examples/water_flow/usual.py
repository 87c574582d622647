"""What is usual at each hour of the day, learned from the stream itself: the state of the UDF.

A river statistic for each hour, kept as a skops file: loading it builds only the types that are named here. Knows
nothing of the store or of streams.
"""

from __future__ import annotations

import math
import zipfile
from datetime import UTC
from typing import Any

import skops.io
from model import Reading
from river import stats

TRUSTED = ["river.stats.mean.Mean", "river.stats.var.Var"]
"""Types a state may name beyond those that skops itself holds safe."""

ENOUGH = 3
"""Readings of an hour before anything can be said about it."""


class Usual:
    """Mean and spread of the flow at each hour, and the reading before. Learns from every reading."""

    def __init__(self) -> None:
        self.before: Reading | None = None
        self._hours = [stats.Var() for _ in range(24)]
        self._dumped = b""

    def score(self, reading: Reading) -> float:
        """How many standard deviations the flow is from what is usual at that hour; 0 while that is not known."""
        hour = self._hours[_hour(reading)]
        spread = math.sqrt(hour.get())
        if hour.n < ENOUGH or spread == 0:
            return 0.0
        return float(abs(reading.flow - hour.mean.get()) / spread)

    def learn(self, reading: Reading) -> None:
        """Take a reading in."""
        self._hours[_hour(reading)].update(reading.flow)  # type: ignore[no-untyped-call]
        self.before = reading
        self._dumped = b""

    def dump(self) -> bytes:
        """The state. The same bytes until something is learned, so that a store sees that nothing changed."""
        if not self._dumped:
            before = [self.before.time.isoformat(), self.before.flow] if self.before else None
            parts = {"hours": self._hours, "before": before}
            self._dumped = skops.io.dumps(parts, compression=zipfile.ZIP_DEFLATED)
        return self._dumped

    @classmethod
    def load(cls, content: bytes) -> Usual:
        """Read what `dump` wrote. Raises `ValueError` for anything else."""
        usual = cls()
        try:
            parts: Any = skops.io.loads(content, trusted=TRUSTED)
            hours = list(parts["hours"])
            if len(hours) != 24 or not all(isinstance(hour, stats.Var) for hour in hours):
                raise ValueError(f"{len(hours)} hours")
            usual._hours = hours
            before = parts["before"]
            usual.before = None if before is None else Reading.parse(f"{before[0]},{before[1]!r}")
        except Exception as error:
            raise ValueError(f"not the state of a water-flow UDF: {type(error).__name__}: {error}") from error
        return usual


def _hour(reading: Reading) -> int:
    return reading.time.astimezone(UTC).hour
