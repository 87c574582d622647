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
from udfstore.cli.words import Socket
from udfstore.client import where
from udfstore.errors import UsageError
from udfstore.server import logging

FAILED_EXIT = 1
"""Exit status when the UDF failed. Kapacitor was told why."""

_MODELS = "Models"
_STATE = "State"

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def bridge(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- COMMAND…", help="The UDF, with its arguments.")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="SOCK", help="Wait for Kapacitor there: one UDF for each connection."),
    ] = None,
    connect: Annotated[
        str | None, typer.Option("--connect", metavar="SOCK", help="The UDF listens there; no command is run.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Many bridges, from a TOML file.")
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", metavar="TEXT", help="Stands before the names of tasks: keeps Kapacitors apart."),
    ] = None,
    kapacitor_url: Annotated[
        str | None,
        typer.Option(
            "--kapacitor-url",
            metavar="URL",
            envvar="UDFSTORE_KAPACITOR_URL",
            help="Ask Kapacitor there for the DAG of a task, and when it was made.",
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            metavar="strict|upstream|key",
            help="What a change of the task leaves of its state.",
            rich_help_panel=_STATE,
        ),
    ] = None,
    without_store: Annotated[
        str | None,
        typer.Option(
            "--without-store",
            metavar="fresh|fail|wait=SECONDS",
            help="A start that needs a state while the server is away (default wait=60).",
            rich_help_panel=_STATE,
        ),
    ] = None,
    hand_back: Annotated[
        bool,
        typer.Option("--hand-back", help="Give Kapacitor whole states again: the way out.", rich_help_panel=_STATE),
    ] = False,
    no_save: Annotated[
        bool, typer.Option("--no-save", help="Be given a state, but store none.", rich_help_panel=_STATE)
    ] = False,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Take the task over from another kind of host.", rich_help_panel=_STATE),
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="TAG=PATH",
            help="The model lies in that file before the UDF starts; may be repeated.",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    on_move: Annotated[
        str | None,
        typer.Option(
            "--on-move",
            metavar="restart|write|ignore",
            help="When a model's tag moves (default restart).",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    keepalive_seconds: Annotated[
        str | None,
        typer.Option(
            "--keepalive-seconds",
            metavar="SECONDS",
            help="A UDF that starts or loads is kept alive for so long (default 600).",
        ),
    ] = None,
    log_format: Annotated[
        str, typer.Option("--log-format", metavar="auto|human|json", help="Form of the log on stderr.")
    ] = "auto",
    log_level: Annotated[
        str, typer.Option("--log-level", metavar="LEVEL", help="The least that is logged: debug, info, warning, error.")
    ] = "info",
    socket: Socket = None,
) -> None:
    """Stand between Kapacitor and a UDF that knows nothing of udfstore, and keep the UDF's state.

    Without --listen it speaks with Kapacitor on stdin and stdout: in kapacitor.conf `prog` becomes "udfstore" and
    `args` becomes ["bridge", "--", …] with what stood there before.
    """
    flags: dict[str, Any] = {
        "command": tuple(command or ()) or None,
        "connect": connect,
        "listen": listen,
        "prefix": prefix,
        "kapacitor_url": kapacitor_url,
        "policy": policy,
        "without_store": without_store,
        "models": tuple(model or ()) or None,
        "on_move": on_move,
        "keepalive_seconds": keepalive_seconds,
        "hand_back": hand_back or None,
        "no_save": no_save or None,
        "take_over": take_over or None,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    bridges = _bridges(given, config)
    known = Known(folder())
    shelter = Shelter([socket] if socket is not None else where.sockets(), where.claim(), folder())
    if config is None and listen is None:
        streams = Streams.of_process()
        logging.configure(log_format, log_level)
        failure = trio.run(on_streams, bridges[""], streams, shelter, known)
        if failure:
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
    given.pop("kapacitor_url", None)
    if given:
        raise UsageError(f"--config FILE holds all settings; beside it there is no {', '.join(given)}")
    return configuration.read(config)
