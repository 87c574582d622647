"""Who is connected, and what each of them follows. Plain data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from udfstore.calls import Following, Session, Used
from udfstore.digest import BlobId
from udfstore.model import NOWHERE, Author, Caller, Place
from udfstore.refs import Tag
from udfstore.tasks import Model

FOLLOWED = 64
"""Tags of one connection that are remembered, the newest ones: all of them fit one page of the register."""

ERROR_CHARACTERS = 200
"""Of what a loader said; the whole text is in the record."""


@dataclass(frozen=True, slots=True)
class Follower:
    """What one connection makes of one tag, by its records of use.

    `version` and `id` are in use (0 and None: nothing yet), `failed` is the newest version it could not use (0: none).
    """

    tag: str
    version: int
    id: BlobId | None
    failed: int


@dataclass(slots=True)
class _Connection:
    author: Author
    since_ns: int
    place: Place = NOWHERE
    role: str = ""
    calls: int = 0
    heard_ns: int = 0
    following: dict[str, Following] = field(default_factory=dict)
    """What its records of use say."""
    failed: dict[str, int] = field(default_factory=dict)
    """The newest version of each tag that it could not use."""
    models: dict[str, Following] = field(default_factory=dict)
    """What it had in use when it last gave its state."""

    @property
    def all(self) -> dict[str, Following]:
        return dict([*(self.models | self.following).items()][-FOLLOWED:])

    def behind(self, tag: str, version: int) -> bool:
        """Whether it follows a tag and has neither that version of it, nor failed on it, nor any later one.

        Its records of use alone count: what it held at its last state says nothing of now.
        """
        found = self.following.get(tag)
        return found is not None and max(found.version, self.failed.get(tag, 0)) < version


class Register:
    """The connections of one server. `on_change` are called, on any thread, when what one of them follows changed."""

    def __init__(self) -> None:
        self.on_change: list[Callable[[], None]] = []
        self._numbers = itertools.count(1)
        self._connections: dict[int, _Connection] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def enter(self, author: Author, time_ns: int, listener: str = "") -> Caller:
        """A connection began, by that listener; its caller carries the number that names it."""
        number = next(self._numbers)
        self._connections[number] = _Connection(author, time_ns)
        return Caller(author, number, listener=listener)

    def leave(self, caller: Caller) -> None:
        """The connection is over."""
        self._connections.pop(caller.session, None)
        self._changed()

    def introduce(self, caller: Caller, author: Author, place: Place = NOWHERE) -> Caller:
        """The connection said who it claims to be, and where it works; returns its caller from now on."""
        connection = self._connections.get(caller.session)
        if connection is not None:
            connection.author, connection.place = author, place
        return replace(caller, author=author, place=place)

    def joined(self, caller: Caller, *, owner: bool) -> None:
        """The connection is a node; without `owner` a copy of one."""
        if caller.session in self._connections:
            self._connections[caller.session].role = "owner" if owner else "copy"

    def called(self, caller: Caller) -> None:
        """The connection opened a call."""
        if caller.session in self._connections:
            self._connections[caller.session].calls += 1

    def heard(self, caller: Caller, time_ns: int) -> None:
        """A complete frame of the connection came."""
        if caller.session in self._connections:
            self._connections[caller.session].heard_ns = time_ns

    def used(self, caller: Caller, used: Used) -> None:
        """The connection took a version into use, or failed to: then the version before stays in use."""
        connection = self._connections.get(caller.session)
        if connection is None:
            return
        tag = used.tag.name
        before = connection.following.get(tag)
        error = f"@{used.version}: {used.error[:ERROR_CHARACTERS]}"
        if used.error and before is not None:
            now = Following(before.tag, before.version, before.id, error)
        elif used.error:
            now = Following(tag, 0, None, error)
        else:
            now = Following(tag, used.version, used.id)
        others = [(other, following) for other, following in connection.following.items() if other != tag]
        # New dicts each time, because this is the committer's thread.
        connection.following = following = dict([*others[1 - FOLLOWED :], (tag, now)])
        failed = {**connection.failed, tag: used.version if used.error else 0}
        connection.failed = {tag: version for tag, version in failed.items() if version and tag in following}
        self._changed()

    def holds(self, caller: Caller, models: Sequence[Model]) -> None:
        """The connection, a node, gave its state, and said which models it had in use."""
        connection = self._connections.get(caller.session)
        if connection is not None:
            now = {model.tag: Following(model.tag, model.version, model.blob) for model in models[:FOLLOWED]}
            if now != connection.models:
                connection.models = now
                self._changed()

    def sessions(self) -> list[Session]:
        """All connections, oldest first."""
        return [_told(number, connection) for number, connection in self._connections.items()]

    def followers(self, tag: Tag) -> list[Session]:
        """Those that follow a tag, oldest first."""
        return [_told(number, c) for number, c in self._connections.items() if tag.name in c.following]

    def behind(self, tag: Tag, version: int) -> bool:
        """Whether anybody who follows a tag has neither that version, nor failed on it, nor any later one."""
        return any(connection.behind(tag.name, version) for connection in self._connections.values())

    def every_follower(self) -> list[Follower]:
        """Each tag that each connection follows. For any thread."""
        return [
            Follower(tag, f.version, f.id, c.failed.get(tag, 0))
            for c in list(self._connections.values())
            for tag, f in c.following.items()
        ]

    def nodes(self) -> list[tuple[str, str, int]]:
        """Task, role (`owner` or `copy`) and begin (nanoseconds since 1970) of each connected node. For any thread."""
        return [(c.place.task, c.role, c.since_ns) for c in list(self._connections.values()) if c.role]

    def _changed(self) -> None:
        for tell in self.on_change:
            tell()


def _told(number: int, c: _Connection) -> Session:
    return Session(number, c.author, c.since_ns, c.calls, tuple(c.all.values()), c.place, c.role, c.heard_ns)
