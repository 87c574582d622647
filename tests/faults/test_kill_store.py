"""kill -9 at every system call of a save, a move, a removal, a snapshot, shedding and a start.

What was acknowledged is there afterwards.

A run without kills tells which calls a thread makes; then it is killed at the entry of each of them in turn. Shedding
makes thousands of calls that change nothing; those, and most of the others, are left out unless `UDFSTORE_CRASH` is
set. Of a start, which makes thousands too, only those are tried that may change something.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from driver import KILLED, Driver, check, check_rounds, note, put, wreck
from fault_driver import JOURNALED, LIMITS, content, take_rounds
from ledger import Ledger
from strace import ANY, CHANGING, EVERY_CALL

from udfstore.digest import BlobId
from udfstore.store import Store


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
            put(whole, driver.root)
        killed += driver.kill("shed", number, thread, point)[0] == KILLED
        if number % 2:
            for path in driver.root.glob("catalog.db*"):
                path.unlink()
        assert set(check_rounds(driver.root, 160)) >= set(left)
    driver.record("shed", thread, ANY)
    assert check_rounds(driver.root, 160) == left
    assert killed > len(points) * 0.3, "two of three have less to do"


@pytest.mark.parametrize("thread", ["main", "committer", "remover"])
def test_killed_at_each_call_of_a_removal(driver: Driver, thread: str) -> None:
    ledger = Ledger()
    with Store(driver.root, limits=JOURNALED):
        pass
    points, said = driver.record("remove", thread, ANY if EVERY_CALL else CHANGING)
    assert [line.split()[0] for line in said] == ["removing", "removed", "removing", "removed", "swept"]
    assert {"main": "unlink", "committer": "fdatasync", "remover": "rename"}[thread] in {name for name, _ in points}
    killed = 0
    for number, point in enumerate(points, 1):
        status, said = driver.kill("remove", number, thread, point)
        note(ledger, said)
        killed += status == KILLED
        check(ledger, driver.root, JOURNALED)
        if "swept" in said:
            assert not list((driver.root / "trash").iterdir())
    assert killed > len(points) * 0.7, "threads wait for each other as it comes; most calls come each time"


@pytest.mark.parametrize("thread", ["main", "committer", "remover"])
def test_killed_at_each_call_of_a_snapshot(driver: Driver, thread: str) -> None:
    take_rounds(driver.root, 12)
    points, said = driver.record("snapshot", thread, ANY if EVERY_CALL else CHANGING)
    assert said == ["taken 13"]
    newest = killed = 0
    for number, point in enumerate(points, 1):
        status, said = driver.kill("snapshot", number, thread, point)
        newest = max([newest, *(int(line.split()[1]) for line in said)])
        killed += status == KILLED
        check_rounds(driver.root, newest)
    assert killed > len(points) * 0.7, "threads wait for each other as it comes; most calls come each time"


def test_killed_at_each_call_of_a_start(driver: Driver) -> None:
    ledger = Ledger()
    place = wreck(driver, ledger)
    put(place, driver.root)
    points, acknowledged = driver.record("start", "main", CHANGING)  # a tenth of all; the others leave what they find
    points = points if EVERY_CALL else points[::10]
    assert acknowledged == ["opened"]
    killed = 0
    for number, point in enumerate(points, 1):
        if number % 3:  # else go on with what the last kill left
            put(place, driver.root)
        killed += driver.kill("start", number, "main", point)[0] == KILLED
        check(ledger, driver.root)
    assert killed > len(points) * 0.5, "every third start has less to do"


def test_a_start_that_is_killed_again_and_again_gets_there(driver: Driver) -> None:
    """Each begins with what the one before left, and comes a little further."""
    ledger = Ledger()
    place = wreck(driver, ledger)
    put(place, driver.root)
    points, _ = driver.record("start", "main", CHANGING)
    put(place, driver.root)
    ends = [driver.kill("start", 0, "main", point)[0] for point in points[:: 1 if EVERY_CALL else 10]]
    assert ends.count(KILLED) > 25, "30 or so bring it there, however many are tried"
    check(ledger, driver.root)
