"""What a node is given back: after failures, after a choice, and by a server that was itself away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import eventually
from live_server import LiveServer
from raw_client import RawClient
from raw_node import RawNode, ask, keep, taken

from udfstore._pb import udfstore_pb2 as pb


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LiveServer]:
    """A server of the test's own, to stop and kill."""
    with LiveServer(tmp_path) as server:
        yield server


@pytest.fixture
def task(request: pytest.FixtureRequest) -> str:
    """A task of the test's own."""
    return f"task of {request.node.name}"[:100]


def with_states(live: LiveServer, task: str, *states: bytes) -> list[pb.Snapshot]:
    """A task whose only node had these states, one snapshot each."""
    with RawNode(live.socket, task) as node:
        node.arrive()
        return [keep(live.socket, node, task, state) for state in states]


def refuse(live: LiveServer, task: str, **fields: object) -> str:
    """Connect, fail to restore what is given, and see what the server says."""
    with RawNode(live.socket, task, **fields) as node:
        content = node.content(node.until("restore").restore)
        node.send(pb.Response(restore=pb.RestoreResponse(success=False, error=f"cannot read {content.decode()}")))
        fault = node.fault()
        assert fault.code == "conflict"
        return fault.message


# --- states that do not work ---------------------------------------------------------------------------------------


def test_a_state_that_cannot_be_restored_is_set_aside_for_good(own: LiveServer) -> None:
    _, two, _ = with_states(own, "task", b"one", b"two", b"three")
    assert refuse(own, "task") == (
        "the state of snapshot 3 could not be restored, cannot read three: connect again for the one before"
    )
    own.restart()
    with RawNode(own.socket) as node:
        assert (node.arrive().number, node.given) == (2, b"two")
        keep(own.socket, node, "task", b"four")
    assert states(own, "task")[0].restored == two.id
    for state in ("four", "two", "one"):
        assert f"cannot read {state}" in refuse(own, "task"), "newest first, but for the one set aside before"
    with RawNode(own.socket) as node:
        joined = node.arrive()
        assert (joined.owner, joined.number, node.given) == (True, 0, None)
        assert "failed before" in joined.why


def states(live: LiveServer, task: str) -> list[pb.NodeState]:
    with RawClient(live.socket, credit=False) as client:
        client.call(1, list_states=pb.ListStates(task=task))
        return list(client.until("page").page.states)


def test_a_node_that_dies_of_its_state_gets_another_one(live: LiveServer, task: str) -> None:
    with_states(live, task, b"one", b"deadly")
    with RawNode(live.socket, task) as node:
        node.until("restore")
    with RawNode(live.socket, task) as node:
        assert node.arrive().owner, "its place is free only when what it died of was noted"
        assert node.given == b"one"


def test_a_node_that_leaves_before_it_is_restored_says_nothing_about_its_state(live: LiveServer, task: str) -> None:
    with_states(live, task, b"one")
    with RawNode(live.socket, task) as node:
        node.until("restore")
        node.send(pb.Response(goodbye=pb.Goodbye()))
        assert node.rest() == []
    with RawNode(live.socket, task) as node:
        node.arrive()
        assert node.given == b"one"


def test_a_copy_that_fails_takes_nothing_from_the_node(live: LiveServer, task: str) -> None:
    with_states(live, task, b"one")
    assert "copy" in refuse(live, task, no_save=True)
    with RawNode(live.socket, task) as node:
        node.arrive()
        assert node.given == b"one"


def test_an_answer_to_no_restore_ends_the_conversation(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task) as node:
        node.arrive()
        node.send(pb.Response(restore=pb.RestoreResponse(success=True)))
        assert node.fault().code == "usage"


def test_a_damaged_state_is_not_given_in_a_message(own: LiveServer) -> None:
    *_, bad = with_states(own, "task", b"good", b"bad!")
    assert bad.number == 2
    blob = states(own, "task")[0].blob.hex()
    path = own.root / "blobs" / blob[:2] / blob
    path.chmod(0o644)
    path.write_bytes(b"BAD!")
    with RawNode(own.socket, plain=True) as node:
        assert "damaged" in node.fault().message
    with RawNode(own.socket, plain=True) as node:
        node.arrive()
        assert node.given == b"good"


