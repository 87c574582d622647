"""The anomaly model: how far is a reading from normal? Knows nothing of the store, of streams or of files.

A model file is written by skops, not pickle: loading it builds only types that are named in advance, so that whoever
can write to the store cannot run code in the process that scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

import skops.io
from sklearn.covariance import EmpiricalCovariance

THRESHOLD = 6.0
"""Standard deviations from normal from which a reading is flagged. The flow is no bell curve: with the usual three a
model of a few days would raise an alarm at every change of level."""

TRUSTED: list[str] = []
"""Types a model file may name beyond those that skops itself holds safe (scikit-learn estimators, arrays): none."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One hourly reading: when, and the flow in litres per second."""

    time: datetime
    flow: float

    @classmethod
    def parse(cls, line: str) -> Reading:
        """Read `TIME,FLOW`: ISO 8601 and a finite number. Anything else is a `ValueError` that says what is wrong."""
        time, comma, flow = line.strip().partition(",")
        if not comma:
            raise ValueError(f"expected TIME,FLOW, got {line.strip()[:80]!r}")
        try:
            reading = cls(datetime.fromisoformat(time), float(flow))
        except ValueError as error:
            raise ValueError(f"expected an ISO 8601 time and a number, got {line.strip()[:80]!r}: {error}") from None
        if not math.isfinite(reading.flow):
            raise ValueError(f"expected a finite flow, got {flow!r}")
        return reading


FEATURES: dict[str, Callable[[Reading, Reading | None], float]] = {
    "flow": lambda reading, before: reading.flow,
    "step": lambda reading, before: reading.flow - before.flow if before else 0.0,
}
"""What a model may look at: each a number made from a reading and the one before it (None at the start)."""


@dataclass(frozen=True, slots=True)
class Model:
    """What is normal (mean and covariance of the features), and from where on a reading is not."""

    features: tuple[str, ...]
    estimator: EmpiricalCovariance
    threshold: float = THRESHOLD

    def score(self, reading: Reading, before: Reading | None) -> float:
        """The Mahalanobis distance from normal, in standard deviations."""
        return math.sqrt(self.estimator.mahalanobis([_row(self.features, reading, before)])[0])

    def flags(self, score: float) -> bool:
        """Whether a reading with that score is an anomaly."""
        return score > self.threshold


def train(readings: Sequence[Reading], features: tuple[str, ...], skip: Callable[[Reading], bool]) -> Model:
    """Learn what is normal from the readings in order of time, those that `skip` names left out."""
    rows = [_row(features, reading, before) for before, reading in pairs(readings) if not skip(reading)]
    return Model(features, EmpiricalCovariance().fit(rows))


def pairs(readings: Sequence[Reading]) -> Iterable[tuple[Reading | None, Reading]]:
    """Each reading with the one before it."""
    return zip([None, *readings], readings, strict=False)


def dump(model: Model) -> bytes:
    """The model as the content of a file. Two dumps of one model differ: skops writes object numbers into them."""
    content: bytes = skops.io.dumps(
        {"features": list(model.features), "threshold": model.threshold, "estimator": model.estimator}
    )
    return content


def load(file: BinaryIO) -> Model:
    """Read what `dump` wrote. Raises `ValueError` for a file that holds something else, whatever it is."""
    content = file.read()  # whole, because a whole read of a blob is checked against its ID, and reads of parts are not
    try:
        parts: Any = skops.io.loads(content, trusted=TRUSTED)
        model = Model(tuple(parts["features"]), parts["estimator"], float(parts["threshold"]))
        model.score(Reading(datetime.min, 0.0), None)
    except Exception as error:
        raise ValueError(f"not a water-flow model: {type(error).__name__}: {error}") from error
    return model


def _row(features: tuple[str, ...], reading: Reading, before: Reading | None) -> list[float]:
    return [FEATURES[name](reading, before) for name in features]
