"""Commands about content: put, get, stat, blobs, rm, why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from udfstore.cli import show
from udfstore.cli.files import source, to_path, to_stdout
from udfstore.cli.output import put as put_json
from udfstore.cli.output import put_array, put_lines, tell
from udfstore.cli.stores import opened, words
from udfstore.cli.tags import tell_move
from udfstore.cli.waiting import await_followers, check_wait
from udfstore.cli.words import Expect, Json, Label, Note, RefWord, Root, Socket, Wait, labels
from udfstore.errors import NotFound, UsageError
from udfstore.refs import Ref

if TYPE_CHECKING:
    from udfstore.client.base import BaseStore


def put(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to save; - reads stdin.", show_default=False)],
    tag: Annotated[str | None, typer.Option("--tag", metavar="NAME", help="Move this tag to it.")] = None,
    note: Note = "",
    label: Label = None,
    expect: Expect = None,
    wait: Wait = None,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Save a file and print its ID, which `sha256sum FILE` confirms."""
    if tag is None and (note or label or expect is not None or wait is not None):
        raise UsageError("--note, --label, --expect and --wait are about the move of a tag: name it with --tag")
    check_wait(wait, root, socket)
    given = labels(label)
    with source(file) as content, opened(root, socket, create=True) as store:
        saved = store.save(content, tag=tag, note=note, labels=given, expected_version=expect)
        put_json(saved) if json else print(saved.id)
        if saved.entry is not None:
            tell_move(store, saved.entry, words(root, socket))
            await_followers(store, saved.entry, wait)


def get(
    ref: RefWord,
    out: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write there: whole and checked, or not at all."),
    ] = None,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Write a blob to stdout or to a file."""
    to_file = out is not None and out != "-"
    if json and not to_file:
        raise UsageError("--json describes what -o FILE was given; without it stdout holds the content")
    with opened(root, socket) as store:
        head = to_path(store, ref, Path(out or "")) if to_file else to_stdout(store, ref)
    if json:
        put_json(head.info)


def stat(ref: RefWord, json: Json = False, root: Root = None, socket: Socket = None) -> None:
    """Show what is known of a blob, and of the version that was asked for."""
    with opened(root, socket) as store:
        info = store.stat(ref)
    put_json(info) if json else put_lines(show.blob_facts(info))


def blobs(json: Json = False, root: Root = None, socket: Socket = None) -> None:
    """List all blobs, oldest first."""
    with opened(root, socket) as store:
        put_array(store.blobs()) if json else put_lines(show.columns(map(show.blob_row, store.blobs())))


def rm(
    ref: RefWord,
    force: Annotated[bool, typer.Option("--force", help="Even if a tag names it now.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Free the space at once, with no hour of grace.")] = False,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Remove a blob's content; history stays and says that it is gone."""
    with opened(root, socket) as store:
        _refuse_tag(store, Ref.parse(ref))
        deleted = store.delete(ref, force=force, now=now)
    put_json(deleted) if json else print(deleted.id)
    if deleted.versions:
        more = f" and {deleted.more} more" if deleted.more else ""
        tell(f"gone from now on: {', '.join(deleted.versions)}{more}")


def _refuse_tag(store: BaseStore, ref: Ref) -> None:
    """A tag without a version is a name that moves: removing what it happens to name now is seldom meant."""
    if ref.tag is None or ref.version is not None:
        return
    try:
        entry = store.get_tag(ref)
    except NotFound:
        if ref.short:
            return  # the digits of an ID, then
        raise
    raise UsageError(
        f"{entry.tag} is a tag: `udfstore untag {entry.tag}` deletes the tag and keeps the content; "
        f"to remove the content name its version: `udfstore rm {entry.ref}`"
    )


def why(ref: RefWord, json: Json = False, root: Root = None, socket: Socket = None) -> None:
    """Show what keeps a blob: the tags and versions that name it or link to it."""
    with opened(root, socket) as store:
        kept = store.why(ref)
    put_json(kept) if json else put_lines(show.kept_facts(kept))
