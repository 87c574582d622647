"""A relay in this process, between a Kapacitor on streams in memory and a host that does what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from stand_in import Side, decoded, request, response
from trio.testing import memory_stream_pair

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.config import Bridge
from udfstore.bridge.dots import Tasks, Telling
from udfstore.bridge.host import Front, HostSettings, Shelter, Snapped
from udfstore.bridge.known import Known
from udfstore.bridge.link import Streams
from udfstore.bridge.relay import Relay
from udfstore.tasks import Joined, Node
from udfstore.wire.framing import Frame, FrameReader, frame

STORE = bytes(range(16))
INFO = response(info=pb.InfoResponse(wants=pb.STREAM))


class ScriptedHost:
    """Answers what it is told to, and notes what comes. Times are of trio's clock."""

    def __init__(self) -> None:
        self.front: Front
        self.busy = False
        self.change = trio.lowlevel.ParkingLot()
        self.joined: Joined | None = Joined(owner=True)
        self.store_id = STORE
        self.events: list[str] = []
        self.frames: list[Frame] = []
        self.node: Node | None = None
        self.answers: dict[str, Any] = {
            "info": INFO,
            "init": response(init=pb.InitResponse(success=True)),
            "restore": response(restore=pb.RestoreResponse(success=True)),
            "recall": None,
            "snapshot": Snapped(),
            "stop": None,
        }
        """An exception is raised; an event is waited for, then what stands at its name with `then` is taken."""
        self.room = trio.Event()
        self.room.set()
        self.answers_keepalives = True

    @asynccontextmanager
    async def open(self, settings: HostSettings, shelter: Shelter, front: Front) -> AsyncIterator[ScriptedHost]:
        self.front = front
        yield self
        self.events.append("closed")

    async def _answer(self, name: str) -> Any:
        self.events.append(name)
        answer = self.answers[name]
        if isinstance(answer, trio.Event):
            await answer.wait()
            answer = self.answers[f"{name} then"]
        if isinstance(answer, Exception):
            raise answer
        await trio.lowlevel.checkpoint()
        return answer

    async def info(self) -> Frame:
        return await self._answer("info")

    async def init(self, request: Frame, node: Node) -> Frame:
        self.node = node
        return await self._answer("init")

    async def restore(self, request: Frame) -> Frame:
        self.frames.append(request)
        return await self._answer("restore")

    async def recall(self) -> None:
        await self._answer("recall")

    async def data(self, frames: Sequence[Frame]) -> None:
        await self.room.wait()
        self.frames += [Frame(one.kind, bytes(one.envelope)) for one in frames]
        self.change.unpark_all()
        await trio.lowlevel.checkpoint()

    def keepalive(self, received: Frame) -> bool:
        if self.busy:
            return False
        self.events.append("keepalive")
        if self.answers_keepalives:
            asked = pb.Request.FromString(bytes(received.envelope)).keepalive.time
            self.front.alive(response(keepalive=pb.KeepaliveResponse(time=asked)))
        return True

    async def snapshot(self, *, whole: bool = False) -> Snapped:
        self.events.append(f"whole={whole}")
        return await self._answer("snapshot")

    async def stop(self) -> None:
        await self._answer("stop")


class Stage:
    """The Kapacitor's side: what it says, and what came to it, judged as it would be."""

    def __init__(self, kapacitor: trio.StapledStream[Any, Any], host: ScriptedHost, relay: Relay) -> None:
        self.host = host
        self.relay = relay
        self.side = Side(clock=trio.current_time)
        self.came: list[tuple[float, Frame]] = []
        self.ended = trio.Event()
        """The relay has closed its side."""
        self._stream = kapacitor
        self._change = host.change

    async def say(self, *frames: Frame) -> None:
        for one in frames:
            if one.kind in (1, 2, 4, 5):
                self.side.asked(one.kind)
        await self._stream.send_all(b"".join(frame(bytes(one.envelope)) for one in frames))

    async def write(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def ask(self, **message: Any) -> Any:
        """A question, and its answer."""
        asked = request(**message)
        await self.say(asked)
        await self.until(lambda: bool(self.side.answers[asked.kind]))
        return self.side.answers[asked.kind].popleft()

    async def init(self, task: str = "task", node: str = "node1") -> Any:
        return await self.ask(init=pb.InitRequest(taskID=task, nodeID=node))

    async def until(self, look: Any) -> None:
        while not look():
            await self._change.park()

    async def end(self) -> None:
        """End of Kapacitor's words, and wait for the relay's."""
        await self._stream.send_eof()
        await self.ended.wait()

    async def leave(self) -> None:
        """Both ways closed at once."""
        await self._stream.aclose()

    async def listen(self) -> None:
        reader = FrameReader(dict.fromkeys(range(64), 1 << 30))
        try:
            async for data in self._stream:
                for received in reader.receive(data):
                    whole = Frame(received.kind, bytes(received.envelope))
                    self.came.append((trio.current_time(), whole))
                    self.side.took(whole)
                self._change.unpark_all()
        except trio.ClosedResourceError:
            pass
        self.ended.set()
        self._change.unpark_all()

    def kinds(self) -> list[int]:
        return [one.kind for _, one in self.came]

    def keepalives(self) -> list[float]:
        """When they came."""
        return [at for at, one in self.came if one.kind == 3]

    @property
    def error(self) -> str:
        return self.side.error


@asynccontextmanager
async def staged(
    state: Path, *, tasks: Tasks | None = None, host: ScriptedHost | None = None, **settings: Any
) -> AsyncIterator[Stage]:
    """A relay at work; what it remembers lies below `state`. At the end it must have ended, or is cancelled."""
    kapacitor, ours = memory_stream_pair()
    host = host or ScriptedHost()
    known = Known(state)
    bridge = Bridge(**{"command": ("udf",), **settings})
    streams = Streams(ours, ours, lambda _: 0, lambda: False, lambda: False)
    relay = Relay(bridge, streams, Shelter([]), Telling(tasks, "url", known), known, host.open)  # type: ignore[arg-type]
    stage = Stage(kapacitor, host, relay)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.run)
        nursery.start_soon(stage.listen)
        yield stage
        nursery.cancel_scope.cancel()


__all__ = ["INFO", "STORE", "ScriptedHost", "Stage", "decoded", "staged"]
