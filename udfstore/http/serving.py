"""The shell of the HTTP front: listening sockets, and who holds their connections.

Hypercorn's own accept loop is not used: it has no deadline on a client that never reads, no limit of connections, and
waits for a stuck client when it stops. Its handling of one connection is given a stream here that has these.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from udfstore.errors import Busy, Conflict, Denied, UsageError
from udfstore.http.connection import HEAD_BYTES, Connection, Stream
from udfstore.http.guard import HEADERS, App
from udfstore.http.problems import problem
from udfstore.service.meters import Meters

BACKLOG = 128

WAITING = 4
"""Pieces of a body that wait for the application: with what is read, at most 2 MiB for each upload."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where HTTP listens: a host and a port of this machine, or a Unix socket by its path."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`. Raises `UsageError`."""
        if text.startswith("unix:") and len(text) > 5:
            return cls(path=text[5:])
        host, colon, port = text.rpartition(":")
        if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise UsageError("not an address", expected="HOST:PORT or unix:PATH", got=repr(text[:80]))
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def bind(self) -> socket.socket:
        """A listening TCP socket. Raises `Conflict` where the port is taken, `Denied`, `UsageError`."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except (socket.gaierror, UnicodeError) as error:  # the second for what IDNA does not allow
            why = error.strerror if isinstance(error, OSError) else "not a name"
            raise UsageError(f"no address of this machine: {self.host[:80]}", got=why) from error
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except PermissionError as error:
            listener.close()
            raise Denied(f"may not listen at {self}: {error.strerror}") from error
        except OSError as error:
            listener.close()
            raise Conflict(f"cannot listen at {self}: {error.strerror}") from error
        return listener

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def names_of(listener: socket.socket, more: Sequence[str]) -> set[str]:
    """The hosts by which a listener may be asked: its address, `localhost`, and those that were added."""
    names = {"localhost", *more}
    if listener.family in (socket.AF_INET, socket.AF_INET6):
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        names |= {f"{name}:{port}" for name in (shown, "localhost", "127.0.0.1", "[::1]")}
        if port == 80:
            names |= {shown, "127.0.0.1", "[::1]"}
    return names


class Front:
    """Serves applications on listeners, until it is told to stop; then what is being answered has a grace time."""

    def __init__(
        self,
        *,
        connections: int,
        idle_seconds: float,
        progress_seconds: float,
        grace_seconds: float,
        meters: Meters,
    ) -> None:
        self._most = connections
        self._progress = progress_seconds
        self._grace = grace_seconds
        self._meters = meters
        self._streams: dict[Stream, App] = {}
        self._ended = trio.lowlevel.ParkingLot()
        self._context = WorkerContext(None)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger()
        self._config = _configuration(idle_seconds, grace_seconds)

    async def serve(self, doors: Sequence[tuple[socket.socket, App]], stopping: trio.Event) -> None:
        """Take connections at each listener for its application, until `stopping` is set."""
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                for listener, app in doors:
                    accepting.start_soon(self._accept, listener, app, connections)
                await stopping.wait()
                accepting.cancel_scope.cancel()
            await self._context.terminated.set()
            with trio.move_on_after(self._grace):
                while self._streams:
                    await self._ended.park()
            for stream in list(self._streams):
                stream.cut()
            connections.cancel_scope.cancel()

    async def _accept(self, listener: socket.socket, app: App, connections: trio.Nursery) -> None:
        listener.setblocking(False)
        listening = trio.SocketListener(trio.socket.from_stdlib_socket(listener))

        async def handle(stream: trio.SocketStream) -> None:
            await self._hold(stream, app)

        await trio.serve_listeners(handle, [listening], handler_nursery=connections)

    async def _hold(self, stream: trio.SocketStream, app: App) -> None:
        # Counted for each application, so that a crowd at the API does not keep out who asks for metrics.
        if sum(other is app for other in self._streams.values()) >= self._most:
            self._meters.refused("http")
            self._log.warning("HTTP connection refused: as many are open as are allowed", open=self._most)
            await _refuse(stream, self._most)
            return
        with trio.CancelScope() as scope:
            held = Stream(stream, self._progress, scope)
            self._streams[held] = app
            try:
                with self._meters.conversation("http"):
                    await Connection(app, self._config, self._context, held).run()
            except Exception as error:  # noqa: BLE001 - a bug met on one connection must not take the others along
                self._log.error("an HTTP connection failed unexpectedly", exc_info=error)
            finally:
                del self._streams[held]
                self._ended.unpark_all()
                held.cut()


async def _refuse(stream: trio.SocketStream, most: int) -> None:
    """Say why, as far as the socket's buffer goes, and hang up."""
    answer = problem(Busy("the server has as many HTTP connections as it takes", expected=f"at most {most}"))
    fields = {**HEADERS, **answer.headers, "connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with contextlib.suppress(OSError):  # gone already
        await stream.socket.send(f"HTTP/1.1 {answer.status_code} \r\n{head}\r\n".encode() + bytes(answer.body))
        stream.socket.shutdown(socket.SHUT_WR)
    await trio.aclose_forcefully(stream)


class _ToStructlog(logging.Handler):
    """What Hypercorn has to say, in our log."""

    def emit(self, record: logging.LogRecord) -> None:
        log: structlog.stdlib.BoundLogger = structlog.get_logger()
        log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)


def _configuration(idle_seconds: float, grace_seconds: float) -> Config:
    logger = logging.getLogger("udfstore.hypercorn")
    logger.handlers, logger.propagate = [_ToStructlog(logging.WARNING)], False
    config = Config()
    config.errorlog, config.accesslog = logger, None
    config.include_server_header = False
    config.max_app_queue_size = WAITING
    config.h11_max_incomplete_size = HEAD_BYTES
    config.keep_alive_timeout = idle_seconds
    config.graceful_timeout = grace_seconds
    return config
