"""One connection's conversation as the operations see it: an inbox for each call, one for its node, and an end.

Pure: it takes bytes and gives bytes. A shell moves them, and calls it from one thread at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from udfstore import admin, calls
from udfstore.errors import Busy, NoServer, UdfstoreError
from udfstore.model import Claim
from udfstore.session.events import Ending, Found, NodeWord, UdfEvent, Welcome
from udfstore.session.tokens import Token
from udfstore.session.udf import UdfSession
from udfstore.tasks import NOWHERE, Node, Place


class ConnectionLost(NoServer):
    """The connection ended while it was needed. What was asked may have been done; it can be asked again."""


class Conversation:
    """A `UdfSession` and the events of its calls, and of the node that it is, that nobody has taken yet."""

    def __init__(
        self,
        claim: Claim,
        node: Node | None = None,
        place: Place = NOWHERE,
        *,
        host_known: bool = False,
        descriptors: bool = False,
    ) -> None:
        self.session = UdfSession(claim, node, place, host_known, descriptors=descriptors)
        self.lost: UdfstoreError | None = None
        """Why the conversation is over, once it is."""
        self.said: UdfstoreError | None = None
        """The server's own reason for that, if it gave one."""
        self.to_node: deque[NodeWord] = deque()
        self.node = node
        self.left = False
        """Whether it is over because the node said goodbye."""
        self._leaving = False
        self._inboxes: dict[int, deque[UdfEvent]] = {}
        self._watches: set[int] = set()

    @property
    def welcome(self) -> Welcome | None:
        """What the server said of itself, once it has."""
        return self.session.welcome

    @property
    def chunk_bytes(self) -> int:
        """The most content that the server takes in one chunk."""
        assert self.session.welcome is not None, "no operation runs before the welcome"
        return self.session.welcome.chunk_bytes

    def receive(self, data: bytes | bytearray | memoryview, tokens: Iterable[Token] = (), placed: int = 0) -> None:
        """Take what came from the server, behind `placed` bytes that are in the session's `space` already."""
        try:
            for event in self.session.receive(data, tokens, placed):
                if isinstance(event, Welcome | Ending):
                    continue  # a server that is about to stop says so again when it refuses a call
                if isinstance(event, NodeWord):
                    self.to_node.append(event)
                    continue
                inbox = self._inboxes.get(event.call)
                if inbox is not None:
                    inbox.append(event)
                else:
                    _let_go(event)
        except UdfstoreError as error:
            self.said = error
            self.lose(error)

    def end(self, why: str) -> None:
        """Nothing more will come."""
        try:
            self.session.end()
        except UdfstoreError as error:
            self.lose(error)
        self.lose(ConnectionLost(why))

    def lose(self, error: UdfstoreError) -> None:
        """The conversation is over; the first reason is the one that counts."""
        if self.lost is None:
            self.lost = error if isinstance(error, ConnectionLost) else _lost(error, self.welcome)
            self.session.tokens.close()
            self.session.outbox.close()

    def goodbye(self) -> None:
        """The node leaves: the server takes its state once more and closes."""
        self._leaving = True
        self.session.goodbye()

    def closed(self) -> None:
        """The server closed its side."""
        self.left = self._leaving and self.lost is None
        self.end("the server closed the connection")

    @property
    def has_room(self) -> bool:
        """Whether to open a call now: the server takes so many at once, and those before will end, if not all watch."""
        assert self.session.welcome is not None, "no operation runs before the welcome"
        most = self.session.welcome.calls
        return self.session.open_calls < most or len(self._watches) >= most

    def open(self, call: calls.Call, credit: int = 0, *, file: Token | None = None) -> int:
        """Open a call with an inbox of its own, granting as much of it at once.

        `file` goes with a save by descriptor, and is closed in any case.
        """
        try:
            if self.lost is not None:
                raise ConnectionLost(self.lost.message)
            number = self.session.open(call, credit, file=file)
        except BaseException:
            if file is not None:
                file.close()
            raise
        self._inboxes[number] = deque()
        if isinstance(call, calls.Watch | admin.Backup):
            self._watches.add(number)
        return number

    def has(self, number: int) -> bool:
        """Whether something waits in the inbox of the call."""
        return bool(self._inboxes[number])

    def next(self, number: int) -> UdfEvent:
        """The next event of a call that `has` one."""
        return self._inboxes[number].popleft()

    def leave(self, number: int) -> None:
        """The call is of no more interest: taken back if it is still open."""
        for event in self._inboxes.pop(number):
            _let_go(event)
        self._watches.discard(number)
        if self.lost is None:
            self.session.cancel(number)


def _let_go(event: UdfEvent) -> None:
    """Nobody takes the event: what it brought is closed."""
    if isinstance(event, Found) and event.file is not None:
        event.file.close()


def _lost(error: UdfstoreError, welcome: Welcome | None) -> UdfstoreError:
    refused = welcome is None and isinstance(error, Busy)
    what = "the server takes no connection now" if refused else "the conversation with the server broke"
    lost = ConnectionLost(f"{what}: {error}")
    lost.__cause__ = error
    return lost
