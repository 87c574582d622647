"""Groups of records and heads of segments as bytes: the framing of the log. Pure; see FORMAT.md.

    group  = magic length first-revision count previous  head*count  payload*count  hash
    head   = kind flags 0 0 length digest-of-payload
    gap    = magic length first-revision last-revision previous chain  hash

The hash covers everything but flags and payloads, whose digests stand in the heads: a payload may be left out later
(flag `SHED`) and the chain of hashes still verifies. A gap stands for groups of which every record was shed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import compress

from udfstore.errors import Unsupported
from udfstore.model import Kind

MAGIC = b"\xf5UG1"
"""0xF5 never stands in UTF-8, so no payload can hold what looks like a group."""

GAP_MAGIC = b"\xf5US1"

SEGMENT_MAGIC = b"\xf5UDFLOG\n"
SEGMENT_VERSION = 1

SHED = 1
"""Flag of a record whose payload is left out."""

HASH_BYTES = 32
GENESIS = bytes(HASH_BYTES)
"""What the first group names as the hash of the group before."""

_HEADER = struct.Struct(">4sIQI32s")
_HEAD = struct.Struct(">BBHI32s")
_FIRST = struct.Struct(">4sIQ")
"""With this both begin."""
_GAP = struct.Struct(">4sIQQ32s32s")
_SEGMENT = struct.Struct(">8sIIIQ16s")
GAP_BYTES = _GAP.size + HASH_BYTES
SEGMENT_HEAD_BYTES = _SEGMENT.size + HASH_BYTES
FIRST_BYTES = SEGMENT_HEAD_BYTES + _FIRST.size

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
    """A record as the log holds it. `payload` None: it was shed."""

    kind: Kind
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Group:
    """Records that one sync made durable; or, without records, a gap: those of several such groups, all shed.

    `revision` is that of the first record, `last` that of the last one, `chain` the hash that the next group names,
    `length` the bytes that it takes now.
    """

    revision: int
    last: int
    records: tuple[Framed, ...]
    previous: bytes
    chain: bytes
    length: int

    def shed(self) -> list[tuple[int, int]]:
        """The first and the last revision of each run of records that were shed."""
        if not self.records:
            return [(self.revision, self.last)]
        return [(n, n) for n, framed in enumerate(self.records, self.revision) if framed.payload is None]


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
    """Read the group or gap that begins at `offset`. Raises `Damaged` unless every byte of it is right."""
    view = memoryview(data)[offset:]
    if view[: len(GAP_MAGIC)] == GAP_MAGIC:
        return _decode_gap(view)
    if len(view) < _HEADER.size:
        raise Damaged(f"the header of a group is cut off after {len(view)} bytes")
    magic, length, revision, count, previous = _HEADER.unpack_from(view)
    if magic != MAGIC:
        raise Damaged("no group begins here")
    heads_end = _HEADER.size + count * _HEAD.size
    if not count or not heads_end + HASH_BYTES <= min(length, len(view)):
        raise Damaged(f"group at revision {revision}: its length is wrong")
    heads = [_HEAD.unpack_from(view, _HEADER.size + n * _HEAD.size) for n in range(count)]
    end = heads_end + sum(0 if flags == SHED else size for _, flags, _, size, _ in heads)
    if heads_end + sum(size for *_, size, _ in heads) + HASH_BYTES != length:
        raise Damaged(f"group at revision {revision}: its length is wrong")
    chain = bytes(view[end : end + HASH_BYTES])
    no_flags = b"".join(_HEAD.pack(kind, 0, zero, size, digest) for kind, _, zero, size, digest in heads)
    if hashlib.sha256(bytes(view[: _HEADER.size]) + no_flags).digest() != chain:
        raise Damaged(f"group at revision {revision}: its hash does not match")
    records, at = [], heads_end
    for n, (kind, flags, zero, size, digest) in enumerate(heads):
        payload = None if flags == SHED else bytes(view[at : at + size])
        records.append(
            _framed(kind, flags, zero, payload, digest, f"record {n + 1} of {count}, revision {revision + n}")
        )
        at += len(payload or b"")
    return Group(revision, revision + count - 1, tuple(records), previous, chain, end + HASH_BYTES)


def _decode_gap(view: memoryview) -> Group:
    if len(view) < GAP_BYTES:
        raise Damaged(f"a gap is cut off after {len(view)} bytes")
    _, length, first, last, previous, chain = _GAP.unpack_from(view)
    if hashlib.sha256(view[: _GAP.size]).digest() != view[_GAP.size : GAP_BYTES]:
        raise Damaged(f"gap at revision {first}: its hash does not match")
    if length != GAP_BYTES or last < first:
        raise Damaged(f"gap at revision {first}: it is none")
    return Group(first, last, (), previous, chain, GAP_BYTES)


def _framed(kind: int, flags: int, zero: int, payload: bytes | None, digest: bytes, name: str) -> Framed:
    if kind not in _KIND_OF or zero or flags not in (0, SHED):
        raise Damaged(f"{name}: unknown kind {kind} or flags {flags}")
    if payload is not None and hashlib.sha256(payload).digest() != digest:
        raise Damaged(f"{name}: its payload does not match its digest")
    return Framed(_KIND_OF[kind], payload)


def shed(data: bytes, groups: Iterable[tuple[Group, int]], revisions: Container[int]) -> bytes:
    """Groups without those records, one behind the other. Each comes with the offset at which it begins in `data`."""
    parts: list[bytes] = []
    gap: Group | None = None
    for group, start in groups:
        stays = [
            framed.payload is not None and n not in revisions for n, framed in enumerate(group.records, group.revision)
        ]
        if any(stays):
            parts += [_encode_gap(gap)] if gap else []
            parts.append(_without(data[start : start + group.length], group, stays))
            gap = None
        else:
            gap = replace(group, revision=gap.revision, previous=gap.previous) if gap else group
    return b"".join((*parts, _encode_gap(gap) if gap else b""))


def _encode_gap(gap: Group) -> bytes:
    fields = _GAP.pack(GAP_MAGIC, GAP_BYTES, gap.revision, gap.last, gap.previous, gap.chain)
    return fields + hashlib.sha256(fields).digest()


def _without(data: bytes, group: Group, stays: Sequence[bool]) -> bytes:
    heads = bytearray(data[: _HEADER.size + len(stays) * _HEAD.size])
    for n, stay in enumerate(stays):
        heads[_HEADER.size + n * _HEAD.size + 1] = 0 if stay else SHED
    payloads = (framed.payload or b"" for framed in compress(group.records, stays))
    return b"".join((heads, *payloads, group.chain))


def first_revision(data: bytes) -> int:
    """The revision with which a segment begins, from its first `FIRST_BYTES`. Raises `Damaged`."""
    if len(data) == FIRST_BYTES:
        magic, _, revision = _FIRST.unpack_from(data, SEGMENT_HEAD_BYTES)
        if magic in (MAGIC, GAP_MAGIC):
            return int(revision)
    raise Damaged("no group begins here")


def find_group(data: bytes, offset: int, above: int) -> tuple[int, Group] | None:
    """The first whole group or gap at or behind `offset` whose revision is above `above`, and where it begins."""
    while (offset := data.find(MAGIC[:2], offset)) >= 0:
        try:
            group = decode_group(data, offset)
        except Damaged:
            offset += 1
            continue
        if group.revision > above:
            return offset, group
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
