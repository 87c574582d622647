"""kill -9 at every system call of a save, a move, shedding and a start, and a failure of each of their syncs.

What was acknowledged is there afterwards.

A run without kills tells which calls a thread makes; then it is killed at the entry of each of them in turn. Starts
and shedding make thousands of calls that change nothing; those, and two of three others, are left out unless
`UDFSTORE_CRASH` is set.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_driver import JOURNALED, LIMITS, content, take_rounds
from ledger import Ledger
from strace import ANY, CHANGING, EVERY_CALL, SYNC_OR_SAID, Point, attached, failing, killing, points

from udfstore.digest import BlobId
from udfstore.refs import Tag
from udfstore.store import Store, StoreLimits
from udfstore.store.small import Small

KILLED = -9


class Driver:
    """The driver process, and strace at one of its child's threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        command = [sys.executable, str(Path(__file__).with_name("fault_driver.py"))]
        paths = os.pathsep.join(path for path in sys.path if path)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": paths}, bufsize=0
        )

    def record(self, scenario: str, thread: str, which: re.Pattern[str]) -> tuple[list[Point], list[str]]:
        """One child that is left alone: those calls of `thread` whose line fits, and what it acknowledged."""
        trace = self.root.with_name("trace")
        status, acknowledged = self._run(scenario, 0, thread, ["-y", "-o", str(trace)])
        assert status == 0
        return points(trace, which), acknowledged

    def kill(self, scenario: str, number: int, thread: str, point: Point) -> tuple[int, list[str]]:
        """One child, killed when `thread` enters that call: its status and what it acknowledged."""
        return self._run(scenario, number, thread, killing(point))

    def fail(self, scenario: str, number: int, thread: str, point: Point) -> list[str]:
        """One child whose `thread` finds that this call fails: what it acknowledged."""
        status, acknowledged = self._run(scenario, number, thread, failing(point))
        assert status == 0
        return acknowledged

    def _run(self, scenario: str, number: int, thread: str, options: list[str]) -> tuple[int, list[str]]:
        self._write(f"{scenario} {self.root} {number}\n")
        threads = dict(zip(("main", "committer", "checkpoint"), self._until("ready").split()[1:], strict=True))
        with attached([int(threads[thread])], *options):
            self._write("go\n")
            acknowledged: list[str] = []
            while not (line := self._read()).startswith("ended"):
                acknowledged.append(line)
            return int(line.split()[1]), acknowledged

    def _until(self, word: str) -> str:
        while not (line := self._read()).startswith(word):
            pass
        return line

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


@pytest.fixture
def driver(folder: Path) -> Iterator[Driver]:
    driver = Driver(folder / "root")
    yield driver
    driver.close()


def note(ledger: Ledger, acknowledged: list[str]) -> None:
    """Keep what a child said."""
    for line in acknowledged:
        match line.split():
            case ["saved", id]:
                ledger.save(BlobId.parse(id))
            case ["moved", version, id]:
                ledger.move(int(version), BlobId.parse(id))


def check(ledger: Ledger, root: Path, limits: StoreLimits = LIMITS) -> None:
    with Store(root, limits=limits) as store:
        assert store.problem == ""
        history = store.history(Tag.parse("t"), limit=100_000) if ledger.moved else []
        ledger.check(root, store.verify, history)


@pytest.mark.parametrize("thread", ["main", "committer"])
def test_killed_at_each_call_of_a_save_and_a_move(driver: Driver, thread: str) -> None:
    ledger = Ledger()
    with Store(driver.root, limits=LIMITS):
        pass
    points, acknowledged = driver.record("change", thread, ANY)
    assert [line.split()[0] for line in acknowledged] == ["saved", "moved"]
    names = {name for name, _ in points}
    assert {"fdatasync", "linkat", "fsync"} <= names if thread == "main" else {"pwrite64", "fdatasync"} <= names
    killed = 0
    for number, point in enumerate(points, 1):
        status, acknowledged = driver.kill("change", number, thread, point)
        note(ledger, acknowledged)
        check(ledger, driver.root)
        killed += status == KILLED
    assert killed > len(points) * 0.8, "threads wait for each other as it comes; most calls come each time"


@pytest.mark.parametrize("thread", ["committer", "checkpoint"])
def test_killed_at_each_call_of_a_small_save_and_of_a_checkpoint(driver: Driver, thread: str) -> None:
    ledger = Ledger()
    with Store(driver.root, limits=JOURNALED):
        pass
    points, acknowledged = driver.record("small", thread, ANY if thread == "committer" else CHANGING)
    assert [line.split()[0] for line in acknowledged] == ["saved", "moved", "settled"]
    names = {name for name, _ in points}
    assert names >= ({"pwrite64", "fdatasync", "rename"} if thread == "committer" else {"syncfs", "pwrite64"})
    killed = 0
    for number, point in enumerate(points, 1):
        status, acknowledged = driver.kill("small", number, thread, point)
        note(ledger, acknowledged)
        killed += status == KILLED
        if number % 3:  # else the next one goes on with what this kill left
            check(ledger, driver.root, JOURNALED)
    check(ledger, driver.root, JOURNALED)
    assert killed > len(points) * 0.7, "threads wait for each other as it comes; most calls come each time"


