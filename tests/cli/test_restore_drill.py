"""The drill: a server at work is backed up, lost, restored elsewhere, and everything is there."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Process, Run, Serving

COMMAND = [sys.executable, "-m", "udfstore"]


def told(ended: subprocess.CompletedProcess[bytes]) -> Any:
    assert ended.returncode == 0, ended.stderr.decode()
    return json.loads(ended.stdout)


def put(udfstore: Run, socket: Path, content: bytes, tag: str) -> None:
    file = socket.with_name("content")
    file.write_bytes(content)
    done = udfstore("put", file, "--tag", tag, "--note", "why", "--label", "f1=0.9", "--socket", socket)
    assert done.status == 0, done.err


def state(udfstore: Run, socket: Path) -> dict[str, Any]:
    """What the commands say of a store."""
    lists = ("ls", "blobs", "log models/pump", "tasks", "snapshot ls water")
    said: dict[str, Any] = {words: udfstore(*words.split(), "--json", "--socket", socket).json for words in lists}
    for blob in said["blobs"]:
        del blob["verified"]
    said["content"] = udfstore("get", "models/pump@1", "--socket", socket).out
    said["state"] = udfstore("snapshot", "get", "water", "score", "--socket", socket).out
    return said


def run_a_task(environment: dict[str, str], socket: Path) -> None:
    """A node of a task joins, is asked for its state, and leaves."""
    program = """
import sys, udfstore
with udfstore.connect(sys.argv[1]) as store:
    node = udfstore.Node("water", "score")
    with store.join(node, snapshot=lambda: b"the state of a node", restore=lambda state: None):
        store.save_snapshot("water", "before the drill")
"""
    subprocess.run([sys.executable, "-c", program, socket], env=environment, check=True, timeout=60)


def test_the_drill(udfstore: Run, process: Process, environment: dict[str, str], tmp_path: Path) -> None:
    socket, backup = tmp_path / "s", tmp_path / "backup"
    serving = Serving(environment, "--root", str(tmp_path / "root"), "--socket", str(socket))
    put(udfstore, socket, b"the first model", "models/pump")
    put(udfstore, socket, b"", "models/empty")
    run_a_task(environment, socket)
    first = told(process("backup", backup, "--json", "--socket", socket))
    assert first["fetched"] == first["blobs"] > 3

    put(udfstore, socket, b"the second model" * 10_000, "models/pump")
    udfstore("untag", "models/empty", "--socket", socket)
    second = told(process("backup", backup, "--json", "--socket", socket))
    assert (second["fetched"], second["fetched_bytes"], second["removed"]) == (1, 160_000, 0)
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=backup, check=True)
    before = state(udfstore, socket)
    assert (before["content"], before["state"]) == (b"the first model", b"the state of a node")
    piped = subprocess.Popen([*COMMAND, "backup", "-", "--socket", socket], env=environment, stdout=subprocess.PIPE)
    by_pipe = subprocess.run(
        [*COMMAND, "restore", "-", "--json", "--root", tmp_path / "piped"],
        env=environment,
        stdin=piped.stdout,
        capture_output=True,
        timeout=60,
    )
    assert piped.stdout is not None
    piped.stdout.close()
    assert piped.wait(60) == 0
    assert serving.stop(signal.SIGKILL) == -9

    restored = told(process("restore", backup, "--json", "--root", tmp_path / "new"))
    assert restored == {
        "root": str(tmp_path / "new"),
        "store_id": second["store_id"],
        "epoch": 2,
        "revision": second["revision"],
        "blobs": second["blobs"],
        "bytes": second["bytes"],
        "tags": len(before["ls"]),
        "damaged": [],
    }
    assert {**told(by_pipe), "root": ""} == {**restored, "root": ""}
    for root in ("new", "piped"):
        again = Serving(environment, "--root", str(tmp_path / root), "--socket", str(socket))
        assert state(udfstore, socket) == before
        put(udfstore, socket, b"the third model", "models/pump")
        assert again.stop() == 0


@pytest.fixture
def root(udfstore: Run, tmp_path: Path) -> Path:
    """A store with two models, and nobody who serves it."""
    for number in (1, 2):
        (tmp_path / "file").write_bytes(b"model %d" % number)
        (tmp_path / "root").mkdir(exist_ok=True, mode=0o700)
        assert udfstore("put", tmp_path / "file", "--tag", "models/pump", "--root", tmp_path / "root").status == 0
    return tmp_path / "root"


def test_what_people_read(udfstore: Run, root: Path, tmp_path: Path) -> None:
    done = udfstore("backup", tmp_path / "backup", "--root", root)
    assert done.text == f"revision 4 in {tmp_path}/backup: 2 blobs, 14 B; 2 fetched, 14 B\n"
    done = udfstore("backup", tmp_path / "backup", "--verify", "--root", root)
    assert done.text == f"revision 4 in {tmp_path}/backup: 2 blobs, 14 B; 0 fetched, 0 B\n"
    done = udfstore("restore", tmp_path / "backup", "--root", tmp_path / "new")
    assert done.text == f"{tmp_path}/new: revision 4, epoch 2, 2 blobs, 14 B, 1 tags; all verified\n"


def test_damage_in_the_store_is_told_by_name(udfstore: Run, root: Path, tmp_path: Path) -> None:
    (file,) = (path for path in root.rglob("*") if path.is_file() and path.read_bytes() == b"model 1")
    file.chmod(0o600)
    file.write_bytes(b"Model 1")
    done = udfstore("backup", tmp_path / "backup", "--root", root)
    assert done.status == 6
    assert file.name in done.err
    assert "named by models/pump@1" in done.err
    assert "1 of its blobs" in done.err
    assert "1 blobs, 7 B" in done.text
    done = udfstore("restore", tmp_path / "backup", "--root", tmp_path / "new")
    assert (done.status, file.name in done.err) == (0, True)
    assert udfstore("get", "models/pump", "--root", tmp_path / "new").out == b"model 2"
    assert udfstore("get", "models/pump@1", "--root", tmp_path / "new").status == 6


def test_what_cannot_be_is_refused(udfstore: Run, root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    assert udfstore("backup", tmp_path / "other", "--root", root).status == 4
    assert udfstore("backup", "-", "--verify", "--root", root).status == 2
    assert udfstore("restore", tmp_path / "other", "--root", tmp_path / "new").status == 3
    assert udfstore("backup", tmp_path / "backup", "--root", root).status == 0
    done = udfstore("restore", tmp_path / "backup", "--root", root)
    assert (done.status, "there is a store" in done.err) == (4, True)


def test_a_terminal_is_no_place_for_a_backup(environment: dict[str, str], root: Path) -> None:
    ours, terminal = pty.openpty()
    try:
        for words in (["backup", "-", "--root", root], ["restore", "-", "--root", root / "new"]):
            ended = subprocess.run(
                [*COMMAND, *map(str, words)],
                env=environment,
                stdin=terminal,
                stdout=terminal,
                stderr=subprocess.PIPE,
                timeout=60,
            )
            assert (ended.returncode, b"is a terminal" in ended.stderr) == (2, True)
    finally:
        os.close(ours)
        os.close(terminal)


def test_a_reader_that_goes_away_is_no_error(environment: dict[str, str], root: Path) -> None:
    running = subprocess.Popen(
        [*COMMAND, "backup", "-", "--root", root], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    with running.stderr as said:
        assert said.read() == b""
    assert running.wait(60) == 141
