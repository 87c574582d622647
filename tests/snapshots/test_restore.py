from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshot_kit import PROPERTY, blob, chain, keyed_dags, snapshot, state

from udfstore.errors import Conflict, NotFound
from udfstore.snapshots import (
    NO_DAG,
    Aside,
    Choice,
    Dag,
    Given,
    Model,
    Node,
    NodeSnapshot,
    Plan,
    Policy,
    Snapshot,
    Why,
    carried,
    identity_of_name,
    made_before,
    plan,
)

OLD = chain("stream", "score", "alert")
NEW = chain("stream", "score", "where", "alert")
"""With `where` between them, `score` is the same node and `alert` another."""


def ask(
    dag: Dag,
    snapshots: Sequence[Snapshot],
    policy: Policy = Policy.STRICT,
    choice: Choice | None = None,
    aside: Sequence[Aside] = (),
) -> Plan:
    nodes = [dag.identity(node.name) for node in dag.nodes]
    return plan(nodes, dag.fingerprint, snapshots, policy=policy, choice=choice, aside=aside)


def got(found: Plan) -> dict[str, tuple[Why, int]]:
    """Why and from which snapshot, by node."""
    return {g.node.name: (g.why, g.snapshot.number if g.snapshot else 0) for g in found.nodes}


def full(number: int, dag: Dag) -> Snapshot:
    """A snapshot with a state of its own for every node."""
    return snapshot(number, dag.fingerprint, *(state(dag, node.name, f"{node.name} {number}") for node in dag.nodes))


def test_the_newest_snapshot_of_the_same_dag() -> None:
    found = ask(OLD, [full(2, OLD), full(1, OLD)])
    assert set(got(found).values()) == {(Why.SAME_NODE, 2)}
    assert [g.state.blob for g in found.nodes if g.state] == [blob(f"{n.name} 2") for n in OLD.nodes]
    assert found.base == full(2, OLD)
    assert found.lost == ()


def test_no_snapshot_is_a_fresh_start() -> None:
    found = ask(OLD, [])
    assert set(got(found).values()) == {(Why.NO_SNAPSHOT, 0)}
    assert found.base is None


def test_strict_starts_fresh_after_a_change_and_after_the_change_is_undone() -> None:
    assert set(got(ask(NEW, [full(1, OLD)])).values()) == {(Why.OTHER_DAG, 0)}
    assert set(got(ask(OLD, [full(2, NEW), full(1, OLD)])).values()) == {(Why.OTHER_DAG, 0)}


def test_upstream_keeps_what_stands_above_the_change() -> None:
    found = ask(NEW, [full(1, OLD)], Policy.UPSTREAM)
    assert got(found) == {
        "stream": (Why.SAME_NODE, 1),
        "score": (Why.SAME_NODE, 1),
        "where": (Why.NO_STATE, 0),
        "alert": (Why.NO_STATE, 0),
    }
    assert [lost.name for lost in found.lost] == ["alert"]


def with_key(dag: Dag, name: str, key: str) -> Dag:
    return Dag(tuple(replace(node, key=key) if node.name == name else node for node in dag.nodes))


def test_a_key_survives_any_change_under_its_policy_alone() -> None:
    before, after = with_key(OLD, "alert", "k"), with_key(NEW, "alert", "k")
    assert got(ask(after, [full(1, before)], Policy.KEY))["alert"] == (Why.SAME_KEY, 1)
    assert got(ask(after, [full(1, before)], Policy.UPSTREAM))["alert"] == (Why.NO_STATE, 0)
    assert got(ask(after, [full(1, before)], Policy.KEY))["score"] == (Why.SAME_NODE, 1)


def test_a_node_with_another_key_does_not_get_the_state_in_its_place() -> None:
    before, after = with_key(OLD, "alert", "k"), with_key(OLD, "alert", "other")
    for policy in Policy:
        assert got(ask(after, [full(1, before)], policy))["alert"] == (Why.OTHER_KEY, 0)
        assert got(ask(before, [full(1, OLD)], policy))["alert"] == (Why.SAME_NODE, 1)


def twins(*udfs: Node) -> Dag:
    return Dag((Node("s", "stream"), *(replace(udf, kind="score", parents=("s",)) for udf in udfs)))


