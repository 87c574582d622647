"""The command that reads metrics: metrics."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from udfstore.cli.output import put
from udfstore.cli.stores import opened
from udfstore.cli.words import Json, Root, Socket

MODE = 0o644
"""The collector that reads the file is another user."""


def metrics(
    textfile: Annotated[
        Path | None, typer.Option("--textfile", metavar="FILE", help="Write them to FILE, whole or not at all.")
    ] = None,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Print the server's metrics in Prometheus' text format."""
    with opened(root, socket) as store:
        text = store.metrics()
    if textfile is not None:
        _replace(textfile, text)
    if json:
        put({"text": text})
    elif textfile is None:
        print(text, end="")


def _replace(path: Path, text: str) -> None:
    """Whoever reads the file meanwhile finds the old text or the new one."""
    beside = path.with_name(f".udfstore-{os.urandom(8).hex()}")  # a name that node_exporter passes over
    try:
        fd = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, MODE)
        with open(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, MODE)  # the umask may have taken bits away
            file.write(text)
        beside.replace(path)
    except OSError as error:  # told of the file that the user knows
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
