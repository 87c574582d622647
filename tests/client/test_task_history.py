"""Tasks and their snapshots as every kind of store tells them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kit import SECONDS, ServerProcess, eventually, in_thread

import udfstore
from udfstore import Conflict, Gone, Node, NotFound, Task, UsageError
from udfstore.model import datetime_of

DAG = json.dumps({"nodes": [{"name": "in", "kind": "stream"}, {"name": "a", "kind": "udf", "parents": ["in"]}]})


def live(socket: Path, task: str) -> None:
    """A task with three snapshots of its one node, the first with an older model in use than the others."""
    with udfstore.connect(socket) as store:
        for number in (1, 2, 3):
            store.save(b"model %d" % min(number, 2), tag=tag_of(task))
            with (
                store.follow(tag_of(task), lambda blob: blob.read()),
                store.join(Node(task, "a", DAG.encode()), snapshot=lambda n=number: b"state %d" % n, restore=len),
            ):
                pass


def tag_of(task: str) -> str:
    return f"{task.replace(' ', '-')}/model"


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root that a server left which had such a task."""
    folder = tmp_path_factory.mktemp("left")
    with ServerProcess(folder / "root", folder / "s") as server:
        live(server.socket, "local task")
        server.stop()
    return folder / "root"


@pytest.fixture
def task(request: pytest.FixtureRequest, unique: str) -> str:
    """The name of that task."""
    kind = request.node.callspec.params.get("store")
    return "local task" if kind == "local" else f"a task of {unique[-90:]}"


@pytest.fixture(params=["socket", "local", "trio", "asyncio"])
def store(
    request: pytest.FixtureRequest, task: str, folder: Path, left: Path, open_as: Callable[[str, Path], Any]
) -> Iterator[Any]:
    """A store of every kind, with that task."""
    if request.param == "local":
        shutil.copytree(left, folder / "root")
        with udfstore.open_store(folder / "root") as local:
            yield local
        return
    server: ServerProcess = request.getfixturevalue("server")
    live(server.socket, task)
    yield open_as(request.param, server.socket)


def numbers(store: Any, task: str) -> list[int]:
    return [snapshot.number for snapshot in store.snapshots(task)]


def told(store: Any, task: str) -> Task | None:
    return next((found for found in store.tasks() if found.name == task), None)


def test_a_task_is_told_with_its_newest_snapshot(store: Any, task: str) -> None:
    found = told(store, task)
    assert found is not None
    assert (found.nodes, found.automatic, found.named, found.problem) == ((), 3, 0, "")
    assert found.newest == store.snapshot(task)
    assert len(found.fingerprint) == 64


def test_snapshots_are_found_by_number_id_and_name(store: Any, task: str) -> None:
    assert numbers(store, task) == [3, 2, 1]
    second = store.snapshot(task, 2)
    named = store.name_snapshot(task, "good", 2, note="no alarm missed")
    assert named.names == ("good",)
    for ref in ("2", 2, "good", second.id, str(second.id), f"sha256:{second.id.short}"):
        assert store.snapshot(task, ref).id == second.id
    assert store.snapshot(task).number == 3
    for missing in ("9", "bad", "ab" * 32):
        with pytest.raises((NotFound, Gone)):
            store.snapshot(task, missing)


def test_the_states_of_a_snapshot_are_blobs(store: Any, task: str) -> None:
    (state,) = store.states(task, 1)
    assert (state.name, state.size, store.load(state.blob)) == ("a", 7, b"state 1")
    assert [(model.tag, model.version) for model in state.models] == [(tag_of(task), 1)]


def test_a_choice_is_a_snapshot_or_fresh_or_from_before(store: Any, task: str) -> None:
    assert store.use_snapshot(task, 1).number == 1
    chosen = told(store, task)
    assert chosen is not None
    assert chosen.chosen == store.snapshot(task, 1).id
    assert store.use_snapshot(task, "fresh") is None
    chosen = told(store, task)
    assert chosen is not None
    assert (chosen.chosen, chosen.fresh) == (None, True)
    assert store.use_snapshot(task, before=f"{tag_of(task)}@2").number == 1
    for nonsense in ({}, {"snapshot": 1, "before": tag_of(task)}):
        with pytest.raises(UsageError, match="choice"):
            store.use_snapshot(task, **nonsense)


