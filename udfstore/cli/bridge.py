"""The command between Kapacitor and a UDF: settings, then Kapacitor's streams or sockets, then the loop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import structlog
import trio
import typer

from udfstore.bridge import config as configuration
from udfstore.bridge.config import Bridge
from udfstore.bridge.host import Shelter
from udfstore.bridge.known import Known, folder
from udfstore.bridge.link import Streams
from udfstore.bridge.listen import on_sockets, on_streams
from udfstore.cli.words import LogFormat, LogLevel, Socket, check_log
from udfstore.client import where
from udfstore.errors import UsageError
from udfstore.server import logging

FAILED_EXIT = 1
"""Exit status when the UDF failed. Kapacitor was told why."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def _option(name: str, metavar: str, help: str, panel: str | None = None, envvar: str | None = None) -> Any:
    """An option whose text is read with the settings of the file, in one place."""
    return typer.Option(f"--{name}", metavar=metavar, help=help, rich_help_panel=panel, envvar=envvar)


def _flag(name: str, help: str) -> Any:
    return typer.Option(f"--{name}", help=help, rich_help_panel=STATE)


STATE, MODELS = "State", "Models"
URL = "UDFSTORE_KAPACITOR_URL"

Command = Annotated[list[str] | None, typer.Argument(metavar="-- COMMAND…", help="The UDF, with its arguments.")]
Listen = Annotated[str | None, _option("listen", "SOCK", "Wait for Kapacitor there: one UDF for each connection.")]
Connect = Annotated[str | None, _option("connect", "SOCK", "The UDF listens there; no command is run.")]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Many bridges, from a TOML file.")]
TaskPrefix = Annotated[
    str | None, _option("prefix", "TEXT", "Stands before the names of tasks: keeps Kapacitors apart.")
]
Url = Annotated[
    str | None,
    _option("kapacitor-url", "URL", "Ask Kapacitor there for the DAG of a task, and when it was made.", envvar=URL),
]
Patience = Annotated[
    str | None,
    _option("keepalive-seconds", "SECONDS", "A UDF that starts or loads is kept alive for so long (default 600)."),
]
Change = Annotated[
    str | None, _option("policy", "strict|upstream|key", "What a change of the task leaves of its state.", STATE)
]
Without = Annotated[
    str | None,
    _option(
        "without-store",
        "fresh|fail|wait=SECONDS",
        "A start that needs a state while the server is away (default wait=60).",
        STATE,
    ),
]
HandBack = Annotated[bool, _flag("hand-back", "Give Kapacitor whole states again: the way out.")]
NoSave = Annotated[bool, _flag("no-save", "Be given a state, but store none.")]
TakeOver = Annotated[bool, _flag("take-over", "Take the task over from another kind of host.")]
Models = Annotated[
    list[str] | None,
    _option("model", "TAG=PATH", "The model lies in that file before the UDF starts; may be repeated.", MODELS),
]
OnMove = Annotated[
    str | None, _option("on-move", "restart|write|ignore", "When a model's tag moves (default restart).", MODELS)
]


def bridge(
    command: Command = None,
    listen: Listen = None,
    connect: Connect = None,
    config: Config = None,
    prefix: TaskPrefix = None,
    kapacitor_url: Url = None,
    policy: Change = None,
    without_store: Without = None,
    hand_back: HandBack = False,
    no_save: NoSave = False,
    take_over: TakeOver = False,
    model: Models = None,
    on_move: OnMove = None,
    keepalive_seconds: Patience = None,
    log_format: LogFormat = "auto",
    log_level: LogLevel = "info",
    socket: Socket = None,
) -> None:
    """Stand between Kapacitor and a UDF that knows nothing of udfstore, and keep the UDF's state.

    Without --listen it speaks with Kapacitor on stdin and stdout: in kapacitor.conf `prog` becomes "udfstore", `args`
    becomes ["bridge", "--", …] with what stood there before.
    """
    check_log(log_format, log_level)
    given = {
        "command": tuple(command or ()),
        "listen": listen,
        "connect": connect,
        "prefix": prefix,
        "kapacitor_url": kapacitor_url,
        "keepalive_seconds": keepalive_seconds,
        "policy": policy,
        "without_store": without_store,
        "hand_back": hand_back,
        "no_save": no_save,
        "take_over": take_over,
        "models": tuple(model or ()),
        "on_move": on_move,
    }
    bridges = _bridges({name: value for name, value in given.items() if value}, config)
    known, notes = Known(folder()), folder()
    shelter = Shelter([socket] if socket is not None else where.sockets(), where.claim(), notes)
    if config is None and listen is None:
        streams = Streams.of_process()
        logging.configure(log_format, log_level)
        if trio.run(on_streams, bridges[""], streams, shelter, known):
            raise typer.Exit(FAILED_EXIT)
        return
    logging.configure(log_format, log_level)

    def listening() -> None:
        for one in bridges.values():
            _log.info("ready", listen=str(one.listen), udf=one.name.replace("\0", " ").strip())

    trio.run(on_sockets, bridges, shelter, known, listening)


def _bridges(given: dict[str, Any], config: Path | None) -> dict[str, Bridge]:
    """All bridges of this process, by name."""
    if config is None:
        return {given.get("listen", ""): configuration.bridge(given, "bridge")}
    defaults = {name: given.pop(name) for name in ("kapacitor_url",) if name in given}  # may be of the environment
    if given:
        raise UsageError(f"--config FILE holds all settings; beside it there is no {', '.join(given)}")
    return configuration.read(config, defaults)
