"""An agent's store: calls on the UDF's own connection, through a host that is udfstore, or past one that is not."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_kit import UdfProcess, obliging, point
from kit import SECONDS, ServerProcess, eventually

import udfstore
from udfstore._pb import udfstore_pb2 as pb

PIPE_BYTES = 4096


@pytest.fixture
def store(server: ServerProcess) -> Iterator[udfstore.Store]:
    with udfstore.connect(server.socket) as connected:
        yield connected


@pytest.fixture
def udf(server: ServerProcess) -> Iterator[UdfProcess]:
    """Under a host that is udfstore."""
    with obliging(server=server.socket) as running:
        yield running


def test_calls_travel_on_the_connection(udf: UdfProcess, store: udfstore.Store) -> None:
    udf.begin()
    answer = udf.ask(point("save", "by a UDF"))
    assert store.load("agent/saved") == b"by a UDF"
    assert udf.ask(point("load", answer.tags["saved"])).fieldsInt["size"] == len(b"by a UDF")
    assert udf.hellos == 1
    assert udf.end() == 0


def test_a_load_of_100_mib_inside_a_handler_while_points_pour_in(server: ServerProcess, unique: str) -> None:
    size, count = 100 << 20, 20_000
    with udfstore.connect(server.socket) as store:
        store.save(os.urandom(1 << 20) * 100, tag=unique)
    with obliging(server=server.socket, pipe_bytes=PIPE_BYTES) as udf:
        udf.begin()
        udf.send(point("load", unique))
        pouring = threading.Thread(target=lambda: [udf.send(point(value=float(i))) for i in range(count)])
        pouring.start()
        for time in range(1, 6):
            udf.keepalive(time)
        assert udf.next("point").fieldsInt["size"] == size
        assert [udf.next("point").fieldsDouble["value"] for _ in range(count)] == list(map(float, range(count)))
        pouring.join(SECONDS)
        assert udf.end() == 0


def test_the_largest_point_fits_into_the_window(udf: UdfProcess) -> None:
    udf.begin()
    for _ in range(3):
        assert len(udf.ask(point("mirror", "x" * (4_190_000))).tags["with"]) == 4_190_000


def test_a_socket_udf_is_told_by_the_info_request(server: ServerProcess) -> None:
    """And no credit goes out before."""
    with obliging(server=server.socket, environ={"UDFSTORE_HOST": ""}) as udf:
        udf.send(pb.Request(info=pb.InfoRequest(host="udfstore/9")))
        udf.next("info")
        udf.send(pb.Request(init=pb.InitRequest()))
        assert udf.next("init").success
        assert udf.ask(point("store")).tags["server"] == udfstore.__version__
        assert udf.hellos == 1


def test_a_server_that_restarts_is_greeted_anew(own_server: ServerProcess) -> None:
    with obliging(server=own_server.socket) as udf:
        udf.begin()
        assert udf.ask(point("store")).tags["server"] == udfstore.__version__
        own_server.restart()
        assert udf.ask(point("store")).tags["server"] == udfstore.__version__
        assert udf.hellos >= 2


def test_without_a_udfstore_host_it_connects_by_itself(server: ServerProcess) -> None:
    with obliging(environ={"UDFSTORE_SOCKET": str(server.socket)}) as udf:
        udf.begin()
        assert udf.ask(point("store")).tags["server"] == udfstore.__version__
        assert udf.end() == 0


def test_without_any_udfstore_it_says_so(folder: Path) -> None:
    with obliging(environ={"UDFSTORE_SOCKET": str(folder / "none")}) as udf:
        udf.begin()
        error = udf.ask(point("store")).tags["error"]
        assert error.startswith("NoServer: no udfstore on this connection")
        assert udf.ask(point()).name == "mirror"


def test_models_change_between_points_alone(
    udf: UdfProcess, store: udfstore.Store, tmp_path: Path, unique: str
) -> None:
    os.mkfifo(tmp_path / "go")
    store.save(b"one", tag=unique)
    udf.begin()
    udf.ask(point("follow", unique))
    assert udf.ask(point("model")).tags["after"] == "one"
    udf.send(point("model", str(tmp_path / "go")))
    store.save(b"two", tag=unique)
    wait_until_used(store, unique, 2)
    (tmp_path / "go").write_text("now")
    answer = udf.next("point")
    assert (answer.tags["before"], answer.tags["after"]) == ("one", "one")
    answer = udf.ask(point("model"))
    assert (answer.tags["after"], answer.fieldsInt["version"]) == ("two", 2)
    store.save(b"three", tag=unique)
    wait_until_used(store, unique, 3)  # while the handler waits for input
    assert udf.ask(point("model")).tags["before"] == "three"


def test_a_model_that_is_replaced_is_let_go_between_points(
    udf: UdfProcess, store: udfstore.Store, tmp_path: Path, unique: str
) -> None:
    os.mkfifo(tmp_path / "go")
    store.save(b"one", tag=unique)
    udf.begin()
    udf.ask(point("replace", unique))
    udf.send(point("model", str(tmp_path / "go")))
    store.save(b"two", tag=unique)
    udf.keepalive(1)
    (tmp_path / "go").write_text("now")
    answer = udf.next("point")
    assert (answer.tags["before"], answer.tags["after"]) == ("one", "one")
    wait_until_used(store, unique, 2)
    assert udf.ask(point("model")).tags["before"] == "two"


def test_a_loader_in_a_process_beside(udf: UdfProcess, store: udfstore.Store, unique: str) -> None:
    store.save(b"one", tag=unique)
    udf.begin()
    answer = udf.ask(point("follow_beside", unique))
    assert answer.tags["text"] == "one"
    assert dict(answer.fieldsBool) == {"beside": True, "numbers": True}
    for text, error in (("raise", "not a model"), ("exit", "ended with status 3")):
        store.save(text.encode(), tag=unique)
        wait_until_used(store, unique, 1, error)
        answer = udf.ask(point("beside"))
        assert answer.tags["text"] == "one"
        assert error in answer.tags["error"]
    store.save(b"four", tag=unique)
    wait_until_used(store, unique, 4)
    assert udf.ask(point("beside")).tags["text"] == "four"
    assert udf.end() == 0


def test_a_forked_child_leaves_the_connection_alone(udf: UdfProcess) -> None:
    udf.begin()
    udf.ask(point("store"))
    assert "use udfstore.connect()" in udf.ask(point("fork")).tags["error"]
    assert udf.ask(point("store")).tags["server"] == udfstore.__version__
    assert udf.hellos == 1


def wait_until_used(store: udfstore.Store, tag: str, version: int, error: str = "") -> None:
    """Until a follower has told that it uses a version, and why not the one behind it."""
    eventually(
        lambda: any(
            f.tag == tag and f.version == version and error in f.error
            for session in store.sessions()
            for f in session.following
        )
    )
