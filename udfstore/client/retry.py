"""How long and how often a lost connection is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable

from udfstore.errors import UdfstoreError

PATIENCE_SECONDS = 30.0
"""A server that is restarted or upgraded is back well before."""

FIRST_SECONDS = 0.05
MOST_SECONDS = 2.0


def never() -> bool:
    """Nobody calls it off."""
    return False


def nothing() -> None:
    """Nothing to do."""


def usual() -> float:
    """The usual patience."""
    return PATIENCE_SECONDS


class Retry:
    """Waits between tries: doubling from `FIRST_SECONDS` to `MOST_SECONDS`, shortened by up to half at random so that a
    thousand clients do not come back at once. The clock starts at the first failure, and anew at one that ends a
    connection of `MOST_SECONDS` or more; a server that keeps dying sooner uses the patience up."""

    def __init__(self, clock: Callable[[], float], patience: Callable[[], float] = usual) -> None:
        self._clock = clock
        self._patience = patience
        self._deadline: float | None = None
        self._next = FIRST_SECONDS
        self._linked: float | None = None

    def linked(self) -> None:
        """There is a connection to work with."""
        self._linked = self._clock()

    def delay(self, error: UdfstoreError) -> float:
        """Seconds to wait before the next try. Raises `error` when patience is at its end."""
        now = self._clock()
        if self._linked is not None and now - self._linked >= MOST_SECONDS:
            self._deadline, self._next = None, FIRST_SECONDS
        self._linked = None
        if self._deadline is None:
            self._deadline = now + self._patience()
        if now >= self._deadline:
            raise error
        delay = min(self._next * random.uniform(0.5, 1.0), self._deadline - now)
        self._next = min(2 * self._next, MOST_SECONDS)
        return delay
