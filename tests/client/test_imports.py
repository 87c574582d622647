"""Importing udfstore costs little and changes nothing: it lives inside other people's programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kit import SECONDS, ServerProcess

_LOADED = """
import logging, sys
before = set(sys.modules)
import udfstore
{use}
allowed = set(sys.stdlib_module_names) | {{"udfstore", "google"}}
others = {{name.split(".")[0] for name in set(sys.modules) - before}} - allowed
assert not others, others
assert not logging.getLogger().handlers and not logging.getLogger("udfstore").handlers
"""

USES = {
    "import": "assert not any(name.startswith('udfstore.') and name != 'udfstore.version' for name in sys.modules)",
    "every name": "[getattr(udfstore, name) for name in udfstore.__all__]",
    "connect": """
with udfstore.connect(sys.argv[1]) as store:
    store.save(b"model", tag="imports/x")
    with store.follow("imports/x", lambda blob: blob.read()) as model:
        assert model.value == b"model"
""",
    "no server": """
with udfstore.open_store(sys.argv[2]) as store:
    store.save(b"model", tag="imports/x")
    with store.follow("imports/x", lambda blob: blob.read()) as model:
        assert model.value == b"model"
""",
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_nothing_is_loaded_but_protobuf_and_the_standard_library(server: ServerProcess, folder: Path, use: str) -> None:
    command = [sys.executable, "-W", "error", "-c", _LOADED.format(use=use), str(server.socket), str(folder / "root")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_asynchronous_store_names_its_extra() -> None:
    """Where anyio is not installed."""
    hidden = "import sys; sys.modules['anyio'] = None; import udfstore.aio"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert "pip install 'udfstore[aio]'" in done.stderr
