"""The Python of docs/udf-authors.md runs, block after block, against a server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from kit import SECONDS, ServerProcess

PAGE = Path(__file__).parents[2] / "docs" / "udf-authors.md"


def test_the_page_runs_from_top_to_bottom(tmp_path: Path, own_server: ServerProcess) -> None:
    for name in ("model.onnx", "model-2.onnx"):
        (tmp_path / name).write_bytes(name.encode())
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 3
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-c", block],
            cwd=tmp_path,
            env={**os.environ, "UDFSTORE_SOCKET": str(own_server.socket)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"
