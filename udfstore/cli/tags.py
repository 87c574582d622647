"""Commands about tags: ls, tag, log, rollback, untag, hold, release, watch."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from udfstore.cli import show
from udfstore.cli.output import put, put_array, put_lines, tell
from udfstore.cli.stores import opened, words
from udfstore.cli.waiting import await_followers, check_wait
from udfstore.cli.words import Expect, Json, Label, Note, PrefixWord, RefWord, Root, Socket, TagWord, Wait, labels
from udfstore.errors import NotFound, UsageError
from udfstore.model import Entry
from udfstore.plain import mapping
from udfstore.refs import Prefix

if TYPE_CHECKING:
    from udfstore.client.base import BaseStore


def ls(prefix: PrefixWord = "", json: Json = False, root: Root = None, socket: Socket = None) -> None:
    """List tags with what they name now."""
    with opened(root, socket) as store:
        if prefix and not Prefix.parse(prefix).many and not any(store.tags(prefix)):
            raise NotFound(f"there is no tag {prefix}; for all tags below it: udfstore ls {prefix}/")
        entries = store.tags(prefix)
        put_array(entries) if json else put_lines(show.columns(map(show.tag_row, entries)))


def tag(
    name: TagWord,
    ref: RefWord,
    note: Note = "",
    label: Label = None,
    expect: Expect = None,
    wait: Wait = None,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Move a tag, or make it."""
    given = labels(label)
    check_wait(wait, root, socket)
    with opened(root, socket) as store:
        entry = store.tag(name, ref, note=note, labels=given, expected_version=expect)
        _moved(store, entry, json, words(root, socket))
        await_followers(store, entry, wait)


def log(name: TagWord, json: Json = False, root: Root = None, socket: Socket = None) -> None:
    """Show the history of a tag, newest first."""
    with opened(root, socket) as store:
        entries = store.history(name)
        put_array(entries) if json else put_lines(show.columns(show.history(entries)))


def rollback(
    name: TagWord,
    to: Annotated[
        int | None, typer.Option("--to", metavar="N", help="To version N; without it, to the one before.")
    ] = None,
    note: Note = "",
    label: Label = None,
    expect: Expect = None,
    wait: Wait = None,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Move a tag back to an older version; a tag that was deleted comes back.

    Rolled back once more, it goes further back, never forward to what it left.
    """
    given = labels(label)
    check_wait(wait, root, socket)
    with opened(root, socket) as store:
        moved = store.rolled_back(name, to=to, note=note, labels=given, expected_version=expect)
        for version in moved.skipped:
            tell(f"passed over {version}: its content is gone")
        _moved(store, moved.entries[0], json, words(root, socket))
        await_followers(store, moved.entries[0], wait)


def untag(
    name: TagWord,
    note: Note = "",
    expect: Expect = None,
    wait: Wait = None,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Delete a tag. Its history stays, and rollback brings it back."""
    check_wait(wait, root, socket)
    with opened(root, socket) as store:
        entry = store.untag(name, note=note, expected_version=expect)
        _moved(store, entry, json, words(root, socket))
        await_followers(store, entry, wait)


def hold(
    name: TagWord,
    note: Annotated[str, typer.Option("--note", metavar="WHY", help="Told to whoever is refused.", show_default=False)],
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Keep a tag where it is: moves, rollbacks and untag are refused, and told who holds it and why, until release."""
    with opened(root, socket) as store:
        _moved(store, store.hold(name, note), json, words(root, socket))


def release(name: TagWord, note: Note = "", json: Json = False, root: Root = None, socket: Socket = None) -> None:
    """Let a held tag move again, whoever holds it."""
    with opened(root, socket) as store:
        _moved(store, store.release(name, note=note), json, words(root, socket))


def _moved(store: BaseStore, entry: Entry, json: bool, flags: str) -> None:
    if json:
        put(entry)
    tell_move(store, entry, flags)


def tell_move(store: BaseStore, entry: Entry, flags: str) -> None:
    """Say on stderr what a move did and how to undo it."""
    before = store.get_tag(f"{entry.tag}@{entry.version - 1}") if entry.version > 1 else None
    tell(show.move(before, entry, flags))


def watch(
    prefix: PrefixWord = "",
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="ID", help="Only what came after this event: a revision, or epoch-revision."),
    ] = None,
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Show tags as they are, then each move as it happens, until interrupted.

    With --json, each line is one event: those of one revision moved together, and its id is for --since.
    """
    revision, epoch = (None, 0) if since is None else _event_id(since)
    with opened(root, socket) as store:
        for event in store.watch(prefix, since=revision, epoch=epoch):
            if json:
                put({"id": f"{store.epoch}-{event.revision}", **mapping(event)})
            else:
                put_lines(show.columns(map(show.tag_row, event.entries)))
            sys.stdout.flush()


def _event_id(text: str) -> tuple[int, int]:
    """Revision and epoch (0: not said) of an event's id."""
    found = re.fullmatch(r"(?:(\d{1,18})-)?(\d{1,18})", text, re.ASCII)
    if found is None:
        raise UsageError("not the id of an event", expected="a revision, or epoch-revision", got=repr(text))
    return int(found[2]), int(found[1] or 0)
