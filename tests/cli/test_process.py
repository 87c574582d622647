"""The command as a process: pipes, signals, what is imported, what a base installation says."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_kit import Process


def test_the_main_job(process: Process, server: Path) -> None:
    content = b"trained" * 500_000
    socket = {"UDFSTORE_SOCKET": str(server), "UDFSTORE_AUTHOR": "Ada"}
    saved = process("put", "-", "--tag", "main/x", "--note", "first", stdin=content, **socket)
    assert saved.stdout.decode() == f"sha256:{hashlib.sha256(content).hexdigest()}\n"
    process("put", "-", "--tag", "main/x", stdin=b"worse", **socket)
    back = process("rollback", "main/x", **socket)
    assert back.stdout == b""
    assert b"main/x: 2 -> 3" in back.stderr
    loaded = process("get", "main/x", **socket)
    assert (loaded.returncode, loaded.stdout, loaded.stderr) == (0, content, b"")
    log = process("log", "main/x", "--json", **socket)
    assert [entry["author"]["claim"]["person"] for entry in json.loads(log.stdout)] == ["Ada"] * 3


def test_a_reader_that_goes_away_is_no_error(environment: dict[str, str], process: Process, server: Path) -> None:
    process("put", "-", "--tag", "pipe/x", "--socket", server, stdin=os.urandom(4_000_000))
    for words in (["get", "pipe/x"], ["blobs"]):
        command = [sys.executable, "-m", "udfstore", *words, "--socket", str(server)]
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(command, env=environment, stdout=writing, stderr=subprocess.PIPE, timeout=60)
        os.close(writing)
        assert (done.returncode, done.stderr) == (141, b"")


def test_watch_tells_each_event_in_a_line_until_interrupted(
    environment: dict[str, str], process: Process, server: Path
) -> None:
    process("put", "-", "--tag", "watch/a", "--socket", server, stdin=b"1")
    command = [sys.executable, "-m", "udfstore", "watch", "watch/", "--json", "--socket", str(server)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        present, end = json.loads(watching.stdout.readline()), json.loads(watching.stdout.readline())
        assert [entry["tag"] for entry in present["entries"]] == ["watch/a"]
        assert (end["present"], end["entries"]) == (True, [])
        process("put", "-", "--tag", "watch/b", "--socket", server, stdin=b"2")
        moved = json.loads(watching.stdout.readline())
        assert [entry["tag"] for entry in moved["entries"]] == ["watch/b"]
        assert moved["id"] == f"1-{moved['revision']}"
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130
        assert watching.stderr.read() == b""
    command += ["--since", end["id"]]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as resumed:
        assert resumed.stdout is not None
        assert json.loads(resumed.stdout.readline()) == moved
        resumed.send_signal(signal.SIGTERM)
        assert resumed.wait(30) == 143


def test_get_imports_nothing_slow(environment: dict[str, str], process: Process, server: Path) -> None:
    process("put", "-", "--tag", "quick/x", "--socket", server, stdin=b"small")
    script = (
        "import sys; from udfstore.cli import main; "
        f"status = main(['get', 'quick/x', '--socket', {str(server)!r}]); "
        "print(sorted(sys.modules), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, timeout=60)
    assert done.stdout == b"small"
    loaded = done.stderr.decode()
    for slow in ("pydantic", "rich", "trio", "structlog", "sqlite3", "udfstore.store", "udfstore.cli.serve"):
        assert f"'{slow}'" not in loaded


@pytest.mark.parametrize(("missing", "words"), [("typer", ["get", "x"]), ("trio", ["serve"])])
def test_a_base_installation_names_the_extra(
    environment: dict[str, str], tmp_path: Path, missing: str, words: list[str]
) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None; "  # what a package that is not installed looks like
        f"from udfstore.cli import main; sys.exit(main({words!r}))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.decode() == f"udfstore: {missing} is not installed; run: pip install 'udfstore[server]'\n"
