"""Unsigned varints (base 128, least significant group first; protobuf.dev/programming-guides/encoding)."""

from __future__ import annotations

from udfstore.errors import ProtocolError

LENGTH_BYTES = 5
"""Most bytes of a length prefix: 35 bits, more than any limit of ours and what Kapacitor's agents read."""


def encode(value: int) -> bytes:
    """A number from 0 as the shortest varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def maybe_decode(data: bytes | bytearray | memoryview, start: int, most: int = LENGTH_BYTES) -> tuple[int, int] | None:
    """The number at `start` and the position behind it, or None while its last byte has not come.

    Raises `ProtocolError` when it has more than `most` bytes.
    """
    value = shift = 0
    for position in range(start, min(len(data), start + most)):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
    if len(data) - start >= most:
        raise ProtocolError("a varint without an end", expected=f"at most {most} bytes", got="more")
    return None
