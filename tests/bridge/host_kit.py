"""A front that keeps what it is given, hosts of the old UDFs, and the frames that they are fed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import trio

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.host import Host, HostSettings, Shelter
from udfstore.bridge.udf import BEGIN, END, INIT, KEEPALIVE, POINT, RESTORE
from udfstore.tasks import Node
from udfstore.wire.framing import Frame

UDFS = Path(__file__).parent / "old_udfs"
SECONDS = 30.0
NOBODY = Path("/nonexistent/s")
NODE = Node("cpu alert/Ä", "moving_avg2")


def old_udf(name: str, *arguments: str) -> tuple[str, ...]:
    """The command of one of the old UDFs."""
    return (sys.executable, str(UDFS / f"{name}.py"), *arguments)


MOVING_AVERAGE = HostSettings(old_udf("moving_average"))


def init(size: int = 3, field: str = "value") -> Frame:
    """The InitRequest of the moving average."""
    request = pb.InitRequest(taskID="t", nodeID="n")
    request.options.add(name="field").values.add(type=pb.STRING, stringValue=field)
    request.options.add(name="size").values.add(type=pb.INT, intValue=size)
    return Frame(INIT, pb.Request(init=request).SerializeToString())


def point(value: float, group: str = "g") -> Frame:
    message = pb.Point(time=int(value), name="m", group=group, fieldsDouble={"value": value})
    return Frame(POINT, pb.Request(point=message).SerializeToString())


def points(start: int, stop: int) -> list[Frame]:
    return [point(float(number)) for number in range(start, stop)]


def batch(*values: float) -> list[Frame]:
    begin, end = pb.BeginBatch(name="m", group="g", size=len(values)), pb.EndBatch(name="m", group="g")
    return [
        Frame(BEGIN, pb.Request(begin=begin).SerializeToString()),
        *map(point, values),
        Frame(END, pb.Request(end=end).SerializeToString()),
    ]


def restore(state: bytes) -> Frame:
    return Frame(RESTORE, pb.Request(restore=pb.RestoreRequest(snapshot=state)).SerializeToString())


def keepalive(time: int = 1) -> Frame:
    return Frame(KEEPALIVE, pb.Request(keepalive=pb.KeepaliveRequest(time=time)).SerializeToString())


def means(stop: int, start: int = 0, size: int = 3) -> list[float]:
    """What an undisturbed moving average answers to `points(0, stop)`, from `start` on."""
    windows = [range(max(0, last - size + 1), last + 1) for last in range(start, stop)]
    return [sum(window) / len(window) for window in windows]


def succeeded(answer: Frame) -> bool:
    """Whether an InitResponse or a RestoreResponse says yes."""
    response = pb.Response.FromString(bytes(answer.envelope))
    return bool(getattr(response, response.WhichOneof("message") or "").success)


class Taken:
    """A front that keeps what it is given."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.alives = 0
        self.failure = ""
        self.held = trio.Event()
        """Data waits until this is set."""
        self.held.set()
        self._changed = trio.Event()

    async def data(self, frames: Sequence[Frame]) -> None:
        await self.held.wait()
        self.frames += frames
        self._tell()

    def alive(self, frame: Frame) -> None:
        self.alives += 1
        self._tell()

    def failed(self, why: str) -> None:
        self.failure = why
        self._tell()

    @property
    def values(self) -> list[float]:
        """The one double field of each point."""
        messages = [pb.Response.FromString(bytes(frame.envelope)) for frame in self.frames]
        return [value for message in messages for value in message.point.fieldsDouble.values()]

    @property
    def kinds(self) -> list[int]:
        return [frame.kind for frame in self.frames]

    async def until(self, look: Callable[[], object]) -> None:
        """Return once `look` is true: it is asked whenever something came."""
        with trio.fail_after(SECONDS):
            while not look():
                await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


@asynccontextmanager
async def hosted(
    settings: HostSettings = MOVING_AVERAGE, socket: Path = NOBODY, notes: Path | None = None
) -> AsyncIterator[tuple[Host, Taken]]:
    """A host, and the front that takes what its UDF says."""
    front = Taken()
    with trio.fail_after(SECONDS):
        async with Shelter([socket], notes=notes) as shelter, Host.open(settings, shelter, front) as host:
            yield host, front


async def until(look: Callable[[], object]) -> None:
    """What happens on its own: look at it now and then."""
    with trio.fail_after(SECONDS):
        while not look():  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.005)


def pid_of(host: Host) -> int:
    """The child's, as it is now."""
    life = host._care.life
    assert life is not None
    assert life.child.pid is not None
    return life.child.pid


def kill(host: Host) -> None:
    """kill -9 of the child; one that was killed before and is not back yet is dead already."""
    with suppress(ProcessLookupError):
        os.kill(pid_of(host), signal.SIGKILL)


def node(name: str = NODE.name, **changes: object) -> Node:
    return replace(NODE, name=name, **changes)  # type: ignore[arg-type]