def test_a_state_that_fits_no_message_is_not_set_aside(tmp_path: Path) -> None:
    with LiveServer(tmp_path, plain_bytes=1000) as own:
        with_states(own, "task", b"x" * 1001)
        with RawNode(own.socket, plain=True) as node:
            fault = node.fault()
            assert (fault.code, fault.expected, fault.got) == ("too-large", "at most 1000 bytes", "1001")
        with RawNode(own.socket) as node:
            node.arrive()
            assert node.given == b"x" * 1001


# --- a choice ------------------------------------------------------------------------------------------------------


def use(live: LiveServer, task: str, snapshot: str, *, now: bool = False) -> None:
    with RawClient(live.socket) as client:
        call = pb.UseSnapshot(task=task, snapshot=snapshot, now=now)
        client.call(1, request=os.urandom(16), use_snapshot=call)
        client.until("result")


def given(live: LiveServer, task: str) -> bytes | None:
    """What a node would get; it takes no place."""
    with RawNode(live.socket, task, no_save=True) as copy:
        copy.arrive()
        return copy.given


def test_a_choice_counts_until_something_was_made_of_it(live: LiveServer, task: str) -> None:
    with_states(live, task, b"one", b"two", b"three")
    use(live, task, "1")
    for _ in range(2):
        with RawNode(live.socket, task) as node:
            assert (node.arrive().number, node.given) == (1, b"one")
    with RawNode(live.socket, task) as node:
        node.arrive()
        keep(live.socket, node, task, b"four")
    assert given(live, task) == b"four"


def test_a_choice_is_for_the_next_start_not_for_the_nodes_that_run(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task, "a") as a:
        a.arrive()
        keep(live.socket, a, task, b"a1")
        keep(live.socket, a, task, b"a2")
        use(live, task, "1")
        keep(live.socket, a, task, b"a3")
        with RawNode(live.socket, task, "b") as b:
            b.arrive()
    with RawNode(live.socket, task, "a") as a:
        assert (a.arrive().number, a.given) == (1, b"a1")


def test_a_fresh_start_can_be_chosen(live: LiveServer, task: str) -> None:
    with_states(live, task, b"one")
    use(live, task, "fresh")
    with RawNode(live.socket, task) as node:
        assert node.arrive().why == "a fresh start was chosen"
        keep(live.socket, node, task, b"two")
    assert given(live, task) == b"two"


def test_a_choice_for_now_restarts_all_nodes_from_it(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task, "a") as a, RawNode(live.socket, task, "b") as b:
        a.arrive()
        b.arrive()
        with RawClient(live.socket) as client:
            for number in (1, 2):
                ask(client, number, task)
                a.answer(b"a%d" % number)
                b.answer(b"b%d" % number)
                assert taken(client).good
        use(live, task, "1", now=True)
        assert a.until("restart").restart.why == b.until("restart").restart.why
        a.socket.close()
        with RawNode(live.socket, task, "a") as again:  # waits until b has left too
            b.socket.close()
            assert (again.arrive().number, again.given) == (1, b"a1")
            with RawNode(live.socket, task, "b") as also:
                also.arrive()
                assert also.given == b"b1"


def test_a_node_that_is_told_to_restart_in_a_restore_says_nothing_about_its_state(live: LiveServer, task: str) -> None:
    with_states(live, task, b"one", b"two")
    with RawNode(live.socket, task) as node:
        node.until("restore")
        use(live, task, "1", now=True)
        node.until("restart")
    with RawNode(live.socket, task) as node:
        node.arrive()
        assert node.given == b"one"
    with RawNode(live.socket, task, snapshot="2") as node:
        node.arrive()
        assert node.given == b"two"


