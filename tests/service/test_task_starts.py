"""What a host asks of the store for its nodes: who they are, what they are given, and what a round leaves."""

from __future__ import annotations

import pytest
from service_kit import CALLER, DAG, OTHER_DAG, Box, request

from udfstore import calls, tasks
from udfstore.digest import BlobId
from udfstore.errors import Conflict, NotFound, UsageError
from udfstore.refs import Ref, Tag
from udfstore.snapshots import NO_DAG, Aside, Choice, Commit, Dag, identity_of_name
from udfstore.tasks import HostKind, Node


def test_who_a_node_is(box: Box) -> None:
    dag = Dag.from_json(DAG)
    who, fingerprint, ids = box.tasks.identify(Node("pump", "b", DAG, key="k"))
    assert (who, fingerprint) == (dag.identity("b", key="k"), dag.fingerprint)
    assert ids == set(dag.ids.values())
    who, fingerprint, ids = box.tasks.identify(Node("pump", "b"))
    assert (who, fingerprint, ids) == (identity_of_name("b"), NO_DAG, {who.id})


def test_a_fingerprint_alone_needs_a_dag_that_is_known(box: Box) -> None:
    fingerprint = Dag.from_json(DAG).fingerprint
    node = Node("pump", "b", fingerprint=fingerprint)
    with pytest.raises(NotFound, match="send the DAG"):
        box.tasks.identify(node)
    box.tasks.began(Node("pump", "a", DAG))
    assert box.tasks.identify(node) == box.tasks.identify(Node("pump", "b", DAG))
    with pytest.raises(NotFound):
        box.tasks.identify(Node("other", "b", fingerprint=fingerprint))
    with pytest.raises(UsageError, match="not that of the DAG"):
        box.tasks.identify(Node("pump", "a", OTHER_DAG, fingerprint=fingerprint))


@pytest.mark.parametrize("node", [Node("", "a"), Node("pump", ""), Node("pump", "z", DAG), Node("pump", "a", b"{}")])
def test_what_is_no_node(box: Box, node: Node) -> None:
    with pytest.raises(UsageError):
        box.tasks.identify(node)


def test_run_asks_before_it_takes_a_task_from_another_kind_of_host(box: Box) -> None:
    box.commit({"a": b"a1"})
    box.ask(tasks.UseSnapshot("pump", "1", request=request()))
    box.tasks.identify(Node("pump", "a", host=HostKind.RUN))
    box.tasks.began(Node("pump", "a", host=HostKind.KAPACITOR))
    with pytest.raises(Conflict, match="another kind of host"):
        box.tasks.identify(Node("pump", "a", host=HostKind.RUN))
    for allowed in (
        Node("pump", "a", host=HostKind.RUN, take_over=True),
        Node("pump", "a", host=HostKind.RUN, no_save=True),
        Node("pump", "a", host=HostKind.DIRECT),
        Node("lab", "a", host=HostKind.RUN, source="pump"),
    ):
        box.tasks.identify(allowed)
    box.tasks.began(Node("pump", "a", host=HostKind.RUN, take_over=True))
    box.tasks.identify(Node("pump", "a", host=HostKind.RUN))


def test_a_node_is_given_what_the_newest_round_saved(box: Box) -> None:
    assert box.given() == (None, "NO_SNAPSHOT")
    box.commit({"a": b"a1", "b": b"b1"})
    id = box.commit({"a": b"a2", "b": b"b1"})
    assert box.given() == (b"a2", "SAME_NODE")
    assert box.given("c") == (None, "NO_STATE")
    entry = box.store.entry(Ref.parse("snapshots/pump/auto"))
    assert (entry.version, entry.id, entry.author.front) == (2, id, "server")
    assert set(entry.links) == {BlobId.of(b"a2"), BlobId.of(b"b1")}


def test_another_dag_is_another_start(box: Box) -> None:
    box.commit({"a": b"a1", "b": b"b1"}, dag=DAG)
    assert box.given(dag=OTHER_DAG) == (None, "OTHER_DAG")
    assert box.given(dag=OTHER_DAG, policy=tasks.Policy.UPSTREAM) == (b"a1", "SAME_NODE")
    with pytest.raises(Conflict, match="another DAG"):
        box.given(dag=OTHER_DAG, snapshot="1")


