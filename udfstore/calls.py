"""What can be asked of a store, and what it answers: one frozen value per request and result.

The client builds these, the session carries them as protobuf, the service has one function for each. Changes hold a
`request`, 16 random bytes of the caller's choice: repeated, it is answered with the record it made the first time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from udfstore import admin, tasks
from udfstore.digest import BlobId
from udfstore.model import Author, BlobInfo, Entry
from udfstore.refs import Prefix, Ref, Tag

MISSING_IDS = 1024
"""IDs in one `Missing`: at 34 bytes each they fill about half of the largest small frame."""

MOVES = 32
"""Tags that one step may move: with labels and sources they stay well below the largest small frame."""


# --- content -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Save:
    """Store content that follows in chunks, or in a file that comes along.

    `id` and `size` announce what comes, where the caller knows; both are then checked. Content that the store has
    under an announced ID is not sent at all.
    """

    id: BlobId | None = None
    size: int | None = None
    request: bytes = b""
    """Needed when a tag moves with the save."""
    descriptor: bool = False
    """The content does not follow: it is `size` bytes, from `offset` on, of a file that comes along."""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """The tag that a save moves when its content is there, with what the entry shall say."""

    tag: Tag
    note: str = ""
    labels: Mapping[str, str] | None = None
    expected: int | None = None
    links: tuple[BlobId, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """The end of a save's content: how many bytes were sent and, once known, their ID; and the tag to move."""

    size: int
    id: BlobId | None = None
    target: Target | None = None
    request: bytes = b""


@dataclass(frozen=True, slots=True)
class Saved:
    """A blob that is durable. `existed`: the store had it before. `entry`: of the tag that moved with it."""

    id: BlobId
    size: int
    existed: bool
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Send content: `length` bytes from `offset`; `length` None = to the end.

    `descriptor_from`: a whole blob of so many bytes or more may come as a descriptor of its file; None: none may.
    """

    ref: Ref
    offset: int = 0
    length: int | None = None
    descriptor_from: int | None = None


@dataclass(frozen=True, slots=True)
class Loading:
    """The head of a load: which blob it is, and how many bytes of it follow from where."""

    info: BlobInfo
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The end of a load: all bytes were sent."""

    length: int


@dataclass(frozen=True, slots=True)
class Stat:
    """Ask for a blob's `BlobInfo`."""

    ref: Ref


@dataclass(frozen=True, slots=True)
class Verify:
    """Hash the stored file again. A file that does not match its name goes to quarantine (`Corrupt`)."""

    ref: Ref


@dataclass(frozen=True, slots=True)
class Why:
    """Ask what keeps a blob."""

    ref: Ref


@dataclass(frozen=True, slots=True)
class Kept:
    """What keeps a blob: the entries that name it (newest first), and those whose links do, all in brief."""

    info: BlobInfo
    named: tuple[Entry, ...]
    linked: tuple[Entry, ...]
    more: int = 0
    """How many further entries there are that one answer does not hold."""
    rules: tuple[str, ...] = ()
    """The rule of retention for each of `named`; empty: none, all versions of its tag keep their content."""
    let_go: tuple[str, ...] = ()
    """Those of `named`, as `tag@version`, that keep it no more."""
    goes_ns: int = 0
    """The earliest time at which collection takes it, because nothing keeps it; 0: something does."""


@dataclass(frozen=True, slots=True)
class ListBlobs:
    """All blobs, oldest first, in pages of `BlobInfo`."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Which of these does the store not have? At most `MISSING_IDS`."""

    ids: tuple[BlobId, ...]