def test_a_plan_tells_what_each_node_would_get(store: Any, task: str) -> None:
    given = {given.node: given for given in store.plan_restore(task, DAG)}
    assert given["a"].snapshot.number == 3
    assert given["a"].state.size == 7
    assert given["in"].state is None
    changed = DAG.replace('"udf"', '"other"')
    lost = [given for given in store.plan_restore(task, changed.encode(), "upstream") if given.lost]
    assert [state.node for state in lost] == ["a"]
    with pytest.raises(UsageError, match="strict, upstream, key"):
        store.plan_restore(task, DAG, "lenient")


def test_snapshots_are_deleted_one_by_one_or_all(store: Any, task: str) -> None:
    store.name_snapshot(task, "good", 1)
    assert [s.number for s in store.delete_snapshots(task, [2]).snapshots] == [2]
    assert numbers(store, task) == [3, 1]
    assert len(store.delete_snapshots(task, everything=True).snapshots) == 2
    found = told(store, task)
    assert found is None or found.newest is None


def test_a_task_is_deleted_but_for_its_named_snapshots(store: Any, task: str) -> None:
    store.name_snapshot(task, "good", 1)
    assert {s.number for s in store.delete_task(task).snapshots} == {2, 3}
    assert [s.names for s in store.snapshots(task)] == [("good",)]
    store.delete_task(task, everything=True)
    assert told(store, task) is None
    with pytest.raises(NotFound):
        store.snapshot(task)


def test_what_was_in_use_is_told_of_a_task_and_of_a_tag(store: Any, task: str) -> None:
    def uses(*about: Any, **more: Any) -> list[tuple[int, str]]:
        return [(use.version, use.place.node) for use in store.uses(*about, **more)]

    assert uses(task) == [(3, "a")]
    assert uses(tag=tag_of(task), everything=True)[0] == (3, "a")
    every = list(store.uses(task, everything=True))
    assert sorted(use.version for use in every) == [1, 2, 3]
    then = next(use for use in every if use.version == 1).time_ns
    assert uses(task, at=then) == [(1, "a")]
    assert uses(task, at=datetime_of(then)) == [(1, "a")]
    assert uses(task, at=datetime_of(then) - timedelta(days=1)) == []
    for nonsense in ({}, {"task": task, "tag": tag_of(task)}):
        with pytest.raises(UsageError, match="asked of"):
            list(store.uses(**nonsense))


def test_a_task_is_not_deleted_under_a_node(connect_to: Any, server: ServerProcess, unique: str) -> None:
    connected, name = connect_to(server.socket), unique[-100:]
    with udfstore.connect(server.socket) as other, other.join(Node(name, "n"), snapshot=lambda: b"1", restore=len):
        assert connected.save_snapshot(name, "first").snapshot.names == ("first",)
        assert [task.nodes for task in connected.tasks() if task.name == name] == [("n",)]
        with pytest.raises(Conflict):
            connected.delete_task(name)


def test_followers_are_waited_for(connect_to: Any, server: ServerProcess, unique: str) -> None:
    def load(blob: udfstore.OpenBlob) -> bytes:
        content = blob.read()
        if content == b"bad":
            raise ValueError("not a model")
        return content

    connected, tag = connect_to(server.socket), f"{unique}/x"
    connected.save(b"1", tag=tag)
    assert connected.await_followers(tag, 1, SECONDS) == [], "nobody follows it"
    with udfstore.connect(server.socket) as other, other.follow(tag, load):
        eventually(lambda: connected.await_followers(tag, 1, 0))
        awaited = in_thread(lambda: connected.await_followers(tag, 2, SECONDS))
        connected.save(b"2", tag=tag)
        assert [f.version for session in awaited.result(SECONDS) for f in session.following] == [2]
        connected.save(b"bad", tag=tag)
        (session,) = connected.await_followers(tag, 3, SECONDS)
        assert session.following[0].error == "@3: ValueError: not a model"
        (session,) = connected.await_followers(tag, 4, 0.01)
        assert session.following[0].version == 2, "time is up"
