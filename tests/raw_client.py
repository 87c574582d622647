"""A client that sends whatever a test wants, and reads frames."""

from __future__ import annotations

import array
import io
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

    def __init__(self, path: Path, *, credit: bool = True, greet: bool = True, descriptors: bool = False) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(SECONDS)
        self._reader = FrameReader(limits.of_hosts_of_nodes(plain_bytes=limits.PLAIN_BYTES))
        self._came: list[pb.Request] = []
        self._descriptors = descriptors
        self.files: list[io.FileIO] = []
        """What came along, in order."""
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
        self.send(pb.Response(hello=pb.Hello(protocol=1, credit=credit, descriptors=self._descriptors)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self.files:
            file.close()
        self.socket.close()

    def hand_over(self, number: int, descriptor: int, size: int, *, commit: bool = True, **op: object) -> None:
        """A save by descriptor."""
        save = pb.Save(size=size, descriptor=True, **op)  # type: ignore[arg-type]
        self.send_bytes(codec.encode(pb.Response(call=pb.Call(call=number, save=save))), [descriptor])
        if commit:
            self.send(pb.Response(commit=pb.Commit(call=number, size=size)))

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
                data, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 18, 16)
                self.files += [io.FileIO(descriptor) for descriptor in descriptors]
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
