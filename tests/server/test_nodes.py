"""Connections that are nodes: restored, put in their place, asked, and what becomes of answers that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kit import eventually
from live_server import LiveServer
from raw_client import RawClient
from raw_node import RawNode, ask, keep, taken

from udfstore._pb import udfstore_pb2 as pb
from udfstore.digest import BlobId


@pytest.fixture
def task(request: pytest.FixtureRequest) -> str:
    """A task of the test's own."""
    return f"task of {request.node.name}"[:100]


# --- kept and given back -------------------------------------------------------------------------------------------


def test_a_node_gets_back_what_it_had(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task) as node:
        joined = node.arrive()
        assert (joined.owner, joined.manifest, joined.number) == (True, b"", 0)
        assert joined.why == "the task has no snapshot"
        snapshot = keep(live.socket, node, task, b"what it learned")
    assert (snapshot.number, snapshot.nodes, snapshot.reason, snapshot.bytes) == (1, 1, "manual", 15)
    with RawNode(live.socket, task) as node:
        joined = node.arrive()
        assert node.given == b"what it learned"
        assert (joined.owner, joined.manifest, joined.number) == (True, snapshot.id, 1)


def test_a_plain_node_gives_and_takes_its_state_in_the_message(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task, plain=True) as node:
        node.arrive()
        keep(live.socket, node, task, b"bytes")
    with RawNode(live.socket, task, plain=True) as node:
        node.arrive()
        assert node.given == b"bytes"
    with RawNode(live.socket, task) as node:
        node.arrive()
        assert node.given == b"bytes", "how a state travels is the business of its connection"


def test_an_empty_answer_is_no_state_and_never_restored(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task, "a") as a, RawNode(live.socket, task, "b") as b, RawClient(live.socket) as client:
        a.arrive()
        b.arrive()
        ask(client, 1, task)
        a.answer(b"")
        b.answer(b"state of b")
        assert taken(client).snapshot.nodes == 1
    with RawNode(live.socket, task, "a") as a:
        assert a.arrive().number == 0
        assert a.given is None


def test_a_goodbye_gives_a_last_state(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task) as node:
        node.arrive()
        node.leave(b"last words")
    with RawNode(live.socket, task) as node, RawClient(live.socket) as client:
        node.arrive()
        assert node.given == b"last words"
        client.call(1, find_snapshot=pb.FindSnapshot(task=task))
        assert client.until("result").result.snapshot.reason == "stop"


def test_nodes_that_are_away_keep_what_they_had(live: LiveServer, task: str) -> None:
    with RawClient(live.socket) as client, RawNode(live.socket, task, "a") as a:
        with RawNode(live.socket, task, "b") as b:
            a.arrive()
            b.arrive()
            ask(client, 1, task)
            a.answer(b"a1")
            b.answer(b"b1")
            assert taken(client).snapshot.nodes == 2
        eventually(lambda: roles(live, task) == ["owner"])
        ask(client, 2, task)
        a.answer(b"a2")
        assert taken(client).snapshot.nodes == 2
        with RawNode(live.socket, task, "b") as b:
            assert b.arrive().number == 2
            assert b.given == b"b1"
    client_states = states(live, task)
    assert [(state.name, state.carried) for state in client_states] == [("a", False), ("b", True)]


def states(live: LiveServer, task: str) -> list[pb.NodeState]:
    with RawClient(live.socket, credit=False) as client:
        client.call(1, list_states=pb.ListStates(task=task))
        return list(client.until("page").page.states)


# --- whose place it is ---------------------------------------------------------------------------------------------


def roles(live: LiveServer, task: str) -> list[str]:
    with RawClient(live.socket, credit=False) as client:
        client.call(1, sessions=pb.Sessions())
        return [session.role for session in client.until("page").page.sessions if session.place.task == task]


def test_a_second_claim_is_a_copy_that_stores_nothing(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task) as node:
        node.arrive()
        keep(live.socket, node, task, b"one")
        with RawNode(live.socket, task) as copy, RawClient(live.socket) as client:
            assert not copy.arrive().owner
            assert copy.given == b"one"
            assert roles(live, task) == ["owner", "copy"]
            ask(client, 1, task)
            node.answer(b"two")
            assert taken(client).snapshot.nodes == 1
            copy.send(pb.Response(goodbye=pb.Goodbye()))
            assert copy.rest() == [], "nobody asks it for a last state"
    with RawNode(live.socket, task) as node:
        assert node.arrive().owner, "its place is free once its connection is over"
        assert node.given == b"two"


def test_a_node_that_shall_store_nothing(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task, no_save=True) as guest:
        assert not guest.arrive().owner
        with RawNode(live.socket, task) as node:
            assert node.arrive().owner
            keep(live.socket, node, task, b"state")


