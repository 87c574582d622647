"""What waits for the handler: requests and data in order, put by the reader, taken by the handler's thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from google.protobuf.message import Message

from udfstore.wire.framing import Frame

BOUND_BYTES = 16 * 1024 * 1024
"""Of a host that is not udfstore: past it the reader stops, and keepalives wait behind the data. A handler that loads a
model for a minute is reached by 1,000 points/s of 250 bytes before that."""


class Request(NamedTuple):
    """A request that the reader has decoded; data stays a `Frame` until its turn has come."""

    name: str
    message: Message


class Inbox:
    """A queue with a bound in bytes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Frame | Request] = deque()
        self._bytes = 0
        self._over = False
        self._broken: Exception | None = None
        self.bounded = True
        """Whether `put` waits for room; not where the host keeps to a window."""

    def put(self, item: Frame | Request) -> bool:
        """Put something in line, once there is room. False when nobody will take it."""
        with self._changed:
            while self.bounded and self._bytes > BOUND_BYTES and not self._over:
                self._changed.wait()
            if self._over:
                return False
            self._waiting.append(item)
            self._bytes += size(item)
            self._changed.notify_all()
            return True

    @property
    def empty(self) -> bool:
        """Whether `take` would wait."""
        return not self._waiting

    def take(self) -> Frame | Request | None:
        """The next in line; None when nothing will come. Behind the rest it raises what broke the conversation."""
        with self._changed:
            while not self._waiting and not self._over:
                self._changed.wait()
            if not self._waiting:
                if self._broken is not None:
                    raise self._broken
                return None
            item = self._waiting.popleft()
            self._bytes -= size(item)
            self._changed.notify_all()
            return item

    def end(self, broken: Exception | None = None) -> None:
        """Nothing more comes, because it is `broken` or because all is said. What waits is still taken."""
        with self._changed:
            self._over = True
            self._broken = broken
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody takes any more."""
        with self._changed:
            self._over = True
            self._waiting.clear()
            self._changed.notify_all()


def size(item: Frame | Request) -> int:
    """Bytes of data that wait; requests are few."""
    return len(item.envelope) if isinstance(item, Frame) else 0
