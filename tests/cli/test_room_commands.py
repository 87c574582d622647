"""What people do to make room, over the socket and without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_kit import Run
from kit import ServerProcess


@pytest.fixture
def root(tmp_path: Path) -> list[str]:
    return ["--root", str(tmp_path / "root")]


def put(udfstore: Run, tmp_path: Path, text: str, *words: str) -> str:
    path = tmp_path / "content"
    path.write_text(text)
    return udfstore("put", path, *words).text.strip()


def test_gc_says_what_goes_and_why(udfstore: Run, root: list[str], tmp_path: Path) -> None:
    put(udfstore, tmp_path, "named", "--tag", "models/x", *root)
    assert udfstore("gc", *root).text == "everything is kept\n"
    id = put(udfstore, tmp_path, "loose", *root)
    dry = udfstore("gc", "--dry-run", *root).text.splitlines()
    assert dry[0].startswith("would be marked: 1 blob, 5 B; to be removed from 20")
    assert dry[1:] == ["  1  5 B  nothing names it"]
    assert udfstore("gc", *root).text.startswith("marked: 1 blob, 5 B; to be removed from 20")
    assert udfstore("gc", *root).text.startswith("marked before: 1 blob, 5 B; to be removed from 20")
    assert "nothing keeps it" in udfstore("why", id, *root).text
    assert udfstore("gc", "--grace", "0", *root).text == "removed: 1 blob, 5 B\n  1  5 B  nothing names it\n"
    gone = udfstore("get", id, *root)
    assert gone.status == 3
    assert "`udfstore undelete" in gone.err
    assert udfstore("undelete", id, *root).text == f"{id}\n"
    assert udfstore("get", id, *root).out == b"loose"


def test_gc_as_json(udfstore: Run, root: list[str], tmp_path: Path) -> None:
    put(udfstore, tmp_path, "loose", *root)
    told = json.loads(udfstore("gc", "--grace", "0", "--now", "--json", *root).text)
    goes = told["removed"].pop("goes")
    assert goes.endswith("Z")
    nothing = {"blobs": 0, "bytes": 0, "goes": None, "why": []}
    why = [{"why": "nothing names it", "blobs": 1, "bytes": 5, "refs": []}]
    removed = {"blobs": 1, "bytes": 5, "why": why}
    assert told == {"dry_run": False, "removed": removed, "marked": nothing, "waits": nothing}


def test_undelete_names_what_is_here_again(udfstore: Run, server: Path, tmp_path: Path) -> None:
    socket, tag = ["--socket", str(server)], f"undelete/{tmp_path.name}"
    for text in ("one", "two"):
        put(udfstore, tmp_path, f"{text} {tmp_path}", "--tag", tag, *socket)
    udfstore("rm", f"{tag}@1", *socket)
    back = udfstore("undelete", f"{tag}@1", *socket)
    assert (back.status, back.err) == (0, f"here again: {tag}@1\n")
    assert udfstore("get", f"{tag}@1", *socket).out == f"one {tmp_path}".encode()
    udfstore("rm", f"{tag}@1", "--now", *socket)
    late = udfstore("undelete", f"{tag}@1", *socket)
    assert late.status == 3
    assert "saving its content brings it back" in late.err


@pytest.mark.parametrize("grace", ["-1", "1e12", "soon"])
def test_a_grace_time_that_is_none_is_refused(udfstore: Run, root: list[str], grace: str, tmp_path: Path) -> None:
    put(udfstore, tmp_path, "content", *root)
    assert udfstore("gc", "--grace", grace, *root).status == 2


def test_the_server_applies_the_rules_that_were_set(udfstore: Run, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "root", tmp_path / "s", retention="m/** keep 1, ** keep 90d") as server:
        socket = ["--socket", str(server.socket)]
        assert "retention    m/** keep 1, ** keep 90d" in udfstore("status", *socket).text
        for text in ("one", "two"):
            put(udfstore, tmp_path, text, "--tag", "m/x", *socket)
        told = udfstore("gc", "--dry-run", "--grace", "0", *socket).text
        assert told == "would be removed: 1 blob, 3 B\n  1  3 B  let go by m/** keep 1: m/x@1\n"
        assert "history, let go by m/** keep 1" in udfstore("why", "m/x@1", *socket).text
        assert udfstore("why", "m/x", *socket).text.splitlines()[1].endswith("m/** keep 1")


def test_without_a_server_the_rules_are_those_that_it_would_have(
    udfstore: Run, root: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        put(udfstore, tmp_path, f"version {number}", "--tag", "models/x", *root)
    assert udfstore("gc", "--dry-run", *root).text == "everything is kept\n"
    config = tmp_path / "config.toml"
    config.write_text('retention = ["models/** keep 2"]\n')
    monkeypatch.setenv("UDFSTORE_CONFIG", str(config))
    assert "would be marked: 1 blob" in udfstore("gc", "--dry-run", *root).text
