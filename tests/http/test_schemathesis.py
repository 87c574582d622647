"""The API keeps its own description: schemathesis asks it whatever that allows, and much that it does not.

Left out: `/v1/events`, whose answer has no end.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from http_kit import HttpServer

EXAMPLES = 4
"""Of each operation and kind of data: with the fixed cases of its coverage some thousand requests."""

CONFIG = """
hooks = "hooks"
seed = 1
generation.database = "none"
generation.max-examples = {examples}
headers = {{ Authorization = "Bearer {token}" }}
parameters = {{ cursor = "" }}
checks.positive_data_acceptance.expected-statuses = ["2xx", "304", "404", "409", "410", "412", "422"]

[[operations]]
include-path-regex = "^/v1/uploads"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "410", "415", "422"]
"""
"""A cursor has to come from an answer. 422 is what a body meets that its schema cannot rule out (content under another
ID, a note of too many bytes); 400 at uploads, headers that contradict each other."""

HOOKS = """
import schemathesis

schemathesis.serializer.alias("application/partial-upload", "application/octet-stream")
"""


def test_the_api_keeps_its_description(tmp_path: Path) -> None:
    with HttpServer(tmp_path) as server:
        with server.client() as client:
            saved = client.post("/v1/blobs", content=b"content").raise_for_status().json()
            client.put("/v1/tags/0", json={"ref": saved["id"]}).raise_for_status()
        config = tmp_path / "schemathesis.toml"
        config.write_text(CONFIG.format(examples=EXAMPLES, token=server.token))
        (tmp_path / "hooks.py").write_text(HOOKS)
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
        command += ["--exclude-path=/v1/events", "--no-color", f"{server.url}/openapi.json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
