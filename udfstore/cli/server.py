"""Commands about a server: status, replay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from udfstore.cli import show
from udfstore.cli.output import put, put_lines
from udfstore.cli.stores import opened
from udfstore.cli.words import Json, Root, Socket
from udfstore.errors import UsageError
from udfstore.plain import mapping

NOT_READY_EXIT = 1


def status(json: Json = False, root: Root = None, socket: Socket = None) -> None:
    """Say whether the store is ready: exit status 0 if it is, 5 with no server, 1 if not, with the reason."""
    with opened(root, socket) as store:
        health = store.status()
    put({"ready": not health.problem, **mapping(health)}) if json else put_lines(show.health_facts(health))
    if health.problem:
        raise typer.Exit(NOT_READY_EXIT)


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A transcript.", show_default=False)],
    socket: Annotated[
        Path | None, typer.Option("--socket", metavar="PATH", help="Play the client's side to the server there.")
    ] = None,
    listen: Annotated[
        Path | None, typer.Option("--listen", metavar="PATH", help="Play the server's side to a client that connects.")
    ] = None,
) -> None:
    """Play one side of a recorded conversation, and say at the first frame that differs what should have come."""
    if (socket is None) == (listen is None):
        raise UsageError("name either --socket PATH, to play the client, or --listen PATH, to play the server")
    from udfstore.cli.replay import replay_client, replay_server

    if socket is not None:
        frames = replay_client(file, socket)
    else:
        assert listen is not None
        frames = replay_server(file, listen)
    print(f"{frames} frames came as expected")
