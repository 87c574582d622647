"""What a UDF that crashed has to be told again. Pure.

The data frames sent since the last answered snapshot are kept, and what came back since is counted. A new child is
given the state of that snapshot and those frames, and as many of its answers are dropped as were passed on before. For
a UDF that is deterministic and answers in order the result is that of an undisturbed run; for any other each frame is
seen at least once.

A snapshot is best asked for between batches. In the middle of one, the frames are kept from its Begin on, and what was
passed on of the answer to it counts as passed on since.

Bounded: past the bound the oldest frames go, batches whole, and are a gap until the next answered snapshot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.message import DecodeError

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.udf import BEGIN, END, POINT
from udfstore.wire.framing import Frame

FRAME_BYTES = 150
"""What a frame costs in memory beside its envelope: the objects that hold it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames that a crashed child was sent and that cannot be sent again, and the times of the first and last point.

    Times are nanoseconds since 1970, None where no point is among them.
    """

    frames: int
    first_ns: int | None
    last_ns: int | None


class Mark(NamedTuple):
    """Where in the data a snapshot stands: before the frame of that number, in the batch that began with that one."""

    at: int = 0
    batch: int | None = None


class Replay:
    """Of one node. `most` bytes of frames are kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._log: deque[tuple[Frame, int]] = deque()
        """Frames since the base, each with how much had come back when it was sent."""
        self._begins_at = 0
        """The number of the first of them, counted over the whole run."""
        self._size = 0
        self._ends = 0
        self._batch: int | None = None
        """The number of the open batch's Begin."""
        self._base = 0
        """The number of the first frame that the state of the base does not hold."""
        self._lost: tuple[int, Frame, Frame] | None = None
        self._passed = 0
        """What was passed on since the base."""
        self._answer_batch: int | None = None
        """How much of it had been when the open batch of the answers began."""
        self._drop = 0

    @property
    def in_batch(self) -> bool:
        """Whether a batch has begun and not ended."""
        return self._batch is not None

    @property
    def half_full(self) -> bool:
        """Whether it is time for a snapshot."""
        return 2 * self._size > self._most

    @property
    def begun(self) -> bool:
        """Whether any frame was ever sent."""
        return bool(self._begins_at or self._log)

    # --- what happens ---

    def sent(self, frames: Sequence[Frame]) -> None:
        """These go to the child now."""
        log, passed = self._log, self._passed
        for frame in frames:
            if frame.kind != POINT:
                self._turn(frame.kind)
            log.append((frame, passed))
            self._size += len(frame.envelope) + FRAME_BYTES
        while self._size > self._most and self._forget_oldest():
            pass

    def came(self, frames: list[Frame]) -> list[Frame]:
        """These came from the child; those to pass on."""
        if self._drop:
            dropped = min(self._drop, len(frames))
            self._drop -= dropped
            frames = frames[dropped:]
        for number, frame in enumerate(frames):
            if frame.kind != POINT:
                self._answer_batch = self._passed + number if frame.kind == BEGIN else None
        self._passed += len(frames)
        return frames

    @property
    def mark(self) -> Mark:
        """Where a snapshot stands that the child is asked for now: behind all that was sent."""
        return Mark(self._begins_at + len(self._log), self._batch)

    def answered(self, mark: Mark) -> bool:
        """The snapshot of that mark came: it is the base from now on. False if there is a newer one."""
        if mark.at < self._base:
            return False
        self._rebase(mark)
        return True

    def based(self) -> None:
        """The child was given another state now: nothing from before counts any more."""
        self._rebase(self.mark)

    def again(self) -> tuple[list[Frame], Gap | None]:
        """There is a new child with the state of the base: what to send to it, and what cannot be."""
        self._drop = self._passed - self._log[0][1] if self._lost and self._log else self._passed
        return [frame for frame, _ in self._log], self._gap()

    def stays(self) -> None:
        """The new child came to nothing and the one before goes on: what that one says is new."""
        self._drop = 0

    # --- rules ---

    def _turn(self, kind: int) -> None:
        if kind == BEGIN:
            self._batch = self._begins_at + len(self._log)
        elif kind == END:
            self._batch = None
            self._ends += 1

    def _rebase(self, mark: Mark) -> None:
        self._base = mark.at
        in_batch = mark.batch is not None
        keep_from = mark.at if mark.batch is None else mark.batch
        if keep_from > self._begins_at or (not in_batch and keep_from == self._begins_at):
            self._lost = None  # an open batch that lost points stays one that did
        while self._begins_at < keep_from and self._log:
            self._pop()
        half = self._passed - self._answer_batch if in_batch and self._answer_batch is not None else 0
        before = self._passed - half
        self._log = deque((frame, max(0, passed - before)) for frame, passed in self._log)
        self._answer_batch = None if self._answer_batch is None else max(0, self._answer_batch - before)
        self._passed, self._drop = half, 0

    def _pop(self) -> Frame:
        frame, _ = self._log.popleft()
        self._begins_at += 1
        self._size -= len(frame.envelope) + FRAME_BYTES
        self._ends -= frame.kind == END
        return frame

    def _forget_oldest(self) -> bool:
        """Let go of the oldest point or batch. False if only the Begin of an open batch is left."""
        first, passed = self._log[0]
        if first.kind != BEGIN:
            self._lose(self._pop())
        elif self._ends:
            while self._lose(self._pop()).kind != END:
                pass
        elif len(self._log) > 1:
            self._log.popleft()
            self._size -= len(self._log[0][0].envelope) + FRAME_BYTES
            self._lose(self._log[0][0])
            self._log[0] = (first, passed)
            self._begins_at += 1
            self._batch = self._begins_at
        else:
            return False
        return bool(self._log)

    def _lose(self, frame: Frame) -> Frame:
        count, first, _ = self._lost or (0, frame, frame)
        if first.kind != POINT:
            first = frame
        self._lost = (count + 1, first, frame if frame.kind == POINT or self._lost is None else self._lost[2])
        return frame

    def _gap(self) -> Gap | None:
        if self._lost is None:
            return None
        count, first, last = self._lost
        return Gap(count, _time_of(first), _time_of(last))


def _time_of(frame: Frame) -> int | None:
    """The time of a point."""
    try:
        return pb.Request.FromString(bytes(frame.envelope)).point.time if frame.kind == POINT else None
    except DecodeError:
        return None