def test_a_node_that_resumes_keeps_its_own_newer_state(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task) as node:
        node.arrive()
        first = keep(live.socket, node, task, b"one")
        session = node.welcome.session
    with RawNode(live.socket, task, resumed=session, restored=first.id) as node:
        joined = node.arrive()
        assert (joined.owner, joined.manifest, node.given) == (True, first.id, None)
        node.answer(b"two")
        eventually(lambda: [s.blob for s in states(live, task)] == [BlobId.of(b"two").raw])
    assert states(live, task)[0].restored == first.id


def test_a_node_that_resumes_takes_over_from_its_own_dead_connection(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task) as dead:
        dead.arrive()
        with RawNode(live.socket, task, resumed=dead.welcome.session) as node:
            assert node.arrive().owner
            assert dead.fault().code == "conflict"
            node.answer(b"state")
        with RawNode(live.socket, task) as node:
            node.arrive()


def test_a_node_that_resumes_another_session_than_the_holder_is_a_copy(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task) as holder:
        holder.arrive()
        with RawNode(live.socket, task, resumed=10**6) as node:
            assert not node.arrive().owner
            assert node.given is None
        keep(live.socket, holder, task, b"state")


def test_two_nodes_with_one_key(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task, "a", key="k") as a:
        a.arrive()
        with RawNode(live.socket, task, "b", key="k") as b:
            assert b.fault().code == "conflict"
        keep(live.socket, a, task, b"state")


@pytest.mark.parametrize(("first", "second", "refused"), [(0, 2, True), (1, 2, True), (2, 1, False), (0, 1, False)])
def test_a_task_of_another_kind_of_host(live: LiveServer, task: str, first: int, second: int, refused: bool) -> None:
    with RawNode(live.socket, task, host=first) as node:
        node.arrive()
    with RawNode(live.socket, task, host=second) as node:
        if not refused:
            assert node.arrive().owner
            return
        assert node.fault().code == "conflict"
    with RawNode(live.socket, task, host=second, no_save=True) as node:
        assert not node.arrive().owner
    with RawNode(live.socket, task, host=second, take_over=True) as node:
        assert node.arrive().owner
    with RawNode(live.socket, task, host=second) as node:
        assert node.arrive().owner, "it is its task from then on"


# --- hellos that make no sense -------------------------------------------------------------------------------------

CYCLE = {"nodes": [{"name": "a", "kind": "x", "parents": ["b"]}, {"name": "b", "kind": "x", "parents": ["a"]}]}
TWICE = {"nodes": [{"name": "a", "kind": "x"}, {"name": "a", "kind": "x"}]}
ORPHAN = {"nodes": [{"name": "a", "kind": "x", "parents": ["b"]}]}
OTHER = {"nodes": [{"name": "b", "kind": "x"}]}


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"dag": b"{"}, "usage", "DAG"),
        ({"dag": json.dumps(CYCLE).encode()}, "usage", "cycle"),
        ({"dag": json.dumps(TWICE).encode()}, "usage", "one name"),
        ({"dag": json.dumps(ORPHAN).encode()}, "usage", "parent"),
        ({"dag": json.dumps(OTHER).encode()}, "usage", "no node of that name"),
        ({"fingerprint": "ab" * 32}, "not-found", "fingerprint"),
        ({"task": "two\nlines"}, "usage", "control"),
        ({"task": "x" * 129}, "usage", "128"),
        ({"key": "x" * 129}, "usage", "key"),
        ({"options": "two\nlines"}, "usage", "options"),
        ({"timeout_ms": 3_600_001}, "usage", "timeout"),
        ({"snapshot": "17"}, "not-found", "snapshot"),
    ],
)
def test_a_hello_that_makes_no_sense_is_told_why(
    live: LiveServer, fields: dict[str, object], code: str, text: str
) -> None:
    given = {"task": "bad", "name": "a"} | fields
    with RawNode(live.socket, **given) as node:  # type: ignore[arg-type]
        fault = node.fault()
        assert (fault.code, text in fault.message + fault.got) == (code, True), fault


def test_a_dag_is_known_by_its_fingerprint_once_it_was_told(live: LiveServer, task: str) -> None:
    dag = json.dumps({"nodes": [{"name": "a", "kind": "x"}, {"name": "b", "kind": "x", "parents": ["a"]}]}).encode()
    with RawNode(live.socket, task, "a", dag=dag) as a, RawClient(live.socket, credit=False) as client:
        a.arrive()
        client.call(1, list_tasks=pb.ListTasks())
        page = client.until("page").page
        told = next(found for found in page.tasks if found.name == task)
        assert list(told.nodes) == ["a"]
        with RawNode(live.socket, task, "b", fingerprint=told.fingerprint) as b:
            assert b.arrive().owner


