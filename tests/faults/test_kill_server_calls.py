"""kill -9 of a real server at every system call of a save and of a tag move, thread by thread.

A run without kills tells which calls a thread makes; then the server is killed at the entry of each of them in turn and
started again. Its client repeats what was cut off, so every change is made in the end, and one that was made twice
would show as a version too many. Calls that change nothing on disk are left out unless `UDFSTORE_CRASH` is set, but for
the loop's, which take requests and send acknowledgements.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path

import pytest
from fault_driver import content
from kit import SECONDS, ServerProcess, in_thread
from ledger import Ledger
from strace import ANY, CHANGING, EVERY_CALL, Point, attached, killing, points

import udfstore

WHICH = ANY if EVERY_CALL else re.compile(rf"{CHANGING.pattern}|(recv|send)msg")

SURE = {
    "loop": {"recvmsg", "sendmsg"},
    "committer": {"pwrite64", "fdatasync", "rename"},
    "worker": {"openat", "write", "fdatasync", "linkat", "unlink", "fsync"},
}
"""For each kind of thread, calls without which the recording missed something."""

LARGE = {"worker": 20}
"""For kinds of threads that have no part in a small save: how many times the usual content is saved."""

AS_IT_COMES = {"futex", "epoll_wait", "epoll_ctl", "recvfrom"}
"""How often threads wait for each other differs from run to run; not each of these comes again."""


class Victim:
    """A server that is killed, and a client that does not mind."""

    def __init__(self, server: ServerProcess, store: udfstore.Store) -> None:
        self.ledger = Ledger()
        self._server = server
        self._store = store
        self._numbers = itertools.count()
        self.times = 1

    def record(self, kind: str) -> list[Point]:
        """The points of a change that is left alone, in the threads of that kind."""
        trace = self._server.root.with_name("trace")
        threads = self._threads(kind)
        with attached([self._server.pid], "-ff", "-o", str(trace)):
            self._change()
        found = (points(trace.with_name(f"trace.{thread}"), WHICH) for thread in threads)
        return list(dict.fromkeys(itertools.chain.from_iterable(found)))

    def kill(self, kind: str, point: Point) -> bool:
        """Make a change; the server is killed at the point and started again. Says whether the thread came there."""
        with attached(self._threads(kind), *killing(point)) as strace:
            changed, ended = in_thread(self._change), in_thread(strace.wait)
            assert wait([changed, ended], SECONDS, FIRST_COMPLETED).done
            struck = ended.done()
            self._server.restart()
        changed.result(SECONDS)
        return struck

    def check(self) -> None:
        history = list(self._store.history("t"))
        self.ledger.check(self._server.root, self._store.verify, history)
        assert len(history) == len(self.ledger.moved), "a change happened twice"

    def _change(self) -> None:
        """Save a blob, then move a tag to it."""
        id = self._store.save(self.times * content(next(self._numbers))).id
        self.ledger.save(id)
        self.ledger.move(self._store.tag("t", id).version, id)

    def _threads(self, kind: str) -> list[int]:
        """IDs of the threads that a change is made by, all of them waiting for work.

        The kernel lists them as they were born: that of the loop, the journal's, the committer's, then workers.
        """
        self._change()  # what is made at first use is there from now on
        loop, _, committer, *workers = (int(path.name) for path in Path(f"/proc/{self._server.pid}/task").iterdir())
        return {"loop": [loop], "committer": [committer], "worker": workers}[kind]


@pytest.fixture
def victim(own_server: ServerProcess) -> Iterator[Victim]:
    with udfstore.connect(own_server.socket) as store:
        yield Victim(own_server, store)


@pytest.mark.parametrize("kind", SURE)
def test_killed_at_each_call_of_a_save_and_a_move(victim: Victim, kind: str) -> None:
    victim.times = LARGE.get(kind, 1)
    calls = victim.record(kind)
    assert SURE[kind] <= {name for name, _ in calls}
    missed = []
    for point in calls:
        if not victim.kill(kind, point):
            missed.append(point)
        victim.check()
    steady = [point for point in calls if point[0] not in AS_IT_COMES]
    assert len(set(steady).intersection(missed)) < len(steady) * 0.2
