"""Tasks, snapshots and who uses what, on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Run, Serving

import udfstore
from udfstore import Node, Store, connect
from udfstore.cli import complete

_numbers = count()
DAG = {"nodes": [{"name": "stream0", "kind": "stream"}, {"name": "pump1", "kind": "pump", "parents": ["stream0"]}]}
DOT = "digraph pumps {\nstream0 -> pump1;\n}\n"


@pytest.fixture
def store(server: Path) -> Iterator[Store]:
    with udfstore.connect(server) as store:
        yield store


@pytest.fixture
def task(store: Store) -> str:
    """A task with two snapshots of its node, each made with its own version of a model."""
    name = f"pumps of hall {next(_numbers)}"
    tag = tag_of(name)
    for number in (1, 2):
        store.save(f"{name} {number}".encode(), tag=tag)
        node = Node(name, "pump1", json.dumps(DAG).encode())
        with (
            store.join(node, snapshot=state(number), restore=len),
            store.follow(tag, lambda blob: blob.read()) as model,
        ):
            assert model.version == number
    return name


def tag_of(task: str) -> str:
    return f"models/{task.rpartition(' ')[2]}"


def state(number: int) -> Any:
    return lambda: b"\x00state %d" % number


def lines(text: str) -> list[list[str]]:
    """Cells, told apart by the two spaces between columns."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def test_tasks_lists_what_is_out_of_the_ordinary(udfstore: Run, server: Path, store: Store, task: str) -> None:
    def row() -> list[str]:
        return next(row for row in lines(udfstore("tasks", "--socket", server).text) if row[0] == task)

    assert row() == [task, "direct", "not connected", "snapshot 2, just now", "2 kept, 0 named"]
    udfstore("snapshot", "use", task, "fresh", "--socket", server)
    assert row()[-1] == "next start: fresh"
    with store.join(Node(task, "pump1", json.dumps(DAG).encode()), snapshot=state(3), restore=len):
        assert row()[2] == "1 node: pump1"
    told = json.loads(udfstore("tasks", "--json", "--socket", server).out)
    found = next(item for item in told if item["name"] == task)
    assert (found["automatic"], found["newest"]["number"]) == (3, 3)


def test_a_task_is_removed_but_for_its_named_snapshots(udfstore: Run, server: Path, store: Store, task: str) -> None:
    udfstore("snapshot", "name", task, "good", "1", "--socket", server)
    removed = udfstore("task", "rm", task, "--socket", server)
    assert (removed.status, [row[0] for row in lines(removed.text)]) == (0, ["2"])
    assert len(udfstore("task", "rm", task, "--all", "--json", "--socket", server).json["snapshots"]) == 1  # type: ignore[arg-type]
    assert udfstore("snapshot", "ls", task, "--socket", server).status == 3


def test_a_task_is_not_removed_under_a_node(udfstore: Run, server: Path, store: Store, task: str) -> None:
    with store.join(Node(task, "pump1", json.dumps(DAG).encode()), snapshot=state(3), restore=len):
        assert udfstore("task", "rm", task, "--socket", server).status == 4


def test_snapshots_are_listed_newest_first(udfstore: Run, server: Path, task: str) -> None:
    rows = lines(udfstore("snapshot", "ls", task, "--socket", server).text)
    assert [row[0] for row in rows] == ["2", "1"]
    assert rows[0][3:] == ["just now", "stop", "1 node", "8 B"]
    told = json.loads(udfstore("snapshot", "ls", task, "--json", "--socket", server).out)
    assert [snapshot["reason"] for snapshot in told] == ["stop", "stop"]


def test_a_snapshot_is_shown_with_its_states(udfstore: Run, server: Path, task: str) -> None:
    text = udfstore("snapshot", "show", task, "1", "--socket", server).text
    assert "number       1" in text
    assert text.splitlines()[-1].endswith(f"8 B  with {tag_of(task)}@1")
    told = udfstore("snapshot", "show", task, "--json", "--socket", server).json
    assert told["number"] == 2
    states: Any = told["states"]
    assert [(s["name"], s["models"][0]["version"]) for s in states] == [("pump1", 2)]


def test_a_snapshot_is_taken_and_named(udfstore: Run, server: Path, store: Store, task: str) -> None:
    with store.join(Node(task, "pump1", json.dumps(DAG).encode()), snapshot=state(3), restore=len):
        saved = udfstore("snapshot", "save", task, "--name", "before", "--json", "--socket", server)
        assert (saved.json["number"], saved.json["names"]) == (3, ["before"])
    assert "before" in udfstore("snapshot", "ls", task, "--socket", server).text


