"""The UDF's end of a conversation: it opens calls, and hears of each its one result or fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from udfstore import calls, tasks
from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import Blame, InternalError, ProtocolError, TooLarge, Unsupported, UsageError
from udfstore.model import Claim
from udfstore.session import answers, nodes, requests
from udfstore.session.events import (
    PROTOCOL,
    Answered,
    Content,
    Ending,
    Failed,
    Found,
    Granted,
    Paged,
    UdfEvent,
    Welcome,
)
from udfstore.session.nodes import Stage
from udfstore.session.outbox import Outbox
from udfstore.session.tokens import Token, Tokens
from udfstore.session.values import claim_to_pb, place_to_pb
from udfstore.wire import codec, limits
from udfstore.wire.framing import Frame, FrameReader

_Message = TypeVar("_Message")
_Value = TypeVar("_Value")


class UdfSession:
    """One conversation, seen from the UDF. Feed it what comes, send what `outbox` holds.

    The hello is put into the outbox when the welcome has come, because before that the host has not shown what it is;
    or at once where it is `host_known`: it showed itself by another sign, and sends its welcome after the hello.

    `node` is the node that this connection is. The host restores it, tells it `Joined` and asks it for its state; each
    `Restore` is to be answered by `restored` and each `Asked` by `answer`. Keepalives are answered here: what `receive`
    leaves in the outbox has to be sent. Otherwise `place` says where this client works.

    Raises `UsageError` or `TooLarge` for a node that no host would take.
    """

    def __init__(
        self,
        claim: Claim | None = None,
        node: tasks.Node | None = None,
        place: tasks.Place = tasks.NOWHERE,
        host_known: bool = False,
        plain_bytes: int = limits.PLAIN_BYTES,
        descriptors: bool = False,
    ) -> None:
        """`plain_bytes`: the largest state that may travel inside a message, if the node is `plain`.

        `descriptors`: the shell passes them, both ways.
        """
        self.outbox = Outbox()
        self.tokens = Tokens()
        self.welcome: Welcome | None = None
        self.node = node
        self._plain_bytes = plain_bytes if node is not None and node.plain else 0
        self._frames = FrameReader(
            limits.of_hosts() if node is None else limits.of_hosts_of_nodes(plain_bytes=self._plain_bytes)
        )
        self._descriptors = descriptors
        hello = pb.Hello(protocol=PROTOCOL, claim=claim_to_pb(claim or Claim()), credit=True, place=place_to_pb(place))
        hello.descriptors = descriptors
        if node is not None:
            hello.node.CopyFrom(nodes.node_to_pb(node))
        nodes.check_hello(hello)
        self._hello = self._encode(pb.Response(hello=hello))
        self._host_known = host_known
        self._stage = Stage.AWAY
        self._credit: dict[int, int] = {}
        """Open calls, and for each the content bytes that may still be sent."""
        self._sent: dict[int, int] = {}
        """Saves, and for each the content bytes sent so far."""
        self._withdrawn: set[int] = set()
        """Calls that were taken back, and that the host has not ended yet: they count there."""
        self._last = 0
        self._handlers: dict[str, Callable[[Any], UdfEvent | None]] = {
            "welcome": self._on_welcome,
            "closing": lambda message: Ending(message.grace_ms / 1000),
            "head": self._on_head,
            "page": self._on_page,
            "result": self._on_result,
            "fault": self._on_fault,
            "credit": self._on_credit,
            "keepalive": self._on_keepalive,
            "restore": self._on_restore,
            "joined": self._on_joined,
            "snapshot": self._on_snapshot,
            "restart": self._on_restart,
        }
        if host_known:
            self.outbox.put(self._hello)

    # --- what comes ---

    @property
    def space(self) -> memoryview:
        """Where the next bytes belong, as far as that is known: the rest of a long frame."""
        return self._frames.space

    def receive(
        self, data: bytes | bytearray | memoryview, tokens: Iterable[Token] = (), placed: int = 0
    ) -> Iterator[UdfEvent]:
        """The events that `data` completes, behind `placed` bytes that are in `space` already, in order; take them all.

        `tokens` are the descriptors that came with the bytes. They are this session's, until an event hands one on.
        Raises `ProtocolError` when the conversation cannot go on, `Unsupported` when the host speaks another version of
        the protocol, and the host's own error when it ended the conversation.
        """
        self.tokens.put(tokens)
        for frame in self._frames.receive(data, placed):
            event = self._on_frame(frame)
            if event is not None:
                yield event
        if not self._frames.half_read:
            self.tokens.settle()

    def end(self) -> None:
        """The host closed its side. Raises `ProtocolError` when that cut a frame in two."""
        self._frames.end()

    def _on_frame(self, frame: Frame) -> UdfEvent | None:
        name = pb.Request.DESCRIPTOR.fields_by_number[frame.kind].name
        if (self.welcome is None) != (name == "welcome") and name != "fault":
            expected = "welcome" if self.welcome is None else "anything but a second welcome"
            raise ProtocolError(f"a message out of order: {name}", expected=expected, got=name)
        if frame.kind == codec.CHUNK:
            chunk = codec.decode_chunk(frame)
            return Content(chunk.call, chunk.data) if self._known(chunk.call) and len(chunk.data) else None
        return self._handlers[name](codec.decode(pb.Request, frame))

    def _known(self, number: int) -> bool:
        """Whether the call is open. A number that was never given out is the host's error."""
        if number > self._last:
            raise ProtocolError("an answer to a call that was never opened", expected=f"<= {self._last}", got=number)
        return number in self._credit

    def _on_welcome(self, message: pb.Welcome) -> UdfEvent:
        if message.protocol != PROTOCOL:
            raise Unsupported(
                "the server speaks another protocol; update this client", expected=PROTOCOL, got=message.protocol
            )
        if not 0 < message.chunk_bytes <= limits.CHUNK_BYTES:
            raise ProtocolError(
                "a welcome with an impossible size of chunks",
                expected=f"1 to {limits.CHUNK_BYTES}",
                got=message.chunk_bytes,
            )
        self.welcome = Welcome(
            message.version,
            message.store_id,
            message.epoch,
            message.revision,
            message.chunk_bytes,
            message.calls,
            message.session,
            message.credit,
            message.save_credit,
            message.descriptors,
        )
        if not self._host_known:
            self.outbox.put(self._hello)
        return self.welcome

    def _on_head(self, message: pb.Head) -> UdfEvent | None:
        head, known = _read(answers.head_from_pb, message), self._known(message.call)
        file = self.tokens.maybe_claim() if message.descriptor else None
        lost = message.descriptor and file is None
        if lost:
            self.tokens.lose()
        if known and file is not None:  # all is here; the result, which is still to come, says no more
            self._end(message.call)
            self._withdrawn.add(message.call)
        if known:
            return Found(message.call, head, file, lost)
        if file is not None:
            file.close()
        return None

    def _on_page(self, message: pb.Page) -> UdfEvent | None:
        return Paged(message.call, tuple(_read(answers.page_from_pb, message))) if self._known(message.call) else None

    def _on_result(self, message: pb.Result) -> UdfEvent | None:
        self._withdrawn.discard(message.call)
        if not self._known(message.call):
            return None
        self._end(message.call)
        try:
            return Answered(message.call, _read(answers.result_from_pb, message))
        except InternalError as error:  # a result of a later release
            return Failed(message.call, error)

    def _on_fault(self, message: pb.Fault) -> UdfEvent | None:
        error = answers.fault_from_pb(message)
        if message.call == 0:
            raise error
        self._withdrawn.discard(message.call)
        if not self._known(message.call):
            return None
        self._end(message.call)
        return Failed(message.call, error)

    def _on_credit(self, message: pb.Credit) -> UdfEvent | None:
        if not self._known(message.call):
            return None
        self._credit[message.call] += message.amount
        return Granted(message.call)

    def _on_keepalive(self, message: pb.KeepaliveRequest) -> None:
        self._put(pb.Response(keepalive=pb.KeepaliveResponse(time=message.time)))

    def _on_restore(self, message: pb.RestoreRequest) -> UdfEvent:
        node = self._expect("a restore", Stage.AWAY)
        if node.resumed:
            raise ProtocolError("a restore of a node that resumed: its own state is newer")
        self._stage = Stage.ASKED
        return _read(partial(nodes.restore_from_pb, plain=node.plain), message)

    def _on_joined(self, message: pb.Joined) -> UdfEvent:
        self._expect("joined", Stage.AWAY, Stage.RESTORED)
        self._stage = Stage.JOINED
        return _read(nodes.joined_from_pb, message)

    def _on_snapshot(self, message: pb.SnapshotRequest) -> UdfEvent:
        self._expect("a snapshot", Stage.JOINED)
        if not message.round:
            raise ProtocolError("a snapshot of no round", expected="a number from 1")
        return tasks.Asked(message.round)

    def _on_restart(self, message: pb.Restart) -> UdfEvent:
        self._expect("a restart", *Stage)
        return tasks.Restart(message.why)

    def _expect(self, what: str, *stages: Stage, blame: Blame = Blame.REMOTE) -> tasks.Node:
        """The node that this is, on its way as far as `what` asks for."""
        return nodes.expect(self.node, self._stage, what, stages, blame)

    def _end(self, number: int) -> None:
        del self._credit[number]
        self._sent.pop(number, None)
        self.outbox.drop(number)

    # --- what goes ---

    @property
    def descriptors(self) -> bool:
        """Whether both sides pass descriptors, and none was lost so far."""
        offered = self.welcome is not None and self.welcome.descriptors
        return self._descriptors and offered and not self.tokens.lost

    def open(self, call: calls.Call, credit: int = 0, *, file: Token | None = None) -> int:
        """Open a call, granting as much of it at once; returns its number. Call it only once the welcome has come.

        `file` goes with a save by descriptor, and is closed when it is sent. Raises `TooLarge` for more than one call
        may hold.
        """
        if self.welcome is None:
            raise ProtocolError("a call before the welcome", blame=Blame.LOCAL)
        frame = self._encode(pb.Response(call=requests.call_to_pb(self._last + 1, call, credit)))
        if file is None:
            self.outbox.put(frame)
        else:
            self.outbox.put_with(frame, file)
        self._last += 1
        at_once = isinstance(call, calls.Save) and call.id is None
        self._credit[self._last] = self.welcome.save_credit if at_once else 0
        if isinstance(call, calls.Save) and call.descriptor:
            self._sent[self._last] = call.size or 0
        return self._last

    def is_open(self, number: int) -> bool:
        """Whether the call has not ended yet."""
        return number in self._credit

    @property
    def open_calls(self) -> int:
        """How many calls have not ended at the host."""
        return len(self._credit) + len(self._withdrawn)

    def credit(self, number: int) -> int:
        """How many content bytes of a save may be sent now: a chunk at any time, if the host counts no credit."""
        if self.welcome is not None and not self.welcome.credit:
            return self.welcome.chunk_bytes
        return self._credit[number]

    def chunk(self, number: int, data: bytes | memoryview) -> None:
        """Content of a save: at most a chunk of the welcome's size, at most the call's credit."""
        self._credit[number] -= len(data)
        self._sent[number] = self._sent.get(number, 0) + len(data)
        self.outbox.put_chunk(number, codec.chunk_head(number, len(data)), data)

    def commit(self, number: int, commit: calls.Commit) -> None:
        """End a save's content. Its size is what was sent. Raises `TooLarge` for more than one commit may hold."""
        whole = replace(commit, size=self._sent.get(number, 0))
        self._put(pb.Response(commit=requests.commit_to_pb(number, whole)), number)

    def grant(self, number: int, amount: int) -> None:
        """Let the host send more of a call: bytes of a load, pages of a stream."""
        if number in self._credit:
            self._put(pb.Response(credit=pb.Credit(call=number, amount=amount)))

    def cancel(self, number: int) -> None:
        """Give up a call. Whatever still comes for it is dropped."""
        if number in self._credit:
            self._end(number)
            self._withdrawn.add(number)
            self._put(pb.Response(cancel=pb.Cancel(call=number)))

    def goodbye(self) -> None:
        """Tell the host that no call follows; as a node, that it may take a last snapshot before it hangs up."""
        self._put(pb.Response(goodbye=pb.Goodbye()))

    def restored(self, restored: tasks.Restored) -> None:
        """Answer the restore."""
        self._expect("an answer to a restore", Stage.ASKED, blame=Blame.LOCAL)
        self._stage = Stage.RESTORED
        self._put(pb.Response(restore=nodes.restored_to_pb(restored)))

    def answer(self, answer: tasks.Answer) -> None:
        """Answer an `Asked`. Raises `TooLarge` for a state that cannot travel inside a message."""
        node = self._expect("an answer to a snapshot", Stage.JOINED, blame=Blame.LOCAL)
        message = nodes.answer_to_pb(answer, plain=node.plain, most=self._plain_bytes)
        self.outbox.put(self._encode(pb.Response(snapshot=message), limits.SMALL_BYTES + self._plain_bytes))

    def _put(self, envelope: pb.Response, call: int = 0) -> None:
        self.outbox.put(self._encode(envelope), call)

    def _encode(self, envelope: pb.Response, most: int = limits.SMALL_BYTES) -> bytes:
        size = envelope.ByteSize()
        if size > most:
            raise TooLarge(
                "more than one message may hold: fewer links, tags, labels or models at once",
                expected=f"at most {most} bytes",
                got=size,
            )
        return codec.encode(envelope)


def _read(read: Callable[[_Message], _Value], message: _Message) -> _Value:
    """A message as a plain value. Raises `ProtocolError` where it holds what cannot be: an ID of three bytes."""
    try:
        return read(message)
    except UsageError as error:
        raise ProtocolError(f"a message that makes no sense: {error.message}", got=error.got) from error
