"""kill -9 at every system call of a save, of a tag move and of a start: what was acknowledged is there afterwards.

A run without kills tells which calls a thread makes; then it is killed at the entry of each of them in turn. Starts
make thousands of calls that change nothing; those are left out unless `UDFSTORE_CRASH` is set.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_driver import LIMITS, content

from udfstore.digest import BlobId
from udfstore.refs import Tag
from udfstore.store import Store

EVERY_CALL = bool(os.environ.get("UDFSTORE_CRASH"))

CHANGING = re.compile(
    r"(?!.* = -1 )"
    r"(p?write|f(data)?sync|syncfs|rename|link|unlink|mkdir|ftruncate|fallocate|utimensat|openat.*O_(CREAT|RDWR))"
)
"""Lines of strace about calls that may change something on disk."""

ANY = re.compile(r"(?!read\(0,|exit|[^(]* )\w+\(")
"""Lines about calls, but for those by which the thread waits for its go and ends."""

KILLED = -9

Point = tuple[str, int]
"""A system call's name, and the how many-th of that name in its thread."""


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
        status, acknowledged = self._run(scenario, 0, thread, ["-o", str(trace)])
        assert status == 0
        counts: Counter[str] = Counter()
        points: list[Point] = []
        for line in trace.read_text().splitlines():
            name = line.partition("(")[0]
            counts[name] += 1
            if which.match(line):
                points.append((name, counts[name]))
        return points, acknowledged

    def kill(self, scenario: str, number: int, thread: str, point: Point) -> tuple[int, list[str]]:
        """One child, killed when `thread` enters that call: its status and what it acknowledged."""
        name, count = point
        inject = f"inject={name}:signal=KILL:when={count}"
        return self._run(scenario, number, thread, ["-o", "/dev/null", "-e", inject])

    def _run(self, scenario: str, number: int, thread: str, options: list[str]) -> tuple[int, list[str]]:
        self._write(f"{scenario} {self.root} {number}\n")
        _, main, committer = self._read().split()
        tid = main if thread == "main" else committer
        strace = subprocess.Popen(["strace", *options, "-p", tid], stderr=subprocess.PIPE, text=True)
        assert strace.stderr is not None
        with strace:
            said = strace.stderr.readline()
            if "attached" not in said:
                self.process.kill()
                pytest.skip(f"strace may not attach here: {said.strip()}")
            self._write("go\n")
            acknowledged: list[str] = []
            while not (line := self._read()).startswith("ended"):
                acknowledged.append(line)
            return int(line.split()[1]), acknowledged

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
def driver() -> Iterator[Driver]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    # A kill leaves what is in the page cache: the disk plays no part, memory is faster.
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="udfstore-", dir=memory if memory.is_dir() else None))
    driver = Driver(folder / "root")
    yield driver
    driver.close()
    shutil.rmtree(folder)


class Ledger:
    """What was acknowledged, and that a store still has it."""

    def __init__(self) -> None:
        self.saved: set[str] = set()
        self.moved: dict[int, str] = {}

    def add(self, acknowledged: list[str]) -> None:
        for line in acknowledged:
            match line.split():
                case ["saved", id]:
                    self.saved.add(id)
                case ["moved", version, id]:
                    assert int(version) not in self.moved, "a version number was given twice"
                    self.moved[int(version)] = id

    def check(self, root: Path) -> None:
        with Store(root, limits=LIMITS) as store:
            assert store.problem == ""
            for id in self.saved:
                store.verify(BlobId.parse(id))
            history = store.history(Tag.parse("t"), limit=100_000) if self.moved else []
            versions = {entry.version: entry for entry in history}
            assert sorted(versions) == list(range(1, len(history) + 1))
            for entry in history:
                assert entry.id is not None
                store.verify(entry.id)
            for version, id in self.moved.items():
                assert versions[version].id == BlobId.parse(id)
            assert list((root / "staging").iterdir()) == []


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
        ledger.add(acknowledged)
        ledger.check(driver.root)
        killed += status == KILLED
    assert killed > len(points) * 0.8, "threads wait for each other as it comes; most calls come each time"


def test_killed_at_each_call_of_a_start(driver: Driver) -> None:
    ledger = Ledger()
    with Store(driver.root, limits=LIMITS):
        pass
    ledger.add(driver.record("change", "main", ANY)[1])
    assert len(ledger.moved) == 1
    wreck = driver.root.with_name("wreck")
    shutil.copytree(driver.root, wreck)
    (wreck / "staging" / "leftover").write_bytes(content(0))
    for path in wreck.glob("catalog.db*"):
        path.unlink()
    shutil.rmtree(driver.root)
    shutil.copytree(wreck, driver.root)
    points, acknowledged = driver.record("start", "main", ANY if EVERY_CALL else CHANGING)
    assert acknowledged == ["opened"]
    killed = 0
    for number, point in enumerate(points, 1):
        if number % 3:  # else go on with what the last kill left
            shutil.rmtree(driver.root)
            shutil.copytree(wreck, driver.root)
        killed += driver.kill("start", number, "main", point)[0] == KILLED
        ledger.check(driver.root)
    assert killed > len(points) * 0.5, "every third start has less to do"
