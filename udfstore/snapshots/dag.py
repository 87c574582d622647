"""The DAG of a task and the IDs of its nodes. Pure. docs/dag.md has the format with a worked example.

    node ID     = SHA-256( 01 ‖ field(kind) ‖ field(place) ‖ field(parent ID) … )     parent IDs sorted
    field(x)    = length of x, 4 bytes big-endian ‖ x
    place       = 4 bytes big-endian: number among the nodes of the same kind with the same set of parents, as listed
    fingerprint = SHA-256( node ID ‖ node ID … )                                      all of the DAG, sorted

An ID says what leads to a node, not what the node is called: neither names nor options nor the task's name are hashed,
so that renaming a node, or adding one elsewhere, leaves its ID alone. Without a DAG the ID of a node is the SHA-256 of
its name and the fingerprint is `none`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import NewType

from udfstore.errors import UsageError
from udfstore.snapshots.fields import Fields, parse_json
from udfstore.snapshots.names import check_name

NodeId = NewType("NodeId", str)
"""64 lower-case hex digits."""

Fingerprint = NewType("Fingerprint", str)
"""64 lower-case hex digits, or `none`."""

NO_DAG = Fingerprint("none")

NODES = 1024
"""Most nodes of one DAG: ten times what the longest pipelines in the field have."""

DAG_BYTES = 1 << 20
"""Largest text of a DAG: 1,024 nodes with names of full length and a few parents each."""

_VERSION = b"\x01"
_DAG_FIELDS = frozenset({"nodes"})
_NODE_FIELDS = frozenset({"name", "kind", "parents", "key", "options"})


@dataclass(frozen=True, slots=True)
class Node:
    """One step of a task.

    `kind` of a UDF node is the UDF's name. `parents` are names; their order and repeats mean nothing. `key` is the
    stable key that the node's author gave its state, `options` a digest of the options it runs with, any text; empty:
    not told.
    """

    name: str
    kind: str
    parents: tuple[str, ...] = ()
    key: str = ""
    options: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which node of a task somebody is: what states are matched by.

    `siblings` are the IDs of the other nodes of its kind with the same parents: those that it could be mistaken for.
    """

    id: NodeId
    name: str
    key: str = ""
    options: str = ""
    siblings: tuple[NodeId, ...] = ()


@dataclass(frozen=True, slots=True)
class Dag:
    """The nodes of a task, in the order listed. Making one checks it.

    Raises `UsageError` that names the node: no node, too many, a name or a key twice, a parent that is not there, a
    cycle. `ids` maps names to node IDs.
    """

    nodes: tuple[Node, ...]
    ids: Mapping[str, NodeId] = field(init=False, repr=False, compare=False)
    fingerprint: Fingerprint = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        order = _checked(self.nodes)
        object.__setattr__(self, "ids", _node_ids(self.nodes, order))
        object.__setattr__(self, "fingerprint", _fingerprint(self.ids.values()))

    @classmethod
    def from_json(cls, text: bytes | str) -> Dag:
        """Read `{"nodes": [{"name": …, "kind": …, "parents": […], "key": …, "options": …}, …]}`.

        `parents`, `key` and `options` may be left out. Raises `UsageError` or `TooLarge`.
        """
        listed = Fields(parse_json(text, "a DAG", DAG_BYTES), "a DAG", _DAG_FIELDS).items("nodes")
        return cls(tuple(_node(value, f"node {place} of the DAG") for place, value in enumerate(listed, 1)))

    def to_json(self) -> str:
        """The text that `from_json` reads, a node a line."""
        lines = ",\n  ".join(json.dumps(_plain(node), ensure_ascii=False) for node in self.nodes)
        return f'{{"nodes": [\n  {lines}\n]}}\n'

    def identity(self, name: str, *, key: str = "", options: str = "") -> Identity:
        """Who the node of that name is; `key` and `options` go before what the DAG says of it.

        Raises `UsageError` when there is no such node, or another one has that key.
        """
        node = next((node for node in self.nodes if node.name == name), None)
        if node is None:
            known = ", ".join(node.name for node in self.nodes[:20])
            raise UsageError("the task's DAG has no node of that name", expected=known, got=repr(name))
        other = next((other.name for other in self.nodes if key and other.key == key and other is not node), None)
        if other is not None:
            raise UsageError(f"the key {key!r} belongs to the node {other!r}", got=repr(name))
        siblings = (n.name for n in self.nodes if _group(n) == _group(node) and n is not node)
        return Identity(
            self.ids[name], name, key or node.key, options or node.options, tuple(self.ids[name] for name in siblings)
        )


