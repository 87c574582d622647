"""Commands about who may ask over HTTP: token add, token ls, token rm, web."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from udfstore.cli.complete import tokens
from udfstore.cli.output import put, put_array, put_lines, tell
from udfstore.cli.show import columns, when
from udfstore.cli.show_tasks import ago
from udfstore.cli.stores import opened, words
from udfstore.cli.words import Json, Root, Socket
from udfstore.plain import mapping

NAME = "NAME"


def token_add(
    name: Annotated[
        str, typer.Argument(metavar=NAME, help="Letters, digits, '.', '_' and '-'; shown beside what it does.")
    ],
    can: Annotated[
        str, typer.Option("--can", metavar="metrics|read|write", help="What it is good for (default read).")
    ] = "read",
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Make a token for the HTTP API, and print its secret, this once."""
    with opened(root, socket) as store:
        made = store.add_token(name, can)
    if json:
        put({**mapping(made.token), "secret": made.secret})
    else:
        print(made.secret)
        undo = f"udfstore token rm {name}{words(root, socket)}"
        tell(f"{name} can {made.token.can.value}; this is shown only now  undo: {undo}")


def token_ls(json: Json = False, root: Root = None, socket: Socket = None) -> None:
    """List tokens, without their secrets."""
    now = time.time_ns()
    with opened(root, socket) as store:
        found = store.tokens()
        rows = ((token.name, token.can.value, when(token.added_ns), ago(token.added_ns, now)) for token in found)
        put_array(found) if json else put_lines(columns(rows))


def token_rm(
    name: Annotated[str, typer.Argument(metavar=NAME, help="A token.", autocompletion=tokens, show_default=False)],
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Revoke a token, at once."""
    with opened(root, socket) as store:
        removed = store.remove_token(name)
    if json:
        put(removed)


def web(
    open: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Print a link that logs a browser into the web page, once."""
    import webbrowser

    with opened(root, socket) as store:
        link = store.web_link()
    put(link) if json else print(link.url)
    if open and not webbrowser.open(link.url):
        tell("no browser could be opened here; open the link yourself")
    if not json:
        tell(f"it works once, within {link.seconds // 60} min, and acts as you")
