"""udfstore's own frames on the connection of a UDF, and the store at the other end of them.

Theory of operation. The store's client has a socket of its own, as it would have to a server: one end of a pair. Frames
of fields 32 and up go between the other end and the wire, those of points and requests past it. The store says hello
first, for its host has shown itself; each hello begins a conversation with calls numbered from 1, so what still comes
for the one before is dropped, up to the next welcome. What waits here for the store is no more than it granted.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from udfstore import calls
from udfstore._pb import udfstore_pb2 as pb
from udfstore.client import arguments, operations
from udfstore.client.blocking import BlockingLink
from udfstore.client.conversation import Conversation
from udfstore.client.remote import Store
from udfstore.client.retry import Retry
from udfstore.client.sources import Source
from udfstore.errors import Closing, UsageError
from udfstore.model import Claim
from udfstore.tasks import Node
from udfstore.wire import codec, limits, varint
from udfstore.wire.framing import Frame, FrameReader, frame

_READ_BYTES = 256 * 1024
_WELCOME = pb.Request.DESCRIPTOR.fields_by_name["welcome"].number
_FAULT = pb.Request.DESCRIPTOR.fields_by_name["fault"].number


class _Conversation:
    """One store's link: a pair of sockets, and a thread for each way between it and the wire."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        ours, self.link = socket.socketpair()
        self.link.setblocking(False)
        self._ours = ours
        self._coming: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._welcomed = False
        self._down = threading.Thread(target=self._deliver, name="udfstore agent answers", daemon=True)
        self._up = threading.Thread(target=self._forward, name="udfstore agent calls", daemon=True)
        self._down.start()
        self._up.start()

    def receive(self, frame: Frame) -> None:
        """A frame from the wire; never blocks."""
        if not self._welcomed:
            self._welcomed = frame.kind == _WELCOME
            if not self._welcomed and not _ends_all(frame):
                return
        self._coming.put(frame)

    def end(self) -> None:
        """Hang up on the store's link, behind what still waits for it."""
        self._coming.put(None)

    def join(self) -> None:
        """The link has hung up: returns when the last of what it said has gone out."""
        self.end()
        self._up.join()

    def _forward(self) -> None:
        frames = FrameReader(limits.of_clients())
        with self._ours:
            with suppress(OSError):
                while data := self._ours.recv(_READ_BYTES):
                    for one in frames.receive(data):
                        self._send(frame(bytes(one.envelope)))
                self._ours.shutdown(socket.SHUT_RDWR)
            self.end()
            self._down.join()

    def _deliver(self) -> None:
        with suppress(OSError):  # the link hung up
            while (frame := self._coming.get()) is not None:
                self._ours.sendall(varint.encode(len(frame.envelope)))
                self._ours.sendall(frame.envelope)
            self._ours.shutdown(socket.SHUT_RDWR)


def _ends_all(frame: Frame) -> bool:
    """Whether a frame is the fault that ends a conversation, or refuses it."""
    if frame.kind != _FAULT:
        return False
    fault = codec.decode(pb.Request, frame)
    assert isinstance(fault, pb.Fault)
    return fault.call == 0


class Line:
    """Conversations on one wire, one after the other."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._current: _Conversation | None = None
        self._ended = False

    def connect(self) -> socket.socket:
        """The store's end of a new conversation. Raises `Closing` when the wire has ended."""
        with self._lock:
            if self._current is not None:
                self._current.join()  # its goodbye goes out before the next hello
            if self._ended:
                raise Closing("the host has closed the connection of this UDF: its store cannot be asked any more")
            self._current = _Conversation(self._send)
            return self._current.link

    def receive(self, frame: Frame) -> None:
        """A frame of fields 32 and up, from the wire; never blocks."""
        if (current := self._current) is not None:
            current.receive(frame)

    def end(self) -> None:
        """The wire has ended: nothing more comes."""
        self._ended = True
        if (current := self._current) is not None:
            current.end()

    def close(self) -> None:
        """The store is closed: returns when the last of what it said has gone out."""
        self.end()
        if (current := self._current) is not None:
            current.join()


class LineStore(Store):
    """The store behind the host of this UDF. It is connected to when it is first needed."""

    def __init__(self, line: Line, claim: Claim) -> None:
        self._line = line
        self._owner = os.getpid()
        super().__init__((), claim, now=False)

    def _dial(self, node: Node | None) -> BlockingLink:
        if os.getpid() != self._owner:
            raise UsageError("a process forked from a UDF has no store at its connection: use udfstore.connect()")
        if node is not None:
            raise UsageError("the node that a UDF is under a host is the host's affair: agent.store joins none")
        return BlockingLink(self._line.connect(), Conversation(self._claim, host_known=True))

    def greet(self) -> None:
        """Say hello, so that the host knows that states may be saved here. Raises `NoServer` rather than wait."""
        self._linked(_once())

    def save_now(self, content: bytes) -> calls.Saved:
        """Save without a second try: raises `NoServer` or `Closing` when the server is away."""
        source = Source.of(content)
        call, commit = arguments.save(source.size, None, "", None, None, None, ())
        link = self._linked(_once())
        saved = link.run(lambda: operations.save(link.talk, call, source.read, commit))
        return arguments.answer(saved, calls.Saved)


def _once() -> Retry:
    return Retry(time.monotonic, lambda: 0.0)