def test_a_node_that_was_away_when_all_were_told_to_restart_is_told_too(live: LiveServer, task: str) -> None:
    with RawNode(live.socket, task, "a") as a, RawNode(live.socket, task, "b") as b:
        a.arrive()
        b.arrive()
        with RawClient(live.socket) as client:
            ask(client, 1, task)
            a.answer(b"a1")
            b.answer(b"b1")
            assert taken(client).good
        b.socket.close()
        use(live, task, "1", now=True)
        why = a.until("restart").restart.why
        with RawNode(live.socket, task, "b", resumed=b.welcome.session) as again:
            assert again.arrive().owner
            assert again.until("restart").restart.why == why


def test_a_node_restored_from_a_snapshot_of_its_own_choice(live: LiveServer, task: str) -> None:
    with_states(live, task, b"one", b"two")
    with RawNode(live.socket, task, snapshot="1") as node:
        assert (node.arrive().number, node.given) == (1, b"one")
    with RawNode(live.socket, "fork of " + task[:100], source=task, host=2) as node:
        assert (node.arrive().owner, node.given) == (True, b"two")


# --- a server that was away ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_node_that_outlives_its_server_is_not_restored(own: LiveServer, end: str) -> None:
    with RawNode(own.socket) as node:
        node.arrive()
        keep(own.socket, node, "task", b"one")
        getattr(own, end)()
        assert [message.WhichOneof("message") for message in node.rest()] == (["closing"] if end == "stop" else [])
        session = node.welcome.session
    own.start()
    with RawNode(own.socket, resumed=session) as node:
        joined = node.arrive()
        assert (joined.owner, node.given) == (True, None)
        node.answer(b"two, made while the server was away")
        eventually(lambda: states(own, "task")[0].size > 3)
    assert given(own, "task") == b"two, made while the server was away"


def test_a_node_that_resumes_and_leaves_at_once_gives_its_last_state(live: LiveServer, task: str) -> None:
    with_states(live, task, b"one")
    with RawNode(live.socket, task, resumed=2**62) as node:
        node.send(pb.Response(goodbye=pb.Goodbye()))
        assert node.until("joined").joined.owner
        node.answer(b"two, made while the server was away")
        assert node.rest() == []
    assert given(live, task) == b"two, made while the server was away"


def test_a_server_that_stops_in_the_middle_of_a_restore_sets_nothing_aside(own: LiveServer) -> None:
    with_states(own, "task", b"one")
    with RawNode(own.socket) as node:
        node.until("restore")
        assert own.stop() == 0
    own.start()
    assert given(own, "task") == b"one"


def test_a_server_that_stops_while_a_round_waits_answers_who_asked(own: LiveServer) -> None:
    with RawNode(own.socket) as node, RawClient(own.socket) as client:
        node.arrive()
        first = keep(own.socket, node, "task", b"one")
        ask(client, 1)
        node.question()
        assert own.stop() == 0
        void = taken(client)
        assert (void.good, void.snapshot.id) == (False, first.id)


def test_a_server_that_stops_waits_for_no_node(tmp_path: Path) -> None:
    """Two nodes have asked for a snapshot; the round that one leaves when it is told to is not begun anew."""
    with (
        LiveServer(tmp_path, grace_seconds=3600) as own,
        RawNode(own.socket, name="one") as one,
        RawNode(own.socket, name="two") as two,
    ):
        for node in (one, two):
            node.arrive()
        for node in (one, two):
            node.call(node.number(), save_snapshot=pb.SaveSnapshot(task="task", reason="manual"))
        one.question()
        assert own.stop() == 0
        assert not taken(one).good


def test_a_node_with_a_long_name_of_any_script(live: LiveServer) -> None:
    task = "Linie 1/Prüfstand ~ 温度 " + "é" * 48
    with RawNode(live.socket, task, "näme/ö") as node:
        node.arrive()
        keep(live.socket, node, task, b"state")
    with RawNode(live.socket, task, "näme/ö") as node:
        node.arrive()
        assert node.given == b"state"