def test_a_task_has_one_dag_at_a_time(tmp_path: Path) -> None:
    dag = json.dumps({"nodes": [{"name": "a", "kind": "x"}]}).encode()
    with LiveServer(tmp_path, round_seconds=0.05) as live, RawNode(live.socket, name="a", dag=dag) as old:
        old.arrive()
        with RawNode(live.socket, name="a") as new:
            fault = new.fault()
            assert fault.code == "conflict"
            assert "another DAG" in fault.message
        keep(live.socket, old, "task", b"state")
    # and once the old ones are gone
    with LiveServer(tmp_path) as live, RawNode(live.socket, name="a", dag=dag) as old:
        old.arrive()
        with RawNode(live.socket, name="a") as new:
            old.socket.close()
            assert new.arrive().owner
            assert new.given is None, "the policy is strict"


# --- answers -------------------------------------------------------------------------------------------------------


def test_a_node_that_refuses_spoils_the_round_alone(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task) as node, RawClient(live.socket) as client:
        node.arrive()
        good = keep(live.socket, node, task, b"one")
        ask(client, 1, task)
        node.send(pb.Response(snapshot=pb.SnapshotResponse(round=node.question(), error="busy training")))
        void = taken(client)
        assert (void.good, void.snapshot.id) == (False, good.id)
        assert "busy training" in void.why
        client.call(2, list_tasks=pb.ListTasks())
        client.send(pb.Response(credit=pb.Credit(call=2, amount=10)))
        tasks = client.until("page").page.tasks
        assert ["busy training" in found.problem for found in tasks if found.name == task] == [True]
        keep(live.socket, node, task, b"two")


@pytest.mark.parametrize(
    "answer",
    [
        pb.SnapshotResponse(blob=BlobId.of(b"never saved").raw, size=11),
        pb.SnapshotResponse(blob=BlobId.of(b"saved").raw, size=6),
        pb.SnapshotResponse(snapshot=b"inside, though it did not say plain"),
    ],
)
def test_an_answer_that_names_no_state_of_the_store(live: LiveServer, task: str, answer: pb.SnapshotResponse) -> None:
    with RawNode(live.socket, task) as node, RawClient(live.socket) as client:
        node.arrive()
        node.save(node.number(), b"saved")
        ask(client, 1, task)
        answer.round = node.question()
        node.send(pb.Response(snapshot=answer))
        void = taken(client)
        assert not void.good
        assert "'node'" in void.why
        keep(live.socket, node, task, b"saved")


def test_answers_twice_late_and_unasked_change_nothing(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task) as node, RawClient(live.socket) as client:
        node.arrive()
        stray = node.save(node.number(), b"stray")
        unasked = pb.SnapshotResponse(round=7, blob=stray.id, size=5)
        node.send(pb.Response(snapshot=unasked))
        first = keep(live.socket, node, task, b"one")
        node.send(pb.Response(snapshot=pb.SnapshotResponse(round=1, blob=stray.id, size=5)))
        node.send(pb.Response(snapshot=pb.SnapshotResponse(blob=stray.id, size=5)))
        ask(client, 1, task)
        node.answer(b"one")
        unchanged = taken(client)
        assert (unchanged.good, unchanged.snapshot.id) == (True, first.id)


def test_an_answer_without_a_number_belongs_to_the_oldest_question(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task, "a") as a, RawClient(live.socket) as client:
        a.arrive()
        old, new = (a.save(a.number(), state) for state in (b"old", b"newer"))
        ask(client, 1, task)
        first = a.question()
        with RawNode(live.socket, task, "b") as b:  # voids the round; the one who asked gets the next one
            b.arrive()
            assert a.question() > first
            a.send(pb.Response(snapshot=pb.SnapshotResponse(blob=old.id, size=3)))
            a.send(pb.Response(snapshot=pb.SnapshotResponse(blob=new.id, size=5)))
            b.answer(b"")
            assert taken(client).good
    assert [state.blob for state in states(live, task)] == [new.id]


def test_unchanged_states_make_no_new_snapshot(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task) as node:
        node.arrive()
        first = keep(live.socket, node, task, b"same")
        again = keep(live.socket, node, task, b"same")
    assert (first.id, first.number) == (again.id, again.number)


