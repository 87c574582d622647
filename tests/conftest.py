from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from kit import ServerProcess


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """What a test makes of the log ends with it, and with the stream that it wrote to."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: a socket's path has at most 107 bytes. In memory, for speed."""
    yield from _folder()


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """A running server that all tests share; take names below `unique`."""
    for place in _folder():
        with ServerProcess(place / "root", place / "s") as running:
            yield running


@pytest.fixture
def own_server(folder: Path) -> Iterator[ServerProcess]:
    """A running server of this test's own."""
    with ServerProcess(folder / "root", folder / "s") as running:
        yield running


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A folder of tags that no other test uses."""
    return "t/" + "".join(c if c.isalnum() else "-" for c in request.node.nodeid)[-150:].strip("-")


@pytest.fixture
def content(unique: str) -> Callable[[object], bytes]:
    """Content that no other test saves, one for each argument."""
    return lambda which="": f"{unique} {which}".encode()


def _folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="udfstore-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
