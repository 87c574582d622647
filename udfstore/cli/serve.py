"""The command that serves: settings, log, store, socket, in this order; then the loop."""

from __future__ import annotations

import inspect
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import structlog
import trio
import typer

from udfstore.client import where
from udfstore.errors import UsageError
from udfstore.server import access, activation, logging
from udfstore.server import config as configuration
from udfstore.server.access import Listen
from udfstore.server.config import Settings
from udfstore.server.listener import Listener
from udfstore.server.process import keep_few_heaps, notify
from udfstore.server.server import Server
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
    file = configuration.find(config)
    settings = configuration.read({name: text for name, text in flags.items() if text is not None}, file)
    given = activation.take(unix=[listen.known for listen in settings.listen] or [activation.UNIX])
    human = logging.configure(settings.log_format, settings.log_level)
    root = (settings.root or where.default_root()).absolute()
    listens = _listens(settings, root, given.get(activation.UNIX))
    rules = access.rules(listens, settings.rule, str(file or "the settings"))
    owner = str(listens[0].path.absolute())
    limits, signers, quotas = settings.store_limits, settings.signers, settings.quotas
    keep_few_heaps()
    with (
        Store(root, owner=owner, limits=limits, say=_log.warning, signers=signers, quotas=quotas) as store,
        ExitStack() as undo,
    ):
        listeners = [_listener(undo, listen, given.get(listen.known)) for listen in listens]
        server = Server(store, settings.server_limits, rules)
        with _fronts(settings, given, server) as fronts:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the server takes the first; a second ends it at once
            trio.run(_serve, server, listeners, fronts, _greeting(root, listeners, file, fronts) if human else "")


def _listens(settings: Settings, root: Path, passed: socket | None) -> Sequence[Listen]:
    """The sockets to serve: those of the tables, else the one that `socket` names. Raises `UsageError` for both."""
    if settings.listen:
        if settings.socket is not None:
            raise UsageError("either `socket` names one socket, or `listen` has a table for each")
        return settings.listen
    there = Path(passed.getsockname()) if passed else place_of_socket(root)
    return [
        Listen(
            path=settings.socket or there,
            name=activation.UNIX,
            mode=settings.socket_mode,
            group=settings.socket_group,
        )
    ]


def _listener(undo: ExitStack, listen: Listen, passed: socket | None) -> Listener:
    if passed is not None:
        activation.path_of(passed, listen.path, listen.mode, listen.group)
    listener = Listener(listen.path, listen.permissions, listen.group, passed, listen.known)
    undo.callback(listener.close)
    return listener


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


async def _serve(server: Server, listeners: Sequence[Listener], fronts: Fronts | None, greeting: str) -> None:
    stopping = trio.Event()

    async def ready() -> None:
        if greeting:
            print(greeting, file=sys.stderr, flush=True)
        else:
            places: dict[str, Any] = {"root": str(server.service.store.root), "socket": str(listeners[0].path)}
            if len(listeners) > 1:
                places |= {"listeners": {listener.name: str(listener.path) for listener in listeners}}
            _log.info("ready", **places, **(fronts.places if fronts else {}), version=__version__, pid=os.getpid())
        await _notify("READY=1")

    async def stop() -> None:
        stopping.set()
        await _notify("STOPPING=1")

    async with trio.open_nursery() as nursery:
        if fronts is not None:
            nursery.start_soon(fronts.serve, stopping)
        await server.run(listeners, ready, stop)


async def _notify(state: str) -> None:
    try:
        await notify(state)
    except OSError as error:
        _log.warning("the service manager could not be told", state=state, reason=error.strerror)


def _greeting(root: Path, listeners: Sequence[Listener], config: Path | None, fronts: Fronts | None) -> str:
    """What people are told: where everything is, and what to type next."""
    socket, *others = (listener.path for listener in listeners)
    found = "" if socket in where.sockets() else f" --socket {shlex.quote(str(socket))}"
    places = {"store": str(root), "socket": str(socket), **(fronts.places if fronts else {})}
    places["next"] = f"udfstore put FILE --tag models/x{found}"
    if fronts and fronts.http:
        places["browser"] = f"udfstore web{found}"
    lines = [*(f"{what:<8}{place}" for what, place in places.items()), "ready"]
    lines[2:2] = [f"{'':<8}{other}" for other in others]
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
    kinds = {"root": "DIR", "socket": "PATH", "socket_group": "GROUP", "retention": "RULES"}
    tables = dict.fromkeys(("listen", "rule", "signed", "quota"), "JSON")
    return known or {**kinds, **tables}.get(name, "N")


serve.__signature__ = _options()  # type: ignore[attr-defined]
