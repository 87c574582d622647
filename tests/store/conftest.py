from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_kit import Clock, open_store

from udfstore.store import Store


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder for a store, in memory where there is one: nothing here asks what a power cut would leave."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="udfstore-", dir=memory if memory.is_dir() else None))
    yield folder / "root"
    shutil.rmtree(folder)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(root: Path, clock: Clock) -> Iterator[Store]:
    with open_store(root, clock=clock) as store:
        yield store
