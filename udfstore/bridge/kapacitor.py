"""What Kapacitor asked, and what may be said to it. Pure.

Kapacitor trusts its UDFs: a response that it does not know, an end without a begin, or a begin with a size that it
cannot allocate ends the whole daemon, and an answer that nobody asked for is kept and taken for the answer to a later
question. So each frame is judged before it goes out, and what could harm is dropped:

- kinds other than 1 to 6 and 16 to 18, and envelopes that hold more than one message;
- an answer without a question, but for a keepalive, which only resets a clock;
- an end without a begin; a begin inside a batch, with its points: the end that follows ends the batch that was open;
- a begin whose size is negative or above `BATCH_POINTS`, with all of its batch;
- everything after an error response: to Kapacitor the UDF has ended.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping

from google.protobuf.message import DecodeError

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.udf import BEGIN, END, ERROR, INFO, INIT, KEEPALIVE, POINT, RESTORE, SNAPSHOT, AnyKind
from udfstore.errors import ProtocolError
from udfstore.wire import limits, varint
from udfstore.wire.framing import KEY_BYTES, Frame

DATA = frozenset({BEGIN, POINT, END})
_ANSWERS = {INFO: "info", INIT: "init", SNAPSHOT: "snapshot", RESTORE: "restore"}

BATCH_POINTS = 1 << 24
"""The largest size of a batch that is passed on: Kapacitor allocates 16 bytes for each point when it is announced."""


def may_ask(plain_bytes: int = limits.PLAIN_BYTES) -> Mapping[int, int]:
    """What is taken from Kapacitor: its own messages up to their limits, others to be passed over."""
    return AnyKind(limits.of_kapacitor(plain_bytes))


class _Batch(enum.Enum):
    NONE = enum.auto()
    OPEN = enum.auto()
    DROPPED = enum.auto()
    """One that Kapacitor was not told of: all of it is dropped."""
    DOUBLED = enum.auto()
    """Open, with a second begin inside: the rest is dropped up to the end."""


class Judge:
    """Kapacitor's side of one conversation."""

    def __init__(self) -> None:
        self._asked: Counter[int] = Counter()
        self._batch = _Batch.NONE
        self._ended = False

    def asked(self, kind: int) -> None:
        """A request of Kapacitor's came."""
        self._asked[kind] += 1

    def waits_for(self, kind: int) -> bool:
        """Whether it asked for that and has no answer yet."""
        return self._asked[kind] > 0

    @property
    def ended(self) -> bool:
        """It was told an error: it takes nothing more."""
        return self._ended

    def why_not(self, frame: Frame) -> str:
        """Why a frame must not go to Kapacitor; empty: it goes, now."""
        kind, envelope = frame
        body = _body(envelope)
        if body < 0:
            return "it is not one message in one envelope"
        if self._ended:
            return "the UDF has ended with an error"
        if kind in DATA:
            return self._why_not_data(kind, envelope, body)
        if kind in _ANSWERS:
            if not self._asked[kind]:
                return f"nobody asked for {_ANSWERS[kind]}"
            self._asked[kind] -= 1
        elif kind == ERROR:
            self._ended = True
        elif kind != KEEPALIVE:
            return f"Kapacitor does not know field {kind}"
        return ""

    def _why_not_data(self, kind: int, envelope: bytes | memoryview, body: int) -> str:
        if kind == POINT:
            return "" if self._batch in (_Batch.NONE, _Batch.OPEN) else "its batch was dropped"
        if kind == END:
            before, self._batch = self._batch, _Batch.NONE
            if before is _Batch.DROPPED:
                return "its batch was dropped"
            return "there is no batch to end" if before is _Batch.NONE else ""
        if self._batch in (_Batch.OPEN, _Batch.DOUBLED):
            self._batch = _Batch.DOUBLED
            return "a batch is open already"
        size = _size(bytes(envelope[body:]))
        sane = size is not None and 0 <= size <= BATCH_POINTS
        self._batch = _Batch.OPEN if sane else _Batch.DROPPED
        return "" if sane else f"the batch cannot have {'a size that is not readable' if size is None else size} points"


def maybe_info(envelope: bytes | None) -> Frame | None:
    """The InfoResponse that was remembered, if it still is one."""
    try:
        whole = (
            bool(envelope) and pb.Response.FromString(envelope or b"").HasField("info") and _body(envelope or b"") > 0
        )
    except (DecodeError, UnicodeDecodeError):
        whole = False
    return Frame(INFO, envelope) if envelope and whole else None


def keepalive(time_ns: int) -> Frame:
    """The one answer that nobody needs to have asked for."""
    return _frame(KEEPALIVE, pb.Response(keepalive=pb.KeepaliveResponse(time=time_ns)))


def inited(error: str) -> Frame:
    """The answer that refuses an Init."""
    return _frame(INIT, pb.Response(init=pb.InitResponse(success=False, error=error)))


def restored(error: str = "") -> Frame:
    """The answer to a Restore that the child need not see."""
    return _frame(RESTORE, pb.Response(restore=pb.RestoreResponse(success=not error, error=error)))


def snapshot(content: bytes) -> Frame:
    """The answer to a Snapshot: a reference, a whole state, or nothing."""
    return _frame(SNAPSHOT, pb.Response(snapshot=pb.SnapshotResponse(snapshot=content)))


def failed(error: str) -> Frame:
    """The UDF has ended: Kapacitor fails the task with this text."""
    return _frame(ERROR, pb.Response(error=pb.ErrorResponse(error=error)))


def _frame(kind: int, response: pb.Response) -> Frame:
    return Frame(kind, response.SerializeToString())


def _body(envelope: bytes | memoryview) -> int:
    """Where the message's own bytes begin; -1 if the envelope is not exactly one message."""
    try:
        key = varint.maybe_decode(envelope, 0, KEY_BYTES)
        length = None if key is None else varint.maybe_decode(envelope, key[1])
    except ProtocolError:
        return -1
    return length[1] if length is not None and sum(length) == len(envelope) else -1


def _size(begin: bytes) -> int | None:
    try:
        return int(pb.BeginBatch.FromString(begin).size)
    except (DecodeError, UnicodeDecodeError):
        return None
