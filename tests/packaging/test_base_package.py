"""The base package in environments that have nothing but some version of protobuf."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from kit import SECONDS, ServerProcess

import udfstore
from udfstore._pb import udfstore_pb2 as pb
from udfstore.wire import codec, limits
from udfstore.wire.framing import FrameReader

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

COUNTER = """
from udfstore.agent import Agent, Handler, udf_pb2

class Counter(Handler):
    count = 0
    def info(self):
        return udf_pb2.Response(info=udf_pb2.InfoResponse(wants=udf_pb2.STREAM, provides=udf_pb2.STREAM))
    def point(self, point):
        self.count += 1
        response = udf_pb2.Response(point=point)
        response.point.fieldsInt["count"] = self.count
        agent.write_response(response)
    def snapshot(self):
        return udf_pb2.Response(snapshot=udf_pb2.SnapshotResponse(snapshot=str(self.count).encode()))
    def restore(self, restore_req):
        self.count = int(restore_req.snapshot)
        return udf_pb2.Response(restore=udf_pb2.RestoreResponse(success=True))

agent = Agent()
agent.handler = Counter()
agent.start()
agent.wait()
"""

LOADED = """
import sys
before = set(sys.modules)
import udfstore.agent
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - sys.stdlib_module_names))
"""


def run(python: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Far from the checkout, so that only what is installed can be imported."""
    return subprocess.run(
        [python, "-W", "error", *arguments],
        cwd="/",
        env=_clean() | environ,
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,
        check=False,
    )


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("UDFSTORE_", "PYTHON"))}


@pytest.mark.parametrize("implementation", ["upb", "python"])
@pytest.mark.parametrize("requirement", [OLDEST, NEWEST], ids=["oldest protobuf", "newest protobuf"])
def test_client_follower_and_local_store_work_with_protobuf_alone(
    installed: Callable[[str], Path], own_server: ServerProcess, folder: Path, requirement: str, implementation: str
) -> None:
    python = installed(requirement)
    place = [str(own_server.socket), str(folder / "local")]
    done = run(python, "-c", USE, *place, PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=implementation)
    assert (done.stderr, done.stdout) == ("", f"{implementation}\n")


@pytest.mark.parametrize("implementation", ["upb", "python"])
@pytest.mark.parametrize("requirement", [OLDEST, NEWEST], ids=["oldest protobuf", "newest protobuf"])
def test_a_udf_on_the_agent_works_with_protobuf_alone(
    installed: Callable[[str], Path], requirement: str, implementation: str
) -> None:
    """Under a host that is Kapacitor."""
    questions = [
        pb.Request(info=pb.InfoRequest()),
        pb.Request(init=pb.InitRequest(taskID="task", nodeID="counter1")),
        pb.Request(restore=pb.RestoreRequest(snapshot=b"41")),
        pb.Request(point=pb.Point(name="m", fieldsDouble={"value": 1.5})),
        pb.Request(snapshot=pb.SnapshotRequest()),
    ]
    done = subprocess.run(
        [installed(requirement), "-W", "error", "-c", COUNTER],
        cwd="/",
        env=_clean() | {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation},
        input=b"".join(map(codec.encode, questions)),
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )
    frames = FrameReader(limits.of_kapacitor_udfs()).receive(done.stdout)
    info, init, restore, point, snapshot = (pb.Response.FromString(bytes(frame.envelope)) for frame in frames)
    assert done.stderr == b""
    assert info.HasField("info")
    assert (init.init.success, restore.restore.success) == (True, True)
    assert (point.point.fieldsInt["count"], snapshot.snapshot.snapshot) == (42, b"42")


@pytest.mark.parametrize("requirement", [OLDEST, NEWEST], ids=["oldest protobuf", "newest protobuf"])
def test_a_udf_on_the_agent_works_behind_another_pythons_host(
    installed: Callable[[str], Path], own_server: ServerProcess, requirement: str
) -> None:
    """The host has all extras, the UDF has protobuf alone; its states are blobs of the store."""
    host = [sys.executable, "-m", "udfstore", "run", "--socket", str(own_server.socket)]
    udf = [str(installed(requirement)), "-W", "error", "-c", COUNTER]
    lines = []
    for _ in range(2):
        done = subprocess.run(
            [*host, "--task", "task", "--node", "counter1", "--", *udf],
            cwd="/",
            env=_clean(),
            input="m value=1.5 1\n",
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        lines.append(done.stdout)
    assert lines == ["m value=1.5,count=1i 1\n", "m value=1.5,count=2i 1\n"]
    with udfstore.connect(own_server.socket) as store:
        states = [store.load(state.blob) for state in store.states("task") if state.blob]
    assert states == [b"2"]


def test_the_agent_loads_nothing_but_protobuf(installed: Callable[[str], Path]) -> None:
    done = run(installed(NEWEST), "-c", LOADED)
    assert (done.stderr, done.stdout) == ("", "google udfstore\n")


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
