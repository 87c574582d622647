"""One HTTP connection: Hypercorn's handling of HTTP/1.1, and what it lacks towards clients that do as they please.

Nothing is upgraded: HTTP/2 and web sockets have no use behind a proxy or on this machine, and each is a way in of its
own. RFC 9110, 7.8 lets a server pass over such a wish.
"""

from __future__ import annotations

import contextlib
from typing import Any

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr

from udfstore.errors import TooLarge, UdfstoreError, UsageError
from udfstore.http.guard import HEADERS, App, Broken, Message, Receive, Scope, Send
from udfstore.http.problems import problem

HEAD_BYTES = 16 * 1024
"""Of the head of a request; larger ones are answered with 431."""

READ_BYTES = 256 * 1024
"""Of a connection at a time: four times what Hypercorn asks for, which takes a third off the work of a large upload."""

SLICE_BYTES = 64 * 1024
"""Of what is sent, within the time for progress: a peer that reads more slowly than this is cut off."""

LINGER_SECONDS = 2.0
"""For the end of a body that nobody wants. A connection closed before it is reset, and its answer may be lost."""


_SAID_ALL = {h11.IDLE, h11.DONE, h11.MUST_CLOSE, h11.CLOSED}


class Stream:
    """A connection whose peer has to take what is sent within a time, and that can be cut at any moment."""

    def __init__(self, stream: trio.SocketStream, seconds: float, scope: trio.CancelScope) -> None:
        """`scope` is that of everybody who works on this connection."""
        self.socket = stream.socket
        self._stream = stream
        self._seconds = seconds
        self._scope = scope
        self.lingers = False
        """Whether the peer may still be sending when the connection is closed."""
        self._closing = False
        self._waiting = trio.CancelScope()
        """Of whoever reads."""

    async def receive_some(self, most: int) -> bytes:
        """The next bytes. Once the connection is to be closed, the rest is dropped, until the peer has seen it."""
        if not self._closing:
            with trio.CancelScope() as self._waiting:
                return await self._stream.receive_some(max(most, READ_BYTES))
        with trio.move_on_after(LINGER_SECONDS if self.lingers else 0):
            while await self._stream.receive_some(most):
                pass
        raise trio.ClosedResourceError("the connection is closed")

    async def send_all(self, data: bytes) -> None:
        """Send, or end the connection to a peer that does not read."""
        view = memoryview(data)
        for start in range(0, len(data), SLICE_BYTES):
            with trio.move_on_after(self._seconds) as scope:
                try:
                    await self._stream.send_all(view[start : start + SLICE_BYTES])
                except trio.BrokenResourceError:
                    self.cut()  # Hypercorn would tell an application that does not read, and wait for it for ever
                    raise
            if scope.cancelled_caught:
                self.cut()
                raise trio.BrokenResourceError("the peer does not read")

    async def send_eof(self) -> None:
        """Say that nothing more comes."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close it as soon as the peer has seen the end: whoever reads does so, see `receive_some`."""
        self._closing = True
        self._waiting.cancel()
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            await self._stream.send_eof()

    def cut(self) -> None:
        """End it at once, and whatever is done for it."""
        self.socket.close()
        self._scope.cancel()


class Connection(TCPServer):
    """Serves the requests of one connection, one after the other."""

    stream: Any
    protocol: Any

    def __init__(self, app: App, config: Config, context: WorkerContext, stream: Stream) -> None:
        wrapped: Any = _Exchanges(app)
        given: Any = stream
        super().__init__(wrapped, config, context, LifespanState({}), given)

    async def run(self) -> None:
        """Serve until either side ends it."""
        socket = self.stream.socket
        try:
            client = parse_socket_addr(socket.family, socket.getpeername())
            server = parse_socket_addr(socket.family, socket.getsockname())
        except OSError:
            return  # gone before it was greeted
        async with TaskGroup() as group:
            self._task_group = group
            state, send = ConnectionState({}), self.protocol_send
            self.protocol = _Protocol(self.app, self.config, self.context, group, state, False, client, server, send)
            await self.idle_task.restart(group, self._idle_timeout)
            try:
                await self._read_data()
            finally:
                await self.idle_task.stop()  # else the connection would be held until its time is over

    async def protocol_send(self, event: Event) -> None:
        """Send bytes, or close. An answer that is on its way goes first, whatever came behind its request."""
        if isinstance(event, Closed):
            protocol: _Protocol = self.protocol
            if protocol.stream is not None and protocol.connection.our_state is h11.SEND_BODY:
                await protocol.can_read.clear()
                await protocol.can_read.wait()
            async with self.send_lock:
                pass
            rest, _ = protocol.connection.trailing_data
            self.stream.lingers = bool(rest) or protocol.connection.their_state not in _SAID_ALL
        await super().protocol_send(event)


class _Protocol(H11Protocol):
    """HTTP/1.1 without upgrades, and with our own words for what is no HTTP."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """No HTTP/2."""

    async def _create_stream(self, request: h11.Request) -> None:
        if len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers) > HEAD_BYTES:
            await self._send_error_response(431)  # h11 has a limit for what is not complete alone
            await self.send(Closed())
            return
        self.stream = HTTPStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1
        await self.context.mark_request()

    async def _send_error_response(self, status_code: int) -> None:
        error: UdfstoreError = UsageError("this is no request that HTTP/1.1 allows")
        if status_code == 431:
            error = TooLarge("the head of this request is too large", expected=f"at most {HEAD_BYTES} bytes")
        answer = problem(error, status=status_code, headers={**HEADERS, "Connection": "close"})
        await self._send_h11_event(h11.Response(status_code=status_code, headers=answer.raw_headers))
        await self._send_h11_event(h11.Data(data=bytes(answer.body)))
        await self._send_h11_event(h11.EndOfMessage())


class _Exchanges:
    """The application as Hypercorn calls it.

    Hypercorn waits for room in a short queue before it tells an application that its reader has left. So what is in
    the queue is dropped while an answer ends: else both would wait for each other where a body was not read.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *_: object) -> None:
        async def tell(message: Message | None) -> None:
            if message is not None and (message["type"] != "http.response.body" or message.get("more_body", False)):
                await send(message)
                return
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_drop, receive)
                await send(message)  # type: ignore[arg-type]
                nursery.cancel_scope.cancel()

        try:
            await self._app(scope, receive, tell)
        except Broken:
            pass  # told already; Hypercorn ends the connection
        finally:
            await tell(None)


async def _drop(receive: Receive) -> None:
    while True:
        await receive()
