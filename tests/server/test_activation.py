"""Sockets that the service manager opened: which are taken, and that an upgrade refuses no connection."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit import SECONDS, eventually, in_thread
from manager import Manager, listening

import udfstore
from udfstore.calls import Saved
from udfstore.digest import BlobId

LOOK = """\
import json, os, subprocess, sys
from udfstore.errors import UsageError
from udfstore.server import activation
try:
    taken = activation.take()
except UsageError as error:
    sys.exit(f"refused: {error}")
left = [name for name in os.environ if name.startswith("LISTEN_")]
inherited = [s.fileno() for s in taken.values() if os.get_inheritable(s.fileno())]
print(json.dumps({name: activation.place(s) for name, s in taken.items()}))
print(left, inherited)
"""


@pytest.fixture
def sockets(folder: Path) -> Iterator[Callable[[str], socket.socket]]:
    """Makes sockets of all kinds."""
    made: list[socket.socket] = []

    def make(kind: str) -> socket.socket:
        path = folder / f"s{len(made)}"
        if kind == "unix":
            made.append(listening(path))
        elif kind == "abstract":
            made.append(socket.socket(socket.AF_UNIX))
            made[-1].bind(f"\0{path}")
            made[-1].listen()
        elif kind in ("tcp", "tcp6"):
            six = kind == "tcp6"
            made.append(
                socket.create_server(
                    ("::1" if six else "127.0.0.1", 0), family=socket.AF_INET6 if six else socket.AF_INET
                )
            )
        elif kind == "datagrams":
            made.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            made[-1].bind(os.fspath(path))
        else:
            made.append(socket.socket(socket.AF_UNIX))
            made[-1].bind(os.fspath(path))
        return made[-1]

    yield make
    for one in made:
        one.close()


Make = Callable[[str], socket.socket]


def looked(folder: Path, sockets: list[socket.socket], names: str | None, **more: str) -> tuple[str, str]:
    """What a program that takes its sockets writes to stdout and stderr."""
    with Manager(folder, sockets, names).popen("-c", LOOK, **more) as process:
        return process.communicate(timeout=SECONDS)


def test_sockets_are_taken_by_name_and_no_child_inherits_them(folder: Path, sockets: Make) -> None:
    made = [sockets("tcp"), sockets("unix"), sockets("tcp6")]
    taken, left = looked(folder, made, "http:udfstore:metrics")[0].splitlines()
    ports = [one.getsockname()[1] for one in (made[0], made[2])]
    assert taken == (
        f'{{"http": "127.0.0.1:{ports[0]}", "udfstore": "unix:{folder}/s1", "metrics": "[::1]:{ports[1]}"}}'
    )
    assert left == "[] []"


@pytest.mark.parametrize("names", [None, "", "unknown"])
def test_a_single_socket_without_a_name_is_the_unix_socket(folder: Path, sockets: Make, names: str | None) -> None:
    assert looked(folder, [sockets("unix")], names)[0].startswith(f'{{"udfstore": "unix:{folder}/s0"}}')


def test_sockets_meant_for_another_process_are_left_alone(folder: Path, sockets: Make) -> None:
    assert looked(folder, [sockets("unix")], "udfstore", LISTEN_PID="1")[0] == "{}\n[] []\n"


@pytest.mark.parametrize(
    ("kinds", "names", "told"),
    [
        (["unix", "tcp"], None, "each socket that is passed on has a name"),
        (["unix", "tcp"], "udfstore", "each socket that is passed on has a name"),
        (["unix", "unix"], "udfstore:udfstore", "two sockets named udfstore"),
        (["unix"], "udfstore.socket", "set FileDescriptorName= in its socket unit"),
        (["tcp"], None, "as udfstore is not a listening Unix socket"),
        (["deaf"], None, "as udfstore is not a listening Unix socket"),
        (["datagrams"], None, "as udfstore is not a listening Unix socket"),
        (["deaf"], "http", "as http is not a listening Unix or TCP socket"),
        (["abstract"], None, "lies at no absolute path"),
    ],
)
def test_what_cannot_be_served_is_refused(
    folder: Path, sockets: Make, kinds: list[str], names: str | None, told: str
) -> None:
    assert told in looked(folder, [sockets(kind) for kind in kinds], names)[1]


def test_a_descriptor_that_is_no_socket_is_refused(folder: Path, sockets: Make) -> None:
    sockets("unix")
    with open(os.devnull) as no_socket:
        told = looked(folder, [no_socket], None)[1]  # type: ignore[list-item]
    assert "descriptor 3, passed on as udfstore, is no socket" in told


def test_numbers_that_are_none_are_refused(folder: Path, sockets: Make) -> None:
    assert "LISTEN_PID and LISTEN_FDS are numbers" in looked(folder, [sockets("unix")], None, LISTEN_PID="x")[1]


def test_the_path_is_left_as_it_is(folder: Path) -> None:
    path = folder / "s"
    with listening(path, 0o640) as opened, Manager(folder, [opened], "udfstore") as manager:
        before = path.stat()
        ready = manager.start("--root", str(folder / "root"))
        assert ready["socket"] == str(path)
        with udfstore.connect(path) as store:
            store.save(b"kept", tag="t")
        assert manager.stop() == 0
        after = path.stat()
        assert (after.st_ino, stat.S_IMODE(after.st_mode)) == (before.st_ino, 0o640)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--socket", "/nowhere/s"], "the settings name unix:/nowhere/s"),
        (["--socket-mode", "0600"], "set SocketMode= in the socket unit (expected 0600, got 0640)"),
        (["--socket-group", "no-such-group"], "set SocketGroup= in the socket unit"),
    ],
)
def test_settings_that_contradict_the_socket_are_refused(folder: Path, words: list[str], told: str) -> None:
    with listening(folder / "s", 0o640) as opened:
        command = ["-m", "udfstore", "serve", "--root", str(folder / "root"), *words]
        with Manager(folder, [opened]).popen(*command) as process:
            _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert told in said


def test_an_address_for_http_that_contradicts_the_socket_is_refused(folder: Path) -> None:
    with listening(folder / "s") as unix, listening(folder / "h") as http:
        command = ["-m", "udfstore", "serve", "--root", str(folder / "root"), "--http", "127.0.0.1:8080"]
        with Manager(folder, [unix, http], "udfstore:http").popen(*command) as process:
            _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert f"passed on unix:{folder}/h, the settings name 127.0.0.1:8080" in said


def test_settings_that_agree_with_the_socket_are_fine(folder: Path) -> None:
    with listening(folder / "s", 0o640) as opened, Manager(folder, [opened]) as manager:
        manager.start("--root", str(folder / "root"), "--socket", str(folder / "s"), "--socket-mode", "640")
        assert manager.stop() == 0


def test_a_socket_that_nobody_can_reach_is_refused(folder: Path) -> None:
    with listening(folder / "s") as opened:
        (folder / "s").unlink()
        with Manager(folder, [opened]).popen("-m", "udfstore", "serve", "--root", str(folder / "root")) as process:
            _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert "nobody can reach the socket that was passed on" in said


def save(path: Path, content: bytes, tag: str | None = None) -> Saved:
    """Save over a connection of its own."""
    with udfstore.connect(path) as store:
        return store.save(content, tag=tag)


def connected(path: Path) -> socket.socket:
    """A connection on which nothing will be said."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(os.fspath(path))
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        connection.close()
        raise
    return connection


