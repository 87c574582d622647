from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from snapshot_kit import blob, snapshot, state

from udfstore.digest import BlobId
from udfstore.errors import Conflict, InternalError, UsageError
from udfstore.snapshots import (
    Answer,
    Ask,
    Commit,
    Dag,
    End,
    Ended,
    Member,
    Model,
    Node,
    Policy,
    Reason,
    Rounds,
    Snapshot,
    State,
    carried,
)
from udfstore.snapshots.rounds import Command

DAG = Dag((Node("s", "stream"), *(Node(name, name, ("s",)) for name in "abc")))
M1, M2, M3 = (blob(f"manifest {n}") for n in (1, 2, 3))
BEFORE = snapshot(1, DAG.fingerprint, *(state(DAG, name, f"{name}0") for name in "abc"))


def rounds(newest: Snapshot | None = None) -> Rounds:
    kept = carried(DAG.ids.values(), DAG.fingerprint, newest.manifest if newest else None, Policy.STRICT)
    return Rounds("pump", DAG.fingerprint, newest=newest, kept=kept)


def member(name: str, interval: float = 60.0, restored: BlobId | None = None) -> Member:
    return Member(DAG.identity(name), interval, restored)


def joined(names: str, newest: Snapshot | None = None) -> Rounds:
    found = rounds(newest)
    for name in names:
        assert found.join(0, member(name)) == []
    return found


def value(content: str) -> State:
    return State(blob(content), 9)


def answers(found: Rounds, now: float, number: int, **contents: str) -> list[Command]:
    """Each named node answers with that content."""
    commands: list[Command] = []
    for name, content in contents.items():
        commands += found.answer(now, name, number, value(content))
    return commands


def told(commands: Sequence[Command]) -> list[Answer]:
    return [command for command in commands if isinstance(command, Answer)]


def states(commands: Sequence[Command]) -> dict[str, tuple[BlobId, bool]]:
    """What the one commit among commands names: blob, and whether it is carried."""
    (commit,) = (command for command in commands if isinstance(command, Commit))
    return {node.name: (node.blob, node.carried) for node in commit.nodes}


def test_a_round_at_the_interval() -> None:
    found = joined("ab")
    assert found.deadline == 60
    assert found.tick(59.9) == []
    assert found.tick(60) == [Ask(1, "a"), Ask(1, "b")]
    assert found.deadline == 90
    assert found.answer(61, "a", 1, value("a1")) == []
    (commit,) = found.answer(62, "b", 1, value("b1"))
    assert isinstance(commit, Commit)
    assert (commit.round, commit.reason, commit.fingerprint) == (1, Reason.INTERVAL, DAG.fingerprint)
    assert states([commit]) == {"a": (blob("a1"), False), "b": (blob("b1"), False)}
    assert found.deadline is None
    assert found.committed(63, 1, M1) == [Ended(1, Reason.INTERVAL, End.COMMITTED)]
    assert (found.newest, found.confirmed, found.deadline) == (M1, 63, 120)


def test_the_shortest_interval_counts() -> None:
    found = rounds()
    found.join(0, member("a", 60))
    found.join(10, member("b", 20))
    assert found.deadline == 20
    found.leave(15, "b")
    assert found.deadline == 60


def test_no_node_no_rounds() -> None:
    found = joined("a")
    found.leave(30, "a")
    assert found.deadline is None
    assert found.tick(1000) == []
    found.join(1000, member("a"))
    assert found.deadline == 1060


@pytest.mark.parametrize("interval", [0.999, 0, -1, float("nan"), float("inf")])
def test_intervals_that_cannot_be(interval: float) -> None:
    with pytest.raises(UsageError, match="interval of the node 'a'"):
        member("a", interval)


def test_what_a_manifest_says_of_a_node() -> None:
    found = rounds()
    twins = Dag((Node("x", "u"), Node("y", "u")))
    found.join(0, Member(twins.identity("x", key="k", options="o"), 60, restored=M1))
    found.tick(60)
    used = Model("models/pump", 3, blob("model"))
    (commit,) = found.answer(60, "x", 1, State(blob("x1"), 7, (used,)))
    assert isinstance(commit, Commit)
    (node,) = commit.nodes
    assert (node.key, node.options, node.siblings, node.size, node.restored) == ("k", "o", 1, 7, M1)
    assert node.models == (used,)
    manifest = commit.manifest(5)
    assert (manifest.task, manifest.time_ns, manifest.nodes) == ("pump", 5, commit.nodes)


