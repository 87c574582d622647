"""The host's end of a conversation.

    GREETING --hello--> OPEN --goodbye--> LEAVING        which message may come when: MAY_COME

A call is open from its `call` frame to its one `result` or `fault`. What a UDF sends for one that ended early, before
it can have heard of the end, is dropped; content for any other call that is not open is a fault of that number. What
the shell still sends for a call that has ended meanwhile is dropped as well. Only a conversation that has lost its
order ends: `receive` then raises `ProtocolError`.

A node goes its own way beside that (`hosted`). Its goodbye asks for a last round, so it may open calls after it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from udfstore import calls, tasks
from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import Busy, Closing, Mismatch, ProtocolError, TooLarge, UdfstoreError, UsageError
from udfstore.model import Event as TagEvent
from udfstore.session import answers, nodes, requests
from udfstore.session.events import (
    PROTOCOL,
    Committed,
    Content,
    Failed,
    Granted,
    Hello,
    HostEvent,
    Left,
    Opened,
    Welcome,
    Withdrawn,
)
from udfstore.session.hosted import Hosted
from udfstore.session.outbox import Outbox
from udfstore.session.tokens import Token, Tokens
from udfstore.session.values import claim_from_pb
from udfstore.wire import codec, limits
from udfstore.wire.framing import Frame, FrameReader, Memory, fresh

ENDED_EARLY = 1024
"""How many calls that ended before their content did are remembered: their late chunks are dropped in silence."""


FRAMES_AT_ONCE = 1
"""A client takes the first answer while the next is sent, and asks again meanwhile. Its own frames go together, so that
a small save is all there when it is looked at."""


def refusal(error: UdfstoreError) -> bytes:
    """The frame that turns a peer away before there is a conversation."""
    return codec.encode(pb.Request(fault=answers.fault_to_pb(0, error)))


class State(enum.Enum):
    """How far the conversation is."""

    GREETING = "greeting"
    OPEN = "open"
    LEAVING = "leaving"


COMMIT = "a commit"
_CALLS = frozenset({"chunk", "commit", "cancel", "credit"})
MAY_COME: Mapping[State, frozenset[str]] = {
    State.GREETING: frozenset({"hello"}),
    State.OPEN: _CALLS | {"call", "goodbye"},
    State.LEAVING: _CALLS,
}
NODES_MAY: frozenset[str] = frozenset({"call", "keepalive", "snapshot", "restore"})
"""What else may come from a connection that is a node, also after its goodbye."""


@dataclass(slots=True)
class _OpenCall:
    op: calls.Call
    granted: int = 0
    """To the UDF: content bytes of a save that it may still send."""
    credit: int = 0
    """From the UDF: bytes of a load or pages of a stream that may still be sent."""
    received: int = 0
    committed: bool = False


class HostSession:
    """One conversation, seen from the host. Feed it what comes, send what `outbox` holds."""

    def __init__(self, welcome: Welcome, plain_bytes: int = limits.PLAIN_BYTES, memory: Memory = fresh) -> None:
        """`plain_bytes`: the largest state that a node may send inside its answer. `memory`: see `FrameReader`."""
        self.outbox = Outbox(FRAMES_AT_ONCE)
        self.tokens = Tokens()
        self.state = State.GREETING
        self.closing = False
        self.counts_credit = False
        """Whether the UDF grants what it can take."""
        self._descriptors = False
        """Whether both sides said that they take them."""
        self._welcome = welcome
        self._hosted = Hosted(plain_bytes)
        self._frames = FrameReader(limits.of_strangers(), memory)
        self._calls: dict[int, _OpenCall] = {}
        self._last = 0
        self._ended_early: dict[int, None] = {}
        self._handlers: dict[str, Callable[[Any], HostEvent | None]] = {
            "hello": self._on_hello,
            "goodbye": self._on_goodbye,
            "call": self._on_call,
            "commit": self._on_commit,
            "cancel": self._on_cancel,
            "credit": self._on_credit,
            "keepalive": self._hosted.on_keepalive,
            "snapshot": self._hosted.on_snapshot,
            "restore": self._hosted.on_restore,
        }
        self._put(
            pb.Request(
                welcome=pb.Welcome(
                    protocol=PROTOCOL,
                    version=welcome.version,
                    store_id=welcome.store_id,
                    epoch=welcome.epoch,
                    revision=welcome.revision,
                    chunk_bytes=welcome.chunk_bytes,
                    calls=welcome.calls,
                    credit=welcome.credit,
                    session=welcome.session,
                    save_credit=welcome.save_credit,
                    descriptors=welcome.descriptors,
                )
            )
        )

    # --- what comes ---

    @property
    def space(self) -> memoryview:
        """Where the next bytes belong, as far as that is known: the rest of a long frame."""
        return self._frames.space

    def receive(
        self, data: bytes | bytearray | memoryview, tokens: Iterable[Token] = (), placed: int = 0
    ) -> Iterator[HostEvent]:
        """The events that `data` completes, behind `placed` bytes that are in `space` already, in order; take them all.

        `tokens` are the descriptors that came with the bytes. They are this session's, until an event hands one on.
        Raises `ProtocolError` when the conversation cannot go on.
        """
        self.tokens.put(tokens)
        for frame in self._frames.receive(data, placed):
            event = self._on_frame(frame)
            if event is not None:
                yield event
        if not self._frames.half_read:
            self.tokens.settle()

    def end(self) -> None:
        """The UDF closed its side. Raises `ProtocolError` when that cut a frame in two."""
        self._frames.end()

    @property
    def half_read(self) -> int:
        """The number of the frame that has begun and not ended, counted from 1; 0 between frames."""
        return self._frames.half_read

    @property
    def node(self) -> tasks.Node | None:
        """The node that the connection is, once it said so; None: a client."""
        return self._hosted.node

    @property
    def frames(self) -> int:
        """How many whole frames have come: each shows that the UDF is alive."""
        return self._frames.count

    @property
    def open_calls(self) -> int:
        """How many calls have not ended."""
        return len(self._calls)

    def _on_frame(self, frame: Frame) -> HostEvent | None:
        name = pb.Response.DESCRIPTOR.fields_by_number[frame.kind].name
        may_come = MAY_COME[self.state] if self.node is None else MAY_COME[self.state] | NODES_MAY
        if name not in may_come:
            raise ProtocolError(f"a message out of order: {name}", expected=" or ".join(sorted(may_come)), got=name)
        if frame.kind == codec.CHUNK:
            return self._on_chunk(codec.decode_chunk(frame))
        return self._handlers[name](codec.decode(pb.Response, frame))

    def _on_hello(self, message: pb.Hello) -> HostEvent:
        if message.protocol != PROTOCOL:
            raise ProtocolError("a protocol that this server does not speak", expected=PROTOCOL, got=message.protocol)
        try:
            claim = claim_from_pb(message.claim)
            self._hosted.node, place = nodes.check_hello(message)
        except (UsageError, TooLarge) as error:
            raise ProtocolError(error.message, expected=error.expected, got=error.got) from error
        self.state = State.OPEN
        self.counts_credit = message.credit
        self._descriptors = message.descriptors and self._welcome.descriptors
        chunk_bytes = self._welcome.chunk_bytes
        if self.node is None:
            self._frames.limits = limits.of_clients(chunk_bytes)
        else:
            self._frames.limits = limits.of_nodes(chunk_bytes, self._hosted.plain_bytes)
        return Hello(claim, message.credit, self.node, place)

    def _on_goodbye(self, message: pb.Goodbye) -> HostEvent:
        self.state = State.LEAVING
        return Left()

    def _on_call(self, message: pb.Call) -> HostEvent | None:
        if not message.save.descriptor:
            return self._open(message, None)
        file = self.tokens.maybe_claim() if self._descriptors else None
        if file is None:
            raise ProtocolError("a frame that announces a descriptor, and none came with it")
        event = None
        try:
            event = self._open(message, file)
        finally:
            if not isinstance(event, Opened):
                file.close()
        return event

    def _open(self, message: pb.Call, file: Token | None) -> HostEvent | None:
        number = message.call
        if number == 0:
            raise ProtocolError("call 0", expected="calls numbered from 1", got=number)
        if number <= self._last:
            error = UsageError("a call number used before", expected=f"more than {self._last}", got=number)
            return self._fail(number, error)
        self._last = number
        try:
            op = requests.call_from_pb(message)
            self._admit(op)
        except UdfstoreError as error:
            if message.WhichOneof("op") == "save":
                self._remember(number)
            self._fault(number, error)
            return None
        at_once = self._welcome.save_credit if isinstance(op, calls.Save) and op.id is None else 0
        call = self._calls[number] = _OpenCall(op, granted=at_once, credit=message.credit)
        if isinstance(op, calls.Load) and not self._descriptors:
            op = replace(op, descriptor_from=None)
        if isinstance(op, calls.Save) and op.descriptor:
            call.received = op.size or 0
        return Opened(number, op, file)

    def _admit(self, op: calls.Call) -> None:
        if self.closing:
            raise Closing("the server is shutting down and takes no new calls")
        if len(self._calls) >= self._welcome.calls:
            raise Busy("too many calls open on this connection", expected=f"at most {self._welcome.calls}")
        content = any(isinstance(call.op, calls.Save | calls.Load) for call in self._calls.values())
        if content and isinstance(op, calls.Save | calls.Load) and not self.counts_credit:
            raise Busy("a client that counts no credit has one save or load open at a time")

    def _on_chunk(self, chunk: codec.ContentChunk) -> HostEvent | None:
        call = self._save(chunk.call, "content")
        if isinstance(call, Failed) or call is None:
            return call
        assert isinstance(call.op, calls.Save)
        if call.op.descriptor:
            return self._fail(chunk.call, UsageError("content for a save that brought a descriptor"))
        size = len(chunk.data)
        if size > self._welcome.chunk_bytes:
            return self._fail(chunk.call, UsageError("a chunk too long", expected=self._welcome.chunk_bytes, got=size))
        if self.counts_credit and size > call.granted:
            return self._fail(chunk.call, UsageError("content beyond its credit", expected=call.granted, got=size))
        call.granted -= size
        call.received += size
        return Content(chunk.call, chunk.data) if size else None

    def _on_commit(self, message: pb.Commit) -> HostEvent | None:
        call = self._save(message.call, COMMIT)
        if isinstance(call, Failed) or call is None:
            return call
        assert isinstance(call.op, calls.Save)
        try:
            commit = requests.commit_from_pb(message, call.op.request)
            if commit.size != call.received:
                raise Mismatch("a commit of another size than was sent", expected=commit.size, got=call.received)
        except UdfstoreError as error:
            return self._fail(message.call, error)
        call.committed = True
        return Committed(message.call, commit)

    def _on_cancel(self, message: pb.Cancel) -> HostEvent | None:
        return None if self._maybe_open(message.call, "a cancel") is None else Withdrawn(message.call)

    def _on_credit(self, message: pb.Credit) -> HostEvent | None:
        """More of a call. Of call 0, points and batches, a socket without them takes no notice."""
        call = self._maybe_open(message.call, "credit")
        if call is None:
            return None
        call.credit += message.amount
        return Granted(message.call)

    def _maybe_open(self, number: int, what: str) -> _OpenCall | None:
        """The call of that number, or None: it ended before the UDF heard of it, or (a fault) it never was."""
        if number > self._last:
            self._answer_closed(number, what)
        return self._calls.get(number)

    def _save(self, number: int, what: str) -> _OpenCall | Failed | None:
        """The open save of that number, or what became of it instead."""
        call = self._calls.get(number)
        if call is None:
            self._answer_closed(number, what)
            return None
        if not isinstance(call.op, calls.Save):
            return self._fail(number, UsageError(f"{what} for a call that is not a save", got=f"call {number}"))
        if call.committed:
            return self._fail(number, UsageError(f"{what} after the commit", got=f"call {number}"))
        return call

    def _answer_closed(self, number: int, what: str) -> None:
        if number == 0:
            raise ProtocolError(f"{what} for call 0", expected="the number of a call")
        if number > self._last:
            self._fault(number, UsageError(f"{what} for a call that was never opened", got=f"call {number}"))
        elif number not in self._ended_early:
            self._fault(number, UsageError(f"{what} for a call that has ended", got=f"call {number}"))
        elif what == COMMIT:
            del self._ended_early[number]

    def _fail(self, number: int, error: UdfstoreError) -> Failed | None:
        """End a call that broke its rules; None if it was not open."""
        known = number in self._calls
        self.fault(number, error)
        return Failed(number, error) if known else None

    def _remember(self, number: int) -> None:
        self._ended_early[number] = None
        if len(self._ended_early) > ENDED_EARLY:
            del self._ended_early[next(iter(self._ended_early))]

    # --- what goes ---

    def is_open(self, number: int) -> bool:
        """Whether the call has not ended yet."""
        return number in self._calls

    def credit(self, number: int) -> int | None:
        """What the UDF can still take of a call: bytes of a load, pages of a stream; None: no count is kept."""
        if not self.counts_credit:
            return None
        return self._calls[number].credit if number in self._calls else 0

    def grant(self, number: int, amount: int) -> None:
        """Let the UDF send `amount` more bytes of a save."""
        call = self._calls.get(number)
        if call is not None:
            call.granted += amount
            self._put(pb.Request(credit=pb.Credit(call=number, amount=amount)))

    def head(self, number: int, head: calls.Loading) -> None:
        """What a load found."""
        if number in self._calls:
            self._put(pb.Request(head=answers.head_to_pb(number, head, descriptor=False)))

    def content(self, number: int, head: calls.Loading, data: bytes) -> None:
        """What a load found, and all of its content, which goes along: at most a chunk, at most the call's credit."""
        frame = codec.encode(pb.Request(head=answers.head_to_pb(number, head, descriptor=False)))
        self._calls[number].credit -= len(data)
        self.outbox.put_chunk(number, frame + codec.chunk_head(number, len(data)), data)

    def give(self, number: int, head: calls.Loading, file: Token) -> None:
        """What a load found, with a descriptor of it, which is closed when it is sent: no content follows."""
        envelope = pb.Request(head=answers.head_to_pb(number, head, descriptor=True))
        self.outbox.put_with(codec.encode(envelope), file)

    def chunk(self, number: int, data: bytes | memoryview) -> None:
        """Content of a load: at most a chunk, at most the call's credit."""
        if number in self._calls:
            self._calls[number].credit -= len(data)
            self.outbox.put_chunk(number, codec.chunk_head(number, len(data)), data)

    @staticmethod
    def pages(items: Iterable[calls.Item | TagEvent]) -> Iterator[pb.Page]:
        """The pages that hold these items, each to be sent with `page` once there is credit for it.

        They may be sent again, by any session.
        """
        return answers.pages_to_pb(items)

    def page(self, number: int, page: pb.Page) -> None:
        """One page of a stream."""
        if number in self._calls:
            self._calls[number].credit -= 1
            page.call = number
            self._put(pb.Request(page=page))

    def result(self, number: int, result: calls.Result) -> None:
        """End a call well."""
        call = self._calls.pop(number)
        if isinstance(call.op, calls.Save) and not call.committed:
            self._remember(number)
        self._put(pb.Request(result=answers.result_to_pb(number, result)), number)

    def fault(self, number: int, error: UdfstoreError) -> None:
        """End a call badly; or with number 0 the conversation, all calls with it: nothing is sent after this."""
        if number == 0:
            for other in self._calls:
                self.outbox.drop(other)
            self._calls.clear()
        call = self._calls.pop(number, None)
        if call is not None and isinstance(call.op, calls.Save) and not call.committed:
            self._remember(number)
        self.outbox.drop(number)
        self._fault(number, error)

    def restore(self, restore: tasks.Restore) -> None:
        """Give the node a state: once, before it is joined; never one that resumed, whose own state is newer."""
        self._put(self._hosted.restore(restore))

    def joined(self, joined: tasks.Joined) -> None:
        """The node is in place: restored, or with nothing to restore."""
        self._put(self._hosted.joined(joined))

    def ask(self, round: int) -> None:
        """Ask the node for its state, for that round (from 1)."""
        self._put(self._hosted.ask(round))

    def keepalive(self, time_ns: int) -> None:
        """Ask the node for a sign of life. Any frame that comes is one; see `frames`."""
        self._put(self._hosted.keepalive(time_ns))

    def restart(self, why: str) -> None:
        """Tell the node to leave and to come back fresh: another state was chosen for it."""
        self._put(self._hosted.restart(why))

    def close(self, grace: float) -> None:
        """Take no more calls; open ones have `grace` seconds."""
        self.closing = True
        self._put(pb.Request(closing=pb.Closing(grace_ms=int(grace * 1000))))

    def _fault(self, number: int, error: UdfstoreError) -> None:
        self._put(pb.Request(fault=answers.fault_to_pb(number, error)))

    def _put(self, envelope: pb.Request, call: int = 0) -> None:
        self.outbox.put(codec.encode(envelope), call)
