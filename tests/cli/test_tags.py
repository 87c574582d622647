"""Tags: moves with the line that undoes them, history, lists, events."""

from __future__ import annotations

import json
import shlex
from itertools import count
from pathlib import Path

import pytest
from cli_kit import Run

_numbers = count()


@pytest.fixture(params=["socket", "root"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The flags of a store."""
    if request.param == "socket":
        return ["--socket", str(request.getfixturevalue("server"))]
    return ["--root", str(tmp_path / "root")]


@pytest.fixture
def name() -> str:
    """A tag that no other test uses."""
    return f"tags/{next(_numbers)}/x"


@pytest.fixture
def versions(udfstore: Run, store: list[str], name: str, tmp_path: Path) -> list[str]:
    """Three versions under `name`; their IDs."""
    ids = []
    for number in (1, 2, 3):
        path = tmp_path / str(number)
        path.write_text(f"{name} {number}")
        ids.append(udfstore("put", path, "--tag", name, "--note", f"number {number}", *store).text.strip())
    return ids


def now(udfstore: Run, store: list[str], name: str) -> str:
    return str(udfstore("stat", name, "--json", *store).json["id"])


def short(id: str) -> str:
    return id.removeprefix("sha256:")[:8]


def test_rollback_goes_back_and_further_back(udfstore: Run, store: list[str], name: str, versions: list[str]) -> None:
    first = udfstore("rollback", name, *store)
    assert first.status == 0
    assert first.text == ""
    assert first.err.startswith(f"{name}: 3 -> 4 ({short(versions[2])} -> {short(versions[1])})")
    assert now(udfstore, store, name) == versions[1]
    assert udfstore("rollback", name, *store).err.startswith(f"{name}: 4 -> 5 ")
    assert now(udfstore, store, name) == versions[0]
    end = udfstore("rollback", name, *store)
    assert end.status == 4
    assert "nothing before version 1" in end.err


@pytest.mark.parametrize(
    "change",
    [
        ["tag", "NAME", "NAME@1"],
        ["put", __file__, "--tag", "NAME"],
        ["rollback", "NAME"],
        ["rollback", "NAME", "--to", "1"],
        ["untag", "NAME"],
    ],
)
def test_the_undo_that_a_move_prints_undoes_it(
    udfstore: Run, store: list[str], name: str, versions: list[str], change: list[str]
) -> None:
    moved = udfstore(*(word.replace("NAME", name) for word in change), *store)
    assert moved.status == 0
    undo = shlex.split(moved.err.partition("undo: ")[2])
    assert undo[0] == "udfstore"
    assert udfstore(*undo[1:]).status == 0
    assert now(udfstore, store, name) == versions[2]


@pytest.mark.parametrize("gone", [False, True])
def test_the_undo_of_a_first_move_unnames_it(
    udfstore: Run, store: list[str], name: str, versions: list[str], gone: bool
) -> None:
    tag = f"{name}-fresh"
    if gone:
        udfstore("tag", tag, versions[0], *store)
        udfstore("untag", tag, *store)
    moved = udfstore("tag", tag, versions[1], *store)
    udfstore(*shlex.split(moved.err.partition("undo: udfstore ")[2]))
    assert udfstore("get", tag, *store).status == 3


def test_log_tells_versions_newest_first_with_why_and_where_from(
    udfstore: Run, store: list[str], name: str, versions: list[str]
) -> None:
    udfstore("rollback", name, "--note", "false alarms", *store)
    udfstore("untag", name, *store)
    lines = udfstore("log", name, *store).text.splitlines()
    assert [line.split()[0] for line in lines] == [f"{name}@{version}" for version in (5, 4, 3, 2, 1)]
    assert "untagged" in lines[0]
    assert lines[1].endswith("back to @2: false alarms")
    assert lines[4].endswith("number 1")
    told = json.loads(udfstore("history", name, "--json", *store).out)
    assert [entry["origin"] for entry in told] == [0, 2, 0, 0, 0]
    assert [entry["id"] for entry in told] == [None, versions[1], *reversed(versions)]


def test_rollback_names_the_versions_whose_content_is_gone(
    udfstore: Run, store: list[str], name: str, versions: list[str]
) -> None:
    udfstore("rm", versions[1], *store)
    back = udfstore("rollback", name, *store)
    assert f"passed over {name}@2: its content is gone" in back.err
    assert now(udfstore, store, name) == versions[0]


def test_an_expected_version_that_is_stale_is_a_conflict(
    udfstore: Run, store: list[str], name: str, versions: list[str]
) -> None:
    for change in (["tag", name, versions[0]], ["untag", name], ["put", __file__, "--tag", name]):
        refused = udfstore(*change, "--expect", "2", *store)
        assert refused.status == 4
        assert "expected version 2, got version 3" in refused.err
    assert udfstore("tag", name, versions[0], "--expect", "0", *store).status == 4
    assert udfstore("tag", name, versions[0], "--expect", "3", *store).status == 0


def test_labels_stay_with_what_they_describe_unless_given(
    udfstore: Run, store: list[str], name: str, versions: list[str]
) -> None:
    udfstore("tag", name, versions[0], "--label", "f1=0.9", "--label", "data=a=b", *store)
    copied = udfstore("tag", f"{name}-live", name, "--json", *store).json
    assert copied["labels"] == {"f1": "0.9", "data": "a=b"}
    given = udfstore("tag", f"{name}-live", name, "--label", "f1=1", "--json", *store).json
    assert given["labels"] == {"f1": "1"}


def test_ls_lists_below_a_prefix(udfstore: Run, store: list[str], name: str, versions: list[str]) -> None:
    folder = name.removesuffix("x")
    udfstore("tag", f"{folder}longer-name", versions[0], *store)
    lines = udfstore("ls", folder, *store).text.splitlines()
    assert [line.split()[:2] for line in lines] == [
        [f"{folder}longer-name@1", short(versions[0])],
        [f"{name}@3", short(versions[2])],
    ]
    assert [entry["tag"] for entry in json.loads(udfstore("tags", name, "--json", *store).out)] == [name]
    missing = udfstore("ls", folder.removesuffix("/"), *store)
    assert missing.status == 3
    assert f"udfstore ls {folder}" in missing.err


def test_a_note_cannot_move_the_cursor(udfstore: Run, store: list[str], name: str, versions: list[str]) -> None:
    udfstore("tag", name, versions[0], "--note", "a\x1b[2Jb\r\nc", *store)
    assert "a\\x1b[2Jb c" in udfstore("log", name, *store).text.splitlines()[0]


@pytest.mark.parametrize("since", ["now", "-1", "1-", "x-1", ""])
def test_watch_takes_only_ids_of_events(udfstore: Run, server: Path, since: str) -> None:
    assert udfstore("watch", f"--since={since}", "--socket", server).status == 2


def test_watch_from_beyond_the_head_is_a_conflict(udfstore: Run, server: Path) -> None:
    assert udfstore("watch", "--since", "1-999999", "--socket", server).status == 4
    assert udfstore("watch", "--since", "7-0", "--socket", server).status == 4


def test_hold_says_who_and_why_until_release(
    udfstore: Run, store: list[str], name: str, versions: list[str], tmp_path: Path
) -> None:
    held = udfstore("hold", name, "--note", "audit until Friday", *store)
    assert (held.status, held.text) == (0, "")
    same = short(versions[2])
    assert held.err.startswith(f"{name}: 3 -> 4 ({same} -> {same})  undo: udfstore release {name}")
    (tmp_path / "new").write_text(f"{name} new")
    for change in (
        ["tag", name, f"{name}@1"],
        ["put", tmp_path / "new", "--tag", name],
        ["rollback", name],
        ["untag", name],
        ["hold", name, "--note", "me too"],
    ):
        refused = udfstore(*change, *store)
        assert refused.status == 4
        assert f"{name} is held at version 4 by " in refused.err
        assert f"'audit until Friday'; first: udfstore release {name}" in refused.err
    for shown in ("ls", "log"):
        assert "held: audit until Friday" in udfstore(shown, name, *store).text.splitlines()[0]
    assert "held" in udfstore("stat", name, *store).text
    assert udfstore("stat", name, "--json", *store).json["entry"]["held"] is True

    released = udfstore("release", name, "--json", *store)
    assert (released.json["version"], released.json["held"], released.json["id"]) == (5, False, versions[2])
    assert f"undo: udfstore hold {name} --note 'audit until Friday'" in released.err
    newest, before, *older = udfstore("log", name, *store).text.splitlines()
    assert newest.endswith("  released")
    assert before.endswith("  held: audit until Friday")
    assert not any("released" in line for line in older)
    assert udfstore("rollback", name, *store).status == 0
    assert udfstore("release", name, *store).status == 4
    assert udfstore("hold", name, *store).status == 2
