"""The nouns of udfstore as plain values: authors, entries, blobs. Every room speaks of them in these words.

Times are integers: nanoseconds since 1970-01-01 UTC (`time_ns`); `time` gives the same as a datetime.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from udfstore.digest import BlobId
from udfstore.errors import UsageError

NOTE_BYTES = 4096
LABELS = 32
LABELS_BYTES = 1024
CLAIM_BYTES = 1024
REQUEST_BYTES = 16


def datetime_of(time_ns: int) -> datetime:
    """Nanoseconds since 1970 as an aware datetime in UTC (microseconds; the rest is cut off)."""
    seconds, ns = divmod(time_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=ns // 1000)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a caller says of itself: shown as claimed, never used for access. Empty text: not said."""

    person: str = ""
    host: str = ""
    job: str = ""
    commit: str = ""

    def check(self) -> Claim:
        """Refuse a claim that is too long or has control characters (`UsageError`)."""
        said = (self.person, self.host, self.job, self.commit)
        if sum(len(text.encode()) for text in said) > CLAIM_BYTES:
            raise UsageError(f"a claim (person, host, job, commit) has at most {CLAIM_BYTES} bytes in all")
        if not all(text.isprintable() for text in said):
            raise UsageError("a claim (person, host, job, commit) holds no control characters")
        return self


@dataclass(frozen=True, slots=True)
class Author:
    """Who made a record: a verified part, and beside it what the caller claimed.

    `front` is the door: `socket`, `http`, `local` (no server) or `server` (its own housekeeping). `uid`, `gids`, `pid`
    are what the kernel says of the peer, -1 and () where there is none; `program` is the peer's command name where it
    can be read; `token` the name of an HTTP token.
    """

    front: str
    uid: int = -1
    gids: tuple[int, ...] = ()
    pid: int = -1
    program: str = ""
    token: str = ""
    claim: Claim = field(default_factory=Claim)

    def __str__(self) -> str:
        if self.claim.person:
            return f"{self.claim.person} (claimed)"
        if self.token:
            return f"token {self.token}"
        if self.uid >= 0:
            return f"uid {self.uid}" + (f" ({self.program})" if self.program else "")
        return self.front

    @property
    def owner(self) -> str:
        """Whom what it names counts for, by what is verified alone: a token, a user, or the front."""
        if self.token:
            return f"token {self.token}"
        return f"uid {self.uid}" if self.uid >= 0 else self.front


NOBODY = Author("")
"""The author of an entry told in brief."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client works: a node of a task."""

    task: str = ""
    node: str = ""


NOWHERE = Place()


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a service function runs.

    `session` names the connection, `place` where it said that it works, `listener` the one it came by.
    """

    author: Author
    session: int = 0
    place: Place = NOWHERE
    listener: str = ""

    @property
    def holder(self) -> Hashable:
        """Whose what it brings is: its connection's, or without one (HTTP) everybody's of that name."""
        return self.session or (self.author.front, self.author.uid, self.author.token)


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag's part of a record, with what the record says of all its entries.

    `id` is None where the entry is a deletion (then `size` is 0). `origin` is the version of the same tag that a
    rollback went back to, 0 for none; `source` the ref as it was given. `links` are the blobs that this blob refers to.
    `held`: the tag stays here until its release, as `author` wants it and `note` says why.
    """

    tag: str
    version: int
    id: BlobId | None
    size: int
    revision: int
    time_ns: int
    author: Author
    note: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    origin: int = 0
    source: str = ""
    links: tuple[BlobId, ...] = ()
    held: bool = False

    @property
    def time(self) -> datetime:
        """When the record was made, by the server's clock."""
        return datetime_of(self.time_ns)

    @property
    def brief(self) -> Entry:
        """The same without what may be long: author, note, labels and links."""
        return replace(self, author=NOBODY, note="", labels={}, links=())

    @property
    def ref(self) -> str:
        """`tag@version`."""
        return f"{self.tag}@{self.version}"


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """What the store knows of one blob.

    `tags` are refs of the newest entries that name it, `history` how many older versions do. `entry` is the entry
    through which it was asked for, if it was. `saved_ns` is when it was first saved (0: not known), `verified_ns` when
    its file was last hashed (at the save, or since).
    """

    id: BlobId
    size: int
    saved_ns: int = 0
    verified_ns: int = 0
    tags: tuple[str, ...] = ()
    history: int = 0
    entry: Entry | None = None


class Kind(enum.Enum):
    """What a record of the log does."""

    MOVE = "move"
    """Entries: tags moved or deleted in one step."""
    MARK = "mark"
    """A batch of blobs that nothing keeps: they may be condemned after the grace time."""
    RESCUE = "rescue"
    """A marked or condemned blob is wanted again."""
    CONDEMN = "condemn"
    """Blobs on their way out; they answer `gone` from here on."""
    ERASED = "erased"
    """Their files are unlinked."""
    USED = "used"
    """A follower took a version into use, or failed to."""
    CLOSED = "closed"
    """The server stopped cleanly after everything before this."""


@dataclass(frozen=True, slots=True)
class Event:
    """One revision as a watch tells it: those of its entries that match.

    `revision` is where to resume (`since=`). A watch without `since` begins with events that are `present`: entries as
    they stand at `revision`, each with its own older one; a present event without entries ends them.
    """

    revision: int
    entries: tuple[Entry, ...]
    present: bool = False


def check_note(note: str) -> str:
    """Refuse a note that is too long (`UsageError`)."""
    size = len(note.encode())
    if size > NOTE_BYTES:
        raise UsageError(f"a note has at most {NOTE_BYTES} bytes", got=size)
    return note


def check_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Refuse labels that are too many, too long or without a name (`UsageError`)."""
    if len(labels) > LABELS:
        raise UsageError(f"an entry has at most {LABELS} labels", got=len(labels))
    size = sum(len(key.encode()) + len(value.encode()) for key, value in labels.items())
    if size > LABELS_BYTES:
        raise UsageError(f"the labels of an entry have at most {LABELS_BYTES} bytes in all", got=size)
    if not all(key and key.isprintable() for key in labels):
        raise UsageError("a label has a printable name", got=sorted(labels))
    return labels


def check_request(request: bytes) -> bytes:
    """Refuse a request number that is not 16 bytes (`UsageError`)."""
    if len(request) != REQUEST_BYTES:
        raise UsageError(f"a request number has {REQUEST_BYTES} bytes", got=len(request))
    return request
