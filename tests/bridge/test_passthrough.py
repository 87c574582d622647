"""A UDF's own conversation with the server, on the pipe that its points come through.

The UDF here speaks udfstore's messages with the generated code, a byte at a time, as an agent would.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
import trio
from host_kit import NODE, hosted, init, kill, point, points, succeeded, until
from kit import ServerProcess

import udfstore
from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.host import HostSettings
from udfstore.bridge.passthrough import Window
from udfstore.bridge.udf import POINT
from udfstore.tasks import Node
from udfstore.wire.framing import Frame

_AGENT = """
import os, sys
from udfstore._pb import udfstore_pb2 as pb
from udfstore.wire.codec import encode, decode
from udfstore.wire.framing import FrameReader
from udfstore.bridge.kapacitor import AnyKind

assert os.environ["UDFSTORE_HOST"].startswith("udfstore/")
class Limits(AnyKind):
    def __missing__(self, kind): return 1 << 24
reader, queue, number, total, fresh = FrameReader(Limits({1: 1 << 24})), [], 0, 0.0, True

def say(**message): sys.stdout.buffer.write(encode(pb.Response(**message))); sys.stdout.buffer.flush()
def next_frame():
    while not queue:
        data = os.read(0, 65536)
        if not data: sys.exit(0)
        queue.extend(reader.receive(data))
    message = decode(pb.Request, queue.pop(0))
    return message
def hello():
    say(hello=pb.Hello(protocol=1, descriptors=True, claim=pb.Claim(job="agent"), node=pb.Node(task="not mine")))
held = []
def until(kind):
    while True:
        message = next_frame()
        if isinstance(message, (kind, pb.Fault)): return message
        held.append(message)
def call(**op):
    global number
    number += 1
    say(call=pb.Call(call=number, **op))
    return number
def save(content):
    mine = call(save=pb.Save(size=len(content)))
    if content: say(chunk=pb.Chunk(call=mine, data=content))
    say(commit=pb.Commit(call=mine, size=len(content)))
    result = until(pb.Result)
    if isinstance(result, pb.Fault): held.append(result)
    return result.saved if isinstance(result, pb.Result) else None
def load(ref):
    call(load=pb.Load(ref=ref, descriptor_from=0))
    data = b""
    while True:
        message = next_frame()
        if isinstance(message, pb.Chunk): data += message.data
        elif isinstance(message, (pb.Result, pb.Fault)): return data
        elif not isinstance(message, pb.Head): held.append(message)

hello()
while True:
    message = held.pop(0) if held else next_frame()
    if isinstance(message, pb.Welcome): assert not message.descriptors, "a pipe passes none"
    elif isinstance(message, pb.InfoRequest): say(info=pb.InfoResponse())
    elif isinstance(message, pb.InitRequest): say(init=pb.InitResponse(success=True))
    elif isinstance(message, pb.KeepaliveRequest): say(keepalive=pb.KeepaliveResponse(time=message.time))
    elif isinstance(message, pb.SnapshotRequest):
        content = repr(total).encode()
        if message.round:
            saved = save(content)
            if saved is None: say(snapshot=pb.SnapshotResponse(round=message.round, error="the server is away"))
            else: say(snapshot=pb.SnapshotResponse(round=message.round, blob=saved.id, size=saved.size))
        else: say(snapshot=pb.SnapshotResponse(snapshot=content))
    elif isinstance(message, pb.RestoreRequest):
        total = float(load("sha256:" + message.blob.hex()) if message.blob else message.snapshot)
        say(restore=pb.RestoreResponse(success=True))
    elif isinstance(message, pb.Fault):
        say(point=pb.Point(name="fault " + message.code, fieldsDouble={"total": -1}))
    elif isinstance(message, pb.Point):
        value = message.fieldsDouble["value"]
        if value < 0: number = 0; hello(); until(pb.Welcome); continue
        total += len(load("WEIGHTS")) if "WEIGHTS" and value == 100 else value
        say(point=pb.Point(fieldsDouble={"total": total}))
