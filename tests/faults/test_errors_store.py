"""An error at every system call of a save, a move, a removal, a snapshot, a checkpoint, shedding and a start.

The caller is told, or what it was told is true: what was acknowledged is there after the next start. A run without
errors tells which calls a thread makes; then each of them in turn fails once, as it does when the disk is broken, full,
or over a quota. Each call gets one of the three errors in turn, and all of them when `UDFSTORE_CRASH` is set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import cycle

import pytest
from driver import Driver, check, check_rounds, note, put, wreck
from fault_driver import JOURNALED, LIMITS, take_rounds
from ledger import Ledger
from strace import EVERY_CALL, FALLIBLE, SYNC_OR_SAID, Point, points, synced_again

from udfstore.store import Store

ERRORS = ("EIO", "ENOSPC", "EDQUOT")


def failures(calls: list[Point]) -> Iterator[tuple[int, Point, str]]:
    """Numbered: the calls, each with the errors to try at it."""
    turn = cycle(ERRORS)
    pairs = [(point, error) for point in calls for error in (ERRORS if EVERY_CALL else [next(turn)])]
    return ((number, point, error) for number, (point, error) in enumerate(pairs, 1))


@pytest.mark.parametrize(
    ("scenario", "thread"),
    [
        ("change", "main"),
        ("change", "committer"),
        ("small", "committer"),
        ("small", "checkpoint"),
        ("upload", "main"),
        ("remove", "main"),
        ("remove", "committer"),
        ("remove", "remover"),
    ],
)
def test_an_error_is_told_or_does_no_harm(driver: Driver, scenario: str, thread: str) -> None:
    ledger = Ledger()
    with Store(driver.root, limits=JOURNALED):
        pass
    every, said = driver.record(scenario, thread, FALLIBLE)
    note(ledger, said)
    assert every
    told = 0
    for number, point, error in failures(every):
        said = driver.fail(scenario, number, thread, point, error)
        told += any(line.startswith("failed") for line in said)
        note(ledger, said)
        assert not synced_again(driver.trace)
        check(ledger, driver.root, JOURNALED)
    assert told or thread == "checkpoint"


@pytest.mark.parametrize("thread", ["main", "committer", "remover"])
def test_an_error_in_a_snapshot_is_told_or_does_no_harm(driver: Driver, thread: str) -> None:
    take_rounds(driver.root, 12)
    every, _ = driver.record("snapshot", thread, FALLIBLE)
    newest = 13
    for number, point, error in failures(every):
        said = driver.fail("snapshot", number, thread, point, error)
        newest = max([newest, *(int(line.split()[1]) for line in said if line.startswith("taken"))])
        assert not synced_again(driver.trace)
        check_rounds(driver.root, newest)


def test_an_error_in_shedding_is_told_or_does_no_harm(driver: Driver) -> None:
    take_rounds(driver.root, 160)
    whole = driver.root.with_name("whole")
    put(driver.root, whole)
    every, _ = driver.record("shed", "main", FALLIBLE)
    left = check_rounds(driver.root, 160)
    for number, point, error in failures(every if EVERY_CALL else every[::2]):
        put(whole, driver.root)
        driver.fail("shed", number, "main", point, error)
        assert not synced_again(driver.trace)
        assert set(check_rounds(driver.root, 160)) >= set(left)


def test_an_error_in_a_start_is_told_or_does_no_harm(driver: Driver) -> None:
    ledger = Ledger()
    place = wreck(driver, ledger)
    put(place, driver.root)
    every, _ = driver.record("start", "main", FALLIBLE)
    put_in_place = points(driver.trace, re.compile(r"pwrite64\(\d+<[^>]*/catalog\.new>"))[-6:]
    for number, point, error in failures(every if EVERY_CALL else [*every[::12], *put_in_place]):
        if number % 2:  # else go on with what the last failure left
            put(place, driver.root)
        driver.fail("start", number, "main", point, error)
        assert not synced_again(driver.trace)
        check(ledger, driver.root)


def test_a_failed_sync_of_the_log_ends_writing(driver: Driver) -> None:
    with Store(driver.root, limits=LIMITS):
        pass
    syncs, _ = driver.record("change", "committer", re.compile(r"fdatasync\(\d+<.*/root/log/\d+>"))
    assert syncs
    check(Ledger(), driver.root)  # its end folds the catalog's journal: each child begins like the first one
    for number, error in enumerate(ERRORS, 1):
        said = driver.fail("change", number, "committer", syncs[0], error)
        failed, refused = said[-2:]
        check(Ledger(), driver.root)
        assert failed.startswith("failed: the store takes no writes: writing the log failed")
        assert refused.startswith("refused: the store takes no writes")


@pytest.mark.parametrize(
    ("scenario", "thread", "said"),
    [("change", "main", 0), ("change", "committer", 1), ("upload", "main", 0), ("start", "main", 0)],
)
def test_no_acknowledgement_follows_a_failed_sync(driver: Driver, scenario: str, thread: str, said: int) -> None:
    """`said` is how many acknowledgements come before the thread's first sync."""
    ledger = Ledger()
    with Store(driver.root, limits=LIMITS):
        pass
    every, acknowledged = driver.record(scenario, thread, SYNC_OR_SAID)
    assert any(name != "write" for name, _ in every)
    kinds = [line.split()[0] for line in acknowledged]
    note(ledger, acknowledged)
    check(ledger, driver.root)  # its end folds the catalog's journal: each child begins like the first one
    for number, point in enumerate(every, 1):
        if point[0] == "write":
            said += 1
            continue
        acknowledged = driver.fail(scenario, number, thread, point, "EIO")
        assert [line.split()[0] for line in acknowledged][: said + 1] == [*kinds[:said], "failed:"]
        note(ledger, acknowledged)
        check(ledger, driver.root)