def test_nodes_that_are_not_connected_are_carried() -> None:
    found = joined("a", BEFORE)
    found.tick(60)
    assert states(answers(found, 60, 1, a="a1")) == {
        "a": (blob("a1"), False),
        "b": (blob("b0"), True),
        "c": (blob("c0"), True),
    }
    found.committed(60, 1, M1)
    found.leave(61, "a")
    found.join(61, member("b"))
    found.tick(200)
    assert states(answers(found, 200, 2, b="b1")) == {
        "a": (blob("a1"), True),
        "b": (blob("b1"), False),
        "c": (blob("c0"), True),
    }


def test_an_empty_answer_gives_the_state_up() -> None:
    for empty in (None, State(blob(""), 0)):
        found = joined("ab", BEFORE)
        found.tick(60)
        found.answer(60, "a", 1, empty)
        assert states(found.answer(60, "b", 1, value("b1"))).keys() == {"b", "c"}
        found.committed(60, 1, M1)
        found.leave(61, "a")
        assert [node.name for node in found.kept] == ["c"]


def test_a_state_given_up_in_an_unchanged_round_does_not_come_back() -> None:
    # The newest snapshot has no state of `a`; an older one, chosen for this start, has.
    newest = snapshot(2, DAG.fingerprint, state(DAG, "b", "b0"))
    found = Rounds("pump", DAG.fingerprint, newest=newest, kept=(state(DAG, "a", "a0"), state(DAG, "b", "b0")))
    found.join(0, member("a"))
    found.tick(60)
    assert found.answer(60, "a", 1, None) == [Ended(1, Reason.INTERVAL, End.UNCHANGED)]
    found.leave(61, "a")
    assert [node.name for node in found.kept] == ["b"]


def test_nothing_changed_costs_nothing_but_confirms_the_age() -> None:
    found = joined("abc", BEFORE)
    assert found.confirmed is None
    found.tick(60)
    assert answers(found, 61, 1, a="a0", b="b0", c="c0") == [Ended(1, Reason.INTERVAL, End.UNCHANGED)]
    assert (found.newest, found.confirmed) == (BEFORE.id, 61)
    found.ask(100, Reason.MANUAL, "t")
    assert told(answers(found, 100, 2, a="a0", b="b0", c="c0")) == [Answer("t", BEFORE.id, True)]


def test_what_does_and_does_not_count_as_a_change() -> None:
    for identity, changed in ((DAG.identity("a"), False), (DAG.identity("a", key="k"), True)):
        found = joined("bc", BEFORE)
        found.join(0, Member(identity, restored=M1))
        found.tick(60)
        found.answer(60, "a", 1, State(blob("a0"), 9, (Model("m", 1, blob("m")),)))
        assert any(isinstance(c, Commit) for c in answers(found, 60, 1, b="b0", c="c0")) is changed


def test_the_first_round_after_a_change_of_the_dag_is_a_change() -> None:
    other = replace(BEFORE, manifest=replace(BEFORE.manifest, fingerprint=Dag((Node("x", "x"),)).fingerprint))
    found = Rounds("pump", DAG.fingerprint, newest=other, kept=BEFORE.manifest.nodes)
    found.join(0, member("a"))
    found.tick(60)
    assert states(answers(found, 60, 1, a="a0")).keys() == {"a", "b", "c"}


def test_a_task_without_state_commits_nothing() -> None:
    found = joined("a")
    found.ask(1, Reason.MANUAL, "t")
    assert found.answer(1, "a", 1, None) == [Ended(1, Reason.MANUAL, End.UNCHANGED), Answer("t", None, True)]


def test_a_node_that_comes_or_leaves_voids_the_round() -> None:
    found = joined("ab", BEFORE)
    found.tick(60)
    found.answer(60, "a", 1, value("a1"))
    assert found.leave(61, "b") == [Ended(1, Reason.INTERVAL, End.VOID, "the node 'b' left")]
    assert found.answer(61, "a", 1, value("a1")) == []
    assert (found.newest, found.running, found.deadline) == (BEFORE.id, None, 120)
    found.tick(120)
    assert found.join(121, member("b")) == [Ended(2, Reason.INTERVAL, End.VOID, "the node 'b' connected")]


def test_a_node_that_leaves_during_the_commit_changes_nothing() -> None:
    found = joined("ab")
    found.tick(60)
    answers(found, 60, 1, a="a1", b="b1")
    assert found.leave(60.1, "b") == []
    assert found.join(60.2, member("c")) == []
    assert found.committed(61, 1, M1) == [Ended(1, Reason.INTERVAL, End.COMMITTED)]
    assert [node.name for node in found.kept] == ["b"]


