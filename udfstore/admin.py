"""What operators ask of a server: tokens, links into the web page, metrics, backups, checks.

Carried and answered as the calls of `udfstore.calls`. Times are nanoseconds since 1970 (`…_ns`).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from udfstore.digest import BlobId
from udfstore.errors import UsageError

TOKEN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)

PART_BYTES = 32 * 1024
"""Of a log or a text in one item: well below the largest page."""


class Can(enum.Enum):
    """What a token is good for; each includes those before it."""

    METRICS = "metrics"
    """Metrics with names in them."""
    READ = "read"
    """All that changes nothing."""
    WRITE = "write"
    """Everything."""

    def covers(self, needed: Can) -> bool:
        """Whether this is enough for what needs `needed`."""
        order = list(Can)
        return order.index(self) >= order.index(needed)


def check_token_name(name: str) -> str:
    """Refuse what is no name of a token (`UsageError`)."""
    if TOKEN_NAME.fullmatch(name) is None:
        raise UsageError(
            "not a name for a token",
            expected="1 to 64 letters, digits, '.', '_' and '-', the first no '.' or '-'",
            got=repr(name[:80]),
        )
    return name


# --- tokens and links ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddToken:
    """Make a token. Answered with `NewToken`; `Conflict` when the name is taken."""

    name: str
    can: Can = Can.READ


@dataclass(frozen=True, slots=True)
class RemoveToken:
    """Revoke a token, at once. Answered with the `Token`."""

    name: str


@dataclass(frozen=True, slots=True)
class ListTokens:
    """All tokens, by name, in pages of `Token`."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token, without its secret: that is nowhere kept."""

    name: str
    can: Can
    added_ns: int


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was made, and the secret that is told this once."""

    token: Token
    secret: str


@dataclass(frozen=True, slots=True)
class MakeLink:
    """Make a link that logs a browser in, once. Answered with `Link`; `Unsupported` where HTTP is off."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link that works once, for `seconds`. Who opens it acts as who asked for it."""

    url: str
    seconds: int


# --- metrics -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadMetrics:
    """All metrics in Prometheus' text format, in pages of `Text`. `names`: with the names of tasks and tags."""

    names: bool = True


@dataclass(frozen=True, slots=True)
class Text:
    """A part of a text."""

    text: str


# --- backup --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Backup:
    """The names of a store at one moment, and what content belongs to them.

    Told in pages: a `BackupHead`, a `BackupBlob` for each blob, a `LogPart` for each part of the log, a `BackupEnd`.
    The call then stays open until it is taken back. As long as it is open, all that content can be loaded by ID on the
    same connection, though it be deleted meanwhile.
    """


class BackupItem:
    """What a backup tells."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class BackupHead(BackupItem):
    """What is backed up: the store, its FORMAT file as text, its newest revision, and how much of it there is."""

    store_id: bytes
    epoch: int
    revision: int
    format: str
    blobs: int
    bytes: int
    log_bytes: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class BackupBlob(BackupItem):
    """A blob that belongs to the backup, and when it was saved. They come by their IDs."""

    id: BlobId
    size: int
    saved_ns: int = 0


@dataclass(frozen=True, slots=True)
class LogPart(BackupItem):
    """Bytes of one segment of the log, in the order in which they lie there, from the first on."""

    segment: int
    data: bytes


@dataclass(frozen=True, slots=True)
class BackupEnd(BackupItem):
    """All is told: what is held can be loaded."""


# --- room ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Collect:
    """Mark what nothing keeps, and remove what was marked for the grace time; told in pages of `Garbage`.

    `grace_s`: another grace time than the server's, in seconds. `now`: files are unlinked at once instead of after an
    hour in the trash. `dry_run`: tell what would be done. A call that is taken back leaves the rest as it is.
    """

    dry_run: bool = False
    grace_s: int | None = None
    now: bool = False


class Fate(enum.Enum):
    """What collection did to a blob that nothing keeps."""

    MARKED = "marked"
    """Its grace time has just begun."""
    WAITS = "waits"
    """Its grace time runs, or somebody relied on it within the last minutes."""
    REMOVED = "removed"
    """It is on its way out."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """A blob that nothing keeps, what became of it, and why.

    `refs` are the first few versions that name it and no longer keep it. `goes_ns`: when it may be removed, unless
    something comes to keep it.
    """

    id: BlobId
    size: int
    fate: Fate
    why: str
    refs: tuple[str, ...] = ()
    goes_ns: int = 0


# --- check ---------------------------------------------------------------------------------------------------------


class FindingKind(enum.Enum):
    """What a check may find."""

    STOPPED = "stopped"
    """The store takes no writes."""
    LOG = "log"
    """Records of the log are damaged or missing."""
    CATALOG = "catalog"
    """The catalog does not say what the log and the files say."""
    DAMAGED = "damaged"
    """The bytes of a blob are not what its name says."""
    UNREADABLE = "unreadable"
    """The disk does not give the bytes of a blob."""
    MISSING = "missing"
    """A blob has no file."""
    UNLISTED = "unlisted"
    """A blob is there, and the catalog does not know it."""


@dataclass(frozen=True, slots=True)
class Check:
    """Hold the files against their names, the log against its chain, the catalog against both.

    Told in pages of `Finding` and, first, last and every few MiB of content, `Checked`. The check goes on as far as
    pages are granted, so whoever reads them sets its pace.
    """

    since_ns: int | None = None
    """Leave out content that was verified since then."""
    repair: bool = False
    """Take damaged files out of use, as `Verify` does, and tell the catalog of blobs that it does not know."""


class CheckItem:
    """What a check tells."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Finding(CheckItem):
    """Something that is wrong: what, where, and whom it hits."""

    kind: FindingKind
    text: str
    """For people."""
    id: BlobId | None = None
    place: str = ""
    """Below the root; of the log with an offset."""
    refs: tuple[str, ...] = ()
    """Versions of tags and snapshots that it hits, newest first: those that name the blob, and those that link it."""
    more: int = 0
    """How many others it hits."""
    mended: bool = False


@dataclass(frozen=True, slots=True)
class Checked(CheckItem):
    """How far a check is."""

    began_ns: int
    """By the server's clock: to go on with, as `Check.since_ns`."""
    revision: int
    """Up to which the log was checked."""
    blobs: int
    bytes: int
    of_bytes: int
    """How much content there was to hash at the beginning."""


StreamCall = ListTokens | ReadMetrics | Backup | Collect | Check
PlainCall = AddToken | RemoveToken | MakeLink
Call = StreamCall | PlainCall
Result = Token | NewToken | Link
Item = Token | Text | Garbage | BackupHead | BackupBlob | LogPart | BackupEnd | Finding | Checked
