"""Frames: a length as a varint, then that many bytes of one envelope. The length is judged before it is believed.

Theory of operation. The first bytes of a frame tell its length and, from the envelope's first key, its kind. Both are
judged against the link's limits before memory is taken for the rest. A frame that lies whole in what was received is
cut out of it. A larger one gets memory of its own, and whoever reads may put the rest of it there himself (`space`),
so that long content is copied by the kernel alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from udfstore.errors import ProtocolError, TooLarge
from udfstore.wire import varint

KEY_BYTES = 3
"""Most bytes of an envelope's key: three hold field numbers up to 262,143."""

_LENGTH_DELIMITED = 2
_HEAD_BYTES = varint.LENGTH_BYTES + KEY_BYTES


class Frame(NamedTuple):
    """One whole frame: the field number of its message, and the envelope's bytes without the length prefix."""

    kind: int
    envelope: bytes | memoryview


class FrameTooLarge(ProtocolError, TooLarge):
    """A frame is longer than its kind may be on this link."""


Memory = Callable[[int], memoryview]
"""Gives so many writable bytes."""


def fresh(size: int) -> memoryview:
    """Memory that nobody had before."""
    return memoryview(bytearray(size))


class FrameReader:
    """Cuts a stream of bytes into frames.

    `limits` maps each kind (field number) that the link may carry to the most bytes of its envelope. `memory` is
    asked for that of a frame that comes in parts; it is then whoever's who takes the frame.
    """

    def __init__(self, limits: Mapping[int, int], memory: Memory = fresh) -> None:
        self.limits = limits
        self._memory = memory
        self._head = bytearray()
        self._body = fresh(0)
        self._filled = 0
        self._kind = 0
        self.count = 0
        """Whole frames so far."""

    @property
    def half_read(self) -> int:
        """The number of the frame that has begun and not ended, counted from 1; 0 between frames."""
        return self.count + 1 if self._head or self._body else 0

    @property
    def space(self) -> memoryview:
        """Where the next bytes of the stream belong: the rest of a long frame that has begun; else empty."""
        return self._body[self._filled :]

    def receive(self, data: bytes | bytearray | memoryview, placed: int = 0) -> Iterator[Frame]:
        """The frames that `data` completes, in order. The caller takes them all before it receives again.

        `placed` bytes came before `data`, and were put into `space` already. Raises `ProtocolError` at the first byte
        that cannot be right; the stream is of no use after that.
        """
        view = memoryview(data)
        if placed:
            yield from self._fill(placed)
        while len(view):
            if self._body:
                taken = min(len(view), len(self._body) - self._filled)
                self._body[self._filled : self._filled + taken] = view[:taken]
                view = view[taken:]
                yield from self._fill(taken)
                continue
            if self._head:
                held = len(self._head)
                self._head += view[: _HEAD_BYTES - held]
                found = self._maybe_judge(self._head)
                if found is None:
                    return  # fewer than _HEAD_BYTES came, all of them are kept
                length, start = found
                envelope = bytes(self._head[start : start + length])
                self._head.clear()
                view = view[start + len(envelope) - held :]
            else:
                found = self._maybe_judge(view)
                if found is None:
                    self._head += view
                    return
                length, start = found
                envelope = bytes(view[start : start + length])
                view = view[start + len(envelope) :]
            if len(envelope) == length:
                self.count += 1
                yield Frame(self._kind, envelope)
            else:
                self._body = self._memory(length)
                self._body[: len(envelope)] = envelope
                self._filled = len(envelope)

    def _fill(self, size: int) -> Iterator[Frame]:
        """So many bytes more of the body are in their place."""
        self._filled += size
        if self._filled == len(self._body):
            body, self._body = self._body, fresh(0)
            self.count += 1
            yield Frame(self._kind, body)

    def end(self) -> None:
        """The stream has ended. Raises `ProtocolError` when that cut a frame in two."""
        if self._body:
            raise ProtocolError(
                "the stream ended inside a frame", expected=f"{len(self._body)} bytes", got=self._filled
            )
        if self._head:
            raise ProtocolError("the stream ended inside the head of a frame", got=f"{len(self._head)} bytes of it")

    def _maybe_judge(self, data: bytearray | memoryview) -> tuple[int, int] | None:
        """Length of the envelope and where it starts, once enough has come to allow it."""
        prefix = varint.maybe_decode(data, 0)
        if prefix is None:
            return None
        length, start = prefix
        if length == 0:
            raise ProtocolError("an empty envelope", expected="one message", got="length 0")
        if length > max(self.limits.values()):
            raise FrameTooLarge(
                "a frame over every limit", expected=f"at most {max(self.limits.values())} bytes", got=length
            )
        key = varint.maybe_decode(data[: start + length], start, min(KEY_BYTES, length))
        if key is None:
            return None
        kind, wire_type = key[0] >> 3, key[0] & 7
        if wire_type != _LENGTH_DELIMITED or kind not in self.limits:
            raise ProtocolError(
                "an envelope that does not begin with a message this side takes",
                expected=f"one of the fields {sorted(self.limits)}",
                got=f"field {kind} of wire type {wire_type}",
            )
        if length > self.limits[kind]:
            raise FrameTooLarge(
                f"a frame of field {kind} over its limit", expected=f"at most {self.limits[kind]} bytes", got=length
            )
        self._kind = kind
        return length, start


def frame(envelope: bytes) -> bytes:
    """An envelope with its length before it."""
    return varint.encode(len(envelope)) + envelope
