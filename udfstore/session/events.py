"""What a conversation tells the shell around it, one frozen value an event.

What a node and its host say to each other are values of `udfstore.tasks`, events as they are, and belong to no call.
Call numbers are the UDF's. `Content.data` is a view of memory that nobody else writes to; it may be kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from udfstore import calls, tasks
from udfstore.errors import UdfstoreError
from udfstore.model import Claim
from udfstore.model import Event as TagEvent
from udfstore.session.tokens import Token

PROTOCOL = 1
"""The version of the protocol that this release speaks."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The host's first word. `chunk_bytes` and `calls` are its limits, `session` names the conversation."""

    version: str
    store_id: bytes
    epoch: int
    revision: int
    chunk_bytes: int
    calls: int
    session: int
    credit: bool = True
    save_credit: int = 0
    """Content bytes that a save without an announced ID may send before any are granted."""
    descriptors: bool = False
    """Whether the socket passes them."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The UDF's first word. `credit`: it grants what it can take, and the host sends no more than that.

    `node`: the node that this connection is; None: a client, which may work at `place`.
    """

    claim: Claim
    credit: bool
    node: tasks.Node | None = None
    place: tasks.Place = tasks.NOWHERE


@dataclass(frozen=True, slots=True)
class Content:
    """Content of a save (at the host) or of a load (at the UDF), in order."""

    call: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class Granted:
    """The peer can take more of this call."""

    call: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A call has ended badly: at the host because the UDF broke its rules, at the UDF because the host said so."""

    call: int
    error: UdfstoreError


# --- at the host ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """The UDF opened a call. `file`: the descriptor that a save brought; whoever takes the event closes it."""

    call: int
    op: calls.Call
    file: Token | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """All content of a save has come."""

    call: int
    commit: calls.Commit


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The UDF no longer wants the answer; the call still has to end."""

    call: int


@dataclass(frozen=True, slots=True)
class Left:
    """The UDF said goodbye: it opens no more calls, but for its last state if it is a node."""


@dataclass(frozen=True, slots=True)
class Alive:
    """A node answered a keepalive."""


# --- at the UDF ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """A load's blob; its content follows, or came as `file`, a descriptor that whoever takes the event closes.

    `lost`: neither, because the descriptor was lost on the way.
    """

    call: int
    head: calls.Loading
    file: Token | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Paged:
    """A part of a list, or events of a watch."""

    call: int
    items: tuple[calls.Item | TagEvent, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """A call has ended well."""

    call: int
    result: calls.Result


@dataclass(frozen=True, slots=True)
class Ending:
    """The host is about to stop: no new calls, open ones have so many seconds."""

    grace: float


NodeAnswer = tasks.Answer | tasks.Restored | Alive
"""What a host hears from a node."""

NodeWord = tasks.Joined | tasks.Restore | tasks.Asked | tasks.Restart
"""What a node hears from its host; keepalives are answered before anybody hears of them."""

HostEvent = Hello | Opened | Content | Committed | Withdrawn | Granted | Failed | Left | NodeAnswer
UdfEvent = Welcome | Found | Content | Paged | Answered | Failed | Granted | Ending | NodeWord
