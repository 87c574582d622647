"""What is measured at the fronts: calls, their times and outcomes, content, connections; and what became of tasks.

Plain numbers, without a form. What a store measures of itself is in `Store.meters`; all the rest that operators watch
is read when they look. To count costs well under a microsecond.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache

from udfstore.errors import UdfstoreError
from udfstore.store.meters import Histogram

OK = "ok"
"""The outcome of a call that ended well; any other is the word of a `Code`."""

CANCELLED = "cancelled"

ENDLESS = frozenset({"watch", "await-followers", "backup", "check", "events"})
"""Kinds of calls that last as long as their caller wants: how long says nothing."""


@dataclass(slots=True)
class Tally:
    """The calls of one kind that came through one front."""

    open: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    """How many ended in which way."""
    seconds: Histogram = field(default_factory=Histogram)

    def copy(self) -> Tally:
        """What it is now, for another thread."""
        return Tally(self.open, self.codes.copy(), self.seconds.copy())


@dataclass(slots=True)
class Front:
    """What goes in and out at one door: `socket` or `http`."""

    kinds: dict[str, Tally] = field(default_factory=dict)
    received: int = 0
    """Bytes of content."""
    sent: int = 0
    """Bytes of content."""
    open: int = 0
    """Connections."""
    connected: int = 0
    refused: int = 0
    buffered: int = 0
    """Bytes that were received and not yet written, or wait to be sent."""


class Call:
    """A call that is under way. `code` is how it ends."""

    __slots__ = ("_since", "_tally", "code")

    def __init__(self, tally: Tally, since: float) -> None:
        self.code = OK
        self._tally = tally
        self._since = since


class Meters:
    """All that one server measures at its fronts. Filled by the thread of the event loop alone, read by any."""

    def __init__(self) -> None:
        self._fronts: dict[str, Front] = {"socket": Front(), "http": Front()}
        self._conversations: set[Conversation] = set()
        self._restores: Counter[str] = Counter(ok=0, failed=0, fresh=0)
        self._rounds: Counter[str] = Counter(good=0, void=0)

    # --- calls ---

    def begin(self, front: str, kind: str) -> Call:
        """A call begins; say `ended` when it does. `kind` is one of a fixed set of words: see `kind_of`."""
        kinds = self._fronts[front].kinds
        tally = kinds.get(kind)
        if tally is None:
            tally = kinds[kind] = Tally()
        tally.open += 1
        return Call(tally, 0.0 if kind in ENDLESS else time.perf_counter())

    def ended(self, call: Call, code: str = OK) -> None:
        """A call has ended: `code` is "ok" or the word of a `Code`. Once for each call."""
        tally = call._tally
        tally.open -= 1
        tally.codes[code] += 1
        if call._since:
            tally.seconds.observe(time.perf_counter() - call._since)

    @contextmanager
    def request(self, front: str, kind: str) -> Iterator[Call]:
        """A call from its begin to its end, which its `code` tells unless an error does."""
        call = self.begin(front, kind)
        code = CANCELLED
        try:
            yield call
            code = call.code
        except UdfstoreError as error:
            code = error.code.value
            raise
        except Exception:
            code = "internal"
            raise
        finally:
            self.ended(call, code)

    # --- content and connections ---

    def received(self, front: str, size: int) -> None:
        """Bytes of content came."""
        self._fronts[front].received += size

    def sent(self, front: str, size: int) -> None:
        """Bytes of content were handed over to be sent."""
        self._fronts[front].sent += size

    def refused(self, front: str) -> None:
        """A connection was turned away."""
        self._fronts[front].refused += 1

    def conversation(self, front: str, buffered: Callable[[], int] = int) -> Conversation:
        """The meters of one connection. `buffered` gives the bytes it holds; it is called by any thread."""
        return Conversation(self, front, buffered)

    # --- tasks ---

    def restored(self, outcome: str) -> None:
        """A node was restored (`ok`), could not be (`failed`), or had nothing to be restored from (`fresh`)."""
        self._restores[outcome] += 1

    def round_ended(self, *, good: bool) -> None:
        """A round of a task has ended."""
        self._rounds["good" if good else "void"] += 1

    # --- reading ---

    def fronts(self) -> dict[str, Front]:
        """Every front as it is now."""
        conversations = Counter[str]()
        buffered = Counter[str]()
        for conversation in list(self._conversations):
            conversations[conversation.front] += 1
            buffered[conversation.front] += conversation.buffered()
        return {
            name: replace(
                front,
                kinds={kind: tally.copy() for kind, tally in list(front.kinds.items())},
                open=conversations[name],
                buffered=buffered[name],
            )
            for name, front in self._fronts.items()
        }

    def restores(self) -> dict[str, int]:
        """How often nodes were restored, by outcome."""
        return dict(self._restores)

    def rounds(self) -> dict[str, int]:
        """How rounds ended, `good` or `void`."""
        return dict(self._rounds)


class Conversation:
    """One connection and its calls by number. A context manager: what is open at its end was cancelled."""

    def __init__(self, meters: Meters, front: str, buffered: Callable[[], int]) -> None:
        self.front = front
        self.buffered = buffered
        self._meters = meters
        self._calls: dict[int, Call] = {}

    def __enter__(self) -> Conversation:
        self._meters._conversations.add(self)
        self._meters._fronts[self.front].connected += 1
        return self

    def __exit__(self, *_: object) -> None:
        for number in list(self._calls):
            self.ended(number, CANCELLED)
        self._meters._conversations.discard(self)

    def begin(self, number: int, call: type) -> None:
        """A call of that type begins."""
        self._calls[number] = self._meters.begin(self.front, kind_of(call))

    def ended(self, number: int, code: str = OK) -> None:
        """A call has ended, if it had not before."""
        call = self._calls.pop(number, None)
        if call is not None:
            self._meters.ended(call, code)


@cache
def kind_of(call: type) -> str:
    """The word for a type of calls: `GetTag` is get-tag."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", call.__name__).lower()
