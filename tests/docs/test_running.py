"""The commands of docs/running.md, run as they are written, print what the page says they print."""

from __future__ import annotations

import os
from pathlib import Path

from kit import ServerProcess
from page_kit import Page


def test_the_page_runs_from_top_to_bottom(tmp_path: Path, own_server: ServerProcess) -> None:
    unnamed = {name: value for name, value in os.environ.items() if not name.startswith(("UDFSTORE_", "XDG_"))}
    environment = {
        "HOME": str(tmp_path),
        "UDFSTORE_SOCKET": str(own_server.socket),
        "UDFSTORE_STATE": str(tmp_path / "state"),
    }
    assert Page("running.md", tmp_path, unnamed | environment).play() > 15
