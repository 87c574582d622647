"""`udfstore serve` and `udfstore status`: ready, refusals with their exit statuses, a clean end."""

from __future__ import annotations

import grp
import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from cli_kit import Process, Run, Serving, clean_environment

Serve = Callable[..., Serving]


@pytest.fixture
def serve(environment: dict[str, str]) -> Iterator[Serve]:
    """Start servers, which are stopped at the end."""
    started: list[Serving] = []

    def start(*words: object, **more: str) -> Serving:
        started.append(Serving(environment | more, *map(str, words)))
        return started[-1]

    yield start
    for serving in started:
        if serving.process.poll() is None:
            serving.stop()


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    return ["--root", str(tmp_path / "root"), "--socket", str(tmp_path / "s")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_says_ready_serves_and_ends_cleanly(
    serve: Serve, process: Process, flags: list[str], tmp_path: Path, number: int
) -> None:
    serving = serve(*flags)
    assert (serving.ready["root"], serving.ready["socket"]) == (str(tmp_path / "root"), str(tmp_path / "s"))
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    assert process("put", "-", "--tag", "x", "--socket", tmp_path / "s", stdin=b"1").returncode == 0
    assert serving.stop(number) == 0
    assert [line["event"] for line in serving.log][-2:] == ["stopping", "stopped"]
    assert all(str(line["time"]).endswith("Z") for line in serving.log)
    assert not (tmp_path / "s").exists()
    assert process("get", "x", "--root", tmp_path / "root").stdout == b"1"


def test_with_no_argument_client_and_server_find_each_other(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    environment = clean_environment(tmp_path) | {"XDG_RUNTIME_DIR": str(runtime)}
    serving = Serving(environment)
    try:
        assert serving.ready["root"] == f"{tmp_path}/.local/share/udfstore"
        status = [sys.executable, "-m", "udfstore", "status"]
        for more in ({}, {"UDFSTORE_SOCKET": str(serving.ready["socket"])}):
            assert subprocess.run(status, env=environment | more, capture_output=True, timeout=60).returncode == 0
    finally:
        assert serving.stop() == 0


def test_client_and_server_that_are_told_a_root_find_each_other(serve: Serve, process: Process, tmp_path: Path) -> None:
    told = {"UDFSTORE_ROOT": str(tmp_path / "root")}
    serve(**told)
    assert process("status", **told).returncode == 0


def test_people_are_told_where_everything_is_and_what_to_type(
    environment: dict[str, str], flags: list[str], tmp_path: Path
) -> None:
    screen, terminal = pty.openpty()
    config = tmp_path / "config.toml"
    config.write_text('log_level = "info"\n')
    command = [sys.executable, "-m", "udfstore", "serve", "--config", str(config), *flags]
    with subprocess.Popen(command, env=environment, stdin=terminal, stderr=terminal) as process, open(screen) as shown:
        os.close(terminal)
        lines = []
        while "ready" not in lines:
            lines.append(shown.readline().rstrip())
        assert lines == [
            f"config  {config}",
            f"store   {tmp_path}/root",
            f"socket  {tmp_path}/s",
            f"next    udfstore put FILE --tag models/x --socket {tmp_path}/s",
            "ready",
        ]
        process.terminate()
        assert process.wait(30) == 0


def test_settings_come_from_flags_environment_and_file(serve: Serve, process: Process, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'root = "{tmp_path}/root"\nsocket = "{tmp_path}/not-this"\nblob_bytes = "1 MiB"\n')
    serve("--config", config, "--socket-mode", "0640", UDFSTORE_SOCKET=str(tmp_path / "s"))
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o640
    refused = process("put", "-", "--socket", tmp_path / "s", stdin=bytes(2 << 20))
    assert refused.returncode == 1
    assert b"1048576" in refused.stderr


def test_the_service_manager_is_told(serve: Serve, flags: list[str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        manager.settimeout(30)
        serving = serve(*flags, NOTIFY_SOCKET=str(tmp_path / "n"))
        assert manager.recv(100) == b"READY=1"
        serving.stop()
        assert manager.recv(100) == b"STOPPING=1"


def test_a_service_manager_that_does_not_listen_is_no_reason_to_stop(
    serve: Serve, flags: list[str], tmp_path: Path
) -> None:
    serving = serve(*flags, NOTIFY_SOCKET=str(tmp_path / "none"))
    assert serving.stop() == 0
    assert "the service manager could not be told" in [line["event"] for line in serving.log]


def test_a_second_server_on_the_root_or_the_socket_is_refused(
    serve: Serve, process: Process, flags: list[str], tmp_path: Path
) -> None:
    serving = serve(*flags)
    root, place = tmp_path / "root", tmp_path / "s"
    on_root = process("serve", "--root", root, "--socket", tmp_path / "other")
    assert on_root.returncode == 4
    assert on_root.stderr.decode() == (
        f"udfstore: {root} is in use by process {serving.process.pid}, which listens at {place}\n"
    )
    on_socket = process("serve", "--root", tmp_path / "other", "--socket", place)
    assert on_socket.returncode == 4
    assert f"a server answers at {place} already" in on_socket.stderr.decode()
    assert process("status", "--socket", place).returncode == 0


def test_a_server_that_many_wait_for_is_no_dead_one(process: Process, tmp_path: Path) -> None:
    place = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(place))
        busy.listen(0)
        waiting.connect(str(place))
        refused = process("serve", "--root", tmp_path / "root", "--socket", place)
        assert refused.returncode == 4
        assert f"a server answers at {place} already" in refused.stderr.decode()


def test_a_dead_socket_is_taken_over(serve: Serve, process: Process, flags: list[str], tmp_path: Path) -> None:
    serving = serve(*flags)
    serving.process.kill()
    serving.process.communicate()
    assert (tmp_path / "s").exists()
    assert process("status", "--socket", tmp_path / "s").returncode == 5
    serve(*flags)
    assert process("status", "--socket", tmp_path / "s").returncode == 0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with all kinds of things that a server cannot use."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.toml").write_text("root = ")
    (tmp_path / "unknown.toml").write_text("conections = 7\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--socket", "x" * 120], 2, "the path of the socket is too long"),
        (["--socket", "file"], 2, "is there and is not a socket"),
        (["--socket-group", "nobody-here"], 2, "no group nobody-here"),
        (["--root", "open"], 7, "others may write to"),
        (["--root", "full"], 2, "is not a store: it has no FORMAT"),
        (["--root", "file"], 2, "the root of a store is a folder"),
        (["--config", "none"], 2, "--config: there is no configuration file none"),
        (["--config", "bad.toml"], 2, "bad.toml is not TOML"),
        (["--config", "unknown.toml"], 2, "unknown.toml: there is no setting conections"),
        (["--calls", "x"], 2, "--calls: Input should be a valid integer"),
        (["--segment-bytes", "1MiB"], 2, "two groups a segment"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    udfstore: Run, monkeypatch: pytest.MonkeyPatch, place: Path, words: list[str], status: int, told: str
) -> None:
    monkeypatch.chdir(place)
    done = udfstore("serve", "--root", "root", "--socket", "s", *words)
    structlog.reset_defaults()
    assert told in done.err
    assert done.status == status
    assert done.err.count("\n") == 1
    assert done.err.startswith("udfstore: ")


def test_a_group_that_cannot_enter_is_told_what_to_do(udfstore: Run, tmp_path: Path) -> None:
    name = next(group.gr_name for group in grp.getgrall() if group.gr_gid != tmp_path.stat().st_gid)
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    done = udfstore("serve", "--root", tmp_path / "root", "--socket", folder / "s", "--socket-group", name)
    structlog.reset_defaults()
    assert done.status == 2
    assert f"chgrp {name} {folder}" in done.err


def test_status_in_json_is_for_health_checks(serve: Serve, process: Process, flags: list[str], tmp_path: Path) -> None:
    serving = serve(*flags)
    told = json.loads(process("status", "--json", "--socket", tmp_path / "s").stdout)
    assert told["ready"] is True
    assert told["pid"] == serving.process.pid
    assert told["store_id"] == told["store_id"].lower()


def test_one_socket_or_a_table_for_each(process: Process, flags: list[str], tmp_path: Path) -> None:
    done = process("serve", *flags, "--listen", f'[{{"path": "{tmp_path}/t"}}]')
    assert done.returncode == 2
    assert b"either `socket` names one socket" in done.stderr
