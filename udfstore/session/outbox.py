"""Frames on their way out, in a fair order: small ones first, then one chunk of each open call in turn.

A bound is kept by whoever fills it: nothing more is taken from a peer while `small_bytes` is high, and chunks are put
only while `waiting(call)` is low. Frames of one call never overtake each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from udfstore.session.tokens import Token

Buffers = tuple[bytes | memoryview, ...]
"""The bytes of one frame in parts, to be sent in this order."""

Send = Callable[[list[memoryview], Token | None], int]
"""Sends buffers, and the descriptor that belongs to their first byte; tells how many bytes went."""

TAKE_BYTES = 64 * 1024
"""What is sent at once, unless a single chunk is longer: enough to make one system call worth it, and a small save or
load goes in one; few enough that nothing is held up."""

TAKE_FRAMES = 512
"""Likewise: half of the parts that one system call takes (IOV_MAX, 1024 on Linux and macOS)."""


class Outbox:
    """What one side of a conversation still has to send."""

    def __init__(self, frames: int = TAKE_FRAMES) -> None:
        """`frames`: how many are sent at once at most."""
        self._frames = frames
        self._small: deque[tuple[bytes, Token | None]] = deque()
        self._lanes: dict[int, deque[Buffers]] = {}
        self._sending: list[memoryview] = []
        self._token: Token | None = None
        """What goes with the first byte of `_sending`."""
        self.tokens = 0
        """Descriptors that wait."""
        self.small_bytes = 0
        """Of the small frames that wait."""
        self.bytes = 0
        """Of all that waits."""

    def __bool__(self) -> bool:
        return bool(self._sending or self._small or self._lanes)

    def put(self, frame: bytes, call: int = 0) -> None:
        """A small frame. One of a call that has chunks waiting goes behind them."""
        self.bytes += len(frame)
        lane = self._lanes.get(call)
        if lane is None:
            self._small.append((frame, None))
            self.small_bytes += len(frame)
        else:
            lane.append((frame,))

    def put_with(self, frame: bytes, token: Token) -> None:
        """A small frame that brings a descriptor, which is closed once it is sent, or by `close`."""
        self.bytes += len(frame)
        self._small.append((frame, token))
        self.small_bytes += len(frame)
        self.tokens += 1

    def put_chunk(self, call: int, head: bytes, data: bytes | memoryview) -> None:
        """A chunk of a call; `data` is kept, not copied."""
        self.bytes += len(head) + len(data)
        self._lanes.setdefault(call, deque()).append((head, data))

    def waiting(self, call: int) -> int:
        """How many frames of the call wait behind a chunk, chunks included."""
        return len(self._lanes.get(call, ()))

    def drop(self, call: int) -> None:
        """Forget what the call has waiting."""
        self.bytes -= sum(len(part) for frame in self._lanes.pop(call, ()) for part in frame)

    def close(self) -> None:
        """Nothing is sent any more: close the descriptors that wait."""
        self._close_token()
        while self._small:
            _, self._token = self._small.popleft()
            self._close_token()

    def flush(self, send: Send) -> bool:
        """Send until nothing waits. True if any bytes went.

        What `send` raises (a socket that would block) passes through; the next flush goes on where this one stopped.
        """
        sent_any = False
        while self:
            if not self._sending:
                self._sending = self._take()
            sent = send(self._sending, self._token)
            self._close_token()
            sent_any = sent_any or sent > 0
            self.bytes -= sent
            while self._sending and sent >= len(self._sending[0]):
                sent -= len(self._sending.pop(0))
            if sent:
                self._sending[0] = self._sending[0][sent:]
        return sent_any

    def _close_token(self) -> None:
        token, self._token = self._token, None
        if token is not None:
            token.close()
            self.tokens -= 1

    def _take(self) -> list[memoryview]:
        """The next buffers to send: a frame with a descriptor, or small frames and then chunks, up to a bound."""
        taken: list[bytes | memoryview] = []
        size = 0
        while self._small and len(taken) < self._frames and size < TAKE_BYTES:
            if taken and self._small[0][1] is not None:
                break
            frame, self._token = self._small.popleft()
            taken.append(frame)
            size += len(frame)
            if self._token is not None:
                break
        self.small_bytes -= size
        while self._lanes and not self._small and len(taken) < self._frames and self._token is None:
            call, lane = next(iter(self._lanes.items()))
            size += sum(map(len, lane[0]))
            if taken and size > TAKE_BYTES:
                break
            taken += lane.popleft()
            while lane and len(lane[0]) == 1:  # a result may follow its content at once
                taken += lane.popleft()
            del self._lanes[call]  # and to the end of the line, if it has more
            if lane:
                self._lanes[call] = lane
        return [memoryview(buffer) for buffer in taken]