"""


def agent(weights: str = "") -> HostSettings:
    return HostSettings((sys.executable, "-c", _AGENT.replace("WEIGHTS", weights)))


@pytest.fixture
def place(unique: str) -> Node:
    return Node(unique[-100:], "agent1")


async def test_it_loads_on_the_connection_that_its_points_come_through(
    server: ServerProcess, place: Node, unique: str
) -> None:
    weights = bytes(3 << 20)
    with udfstore.connect(server.socket) as store:
        store.save(weights, tag=f"{unique}/weights")
    async with hosted(agent(f"{unique}/weights"), server.socket) as (host, front):
        await host.init(init(), place)
        await host.data([point(1.0), point(100.0), *points(2, 4)])
        await front.until(lambda: len(front.values) == 4)
        with udfstore.connect(server.socket) as store:
            (session,) = [one for one in store.sessions() if one.author.claim.job == "agent" and one.place.task]
            assert (session.place.task, session.place.node) == (place.task, place.name)
    assert front.values == [1, 1 + len(weights), 3 + len(weights), 6 + len(weights)]


async def test_its_state_is_saved_and_loaded_by_itself(server: ServerProcess, place: Node) -> None:
    async with hosted(agent(), server.socket) as (host, _):
        await host.init(init(), place)
        await host.data(points(1, 4))
        assert (await host.snapshot()).manifest is not None
    async with hosted(agent(), server.socket) as (host, front):
        assert succeeded(await host.init(init(), place))
        await host.data(points(4, 5))
        await front.until(lambda: front.values)
        kill(host)
        await host.data(points(5, 6))
        await host.stop()
    assert front.values == [10, 15]


async def test_a_server_that_is_away_is_a_fault_and_another_hello_finds_it_again(
    own_server: ServerProcess, place: Node
) -> None:
    own_server.stop()
    async with hosted(agent(), own_server.socket) as (host, front):
        await host.init(init(), place)
        await host.data(points(1, 2))
        await front.until(lambda: len(front.values) == 2)
        own_server.start()
        await until(lambda: host._standing.here)
        await host.data([point(-1.0), *points(2, 3)])
        await front.until(lambda: len(front.values) == 3)
        assert (await host.snapshot()).manifest is not None
        own_server.kill()
        await front.until(lambda: len(front.values) == 4)
        await host.data(points(3, 4))
        assert (await host.snapshot()).whole == b"6.0"
    names = [pb.Response.FromString(bytes(frame.envelope)).point.name for frame in front.frames]
    assert sorted(name for name in names if name) == ["fault closing", "fault no-server"]


async def test_who_never_says_hello_is_told_nothing_of_ours(server: ServerProcess, place: Node) -> None:
    loud = replace(
        agent(), command=(sys.executable, "-c", _AGENT.replace("\nhello()", "\ncall(stat=pb.Stat(ref='x'))"))
    )
    async with hosted(loud, server.socket) as (host, front):
        await host.init(init(), NODE)
        await host.data(points(1, 3))
        await host.stop()
    assert front.values == [1, 3]


async def test_a_conversation_that_a_udf_ends_with_its_run_is_no_news(
    server: ServerProcess, place: Node, tmp_path: Path
) -> None:
    """It says goodbye at the end of its input, and is there still when the server hangs up."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    ends = f"if not data: say(goodbye=pb.Goodbye()); open({str(gate)!r}).read(); sys.exit(0)"
    polite = (sys.executable, "-c", _AGENT.replace("if not data: sys.exit(0)", ends))

    def ended() -> list[str]:
        return [entry["log_level"] for entry in logged if entry["event"] == "the UDF's own conversation ended"]

    with structlog.testing.capture_logs() as logged:
        async with hosted(HostSettings(polite), server.socket) as (host, front), trio.open_nursery() as nursery:
            await host.init(init(), place)
            await host.data(points(1, 3))
            nursery.start_soon(host.stop)
            await until(ended)
            gate.write_bytes(b"")
    assert (ended(), front.values) == (["debug"], [1, 3])


def frame(size: int) -> Frame:
    return Frame(POINT, bytes(size - 1))


async def test_a_window_lets_through_what_was_granted() -> None:
    window = Window()
    frames = [frame(100)] * 5
    assert window.part(frames) == frames
    window.grant(250)
    assert len(window.part(frames)) == 2
    assert not window.part(frames)
    window.grant(50)
    assert len(window.part(frames)) == 1
    window.over()
    await window.more()
    assert window.part(frames) == frames


async def test_a_frame_larger_than_any_window_goes_when_the_window_is_free() -> None:
    window = Window()
    window.grant(200)
    assert len(window.part([frame(100), frame(1000)])) == 2
    window.grant(100)
    assert not window.part([frame(100)])


_SUMS = """
from udfstore.agent import Agent, Handler, udf_pb2 as pb
class Sums(Handler):
    total = 0.0
    def info(self): return pb.Response(info=pb.InfoResponse())
    def snapshot(self): return pb.Response(snapshot=pb.SnapshotResponse(snapshot=repr(self.total).encode()))
    def restore(self, request):
        self.total = float(request.snapshot)
        return pb.Response(restore=pb.RestoreResponse(success=True))
    def point(self, point):
        self.total += point.fieldsDouble["value"]
        agent.write_response(pb.Response(point=pb.Point(fieldsDouble={"total": self.total})))
agent = Agent(handler=Sums())
agent.start()
agent.wait()
"""


async def test_a_crash_while_the_server_that_has_the_state_is_away(own_server: ServerProcess, place: Node) -> None:
    async with hosted(HostSettings((sys.executable, "-c", _SUMS)), own_server.socket) as (host, front):
        assert succeeded(await host.init(init(), place))
        await host.data([point(1.0), point(2.0)])
        assert (await host.snapshot()).manifest is not None
        own_server.kill()
        await host.data([point(3.0)])
        await front.until(lambda: len(front.values) == 3)
        kill(host)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.data, [point(4.0)])
            await trio.to_thread.run_sync(own_server.start)
            await front.until(lambda: len(front.values) == 4 or front.failure)
    assert (front.values, front.failure) == ([1, 3, 6, 10], "")
