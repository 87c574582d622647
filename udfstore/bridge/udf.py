"""What a UDF says, paired with what it was asked. Pure.

Only the kind pairs an answer with its question (Kapacitor's rule), and answers of one kind come in the order of their
questions; a snapshot's answer to a round says the round's number. A question that is given up still stands in that
order: its answer is late when it comes, and never taken for the answer to the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import ProtocolError
from udfstore.wire import codec, limits, varint
from udfstore.wire.framing import Frame

INFO, INIT, KEEPALIVE, SNAPSHOT, RESTORE, ERROR = 1, 2, 3, 4, 5, 6
BEGIN, POINT, END = 16, 17, 18
HELLO, CREDIT = 32, 39
OWN = 32
"""The first field of udfstore's own."""

_NAMES = {INFO: "info", INIT: "init", SNAPSHOT: "snapshot", RESTORE: "restore"}


class AnyKind(dict[int, int]):
    """Limits of a link that takes kinds it does not know, small ones: they are dropped, not refused."""

    def __contains__(self, kind: object) -> bool:
        return True

    def __missing__(self, kind: int) -> int:
        return limits.SMALL_BYTES


def may_say(plain_bytes: int = limits.PLAIN_BYTES) -> Mapping[int, int]:
    """What is taken from a UDF: Kapacitor's messages, those of a client, and small ones that nobody knows."""
    return AnyKind({**limits.of_clients(), **limits.of_kapacitor_udfs(plain_bytes)})


@dataclass(eq=False, slots=True)
class Question:
    """What the UDF was asked: a kind, and of a snapshot its round (0: none) and where in the data it stands.

    `given_up`: nobody waits for the answer any more.
    """

    kind: int
    round: int = 0
    mark: Any = None
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """Points, begins and ends, in order."""

    frames: list[Frame]


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a question, `late` when that was given up; `message` is what the frame holds."""

    question: Question
    frame: Frame
    message: Message

    @property
    def late(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.question.given_up


@dataclass(frozen=True, slots=True)
class Alive:
    """The answer to a keepalive. One that nobody asked for does no harm."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Own:
    """A message of udfstore's own, not looked into."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Ended:
    """An error response: the UDF has given up, and says why."""

    why: str


@dataclass(frozen=True, slots=True)
class Stray:
    """What has no place: dropped. `why` is for the log."""

    kind: int
    why: str


Said = Data | Answered | Alive | Own | Ended | Stray


class Talk:
    """One UDF's side of the conversation."""

    def __init__(self) -> None:
        self._open: dict[int, deque[Question]] = {kind: deque() for kind in _NAMES}
        self._answered: set[int] = set()

    def ask(self, kind: int, round: int = 0, mark: Any = None) -> Question:
        """A question goes to the UDF now. Give it up by setting `given_up`."""
        question = Question(kind, round, mark)
        self._open[kind].append(question)
        return question

    def receive(self, frames: Iterable[Frame]) -> Iterator[Said]:
        """What the UDF said, in order. Raises `ProtocolError` for an answer that is not what its kind says."""
        data: list[Frame] = []
        for frame in frames:
            if BEGIN <= frame.kind <= END:
                data.append(frame)
                continue
            if data:
                yield Data(data)
                data = []
            yield self._other(frame)
        if data:
            yield Data(data)

    def _other(self, frame: Frame) -> Said:
        if frame.kind >= OWN:
            return Own(frame)
        if frame.kind == KEEPALIVE:
            return Alive(frame)
        if frame.kind == ERROR:
            message = codec.decode(pb.Response, frame)
            assert isinstance(message, pb.ErrorResponse)
            return Ended(message.error or "the UDF ended with an error and said nothing more")
        if frame.kind not in _NAMES:
            _check_message(frame)
            return Stray(frame.kind, "no such message")
        message = codec.decode(pb.Response, frame)
        _check_message(frame)
        question = self._asked(frame.kind, getattr(message, "round", 0))
        name = _NAMES[frame.kind]
        if question is None:
            twice = frame.kind in self._answered
            return Stray(frame.kind, f"a second answer to {name}" if twice else f"nobody asked for {name}")
        self._answered.add(frame.kind)
        return Answered(question, frame, message)

    def _asked(self, kind: int, round: int) -> Question | None:
        """The question that an answer belongs to: the oldest, or that of its round."""
        waiting = self._open[kind]
        for question in waiting:
            if not round or question.round == round:
                waiting.remove(question)
                return question
        return None


def _check_message(frame: Frame) -> None:
    """Tell a message that nobody knows from text: raises `ProtocolError` for what is not one field of an envelope."""
    envelope = frame.envelope
    key = varint.maybe_decode(envelope, 0)
    inner = None if key is None else varint.maybe_decode(envelope, key[1])
    if inner is None or inner[0] + inner[1] != len(envelope):
        raise ProtocolError("bytes that are no message; does it print to stdout?", got=ascii(bytes(envelope[:40])))
