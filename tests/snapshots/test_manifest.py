from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshot_kit import PROPERTY, blob

from udfstore.errors import TooLarge, Unsupported, UsageError
from udfstore.snapshots import NO_DAG, Fingerprint, Manifest, Model, NodeId, NodeSnapshot, Reason, decode, encode
from udfstore.snapshots.manifest import MANIFEST_BYTES, MODELS, STATES, in_order

NODE = NodeSnapshot(NodeId("1" * 64), "anomaly2", blob("state"), 5)
MANIFEST = Manifest("pump", Fingerprint("f" * 64), 1_800_000_000_123_456_789, Reason.INTERVAL, (NODE,))

hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20)
blobs = words.map(blob)
models = st.builds(Model, st.sampled_from(["models/a", "m"]), st.integers(1, 10**9), blobs)
nodes = st.builds(
    NodeSnapshot,
    hashes.map(NodeId),
    words,
    blobs,
    st.integers(1, 2**50),
    key=st.just("") | words,
    options=st.just("") | words,
    siblings=st.integers(0, 3),
    restored=st.none() | blobs,
    carried=st.booleans(),
    models=st.lists(models, max_size=2).map(tuple),
)
manifests = st.builds(
    Manifest,
    words,
    (hashes | st.just(NO_DAG)).map(Fingerprint),
    st.integers(0, 2**60),
    st.sampled_from(Reason),
    st.lists(nodes, max_size=4, unique_by=lambda node: (node.name, node.id, node.key)).map(in_order),
)


@PROPERTY
@given(manifests)
def test_round_trip(manifest: Manifest) -> None:
    assert decode(encode(manifest)) == manifest
    assert set(manifest.links) == {node.blob for node in manifest.nodes}


@PROPERTY
@given(manifests, st.data())
def test_one_manifest_has_one_text(manifest: Manifest, data: st.DataObject) -> None:
    raw = bytearray(encode(manifest))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    try:
        read = decode(bytes(raw))
    except (UsageError, Unsupported, TooLarge):
        return
    assert encode(read) == raw


def test_what_it_looks_like() -> None:
    assert encode(MANIFEST).decode() == (
        f'{{"format":1,"task":"pump","fingerprint":"{"f" * 64}","time":"2027-01-15T08:00:00.123456789Z",'
        f'"reason":"interval","nodes":[{{"id":"{"1" * 64}","name":"anomaly2","blob":"{blob("state")}","size":5}}]}}'
    )
    assert MANIFEST.time == datetime(2027, 1, 15, 8, 0, 0, 123456, UTC)


def changed(**fields: object) -> bytes:
    return json.dumps(json.loads(encode(MANIFEST)) | fields, separators=(",", ":")).encode()


def with_node(**fields: object) -> bytes:
    return changed(nodes=[json.loads(encode(MANIFEST))["nodes"][0] | fields])


def test_the_helpers_change_nothing_unasked() -> None:
    assert changed() == with_node() == encode(MANIFEST)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (encode(MANIFEST)[:-1], "not JSON"),
        (encode(MANIFEST) + b"\n", "not written as"),
        (encode(MANIFEST).replace(b":", b": ", 1), "not written as"),
        (b"[]", "not an object"),
        (changed(format=0), "not written as"),
        (changed(format=True), "'format' is wrong"),
        (changed(extra=1), "unknown field.*extra"),
        (changed(task=""), "task name is empty"),
        (changed(fingerprint="F" * 64), "fingerprint"),
        (changed(time="2027-01-15T08:00:00Z"), "not the time"),
        (changed(time="2027-02-30T08:00:00.000000000Z"), "not the time"),
        (changed(time="1969-12-31T23:59:59.000000000Z"), "from 1970 on"),
        (changed(reason="boredom"), "reason.*interval, stop"),
        (with_node(id="1"), "ID of the node"),
        (with_node(blob="x"), "not a blob ID"),
        (with_node(size=0), "size above 0"),
        (with_node(size=-1), "'size' is wrong"),
        (with_node(size=1.5), "'size' is wrong"),
        (with_node(carried=False), "not written as"),
        (with_node(carried=1), "'carried' is wrong"),
        (with_node(restored="x"), "not a blob ID"),
        (with_node(models=[{"tag": "m", "version": 1}]), "'blob' is wrong"),
        (with_node(models=[{"tag": "/m", "version": 1, "blob": str(blob("m"))}]), "not a tag"),
        (changed(nodes=[1]), "node 1"),
    ],
)
def test_what_is_no_manifest(data: bytes, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        decode(data)


def test_a_later_format_says_so() -> None:
    with pytest.raises(Unsupported, match="newer udfstore"):
        decode(changed(format=2, something="else"))


def test_nodes_stand_once_and_in_order() -> None:
    for nodes in ((NODE, NODE), (NODE, replace(NODE, name="a"))):
        with pytest.raises(UsageError, match="in order, each once"):
            encode(replace(MANIFEST, nodes=nodes))


def test_largest_manifest() -> None:
    many = in_order(replace(NODE, name=f"{n:0128}", key='"' * 128, options="\\" * 128) for n in range(STATES))
    model = Model("m" * 256, 10**17, blob("m"))
    full = tuple(replace(node, restored=NODE.blob, models=(model,) * 70) for node in many)
    assert decode(encode(replace(MANIFEST, nodes=full))).nodes == full
    with pytest.raises(TooLarge, match="states"):
        encode(replace(MANIFEST, nodes=in_order((*many, NODE))))
    with pytest.raises(TooLarge, match="models"):
        encode(replace(MANIFEST, nodes=(replace(NODE, models=(model,) * (MODELS + 1)),)))
    with pytest.raises(TooLarge, match="bytes"):
        encode(replace(MANIFEST, nodes=tuple(replace(node, models=(model,) * 100) for node in many)))
    with pytest.raises(TooLarge):
        decode(b" " * (MANIFEST_BYTES + 1))
