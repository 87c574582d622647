"""`--wait`: what the followers of a tag made of its move."""

from __future__ import annotations

from typing import TYPE_CHECKING

from udfstore.cli.output import tell
from udfstore.cli.show import author, one_line
from udfstore.cli.show_tasks import place
from udfstore.errors import Conflict, TimedOut, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from udfstore.calls import Following, Session
    from udfstore.client.base import BaseStore
    from udfstore.model import Entry


def check_wait(wait: int | None, root: Path | None, socket: Path | None) -> None:
    """Refuse to wait where nobody can follow, before anything moves (`UsageError`)."""
    if wait is not None and root is not None and socket is None:
        raise UsageError("--wait asks the followers of a server; a store opened with --root has none")


def await_followers(store: BaseStore, entry: Entry, wait: int | None) -> None:
    """Wait until every follower has an entry, and tell who does. None: do not.

    Raises `Conflict` that names those that failed on it, and `TimedOut` those that do not have it in time.
    """
    if wait is None:
        return
    if entry.id is None:
        held = _followers(store.await_followers(entry.tag, entry.version, 0), entry.tag)
        tell(f"a deleted tag takes no model away: {len(held)} go on with what they have")
        return
    followers = _followers(store.await_followers(entry.tag, entry.version, wait), entry.tag)
    failed = [(who, f.error) for who, f in followers if f.error.startswith(f"@{entry.version}:")]
    late = [(who, f) for who, f in followers if f.version < entry.version and (who, f.error) not in failed]
    if failed:
        told = "; ".join(f"{who}: {one_line(error)}" for who, error in failed)
        raise Conflict(f"{len(failed)} of {len(followers)} followers could not take {entry.ref} into use: {told}")
    if late:
        told = "; ".join(f"{who} has {f'@{f.version}' if f.version else 'nothing'}" for who, f in late)
        raise TimedOut(f"{len(late)} of {len(followers)} followers do not have {entry.ref} after {wait} s: {told}")
    tell(f"{entry.ref} is in use by all who follow it: {', '.join(who for who, _ in followers) or 'nobody'}")


def _followers(sessions: list[Session], tag: str) -> list[tuple[str, Following]]:
    """Who follows a tag, each with what it has."""
    return [(_who(session), f) for session in sessions for f in session.following if f.tag == tag]


def _who(session: Session) -> str:
    return place(session.place) or f"{author(session.author)}, session {session.id}"
