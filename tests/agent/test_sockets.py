"""Socket UDFs: one agent for each connection."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from agent_kit import UDFS, Player, point
from kit import SECONDS, ServerProcess, in_thread

import udfstore
from udfstore._pb import udfstore_pb2 as pb
from udfstore.agent import Server


@pytest.fixture
def path(folder: Path) -> Iterator[Path]:
    """Where a socket UDF listens."""
    place = folder / "udf"
    command = [sys.executable, "-W", "error", str(UDFS / "sockets.py"), str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield place
        process.kill()


@pytest.fixture
def connect(path: Path) -> Iterator[Callable[..., Player]]:
    """A host's connection to it."""
    with ExitStack() as stack:

        def connected(server: Path | None = None) -> Player:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(os.fspath(path))
            stream = stack.enter_context(connection.makefile("rwb"))
            stack.callback(ended, connection)
            return Player(stream, stream, server)

        def ended(connection: socket.socket) -> None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

        yield connected


def test_each_connection_has_an_agent_of_its_own(connect: Callable[..., Player]) -> None:
    one, other = connect(), connect()
    for udf in (one, other):
        assert udf.begin().success
    one.ask(point("state", "mine"))
    for udf, state in ((one, b"mine"), (other, b"")):
        udf.send(pb.Request(snapshot=pb.SnapshotRequest()))
        assert udf.next("snapshot").snapshot == state


def test_an_exception_ends_one_connection_alone(connect: Callable[..., Player]) -> None:
    one, other = connect(), connect()
    one.begin()
    one.send(point("raise", "no such luck"))
    assert "no such luck" in one.next("error").error
    assert one.over.wait(SECONDS)
    assert other.begin().success
    assert connect().begin().success


def test_the_host_says_in_its_info_that_it_is_udfstore(connect: Callable[..., Player], server: ServerProcess) -> None:
    udf = connect(server.socket)
    udf.send(pb.Request(info=pb.InfoRequest(host="udfstore/9")))
    udf.next("info")
    assert udf.ask(point("store")).tags["server"] == udfstore.__version__


class Silent:
    def accept(self, conn: Any, addr: Any) -> None:
        conn.close()


def test_a_socket_that_was_left_behind_is_taken_over(folder: Path) -> None:
    path = folder / "udf"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    server = Server(path, Silent())
    serving = in_thread(server.serve)
    with pytest.raises(udfstore.Conflict, match="listens at"):
        Server(path, Silent())
    server.stop()
    serving.result(SECONDS)
    assert not path.exists()


def test_a_path_that_no_socket_can_have(folder: Path) -> None:
    with pytest.raises(udfstore.UsageError, match="too long"):
        Server(folder / ("x" * 100), Silent())
    (folder / "file").touch()
    with pytest.raises(OSError, match="in use"):
        Server(folder / "file", Silent())
    assert (folder / "file").exists()