def test_a_snapshot_that_cannot_be_taken_is_a_conflict(udfstore: Run, server: Path, store: Store, task: str) -> None:
    def fails() -> bytes:
        raise ValueError("no state today")

    with store.join(Node(task, "pump1", json.dumps(DAG).encode()), snapshot=fails, restore=len):
        refused = udfstore("snapshot", "save", task, "--socket", server)
    assert refused.status == 4
    assert "no state today" in refused.err
    assert "the newest good one is 2" in refused.err


def test_what_a_start_is_from_is_chosen(udfstore: Run, server: Path, store: Store, task: str) -> None:
    before = udfstore("snapshot", "use", task, "--before", f"{tag_of(task)}@2", "--json", "--socket", server)
    assert before.json["number"] == 1
    assert f"{task} is given snapshot 1 at its next start" in before.err
    fresh = udfstore("snapshot", "use", task, "fresh", "--json", "--socket", server)
    assert json.loads(fresh.out) is None
    assert udfstore("snapshot", "use", task, "--socket", server).status == 2
    given: list[bytes] = []
    with store.join(Node(task, "pump1", json.dumps(DAG).encode()), snapshot=state(3), restore=given.append):
        pass
    assert given == []


def test_a_choice_for_now_says_whether_there_is_a_node_to_restart(
    udfstore: Run, server: Path, store: Store, task: str
) -> None:
    alone = udfstore("snapshot", "use", task, "1", "--now", "--socket", server)
    assert f"{task} is given snapshot 1 at its next start; no node of it is connected now" in alone.err
    with store.join(Node(task, "pump1", json.dumps(DAG).encode()), snapshot=state(3), restore=len):
        connected = udfstore("snapshot", "use", task, "1", "--now", "--socket", server)
    assert "its connected nodes are restarted now" in connected.err


def test_a_state_is_written_as_it_was(udfstore: Run, server: Path, task: str, tmp_path: Path) -> None:
    flags = ["--socket", server]
    assert udfstore("snapshot", "get", task, "pump1", *flags).out == b"\x00state 2"
    got = udfstore("snapshot", "get", task, "pump1", "-o", tmp_path / "f", "--snapshot", "1", "--json", *flags)
    assert (tmp_path / "f").read_bytes() == b"\x00state 1"
    assert got.json["size"] == 8
    missing = udfstore("snapshot", "get", task, "pump9", *flags)
    assert missing.status == 3
    assert "expected pump1" in missing.err
    assert udfstore("snapshot", "get", task, "pump1", "--json", *flags).status == 2


def test_snapshots_are_removed_by_name_or_all(udfstore: Run, server: Path, task: str) -> None:
    removed = udfstore("snapshot", "rm", task, "1", "--socket", server)
    assert [row[0] for row in lines(removed.text)] == ["1"]
    for nothing in ([], ["2", "--all"]):
        assert udfstore("snapshot", "rm", task, *nothing, "--socket", server).status == 2
    assert udfstore("snapshot", "rm", task, "--all", "--socket", server).status == 0


@pytest.mark.parametrize("form", ["json", "dot", "dot by content"])
def test_a_plan_is_made_from_either_form_of_a_dag(
    udfstore: Run, server: Path, task: str, tmp_path: Path, form: str
) -> None:
    path = tmp_path / ("dag.dot" if form == "dot" else "dag")
    path.write_text(json.dumps(DAG) if form == "json" else DOT)
    rows = lines(udfstore("snapshot", "plan", task, "--dag", path, "--socket", server).text)
    assert [row[0] for row in rows] == ["stream0", "pump1"]
    assert rows[0][2] == "fresh"
    assert rows[1][2].startswith("snapshot 2, ")


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_plan_of_a_task_that_nobody_knows_says_so(
    udfstore: Run, server: Path, task: str, tmp_path: Path, form: list[str]
) -> None:
    (tmp_path / "dag").write_text(DOT)
    planned = udfstore("snapshot", "plan", "a tpyo", "--dag", tmp_path / "dag", *form, "--socket", server)
    assert planned.status == 0
    assert "pump1" in planned.text
    assert "no snapshot of the task 'a tpyo' is kept" in planned.err
    assert udfstore("snapshot", "plan", task, "--dag", tmp_path / "dag", *form, "--socket", server).err == ""


