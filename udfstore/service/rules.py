"""Who may do what: rules as an operator writes them, and what they come to for one caller. Pure.

    grant   = right [ ":" pattern ]          without a pattern: for everything
    right   = "read" | "snapshot" | "write" | "delete" | "admin"

`read` sees tags, their history and the content that they name or link. `write` saves content and moves tags, `delete`
deletes tags and removes content; both may read what they are about. The pattern of those is one of tags. `snapshot`
lets nodes of a task join, take its snapshots and be restored from them; its pattern is one of tasks, as their names
stand in tags. `admin` is about tokens, backups, checks and collection, and has no pattern.

What a listener allows is the most that anybody may do who comes by it. Where there are rules, a caller may do what
those allow together that fit it; where there are none, all that its listener allows.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from udfstore.errors import UsageError
from udfstore.model import Author
from udfstore.refs import SNAPSHOTS, Pattern

UNKNOWN = 65534
"""What the kernel calls every user and every group that has no number here (another user namespace): nobody's name."""

ALL = "**"
EVERYTHING = Pattern(ALL)


class Right(enum.Enum):
    """What may be done."""

    READ = "read"
    SNAPSHOT = "snapshot"
    WRITE = "write"
    DELETE = "delete"
    ADMIN = "admin"


_READ_TOO = (Right.READ, Right.WRITE, Right.DELETE)


@dataclass(frozen=True, slots=True)
class Grant:
    """One right, for the tags or tasks of a pattern."""

    right: Right
    pattern: Pattern = EVERYTHING

    @classmethod
    def parse(cls, text: str) -> Grant:
        """Read `RIGHT` or `RIGHT:PATTERN`. Raises `UsageError`."""
        word, colon, pattern = text.partition(":")
        try:
            right = Right(word)
        except ValueError:
            known = ", ".join(right.value for right in Right)
            raise UsageError("not a right", expected=f"{known}; with :PATTERN", got=repr(text[:80])) from None
        if not colon:
            return cls(right)
        if right is Right.ADMIN:
            raise UsageError("admin is about no tags: it has no pattern", got=repr(text[:80]))
        return cls(right, Pattern.parse(pattern))

    def covers(self, right: Right, tag: str) -> bool:
        """Whether it gives a right to the tag of that name."""
        if self.right is Right.SNAPSHOT and right in (Right.SNAPSHOT, Right.READ):
            task, slash, _ = tag.removeprefix(SNAPSHOTS).partition("/")
            return bool(slash) and tag.startswith(SNAPSHOTS) and self.pattern.fits(task)
        return (right is self.right or (right is Right.READ and self.right in _READ_TOO)) and self.pattern.fits(tag)

    def everywhere(self, right: Right) -> bool:
        """Whether it gives a right to everything there is."""
        given = right is self.right or (right is Right.READ and self.right in _READ_TOO)
        return given and self.pattern.text == ALL


@dataclass(frozen=True, slots=True)
class Side:
    """One of the sides that have to allow what a caller does: its listener, or the rules that fit it."""

    name: str
    grants: tuple[Grant, ...]

    def may(self, right: Right, tag: str) -> bool:
        """Whether it gives a right to a tag."""
        return any(grant.covers(right, tag) for grant in self.grants)

    def everywhere(self, right: Right) -> bool:
        """Whether it gives a right to everything."""
        return any(grant.everywhere(right) for grant in self.grants)

    def anywhere(self, right: Right) -> bool:
        """Whether it gives a right to anything at all."""
        return any(grant.right is right for grant in self.grants)


@dataclass(frozen=True, slots=True)
class Rights:
    """What one caller may do: what each side allows."""

    sides: tuple[Side, ...]

    def may(self, right: Right, tag: str) -> bool:
        """Whether the caller has a right to a tag."""
        return all(side.may(right, tag) for side in self.sides)

    def everywhere(self, right: Right) -> bool:
        """Whether the caller has a right to everything."""
        return all(side.everywhere(right) for side in self.sides)

    def refused(self, need: Need) -> Side | None:
        """The side that does not give what is needed; None: all do."""
        return next((side for side in self.sides if not need.met(side)), None)


@dataclass(frozen=True, slots=True)
class Need:
    """What has to be allowed: one of these rights, to one tag, to everything (`ALL`), or to anything (an empty text).

    `what` says for people what it is about.
    """

    rights: tuple[Right, ...]
    tag: str = ALL
    what: str = ""

    def met(self, side: Side) -> bool:
        """Whether a side gives it."""
        if self.tag == ALL:
            return any(side.everywhere(right) for right in self.rights)
        if not self.tag:
            return any(side.anywhere(right) for right in self.rights)
        return any(side.may(right, self.tag) for right in self.rights)


@dataclass(frozen=True, slots=True)
class Rule:
    """What is allowed to whom. Empty text and None: whoever; `user` and `group` are numbers."""

    allow: tuple[Grant, ...]
    listener: str = ""
    user: int | None = None
    group: int | None = None
    token: str = ""

    def fits(self, listener: str, author: Author) -> bool:
        """Whether it is about that caller, by all that it names. A user or group that is not known fits no number."""
        return (
            self.listener in ("", listener)
            and (self.user is None or self.user == author.uid != UNKNOWN)
            and (self.group is None or (self.group in author.gids and self.group != UNKNOWN))
            and self.token in ("", author.token)
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """All that an operator wrote down: what each listener allows (those not named: everything), and the rules.

    `place` is where it stands.
    """

    listeners: Mapping[str, tuple[Grant, ...]] = field(default_factory=dict, hash=False)
    rules: tuple[Rule, ...] = ()
    place: str = ""

    def of(self, listener: str, author: Author) -> Rights | None:
        """What a caller may do who came by that listener; None: everything."""
        sides = []
        if listener in self.listeners:
            sides.append(Side(f"the listener {listener}", self.listeners[listener]))
        if self.rules:
            fitting = (grant for rule in self.rules if rule.fits(listener, author) for grant in rule.allow)
            sides.append(Side("the rules", tuple(dict.fromkeys(fitting))))
        limits = tuple(side for side in sides if not _everything(side))
        return Rights(limits) if limits else None


def parse(texts: Iterable[str]) -> tuple[Grant, ...]:
    """What a list of grants allows. Raises `UsageError`."""
    return tuple(Grant.parse(text) for text in texts)


def _everything(side: Side) -> bool:
    return all(side.everywhere(right) for right in Right)
