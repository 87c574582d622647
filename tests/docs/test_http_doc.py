"""docs/http.md: its commands print what it says, its tables are those of the API and of the codes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from kit import ServerProcess
from page_kit import DOCS, Page

from udfstore.errors import CODES
from udfstore.http.app import application
from udfstore.http.asking import MOST, PAGE
from udfstore.http.connection import HEAD_BYTES
from udfstore.http.content import RANGES
from udfstore.http.events import HEARTBEAT_SECONDS
from udfstore.http.guard import ASKING, OPEN, _needed
from udfstore.server.limits import ServerLimits
from udfstore.store import StoreLimits

TEXT = (DOCS / "http.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table of a section."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert section
    table = re.search(r"^\|[-|]+\|\n((?:\|.*\n)+)", section[1], re.MULTILINE)
    assert table
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]


@pytest.fixture
def http_server(folder: Path) -> Iterator[ServerProcess]:
    options: dict[str, Any] = {"http": "127.0.0.1:0"}
    with ServerProcess(folder / "root", folder / "s", **options) as server:
        yield server


def test_the_page_runs_from_top_to_bottom(tmp_path: Path, http_server: ServerProcess) -> None:
    unnamed = {name: value for name, value in os.environ.items() if not name.startswith(("UDFSTORE_", "XDG_"))}
    url = re.search(r'"http": "(.*?)"', "".join(http_server.said))
    assert url
    environment = {
        "HOME": str(tmp_path),
        "UDFSTORE_SOCKET": str(http_server.socket),
        "URL": url[1],
        "ROOT": str(http_server.root),
    }
    assert Page("http.md", tmp_path, unnamed | environment).play() > 20


def test_every_route_is_told_with_the_token_that_it_needs() -> None:
    guard = cast(Any, application(cast(Any, None), (), 1.0))
    described = guard._app.openapi()["paths"]
    found = {(method.upper(), path) for path, methods in described.items() for method in methods}
    told = {tuple(row[0].strip("`").split()): row[1] for row in rows("Routes")}
    assert set(told) == found
    for (method, path), can in told.items():
        needed = "none" if path in OPEN else _needed(method, path).value
        assert can == needed, (method, path)
    assert all(("POST", path) in told for path in ASKING)


def test_every_code_is_told_with_its_status() -> None:
    told = {row[1].strip("`"): int(row[0]) for row in rows("Errors")}
    assert told == {code.value: meaning.http for code, meaning in CODES.items()}


def test_the_limits_are_those_of_the_code() -> None:
    limits = ServerLimits()
    for _, setting, text in rows("Limits"):
        assert text.startswith(f"{getattr(limits, setting.strip('`')):g}")
    assert f"has {PAGE} items, or up to {MOST} with" in TEXT
    assert f"(up to {RANGES}, in order" in TEXT
    assert f"above {HEAD_BYTES >> 10} KiB" in TEXT
    assert f"every {HEARTBEAT_SECONDS:g} seconds" in TEXT
    assert StoreLimits().upload_expiry_s == 24 * 3600
