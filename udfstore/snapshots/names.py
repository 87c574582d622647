"""Names of tasks, nodes and snapshots, and how they stand in tags and URLs.

    snapshots/TASK/auto           every version is an automatic snapshot; the version is the snapshot's number
    snapshots/TASK/named/NAME     one snapshot under a name
    snapshots/TASK/task           what else is known of the task: see record.py

A name is any UTF-8 of up to 128 bytes without control characters. In a tag or a URL each byte outside
`[A-Za-z0-9._-]`, and a first byte `.` or `-`, is written `~xx` with two lower-case hex digits. A name has one such
form and a form one name, so that two names never share a tag.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from udfstore.digest import BlobId
from udfstore.errors import UsageError
from udfstore.refs import SHORT_ID_DIGITS, SNAPSHOTS, Prefix, Tag

NAME_BYTES = 128
"""Longest name: a tag that holds two of them, every byte escaped, stays below 800 bytes."""

RESERVED = frozenset({"fresh", "latest", "none"})
"""Words that stand in the place of a snapshot's name: `snapshot use TASK fresh`, `--restore latest|none`."""

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_NOT_FIRST = frozenset(b".-")
_ESCAPE = re.compile(rb"~([0-9a-f]{2})")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_DIGITS = re.compile(rf"(sha256:)?([0-9a-f]{{{SHORT_ID_DIGITS},64}})", re.ASCII)


def check_name(name: str, what: str) -> str:
    """Refuse what is no name of a task, a node or a snapshot (`UsageError`); `what` says which it was to be."""
    if not name:
        raise UsageError(f"{what} is empty")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} is not text: {error.reason}", got=ascii(name[:80])) from error
    if size > NAME_BYTES:
        raise UsageError(f"{what} has at most {NAME_BYTES} bytes", got=size)
    if any(unicodedata.category(c) == "Cc" for c in name):
        raise UsageError(f"{what} holds no control characters", got=ascii(name))
    return name


def escape(name: str) -> str:
    """A name as one segment of a tag or a URL."""
    raw = name.encode()
    return "".join(
        chr(byte) if byte in _PLAIN and (place or byte not in _NOT_FIRST) else f"~{byte:02x}"
        for place, byte in enumerate(raw)
    )


def unescape(segment: str) -> str:
    """The name that a segment stands for. Raises `UsageError` for text that `escape` never makes."""
    raw = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), segment.encode(errors="replace"))
    name = raw.decode(errors="replace")
    if not name or escape(name) != segment:
        raise UsageError("not an escaped name", expected="[A-Za-z0-9._-], other bytes as ~xx", got=ascii(segment[:80]))
    return name


def task_prefix(task: str) -> Prefix:
    """All tags of a task's snapshots."""
    return Prefix(f"{SNAPSHOTS}{escape(check_name(task, 'a task name'))}/")


def auto_tag(task: str) -> Tag:
    """The tag whose versions are the automatic snapshots of a task."""
    return Tag(f"{task_prefix(task)}auto")


def named_tag(task: str, name: str) -> Tag:
    """The tag of a named snapshot."""
    return Tag(f"{task_prefix(task)}named/{escape(check_snapshot_name(name))}")


def record_tag(task: str) -> Tag:
    """The tag of a task's record."""
    return Tag(f"{task_prefix(task)}task")


@dataclass(frozen=True, slots=True)
class SnapshotTag:
    """What a tag below `snapshots/` is: a task's automatic snapshots, one with a `name`, or the task's `record`."""

    task: str
    name: str | None = None
    record: bool = False

    @classmethod
    def parse(cls, tag: str) -> SnapshotTag:
        """Read a tag's name. Raises `UsageError` for one that no snapshot has."""
        match tag.removeprefix(SNAPSHOTS).split("/") if tag.startswith(SNAPSHOTS) else ():
            case [task, "auto"]:
                return cls(unescape(task))
            case [task, "task"]:
                return cls(unescape(task), record=True)
            case [task, "named", name]:
                return cls(unescape(task), unescape(name))
        raise UsageError(
            "not the tag of a snapshot", expected="snapshots/TASK/auto or snapshots/TASK/named/NAME", got=ascii(tag)
        )


def check_snapshot_name(name: str) -> str:
    """Refuse a name for a snapshot that would be read as something else where one is asked for (`UsageError`)."""
    check_name(name, "a snapshot's name")
    if name in RESERVED or name.startswith("sha256:") or _NUMBER.fullmatch(name) or _is_id(name):
        raise UsageError(
            "this cannot name a snapshot: it reads as a number, an ID or a word of the command line", got=repr(name)
        )
    return name


@dataclass(frozen=True, slots=True)
class SnapshotRef:
    """Whichever snapshot of a task a person means: a number, a name or the ID of its manifest.

    One reading applies, but for a number or a name of 8 to 63 hex digits, which may be the beginning of an ID: there
    `short` is set as well, and goes last.
    """

    text: str
    number: int = 0
    name: str = ""
    id: BlobId | None = None
    short: str = ""

    @classmethod
    def parse(cls, text: str) -> SnapshotRef:
        """Read SNAPSHOT. Raises `UsageError` for text that is none."""
        digits = _DIGITS.fullmatch(text)
        if _NUMBER.fullmatch(text):
            return cls(text, number=int(text), short=digits[2] if digits else "")
        if _is_id(text.removeprefix("sha256:")):
            return cls(text, id=BlobId.parse(text))
        if digits is not None and digits[1]:
            return cls(text, short=digits[2])
        return cls(text, name=check_snapshot_name(text), short=digits[2] if digits else "")

    def __str__(self) -> str:
        return self.text


def _is_id(text: str) -> bool:
    return len(text) == 64 and _DIGITS.fullmatch(text) is not None
