from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshot_kit import PROPERTY, chain, dags

from udfstore.errors import TooLarge, UsageError
from udfstore.snapshots import NO_DAG, Dag, Node, identity_of_name
from udfstore.snapshots.dag import DAG_BYTES, NODES

Term = tuple[str, int, frozenset["Term"]]


def terms(dag: Dag) -> dict[str, Term]:
    """What an ID stands for, without a hash: kind, place and what stands above."""
    by_name = {node.name: node for node in dag.nodes}

    def term(name: str) -> Term:
        node = by_name[name]
        like = [n.name for n in dag.nodes if n.kind == node.kind and set(n.parents) == set(node.parents)]
        return node.kind, like.index(name), frozenset(term(parent) for parent in node.parents)

    return {name: term(name) for name in by_name}


def check(old: Dag, new: Dag) -> None:
    """IDs of both are equal exactly where what stands above is."""
    before, after = terms(old), terms(new)
    for name, term in before.items():
        for other, other_term in after.items():
            assert (old.ids[name] == new.ids[other]) is (term == other_term)
    assert (old.fingerprint == new.fingerprint) is (set(before.values()) == set(after.values()))


@PROPERTY
@given(dags(), st.data())
def test_an_inserted_node_changes_exactly_the_ids_below_it(dag: Dag, data: st.DataObject) -> None:
    node = data.draw(st.sampled_from(dag.nodes))
    kind = data.draw(st.sampled_from("abcd"))
    at = data.draw(st.integers(0, len(dag.nodes)))
    moved = [Node(n.name, n.kind, ("new",)) if n is node else n for n in dag.nodes]
    check(dag, Dag((*moved[:at], Node("new", kind, node.parents), *moved[at:])))
    check(dag, Dag((*dag.nodes[:at], Node("new", kind, node.parents), *dag.nodes[at:])))


@PROPERTY
@given(dags(), st.data())
def test_a_removed_node_changes_exactly_the_ids_below_it(dag: Dag, data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(dag.nodes))
    left = [n for n in dag.nodes if n is not gone]
    if left:
        check(
            dag,
            Dag(
                tuple(
                    Node(n.name, n.kind, tuple(p for p in n.parents if p != gone.name) + gone.parents)
                    if gone.name in n.parents
                    else n
                    for n in left
                )
            ),
        )


@PROPERTY
@given(dags(), st.data())
def test_another_order_changes_places_alone(dag: Dag, data: st.DataObject) -> None:
    check(dag, Dag(tuple(data.draw(st.permutations(dag.nodes)))))


@PROPERTY
@given(dags())
def test_other_names_keys_and_options_change_nothing(dag: Dag) -> None:
    renamed = Dag(
        tuple(
            Node(f"x{n.name}", n.kind, tuple(f"x{p}" for p in reversed(n.parents)) * 2, key=n.name, options="o")
            for n in dag.nodes
        )
    )
    assert {f"x{name}": id for name, id in dag.ids.items()} == renamed.ids
    assert dag.fingerprint == renamed.fingerprint


@PROPERTY
@given(dags())
def test_ids_of_one_dag_differ(dag: Dag) -> None:
    assert len(set(dag.ids.values())) == len(dag.nodes)
    assert dag.fingerprint not in {NO_DAG, *dag.ids.values()}


@PROPERTY
@given(dags())
def test_json_round_trip(dag: Dag) -> None:
    assert Dag.from_json(dag.to_json()) == dag
    assert Dag.from_json(dag.to_json().encode()).ids == dag.ids


def test_a_node_between_two_others_leaves_those_above_alone() -> None:
    old, new = chain("stream", "from", "udf"), chain("stream", "from", "where", "udf")
    assert [old.ids[name] == new.ids[name] for name in old.ids] == [True, True, False]


def test_identity_tells_siblings_and_keys() -> None:
    dag = Dag((Node("s", "s"), Node("a", "u", ("s",), key="k"), Node("b", "u", ("s", "s")), Node("c", "v", ("s",))))
    assert dag.identity("a").siblings == (dag.ids["b"],)
    assert dag.identity("a").key == "k"
    assert dag.identity("b", key="other", options="o").key == "other"
    assert dag.identity("c").siblings == ()
    with pytest.raises(UsageError, match="belongs to the node 'a'"):
        dag.identity("b", key="k")
    with pytest.raises(UsageError, match="no node of that name"):
        dag.identity("x")


def test_without_a_dag_the_name_is_the_node() -> None:
    assert identity_of_name("a", key="k").id == identity_of_name("a").id != identity_of_name("b").id
    with pytest.raises(UsageError):
        identity_of_name("a\n")


def test_a_long_chain_is_no_recursion() -> None:
    dag = chain(*(f"k{n}" for n in range(NODES)))
    assert len(dag.ids) == NODES


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ([], "has no node"),
        ([Node("a", "k", ("b",)), Node("b", "k", ("a",))], "cycle"),
        ([Node("a", "k", ("a",))], "cycle.*'a' -> 'a'"),
        ([Node("twin", "k"), Node("x", "k"), Node("twin", "l")], "one name.*twin"),
        ([Node("a", "k", key="same"), Node("b", "k", key="same")], "one key.*same"),
        ([Node("a", "k", ("nobody",))], "'a'.*not in the DAG.*nobody"),
        ([Node("", "k")], "name is empty"),
        ([Node("a", "")], "kind of the node 'a' is empty"),
        ([Node("a", "k", key="\n")], "key of the node 'a'"),
        ([Node(f"n{n}", "k") for n in range(NODES + 1)], "at most"),
    ],
)
def test_what_is_no_dag(nodes: list[Node], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Dag(tuple(nodes))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not JSON"),
        ("[]", "not an object"),
        ("{}", "'nodes' is wrong"),
        ('{"nodes": {}}', "a list"),
        ('{"nodes": [1]}', "node 1 of the DAG"),
        ('{"nodes": [{"kind": "k"}]}', "'name' is wrong.*nothing"),
        ('{"nodes": [{"name": "a", "kind": 1}]}', "'kind' is wrong"),
        ('{"nodes": [{"name": "a", "kind": "k", "parents": "b"}]}', "a list"),
        ('{"nodes": [{"name": "a", "kind": "k", "parents": [1]}]}', "a list of text"),
        ('{"nodes": [{"name": "a", "kind": "k", "parent": []}]}', "unknown field.*parent"),
        ('{"nodes": [], "nodes": []}', "twice"),
        ('{"nodes": [NaN]}', "NaN"),
        ("[" * 100_000, "not JSON"),
        ('{"nodes": [{"name": "\\ud800", "kind": "k"}]}', "not text"),
    ],
)
def test_what_is_no_json_of_a_dag(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Dag.from_json(text)


def test_a_dag_has_a_largest_size() -> None:
    with pytest.raises(TooLarge):
        Dag.from_json(json.dumps({"nodes": ["x" * DAG_BYTES]}))


@PROPERTY
@given(st.binary(max_size=40))
def test_bytes_are_a_dag_or_a_usage_error(data: bytes) -> None:
    try:
        Dag.from_json(data)
    except UsageError:
        return
