from __future__ import annotations

from collections.abc import Iterator

import pytest
from live_server import LiveServer


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with the limits that it has by default."""
    with LiveServer(tmp_path_factory.mktemp("live")) as server:
        yield server
