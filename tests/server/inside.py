"""Connections served in the test's own process, as the server serves them: for tests that move the clock."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from udfstore._pb import udfstore_pb2 as pb
from udfstore.model import Author
from udfstore.server.connection import Connection
from udfstore.server.hosting import Hosting
from udfstore.server.limits import ServerLimits
from udfstore.server.pump import RECEIVE_BYTES
from udfstore.server.rooms import Rooms
from udfstore.server.shares import Share
from udfstore.service import Register, Service
from udfstore.store import Store
from udfstore.wire import codec, limits
from udfstore.wire.framing import FrameReader

LIMITS = ServerLimits(
    hello_seconds=10,
    progress_seconds=60,
    grace_seconds=20,
    chunk_bytes=65536,
    first_window_bytes=65536,
    window_bytes=131072,
)


class Peer:
    """The client's end of a connection that runs in a nursery."""

    def __init__(self, here: socket.socket) -> None:
        here.setblocking(False)
        self.socket = trio.socket.from_stdlib_socket(here)
        self.ended = trio.Event()
        self._reader = FrameReader(limits.of_hosts_of_nodes(plain_bytes=limits.PLAIN_BYTES))
        self._came: list[pb.Request] = []

    async def send(self, *envelopes: pb.Response) -> None:
        await self.send_bytes(b"".join(map(codec.encode, envelopes)))

    async def send_bytes(self, data: bytes) -> None:
        while data:
            data = data[await self.socket.send(data) :]

    async def call(self, number: int, **op: object) -> None:
        await self.send(pb.Response(call=pb.Call(call=number, **op)))  # type: ignore[arg-type]

    async def next(self) -> pb.Request:
        while not self._came:
            data = await self.socket.recv(1 << 18)
            assert data, "the conversation ended"
            self._came += [pb.Request.FromString(bytes(f.envelope)) for f in self._reader.receive(data)]
        return self._came.pop(0)

    async def until(self, kind: str) -> pb.Request:
        while (message := await self.next()).WhichOneof("message") != kind:
            pass
        return message


class Inside:
    """What a server has for its connections, on a store."""

    def __init__(self, store: Store, nursery: trio.Nursery, limits: ServerLimits = LIMITS) -> None:
        self.service = Service(store, Register())
        self.rooms = Rooms(
            self.service,
            limits,
            trio.CapacityLimiter(2),
            trio.CapacityLimiter(2),
            trio.lowlevel.ParkingLot(),
            memoryview(bytearray(RECEIVE_BYTES)),
        )
        self.hosting = Hosting(self.rooms)
        self.hosting.begin(nursery)

    @asynccontextmanager
    async def connected(self, hello: pb.Hello | None) -> AsyncIterator[Peer]:
        """A connection, greeted with that hello if there is one."""
        here, there = socket.socketpair()
        for end in (here, there):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        there.setblocking(False)
        peer = Peer(here)
        caller = self.service.register.enter(Author("socket"), 0)
        connection = Connection(there, caller, self.rooms, self.hosting, Share())

        async def serve() -> None:
            await connection.run()
            self.service.register.leave(caller)
            peer.ended.set()

        with here:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                assert (await peer.next()).WhichOneof("message") == "welcome"
                if hello is not None:
                    await peer.send(pb.Response(hello=hello))
                yield peer
                here.close()
                await peer.ended.wait()
