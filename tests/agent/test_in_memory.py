"""An agent on bytes in memory, as an author's own tests may use it; and what it loads."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from kit import SECONDS

from udfstore._pb import udfstore_pb2 as pb
from udfstore.agent import Agent, Handler, udf_pb2
from udfstore.agent.streams import FLUSH_BYTES, FLUSH_SECONDS, Output
from udfstore.errors import UsageError
from udfstore.wire import codec, limits
from udfstore.wire.framing import FrameReader


class Kept(io.BytesIO):
    """What was written stays when it is closed."""

    def close(self) -> None:
        pass


class Doubling(Handler):
    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def info(self) -> Any:
        return udf_pb2.Response(info=udf_pb2.InfoResponse(wants=udf_pb2.STREAM, provides=udf_pb2.STREAM))

    def point(self, point: udf_pb2.Point) -> None:
        point.fieldsDouble["value"] *= 2
        self._agent.write_response(udf_pb2.Response(point=point))


def talk(make: Callable[[Agent], Handler], *requests: pb.Request) -> list[Any]:
    """What an agent says to requests."""
    out = Kept()
    agent = Agent(io.BytesIO(b"".join(map(codec.encode, requests))), out)
    agent.handler = make(agent)
    agent.start()
    agent.wait()
    frames = FrameReader(limits.of_kapacitor_udfs()).receive(out.getvalue())
    return [codec.decode(pb.Response, frame) for frame in frames]


def test_what_a_handler_leaves_out_has_a_default() -> None:
    said = talk(
        Doubling,
        pb.Request(info=pb.InfoRequest()),
        pb.Request(init=pb.InitRequest()),
        pb.Request(snapshot=pb.SnapshotRequest()),
        pb.Request(restore=pb.RestoreRequest(snapshot=b"x")),
        pb.Request(point=pb.Point(fieldsDouble={"value": 2.0})),
        pb.Request(begin=pb.BeginBatch()),
    )
    assert [type(message).__name__ for message in said] == [
        "InfoResponse",
        "InitResponse",
        "SnapshotResponse",
        "RestoreResponse",
        "Point",
        "ErrorResponse",
    ]
    assert (said[1].success, said[2].snapshot, said[3].success) == (True, b"", False)
    assert said[4].fieldsDouble["value"] == 4.0
    assert "Doubling takes no batches" in said[5].error


@pytest.mark.parametrize(
    ("response", "got"),
    [
        (None, "NoneType None"),
        ("text", "str 'text'"),
        (udf_pb2.Point(name="p"), "Point name"),
        (udf_pb2.Response(), "an empty one"),
        (udf_pb2.Response(hello=udf_pb2.Hello()), "hello"),
    ],
    ids=["None", "text", "a point by itself", "empty", "of udfstore"],
)
def test_what_is_no_response_is_refused_where_it_is_written(response: Any, got: str) -> None:
    """It would end a Kapacitor, and all of its tasks."""
    agent = Agent(io.BytesIO(), Kept())
    with pytest.raises(UsageError) as refused:
        agent.write_response(response)
    assert got in str(refused.value)


def test_output_goes_out_by_size_by_time_and_when_asked() -> None:
    now = [0.0]
    raw = Kept()
    output = Output(raw, lambda: now[0])
    output.put(b"a")
    assert raw.getvalue() == b""
    now[0] += FLUSH_SECONDS
    output.put(b"b")
    assert raw.getvalue() == b"ab"
    output.put(b"c" * FLUSH_BYTES)
    assert len(raw.getvalue()) == 2 + FLUSH_BYTES
    output.put(b"d")
    output.put_now(b"e", wait=False)
    assert raw.getvalue().endswith(b"cde")
    output.put(b"f")
    output.close()
    assert raw.getvalue().endswith(b"def")


def test_a_host_that_is_gone_takes_no_more() -> None:
    class Broken(Kept):
        def write(self, data: Any, /) -> int:
            raise BrokenPipeError

    output = Output(Broken())
    output.put_now(b"x", wait=True)
    assert output.gone


def test_it_loads_nothing_but_protobuf_and_the_standard_library() -> None:
    code = """
import sys
before = set(sys.modules)
import udfstore.agent
allowed = set(sys.stdlib_module_names) | {"udfstore", "google"}
others = {name.split(".")[0] for name in set(sys.modules) - before} - allowed
assert not others, others
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], timeout=SECONDS, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
