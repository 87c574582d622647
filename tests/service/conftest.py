from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_kit import Box


@pytest.fixture
def folder_of_root() -> Iterator[Path]:
    """A folder for a store, in memory where there is one: nothing here asks what a power cut would leave."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="udfstore-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def box(folder_of_root: Path) -> Iterator[Box]:
    box = Box(folder_of_root / "root")
    yield box
    box.store.close()
