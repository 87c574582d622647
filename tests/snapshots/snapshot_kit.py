"""DAGs, states and snapshots to test with."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st

from udfstore.digest import BlobId
from udfstore.snapshots import Dag, Fingerprint, Manifest, Node, NodeSnapshot, Reason, Snapshot, encode
from udfstore.snapshots.manifest import in_order

PROPERTY = settings(derandomize=True, database=None, deadline=None, max_examples=150)


@st.composite
def dags(draw: st.DrawFn, most: int = 9) -> Dag:
    """A DAG in any order of listing, with few kinds so that there are siblings."""
    size = draw(st.integers(1, most))
    nodes = []
    for place in range(size):
        above = draw(st.sets(st.integers(0, place - 1), max_size=3)) if place else set()
        nodes.append(Node(f"n{place}", draw(st.sampled_from("abc")), tuple(f"n{parent}" for parent in sorted(above))))
    return Dag(tuple(draw(st.permutations(nodes))))


@st.composite
def keyed_dags(draw: st.DrawFn) -> Dag:
    """A small DAG some of whose nodes have keys and options."""
    dag = draw(dags(5))
    keys = draw(st.permutations(["", "", "", "k1", "k2"]))
    options = st.sampled_from(["", "", "o"])
    return Dag(tuple(replace(n, key=key, options=draw(options)) for n, key in zip(dag.nodes, keys, strict=False)))


def blob(text: str) -> BlobId:
    return BlobId.of(text.encode())


def state(dag: Dag, name: str, content: str = "", *, key: str = "", options: str = "") -> NodeSnapshot:
    """The state of a node of a DAG."""
    who = dag.identity(name, key=key, options=options)
    return NodeSnapshot(
        who.id, name, blob(content or name), 9, key=who.key, options=who.options, siblings=len(who.siblings)
    )


def snapshot(number: int, fingerprint: Fingerprint, *states: NodeSnapshot) -> Snapshot:
    """A snapshot as it is kept, made at `number` seconds after 1970."""
    manifest = Manifest("pump", fingerprint, number * 1_000_000_000, Reason.INTERVAL, in_order(states))
    return Snapshot(BlobId.of(encode(manifest)), manifest, number)


def chain(*kinds: str) -> Dag:
    """Nodes one behind the other, each named like its kind."""
    return Dag(tuple(Node(kind, kind, kinds[place - 1 : place] if place else ()) for place, kind in enumerate(kinds)))
