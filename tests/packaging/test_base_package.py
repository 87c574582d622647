"""The base package in environments that have nothing but some version of protobuf."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from kit import SECONDS, ServerProcess

_PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
(_PROTOBUF,) = _PROJECT["dependencies"]
OLDEST = re.sub(r">=(\d+\.\d+).*", r"==\1.*", _PROTOBUF)
NEWEST = "protobuf"

USE = """
import queue, sys
import udfstore
from google.protobuf.internal import api_implementation

swapped = queue.Queue()

def load(blob):
    content = blob.read()
    swapped.put(blob.version)
    return content

def use(store):
    saved = store.save(b"first", tag="models/x", note="v1")
    assert store.load("models/x") == b"first" and store.load(saved.id) == b"first"
    with store.follow("models/x", load) as model:
        assert (model.value, swapped.get(timeout=30)) == (b"first", 1)
        store.save(b"second", tag="models/x", note="v2")
        assert swapped.get(timeout=30) == 2
        store.rollback("models/x")
        assert swapped.get(timeout=30) == 3
    assert [entry.note for entry in store.history("models/x")] == ["", "v2", "v1"]

with udfstore.connect(sys.argv[1]) as store:
    use(store)
with udfstore.open_store(sys.argv[2]) as store:
    use(store)
print(api_implementation.Type())
"""


def run(python: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Far from the checkout, so that only what is installed can be imported."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("UDFSTORE_", "PYTHON"))}
    return subprocess.run(
        [python, "-W", "error", *arguments],
        cwd="/",
        env=clean | environ,
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,
        check=False,
    )


@pytest.mark.parametrize("implementation", ["upb", "python"])
@pytest.mark.parametrize("requirement", [OLDEST, NEWEST], ids=["oldest protobuf", "newest protobuf"])
def test_client_follower_and_local_store_work_with_protobuf_alone(
    installed: Callable[[str], Path], own_server: ServerProcess, folder: Path, requirement: str, implementation: str
) -> None:
    python = installed(requirement)
    place = [str(own_server.socket), str(folder / "local")]
    done = run(python, "-c", USE, *place, PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=implementation)
    assert (done.stderr, done.stdout) == ("", f"{implementation}\n")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [(["-m", "udfstore", "status"], "server"), (["-c", "import udfstore.aio"], "aio")],
    ids=["command line", "asynchronous client"],
)
def test_what_needs_an_extra_names_it(installed: Callable[[str], Path], arguments: list[str], extra: str) -> None:
    done = run(installed(OLDEST), *arguments)
    assert done.returncode != 0
    assert f"pip install 'udfstore[{extra}]'" in done.stderr


def test_its_types_are_told_to_type_checkers(installed: Callable[[str], Path]) -> None:
    """The marker of PEP 561 and the stubs of the generated code."""
    where = run(installed(OLDEST), "-c", "import udfstore; print(udfstore.__path__[0])").stdout.strip()
    assert Path(where, "py.typed").exists()
    assert Path(where, "_pb", "udfstore_pb2.pyi").exists()