def test_a_node_that_lost_its_key_keeps_its_state_unless_another_may_have_it() -> None:
    before = [full(1, with_key(OLD, "alert", "k"))]
    assert got(ask(OLD, before, Policy.STRICT))["alert"] == (Why.SAME_NODE, 1)
    assert got(ask(OLD, before, Policy.KEY))["alert"] == (Why.OTHER_KEY, 0)
    plain = Node("b", "")
    swapped = ask(twins(plain, replace(A, key="k")), [full(1, twins(replace(A, key="k"), plain))])
    assert got(swapped) == {"s": (Why.SAME_NODE, 1), "b": (Why.OTHER_KEY, 0), "a": (Why.SAME_KEY, 1)}


A, B = Node("a", "", options="size=1"), Node("b", "", options="size=2")


def test_siblings_with_other_options_are_ambiguous() -> None:
    for policy in Policy:
        assert got(ask(twins(A, B), [full(1, twins(A, B))], policy))["a"] == (Why.SAME_NODE, 1)
        swapped = got(ask(twins(B, A), [full(1, twins(A, B))], policy))
        assert swapped["a"] == swapped["b"] == (Why.AMBIGUOUS, 0)
        assert got(ask(twins(replace(A, options="")), [full(1, twins(A))], policy))["a"] == (Why.SAME_NODE, 1)


def test_a_sibling_that_moved_up_is_ambiguous_too() -> None:
    # Alone now, `b` stands where `a` stood.
    assert got(ask(twins(B), [full(1, twins(A, B))], Policy.UPSTREAM))["b"] == (Why.AMBIGUOUS, 0)


def test_a_key_decides_between_siblings() -> None:
    a, b = replace(A, key="ka"), replace(B, key="kb")
    for policy in Policy:
        found = ask(twins(b, a), [full(1, twins(a, b))], policy)
        assert got(found) == {"s": (Why.SAME_NODE, 1), "a": (Why.SAME_KEY, 1), "b": (Why.SAME_KEY, 1)}
        assert {g.node.name: g.state.name for g in found.nodes if g.state} == {"s": "s", "a": "a", "b": "b"}
        assert found.lost == ()


def aside(dag: Dag, name: str, number: int) -> Aside:
    return Aside(dag.ids[name], blob(f"{name} {number}"))


def test_a_failed_restore_goes_one_back_for_that_node_alone() -> None:
    kept = [full(3, OLD), full(2, OLD), full(1, OLD)]
    found = got(ask(OLD, kept, aside=[aside(OLD, "score", 3)]))
    assert found == {"stream": (Why.SAME_NODE, 3), "score": (Why.SAME_NODE, 2), "alert": (Why.SAME_NODE, 3)}
    tried = [aside(OLD, "score", n) for n in (1, 2, 3)]
    assert got(ask(OLD, kept, aside=tried))["score"] == (Why.SET_ASIDE, 0)


def test_the_same_state_in_an_earlier_snapshot_is_not_tried_again() -> None:
    again = snapshot(2, OLD.fingerprint, *full(3, OLD).manifest.nodes)
    assert got(ask(OLD, [full(3, OLD), again, full(1, OLD)], aside=[aside(OLD, "score", 3)]))["score"][1] == 1


def test_going_back_passes_over_a_snapshot_without_that_node() -> None:
    without = snapshot(2, OLD.fingerprint, state(OLD, "alert"))
    assert got(ask(OLD, [full(3, OLD), without, full(1, OLD)], aside=[aside(OLD, "score", 3)]))["score"][1] == 1


@pytest.mark.parametrize("policy", Policy)
def test_a_failed_restore_never_goes_back_over_a_change(policy: Policy) -> None:
    kept = [full(3, OLD), full(2, NEW), full(1, OLD)]
    assert got(ask(OLD, kept, policy, aside=[aside(OLD, "score", 3)]))["score"] == (Why.SET_ASIDE, 0)


def test_a_state_the_newest_snapshot_lacks_is_not_dug_out_of_earlier_ones() -> None:
    newest = snapshot(2, OLD.fingerprint, state(OLD, "score"))
    assert got(ask(OLD, [newest, full(1, OLD)]))["alert"] == (Why.NO_STATE, 0)


def test_a_chosen_snapshot_goes_before_the_newest() -> None:
    kept = [full(3, OLD), full(2, OLD), full(1, OLD)]
    assert set(got(ask(OLD, kept, choice=Choice(kept[1].id))).values()) == {(Why.SAME_NODE, 2)}
    older = got(ask(OLD, kept, choice=Choice(kept[1].id), aside=[aside(OLD, "score", 2)]))
    assert older["score"] == (Why.SAME_NODE, 1)
    assert set(got(ask(OLD, kept, choice=Choice(None))).values()) == {(Why.FRESH_CHOSEN, 0)}


