"""The payload of a record: what is written is read back, and nothing else is read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfstore.digest import BlobId
from udfstore.model import Author, Claim, Kind
from udfstore.store.records import (
    Part,
    Record,
    RecordError,
    Use,
    decode,
    decode_rest,
    encode,
    encode_rest,
)

text = st.text(st.characters(codec="utf-8"), max_size=20)
names = st.text("ab/", min_size=1, max_size=5)
ids = st.binary(min_size=32, max_size=32).map(BlobId)
numbers = st.integers(0, 2**60)
authors = st.builds(
    Author,
    front=names,
    uid=st.integers(-1, 2**31),
    gids=st.lists(numbers, max_size=3).map(tuple),
    pid=st.integers(-1, 2**22),
    program=text,
    token=text,
    claim=st.builds(Claim, text, text, text, text),
)
moved = st.builds(
    Part,
    tag=names,
    version=numbers,
    id=ids,
    size=numbers,
    origin=numbers,
    source=text,
    labels=st.dictionaries(text, text, max_size=3),
    links=st.lists(ids, max_size=3).map(tuple),
    held=st.booleans(),
)
deleted = st.builds(Part, tag=names, version=numbers, id=st.none())
records = st.builds(
    Record,
    kind=st.sampled_from(Kind),
    time_ns=numbers,
    author=authors,
    note=text,
    request=st.binary(max_size=16),
    entries=st.lists(moved | deleted, max_size=3).map(tuple),
    skipped=st.lists(text, max_size=3).map(tuple),
    blobs=st.lists(st.tuples(ids, numbers), max_size=3).map(tuple),
    source=text,
    use=st.none() | st.builds(Use, text, numbers, ids, text, text, text),
)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(records)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    payload = encode(record)
    assert decode(record.kind, payload) == record
    assert encode(decode(record.kind, payload)) == payload
    rest = Record(record.kind, record.time_ns, record.author, **decode_rest(encode_rest(record)))
    assert (rest.skipped, rest.blobs, rest.source, rest.use) == (
        record.skipped,
        record.blobs,
        record.source,
        record.use,
    )


@settings(derandomize=True, max_examples=100, deadline=None)
@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | text | numbers, lambda x: st.lists(x) | st.dictionaries(text, x)).map(
        lambda x: json.dumps(x).encode()
    )
)
def test_other_bytes_are_an_error_of_records_and_nothing_else(payload: bytes) -> None:
    with pytest.raises(RecordError):
        decode(Kind.MOVE, payload)


GOOD = {"author": {"front": "local"}, "time": 1, "entries": [{"tag": "t", "version": 1, "id": "ab" * 32, "size": 3}]}


@pytest.mark.parametrize(
    "change",
    [
        {"new": 1},
        {"time": "1"},
        {"time": True},
        {"author": {"front": "x", "new": 1}},
        {"author": {"front": "x", "claim": {"new": "y"}}},
        {"entries": [{"tag": "t", "version": 1, "new": 1}]},
        {"entries": [{"tag": "t", "version": 1, "id": "ab" * 32}]},
        {"entries": [{"tag": "t", "version": 1, "id": "ab"}]},
        {"entries": ["t"]},
        {"blobs": [["ab" * 32]]},
        {"use": {"tag": "t"}},
        {"use": {"tag": "t", "version": 1, "id": "ab" * 32, "error": "", "host": "h"}},
        {"request": "xy"},
    ],
    ids=str,
)
def test_fields_that_nobody_wrote_are_refused(change: dict[str, object]) -> None:
    decode(Kind.MOVE, json.dumps(GOOD).encode())
    with pytest.raises(RecordError):
        decode(Kind.MOVE, json.dumps(GOOD | change).encode())