def taken(connection: socket.socket) -> None:
    """Wait until a server hangs up."""
    connection.settimeout(SECONDS)
    with connection:
        while connection.recv(1 << 10):
            pass


class Crowd:
    """Clients that connect anew for each call, and go on whatever becomes of the server."""

    CLIENTS = 3

    def __init__(self, path: Path) -> None:
        self.refused: list[str] = []
        self.connected = 0
        self.saved: list[BlobId] = []
        self._path = path
        self._over = threading.Event()
        self._running = [in_thread(self._connect), *(in_thread(lambda n=n: self._save(n)) for n in range(self.CLIENTS))]

    def _connect(self) -> None:
        while not self._over.is_set():
            try:
                waiting = connected(self._path)
            except OSError as error:
                self.refused.append(str(error))
            else:
                taken(waiting)
                self.connected += 1

    def _save(self, client: int) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            try:
                self.saved.append(save(self._path, f"{client} {number}".encode(), tag=f"c/{client}").id)
            except udfstore.NoServer as error:
                self.refused.append(str(error))

    def wait(self) -> None:
        """Until all have had their turn, several times."""
        connected, saved = self.connected + 5, len(self.saved) + 5 * self.CLIENTS
        eventually(lambda: self.connected >= connected and len(self.saved) >= saved)

    def end(self) -> None:
        """Let them finish; what went wrong with one is raised here."""
        self._over.set()
        for one in self._running:
            one.result(SECONDS)


def test_an_upgrade_refuses_no_connection_and_loses_no_save(folder: Path) -> None:
    path, root = folder / "s", str(folder / "root")
    with listening(path) as opened, Manager(folder, [opened], "udfstore") as manager:
        manager.start("--root", root)
        crowd = Crowd(path)
        for _ in range(3):
            crowd.wait()
            assert manager.stop() == 0
            waiting = connected(path)
            manager.start("--root", root)
            taken(waiting)
        crowd.wait()
        crowd.end()
        assert crowd.refused == []
        with udfstore.connect(path) as store:
            assert store.missing(crowd.saved) == []
            assert sum(len(list(store.history(f"c/{client}"))) for client in range(Crowd.CLIENTS)) == len(crowd.saved)
        assert manager.stop() == 0


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd-socket-activate is not installed")
def test_systemds_own_activation_starts_a_server_on_the_first_connection(folder: Path) -> None:
    path = folder / "s"
    serve = [sys.executable, "-m", "udfstore", "serve", "--root", str(folder / "root")]
    environment = Manager(folder, []).environment
    passed = [f"--setenv={name}" for name in ("HOME", "PATH") if name in environment]
    command = ["systemd-socket-activate", f"--listen={path}", *passed, *serve]
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert b"Listening on" in process.stderr.readline()
        with udfstore.connect(path) as store:
            assert store.save(b"first").size == 5
        process.terminate()
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0
