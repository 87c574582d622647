"""A UDF's own conversation with the server, on the pipe that its points come through.

On its hello it gets a connection of its own; from there the frames of udfstore's own go both ways as they are. Four
things are ours: the hello is told where the UDF works and that it is no node (its host is), both sides are told that a
pipe passes no descriptors, the window for data frames (`Credit` of call 0) is for us, and a server that is away is a
fault of call 0, after which the UDF says hello again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import structlog
import trio

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.child import Child
from udfstore.bridge.udf import CREDIT, HELLO
from udfstore.client.link import connect
from udfstore.errors import Closing, NoServer, ProtocolError, UdfstoreError
from udfstore.session.host import refusal
from udfstore.tasks import NOWHERE, Place
from udfstore.wire import codec, limits, varint
from udfstore.wire.framing import Frame, FrameReader

_WELCOME, _CALL, _RESULT, _FAULT = 32, 34, 37, 38
_CONTENT = ("load", "save")
_READ_BYTES = 256 * 1024


class Window:
    """How many bytes of data frames a UDF can take: no bound until it granted some."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._most = 0
        self._over = False
        self._granted = trio.Event()

    def grant(self, amount: int) -> None:
        """The UDF can take so much more."""
        self._left = amount + (self._left or 0)
        self._most = max(self._most, self._left)
        self._granted.set()
        self._granted = trio.Event()

    def part(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """As many of these as may go now. A frame larger than any window goes when half of the largest is free."""
        if self._left is None or self._over:
            return frames
        for number, frame in enumerate(frames):
            size = len(frame.envelope) + len(varint.encode(len(frame.envelope)))
            if size > self._left and not (size > self._most and 2 * self._left >= self._most > 0):
                return frames[:number]
            self._left -= size
        return frames

    async def more(self) -> None:
        """Return when more was granted, or the UDF is gone."""
        if not self._over:
            await self._granted.wait()

    def over(self) -> None:
        """The UDF is gone: nobody needs to wait."""
        self._over = True
        self._granted.set()


class Passthrough:
    """One UDF's way to the server. `place` says where it works, once that is known."""

    def __init__(
        self,
        child: Child,
        sockets: Sequence[Path],
        place: Callable[[], Place],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self.window = Window()
        self._child, self._sockets, self._place, self._log = child, sockets, place, log
        self._stream: trio.SocketStream | None = None
        self._held: pb.Hello | None = None
        self._greeted = False
        self._plain = False
        self._moving: set[int] = set()
        self._sending = trio.Lock()

    @property
    def moving(self) -> bool:
        """Whether the UDF moves content at present: it may be too busy to answer."""
        return bool(self._moving)

    @property
    def speaks(self) -> bool:
        """Whether the UDF said hello and can save and load now; else states travel inside the messages."""
        return self._stream is not None and not self._plain

    async def take(self, frame: Frame, nursery: trio.Nursery) -> None:
        """A frame of udfstore's own, from the UDF."""
        if frame.kind == HELLO:
            await self._greet(frame, nursery)
            return
        if frame.kind == CREDIT:
            message = codec.decode(pb.Response, frame)
            assert isinstance(message, pb.Credit)
            if not message.call:
                self.window.grant(message.amount)
                return
        if frame.kind == _CALL:
            call = codec.decode(pb.Response, frame)
            assert isinstance(call, pb.Call)
            if call.WhichOneof("op") in _CONTENT:
                self._moving.add(call.call)
        await self.tell_place()
        await self._send(frame)

    async def tell_place(self) -> None:
        """Let the hello go to the server: where the UDF works is known, or it will not wait any longer."""
        hello, self._held = self._held, None
        if hello is not None:
            place = self._place()
            hello.ClearField("node")
            hello.ClearField("descriptors")
            hello.place.CopyFrom(pb.Place(task=place.task, node=place.node))
            if place == NOWHERE:
                hello.ClearField("place")
            await self._send(Frame(HELLO, pb.Response(hello=hello).SerializeToString()))

    async def _greet(self, frame: Frame, nursery: trio.Nursery) -> None:
        hello = codec.decode(pb.Response, frame)
        assert isinstance(hello, pb.Hello)
        self._greeted, self._plain = True, hello.node.plain
        self.close()
        try:
            link = connect(self._sockets)
        except UdfstoreError as error:
            self._refuse(error)
            return
        self._stream, self._held = trio.SocketStream(trio.socket.from_stdlib_socket(link)), hello
        nursery.start_soon(self._listen, self._stream)
        if self._place() != NOWHERE:
            await self.tell_place()

    async def _send(self, frame: Frame) -> None:
        if self._stream is None:
            if frame.kind == _CALL and self._greeted:
                self._moving.clear()
                self._refuse(Closing("there is no connection to the server; say hello again"))
            return
        async with self._sending:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # whoever listens hears of it
                await self._stream.send_all(varint.encode(len(frame.envelope)) + frame.envelope)

    async def _listen(self, stream: trio.SocketStream) -> None:
        """Pass on what the server says to the UDF, to the end."""
        reader = FrameReader(limits.of_hosts())
        why: UdfstoreError = Closing("the connection to the server was lost; say hello again")
        try:
            while data := await stream.receive_some(_READ_BYTES):
                frames = list(reader.receive(data))
                for frame in frames:
                    self._note(frame)
                self._child.put([_without_descriptors(frame) for frame in frames])
                await self._child.room()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except ProtocolError as error:
            why = error
        if self._stream is stream:
            self._refuse(why)
            self.close()

    def _note(self, frame: Frame) -> None:
        if frame.kind in (_RESULT, _FAULT) and self._moving:
            message = codec.decode(pb.Request, frame)
            assert isinstance(message, pb.Result | pb.Fault)
            self._moving.discard(message.call)

    def _refuse(self, error: UdfstoreError) -> None:
        log = self._log.debug if self._child.finishing else self._log.info  # with the run ends what belongs to it
        log("the UDF's own conversation ended", why=str(error), away=isinstance(error, NoServer))
        self._child.put([Frame(_FAULT, refusal(error)[_prefix(refusal(error)) :])])

    def close(self) -> None:
        """End the conversation with the server."""
        stream, self._stream = self._stream, None
        self._held = None
        self._moving.clear()
        if stream is not None:
            stream.socket.close()


def _without_descriptors(frame: Frame) -> Frame:
    """The welcome speaks of the server's socket; a pipe passes none."""
    if frame.kind != _WELCOME:
        return frame
    welcome = codec.decode(pb.Request, frame)
    assert isinstance(welcome, pb.Welcome)
    welcome.ClearField("descriptors")
    return Frame(_WELCOME, pb.Request(welcome=welcome).SerializeToString())


def _prefix(framed: bytes) -> int:
    """How long a frame's length is."""
    found = varint.maybe_decode(framed, 0)
    assert found is not None
    return found[1]
