"""The HTTP front of `serve`: its listeners, its applications, its tokens, put together where HTTP is asked for."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from udfstore.errors import UsageError
from udfstore.http.app import application, watching
from udfstore.http.guard import App
from udfstore.http.serving import Address, Front, names_of
from udfstore.server import activation
from udfstore.server.config import Settings
from udfstore.server.limits import ServerLimits
from udfstore.server.listener import Listener
from udfstore.server.server import Server


@dataclass(frozen=True, slots=True)
class Fronts:
    """What is served beside the socket, and where: `http` and `metrics` are addresses, "" where there is none."""

    front: Front
    doors: tuple[tuple[socket.socket, App], ...]
    http: str
    metrics: str

    @property
    def places(self) -> dict[str, str]:
        """Where it is served, by what."""
        return {what: place for what, place in (("http", self.http), ("metrics", self.metrics)) if place}

    async def serve(self, stopping: trio.Event) -> None:
        """Serve until `stopping`."""
        await self.front.serve(self.doors, stopping)


@contextmanager
def opened(settings: Settings, given: Mapping[str, socket.socket], server: Server) -> Iterator[Fronts]:
    """Listen where the settings say, or on what the service manager passed on.

    Raises `UsageError` for what is no address, `Conflict` or `Denied` where it cannot be had.
    """
    limits: ServerLimits = settings.server_limits
    service, doors = server.service, []
    http = metrics = ""
    with contextlib.ExitStack() as undo:
        if settings.http is not None or "http" in given:
            listener = _listener(undo, settings, given.get("http"), settings.http, "http")
            hosts = names_of(listener, _hosts(settings))
            doors.append((listener, application(server.house, hosts, limits.progress_seconds)))
            http = _shown(listener)
            if not service.tokens.first():
                structlog.get_logger().warning(
                    "the token in http-token lets nobody in; delete the file and start again for a new one"
                )
            service.doors.url = settings.http_url or _of_browsers(listener)
        if settings.metrics is not None or "metrics" in given:
            listener = _listener(undo, settings, given.get("metrics"), settings.metrics, "metrics")
            doors.append((listener, watching(server.house, limits.progress_seconds)))
            metrics = f"{_shown(listener)}/metrics"
        front = Front(
            connections=limits.http_connections,
            idle_seconds=limits.http_idle_seconds,
            progress_seconds=limits.progress_seconds,
            grace_seconds=limits.grace_seconds,
            meters=service.meters,
        )
        yield Fronts(front, tuple(doors), http, metrics)


def _listener(
    undo: contextlib.ExitStack, settings: Settings, given: socket.socket | None, text: str | None, name: str
) -> socket.socket:
    if given is not None:
        activation.check(given, text)
        return undo.enter_context(given)
    try:
        address = Address.parse(text or "")
    except UsageError as error:
        raise UsageError(f"{name}: {error.message}", expected=error.expected, got=error.got) from error
    if not address.path:
        return undo.enter_context(address.bind())
    path = Path(address.path).expanduser().absolute()
    unix = Listener(path, settings.mode, settings.socket_group)
    undo.callback(unix.close)
    return undo.enter_context(unix.listening())


def _of_browsers(listener: socket.socket) -> str:
    """Where a browser of this machine finds a listener; "" for a socket in the file system, which none can open."""
    if listener.family == socket.AF_UNIX:
        return ""
    host, port = listener.getsockname()[:2]
    return _shown(listener) if host not in ("0.0.0.0", "::") else f"http://localhost:{port}"


def _hosts(settings: Settings) -> list[str]:
    """The names beside its own address by which HTTP may be asked."""
    names = [*settings.http_hosts.split(","), settings.http_url.partition("//")[2]]
    return [name.strip() for name in names if name.strip()]


def _shown(listener: socket.socket) -> str:
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
