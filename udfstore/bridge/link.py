"""Kapacitor's two streams as frames: what it says, and a way out for what it is told.

On stdin and stdout the streams are private: descriptor 1 points at stderr before anything else runs, so that a library
that prints cannot put a word between two frames.
"""

from __future__ import annotations

import os
import select
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from udfstore.bridge.kapacitor import may_ask
from udfstore.errors import UsageError
from udfstore.wire import varint
from udfstore.wire.framing import Frame, FrameReader

RECEIVE_BYTES = 64 * 1024
"""Of one read: what a pipe holds."""

HELD_BYTES = 256 * 1024
"""As much waits to be written before whoever has more is made to wait."""


@dataclass(frozen=True, slots=True)
class Streams:
    """Both ways of one connection.

    `at_once` writes as much as goes without waiting, and tells how much. `unread`: nobody will read what is written;
    the other side is gone, not silent. `ended`: the other side says no more, even if not all that it said was read.
    """

    source: trio.abc.ReceiveStream
    sink: trio.abc.SendStream
    at_once: Callable[[bytearray], int]
    unread: Callable[[], bool]
    ended: Callable[[], bool]

    @classmethod
    def of_process(cls) -> Streams:
        """Stdin and stdout of this process, taken for good. Raises `UsageError` when they are no pipes or sockets."""
        taken, given = os.dup(0), os.dup(1)
        os.dup2(2, 1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        if os.isatty(taken) or os.isatty(given):
            raise UsageError("a bridge speaks with Kapacitor on stdin and stdout; for people there is: udfstore run")
        source, sink = trio.lowlevel.FdStream(taken), trio.lowlevel.FdStream(given)
        return cls(source, sink, partial(_at_once, given), partial(_unread, given), partial(_ended, taken))

    @classmethod
    def of_socket(cls, stream: trio.SocketStream) -> Streams:
        """A connection that Kapacitor made."""
        descriptor = stream.socket.fileno()
        looks = (partial(look, descriptor) for look in (_unread, _ended))
        return cls(stream, stream, partial(_at_once, descriptor), *looks)

    async def aclose(self) -> None:
        """Close both."""
        await self.sink.aclose()
        await self.source.aclose()


def _at_once(descriptor: int, data: bytearray) -> int:
    try:
        return os.write(descriptor, data)
    except OSError:  # full, or nobody is there: whoever waits for room finds out which
        return 0


def _unread(descriptor: int) -> bool:
    return _told(descriptor, 0)  # POLLERR and POLLHUP are told unasked (poll(2))


def _ended(descriptor: int) -> bool:
    return _told(descriptor, select.POLLRDHUP)


def _told(descriptor: int, events: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, events)
    return bool(poll.poll(0))


async def frames(source: trio.abc.ReceiveStream, plain_bytes: int) -> AsyncGenerator[list[Frame]]:
    """What Kapacitor says, as many frames at a time as one read brought.

    Raises `ProtocolError` for bytes that are no frames. A frame that the end cuts off is nobody's: stop is an abort.
    """
    reader = FrameReader(may_ask(plain_bytes))
    while data := await source.receive_some(RECEIVE_BYTES):
        if found := list(reader.receive(data)):
            yield found


class Out:
    """What Kapacitor is told. Frames that are put down go at once, many with one call, or as soon as it reads."""

    def __init__(self, streams: Streams) -> None:
        self._sink = streams.sink
        self._at_once = streams.at_once
        self._writing = False
        self._held = bytearray()
        self._change = trio.lowlevel.ParkingLot()
        self._done = False

    def put(self, frames: Iterable[Frame]) -> None:
        """Put frames down, in order."""
        for frame in frames:
            self._held += varint.encode(len(frame.envelope))
            self._held += frame.envelope
        if self._held and not self._writing:
            del self._held[: self._at_once(self._held)]
        if self._held:
            self._change.unpark_all()

    async def room(self) -> None:
        """Wait until there is room for more."""
        while len(self._held) > HELD_BYTES and not self._done:
            await self._change.park()

    async def write(self) -> None:
        """Write what is put down until `finish`; once. Raises `trio.BrokenResourceError` when nobody reads it."""
        try:
            while True:
                self._writing = True
                while self._held:
                    taken, self._held = self._held, bytearray()
                    await self._sink.send_all(taken)
                    self._change.unpark_all()
                self._writing = False
                if self._done:
                    return
                await self._change.park()
        finally:
            self.finish()

    def finish(self) -> None:
        """Nothing follows: `write` returns when all is written."""
        self._done = True
        self._change.unpark_all()


def runs(frames: Sequence[Frame], kinds: frozenset[int]) -> Iterable[Sequence[Frame]]:
    """The frames in order: those of `kinds` that follow one another together, all others alone."""
    start = 0
    for end, frame in enumerate(frames):
        if frame.kind not in kinds:
            if start < end:
                yield frames[start:end]
            yield frames[end : end + 1]
            start = end + 1
    if start < len(frames):
        yield frames[start:]
