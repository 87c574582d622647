"""Whether what several clients saw of one tag could have happened one after the other, each thing at one moment.

That is linearizability of a register with compare-and-set, decided by the search of Wing and Gong, with Lowe's memory
of where it has been: take any operation that began before the first of the others ended, see whether the register
could have answered like that, go on with the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

State = tuple[int, object]
"""Version and value; (0, None): never moved."""

NEVER: State = (0, None)


@dataclass(frozen=True, slots=True)
class Read:
    """Somebody asked, and saw this."""

    saw: State
    began: float
    ended: float

    def after(self, state: State) -> State | None:
        """The state after it, where it could have answered like that; else None."""
        return state if state == self.saw else None


@dataclass(frozen=True, slots=True)
class Move:
    """Somebody moved the tag, from a certain version if `expected`. `version` is what it was told; 0: a conflict.

    Whoever never heard what came of it has no version, and never an end: it may have happened at any time since, or may
    never happen.
    """

    value: object
    expected: int | None
    version: int | None
    began: float
    ended: float = math.inf

    def after(self, state: State) -> State | None:
        """As for `Read`."""
        fits = self.expected in (None, state[0])
        if self.version == 0:
            return None if fits else state
        if self.version not in (None, state[0] + 1) or not fits:
            return None
        return state[0] + 1, self.value


def linearizable(history: Sequence[Read | Move]) -> bool:
    """Whether there is an order."""
    operations = sorted(history, key=lambda operation: operation.began)
    sure = sum(1 << number for number, operation in enumerate(operations) if operation.ended < math.inf)
    todo: list[tuple[int, State]] = [(0, NEVER)]
    seen = set(todo)
    while todo:
        done, state = todo.pop()
        if done & sure == sure:
            return True
        first = math.inf  # end of those that are left
        for number, operation in enumerate(operations):
            if done >> number & 1:
                continue
            if operation.began > first:
                break
            first = min(first, operation.ended)
        for number, operation in enumerate(operations):
            if operation.began > first:
                break
            after = None if done >> number & 1 else operation.after(state)
            if after is not None and (done | 1 << number, after) not in seen:
                seen.add((done | 1 << number, after))
                todo.append((done | 1 << number, after))
    return False
