from __future__ import annotations

import re
from pathlib import Path

import pytest
from bridge_kit import Bridge
from kit import ServerProcess


@pytest.fixture
def bridge(folder: Path, server: ServerProcess) -> Bridge:
    """A bridge to the server that all tests share."""
    return Bridge(folder, server.socket)


@pytest.fixture
def task(request: pytest.FixtureRequest) -> str:
    """The name of a task that no other test uses, in two scripts and with what tags escape."""
    return f"größe/水 {re.sub(r'[^a-z0-9]+', '-', request.node.name)[-80:]}"
