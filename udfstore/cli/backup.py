"""The commands backup and restore."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from udfstore.cli import show
from udfstore.cli.output import put, put_lines, tell, text_of
from udfstore.cli.progress import Advance, progress
from udfstore.cli.stores import opened
from udfstore.cli.words import STORE, Json, Root, Socket
from udfstore.errors import Corrupt, UsageError

if TYPE_CHECKING:
    from udfstore.backup import Taken, Target

NewRoot = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Make the store at DIR, not in the usual place.", rich_help_panel=STORE),
]


def backup(
    to: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|-",
            help="A folder, brought up to date if it holds a backup of this store; - writes a tar archive to stdout.",
            show_default=False,
        ),
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash what the folder holds already, and fetch anew what is damaged.")
    ] = False,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Back the store up, while it is in use."""
    from udfstore.backup import Folder, Stream, take

    stream = to == Path("-")
    if stream and sys.stdout.isatty():
        raise UsageError("a backup is binary, and stdout is a terminal; use a folder or a pipe")
    if stream and verify:
        raise UsageError("--verify is about what a folder holds; a stream is always whole")
    with opened(root, socket) as store, ExitStack() as stack:
        target: Target = Stream(sys.stdout.buffer) if stream else stack.enter_context(Folder(to, verify=verify))

        def begin(total: int) -> Advance:
            return stack.enter_context(progress("backing up", total))

        taken = take(store, target, begin)
    for damage in taken.damaged:
        named = f", named by {', '.join(damage.versions)}" if damage.versions else ""
        tell(f"not in the backup: {damage.why}{named}")
    if stream:
        tell(text_of(taken) if json else _line(taken, "stdout"))
    else:
        put(taken) if json else put_lines([_line(taken, str(to))])
    if taken.damaged:
        raise Corrupt(
            f"the store is damaged: {len(taken.damaged)} of its blobs are not in the backup, all else is; "
            "save their content again"
        )


def _line(taken: Taken, place: str) -> str:
    removed = f", {taken.removed} older ones removed" if taken.removed else ""
    return (
        f"revision {taken.revision} in {place}: {taken.blobs:,} blobs, {show.size(taken.bytes)};"
        f" {taken.fetched:,} fetched, {show.size(taken.fetched_bytes)}{removed}"
    )


def restore(
    source: Annotated[
        Path,
        typer.Argument(metavar="DIR|-", help="A folder with a backup; - reads a stream.", show_default=False),
    ],
    json: Json = False,
    root: NewRoot = None,
) -> None:
    """Make a store from a backup, where there is none, checking all of it."""
    from udfstore import backup
    from udfstore.client.where import default_root

    stream = source == Path("-")
    if stream and sys.stdin.isatty():
        raise UsageError("stdin is a terminal; name a folder, or give the stream: udfstore restore - < FILE")
    total = None if stream else backup.summary_of(source).size
    files = backup.read_stream(sys.stdin.buffer) if stream else backup.read_folder(source)
    with progress("restoring", total) as advance:
        restored = backup.restore(files, default_root() if root is None else root, advance, tell)
    if restored.damaged:
        tell(f"{len(restored.damaged)} blobs were damaged in the store when it was backed up, and are not here:")
        for id in restored.damaged:
            tell(f"  {id}")
    if json:
        put(restored)
    else:
        put_lines(
            [
                f"{restored.root}: revision {restored.revision}, epoch {restored.epoch},"
                f" {restored.blobs:,} blobs, {show.size(restored.bytes)}, {restored.tags:,} tags; all verified"
            ]
        )