def test_a_node_may_ask_for_a_snapshot_itself(box: Box) -> None:
    for n in range(3):
        box.commit({"a": b"a%d" % n})
    assert box.given(snapshot="1")[0] == b"a0"
    assert box.given(snapshot="fresh") == (None, "FRESH_CHOSEN")
    assert box.given(task="lab", source="pump")[0] == b"a2"
    assert box.given(task="lab", source="pump", snapshot="2")[0] == b"a1"
    with pytest.raises(NotFound):
        box.given(snapshot="4")


def test_nothing_is_given_from_before_the_task_was_made(box: Box) -> None:
    box.commit({"a": b"a1"})
    later = box.clock()
    assert box.given(not_before_ns=later) == (None, "NO_SNAPSHOT")
    assert box.given(not_before_ns=later, snapshot="1")[0] == b"a1", "whoever asks by name means it"
    box.commit({"a": b"a2"})
    assert box.given(not_before_ns=later)[0] == b"a2"


def test_a_choice_counts_until_it_is_spent(box: Box) -> None:
    first = box.commit({"a": b"a1"})
    box.commit({"a": b"a2"})
    box.ask(tasks.UseSnapshot("pump", "1", request=request()))
    node = Node("pump", "a")
    _, fingerprint, ids = box.tasks.identify(node)
    given = box.tasks.given(node)
    assert given.snapshot
    assert (box.tasks.kept(node, fingerprint, ids).choice, given.snapshot.number) == (Choice(first), 1)
    assert box.given() == (b"a1", "SAME_NODE"), "until it is spent"
    assert box.given(resumed=7)[0] == b"a2", "who goes on has started before"
    box.commit({"a": b"a3"}, choice=Choice(None))
    assert box.given()[0] == b"a1", "that was another choice"
    revision = box.store.revision
    box.commit({"a": b"a4"}, choice=Choice(first))
    assert box.store.revision == revision + 1, "both in one record: no kill comes between"
    given = box.tasks.given(node)
    assert (box.tasks.kept(node, fingerprint, ids).choice, given.snapshot and given.snapshot.number) == (None, 4)


def test_rounds_begin_with_what_the_start_is_from(box: Box) -> None:
    node = Node("pump", "a", DAG)
    _, fingerprint, ids = box.tasks.identify(node)
    assert box.tasks.kept(node, fingerprint, ids) == box.tasks.kept(node, fingerprint, ids)
    assert (box.tasks.kept(node, fingerprint, ids).newest, box.tasks.kept(node, fingerprint, ids).states) == (None, ())
    box.commit({"a": b"a1", "b": b"b1"}, dag=DAG)
    second = box.commit({"a": b"a2", "b": b"b1"}, dag=DAG)
    kept = box.tasks.kept(node, fingerprint, ids)
    assert kept.newest
    assert kept.newest.id == second
    assert [(s.name, s.blob, s.carried) for s in kept.states] == [
        ("a", BlobId.of(b"a2"), True),
        ("b", BlobId.of(b"b1"), True),
    ]
    box.ask(tasks.UseSnapshot("pump", "1", request=request()))
    kept = box.tasks.kept(node, fingerprint, ids)
    assert kept.newest
    assert (kept.newest.id, kept.states[0].blob) == (second, BlobId.of(b"a1"))
    box.ask(tasks.UseSnapshot("pump", "fresh", request=request()))
    assert box.tasks.kept(node, fingerprint, ids).states == ()


def test_what_a_fork_carries_outlives_the_snapshot_it_is_from(box: Box) -> None:
    node = Node("fork", "a", DAG, source="pump")
    _, fingerprint, ids = box.tasks.identify(node)
    box.commit({"a": b"a0", "b": b"b0"}, dag=DAG)
    states = box.tasks.kept(node, fingerprint, ids).states
    for n in range(1, 12):
        box.commit({"a": b"a%d" % n, "b": b"b%d" % n}, dag=DAG)
    box.settle()
    box.tasks.commit(Commit(1, "fork", fingerprint, tasks.Reason.INTERVAL, states))
    assert box.given("b", "fork", dag=DAG) == (b"b0", "SAME_NODE")