def test_silence_voids_the_round_at_the_deadline() -> None:
    found = joined("ab")
    found.ask(10, Reason.MANUAL, "t")
    found.answer(11, "a", 1, value("a1"))
    assert found.tick(39.9) == []
    why = "no answer in time from 'b'"
    assert found.tick(40) == [Ended(1, Reason.MANUAL, End.VOID, why), Answer("t", None, False, why)]
    assert found.answer(41, "b", 1, value("b1")) == []


def test_a_refused_state_voids_the_round() -> None:
    found = joined("ab")
    found.ask(10, Reason.MANUAL, "t")
    assert found.refuse(11, "a", 1, "70 MiB, at most 64") == [
        Ended(1, Reason.MANUAL, End.VOID, "the node 'a': 70 MiB, at most 64"),
        Answer("t", None, False, "the node 'a': 70 MiB, at most 64"),
    ]
    assert found.refuse(11, "a", 1, "late") == []


def test_a_store_that_takes_nothing_voids_the_round() -> None:
    found = joined("a", BEFORE)
    found.ask(10, Reason.MANUAL, "t")
    answers(found, 10, 1, a="a1")
    assert found.not_committed(11, 1, "disk full") == [
        Ended(1, Reason.MANUAL, End.VOID, "disk full"),
        Answer("t", BEFORE.id, False, "disk full"),
    ]
    assert (found.newest, found.confirmed) == (BEFORE.id, None)


def test_an_ask_on_demand_waits_for_a_round_of_its_own() -> None:
    found = joined("a")
    found.tick(60)
    assert found.ask(60.5, Reason.MANUAL, "t") == []
    answers(found, 61, 1, a="a1")
    assert found.committed(61, 1, M1) == [Ended(1, Reason.INTERVAL, End.COMMITTED), Ask(2, "a")]
    answers(found, 62, 2, a="a2")
    assert told(found.committed(62, 2, M2)) == [Answer("t", M2, True)]


def test_an_ask_on_demand_lives_through_a_void_round_within_its_deadline() -> None:
    found = joined("ab")
    found.ask(10, Reason.MANUAL, "t")
    assert found.leave(20, "b") == [Ended(1, Reason.MANUAL, End.VOID, "the node 'b' left"), Ask(2, "a")]
    assert found.deadline == 40
    assert told(found.tick(40)) == [Answer("t", None, False, "no answer in time from 'a'")]


def test_an_ask_is_not_given_up_with_an_older_one_that_shared_its_round() -> None:
    found = joined("abc")
    found.ask(100, Reason.MANUAL, "early")
    found.ask(129, Reason.STOP, "late", "a")
    assert found.leave(129.9, "c")[-2:] == [Ask(2, "a"), Ask(2, "b")], "both are in the round that opens now"
    given_up = found.tick(130)
    assert [(answer.ticket, answer.why) for answer in told(given_up)] == [("early", "no answer in time from 'a', 'b'")]
    commit = answers(found, 131, 3, a="last words", b="state")
    assert told([*commit, *found.committed(131, 3, value("manifest").blob)])[-1].good


def test_nodes_that_stop_one_after_another_all_leave_their_last_state() -> None:
    found = joined("ab")
    assert found.ask(10, Reason.STOP, "a stops", "a") == [Ask(1, "a"), Ask(1, "b")]
    assert found.ask(10, Reason.STOP, "b stops", "b") == []
    answers(found, 10, 1, a="a1", b="b1")
    done = found.committed(10, 1, M1)
    assert told(done) == [Answer("a stops", M1, True)]
    assert done[-2:] == [Ask(2, "a"), Ask(2, "b")]
    assert found.leave(10, "a") == [Ended(2, Reason.STOP, End.VOID, "the node 'a' left"), Ask(3, "b")]
    assert states(answers(found, 10, 3, b="b2")) == {"a": (blob("a1"), True), "b": (blob("b2"), False)}
    assert told(found.committed(10, 3, M2)) == [Answer("b stops", M2, True)]


def test_who_left_is_not_waited_for() -> None:
    found = joined("ab")
    found.ask(10, Reason.STOP, "a stops", "a")
    assert found.leave(11, "a") == [Ended(1, Reason.STOP, End.VOID, "the node 'a' left")]
    assert found.running is None


