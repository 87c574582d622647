"""Reads and writes that come only half as far as they could, and calls that signals interrupt: nothing notices.

A library before libc does it to the driver, SQLite included: saves, moves, uploads, removals, snapshots, starts.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from driver import Driver, check, note
from fault_driver import JOURNALED, take_rounds
from ledger import Ledger

from udfstore.store import Store

SOURCE = Path(__file__).with_name("short.c")


@pytest.fixture
def faltering(folder: Path) -> Iterator[Driver]:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc: make tools")
    library = folder / "short.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", SOURCE, "-o", library], check=True)
    driver = Driver(folder / "root", {"LD_PRELOAD": str(library)})
    yield driver
    driver.close()


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        ("change", ["saved", "moved"]),
        ("small", ["saved", "moved", "settled"]),
        ("upload", ["begun", "offset", "saved"]),
        ("remove", ["removing", "removed", "removing", "removed", "swept"]),
    ],
)
def test_calls_that_do_less_than_they_were_asked(faltering: Driver, scenario: str, says: list[str]) -> None:
    ledger = Ledger()
    with Store(faltering.root, limits=JOURNALED):
        pass
    for number in range(10):
        said = faltering.run(scenario, number)
        assert [line.split()[0] for line in said] == says
        note(ledger, said)
    assert faltering.run("start", 0) == ["opened"]
    check(ledger, faltering.root, JOURNALED)


def test_a_snapshot_and_shedding_by_such_calls(faltering: Driver) -> None:
    take_rounds(faltering.root, 160)
    assert faltering.run("snapshot", 0) == ["taken 161"]
    assert faltering.run("shed", 0) == ["swept"]
