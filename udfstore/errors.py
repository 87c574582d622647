"""The errors of udfstore: one tree, and one table of what each means outside.

    UdfstoreError
     ├─ UsageError            the request makes no sense as given
     │   └─ ProtocolError     the peer's bytes are not the protocol (see `Blame`)
     ├─ NotFound              nothing has that name or ID
     ├─ Gone                  it was here; only history knows it now
     ├─ Conflict              the store is not in the state the request expects
     ├─ NoServer              nobody answers at the socket (made by the client)
     ├─ Closing               the server is shutting down
     ├─ Corrupt               stored bytes do not match their name
     ├─ Denied                the caller may not do this
     ├─ NoSpace               the disk or a quota is full
     ├─ Mismatch              content is not what was announced
     ├─ TooLarge              over a limit of size
     ├─ Busy                  over a limit of number
     ├─ ReadOnly              the store takes no writes at present
     ├─ TimedOut              no progress within the deadline
     ├─ Unsupported           this build or this system cannot do it
     ├─ Cancelled             the caller took the request back
     └─ InternalError         a bug of ours

Every error carries a `Code`. The table `CODES` gives each its exit status and its HTTP status; it is total by test.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar


class Code(enum.Enum):
    """What went wrong, as it stands on the wire and in JSON."""

    USAGE = "usage"
    NOT_FOUND = "not-found"
    GONE = "gone"
    CONFLICT = "conflict"
    NO_SERVER = "no-server"
    CLOSING = "closing"
    CORRUPT = "corrupt"
    DENIED = "denied"
    NO_SPACE = "no-space"
    MISMATCH = "mismatch"
    TOO_LARGE = "too-large"
    BUSY = "busy"
    READ_ONLY = "read-only"
    TIMEOUT = "timeout"
    UNSUPPORTED = "unsupported"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code means outside.

    `exit` is the exit status of the command line, `http` the status of the HTTP API, `repeat` whether the very same
    request may succeed later without anybody changing anything.
    """

    exit: int
    http: int
    repeat: bool = False


CODES: dict[Code, Meaning] = {
    Code.USAGE: Meaning(2, 400),
    Code.NOT_FOUND: Meaning(3, 404),
    Code.GONE: Meaning(3, 410),
    Code.CONFLICT: Meaning(4, 409),
    Code.NO_SERVER: Meaning(5, 503, repeat=True),
    Code.CLOSING: Meaning(5, 503, repeat=True),
    Code.CORRUPT: Meaning(6, 500),
    Code.DENIED: Meaning(7, 403),
    Code.NO_SPACE: Meaning(8, 507),
    Code.MISMATCH: Meaning(1, 422),
    Code.TOO_LARGE: Meaning(1, 413),
    Code.BUSY: Meaning(1, 429, repeat=True),
    Code.READ_ONLY: Meaning(1, 503),
    Code.TIMEOUT: Meaning(1, 408, repeat=True),
    Code.UNSUPPORTED: Meaning(1, 501),
    Code.CANCELLED: Meaning(1, 499),
    Code.INTERNAL: Meaning(1, 500),
}

INTERRUPTED_EXIT = 130
"""Exit status after Ctrl-C, as shells use it: 128 + SIGINT."""


class UdfstoreError(Exception):
    """Base of all errors that udfstore raises on purpose.

    `message` is one sentence for people. `expected` and `got` hold the two sides of a comparison as text where there
    was one, else are empty.
    """

    code: ClassVar[Code] = Code.INTERNAL

    def __init__(self, message: str, *, expected: object = "", got: object = "") -> None:
        super().__init__(message)
        self.message = message
        self.expected = str(expected)
        self.got = str(got)

    def __str__(self) -> str:
        sides = [f"{name} {value}" for name, value in (("expected", self.expected), ("got", self.got)) if value]
        return f"{self.message} ({', '.join(sides)})" if sides else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.expected, self.got))


def _rebuild(kind: type[UdfstoreError], message: str, expected: str, got: str) -> UdfstoreError:
    return kind(message, expected=expected, got=got)


class UsageError(UdfstoreError):
    """The request makes no sense as given: repeat it only after changing it."""

    code = Code.USAGE


class Blame(enum.Enum):
    """Who broke the protocol."""

    LOCAL = "local"
    """Our own code asked the core for something it must not do: a bug."""
    REMOTE = "remote"
    """The peer sent bytes that the protocol does not allow."""


class ProtocolError(UsageError):
    """The conversation broke its rules. `blame` says whose fault it was."""

    def __init__(self, message: str, *, expected: object = "", got: object = "", blame: Blame = Blame.REMOTE) -> None:
        super().__init__(message, expected=expected, got=got)
        self.blame = blame


class NotFound(UdfstoreError):
    """Nothing in the store has that name or ID."""

    code = Code.NOT_FOUND


class Gone(UdfstoreError):
    """The store knew it once; its content was deleted, its history remains."""

    code = Code.GONE


class Conflict(UdfstoreError):
    """The store is not in the state that the request expects."""

    code = Code.CONFLICT


class NoServer(UdfstoreError):
    """No server answers where one was expected."""

    code = Code.NO_SERVER


class Closing(UdfstoreError):
    """The server takes no new requests because it is shutting down."""

    code = Code.CLOSING


class Corrupt(UdfstoreError):
    """Bytes on disk are not what their name or the log says."""

    code = Code.CORRUPT


class Denied(UdfstoreError):
    """The caller may not do this."""

    code = Code.DENIED


class NoSpace(UdfstoreError):
    """Disk, inodes or quota are used up; the request changed nothing."""

    code = Code.NO_SPACE


class Mismatch(UdfstoreError):
    """Content differs from what was announced, in length or in digest."""

    code = Code.MISMATCH


class TooLarge(UdfstoreError):
    """Over a limit of size."""

    code = Code.TOO_LARGE


class Busy(UdfstoreError):
    """Over a limit of number; try again later."""

    code = Code.BUSY


class ReadOnly(UdfstoreError):
    """The store takes no writes at present; the message says why."""

    code = Code.READ_ONLY


class TimedOut(UdfstoreError):
    """No progress within the deadline."""

    code = Code.TIMEOUT


class Unsupported(UdfstoreError):
    """This build, file system or operating system cannot do it."""

    code = Code.UNSUPPORTED


class Cancelled(UdfstoreError):
    """The caller took the request back before it was done."""

    code = Code.CANCELLED


class InternalError(UdfstoreError):
    """A bug of ours. Please report it with the message."""

    code = Code.INTERNAL


_BY_CODE: dict[Code, type[UdfstoreError]] = {kind.code: kind for kind in UdfstoreError.__subclasses__()}


def error_for(code: str, message: str, *, expected: str = "", got: str = "") -> UdfstoreError:
    """The exception for a code that came over the wire; a code that this release does not know is internal."""
    try:
        kind = _BY_CODE[Code(code)]
    except ValueError:
        kind, message = InternalError, f"{code}: {message}"
    return kind(message, expected=expected, got=got)