def test_a_chosen_snapshot_of_another_dag_is_a_conflict_unless_the_policy_allows_it() -> None:
    kept = [full(2, NEW), full(1, OLD)]
    with pytest.raises(Conflict, match="snapshot 1 is of another DAG"):
        ask(NEW, kept, choice=Choice(kept[1].id))
    assert got(ask(NEW, kept, Policy.UPSTREAM, Choice(kept[1].id)))["score"] == (Why.SAME_NODE, 1)
    with pytest.raises(NotFound, match="not kept"):
        ask(NEW, kept, choice=Choice(blob("nothing")))


def test_tasks_without_a_dag_go_by_name() -> None:
    who = identity_of_name("n")
    kept = snapshot(1, NO_DAG, NodeSnapshot(who.id, "n", blob("n"), 1))
    given_ = plan([who, identity_of_name("other")], NO_DAG, [kept]).nodes
    assert [g.why for g in given_] == [Why.SAME_NODE, Why.NO_STATE]
    assert plan([OLD.identity("score")], OLD.fingerprint, [kept]).nodes[0].why is Why.OTHER_DAG


def test_a_plan_can_be_read() -> None:
    first, *_ = ask(OLD, [full(7, OLD)]).nodes
    assert str(first) == "stream: from snapshot 7 (the same node)"
    assert str(Given(first.node, Why.NO_SNAPSHOT)) == "stream: fresh (the task has no snapshot)"
    assert str(replace(full(7, OLD), number=0, names=("before-upgrade",))) == "snapshot before-upgrade"


@PROPERTY
@given(keyed_dags(), keyed_dags(), st.sampled_from(Policy))
def test_a_state_is_given_once_and_never_to_another_node(old: Dag, new: Dag, policy: Policy) -> None:
    found = ask(new, [full(1, old)], policy)
    states = [g.state for g in found.nodes if g.state]
    assert len(set(states)) == len(states)
    for g in found.nodes:
        if g.state is not None:
            assert (g.state.id == g.node.id) or (g.state.key == g.node.key != "")
            assert not (g.node.key and g.state.key) or g.state.key == g.node.key
    assert {*states, *found.lost} == set(full(1, old).manifest.nodes)
    assert policy is not Policy.STRICT or old.fingerprint == new.fingerprint or not states


@PROPERTY
@given(keyed_dags(), keyed_dags(), st.sampled_from(Policy))
def test_rounds_carry_whatever_a_plan_may_give(old: Dag, new: Dag, policy: Policy) -> None:
    found = ask(new, [full(1, old)], policy)
    kept = carried(new.ids.values(), new.fingerprint, full(1, old).manifest, policy)
    assert {g.state.id for g in found.nodes if g.state} <= {state.id for state in kept}
    assert all(state.carried for state in kept)


def test_what_rounds_carry_under_each_policy() -> None:
    base = full(1, with_key(OLD, "alert", "k")).manifest

    def names(policy: Policy, dag: Dag) -> set[str]:
        return {state.name for state in carried(dag.ids.values(), dag.fingerprint, base, policy)}

    assert names(Policy.STRICT, OLD) == {"stream", "score", "alert"}
    assert names(Policy.STRICT, NEW) == set()
    assert names(Policy.UPSTREAM, NEW) == {"stream", "score"}
    assert names(Policy.KEY, NEW) == {"stream", "score", "alert"}
    assert carried((), NO_DAG, None, Policy.STRICT) == ()


def using(number: int, *models: str) -> Snapshot:
    used = tuple(Model(f"models/{model}", 1, blob(model)) for model in models)
    return snapshot(number, OLD.fingerprint, replace(state(OLD, "score", str(number)), models=used))


def test_the_newest_snapshot_from_before_a_model() -> None:
    kept = [using(5, "good"), using(4, "good", "bad"), using(3, "good"), using(2, "bad"), using(1, "old")]
    assert made_before(kept, blob("bad")).number == 1
    assert made_before(kept[:3], blob("bad")).number == 3
    # The log knows of a use between two snapshots.
    assert made_before(kept[2:3] + kept[4:], blob("bad"), first_used_ns=2_000_000_000).number == 1
    assert made_before(kept, blob("never")).number == 5
    with pytest.raises(NotFound, match="from before"):
        made_before(kept, blob("old"))
    with pytest.raises(NotFound):
        made_before(kept, blob("never"), first_used_ns=0)
