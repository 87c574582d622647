"""A client that sends whatever a test wants, and reads frames."""

from __future__ import annotations

import array
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from udfstore._pb import udfstore_pb2 as pb
from udfstore.wire import codec, limits
from udfstore.wire.framing import FrameReader

SECONDS = 20.0
"""For anything that a server has to do here; only a broken one needs them."""


class RawClient:
    """A connection to a socket, greeted unless told otherwise."""

    def __init__(self, path: Path, *, credit: bool = True, greet: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(SECONDS)
        self._reader = FrameReader(limits.of_hosts_of_nodes(plain_bytes=limits.PLAIN_BYTES))
        self._came: list[pb.Request] = []
        try:
            self.socket.connect(str(path))
            if greet:
                self.begin(credit)
        except BaseException:
            self.socket.close()
            raise

    def begin(self, credit: bool) -> None:
        """Hear the welcome and say hello."""
        self.welcome = self.until("welcome").welcome
        self.send(pb.Response(hello=pb.Hello(protocol=1, credit=credit)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, *envelopes: pb.Response) -> None:
        self.send_bytes(b"".join(map(codec.encode, envelopes)))

    def send_bytes(self, data: bytes, descriptors: list[int] | None = None) -> None:
        rights = array.array("i", descriptors or [])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
        sent = self.socket.sendmsg([data], ancillary)
        if data[sent:]:
            self.socket.sendall(data[sent:])

    def call(self, number: int, **op: object) -> None:
        self.send(pb.Response(call=pb.Call(call=number, **op)))  # type: ignore[arg-type]

    def chunk(self, number: int, data: bytes) -> None:
        self.send_bytes(codec.chunk_head(number, len(data)) + data)

    def next(self) -> pb.Request:
        """The next message. Raises `EOFError` at the end of the conversation."""
        while not self._came:
            try:
                data = self.socket.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError
            frames = self._reader.receive(data)
            self._came += [pb.Request.FromString(bytes(frame.envelope)) for frame in frames]
        return self._came.pop(0)

    def until(self, kind: str) -> pb.Request:
        """The next message of a kind; others are passed over."""
        while (message := self.next()).WhichOneof("message") != kind:
            pass
        return message

    def rest(self) -> list[pb.Request]:
        """All that comes until the conversation ends."""
        messages = []
        try:
            while True:
                messages.append(self.next())
        except EOFError:
            return messages

    def save(self, number: int, data: bytes) -> pb.Saved:
        """A whole save of at most the first window."""
        self.call(number, save=pb.Save())
        self.chunk(number, data)
        self.send(pb.Response(commit=pb.Commit(call=number, size=len(data))))
        return self.until("result").result.saved
