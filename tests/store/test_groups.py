"""The framing of the log as bytes: whole, cut off anywhere, and with any one byte changed."""

from __future__ import annotations

import pytest

from udfstore.errors import Unsupported
from udfstore.model import Kind
from udfstore.store.groups import (
    GENESIS,
    KINDS,
    REMOVED,
    Damaged,
    Framed,
    SegmentHead,
    decode_group,
    decode_segment_head,
    encode_group,
    encode_segment_head,
    find_group,
    group_bytes,
)

SAMPLES = {
    "one": [(Kind.MOVE, b'{"time":1}')],
    "empty payload": [(Kind.CLOSED, b"")],
    "every kind": [(kind, kind.value.encode()) for kind in Kind],
}


def test_every_kind_has_a_number() -> None:
    assert set(KINDS) == set(Kind)
    assert len(set(KINDS.values())) == len(KINDS)


@pytest.mark.parametrize("records", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("around", [b"", b"\0", b"\xf5UG1more"])
def test_a_group_is_read_as_it_was_written(records: list[tuple[Kind, bytes]], around: bytes) -> None:
    data, chain = encode_group(7, GENESIS, records)
    group = decode_group(around + data + around, len(around))
    assert group.records == tuple(Framed(kind, payload) for kind, payload in records)
    assert (group.revision, group.last, group.previous, group.chain) == (7, 6 + len(records), GENESIS, chain)
    assert group.length == len(data) == group_bytes(sum(len(payload) for _, payload in records), len(records))


@pytest.mark.parametrize("records", SAMPLES.values(), ids=SAMPLES)
def test_a_group_cut_off_anywhere_is_damage(records: list[tuple[Kind, bytes]]) -> None:
    data, _ = encode_group(1, GENESIS, records)
    for length in range(len(data)):
        with pytest.raises(Damaged):
            decode_group(data[:length])
        with pytest.raises(Damaged):
            decode_group(data[:length].ljust(len(data), b"\0")) if data[length:].strip(b"\0") else _damaged()


def _damaged() -> None:
    raise Damaged("nothing but zeros is cut off")


@pytest.mark.parametrize("records", SAMPLES.values(), ids=SAMPLES)
def test_a_group_with_any_byte_changed_is_damage(records: list[tuple[Kind, bytes]]) -> None:
    data, _ = encode_group(1, GENESIS, records)
    for place in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(data)
            changed[place] ^= flip
            if bytes(changed) == _blanked_empty(data, place):
                continue  # the flag of a removed payload on one that is empty anyway says nothing else
            with pytest.raises(Damaged):
                decode_group(bytes(changed))


def _blanked_empty(data: bytes, place: int) -> bytes:
    record = next((n for n, (at, size) in enumerate(_payloads(data)) if size == 0 and place == 52 + 40 * n + 1), None)
    return b"" if record is None else data[:place] + bytes([data[place] ^ REMOVED]) + data[place + 1 :]


def _payloads(data: bytes) -> list[tuple[int, int]]:
    count = int.from_bytes(data[16:20], "big")
    at, found = 52 + 40 * count, []
    for n in range(count):
        size = int.from_bytes(data[52 + 40 * n + 4 : 52 + 40 * n + 8], "big")
        found.append((at, size))
        at += size
    return found


def test_a_payload_may_be_blanked_and_the_hash_still_holds() -> None:
    data, chain = encode_group(1, GENESIS, [(Kind.MOVE, b"secret"), (Kind.MOVE, b"kept")])
    at, size = _payloads(data)[0]
    blanked = bytearray(data)
    blanked[at : at + size] = bytes(size)
    blanked[52 + 1] = REMOVED
    group = decode_group(bytes(blanked))
    assert group.chain == chain
    assert group.records == (Framed(Kind.MOVE, None), Framed(Kind.MOVE, b"kept"))


def test_the_next_whole_group_is_found_behind_damage() -> None:
    first, chain = encode_group(1, GENESIS, [(Kind.MOVE, b"a")])
    second, _ = encode_group(2, chain, [(Kind.MOVE, b"b")])
    data = bytes(100) + first[:50] + bytes(10) + second
    found = find_group(data, 0, 1)
    assert found is not None
    assert found.revision == 2
    assert find_group(data, 0, 2) is None
    assert find_group(data[:-1], 0, 0) is None


def test_the_head_of_a_segment() -> None:
    head = SegmentHead(b"s" * 16, 3, 4 << 20, 1 << 20)
    data = encode_segment_head(head)
    assert decode_segment_head(data + b"more") == head
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x01
        with pytest.raises(Damaged):
            decode_segment_head(bytes(changed))
        with pytest.raises(Damaged):
            decode_segment_head(data[:place])


def test_a_segment_of_a_newer_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("udfstore.store.groups.SEGMENT_VERSION", 2)
        data = encode_segment_head(SegmentHead(b"s" * 16, 1, 1, 1))
    with pytest.raises(Unsupported, match="newer"):
        decode_segment_head(data)
