"""Records of the journal as bytes. Pure; see FORMAT.md.

    record = magic length generation ID check  content

The content proves itself by its ID, the head by its check, which holds the store's ID as well.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from udfstore.digest import BlobId

MAGIC = b"\xf5UJ1"
_FIELDS = struct.Struct(">4sI8s32s")
_CHECK_BYTES = 16
GENERATION_BYTES = 8
HEAD_BYTES = _FIELDS.size + _CHECK_BYTES
EMPTY = bytes(HEAD_BYTES)
"""How a segment begins that holds nothing."""


@dataclass(frozen=True, slots=True)
class Journaled:
    """A whole record: content, and its ID."""

    generation: bytes
    id: BlobId
    content: bytes


def encode_head(store: bytes, generation: bytes, id: BlobId, size: int) -> bytes:
    """What stands before the content of a record."""
    fields = _FIELDS.pack(MAGIC, size, generation, id.raw)
    return fields + _check(store, fields)


def records_in(segment: bytes, store: bytes) -> Iterator[Journaled]:
    """The whole records of the generation that a segment holds, in order; what is damaged is passed over."""
    if segment[:HEAD_BYTES] == EMPTY:
        return
    # The first head lies within one sector, so that no power cut tears it: it is right, or has rotted.
    first = _maybe_head(segment, 0, store)
    generation = first[0] if first else None
    offset = segment.find(MAGIC)
    while offset >= 0:
        record = _maybe_record(segment, offset, store)
        if record is not None and generation in (None, record.generation):
            generation = record.generation
            yield record
            following = offset + HEAD_BYTES + len(record.content)
        else:
            following = offset + 1
        offset = segment.find(MAGIC, following)


def _maybe_record(segment: bytes, offset: int, store: bytes) -> Journaled | None:
    head = _maybe_head(segment, offset, store)
    if head is None:
        return None
    generation, size, id = head
    content = segment[offset + HEAD_BYTES : offset + HEAD_BYTES + size]
    return Journaled(generation, id, content) if BlobId.of(content) == id else None


def _maybe_head(segment: bytes, offset: int, store: bytes) -> tuple[bytes, int, BlobId] | None:
    """Generation, length and ID that a whole head tells."""
    head = segment[offset : offset + HEAD_BYTES]
    if len(head) < HEAD_BYTES or head[_FIELDS.size :] != _check(store, head[: _FIELDS.size]):
        return None
    _, size, generation, raw = _FIELDS.unpack_from(head)
    return generation, size, BlobId(raw)


def _check(store: bytes, fields: bytes) -> bytes:
    return hashlib.sha256(store + fields).digest()[:_CHECK_BYTES]