def identity_of_name(name: str, *, key: str = "", options: str = "") -> Identity:
    """Who a node of a task without a DAG is. Raises `UsageError`."""
    id = NodeId(hashlib.sha256(check_name(name, "a node's name").encode()).hexdigest())
    return Identity(id, name, key, options)


def node_id(kind: str, place: int, parents: Iterable[NodeId]) -> NodeId:
    """The ID of a node, from its kind, its place and the IDs of its parents (a set: order and repeats mean nothing)."""
    hash = hashlib.sha256(_VERSION)
    above = sorted(bytes.fromhex(parent) for parent in set(parents))
    for part in (kind.encode(), place.to_bytes(4, "big"), *above):
        hash.update(len(part).to_bytes(4, "big") + part)
    return NodeId(hash.hexdigest())


def _fingerprint(ids: Iterable[NodeId]) -> Fingerprint:
    return Fingerprint(hashlib.sha256(b"".join(sorted(bytes.fromhex(id) for id in ids))).hexdigest())


def _group(node: Node) -> tuple[str, frozenset[str]]:
    """What nodes that only their place tells apart have in common."""
    return node.kind, frozenset(node.parents)


def _node_ids(nodes: Sequence[Node], order: Iterable[str]) -> dict[str, NodeId]:
    places: dict[str, int] = {}
    seen: Counter[tuple[str, frozenset[str]]] = Counter()
    for node in nodes:
        places[node.name] = seen[_group(node)]
        seen[_group(node)] += 1
    by_name = {node.name: node for node in nodes}
    ids: dict[str, NodeId] = {}
    for name in order:
        node = by_name[name]
        ids[name] = node_id(node.kind, places[name], (ids[parent] for parent in node.parents))
    return ids


def _checked(nodes: Sequence[Node]) -> tuple[str, ...]:
    """The names, each after its parents."""
    if not nodes:
        raise UsageError("the DAG has no node")
    if len(nodes) > NODES:
        raise UsageError(f"a DAG has at most {NODES} nodes", got=len(nodes))
    names = {node.name for node in nodes}
    for node in nodes:
        check_name(node.name, "a node's name")
        check_name(node.kind, f"the kind of the node {node.name!r}")
        for text, what in ((node.key, "key"), (node.options, "options digest")):
            if text:
                check_name(text, f"the {what} of the node {node.name!r}")
        missing = next((parent for parent in node.parents if parent not in names), None)
        if missing is not None:
            raise UsageError(f"the node {node.name!r} has a parent that is not in the DAG", got=repr(missing))
    if len(names) < len(nodes):
        twice = Counter(node.name for node in nodes).most_common(1)[0][0]
        raise UsageError("two nodes of the DAG have one name", got=repr(twice))
    keyed = Counter(node.key for node in nodes if node.key)
    if len(keyed) < sum(keyed.values()):
        raise UsageError("two nodes of the DAG have one key", got=repr(keyed.most_common(1)[0][0]))
    try:
        return tuple(TopologicalSorter({node.name: node.parents for node in nodes}).static_order())
    except CycleError as error:
        # graphlib lists each node before the one it depends on; a reader follows the data.
        raise UsageError("the DAG has a cycle", got=" -> ".join(map(repr, error.args[1]))) from error


def _node(value: object, where: str) -> Node:
    fields = Fields(value, where, _NODE_FIELDS)
    return Node(
        fields.text("name"),
        fields.text("kind"),
        fields.texts("parents", []),
        fields.text("key", ""),
        fields.text("options", ""),
    )


def _plain(node: Node) -> dict[str, object]:
    plain: dict[str, object] = {"name": node.name, "kind": node.kind, "parents": list(node.parents)}
    return plain | {name: text for name, text in (("key", node.key), ("options", node.options)) if text}
