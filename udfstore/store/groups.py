"""Groups of records and heads of segments as bytes: the framing of the log. Pure; see FORMAT.md.

    group  = magic length first-revision count previous  head*count  payload*count  hash
    head   = kind flags 0 0 length digest-of-payload

The hash covers everything but flags and payloads, whose digests stand in the heads: a payload may be blanked later
(flag `REMOVED`, bytes zeroed) and the chain of hashes still verifies.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from udfstore.errors import Unsupported
from udfstore.model import Kind

MAGIC = b"\xf5UG1"
"""0xF5 never stands in UTF-8, so no payload can hold what looks like a group."""

SEGMENT_MAGIC = b"\xf5UDFLOG\n"
SEGMENT_VERSION = 1

REMOVED = 1
"""Flag of a record whose payload was blanked."""

HASH_BYTES = 32
GENESIS = bytes(HASH_BYTES)
"""What the first group names as the hash of the group before."""

_HEADER = struct.Struct(">4sIQI32s")
_HEAD = struct.Struct(">BBHI32s")
_SEGMENT = struct.Struct(">8sIIIQ16s")
SEGMENT_HEAD_BYTES = _SEGMENT.size + HASH_BYTES

KINDS: dict[Kind, int] = {
    Kind.MOVE: 1,
    Kind.MARK: 2,
    Kind.RESCUE: 3,
    Kind.CONDEMN: 4,
    Kind.ERASED: 5,
    Kind.USED: 6,
    Kind.CLOSED: 7,
}
_KIND_OF = {number: kind for kind, number in KINDS.items()}


class Damaged(Exception):
    """Bytes are not the group or head that should be there; the message says which part of it."""


@dataclass(frozen=True, slots=True)
class Framed:
    """A record as the log holds it. `payload` None: it was removed."""

    kind: Kind
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Group:
    """Records that one sync made durable. `revision` is that of the first, `chain` the group's own hash."""

    revision: int
    records: tuple[Framed, ...]
    previous: bytes
    chain: bytes
    length: int

    @property
    def last(self) -> int:
        """The revision of the last record."""
        return self.revision + len(self.records) - 1


def group_bytes(payloads: int, count: int) -> int:
    """The length of a group of `count` records whose payloads have that many bytes together."""
    return _HEADER.size + count * _HEAD.size + payloads + HASH_BYTES


def encode_group(revision: int, previous: bytes, records: Sequence[tuple[Kind, bytes]]) -> tuple[bytes, bytes]:
    """A group as bytes, and its hash."""
    length = group_bytes(sum(len(payload) for _, payload in records), len(records))
    heads = b"".join(
        _HEAD.pack(KINDS[kind], 0, 0, len(payload), hashlib.sha256(payload).digest()) for kind, payload in records
    )
    framed = _HEADER.pack(MAGIC, length, revision, len(records), previous) + heads
    chain = hashlib.sha256(framed).digest()
    return b"".join((framed, *(payload for _, payload in records), chain)), chain


def decode_group(data: bytes | memoryview, offset: int = 0) -> Group:
    """Read the group that begins at `offset`. Raises `Damaged` unless every byte of it is right."""
    view = memoryview(data)[offset:]
    if len(view) < _HEADER.size:
        raise Damaged(f"the header of a group is cut off after {len(view)} bytes")
    magic, length, revision, count, previous = _HEADER.unpack_from(view)
    if magic != MAGIC:
        raise Damaged("no group begins here")
    heads_end = _HEADER.size + count * _HEAD.size
    if not count or not heads_end + HASH_BYTES <= length <= len(view):
        raise Damaged(f"group at revision {revision}: its length is wrong")
    heads = [_HEAD.unpack_from(view, _HEADER.size + n * _HEAD.size) for n in range(count)]
    chain = bytes(view[length - HASH_BYTES : length])
    blank_flags = b"".join(_HEAD.pack(kind, 0, zero, size, digest) for kind, _, zero, size, digest in heads)
    if hashlib.sha256(bytes(view[: _HEADER.size]) + blank_flags).digest() != chain:
        raise Damaged(f"group at revision {revision}: its hash does not match")
    if heads_end + sum(size for *_, size, _ in heads) + HASH_BYTES != length:
        raise Damaged(f"group at revision {revision}: its records do not fill it")
    records, at = [], heads_end
    for n, (kind, flags, zero, size, digest) in enumerate(heads):
        payload = bytes(view[at : at + size])
        records.append(
            _framed(kind, flags, zero, payload, digest, f"record {n + 1} of {count}, revision {revision + n}")
        )
        at += size
    return Group(revision, tuple(records), previous, chain, length)


def _framed(kind: int, flags: int, zero: int, payload: bytes, digest: bytes, name: str) -> Framed:
    if kind not in _KIND_OF or zero or flags not in (0, REMOVED):
        raise Damaged(f"{name}: unknown kind {kind} or flags {flags}")
    if flags == REMOVED:
        if any(payload):
            raise Damaged(f"{name}: said to be removed, but its payload is there")
        return Framed(_KIND_OF[kind], None)
    if hashlib.sha256(payload).digest() != digest:
        raise Damaged(f"{name}: its payload does not match its digest")
    return Framed(_KIND_OF[kind], payload)


def find_group(data: bytes, offset: int, above: int) -> Group | None:
    """The first whole group at or behind `offset` whose revision is greater than `above`."""
    while (offset := data.find(MAGIC, offset)) >= 0:
        try:
            group = decode_group(data, offset)
        except Damaged:
            offset += 1
            continue
        if group.revision > above:
            return group
        offset += group.length
    return None


@dataclass(frozen=True, slots=True)
class SegmentHead:
    """The head of a segment: its number from 1, its size, and the largest group it may hold, in bytes."""

    store: bytes
    number: int
    size: int
    largest: int


def encode_segment_head(head: SegmentHead) -> bytes:
    """The first bytes of a segment."""
    fields = _SEGMENT.pack(SEGMENT_MAGIC, SEGMENT_VERSION, head.size, head.largest, head.number, head.store)
    return fields + hashlib.sha256(fields).digest()


def decode_segment_head(data: bytes) -> SegmentHead:
    """Read the first bytes of a segment. Raises `Damaged`, or `Unsupported` for a newer version."""
    fields, digest = data[: _SEGMENT.size], data[_SEGMENT.size : SEGMENT_HEAD_BYTES]
    if len(data) < SEGMENT_HEAD_BYTES or hashlib.sha256(fields).digest() != digest:
        raise Damaged("its head is damaged")
    magic, version, size, largest, number, store = _SEGMENT.unpack(fields)
    if magic != SEGMENT_MAGIC:
        raise Damaged("its head is not that of a log segment")
    if version != SEGMENT_VERSION:
        raise Unsupported("a log segment has a newer format", expected=SEGMENT_VERSION, got=version)
    return SegmentHead(store, number, size, largest)
