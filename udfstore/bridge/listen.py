"""Where bridges run: one on stdin and stdout, or many on sockets, until Kapacitor or a signal ends them."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import structlog
import trio

from udfstore.bridge.config import Bridge
from udfstore.bridge.dots import Api, Telling
from udfstore.bridge.host import Shelter
from udfstore.bridge.known import Known
from udfstore.bridge.link import Streams
from udfstore.bridge.relay import Relay
from udfstore.errors import Conflict, Denied, UsageError

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

BACKLOG = 64
"""Connections that wait while one is taken: a Kapacitor opens one for each use."""

_STOP = (signal.SIGTERM, signal.SIGINT)


async def on_streams(bridge: Bridge, streams: Streams, shelter: Shelter, known: Known) -> str:
    """Serve the one Kapacitor at these streams to its end; gives why the UDF failed, or nothing."""
    relay = Relay(bridge, streams, shelter, _telling(bridge, known), known)
    async with shelter, _until_signal(relay.stop):
        await relay.run()
    return relay.failure


async def on_sockets(
    bridges: Mapping[str, Bridge], shelter: Shelter, known: Known, listening: Callable[[], object] = lambda: None
) -> None:
    """Listen at the socket of each bridge, with a UDF for each connection, until SIGTERM or Ctrl-C.

    `listening` is called when Kapacitor may connect. Raises what binding raises: `Conflict`, `Denied`, `UsageError`.
    """
    relays: set[Relay] = set()
    listeners: list[trio.SocketListener] = []
    bound: list[Path] = []

    async def serve(name: str, bridge: Bridge, stream: trio.SocketStream) -> None:
        relay = Relay(bridge, Streams.of_socket(stream), shelter, _telling(bridge, known), known)
        relays.add(relay)
        try:
            await relay.run()
        except Exception as error:  # noqa: BLE001 - one connection's trouble is not that of the others
            _log.error("a connection of Kapacitor's cannot be served", bridge=name, exc_info=error)
        finally:
            relays.discard(relay)

    try:
        for bridge in bridges.values():
            assert bridge.listen is not None
            listeners.append(_bind(bridge.listen))
            bound.append(bridge.listen)
        async with shelter, trio.open_nursery() as connections:
            with trio.CancelScope() as accepting:
                async with _until_signal(accepting.cancel), trio.open_nursery() as accepts:
                    for (name, bridge), listener in zip(bridges.items(), listeners, strict=True):
                        handler = partial(serve, name, bridge)
                        accepts.start_soon(
                            partial(trio.serve_listeners, handler, [listener], handler_nursery=connections)
                        )
                    listening()
            for relay in relays:
                relay.stop()
    finally:
        for path in bound:
            path.unlink(missing_ok=True)


def _telling(bridge: Bridge, known: Known) -> Telling:
    return Telling(Api(bridge.kapacitor_url) if bridge.kapacitor_url else None, bridge.kapacitor_url, known)


@asynccontextmanager
async def _until_signal(stop: Callable[[], None]) -> AsyncIterator[None]:
    """While this is open the first SIGTERM or Ctrl-C calls `stop`; a second one ends the process as usual."""

    async def wait() -> None:
        with trio.open_signal_receiver(*_STOP) as signals:
            async for _ in signals:
                stop()
                return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        yield
        nursery.cancel_scope.cancel()


def _bind(path: Path) -> trio.SocketListener:
    """A listening socket; who may connect is what the umask leaves. One that nobody answers at makes way."""
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            _remove_dead(path)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        kind = UsageError if error.errno in (errno.ENOENT, errno.EADDRINUSE, errno.ENOTDIR) else Denied
        raise kind(f"cannot listen at {path}: {error.strerror}") from error
    return trio.SocketListener(trio.socket.from_stdlib_socket(listener))


def _remove_dead(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                raise Denied(f"cannot tell whether {path} is in use: {error.strerror}") from error
        else:
            raise Conflict(f"somebody listens at {path} already")
    path.unlink(missing_ok=True)