def test_a_plan_shows_what_is_lost(udfstore: Run, server: Path, task: str, tmp_path: Path) -> None:
    path = tmp_path / "dag.json"
    path.write_text(json.dumps(DAG).replace('"pump"', '"valve"'))
    words = ["snapshot", "plan", task, "--dag", path, "--policy", "upstream", "--socket", server]
    told = json.loads(udfstore(*words, "--json").out)
    assert [(given["node"], given["lost"]) for given in told if given["lost"]] == [("pump1", True)]
    assert any(row[2] == "lost" for row in lines(udfstore(*words).text))
    path.write_text("{]")
    assert udfstore(*words).status == 2
    assert udfstore("snapshot", "plan", task, "--dag", tmp_path / "none", "--socket", server).status == 2


def test_what_was_in_use_is_told_of_a_task_and_of_a_tag(udfstore: Run, server: Path, task: str) -> None:
    tag, flags = tag_of(task), ["--socket", server]
    for name in (task, tag):
        (row,) = lines(udfstore("used", name, *flags).text)
        assert (row[0], row[4]) == (f"{tag}@2", f"{task} / pump1")
    every = json.loads(udfstore("used", task, "--all", "--json", *flags).out)
    assert [use["version"] for use in every] == [2, 1]
    (then,) = json.loads(udfstore("used", task, "--at", every[1]["time"], "--json", *flags).out)
    assert then["version"] == 1
    assert udfstore("used", task, "--at", "2020-01-01", *flags).status == 3
    assert udfstore("used", task, "--at", "yesterday", *flags).status == 2
    assert udfstore("used", "nobody", *flags).status == 3


def test_who_may_read_a_tag_and_no_task_is_told_where_the_tag_was_in_use(
    udfstore: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    people, udfs = tmp_path / "people.sock", tmp_path / "udfs.sock"
    listen = [{"path": str(people)}, {"path": str(udfs), "allow": ["read:models/**"]}]
    serving = Serving(environment, "--root", str(tmp_path / "root"), "--listen", json.dumps(listen))
    try:
        with connect(people) as store:
            for tag in ("models/a", "other/a"):
                entry = store.save(b"1", tag=tag).entry
                assert entry is not None
                assert entry.id is not None
                store.used(tag, entry.version, entry.id)
        told = udfstore("used", "models/a", "--socket", udfs)
        assert (told.status, told.text.partition(" ")[0], told.err) == (0, "models/a@1", "")
        for hidden in ("other/a", "models/none"):
            assert udfstore("used", hidden, "--socket", udfs).status == 7
    finally:
        assert serving.stop() == 0


def test_sessions_shows_nodes_and_what_they_use(udfstore: Run, server: Path, store: Store, task: str) -> None:
    node = Node(task, "pump1", json.dumps(DAG).encode())
    with store.follow(tag_of(task), lambda blob: blob.read()), store.join(node, snapshot=state(3), restore=len):
        rows = lines(udfstore("sessions", "--socket", server).text)
        assert [row for row in rows if f"owner of {task} / pump1" in row and f"{tag_of(task)}@2" in row]
        told = json.loads(udfstore("sessions", "--json", "--socket", server).out)
        assert {"task": task, "node": "pump1"} in [session["place"] for session in told]
        assert all(session["heard"] for session in told)


class Context:
    """What completion is given."""

    def __init__(self, **params: object) -> None:
        self.params = params


def test_names_of_tasks_snapshots_and_nodes_are_completed(server: Path, store: Store, task: str) -> None:
    store.name_snapshot(task, "good", 1)
    context: Any = Context(socket=server, task=task)
    assert complete.tasks(context, task[:-1]) != []
    assert complete.tasks_and_tags(context, "pumps of") != []
    assert set(complete.snapshots(context, "")) == {"2", "1", "good"}
    assert complete.chosen(context, "f") == ["fresh"]
    assert complete.nodes(context, "pu") == ["pump1"]
    assert complete.snapshots(Context(socket=server), "") == [], "no task was named"  # type: ignore[arg-type]


def test_a_group_alone_is_misuse(udfstore: Run) -> None:
    for group in ("task", "snapshot"):
        alone = udfstore(group)
        assert alone.status == 2
        assert f"udfstore {group}" in alone.err
        assert udfstore(group, "--help").status == 0
