"""The driver process seen from the tests: what a thread of its child does, a kill or a failure at one of its calls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from fault_driver import AUTHOR, JOURNALED, LIMITS, content, save
from ledger import Ledger
from strace import Point, attached, failing, killing, points

from udfstore.calls import Delete
from udfstore.digest import BlobId
from udfstore.refs import Ref, Tag
from udfstore.store import Store, StoreLimits
from udfstore.store.small import Small

KILLED = -9
"""Status of a child that was."""

THREADS = ("main", "committer", "checkpoint", "remover")
"""Those of a child, as it names them when it is ready."""


class Driver:
    """The driver process, and strace at one of its child's threads."""

    def __init__(self, root: Path, environment: Mapping[str, str] = {}) -> None:
        self.root = root
        self.trace = root.with_name("trace")
        command = [sys.executable, str(Path(__file__).with_name("fault_driver.py"))]
        paths = os.pathsep.join(path for path in sys.path if path)
        variables = {**os.environ, "PYTHONPATH": paths, **environment}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables, bufsize=0
        )

    def record(self, scenario: str, thread: str, which: re.Pattern[str]) -> tuple[list[Point], list[str]]:
        """One child that is left alone: those calls of `thread` whose line fits, and what it acknowledged."""
        status, acknowledged = self._run(scenario, 0, thread, ["-y", "-o", str(self.trace)])
        assert status == 0
        return points(self.trace, which), acknowledged

    def kill(self, scenario: str, number: int, thread: str, point: Point) -> tuple[int, list[str]]:
        """One child, killed when `thread` enters that call: its status and what it acknowledged."""
        return self._run(scenario, number, thread, killing(point))

    def fail(self, scenario: str, number: int, thread: str, point: Point, error: str) -> list[str]:
        """One child whose `thread` finds that this call fails: what it said. Its syncs are in the trace then."""
        options = ["-y", "-o", str(self.trace), *failing(point, error)]
        status, said = self._run(scenario, number, thread, options)
        assert status == 0, "an error that is none of the store's"
        return said

    def run(self, scenario: str, number: int) -> list[str]:
        """One child that is left alone: what it said."""
        self._begin(scenario, number)
        status, said = self._end()
        assert status == 0
        return said

    def _run(self, scenario: str, number: int, thread: str, options: list[str]) -> tuple[int, list[str]]:
        threads = self._begin(scenario, number)
        with attached([threads[thread]], *options):
            return self._end()

    def _begin(self, scenario: str, number: int) -> dict[str, int]:
        """Have a child get ready; gives its threads."""
        self._write(f"{scenario} {self.root} {number}\n")
        while not (line := self._read()).startswith("ready"):
            assert not line.startswith("ended"), "the child ended before its go"
        return dict(zip(THREADS, map(int, line.split()[1:]), strict=True))

    def _end(self) -> tuple[int, list[str]]:
        """Let it go; gives its status and what it said."""
        self._write("go\n")
        said: list[str] = []
        while not (line := self._read()).startswith("ended"):
            said.append(line)
        return int(line.split()[1]), said

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def _write(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        assert line, "the driver ended"
        return line.strip()


def note(ledger: Ledger, acknowledged: list[str]) -> None:
    """Keep what a child said."""
    for line in acknowledged:
        match line.split():
            case ["saved", id]:
                ledger.save(BlobId.parse(id))
            case ["moved", version, id]:
                ledger.move(int(version), BlobId.parse(id))
            case ["removing", id]:
                ledger.remove(BlobId.parse(id))
            case ["removed", id]:
                ledger.gone(BlobId.parse(id))


def check(ledger: Ledger, root: Path, limits: StoreLimits = LIMITS) -> None:
    with Store(root, limits=limits) as store:
        assert store.problem == ""
        history = store.history(Tag.parse("t"), limit=100_000) if ledger.moved else []
        ledger.check(root, store.verify, history)


def check_rounds(root: Path, newest: int) -> list[int]:
    """The newest ten are there and whole, and none before `newest` is lost; gives all that are known."""
    tag = Tag.parse("snapshots/pump/auto")
    with Store(root, limits=LIMITS) as store:
        assert store.problem == ""
        kept = store.kept(tag)
        head = kept[0].version
        assert head >= newest, "a snapshot was lost"
        assert [entry.version for entry in kept] == list(range(head, head - 10, -1))
        for id in [id for entry in kept for id in (entry.id, *entry.links)]:
            assert id
            store.verify(id)
        return [entry.version for entry in store.history(tag, limit=100_000)]


def wreck(driver: Driver, ledger: Ledger) -> Path:
    """A copy of a root as a power cut may leave it: all that a start mends is to be mended.

    A small blob without its file, half a save, a deletion whose file has not moved, a torn end of the log, no catalog.
    """
    with Store(driver.root, limits=LIMITS):
        pass
    note(ledger, driver.record("change", "main", re.compile(""))[1])
    assert len(ledger.moved) == 1
    place = driver.root.with_name("wreck")
    with Store(driver.root, limits=JOURNALED) as store:
        deleted = save(store, content(2))
        store.submit(Delete(Ref.of(deleted), request=b"deleted by wreck"), AUTHOR).result()
        ledger.remove(deleted)
        ledger.gone(deleted)
        lost = Small(BlobId.of(content(1)), content(1))
        store._yard.save_small(lost).result()  # behind the deletion, which has a checkpoint made
        ledger.save(lost.id)
        end = store._parts.committer._log.head.end
        shutil.copytree(driver.root, place)
    (place / "blobs" / lost.id.hex[:2] / lost.id.hex).unlink()
    (place / "trash" / deleted.hex).rename(place / "blobs" / deleted.hex[:2] / deleted.hex)
    (place / "staging" / "leftover").write_bytes(content(0))
    with (place / "log" / "00000001").open("r+b") as log:
        log.seek(end)
        log.write(b"\xf5UG1 and no more")
    for path in place.glob("catalog.db*"):
        path.unlink()
    return place


def put(copy: Path, root: Path) -> None:
    """Make a root what a copy of one is."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(copy, root)
