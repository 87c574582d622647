"""The framing of the log as bytes: whole, cut off anywhere, and with any one byte changed."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfstore.errors import Unsupported
from udfstore.model import Kind
from udfstore.store.groups import (
    FIRST_BYTES,
    GENESIS,
    KINDS,
    SHED,
    Damaged,
    Framed,
    Group,
    SegmentHead,
    decode_group,
    decode_segment_head,
    encode_group,
    encode_segment_head,
    find_group,
    first_revision,
    group_bytes,
    shed,
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
    return b"" if record is None else data[:place] + bytes([data[place] ^ SHED]) + data[place + 1 :]


def _payloads(data: bytes) -> list[tuple[int, int]]:
    count = int.from_bytes(data[16:20], "big")
    at, found = 52 + 40 * count, []
    for n in range(count):
        size = int.from_bytes(data[52 + 40 * n + 4 : 52 + 40 * n + 8], "big")
        found.append((at, size))
        at += size
    return found


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (7, 167, "group at revision 7: its length is wrong"),
        (92, 99, "record 2 of 2, revision 8: unknown kind"),
        (94, 1, "record 2 of 2, revision 8: unknown kind"),
        (95, 1, "record 2 of 2, revision 8: unknown kind"),
    ],
)
def test_what_nobody_writes_is_damage_though_its_hash_is_right(place: int, value: int, says: str) -> None:
    data, _ = encode_group(7, GENESIS, [(Kind.MOVE, b"x"), (Kind.MOVE, b"y")])
    heads = bytearray(data[: 52 + 2 * 40])
    assert (heads[7], heads[92:96]) == (166, b"\1\0\0\0")
    heads[place] = value
    with pytest.raises(Damaged, match=says):
        decode_group(bytes(heads) + b"xy" + hashlib.sha256(heads).digest() + b"more")


def test_a_payload_may_be_left_out_and_the_hash_still_holds() -> None:
    data, chain = encode_group(1, GENESIS, [(Kind.MOVE, b"secret"), (Kind.MOVE, b"kept")])
    at, size = _payloads(data)[0]
    without = bytearray(data[:at] + data[at + size :])
    without[52 + 1] = SHED
    group = decode_group(bytes(without) + b"more")
    assert (group.chain, group.length) == (chain, len(without))
    assert group.records == (Framed(Kind.MOVE, None), Framed(Kind.MOVE, b"kept"))
    assert group.shed() == [(1, 1)]
    assert bytes(without) == shed(data, [(decode_group(data), 0)], {1})


def chained(*sizes: int) -> tuple[bytes, list[tuple[Group, int]]]:
    """Groups of so many records behind each other, and where each begins."""
    data, previous, groups = b"", GENESIS, list[tuple[Group, int]]()
    for size in sizes:
        revision = groups[-1][0].last + 1 if groups else 1
        encoded, previous = encode_group(revision, previous, [(Kind.MOVE, b"%d" % n * n) for n in range(size)])
        groups.append((decode_group(encoded), len(data)))
        data += encoded
    return data, groups


def read(data: bytes) -> list[tuple[Group, int]]:
    """The groups behind each other, to the end; the chain holds."""
    groups, at = list[tuple[Group, int]](), 0
    while at < len(data):
        groups.append((decode_group(data, at), at))
        at += groups[-1][0].length
    for (before, _), (after, _) in itertools.pairwise(groups):
        assert (after.revision, after.previous) == (before.last + 1, before.chain)
    return groups


@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=6), data=st.data())
def test_what_is_left_of_groups_is_one_chain_however_often_they_shed(sizes: list[int], data: st.DataObject) -> None:
    bytes, first = chained(*sizes)
    records = {n: framed for group, _ in first for n, framed in enumerate(group.records, group.revision)}
    gone: set[int] = set()
    for _ in range(3):
        gone |= data.draw(st.sets(st.sampled_from(sorted(records))))
        bytes = shed(bytes, read(bytes), gone)
        groups = [group for group, _ in read(bytes)]
        assert (groups[0].revision, groups[0].previous) == (1, GENESIS)
        assert (groups[-1].last, groups[-1].chain) == (max(records), first[-1][0].chain)
        assert not any(a.records == b.records == () for a, b in itertools.pairwise(groups)), "two gaps touch"
        left = {n: f for group in groups for n, f in enumerate(group.records, group.revision) if f.payload is not None}
        assert left == {n: framed for n, framed in records.items() if n not in gone}
        runs = [range(first, last + 1) for group in groups for first, last in group.shed()]
        assert sorted(n for run in runs for n in run) == sorted(gone)
        assert all(len(group.records) or group.length == 120 for group in groups)


def test_a_gap_with_any_byte_changed_or_cut_off_is_damage() -> None:
    data, groups = chained(1, 2)
    gap = shed(data, groups, {1, 2, 3})
    assert len(gap) == 120
    for place in range(len(gap)):
        with pytest.raises(Damaged):
            decode_group(gap[:place])
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(gap)
            changed[place] ^= flip
            with pytest.raises(Damaged):
                decode_group(bytes(changed))


@pytest.mark.parametrize(("length", "last"), [(119, 3), (120, 0)])
def test_a_gap_that_is_none_is_damage_though_its_hash_is_right(length: int, last: int) -> None:
    data, groups = chained(1, 2)
    gap = shed(data, groups, {1, 2, 3})
    fields = gap[:4] + length.to_bytes(4, "big") + gap[8:16] + last.to_bytes(8, "big") + gap[24:88]
    with pytest.raises(Damaged, match="it is none"):
        decode_group(fields + hashlib.sha256(fields).digest())


def test_the_revision_with_which_a_segment_begins() -> None:
    head = encode_segment_head(SegmentHead(b"s" * 16, 1, 4096, 1024))
    data, groups = chained(1, 2)
    for begins, revision in ((data, 1), (shed(data, groups, {1}), 1), (data[groups[1][1] :], 2)):
        assert first_revision((head + begins)[:FIRST_BYTES]) == revision
    for other in (b"", (head + data)[: FIRST_BYTES - 1], (head + bytes(100))[:FIRST_BYTES]):
        with pytest.raises(Damaged):
            first_revision(other)


def test_a_whole_gap_is_found_behind_damage() -> None:
    data, groups = chained(1, 2)
    found = find_group(bytes(9) + shed(data, groups, {2, 3})[1:], 0, 0)
    assert found is not None
    assert (found[1].revision, found[1].last, found[1].records) == (2, 3, ())


def test_the_next_whole_group_is_found_behind_damage() -> None:
    first, chain = encode_group(1, GENESIS, [(Kind.MOVE, b"a")])
    second, chain = encode_group(2, chain, [(Kind.MOVE, b"b")])
    third, _ = encode_group(3, chain, [(Kind.MOVE, b"c")])
    data = bytes(100) + first[:50] + bytes(10) + second + third
    for behind, above, place, revision in ((0, 1, 160, 2), (160, 1, 160, 2), (161, 1, 285, 3), (0, 2, 285, 3)):
        found = find_group(data, behind, above)
        assert found is not None
        assert (found[0], found[1].revision) == (place, revision)
    assert find_group(data, 0, 3) is None
    assert find_group(data[: 160 + len(second) - 1], 0, 0) is None
    assert find_group(first, 0, 0) == (0, decode_group(first))


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
