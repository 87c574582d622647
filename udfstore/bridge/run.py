"""`udfstore run`: one UDF, driven with line protocol, its answers printed as line protocol."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import structlog
import trio

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge import options
from udfstore.bridge.host import Front, Host, HostSettings, Shelter
from udfstore.bridge.points import Reading, Writing, batches
from udfstore.errors import ProtocolError, TimedOut, UdfstoreError, UsageError
from udfstore.tasks import Node
from udfstore.wire import codec
from udfstore.wire.framing import Frame, FrameReader
from udfstore.wire.limits import DATA_BYTES, of_kapacitor

READ_BYTES = 1 << 16
"""Of points at once: a pipe's whole content."""

LINE_BYTES = DATA_BYTES
"""Longest line: what fits a point."""

ASK_SECONDS = 1.0
"""Between two keepalives: agents that send points only with an answer are never further behind than this."""

_Result = TypeVar("_Result")
_Message = TypeVar("_Message", pb.InfoResponse, pb.InitResponse)

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What `run` drives and how. `host` is the UDF, `node` who it is at the store."""

    host: HostSettings
    node: Node
    options: Sequence[str] = ()
    reading: Reading = field(default_factory=Reading)
    timeout: float = 10.0
    """Seconds without a word from a UDF that was asked, after which it is given up: Kapacitor's default."""


@dataclass(slots=True)
class Counts:
    """What went in and came out."""

    points_in: int = 0
    points_out: int = 0
    bad_lines: int = 0
    unread: bool = False
    """Nobody read what came out any more: the run ended as at the end of the input."""


class _Printer(Front):
    """Prints what the UDF gives back."""

    def __init__(self, out: int, counts: Counts, unread: trio.Event) -> None:
        self._out = out
        self._unread = unread
        self._counts = counts
        self._writing = Writing(lambda what: _log.warning("not printed", what=what))
        self.heard = trio.current_time()
        self.failure = ""
        self.broken = trio.Event()

    async def data(self, frames: Sequence[Frame]) -> None:
        self.heard = trio.current_time()
        self._counts.points_out += sum(frame.kind == pb.Response.POINT_FIELD_NUMBER for frame in frames)
        text = "".join(map(self._writing.lines, frames)).encode()
        if text and not self._counts.unread:
            try:
                await trio.to_thread.run_sync(_write, self._out, text)
            except BrokenPipeError:  # nobody reads any more: it ends as at the end of the input
                self._counts.unread = True
                self._unread.set()

    def alive(self, frame: Frame) -> None:
        self.heard = trio.current_time()

    def failed(self, why: str) -> None:
        self.failure = why
        self.broken.set()


async def run(settings: RunSettings, shelter: Shelter, points: int, out: int, stop: trio.Event) -> Counts:
    """Feed the points that come from the descriptor `points` to the UDF and print its answers to `out`.

    Ends with the input, or when `stop` is set: both take a last snapshot. Raises `UsageError` for options that the UDF
    does not take, and `UdfstoreError` when the UDF ends, hangs or refuses.
    """
    counts = Counts()
    printer = _Printer(out, counts, stop)
    async with Host.open(settings.host, shelter, printer) as host:
        info = await _unless(stop, partial(_start, host, settings))
        if info is None:
            return counts
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_alive, host, printer, settings.timeout)
            nursery.start_soon(_until, printer.broken, nursery.cancel_scope)
            with trio.CancelScope() as feeding:
                nursery.start_soon(_until, stop, feeding)
                await _feed(host, settings.reading, info.wants == pb.BATCH, points, counts)
            while not await host.settle():  # a slow UDF may have much before it; a hung one is given up
                pass
            await host.stop()
            nursery.cancel_scope.cancel()
    if printer.failure:
        raise UdfstoreError(printer.failure)
    return counts


async def _start(host: Host, settings: RunSettings) -> pb.InfoResponse:
    """Start the UDF, and have it joined and restored; what it said of itself."""
    info = _message(await host.info(), pb.InfoResponse)
    chosen = options.read(settings.options, info.options)
    request = pb.InitRequest(options=chosen, taskID=settings.node.task, nodeID=settings.node.name)
    node = replace(settings.node, options=options.digest(request))
    answer = _message(await host.init(_frame(pb.Request(init=request)), node), pb.InitResponse)
    if not answer.success:
        raise UsageError(f"the UDF refused to start: {answer.error or 'it gave no reason'}")
    return info


async def _unless(event: trio.Event, do: Callable[[], Awaitable[_Result]]) -> _Result | None:
    """What `do` gives, or None if the event comes before."""
    result: _Result | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_until, event, nursery.cancel_scope)
        result = await do()
        nursery.cancel_scope.cancel()
    return result


async def _feed(host: Host, reading: Reading, batched: bool, points: int, counts: Counts) -> None:
    """All points of the input. A batch ends with a blank line, or with the input."""
    number = 0
    batch: list[pb.Point] = []
    async for lines in _lines(points):
        ready: list[pb.Request] = []
        for line in lines:
            number += 1
            try:
                point = reading.point(line, time.time_ns)
            except UsageError as error:
                counts.bad_lines += 1
                _log.warning("passed over", line=number, reason=str(error))
                continue
            if point is not None:
                counts.points_in += 1
                if batched:
                    batch.append(point)
                else:
                    ready.append(pb.Request(point=point))
            elif batched and batch and not line.strip():
                ready += batches(batch)
                batch = []
        if ready:
            await host.data([_frame(message) for message in ready])
    if batch:
        await host.data([_frame(message) for message in batches(batch)])


async def _lines(descriptor: int) -> AsyncIterator[list[str]]:
    """Lines as they come, many at once where many are there. Raises `UsageError` for one without end."""
    held = b""
    while data := await trio.to_thread.run_sync(os.read, descriptor, READ_BYTES, abandon_on_cancel=True):
        *whole, held = (held + data).split(b"\n")
        if len(held) > LINE_BYTES:
            raise UsageError("a line of points without end", expected=f"at most {LINE_BYTES} bytes", got=len(held))
        if whole:
            yield [line.decode(errors="replace") for line in whole]
    if held:
        yield [held.decode(errors="replace")]


async def _keep_alive(host: Host, printer: _Printer, limit: float) -> None:
    asked: float | None = None
    while True:
        await trio.sleep(ASK_SECONDS)
        now = trio.current_time()
        if not host.keepalive(_frame(pb.Request(keepalive=pb.KeepaliveRequest(time=time.time_ns())))):
            asked = None  # it starts, restores or loads: `Host` has limits of its own for that
        elif asked is None or printer.heard >= asked:
            asked = now
        elif now - asked > limit:
            raise TimedOut(f"the UDF said nothing for {limit:g} s")


async def _until(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _frame(request: pb.Request) -> Frame:
    """The frame of one of our messages. Raises `TooLarge` or `ProtocolError` for one that no UDF would take."""
    return next(iter(FrameReader(of_kapacitor()).receive(codec.encode(request))))


def _message(frame: Frame, kind: type[_Message]) -> _Message:
    message = codec.decode(pb.Response, frame)
    if not isinstance(message, kind):
        raise ProtocolError("an answer of another kind than was asked for", got=type(message).__name__)
    return message


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