def test_who_left_while_waiting_for_the_next_round_opens_none() -> None:
    found = joined("ab")
    found.tick(60)
    answers(found, 60, 1, a="a1", b="b1")
    assert found.ask(60.1, Reason.STOP, "a stops", "a") == []
    assert found.leave(60.2, "a") == []
    assert found.committed(60.3, 1, M1) == [Ended(1, Reason.INTERVAL, End.COMMITTED)]


def test_an_ask_with_no_node_is_answered_at_once() -> None:
    found = rounds(BEFORE)
    answer = Answer("t", BEFORE.id, False, "no node of the task is connected")
    assert found.ask(10, Reason.MANUAL, "t") == [answer]
    assert found.ask(10, Reason.KAPACITOR, "t") == [answer]


def test_kapacitor_opens_a_round_and_its_other_asks_share_it() -> None:
    found = joined("ab")
    assert found.ask(10, Reason.KAPACITOR, "ka", "a") == [Ask(1, "a"), Ask(1, "b")]
    assert found.ask(10, Reason.KAPACITOR, "kb", "b") == []
    answers(found, 10, 1, a="a1", b="b1")
    assert found.ask(10.1, Reason.KAPACITOR, "kc") == []
    assert told(found.committed(11, 1, M1)) == [Answer(t, M1, True) for t in ("ka", "kb", "kc")]


def test_kapacitor_is_given_a_round_that_ended_within_five_seconds() -> None:
    found = joined("a")
    found.ask(10, Reason.KAPACITOR, "k1")
    answers(found, 10, 1, a="a1")
    found.committed(10, 1, M1)
    assert found.ask(15, Reason.KAPACITOR, "k2") == [Answer("k2", M1, True)]
    assert found.ask(15.1, Reason.KAPACITOR, "k3") == [Ask(2, "a")]


def test_kapacitor_is_given_the_newest_good_snapshot_after_a_void_round() -> None:
    found = joined("ab", BEFORE)
    found.ask(10, Reason.KAPACITOR, "k1", "a")
    assert found.leave(11, "b") == [
        Ended(1, Reason.KAPACITOR, End.VOID, "the node 'b' left"),
        Answer("k1", BEFORE.id, False, "the node 'b' left"),
    ]
    assert found.ask(12, Reason.KAPACITOR, "k2", "a") == [
        Answer("k2", BEFORE.id, False, "the round just before was void")
    ]


def test_a_key_goes_before_the_place() -> None:
    twins = Dag((Node("x", "u"), Node("y", "u")))
    kept = (state(twins, "x", "of kx", key="kx"), state(twins, "y", "of ky", key="ky"))
    found = Rounds("pump", twins.fingerprint, newest=snapshot(1, twins.fingerprint, *kept), kept=kept)
    # The two were listed the other way round: the node of key ky is first to come, in the place of kx.
    found.join(0, Member(twins.identity("x", key="ky")))
    found.tick(60)
    (commit,) = answers(found, 60, 1, x="new of ky")
    assert isinstance(commit, Commit)
    assert {(node.key, node.blob) for node in commit.nodes} == {("ky", blob("new of ky")), ("kx", blob("of kx"))}
    with pytest.raises(Conflict, match="'ky'"):
        found.join(60, Member(twins.identity("y", key="ky")))


def test_shells_that_lose_count_are_told() -> None:
    found = joined("a")
    with pytest.raises(InternalError):
        found.join(0, member("a"))
    with pytest.raises(InternalError):
        found.committed(0, 1, M1)
    found.tick(60)
    with pytest.raises(InternalError):
        found.not_committed(60, 1, "x")
    assert found.leave(61, "nobody") == []
    assert found.members.keys() == {"a"}


def test_a_server_that_is_about_to_end_waits_for_no_round() -> None:
    found = joined("ab")
    found.ask(1, Reason.MANUAL, "somebody")
    why = "the server is shutting down"
    assert found.stop(2) == [Ended(1, Reason.MANUAL, End.VOID, why), Answer("somebody", None, False, why)]
    assert found.ask(3, Reason.MANUAL, "another") == [Answer("another", None, False, why)]
    assert found.leave(4, "a") == []
    assert (found.deadline, found.tick(1000)) == (None, [])


def test_the_last_state_of_a_node_is_taken_though_the_server_is_about_to_end() -> None:
    found = joined("a")
    found.ask(1, Reason.STOP, "it", "a")
    assert found.stop(2) == []
    (commit,) = found.answer(3, "a", 1, value("a1"))
    assert isinstance(commit, Commit)
    assert found.committed(4, 1, M1) == [Ended(1, Reason.STOP, End.COMMITTED), Answer("it", M1, True)]