def test_killed_at_each_call_of_a_resumable_upload(driver: Driver) -> None:
    with Store(driver.root, limits=LIMITS):
        pass
    points, acknowledged = driver.record("upload", "main", ANY)
    assert [line.split()[0] for line in acknowledged] == ["begun", "offset", "saved"]
    check_uploads(driver.root, content(0), dict(line.split() for line in acknowledged))
    assert {"fdatasync", "linkat", "fsync"} <= {name for name, _ in points}
    killed = 0
    for number, point in enumerate(points, 1):
        status, acknowledged = driver.kill("upload", number, "main", point)
        told = dict(line.split() for line in acknowledged)
        killed += status == KILLED
        check_uploads(driver.root, content(number), told)
    assert killed > len(points) * 0.8, "threads wait for each other as it comes; most calls come each time"


def check_uploads(root: Path, data: bytes, told: dict[str, str]) -> None:
    """What was told holds; each upload stands where its file ends, and can be gone on with to its end."""
    with Store(root, limits=LIMITS) as store:
        names = {path.name[:32] for path in (root / "uploads").iterdir()}
        assert names >= ({told["begun"]} if "begun" in told else set())
        for name in names:
            found = store.uploads.find(name)
            path = root / "uploads" / name
            assert found.complete or found.offset == path.stat().st_size
            assert found.offset >= int(told.get("offset", 0))
            assert found.complete or "saved" not in told
            part = store.uploads.append(name, found.offset)
            part.write(data[found.offset :])
            saved = part.finish()
            assert saved.id == BlobId.of(data)
            assert store.verify(saved.id).size == len(data)
            assert not path.exists()
            store.uploads.drop(name)


@pytest.mark.parametrize("thread", ["main", "committer"])
def test_killed_at_each_call_of_shedding(driver: Driver, thread: str) -> None:
    take_rounds(driver.root, 160)
    whole = driver.root.with_name("whole")
    shutil.copytree(driver.root, whole)
    points, acknowledged = driver.record("shed", thread, ANY if EVERY_CALL else CHANGING)
    points = points if EVERY_CALL else points[::3]
    assert acknowledged == ["swept"]
    left = check_rounds(driver.root, 160)
    assert len(left) < 80
    killed = 0
    for number, point in enumerate(points, 1):
        if number % 3 == 1:  # else go on with what the last kill left
            shutil.rmtree(driver.root)
            shutil.copytree(whole, driver.root)
        killed += driver.kill("shed", number, thread, point)[0] == KILLED
        if number % 2:
            for path in driver.root.glob("catalog.db*"):
                path.unlink()
        assert set(check_rounds(driver.root, 160)) >= set(left)
    driver.record("shed", thread, ANY)
    assert check_rounds(driver.root, 160) == left
    assert killed > len(points) * 0.3, "two of three have less to do"


def check_rounds(root: Path, count: int) -> list[int]:
    """The newest ten are there and whole, and the next would have the next number; all that are known."""
    tag = Tag.parse("snapshots/pump/auto")
    with Store(root, limits=LIMITS) as store:
        assert store.problem == ""
        kept = store.kept(tag)
        assert [entry.version for entry in kept] == list(range(count, count - 10, -1))
        for id in [id for entry in kept for id in (entry.id, *entry.links)]:
            assert id
            store.verify(id)
        return [entry.version for entry in store.history(tag, limit=1000)]


def test_killed_at_each_call_of_a_start(driver: Driver) -> None:
    ledger = Ledger()
    with Store(driver.root, limits=LIMITS):
        pass
    note(ledger, driver.record("change", "main", ANY)[1])
    assert len(ledger.moved) == 1
    with Store(driver.root, limits=JOURNALED) as store:
        lost = Small(BlobId.of(content(1)), content(1))
        store._yard.save_small(lost).result()
        ledger.save(lost.id)
        wreck = driver.root.with_name("wreck")
        shutil.copytree(driver.root, wreck)
    (wreck / "blobs" / lost.id.hex[:2] / lost.id.hex).unlink()
    (wreck / "staging" / "leftover").write_bytes(content(0))
    for path in wreck.glob("catalog.db*"):
        path.unlink()
    shutil.rmtree(driver.root)
    shutil.copytree(wreck, driver.root)
    points, acknowledged = driver.record("start", "main", ANY if EVERY_CALL else CHANGING)
    points = points if EVERY_CALL else points[::3]
    assert acknowledged == ["opened"]
    killed = 0
    for number, point in enumerate(points, 1):
        if number % 3:  # else go on with what the last kill left
            shutil.rmtree(driver.root)
            shutil.copytree(wreck, driver.root)
        killed += driver.kill("start", number, "main", point)[0] == KILLED
        check(ledger, driver.root)
    assert killed > len(points) * 0.5, "every third start has less to do"


@pytest.mark.parametrize(
    ("scenario", "thread", "said"),
    [("change", "main", 0), ("change", "committer", 1), ("upload", "main", 0), ("start", "main", 0)],
)
def test_no_acknowledgement_follows_a_failed_sync(driver: Driver, scenario: str, thread: str, said: int) -> None:
    """`said` is how many acknowledgements come before the thread's first sync."""
    ledger = Ledger()
    with Store(driver.root, limits=LIMITS):
        pass
    points, acknowledged = driver.record(scenario, thread, SYNC_OR_SAID)
    assert any(name != "write" for name, _ in points)
    kinds = [line.split()[0] for line in acknowledged]
    note(ledger, acknowledged)
    check(ledger, driver.root)  # its end folds the catalog's journal: each child begins like the first one
    for number, point in enumerate(points, 1):
        if point[0] == "write":
            said += 1
            continue
        acknowledged = driver.fail(scenario, number, thread, point)
        assert [line.split()[0] for line in acknowledged] == [*kinds[:said], "failed:"]
        note(ledger, acknowledged)
        check(ledger, driver.root)