@dataclass(frozen=True, slots=True)
class MissingIds:
    """Those that are not there, in the order asked."""

    ids: tuple[BlobId, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a blob's content. Refused with `Conflict` while a tag names it now, unless `force`.

    `now` unlinks the file at once instead of after the second grace time.
    """

    ref: Ref
    force: bool = False
    now: bool = False
    request: bytes = b""


@dataclass(frozen=True, slots=True)
class Deleted:
    """A blob that is on its way out. `versions` are the `tag@version` that answer `gone` from here on."""

    id: BlobId
    size: int
    versions: tuple[str, ...]
    more: int = 0
    """How many further versions there are that one answer does not hold."""


@dataclass(frozen=True, slots=True)
class Undelete:
    """Bring removed content back, and what it links, while its file is in the trash (`Gone` when it is unlinked)."""

    ref: Ref


@dataclass(frozen=True, slots=True)
class Undeleted:
    """A blob whose content is here again, or was all the time. `versions` are the `tag@version` that name it."""

    id: BlobId
    size: int
    versions: tuple[str, ...]
    more: int = 0
    """How many further versions there are that one answer does not hold."""


# --- tags ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One tag to move: to what, and what version it must have now (0: it must name nothing; None: whatever).

    `labels` None: those of the entry that `ref` names are copied.
    """

    tag: Tag
    ref: Ref
    expected: int | None = None
    labels: Mapping[str, str] | None = None
    links: tuple[BlobId, ...] = ()


@dataclass(frozen=True, slots=True)
class Move:
    """Move one or several tags as one record: all of them or none."""

    steps: tuple[Step, ...]
    note: str = ""
    request: bytes = b""


@dataclass(frozen=True, slots=True)
class Rollback:
    """Move a tag back: to version `to`, or to the version before the one whose content it has now.

    Versions whose content is gone are skipped when `to` is None. `expected` as in `Step`.
    """

    tag: Tag
    to: int | None = None
    expected: int | None = None
    note: str = ""
    labels: Mapping[str, str] | None = None
    request: bytes = b""


@dataclass(frozen=True, slots=True)
class Untag:
    """Delete tags as one record; their history stays and they can be brought back."""

    tags: tuple[Tag, ...]
    expected: tuple[int | None, ...] = ()
    """One for each tag, or empty."""
    note: str = ""
    request: bytes = b""


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep a tag where it is: until its release it is not moved, rolled back or deleted (`Conflict`)."""

    tag: Tag
    note: str
    """Why; told to whoever wants to move it."""
    request: bytes = b""


@dataclass(frozen=True, slots=True)
class Release:
    """Let a held tag move again. `Conflict` where it is not held."""

    tag: Tag
    note: str = ""
    request: bytes = b""


@dataclass(frozen=True, slots=True)
class Moved:
    """The record that a change made: its new entries, and beside each, in brief, the one it took the place of.

    `skipped` are the versions that a rollback passed over because their content is gone.
    """

    entries: tuple[Entry, ...]
    before: tuple[Entry | None, ...]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GetTag:
    """Ask for one entry: of a tag, or of one version of it."""

    ref: Ref


@dataclass(frozen=True, slots=True)
class ListTags:
    """The newest entry of each live tag that `prefix` matches, by name, in pages."""

    prefix: Prefix


@dataclass(frozen=True, slots=True)
class History:
    """All entries of a tag, newest first, in pages."""

    tag: Tag


@dataclass(frozen=True, slots=True)
class Watch:
    """Events of all tags that `prefix` matches, for ever.

    Without `since`: first the present entries and the revision they hold at. `epoch` is the store's epoch as the caller
    knows it (0: not known); a watch of another epoch, or from beyond the newest revision, is a `Conflict`.
    """

    prefix: Prefix
    since: int | None = None
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Used:
    """A follower took `tag@version` into use, or failed to (`error` says why). Becomes a record."""

    tag: Tag
    version: int
    id: BlobId
    error: str = ""
    request: bytes = b""


@dataclass(frozen=True, slots=True)
class Noted:
    """The revision of the record that a `Used` made."""

    revision: int


# --- the server ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Status:
    """Ask how the store and its server are."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What counts for one user or token, as `Author.owner` calls it.

    `blobs` and `bytes` are what entries keep; `unnamed` are bytes that it saved and no entry keeps yet. `quota`: what
    both may come to, None: whatever the disk takes.
    """

    owner: str
    blobs: int
    bytes: int
    unnamed: int = 0
    quota: int | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How the store and its server are. `problem` is empty when it is ready for reads and writes."""

    version: str
    root: str
    pid: int
    store_id: bytes
    epoch: int
    revision: int
    blobs: int
    bytes: int
    tags: int
    connections: int
    started_ns: int
    free_bytes: int
    problem: str = ""
    retention: tuple[str, ...] = ()
    """The rules that were set; the first that fits a tag is the one that counts. Not told to all."""
    usage: tuple[Usage, ...] = ()
    """Where quotas are set: whom content counts for; for who may not read everything, its own alone."""
    warning: str = ""
    """Why saves are or soon will be refused, while all else goes on."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Ask who is connected."""


@dataclass(frozen=True, slots=True)
class Following:
    """What a connection follows: the version in use, and why a newer one could not be loaded (else empty)."""

    tag: str
    version: int
    id: BlobId | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """One connection as the register holds it.

    `role` is `owner` of a connection that is the node at `place`, `copy` of one beside it that stores nothing.
    `heard_ns`: when its last complete frame came (0: none has); nodes are asked for signs of life, clients are not.
    """

    id: int
    author: Author
    since_ns: int
    calls: int
    following: tuple[Following, ...] = ()
    place: tasks.Place = tasks.NOWHERE
    role: str = ""
    heard_ns: int = 0


ContentCall = Save | Load
StreamCall = ListBlobs | ListTags | History | Watch | Sessions | tasks.StreamCall | admin.StreamCall
ChangeCall = Move | Rollback | Untag | Hold | Release | Delete | Used | tasks.ChangeCall
PlainCall = Stat | Verify | Why | Undelete | Missing | GetTag | Status | tasks.PlainCall | admin.PlainCall | ChangeCall
Call = ContentCall | StreamCall | PlainCall

Result = (
    Saved
    | Loaded
    | BlobInfo
    | Kept
    | MissingIds
    | Deleted
    | Undeleted
    | Moved
    | Entry
    | Noted
    | Health
    | tasks.Result
    | admin.Result
    | None
)
Item = BlobInfo | Entry | Session | tasks.Item | admin.Item
