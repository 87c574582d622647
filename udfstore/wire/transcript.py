"""Transcripts: recorded conversations as text that people read and programs play.

    # Text behind a number sign is for people.
    vary Welcome.version Welcome.session

    < welcome { protocol: 1 version: "0.1.0" chunk_bytes: 1048576 calls: 64 credit: true session: 1 }
      16 82 02 13 08 01 12 05 30 2e 31 2e 30 30 80 80 40 38 40 40 01 48 01
    > hello { protocol: 1 }
      05 82 02 02 08 01
    > raw
      ff ff ff ff ff
    < end

A line with `>` is of the UDF, one with `<` of the host. Behind the mark stands the message in protobuf's text format
(protobuf.dev/reference/protobuf/textformat-spec), on the indented lines below it the whole frame in hex, its length
included. `raw` stands for bytes that are no frame, `end` for the end of what that side writes. When both sides have
ended, what follows is another conversation, over a connection of its own.

`vary` names fields, as `Message.field`, that differ from run to run: they are not compared, wherever they occur.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import ProtocolError, UsageError
from udfstore.wire import codec, varint
from udfstore.wire.codec import Envelope

END = "end"
RAW = "raw"
_HEX_BYTES = 32
"""Bytes in a line of hex: with its spaces as wide as a page."""


class Side(enum.Enum):
    """Who sends a frame."""

    UDF = ">"
    HOST = "<"

    @property
    def envelope(self) -> type[Envelope]:
        """What this side writes."""
        return pb.Response if self is Side.UDF else pb.Request


@dataclass(frozen=True, slots=True)
class Step:
    """What one side sends at one point of the conversation.

    `text` is a message in text format, `raw` or `end`; in a draft it may be empty: whatever comes. `data` is what goes
    over the wire: a whole frame, the raw bytes, or nothing at an end. `line` is where it stands, counted from 1.
    """

    side: Side
    line: int
    text: str
    data: bytes = b""

    @property
    def message(self) -> Envelope | None:
        """The message that is sent, None for `raw` and `end`."""
        if self.text in (RAW, END, ""):
            return None
        return text_format.Parse(self.text, self.side.envelope())


@dataclass(frozen=True, slots=True)
class Transcript:
    """A conversation: its steps, and between them the lines that are for people, all in order."""

    lines: tuple[Step | str, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is sent, in order."""
        return tuple(line for line in self.lines if isinstance(line, Step))

    @property
    def conversations(self) -> tuple[tuple[Step, ...], ...]:
        """The steps of each connection, one after another."""
        found: list[list[Step]] = []
        for step in self.steps:
            if not found or {end.side for end in found[-1] if end.text == END} == {*Side}:
                found.append([])
            found[-1].append(step)
        return tuple(map(tuple, found))

    @property
    def vary(self) -> frozenset[str]:
        """The fields that are not compared, as `Message.field`."""
        words = (line.split() for line in self.lines if isinstance(line, str))
        return frozenset(name for line in words if line[:1] == ["vary"] for name in line[1:])


def parse(text: str, *, draft: bool = False) -> Transcript:
    """Read a transcript. Raises `UsageError` that names the line.

    Every step must have its hex, and text and hex must say the same; a `draft` may leave hex out.
    """
    lines: list[Step | str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line[:1] in (">", "<"):
            lines.append(Step(Side(line[0]), number, line[1:].strip()))
        elif line[:1].isspace() and line.strip() and lines and isinstance(lines[-1], Step):
            lines[-1] = replace(lines[-1], data=lines[-1].data + _unhex(line, number))
        elif not line.strip() or line.startswith(("#", "vary ")):
            lines.append(line)
        else:
            raise UsageError(f"line {number}: not a line of a transcript", got=repr(line[:80]))
    return Transcript(tuple(_checked(line, draft) if isinstance(line, Step) else line for line in lines))


def render(transcript: Transcript) -> str:
    """The text that `parse` reads."""
    return "".join(f"{line}\n" for part in transcript.lines for line in _render(part))


def step_of(side: Side, line: int, data: bytes) -> Step:
    """The step that sends a frame."""
    envelope = _envelope(side, data, line)
    return Step(side, line, show(envelope), data)


def show(envelope: Envelope) -> str:
    """A message in text format, on one line."""
    return text_format.MessageToString(envelope, as_one_line=True)


def same(expected: Envelope, came: Envelope, vary: frozenset[str]) -> bool:
    """Whether two messages are equal but for the fields that vary."""
    return _without(expected, vary) == _without(came, vary)


def call_of(envelope: Envelope) -> int:
    """The number of the call that a message belongs to, 0 for the conversation's own."""
    return getattr(getattr(envelope, envelope.WhichOneof("message") or "", None), "call", 0)


def _render(part: Step | str) -> Iterator[str]:
    if isinstance(part, str):
        yield part
        return
    yield f"{part.side.value} {part.text}".rstrip()
    for start in range(0, len(part.data), _HEX_BYTES):
        yield "  " + part.data[start : start + _HEX_BYTES].hex(" ")


def _unhex(line: str, number: int) -> bytes:
    try:
        return bytes.fromhex(line)
    except ValueError as error:
        raise UsageError(f"line {number}: not hex: {error}") from error


def _checked(step: Step, draft: bool) -> Step:
    """The step, its hex filled in from its text or compared with it."""
    try:
        message = step.message
    except text_format.ParseError as error:
        raise UsageError(f"line {step.line}: not a message in text format: {error}") from error
    if message is None:
        if bool(step.data) is not (step.text == RAW) or not (step.text or draft):
            raise UsageError(f"line {step.line}: hex belongs to `raw` and to messages", got=step.text)
        return step
    if draft:
        return replace(step, data=step.data or codec.encode(message))
    if _envelope(step.side, step.data, step.line) != message:
        raise UsageError(f"line {step.line}: text and hex differ", expected=codec.encode(message).hex(" "))
    return step


def _envelope(side: Side, data: bytes, line: int) -> Envelope:
    try:
        prefix = varint.maybe_decode(data, 0)
        if prefix is None or prefix[0] != len(data) - prefix[1]:
            raise UsageError(f"line {line}: not a frame: its length is wrong", got=data[:16].hex(" "))
        return side.envelope.FromString(data[prefix[1] :])
    except (DecodeError, UnicodeDecodeError, ProtocolError) as error:
        raise UsageError(f"line {line}: not a frame: {error}") from error


def _without(message: Envelope, vary: frozenset[str]) -> Message:
    rest = copy.deepcopy(message)
    _clear(rest, vary)
    return rest


def _clear(message: Message, vary: frozenset[str]) -> None:
    for field, value in message.ListFields():
        if f"{message.DESCRIPTOR.name}.{field.name}" in vary:
            message.ClearField(field.name)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for part in (value,) if isinstance(value, Message) else value:
                _clear(part, vary)
