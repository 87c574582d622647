"""Connections that break at the worst moment, servers that are killed: every change once, every blob whole."""

from __future__ import annotations

import io
import math
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kit import SECONDS, Relay, ServerProcess, in_thread

import udfstore
from udfstore import BlobId, Conflict, NoServer, NotFound

MIB = 1 << 20
Content = Callable[..., bytes]


class Cut:
    """Cuts the connection once, in front of the first answer that holds `marker`, when told to."""

    def __init__(self) -> None:
        self.marker = b""
        self.armed = threading.Event()
        self.done = threading.Event()

    def __call__(self, data: bytes, went: int) -> bool:
        if not self.armed.is_set() or self.marker not in data:
            return False
        self.armed.clear()
        self.done.set()
        return True

    def before(self, marker: str) -> None:
        self.marker = marker.encode()
        self.armed.set()


@pytest.fixture
def cut() -> Cut:
    return Cut()


@pytest.fixture
def relay(folder: Path, server: ServerProcess, cut: Cut) -> Iterator[Relay]:
    with Relay(folder / "relay", server.socket, cut) as relay:
        yield relay


CHANGES: dict[str, Callable[[Any, str, bytes], Any]] = {
    "tag": lambda store, name, data: store.tag(name, f"{name}@1", note="once"),
    "move": lambda store, name, data: store.move({name: f"{name}@1", f"{name}-too": f"{name}@1"}, note="once")[0],
    "rollback": lambda store, name, data: store.rollback(name, expected_version=2, note="once"),
    "untag": lambda store, name, data: store.untag(name, note="once"),
    "save": lambda store, name, data: store.save(data, tag=name, note="once").entry,
    "save of what is there": lambda store, name, data: (
        store.save(b"1" + data, id=BlobId.of(b"1" + data), tag=name, note="once").entry
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_whose_answer_was_lost_happens_once(
    relay: Relay,
    connect_to: Callable[[Path], Any],
    cut: Cut,
    unique: str,
    content: Content,
    change: Callable[[Any, str, bytes], Any],
) -> None:
    store, name = connect_to(relay.path), f"{unique}/x"
    for number in (b"1", b"2"):
        store.save(number + content(), tag=name)
    cut.before(name)
    entry = change(store, name, content())
    assert cut.done.is_set()
    assert relay.connections == 2
    assert (entry.version, entry.note) == (3, "once")
    assert [told.version for told in store.history(name)] == [3, 2, 1]
    assert next(iter(store.history(name))) == entry


def test_a_deletion_whose_answer_was_lost_is_told_as_it_was(
    relay: Relay, connect_to: Callable[[Path], Any], cut: Cut, unique: str, content: Content
) -> None:
    store, name = connect_to(relay.path), f"{unique}/x"
    id = store.save(content(), tag=name).id
    cut.before(f"{name}@1")
    deleted = store.delete(id, force=True)
    assert cut.done.is_set()
    assert (deleted.id, deleted.size, deleted.versions) == (id, len(content()), (f"{name}@1",))


READS: dict[str, Callable[[Any, str], bytes]] = {
    "load": lambda store, name: store.load(name),
    "open and read": lambda store, name: store.open(name).read(),
    "open and read in parts": lambda store, name: b"".join(iter(partial(store.open(name).read, MIB), b"")),
    "open and take the path": lambda store, name: _path_of(store.open(name)),
}


def _path_of(blob: Any) -> bytes:
    with blob:
        data: bytes = blob.path.read_bytes()
        return data


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_load_that_breaks_off_twice_gives_the_same_bytes(
    folder: Path,
    server: ServerProcess,
    connect_to: Callable[[Path], Any],
    unique: str,
    read: Callable[[Any, str], bytes],
) -> None:
    """The second time earlier than the first."""
    data = b"".join(b"%s %08d" % (unique.encode(), number) for number in range(4 * MIB // (len(unique) + 9)))
    most = {1: 2_500_000, 2: 700_000}
    with Relay(
        folder / "relay", server.socket, lambda d, went: went + len(d) > most.get(relay.connections, math.inf)
    ) as relay:
        store = connect_to(relay.path)
        store.save(data, tag=f"{unique}/x")
        got = read(store, f"{unique}/x")
    assert relay.connections >= 3
    assert got == data


def test_a_list_that_breaks_off_is_an_error_and_never_a_shorter_list(
    folder: Path, server: ServerProcess, connect_to: Callable[[Path], Any], unique: str, content: Content
) -> None:
    """It may have changed since: only the caller can begin anew."""
    with udfstore.connect(server.socket) as direct:
        id = direct.save(content()).id
        for _ in range(60):
            direct.tag(f"{unique}/x", id, note="n" * 4096)
    told: list[int] = []
    with Relay(folder / "relay", server.socket, lambda data, went: went > 100_000) as relay:
        history = connect_to(relay.path).history(f"{unique}/x")
        with pytest.raises(NoServer):
            told.extend(entry.version for entry in history)
    assert told == list(range(60, 60 - len(told), -1))
    assert 0 < len(told) < 60


class Restarting(io.BytesIO):
    """Content whose reader, at some point, has the server killed and started again."""

    def __init__(self, data: bytes, server: ServerProcess, at: int, *, seekable: bool) -> None:
        super().__init__(data)
        self._server = server
        self._at: float = at
        self._seekable = seekable

    def seekable(self) -> bool:
        return self._seekable

    def read(self, most: int | None = -1, /) -> bytes:
        if self.tell() >= self._at:
            self._at = math.inf
            self._server.restart()
        return super().read(most)


@pytest.fixture(scope="module")
def large() -> bytes:
    return os.urandom(5 * MIB)


@pytest.mark.parametrize("at", [0, 3 * MIB, 5 * MIB], ids=["at the start", "in the middle", "before the end"])
def test_a_save_goes_through_although_the_server_was_killed(
    own_server: ServerProcess, connect_to: Callable[[Path], Any], large: bytes, at: int
) -> None:
    store = connect_to(own_server.socket)
    saved = store.save(Restarting(large, own_server, at, seekable=True), tag="models/x")
    assert (saved.id, saved.size, saved.entry.version) == (BlobId.of(large), len(large), 1)
    assert store.load("models/x") == large


def test_a_save_from_a_pipe_says_that_it_has_to_be_made_anew(
    own_server: ServerProcess, connect_to: Callable[[Path], Any], large: bytes
) -> None:
    store = connect_to(own_server.socket)
    with pytest.raises(NoServer, match="save it anew"):
        store.save(Restarting(large, own_server, 3 * MIB, seekable=False), tag="models/x")
    with pytest.raises(NotFound):
        store.get_tag("models/x")
    assert list(store.blobs()) == []
    assert list((own_server.root / "staging").iterdir()) == []


def test_a_pipe_that_was_not_read_yet_may_wait_for_the_server(
    own_server: ServerProcess, connect_to: Callable[[Path], Any], large: bytes
) -> None:
    store = connect_to(own_server.socket)
    own_server.restart()
    assert store.save(Restarting(large, own_server, 6 * MIB, seekable=False)).id == BlobId.of(large)


def test_calls_wait_for_a_server_that_is_restarted(
    own_server: ServerProcess, connect_to: Callable[[Path], Any], content: Content
) -> None:
    store = connect_to(own_server.socket)
    store.save(content(), tag="models/x")
    own_server.stop()
    waiting = in_thread(lambda: store.load("models/x"))
    own_server.start()
    assert waiting.result(SECONDS) == content()


def test_a_call_that_runs_while_the_server_drains_gets_its_answer(
    own_server: ServerProcess, connect_to: Callable[[Path], Any], large: bytes
) -> None:
    """SIGTERM in the middle of a load: it is finished before the server goes."""
    store = connect_to(own_server.socket)
    id = store.save(large).id
    stopped = []

    def begin(head: Any) -> Callable[[memoryview], None]:
        stopped.append(in_thread(own_server.stop))
        parts.clear()
        return lambda data: parts.append(bytes(data))

    parts: list[bytes] = []
    store.load_into(id, begin)
    assert b"".join(parts) == large
    assert [stop.result(SECONDS) for stop in stopped] == [0]


def test_another_store_behind_the_same_socket_is_not_taken_for_the_first(
    own_server: ServerProcess, connect_to: Callable[[Path], Any], folder: Path, content: Content
) -> None:
    store = connect_to(own_server.socket)
    store.save(content(), tag="models/x")
    own_server.stop()
    with ServerProcess(folder / "other", own_server.socket):
        for _ in range(2):
            with pytest.raises(Conflict, match="another store"):
                store.save(content(2), tag="models/x")
        with udfstore.connect(own_server.socket) as other:
            assert list(other.tags()) == []
