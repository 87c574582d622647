"""The pace of work that nobody waits for. Pure: told what time it is."""

from __future__ import annotations


class Pace:
    """Keeps work below a rate. Time in which nothing was done is not made up for."""

    def __init__(self, rate: float) -> None:
        """`rate` in units a second, more than 0."""
        self._rate = rate
        self._free = 0.0

    def delay(self, amount: float, now: float) -> float:
        """How many seconds to wait, now that so much more was done."""
        self._free = max(self._free, now) + amount / self._rate
        return self._free - now
