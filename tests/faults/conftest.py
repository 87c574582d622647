from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from driver import Driver
from logdisk import lacking, private_mounts, with_disks


@pytest.fixture(scope="session")
def _process() -> Iterator[ProcessPoolExecutor]:
    """A process with mounts of its own; it begins with its first work."""
    context = multiprocessing.get_context("spawn")  # a child of this very process, with which it ends
    with ProcessPoolExecutor(1, mp_context=context, initializer=private_mounts) as process:
        yield process


@pytest.fixture
def apart(_process: ProcessPoolExecutor) -> Callable[..., Any]:
    """Calls `body(filesystem, *arguments)` where it may make disks; skips the test where that cannot be.

    Body and arguments go to another process: functions of a module, and plain values.
    """

    def call(body: Callable[..., Any], filesystem: str, *arguments: object) -> Any:
        reason = lacking(filesystem)
        if reason:
            pytest.skip(reason)
        return _process.submit(with_disks, body, filesystem, *arguments).result()

    return call


@pytest.fixture
def driver(folder: Path) -> Iterator[Driver]:
    driver = Driver(folder / "root")
    yield driver
    driver.close()