def test_models_in_use_are_kept_with_the_state_and_shown(live: LiveServer, task: str) -> None:
    with RawClient(live.socket, credit=False) as client, RawNode(live.socket, task) as node:
        node.arrive()
        model = client.save(1, b"a model")
        client.call(2, request=bytes(16), move=pb.Move(steps=[pb.Step(tag="models/m", ref=model.id.hex())]))
        entry = client.until("result").result.moved.entries[0]
        used = pb.Model(tag=entry.tag, version=entry.version, id=entry.id)
        client.call(3, save_snapshot=pb.SaveSnapshot(task=task, reason="manual"))
        node.answer(b"state", None, used)
        assert taken(client).good
        client.call(4, sessions=pb.Sessions())
        (shown,) = [session for session in client.until("page").page.sessions if session.place.task == task]
        assert [(f.tag, f.version) for f in shown.following] == [("models/m", entry.version)]
        client.until("result")
        client.call(5, await_followers=pb.AwaitFollowers(tag="models/m", version=entry.version + 1, timeout_ms=60_000))
        assert client.next().WhichOneof("message") == "result", "that alone makes it nobody to wait for"
    assert list(states(live, task)[0].models) == [used]


# --- names, and who may ask ----------------------------------------------------------------------------------------


def test_more_models_than_a_page_holds_are_kept_and_the_list_says_so(live: LiveServer, task: str) -> None:
    models = [pb.Model(tag=f"models/site-{n:04}/pump/anomaly-detector", version=1, id=bytes(32)) for n in range(1000)]
    with RawNode(live.socket, task, plain=True) as node, RawClient(live.socket, credit=False) as client:
        node.arrive()
        ask(client, 1, task)
        node.answer(b"state", None, *models)
        assert taken(client).good
        client.call(2, list_states=pb.ListStates(task=task))
        assert client.until("fault").fault.code == "too-large"
        client.call(3, find_snapshot=pb.FindSnapshot(task=task))
        assert client.until("result").result.snapshot.nodes == 1, "and the conversation goes on"


def test_a_snapshot_is_named_when_it_is_taken(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task) as node, RawClient(live.socket) as client:
        node.arrive()
        ask(client, 1, task, "before the change")
        node.answer(b"state")
        assert list(taken(client).snapshot.names) == ["before the change"]
        client.call(2, find_snapshot=pb.FindSnapshot(task=task, snapshot="before the change"))
        assert client.until("result").result.snapshot.number == 1
        ask(client, 3, task, "17")
        assert client.until("fault").fault.code == "usage"


def test_a_task_without_a_node_has_its_newest_snapshot(live: LiveServer, task: str) -> None:
    with RawClient(live.socket) as client:
        ask(client, 1, task)
        none = taken(client)
        assert (none.good, none.HasField("snapshot")) == (False, False)
        assert "no node" in none.why
        with RawNode(live.socket, task) as node:
            node.arrive()
            first = keep(live.socket, node, task, b"state")
        ask(client, 2, task)
        newest = taken(client)
        assert (newest.good, newest.snapshot.id) == (False, first.id)


def test_only_a_node_asks_on_behalf_of_kapacitor(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task) as node, RawClient(live.socket) as client:
        node.arrive()
        ask(client, 1, task, reason="kapacitor")
        assert client.until("fault").fault.code == "usage"
        ask(node, node.number(), task, reason="kapacitor")
        node.answer(b"state")
        snapshot = taken(node).snapshot
        assert (snapshot.reason, snapshot.number) == ("kapacitor", 1)
        ask(node, node.number(), task, reason="kapacitor")
        assert taken(node).snapshot.id == snapshot.id, "a round that ended just now answers as well"


def test_a_task_with_connected_nodes_is_not_deleted(live: LiveServer, task: str) -> None:
    with RawClient(live.socket) as client:
        with RawNode(live.socket, task) as node:
            node.arrive()
            keep(live.socket, node, task, b"state")
            client.call(1, request=bytes(15) + b"1", delete_task=pb.DeleteTask(task=task))
            fault = client.until("fault").fault
            assert (fault.code, fault.got) == ("conflict", "node")
        eventually(lambda: roles(live, task) == [])
        client.call(2, request=bytes(15) + b"2", delete_task=pb.DeleteTask(task=task))
        assert len(client.until("result").result.dropped.snapshots) == 1
        with RawNode(live.socket, task) as node:
            assert node.arrive().why == "the task has no snapshot"


# --- signs of life -------------------------------------------------------------------------------------------------


def test_sessions_tell_when_something_last_came_of_a_node(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task, timeout_ms=2000) as node, RawClient(live.socket, credit=False) as client:
        node.arrive()
        calls = iter(range(1, 10_000))

        def told() -> pb.Session:
            client.call(next(calls), sessions=pb.Sessions())
            sessions = client.until("page").page.sessions
            client.until("result")
            return next(session for session in sessions if session.place.task == task)

        first = told()
        assert first.heard_ns >= first.since_ns
        node.send(pb.Response(keepalive=pb.KeepaliveResponse(time=1)))
        assert eventually(lambda: told().heard_ns > first.heard_ns)
