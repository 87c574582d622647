"""A node of a task that a thread lives: `store.join`."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from kit import SECONDS, Relay, ServerProcess, eventually, in_thread

import udfstore
from udfstore import Conflict, Member, Node, NoServer, Store, Taken, Unsupported
from udfstore.tasks import HostKind, Reason


class Udf:
    """A UDF whose state is text; `given` is what it was restored from, in order."""

    def __init__(self, state: bytes | None = None) -> None:
        self.state = state
        self.given: queue.Queue[bytes] = queue.Queue()
        self.refuses: set[bytes] = set()

    def snapshot(self) -> bytes | None:
        return self.state

    def restore(self, state: bytes) -> None:
        self.given.put(state)
        if state in self.refuses:
            raise ValueError(f"cannot read {state!r}")
        self.state = state

    def join(self, store: Store, node: Node) -> Member:
        return store.join(node, snapshot=self.snapshot, restore=self.restore)

    @property
    def was_given(self) -> list[bytes]:
        return [self.given.get_nowait() for _ in range(self.given.qsize())]


@pytest.fixture
def store(server: ServerProcess) -> Iterator[Store]:
    with udfstore.connect(server.socket) as store:
        yield store


@pytest.fixture
def node(unique: str) -> Node:
    return Node(unique[-100:], "n")


def lived(store: Store, node: Node, *states: bytes) -> None:
    """One life after the other, each of which leaves its state as a snapshot."""
    for state in states:
        udf = Udf()
        with udf.join(store, node):
            udf.state = state


def states(store: Store, task: str) -> dict[str, bytes]:
    return {state.name: store.load(state.blob) for state in store.states(task)}


def taken(member: Member) -> Taken:
    """A snapshot, as soon as the node is in place again."""

    def look() -> Taken | None:
        with suppress(NoServer):
            return member.take()
        return None

    return eventually(look)


def refused(member: Member, why: str) -> bool:
    """Whether that is why no snapshot can be taken; what was just cut off gives other words."""
    with pytest.raises(NoServer) as error:
        member.take()
    return why in str(error.value)


def test_a_node_that_leaves_is_given_its_state_back(store: Store, node: Node) -> None:
    udf = Udf(b"one")
    with udf.join(store, node) as member:
        assert (member.joined.owner, member.joined.manifest) == (True, None)
    assert udf.was_given == [], "a fresh node is given nothing"
    assert store.snapshot(node.task).reason is Reason.STOP
    again = Udf()
    with again.join(store, node) as member:
        assert (again.state, member.joined.number) == (b"one", 1), "and has it when join returns"


def test_a_large_state_comes_back_whole(store: Store, node: Node) -> None:
    state = os.urandom(5 << 20)
    lived(store, node, state)
    udf = Udf()
    with udf.join(store, node):
        assert udf.state == state


@pytest.mark.parametrize("state", [None, b""])
def test_without_a_state_nothing_is_stored(store: Store, node: Node, state: bytes | None) -> None:
    with Udf(state).join(store, node) as member:
        member.take()
    assert [state for s in store.snapshots(node.task) for state in store.states(node.task, s.id)] == []


def test_a_snapshot_holds_all_nodes_and_their_models(store: Store, node: Node, unique: str) -> None:
    entry = store.save(unique.encode(), tag=f"{unique}/x").entry
    other = Node(node.task, "m")
    following = store.follow(f"{unique}/x", lambda blob: blob.read())
    with following, Udf(b"1").join(store, node) as member, Udf(b"2").join(store, other):
        assert member.take().good
        assert states(store, node.task) == {"n": b"1", "m": b"2"}
    models = [(model.tag, model.version, model.blob) for s in store.states(node.task, 1) for model in s.models]
    assert entry is not None
    assert models == 2 * [(f"{unique}/x", 1, entry.id)]


def test_what_a_node_follows_is_recorded_for_it_and_shown_once(store: Store, node: Node, unique: str) -> None:
    store.save(b"1" + unique.encode(), tag=f"{unique}/x")
    with store.follow(f"{unique}/x", lambda blob: blob.read()), Udf(b"1").join(store, node) as member:
        store.save(b"2" + unique.encode(), tag=f"{unique}/x")
        followers = store.await_followers(f"{unique}/x", 2, SECONDS)
        assert [(s.place.node, s.role, s.following[0].version) for s in followers] == [("n", "owner", 2)]
        used = [(use.version, use.place.task) for use in store.uses(node.task, everything=True)]
        assert used == [(2, node.task), (1, node.task)]
        member.take()
    assert len(list(store.uses(node.task, everything=True))) == 2


def test_a_state_that_cannot_be_restored_gives_way_to_the_one_before(
    store: Store, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    lived(store, node, b"good", b"bad")
    udf = Udf()
    udf.refuses = {b"bad"}
    with udf.join(store, node) as member:
        assert udf.was_given == [b"bad", b"good"]
        assert member.joined.number == 1
    assert "cannot read b'bad'" in caplog.text


def test_when_none_can_be_restored_it_begins_with_none(store: Store, node: Node) -> None:
    lived(store, node, b"bad", b"worse")
    udf = Udf()
    udf.refuses = {b"bad", b"worse"}
    with udf.join(store, node) as member:
        assert udf.was_given == [b"worse", b"bad", b""]
        assert member.joined.manifest is None


@pytest.mark.parametrize(("choice", "state"), [("1", b"one"), ("fresh", b"")])
def test_another_state_that_is_chosen_is_restored_in_place(store: Store, node: Node, choice: str, state: bytes) -> None:
    lived(store, node, b"one", b"two")
    udf = Udf()
    with udf.join(store, node):
        assert udf.given.get(timeout=SECONDS) == b"two"
        store.use_snapshot(node.task, choice, now=True)
        assert udf.given.get(timeout=SECONDS) == state


def test_a_snapshot_function_that_raises_is_told(store: Store, node: Node) -> None:
    def broken() -> bytes:
        raise ValueError("half of a state")

    with store.join(node, snapshot=broken, restore=print) as member:
        made = member.take()
        assert not made.good
        assert "ValueError: half of a state" in made.why
        assert member.error is None, "and the node goes on"


def test_a_node_that_takes_its_time_is_kept_alive(store: Store, node: Node) -> None:
    """Its function returns when one that answers nothing, no more patient than this one, was given up."""
    asked, done = threading.Event(), threading.Event()

    def slow() -> bytes:
        asked.set()
        assert done.wait(SECONDS)
        return b"slow"

    with store.join(replace(node, timeout=0.1), snapshot=slow, restore=print):
        made = in_thread(lambda: store.save_snapshot(node.task))
        assert asked.wait(SECONDS)
        silent = store._connect(Node(f"{node.task[:90]}/other", "silent", timeout=0.1))
        assert silent.talk.welcome is not None
        number = silent.talk.welcome.session
        eventually(lambda: number not in [session.id for session in store.sessions()])
        silent.close()
        done.set()
        assert made.result(SECONDS).good


def test_the_second_of_a_node_stores_nothing(store: Store, node: Node) -> None:
    with Udf(b"first").join(store, node) as first, Udf(b"second").join(store, node) as second:
        assert (first.joined.owner, second.joined.owner) == (True, False)
        first.take()
    assert states(store, node.task) == {"n": b"first"}


def test_a_node_survives_its_server_with_the_state_it_has(own_server: ServerProcess) -> None:
    udf = Udf(b"old")
    with udfstore.connect(own_server.socket) as store, udf.join(store, Node("t", "n")) as member:
        assert member.take().good
        own_server.kill()
        udf.state = b"new"
        eventually(partial(refused, member, "not in place"))
        own_server.start()
        assert taken(member).good
        assert (states(store, "t"), udf.was_given) == ({"n": b"new"}, [])


def test_a_copy_never_takes_the_place_of_its_node(own_server: ServerProcess) -> None:
    with udfstore.connect(own_server.socket) as one, udfstore.connect(own_server.socket) as two:
        first = Udf(b"what the task learned").join(one, Node("t", "n"))
        with Udf(b"of a replay").join(two, Node("t", "n")) as copy:
            assert first.take().good
            before = copy.joined
            own_server.kill()
            first.abandon()
            own_server.start()
            eventually(lambda: copy.joined is not before)
            assert not copy.joined.owner, "though nobody else is the node now"
        assert states(two, "t") == {"n": b"what the task learned"}


def test_what_it_follows_is_known_to_a_server_that_was_restarted(own_server: ServerProcess) -> None:
    with udfstore.connect(own_server.socket) as store:
        store.save(b"model", tag="models/x")
        with store.follow("models/x", lambda blob: blob.read()), Udf(b"state").join(store, Node("t", "n")) as member:
            own_server.restart()
            assert taken(member).good
            followers = store.await_followers("models/x", 1, SECONDS)
            assert [session.place.node for session in followers] == ["n"]
            assert len(list(store.uses("t", everything=True))) == 1, "and no second record was made"


def test_a_connection_that_is_cut_in_a_restore_begins_it_again(own_server: ServerProcess, folder: Path) -> None:
    cuts: list[int] = []

    def cut(data: bytes, went: int) -> bool:
        if cuts or b"cut me" not in data:
            return False
        cuts.append(went)
        return True

    with udfstore.connect(own_server.socket) as store:
        lived(store, Node("t", "n"), b"cut me " + bytes(1000))
    with Relay(folder / "relay", own_server.socket, cut) as relay, udfstore.connect(relay.path) as store:
        udf = Udf()
        with udf.join(store, Node("t", "n")):
            assert udf.state == b"cut me " + bytes(1000)
    assert len(cuts) == 1


def test_leaving_while_the_server_is_away_does_not_wait_for_it(
    own_server: ServerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    with udfstore.connect(own_server.socket) as store:
        with Udf(b"state").join(store, Node("t", "n")):
            own_server.kill()
        assert "left without a last snapshot" in caplog.text


def test_a_node_that_is_refused_is_told_so_at_once(store: Store, node: Node) -> None:
    lived(store, Node(node.task, node.name, host=HostKind.KAPACITOR), b"kept by a bridge")
    with pytest.raises(Conflict, match="kapacitor"):
        Udf().join(store, Node(node.task, node.name, host=HostKind.RUN))
    assert list(store.snapshots(node.task))


def test_closing_the_store_ends_its_nodes(store: Store, node: Node) -> None:
    member = Udf(b"state").join(store, node)
    store.close()
    member.close()
    assert member.error is None
    with pytest.raises(NoServer):
        member.take()


def test_a_node_can_be_closed_twice_and_from_within(store: Store, node: Node) -> None:
    members: list[Member] = []

    def leaves() -> bytes:
        members[0].close()
        return b"last words"

    members.append(store.join(node, snapshot=leaves, restore=print))
    with suppress(NoServer):
        store.save_snapshot(node.task)
    members[0].close()
    members[0].close()


@contextmanager
def forked(child: Callable[[], bool]) -> Iterator[None]:
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            os._exit(0 if child() else 1)
        os._exit(2)
    yield
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_after_a_fork_the_node_is_the_parents(store: Store, node: Node) -> None:
    def child() -> bool:
        member.close()
        try:
            member.take()
        except NoServer:
            return member.error is not None
        return False

    with Udf(b"state").join(store, node) as member, forked(child):
        pass
    assert states(store, node.task) == {"n": b"state"}


def test_a_store_without_a_server_has_no_nodes(folder: Path) -> None:
    with udfstore.open_store(folder / "root") as store:
        for ask in (
            lambda: store.join(Node("t", "n"), snapshot=bytes, restore=print),
            lambda: store.save_snapshot("t"),
            lambda: store.await_followers("models/x", 1, 0),
        ):
            with pytest.raises(Unsupported, match="udfstore serve"):
                ask()
