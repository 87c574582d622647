"""Envelopes: one protobuf message each, and the chunks, whose content is never copied into a message."""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.message import DecodeError, EncodeError, Message

from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import ProtocolError
from udfstore.wire import varint
from udfstore.wire.framing import Frame, frame

Envelope = pb.Request | pb.Response

CHUNK = 35
"""The field of `chunk` in both envelopes."""

_CHUNK_KEY = varint.encode(CHUNK << 3 | 2)
_CALL_KEY = 1 << 3 | 0
_DATA_KEY = 2 << 3 | 2
_CALL_BYTES = 10


class ContentChunk(NamedTuple):
    """A `Chunk` message with its content left where it was received."""

    call: int
    data: memoryview


def encode(envelope: Envelope) -> bytes:
    """The whole frame of an envelope."""
    try:
        return frame(envelope.SerializeToString())
    except EncodeError as error:  # pragma: no cover - proto3 has no required fields
        raise ValueError(f"not encodable: {error}") from error


def decode(kind: type[Envelope], received: Frame) -> Message:
    """The message that a frame holds.

    Raises `ProtocolError` for bytes that are not protobuf, and for an envelope that holds another message than its
    first key says.
    """
    try:
        envelope = kind.FromString(bytes(received.envelope))
    except (DecodeError, UnicodeDecodeError) as error:  # the second from protobuf's pure Python parser
        raise ProtocolError(f"an envelope that is not protobuf: {error}") from error
    name = envelope.WhichOneof("message")
    if name is None or kind.DESCRIPTOR.fields_by_name[name].number != received.kind:
        raise ProtocolError("an envelope that holds more than one message", expected=f"field {received.kind}", got=name)
    message: Message = getattr(envelope, name)
    return message


def chunk_head(call: int, size: int) -> bytes:
    """All of a chunk's frame that stands before its `size` content bytes (protobuf: content is its last field)."""
    inner = bytes((_CALL_KEY,)) + varint.encode(call) + bytes((_DATA_KEY,)) + varint.encode(size)
    outer = _CHUNK_KEY + varint.encode(len(inner) + size) + inner
    return varint.encode(len(outer) + size) + outer


def decode_chunk(received: Frame) -> ContentChunk:
    """The chunk in a frame, its content a view of the frame's own bytes.

    Every protobuf encoder writes the two fields in order and once; a frame that does otherwise is still protobuf and is
    left to the generated parser.
    """
    view = memoryview(received.envelope)
    found = _maybe_plain_chunk(view)
    if found is not None:
        return found
    message = decode(pb.Request, Frame(CHUNK, view))
    assert isinstance(message, pb.Chunk)
    return ContentChunk(message.call, memoryview(message.data))


def _maybe_plain_chunk(view: memoryview) -> ContentChunk | None:
    """The chunk, if the envelope is laid out as `chunk_head` does; else None."""
    try:
        body = varint.maybe_decode(view, len(_CHUNK_KEY))
        if body is None or body[0] != len(view) - body[1] or body[0] == 0 or view[body[1]] != _CALL_KEY:
            return None
        call = varint.maybe_decode(view, body[1] + 1, _CALL_BYTES)
        if call is None or call[1] == len(view) or view[call[1]] != _DATA_KEY or call[0] >> 64:
            return None
        data = varint.maybe_decode(view, call[1] + 1)
    except ProtocolError:
        return None
    if data is None or data[0] != len(view) - data[1]:
        return None
    return ContentChunk(call[0], view[data[1] :])
