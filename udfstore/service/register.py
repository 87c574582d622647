"""Who is connected, and what each of them follows. Plain data."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from udfstore.calls import Following, Session, Used
from udfstore.model import Author, Caller

FOLLOWED = 64
"""Tags of one connection that are remembered, the newest ones: all of them fit one page of the register."""

ERROR_CHARACTERS = 200
"""Of what a loader said; the whole text is in the record."""


@dataclass(slots=True)
class _Connection:
    author: Author
    since_ns: int
    calls: int = 0
    following: dict[str, Following] = field(default_factory=dict)


class Register:
    """The connections of one server."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._connections: dict[int, _Connection] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def enter(self, author: Author, time_ns: int) -> Caller:
        """A connection began; its caller carries the number that names it."""
        number = next(self._numbers)
        self._connections[number] = _Connection(author, time_ns)
        return Caller(author, number)

    def leave(self, caller: Caller) -> None:
        """The connection is over."""
        self._connections.pop(caller.session, None)

    def introduce(self, caller: Caller, author: Author) -> Caller:
        """The connection said who it claims to be; returns its caller from now on."""
        if caller.session in self._connections:
            self._connections[caller.session].author = author
        return Caller(author, caller.session)

    def called(self, caller: Caller) -> None:
        """The connection opened a call."""
        if caller.session in self._connections:
            self._connections[caller.session].calls += 1

    def used(self, caller: Caller, used: Used) -> None:
        """The connection took a version into use, or failed to: then the version before stays in use."""
        connection = self._connections.get(caller.session)
        if connection is None:
            return
        before = connection.following.get(used.tag.name)
        error = f"@{used.version}: {used.error[:ERROR_CHARACTERS]}"
        if used.error and before is not None:
            now = Following(before.tag, before.version, before.id, error)
        elif used.error:
            now = Following(used.tag.name, 0, None, error)
        else:
            now = Following(used.tag.name, used.version, used.id)
        others = [(tag, following) for tag, following in connection.following.items() if tag != used.tag.name]
        # A new dict each time, because this is the committer's thread.
        connection.following = dict([*others[1 - FOLLOWED :], (used.tag.name, now)])

    def sessions(self) -> list[Session]:
        """All connections, oldest first."""
        return [
            Session(number, c.author, c.since_ns, c.calls, tuple(c.following.values()))
            for number, c in self._connections.items()
        ]
