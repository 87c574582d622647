"""The command that serves: settings, log, store, socket, in this order; then the loop."""

from __future__ import annotations

import inspect
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import structlog
import trio
import typer

from udfstore.client import where
from udfstore.server import activation, logging
from udfstore.server import config as configuration
from udfstore.server.config import Settings
from udfstore.server.listener import Listener
from udfstore.server.server import Server, notify
from udfstore.store import Store
from udfstore.version import __version__

if TYPE_CHECKING:
    from udfstore.cli.fronts import Fronts

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def serve(
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="TOML file with settings of the same names.")
    ] = None,
    **flags: str | None,
) -> None:
    """Serve a store on a socket, until SIGTERM or Ctrl-C.

    With no argument the store lies in the usual place and listens where clients look for it. Each option is also a
    variable, UDFSTORE_ and its name, and a key of the file.
    """
    given = activation.take()
    file = configuration.find(config)
    settings = configuration.read({name: text for name, text in flags.items() if text is not None}, file)
    human = logging.configure(settings.log_format, settings.log_level)
    root = (settings.root or where.default_root()).absolute()
    if passed := given.get(activation.UNIX):
        socket = activation.path_of(passed, settings.socket, settings.socket_mode, settings.socket_group)
    else:
        socket = (settings.socket or place_of_socket(root)).absolute()
    with Store(root, owner=str(socket), limits=settings.store_limits, say=_log.warning) as store:
        listener = Listener(socket, settings.mode, settings.socket_group, passed)
        try:
            server = Server(store, settings.server_limits)
            with _fronts(settings, given, server) as fronts:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the server takes the first; a second ends it at once
                trio.run(_serve, server, listener, fronts, _greeting(root, socket, file, fronts) if human else "")
        finally:
            listener.close()


@contextmanager
def _fronts(settings: Settings, given: Mapping[str, socket], server: Server) -> Iterator[Fronts | None]:
    """HTTP, where it is asked for: only then is it imported, which takes half a second and 25 MB."""
    service = server.service

    def exposition(names: bool, process: bool) -> str:
        from udfstore.http.metrics import exposition

        return exposition(service, names, process=process)

    service.exposition = exposition
    if settings.http is None and settings.metrics is None and not given.keys() & {"http", "metrics"}:
        yield None
        return
    from udfstore.cli.fronts import opened

    with opened(settings, given, server) as fronts:
        yield fronts


async def _serve(server: Server, listener: Listener, fronts: Fronts | None, greeting: str) -> None:
    stopping = trio.Event()

    async def ready() -> None:
        if greeting:
            print(greeting, file=sys.stderr, flush=True)
        else:
            places = {"root": str(server.service.store.root), "socket": str(listener.path)}
            _log.info("ready", **places, **(fronts.places if fronts else {}), version=__version__, pid=os.getpid())
        await _notify("READY=1")

    async def stop() -> None:
        stopping.set()
        await _notify("STOPPING=1")

    async with trio.open_nursery() as nursery:
        if fronts is not None:
            nursery.start_soon(fronts.serve, stopping)
        await server.run(listener, ready, stop)


async def _notify(state: str) -> None:
    try:
        await notify(state)
    except OSError as error:
        _log.warning("the service manager could not be told", state=state, reason=error.strerror)


def _greeting(root: Path, socket: Path, config: Path | None, fronts: Fronts | None) -> str:
    """What people are told: where everything is, and what to type next."""
    found = "" if socket in where.sockets() else f" --socket {shlex.quote(str(socket))}"
    places = {"store": str(root), "socket": str(socket), **(fronts.places if fronts else {})}
    places["next"] = f"udfstore put FILE --tag models/x{found}"
    if fronts and fronts.http:
        places["browser"] = f"udfstore web{found}"
    lines = [*(f"{what:<8}{place}" for what, place in places.items()), "ready"]
    return "\n".join([f"config  {config}", *lines] if config else lines)


def place_of_socket(root: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Where a server without a socket of its own listens: the first place where clients look that it may use."""
    if not environ.get("UDFSTORE_ROOT"):
        if os.access(where.SERVICE_SOCKET.parent, os.W_OK | os.X_OK):
            return where.SERVICE_SOCKET
        if runtime := environ.get("XDG_RUNTIME_DIR"):
            return Path(runtime) / "udfstore" / "udfstore.sock"
    return where.socket_in(root)


def _options() -> inspect.Signature:
    """An option for every setting, passed on as text: whatever its source, a setting is read in one place."""
    config = inspect.signature(serve, eval_str=True).parameters["config"]
    return inspect.Signature([config, *map(_option, configuration.Everything.model_fields)])


def _option(name: str) -> inspect.Parameter:
    field = configuration.Everything.model_fields[name]
    default = "" if field.default in (None, ()) else f" (default {field.default})"
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        metavar=_metavar(name, field.annotation),
        help=f"{field.description}{default}",
        rich_help_panel=None if name in Settings.model_fields else "Limits",
    )
    annotation = Annotated[str | None, option]
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=annotation)


def _metavar(name: str, annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    ends = {"_bytes": "BYTES", "_from": "BYTES", "_seconds": "SECONDS", "_s": "SECONDS", "_mode": "OCTAL"}
    known = next((metavar for end, metavar in ends.items() if name.endswith(end)), "")
    return known or {"root": "DIR", "socket": "PATH", "socket_group": "GROUP", "retention": "RULES"}.get(name, "N")


serve.__signature__ = _options()  # type: ignore[attr-defined]
