from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from browser_kit import anonymous, browser, chromium, open_page, pages, somebody  # noqa: F401 - fixtures for these tests
from http_kit import HttpServer


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """A server that the tests of a module share; take names below `unique`."""
    with HttpServer(tmp_path_factory.mktemp("http")) as server:
        yield server


@pytest.fixture(scope="module")
def api(live: HttpServer) -> Iterator[httpx.Client]:
    """Somebody who may do everything."""
    with live.client() as client:
        yield client
