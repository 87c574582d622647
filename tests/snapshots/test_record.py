"""The record of a task has one text, and what is none is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshot_kit import PROPERTY, blob, keyed_dags

from udfstore.errors import TooLarge, Unsupported, UsageError
from udfstore.snapshots import NO_DAG, Aside, Choice, Dag, NodeId, TaskRecord
from udfstore.snapshots.record import ASIDES, RECORD_BYTES, decode, encode
from udfstore.tasks import HostKind

TEXT = (
    '{"format":1,"task":"pump/ä","host":"kapacitor","dag":[{"name":"n","kind":"udf","parents":[],"key":"k"}],'
    '"fingerprint":"FINGERPRINT","use":{"snapshot":"SNAPSHOT"},"aside":[{"node":"NODE","blob":"STATE"}]}'
)
DAG = Dag.from_json('{"nodes": [{"name": "n", "kind": "udf", "key": "k"}]}')
NODE = NodeId("ab" * 32)


def text(**replaced: str) -> bytes:
    said = {"FINGERPRINT": DAG.fingerprint, "SNAPSHOT": str(blob("m")), "NODE": NODE, "STATE": str(blob("s"))}
    found = TEXT
    for word, value in (said | replaced).items():
        found = found.replace(word, value)
    return found.encode()


def asides(count: int) -> tuple[Aside, ...]:
    return tuple(Aside(NODE, blob(str(n))) for n in range(count))


def test_the_text_of_a_record() -> None:
    record = TaskRecord("pump/ä", HostKind.KAPACITOR, DAG, Choice(blob("m")), (Aside(NODE, blob("s")),))
    assert encode(record) == text()
    assert decode(text()) == record
    assert (record.fingerprint, record.links) == (DAG.fingerprint, (blob("m"),))
    assert TaskRecord("pump").fingerprint == NO_DAG
    assert TaskRecord("pump", use=Choice(None)).links == ()


@PROPERTY
@given(
    st.builds(
        TaskRecord,
        st.text("aä /", min_size=1, max_size=9),
        st.none() | st.sampled_from(HostKind),
        st.none() | keyed_dags(),
        st.sampled_from((None, Choice(None), Choice(blob("m")))),
        st.integers(0, 3).map(asides),
    )
)
def test_what_was_written_is_read(record: TaskRecord) -> None:
    assert decode(encode(record)) == record


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        text() + b"\n",
        text(NODE="ab"),
        text(STATE="sha256:12"),
        text(FINGERPRINT="none"),
        text(SNAPSHOT="golden"),
        text().replace(b'"kapacitor"', b'"cron"'),
        text().replace(b'"host"', b'"guest"'),
        text().replace(b'"parents":[]', b'"parents":["x"]'),
        text().replace(b'{"snapshot"', b'{"fresh":true,"snapshot"'),
        text().replace(b'"format":1', b'"format":0'),
        json.dumps(json.loads(text())).encode(),
    ],
)
def test_what_is_no_record(data: bytes) -> None:
    with pytest.raises(UsageError):
        decode(data)


def test_a_later_format_and_one_that_is_too_large() -> None:
    with pytest.raises(Unsupported, match="newer udfstore"):
        decode(text().replace(b'"format":1', b'"format":2'))
    with pytest.raises(TooLarge):
        decode(b" " * (RECORD_BYTES + 1))


def test_the_newest_asides_are_remembered_each_once() -> None:
    record = TaskRecord("pump", aside=asides(ASIDES))
    one = record.aside[0]
    assert record.with_aside(one).aside == (*record.aside[1:], one)
    more = record.with_aside(Aside(NODE, blob("more")))
    assert (len(more.aside), more.aside[0]) == (ASIDES, record.aside[1])
    with pytest.raises(UsageError):
        encode(TaskRecord("pump", aside=asides(ASIDES + 1)))
    with pytest.raises(UsageError):
        encode(TaskRecord("pump", aside=(one, one)))
    with pytest.raises(UsageError):
        encode(TaskRecord(""))