def test_a_state_set_aside_stays_so_over_a_restart_until_it_is_chosen(box: Box) -> None:
    who, _, _ = box.tasks.identify(Node("pump", "a"))
    box.commit({"a": b"good", "b": b"b"})
    box.commit({"a": b"bad", "b": b"b"})
    box.tasks.set_aside("pump", Aside(who.id, BlobId.of(b"bad")))
    assert box.given() == (b"good", "SAME_NODE")
    assert box.given("b") == (b"b", "SAME_NODE"), "for that node alone"
    box.tasks.set_aside("pump", Aside(who.id, BlobId.of(b"good")))
    assert box.given() == (None, "SET_ASIDE")
    root = box.store.root
    box.store.close()
    again = Box(root)
    try:
        assert again.given() == (None, "SET_ASIDE")
        again.ask(tasks.UseSnapshot("pump", "2", request=request()))
        assert again.given()[0] == b"bad", "whoever chooses it wants it tried"
        again.ask(tasks.UseSnapshot("pump", "1", request=request()))
        assert again.given()[0] == b"good"
    finally:
        again.store.close()


def test_nothing_is_written_where_nothing_is_new(box: Box) -> None:
    node = Node("pump", "a", DAG)
    box.tasks.began(node)
    revision = box.store.revision
    box.tasks.began(node)
    assert box.store.revision == revision


def test_a_damaged_manifest_hides_nothing_else(box: Box) -> None:
    said: list[str] = []
    box.tasks.shelf.say = said.append
    box.commit({"a": b"a1"})
    second = box.commit({"a": b"a2"})
    box.tasks.shelf._manifests.clear()
    path = box.store.root / "blobs" / second.hex[:2] / second.hex
    path.chmod(0o600)
    path.write_bytes(b"rot")
    assert box.given()[0] == b"a1"
    assert said
    assert second.short in said[0]
    assert [s.number for s in box.ask(tasks.ListSnapshots("pump"))] == [1]
    assert box.ask(tasks.ListTasks())[0].newest.number == 1


def test_a_damaged_record_does_not_stop_a_task(box: Box) -> None:
    said: list[str] = []
    box.tasks.shelf.say = said.append
    box.tasks.began(Node("pump", "a", DAG))
    box.commit({"a": b"a1"}, dag=DAG)
    id = box.store.resolve(Ref.parse("snapshots/pump/task")).id
    path = box.store.root / "blobs" / id.hex[:2] / id.hex
    path.chmod(0o600)
    path.write_bytes(b"rot")
    assert box.given(dag=DAG)[0] == b"a1"
    assert said
    box.tasks.began(Node("pump", "a", DAG))
    said.clear()
    assert box.tasks.identify(Node("pump", "a", fingerprint=Dag.from_json(DAG).fingerprint))
    assert said == []


def test_clients_may_not_write_where_snapshots_are(box: Box) -> None:
    step = calls.Step(Tag.parse("snapshots/pump/auto"), Ref.of(box.save(b"x")))
    with pytest.raises(UsageError, match="snapshot calls"):
        box.service.move(CALLER, calls.Move((step,), request=request())).result()


def test_what_was_asked_for_by_name_is_never_replaced_by_a_fresh_start(box: Box) -> None:
    box.commit({"a": b"a1", "b": b"b1"})
    with pytest.raises(NotFound, match=r"snapshot 1 has no state of the node 'typo' \(expected 'a', 'b'\)"):
        box.given("typo", snapshot="1")
    with pytest.raises(NotFound, match="the task 'nobody' has no snapshot"):
        box.given(source="nobody")
    with pytest.raises(NotFound, match=r"has no snapshot 9 \(expected 1\)"):
        box.given(snapshot="9")
    assert box.given("typo") == (None, "NO_STATE"), "without being asked for, it has none"
