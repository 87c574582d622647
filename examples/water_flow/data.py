"""The readings, and what is known about them.

    python data.py > readings.lp          all of them as InfluxDB line protocol

river's WaterFlow set: hourly flow through a branch of a water main, litres per second, 20 March to 16 May 2022, given
by Tecnojest s.r.l. (www.invidea.it). It has no label per reading. river's documentation says that four stretches are
anomalous: three of low flow (losses, or people at work on the pipe), and after the first two a small peak (a pump
raised the pressure). It gives no dates; those below were read off the series. A test holds them to it: in every stretch
the flow leaves its level of the day before by more than 5 l/s, and nowhere else does it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from model import Reading
from river.datasets import WaterFlow

WATER_FLOW = WaterFlow()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Readings that are known to be anomalous, from the first to the last of them."""

    first: datetime
    last: datetime
    what: str

    def __contains__(self, reading: Reading) -> bool:
        return self.first <= reading.time <= self.last


STRETCHES = tuple(
    Stretch(datetime.fromisoformat(first), datetime.fromisoformat(last), what)
    for first, last, what in (
        ("2022-03-24T08:00+01:00", "2022-03-25T01:00+01:00", "low, down to 24 l/s for eleven hours"),
        ("2022-03-29T08:00+02:00", "2022-03-29T21:00+02:00", "low, down to 24 l/s for seven hours"),
        ("2022-04-03T06:00+02:00", "2022-04-03T06:00+02:00", "a peak of 110 l/s for one hour"),
        ("2022-04-27T15:00+02:00", "2022-04-28T08:00+02:00", "low, down to 24 l/s for ten hours"),
    )
)


def anomalous(reading: Reading) -> bool:
    """Whether the reading lies in one of the known stretches."""
    return any(reading in stretch for stretch in STRETCHES)


def readings() -> list[Reading]:
    """All 1,268 readings in order of time; 111 hours are missing in between."""
    return [Reading(features["Time"], flow) for features, flow in WATER_FLOW]


def line(reading: Reading) -> str:
    """A reading as a line of InfluxDB line protocol."""
    return f"water,pipe=main flow={reading.flow!r} {int(reading.time.timestamp())}000000000"


def digest() -> str:
    """SHA-256 of the file that the readings come from: which data a model was trained on."""
    return hashlib.sha256(Path(WATER_FLOW.path).read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Score:
    """How well flags agree with the known stretches, counted in readings, and in stretches with at least one flag."""

    hits: int
    missed: int
    false_alarms: int
    stretches: int
    stretches_found: int

    @property
    def precision(self) -> float:
        """The share of flagged readings that are anomalous (1 when none is flagged)."""
        flagged = self.hits + self.false_alarms
        return self.hits / flagged if flagged else 1.0

    @property
    def recall(self) -> float:
        """The share of anomalous readings that are flagged (1 when there are none)."""
        anomalies = self.hits + self.missed
        return self.hits / anomalies if anomalies else 1.0


def measure(flagged: Iterable[tuple[Reading, bool]]) -> Score:
    """Compare each reading's flag with the known stretches that lie among the readings."""
    pairs = list(flagged)
    known = [stretch for stretch in STRETCHES if any(reading in stretch for reading, _ in pairs)]
    return Score(
        hits=sum(flag and anomalous(reading) for reading, flag in pairs),
        missed=sum(not flag and anomalous(reading) for reading, flag in pairs),
        false_alarms=sum(flag and not anomalous(reading) for reading, flag in pairs),
        stretches=len(known),
        stretches_found=sum(any(flag and reading in stretch for reading, flag in pairs) for stretch in known),
    )


if __name__ == "__main__":
    for reading in readings():
        print(line(reading))
