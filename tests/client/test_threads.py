"""One store used by many threads, and by the processes that are forked from them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit import SECONDS, ServerProcess, in_thread

import udfstore
from udfstore import BlobId, Busy, NoServer, UdfstoreError, UsageError

MIB = 1 << 20
Content = Callable[..., bytes]


@pytest.fixture(params=["socket", "local"])
def threaded(request: pytest.FixtureRequest, server: ServerProcess, folder: Path) -> Any:
    """A store for threads, of either kind."""
    with udfstore.connect(server.socket) if request.param == "socket" else udfstore.open_store(folder / "r") as store:
        yield store


def test_eight_threads_use_one_store_while_another_watches(threaded: Any, unique: str, content: Content) -> None:
    store, rounds, threads = threaded, 12, 8
    watching_since = threading.Event()

    def watch() -> list[int]:
        seen: list[int] = []
        for event in store.watch(f"{unique}/shared"):
            watching_since.set()
            seen += [entry.version for entry in event.entries]
            if len(seen) == rounds * threads:
                break
        return seen

    def use(thread: int) -> None:
        for number in range(rounds):
            data = content((thread, number))
            saved = store.save(data, tag=f"{unique}/own{thread}")
            assert saved.entry.version == number + 1
            assert store.load(f"{unique}/own{thread}") == data
            store.tag(f"{unique}/shared", saved.id)
            assert next(entry.version for entry in store.history(f"{unique}/own{thread}")) == number + 1

    watching = in_thread(watch)
    assert watching_since.wait(SECONDS)
    for done in [in_thread(lambda thread=thread: use(thread)) for thread in range(threads)]:
        done.result(SECONDS)
    assert watching.result(SECONDS) == list(range(1, rounds * threads + 1))


def test_large_saves_and_loads_share_the_connection(threaded: Any) -> None:
    def carry(data: bytes) -> bool:
        return bool(threaded.load(threaded.save(data).id) == data)

    contents = [os.urandom(5 * MIB) for _ in range(4)]
    assert all(done.result(SECONDS) for done in [in_thread(lambda data=data: carry(data)) for data in contents])


def test_more_calls_at_once_than_the_server_takes_wait_for_their_turn(
    server: ServerProcess, unique: str, content: Content
) -> None:
    with udfstore.connect(server.socket) as store:
        saves = [in_thread(lambda n=n: store.save(content(n)).id) for n in range(150)]
        assert [save.result(SECONDS) for save in saves] == [BlobId.of(content(n)) for n in range(150)]


def test_watches_that_leave_no_room_are_an_error_and_no_wait_for_ever(server: ServerProcess) -> None:
    with udfstore.connect(server.socket) as store:
        watches = [store.watch("nothing/") for _ in range(64)]
        for watch in watches:
            next(watch)
        with pytest.raises(Busy):
            store.status()
        watches[0].close()
        assert store.status().problem == ""
        for watch in watches:
            watch.close()


def test_closing_wakes_whoever_waits(own_server: ServerProcess) -> None:
    store = udfstore.connect(own_server.socket)
    waiting = threading.Event()

    class Source:
        """Content that comes for ever, to a server that no longer takes it."""

        def seekable(self) -> bool:
            return False

        def read(self, most: int) -> bytes:
            own_server.pause()
            waiting.set()
            return bytes(most)

    saving = in_thread(lambda: store.save(Source()))
    assert waiting.wait(SECONDS)
    asking = in_thread(store.status)
    store.close()
    with pytest.raises(NoServer):
        saving.result(SECONDS)
    with pytest.raises(UdfstoreError):
        asking.result(SECONDS)
    with pytest.raises(UsageError, match="closed"):
        store.status()
    store.close()


def test_closing_at_any_moment_is_an_error_of_ours_for_every_thread(server: ServerProcess, content: Content) -> None:
    data = content() * 10_000
    for turn in range(25):
        store = udfstore.connect(server.socket)
        started = threading.Barrier(5)

        def use(store: Any = store, started: threading.Barrier = started) -> None:
            started.wait(SECONDS)
            while True:
                store.load(store.save(data).id)

        running = [in_thread(use) for _ in range(4)]
        started.wait(SECONDS)
        for _ in range(turn):
            store.status()
        store.close()
        for done in running:
            with pytest.raises((NoServer, UsageError)):
                done.result(SECONDS)


_FORKING = """
import os, signal, sys, threading, warnings
import udfstore

warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads, which is what this is about

def session(store):
    (session,) = [s.id for s in store.sessions() if s.author.pid == os.getpid()]
    return session

store = udfstore.connect(sys.argv[1])
store.save(b"model", tag="models/x")
watch = store.watch("models/")
next(watch)
mine = session(store)
closed = udfstore.connect(sys.argv[1])
closed.close()
files = [open("/dev/zero", "rb", buffering=0) for _ in range(8)]  # with the descriptors that it had
stop = threading.Event()

def busy():
    while not stop.is_set():
        store.load("models/x")

threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
for turn in range(20):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # one that hangs does not stay
        try:
            watch.close()
            assert all(file.read(1) == bytes(1) for file in files)
            assert store.load("models/x") == b"model"
            assert session(store) != mine
            store.tag("models/child", "models/x")
            store.close()
        except BaseException as error:
            os.write(2, f"child: {error!r}".encode())
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
assert session(store) == mine, "the parent's connection is as it was"
assert next(watch).entries == ()
assert [next(watch).entries[0].version for _ in range(20)] == list(range(1, 21))
store.close()
print("done")
"""


def test_a_forked_child_gets_a_connection_of_its_own(own_server: ServerProcess) -> None:
    """Twenty children of a process whose other threads are in the middle of calls."""
    command = [sys.executable, "-c", _FORKING, str(own_server.socket)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * SECONDS, check=False)
    assert (done.stderr, done.stdout) == ("", "done\n")


_FORKING_LOCALLY = """
import os, sys
import udfstore

store = udfstore.open_store(sys.argv[1])
store.save(b"model", tag="models/x")
child = os.fork()
if child == 0:
    try:
        store.load("models/x")
    except udfstore.UsageError as error:
        os.write(1, str(error).encode())
    store.close()
    os._exit(0)
os.waitpid(child, 0)
assert store.save(b"newer", tag="models/x").entry.version == 2
store.close()
with udfstore.open_store(sys.argv[1]) as again:
    assert again.load("models/x") == b"newer"
"""


def test_a_forked_child_is_told_that_the_local_store_is_its_parents(folder: Path) -> None:
    command = [sys.executable, "-c", _FORKING_LOCALLY, str(folder / "root")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.stderr == ""
    assert "belongs to the parent" in done.stdout
