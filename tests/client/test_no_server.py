"""When nobody answers: what was tried, and what to do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from kit import SECONDS, ServerProcess

import udfstore
from udfstore import NoServer, UsageError, aio
from udfstore.client import where


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """An environment that names no socket, with a home of its own."""
    for name in ("UDFSTORE_SOCKET", "UDFSTORE_ROOT", "XDG_RUNTIME_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def connect_asynchronously(path: Path | None = None) -> None:
    async def main() -> None:
        await aio.connect(path)

    anyio.run(main, backend="trio")


CONNECT = [lambda path=None: udfstore.connect(path), connect_asynchronously]


@pytest.mark.parametrize("connect", CONNECT, ids=["blocking", "asynchronous"])
def test_without_a_name_every_usual_place_is_named(
    connect: Callable[[], object], no_names: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(no_names / "run"))
    monkeypatch.setattr(where, "SERVICE_SOCKET", no_names / "service.sock")
    with pytest.raises(NoServer) as caught:
        connect()
    places = ("service.sock", "run/udfstore/udfstore.sock", ".local/share/udfstore/run/udfstore.sock")
    for place in places:
        assert f"{no_names / place} (no such file or directory)" in str(caught.value)
    assert "start one with: udfstore serve" in str(caught.value)


@pytest.mark.parametrize("connect", CONNECT, ids=["blocking", "asynchronous"])
def test_a_named_socket_is_the_only_place(connect: Callable[..., object], folder: Path) -> None:
    with pytest.raises(NoServer) as caught:
        connect(folder / "mine")
    assert str(caught.value).startswith(f"no server answers at {folder / 'mine'} (no such file or directory);")


def test_a_server_is_found_by_socket_root_or_place(
    no_names: Path, own_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UDFSTORE_ROOT", str(no_names / "elsewhere"))
    monkeypatch.setenv("UDFSTORE_SOCKET", str(own_server.socket))
    with udfstore.connect() as store:
        assert store.status().root == str(own_server.root)
    monkeypatch.delenv("UDFSTORE_SOCKET")
    with ServerProcess(no_names / "elsewhere", where.socket_in(no_names / "elsewhere")), udfstore.connect() as store:
        assert store.status().root == str(no_names / "elsewhere")
    monkeypatch.delenv("UDFSTORE_ROOT")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(no_names))
    monkeypatch.setattr(where, "SERVICE_SOCKET", no_names / "service.sock")
    (no_names / "udfstore").mkdir()
    (no_names / "udfstore" / "udfstore.sock").symlink_to(own_server.socket)
    with udfstore.connect() as store:
        assert store.status().root == str(own_server.root)


def test_a_socket_that_nobody_listens_at(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "dead"))
    with pytest.raises(NoServer, match="connection refused"):
        udfstore.connect(folder / "dead")


def test_a_path_that_is_too_long_for_a_socket(folder: Path) -> None:
    with pytest.raises(UsageError, match="too long") as caught:
        udfstore.connect(folder / ("x" * 120))
    assert caught.value.expected == "at most 107 bytes"


_STRANGER = """
import os, sys
from udfstore import Denied, connect
os.setgid(65534); os.setuid(65534)
try:
    connect(sys.argv[1])
except Denied as error:
    print(error)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_socket_of_somebody_else(own_server: ServerProcess) -> None:
    """The socket's own mode keeps others out, even where its folder lets them in."""
    own_server.socket.parent.chmod(0o755)
    command = [sys.executable, "-c", _STRANGER, str(own_server.socket)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.stderr == ""
    assert f"no permission to open the socket {own_server.socket}" in done.stdout


def test_what_is_claimed_of_oneself_stands_beside_what_was_done(
    server: ServerProcess, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UDFSTORE_AUTHOR", "person=ada,job=nightly")
    with udfstore.connect(server.socket) as store:
        entry = store.save(b"model", tag=f"{unique}/x").entry
    assert entry is not None
    assert (entry.author.claim.person, entry.author.claim.job) == ("ada", "nightly")
    assert (entry.author.uid, entry.author.pid) == (os.getuid(), os.getpid())
    with udfstore.connect(server.socket, claim=udfstore.Claim(person="grace")) as store:
        entry = store.save(b"model", tag=f"{unique}/x").entry
    assert entry is not None
    assert str(entry.author) == "grace (claimed)"


@pytest.mark.parametrize("connect", CONNECT, ids=["blocking", "asynchronous"])
def test_a_server_that_takes_no_more_connections_says_so(connect: Callable[[Path], object], folder: Path) -> None:
    with ServerProcess(folder / "root", folder / "s", connections_per_user=1), udfstore.connect(folder / "s"):
        with pytest.raises(NoServer, match=r"takes no connection now: .*uid \d+ has as many") as caught:
            connect(folder / "s")
        assert "broke" not in str(caught.value)
