"""The command that serves: settings, log, store, socket, in this order; then the loop."""

from __future__ import annotations

import inspect
import os
import shlex
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import structlog
import trio
import typer

from udfstore.client import where
from udfstore.server import config as configuration
from udfstore.server import logging
from udfstore.server.config import Settings
from udfstore.server.listener import Listener
from udfstore.server.server import Server, notify
from udfstore.store import Store
from udfstore.version import __version__

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
    file = configuration.find(config)
    settings = configuration.read({name: text for name, text in flags.items() if text is not None}, file)
    human = logging.configure(settings.log_format, settings.log_level)
    root = (settings.root or where.default_root()).absolute()
    socket = (settings.socket or place_of_socket(root)).absolute()
    with Store(root, owner=str(socket), limits=settings.store_limits, say=_log.warning) as store:
        listener = Listener(socket, settings.mode, settings.socket_group)
        try:
            server = Server(store, settings.server_limits)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the server takes the first one; a second ends it at once
            trio.run(_serve, server, listener, store.root, _greeting(root, socket, file) if human else "")
        finally:
            listener.close()


async def _serve(server: Server, listener: Listener, root: Path, greeting: str) -> None:
    async def ready() -> None:
        if greeting:
            print(greeting, file=sys.stderr, flush=True)
        else:
            _log.info("ready", root=str(root), socket=str(listener.path), version=__version__, pid=os.getpid())
        await _notify("READY=1")

    await server.run(listener, ready, partial(_notify, "STOPPING=1"))


async def _notify(state: str) -> None:
    try:
        await notify(state)
    except OSError as error:
        _log.warning("the service manager could not be told", state=state, reason=error.strerror)


def _greeting(root: Path, socket: Path, config: Path | None) -> str:
    """What people are told: where everything is, and what to type next."""
    found = "" if socket in where.sockets() else f" --socket {shlex.quote(str(socket))}"
    lines = [f"store   {root}", f"socket  {socket}", f"next    udfstore put FILE --tag models/x{found}", "ready"]
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
    default = "" if field.default is None else f" (default {field.default})"
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
    return known or {"root": "DIR", "socket": "PATH", "socket_group": "GROUP"}.get(name, "N")


serve.__signature__ = _options()  # type: ignore[attr-defined]
