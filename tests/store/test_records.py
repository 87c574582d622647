"""The payload of a record: what is written is read back, and nothing else is read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfstore.digest import BlobId
from udfstore.model import Author, Claim, Entry, Kind
from udfstore.store.records import (
    Part,
    Record,
    RecordError,
    Use,
    decode,
    decode_labels,
    decode_rest,
    encode,
    encode_labels,
    encode_rest,
    entry_of,
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


A, B, C = ("aa" * 32, "bb" * 32, "cc" * 32)
SAID = Claim(person="ada", host="edge-7", job="nightly", commit="4f2a")
FULL_AUTHOR = Author(front="http", uid=0, gids=(0, 7), pid=0, program="curl", token="ci", claim=SAID)
FULL_PART = Part(
    tag="m/a",
    version=3,
    id=BlobId.parse(A),
    size=5,
    origin=1,
    source="m/a@1",
    labels={"score": "0.9"},
    links=(BlobId.parse(B), BlobId.parse(C)),
    held=True,
)
FULL = Record(
    kind=Kind.MOVE,
    time_ns=7,
    author=FULL_AUTHOR,
    note="wärmer",
    request=b"\x01\xff",
    entries=(FULL_PART, Part(tag="m/b", version=2, id=None)),
    skipped=("m/a@2",),
    blobs=((BlobId.parse(B), 0), (BlobId.parse(C), 6)),
    source="m/a",
    use=Use(tag="m/a", version=3, id=BlobId.parse(A), error="no room", task="pump", node="model2"),
)
FULL_TEXT = (
    '{"author":{"claim":{"commit":"4f2a","host":"edge-7","job":"nightly","person":"ada"},"front":"http","gids":[0,7],'
    '"pid":0,"program":"curl","token":"ci","uid":0},'
    f'"blobs":[["{B}",0],["{C}",6]],'
    f'"entries":[{{"held":true,"id":"{A}","labels":{{"score":"0.9"}},"links":["{B}","{C}"],"origin":1,"size":5,'
    '"source":"m/a@1","tag":"m/a","version":3},{"tag":"m/b","version":2}],'
    '"note":"wärmer","request":"01ff","skipped":["m/a@2"],"source":"m/a","time":7,'
    f'"use":{{"error":"no room","id":"{A}","node":"model2","tag":"m/a","task":"pump","version":3}}}}'
)
BARE = Record(Kind.CLOSED, 0, Author(front="server"))
BARE_TEXT = '{"author":{"front":"server"},"time":0}'
BARE_USE = Record(Kind.USED, 1, Author(front="local"), use=Use(tag="t", version=1, id=BlobId.parse(A)))
BARE_USE_TEXT = f'{{"author":{{"front":"local"}},"time":1,"use":{{"error":"","id":"{A}","tag":"t","version":1}}}}'


@pytest.mark.parametrize(
    ("record", "payload"),
    [(FULL, FULL_TEXT), (BARE, BARE_TEXT), (BARE_USE, BARE_USE_TEXT)],
    ids=["full", "bare", "bare use"],
)
def test_payloads_stay_as_stores_hold_them(record: Record, payload: str) -> None:
    assert encode(record) == payload.encode()
    assert decode(record.kind, payload.encode()) == record


def test_the_catalog_keeps_what_entries_and_columns_do_not_say() -> None:
    assert decode_rest(encode_rest(FULL)) == {
        "skipped": FULL.skipped,
        "blobs": FULL.blobs,
        "source": FULL.source,
        "use": FULL.use,
    }
    assert encode_rest(BARE) == ""
    assert decode_rest("") == {"skipped": (), "blobs": (), "source": "", "use": None}
    assert decode_labels(encode_labels(FULL_PART.labels)) == FULL_PART.labels
    assert (encode_labels({}), decode_labels("")) == ("", {})


def test_an_entry_has_all_that_its_part_and_its_record_say() -> None:
    assert entry_of(FULL, 9, FULL_PART) == Entry(
        tag="m/a",
        version=3,
        id=BlobId.parse(A),
        size=5,
        revision=9,
        time_ns=7,
        author=FULL_AUTHOR,
        note="wärmer",
        labels={"score": "0.9"},
        origin=1,
        source="m/a@1",
        links=(BlobId.parse(B), BlobId.parse(C)),
        held=True,
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
