"""A UDF as frames in and out: real processes and sockets, and how they end."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from host_kit import SECONDS, UDFS, points, until

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.child import LINE_BYTES, LINES_A_SECOND, Child, ChildEnded, connected, spawned
from udfstore.bridge.udf import INFO
from udfstore.errors import NotFound, ProtocolError
from udfstore.wire.framing import Frame

INFO_REQUEST = Frame(INFO, pb.Request(info=pb.InfoRequest()).SerializeToString())


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


@asynccontextmanager
async def running(code: str) -> AsyncIterator[Child]:
    """A child that runs a few lines of Python."""
    head = f"import os, sys, time, signal; sys.path.insert(0, {str(UDFS)!r}); from by_hand import *\n"
    with trio.fail_after(SECONDS):
        async with spawned((sys.executable, "-c", head + code), None, structlog.get_logger()) as child:
            yield child


def gone(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "zombie" in status.read_text()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def drained(child: Child) -> None:
    """Read it to its end."""
    while await child.receive():
        pass


async def ended(child: Child, patience: float = SECONDS) -> bool:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drained, child)
        by_itself = await child.end(patience)
        nursery.cancel_scope.cancel()
    return by_itself


async def test_it_is_told_who_its_host_is() -> None:
    async with running("sys.stderr.write(os.environ['UDFSTORE_HOST'])") as child:
        await ended(child)
        await child.heard.wait()
        assert child.said[0].startswith("udfstore/")


async def test_frames_larger_than_any_pipe_go_through() -> None:
    code = "while data := os.read(0, 4096):\n while data: data = data[os.write(1, data):]"
    big = Frame(17, pb.Request(point=pb.Point(name="x" * 3_000_000)).SerializeToString())
    async with running(code) as child:
        child.put([big, *points(0, 3)])
        came: list[Frame] = []
        while len(came) < 4:
            came += await child.receive()
        assert [bytes(frame.envelope) for frame in came] == [bytes(frame.envelope) for frame in [big, *points(0, 3)]]
        assert await ended(child)


async def test_a_wait_for_room_that_is_cancelled_leaves_no_half_frame() -> None:
    async with running("sys.stdin.buffer.read(1); time.sleep(0.1); Udf().serve()") as child:
        child.put([Frame(0, b"")])  # the one byte that it reads first
        for _ in range(100):
            child.put(points(0, 1000))
            with trio.move_on_after(0):
                await child.room()
        child.put([INFO_REQUEST])
        assert (await child.receive())[0].kind == INFO
        assert await ended(child)


async def test_the_end_of_its_input_is_enough() -> None:
    async with running("Udf().serve()") as child:
        assert await ended(child)
        assert child.epitaph == "exit status 0"
        assert not child.crashed


@pytest.mark.parametrize(
    ("code", "epitaph"),
    [
        ("time.sleep(60)", "killed by SIGTERM"),
        (
            "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write(1, b'\\x04\\x3a\\x02hi'); time.sleep(60)",
            "killed by SIGKILL",
        ),
    ],
)
async def test_one_that_ignores_it_is_ended_by_force(code: str, epitaph: str) -> None:
    async with running(code) as child:
        if "SIG_IGN" in code:
            await child.receive()
        assert not await ended(child, 0.1)
        assert child.epitaph == epitaph


async def test_all_of_its_group_goes_with_it() -> None:
    code = (
        "import subprocess; p = subprocess.Popen(['sleep', '60']); print(p.pid, file=sys.stderr, flush=True); p.wait()"
    )
    async with running(code) as child:
        await until(lambda: child.said)
        grandchild = int(child.said[0])
        await child.kill()
    await until(lambda: gone(grandchild))


async def test_what_is_said_on_stderr_is_logged_line_by_line(logged: list[Any]) -> None:
    code = f"sys.stderr.write('one\\ntwo\\n' + 'x' * {3 * LINE_BYTES} + '\\nlast words'); sys.exit(4)"
    async with running(code) as child:
        await drained(child)
        await child.heard.wait()
        await child.end(SECONDS)
        assert child.epitaph.startswith("exit status 4, its last words: one | two | xxx")
        assert child.epitaph.endswith("| last words")
    lines = [entry["line"] for entry in logged if entry["event"] == "udf"]
    assert [len(line) for line in lines] == [3, 3, LINE_BYTES, len("last words")]


async def test_a_flood_on_stderr_is_counted_and_holds_nobody_up(logged: list[Any]) -> None:
    async with running("for n in range(50000): sys.stderr.write(f'line {n}\\n')") as child:
        await drained(child)
        await child.heard.wait()
        assert child.said[-1] == "line 49999"
    told = sum(entry["event"] == "udf" for entry in logged)
    dropped = sum(entry.get("lines_dropped", 0) for entry in logged)
    assert told + dropped == 50_000
    assert told < 50_000 / 2
    assert told >= LINES_A_SECOND


async def test_garbage_is_an_error() -> None:
    async with running("print('Hello, world!' * 9, flush=True)") as child:
        with pytest.raises(ProtocolError):
            await child.receive()
        assert child.over.is_set()


async def test_an_end_inside_a_frame_is_an_error() -> None:
    async with running("os.write(1, b'\\x10\\x8a\\x01')") as child:
        with pytest.raises(ProtocolError, match="ended inside"):
            await drained(child)


async def test_what_is_put_to_one_that_is_gone_is_dropped() -> None:
    async with running("pass") as child:
        await drained(child)
        await child.end(SECONDS)
        child.put(points(0, 100_000))
        await child.room()


async def test_a_command_that_is_none() -> None:
    with pytest.raises(NotFound, match="/nonexistent"):
        async with spawned(("/nonexistent",), None, structlog.get_logger()):
            pass


async def test_no_descriptor_is_left() -> None:
    before = descriptors()
    for _ in range(3):
        async with running("Udf().serve()") as child:
            await ended(child)
    assert descriptors() == before


async def test_a_udf_behind_a_socket_is_the_same(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(folder / "udf"))
        listener.listen()
        async with connected(folder / "udf") as child:
            peer, _ = listener.accept()
            with peer:
                child.put(points(0, 2))
                data = await trio.to_thread.run_sync(peer.recv, 1 << 16)
                peer.sendall(data)
                assert [bytes(frame.envelope) for frame in await child.receive()] == [
                    bytes(frame.envelope) for frame in points(0, 2)
                ]
                child.finish()
                assert await trio.to_thread.run_sync(peer.recv, 1) == b""
            assert await child.receive() == []
        assert child.epitaph == "it closed the connection"


async def test_nobody_behind_a_socket(folder: Path) -> None:
    with pytest.raises(ChildEnded, match="no UDF answers"):
        async with connected(folder / "udf"):
            pass
