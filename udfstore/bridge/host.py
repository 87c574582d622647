"""One UDF under our care: started, restored, snapshotted, given its data, and brought back when it crashes.

A front (Kapacitor's, or `run`) brings frames and takes frames. Frames are `wire.framing.Frame`: the kind and the
envelope's own bytes, without the length; `framing.frame(envelope)` puts it before them, `codec.decode(pb.Response,
frame)` reads one. Whatever they hold is passed on as it is.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Self

import structlog
import trio

from udfstore._pb import udfstore_pb2 as pb
from udfstore.aio import AsyncStore
from udfstore.bridge.care import Care
from udfstore.bridge.front import Front
from udfstore.bridge.life import Life, State
from udfstore.bridge.membership import Standing
from udfstore.bridge.models import Models, Undo
from udfstore.bridge.settings import HostSettings
from udfstore.bridge.shelter import Shelter
from udfstore.bridge.udf import RESTORE
from udfstore.client.retry import Retry
from udfstore.digest import BlobId
from udfstore.errors import Closing, NoServer, TimedOut, TooLarge, UdfstoreError
from udfstore.tasks import Joined, Model, Node, Place, Reason
from udfstore.wire.framing import Frame

__all__ = ["Front", "Host", "HostSettings", "Shelter", "Snapped"]


@dataclass(frozen=True, slots=True)
class Snapped:
    """The answer to a question for a snapshot: where it lies, or the state itself (`whole`); neither: no state."""

    task: str = ""
    node: str = ""
    manifest: BlobId | None = None
    store_id: bytes = b""
    whole: bytes = b""


class Host:
    """One node's UDF. Make it with `Host.open`."""

    def __init__(self, settings: HostSettings, shelter: Shelter, front: Front, nursery: trio.Nursery) -> None:
        self._settings, self._shelter, self._nursery = settings, shelter, nursery
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(udf=settings.name)
        self._models = Models(settings, shelter, self._switch, nursery, self._log)
        self._care = Care(settings, shelter.sockets, front, nursery, self._log, self._models.ready)
        self._standing = Standing(shelter, self, self._log)
        self._node = Node("", "")
        self._makes_room = False

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: HostSettings, shelter: Shelter, front: Front) -> AsyncIterator[Self]:
        """A host; its child is started by the first call. At the end the child is gone, whatever it was doing."""
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            host = cls(settings, shelter, front, nursery)
            try:
                yield host
            except Exception as error:  # noqa: BLE001 - raised below, outside of the group that would wrap it
                failure = error
            host._care.stopping = True
            with trio.CancelScope(shield=True):
                await host._standing.aclose()
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    # --- what fronts ask ---

    @property
    def joined(self) -> Joined | None:
        """How the node is in place at the server; None: not yet, or begun without a server."""
        return self._standing.joined

    @property
    def store_id(self) -> bytes:
        """Of the store; empty before it was reached."""
        return self._standing.store_id

    @property
    def busy(self) -> bool:
        """Whether the child cannot be expected to answer a keepalive: it starts, restores, loads or is replaced."""
        return self._care.busy

    async def info(self) -> Frame:
        """What the UDF says of itself: its own InfoResponse. Raises `UdfstoreError` when it gives none."""
        async with self._care.changing:
            return await self._care.info()

    async def init(self, request: Frame, node: Node) -> Frame:
        """Give the UDF an InitRequest; its own InitResponse. Unless that says no, the node is then joined and restored.

        `node` is who this is at the server (`plain` and `resumed` are ours to set). Raises `UdfstoreError` when the UDF
        cannot be brought to answer, and `NoServer` when a state is needed and the server is away for too long.
        """
        without = self._settings.without_store
        async with self._care.changing:
            self._node = node
            answer, willing = await self._care.init(request, Place(node.task, node.name))
            if not willing:
                return answer
            needed = self._shelter.has_note(node.task, node.name) and without.mode != "fresh"
            try:
                await self._enter(without.patience if needed else 0.0)
            except (NoServer, Closing) as error:
                if needed:
                    raise
                self._log.warning("the server is away: the UDF begins fresh", why=str(error))
                self._nursery.start_soon(self._join_late)
            self._care.turn(open=True)
            self._models.follow(self._care.place)
            return answer

    async def restore(self, request: Frame) -> Frame:
        """Give the UDF a RestoreRequest with foreign bytes; its own RestoreResponse. The next round stores it."""
        async with self._care.changing:
            life = await self._care.alive()
            self._care.turn(open=False)
            answer, message = await life.asked(RESTORE, request)
            assert isinstance(message, pb.RestoreResponse)
            if message.success:
                self._care.based(State(pb.Request.FromString(bytes(request.envelope)).restore.snapshot))
            self._care.turn(open=True)
            return answer

    async def recall(self) -> None:
        """Kapacitor holds a reference: there is a state. Returns once the node is joined and restored from the store.

        At once, if `init` saw to that. Raises `NoServer` when the server is away for too long.
        """
        async with self._care.changing:
            if self._standing.entered or self._care.begun:
                return
            self._care.turn(open=False)
            try:
                await self._enter(self._settings.without_store.patience)
            finally:
                self._care.turn(open=True)

    async def data(self, frames: Sequence[Frame]) -> None:
        """Points, begins and ends for the UDF. Returns when it can take more; no frame is lost when it crashes."""
        await self._care.data(frames)
        if self._care.replay.half_full and not self._makes_room:
            self._makes_room = True
            self._nursery.start_soon(self._make_room)

    def keepalive(self, request: Frame) -> bool:
        """Pass a KeepaliveRequest to the UDF; its answer goes to `front.alive`. False while `busy`: answer it yourself.

        Agents send points only with an answer, so ask now and then.
        """
        if self.busy or self._care.life is None or self._care.failed:
            return False
        self._care.life.child.put([request])
        return True

    async def snapshot(self, *, whole: bool = False) -> Snapped:
        """A snapshot for Kapacitor: of a round of the server, or the state itself if that is away or `whole`."""
        if not whole and self._standing.here:
            try:
                taken = await self._standing.take(Reason.KAPACITOR)
            except (NoServer, Closing) as error:
                self._log.warning("the server went away; Kapacitor is given the state itself", why=str(error))
            else:
                if taken.snapshot is not None:
                    return Snapped(self._node.task, self._node.name, taken.snapshot.id, self.store_id)
                if taken.good:
                    return Snapped()
        state = await self._care.state(0)
        if state.blob is not None and self._standing.store is not None:
            return Snapped(whole=await self._standing.store.load(state.blob))
        return Snapped(whole=state.plain)

    async def settle(self) -> bool:
        """Return once the UDF has worked through what it was given; False: not yet, after `ask_seconds`.

        Its answer to a question for its state tells: answers come behind what it was sent before.
        """
        try:
            await self._care.state(0)
        except TimedOut:
            return False
        except UdfstoreError as error:  # it cannot be asked; how it ends will tell
            self._log.debug("the UDF gives no state to settle by", why=str(error))
        return True

    async def stop(self) -> None:
        """End well: a last snapshot, then the end of its input; what the UDF still says goes to `front.data`."""
        seconds = self._settings.stop_seconds
        with trio.move_on_after(seconds) as last:
            await self._care.settled()
            await self._standing.leave()
        if last.cancelled_caught:
            self._log.warning("the UDF ends without a last snapshot", seconds=seconds)
        self._care.stopping = True
        self._care.turn(open=False)
        await self._standing.exit()
        await self._care.stop(seconds)

    # --- for the standing ---

    @property
    def models(self) -> tuple[Model, ...]:
        """The models in use."""
        return self._models.in_use

    async def give(self, state: State, store: AsyncStore) -> str:
        """Restore the UDF; why that failed, or nothing."""
        try:
            if state.blob is not None and (await self._care.alive()).is_old:
                most = self._settings.plain_bytes
                if state.size > most:
                    raise TooLarge("the state is too large for a message", expected=f"<= {most}", got=state.size)
                state = replace(state, plain=await store.load(state.blob), blob=None)
            await self._care.give(state)
        except (NoServer, Closing):
            raise
        except UdfstoreError as error:
            return str(error)
        return ""

    async def begin_anew(self) -> None:
        """A new child without a state in the place of one that failed to take one."""
        await self._care.begin_anew()

    async def state(self, round: int) -> State:
        """The UDF's state now. Raises `UdfstoreError`."""
        return await self._care.state(round)

    async def restart(self) -> None:
        """Another state was chosen: a new child, which then enters the server anew."""
        async with self._care.changing:
            self._care.turn(open=False)
            await self._standing.exit()
            self._node = replace(self._node, snapshot="", source="")  # what was chosen goes before what it began with
            try:
                await self._care.begin_anew(self._settings.stop_seconds)
                await self._enter(self._settings.without_store.patience)
            except UdfstoreError as error:
                self._care.fail(f"the UDF could not be restarted from the chosen snapshot: {error}")
            else:
                self._care.turn(open=True)

    async def _switch(self, undo: Undo) -> Life:
        return await self._care.switch(undo)

    async def _enter(self, patience: float) -> None:
        await self._standing.enter(self._nursery, self._node, patience)

    async def _join_late(self) -> None:
        """The server was away at the start. Before any data came it can still say what the UDF begins with."""
        care = self._care
        retry = Retry(trio.current_time, lambda: math.inf)
        while not care.stopping:
            try:
                await self._standing.reach(care.place)
                async with care.changing:
                    if self._standing.entered:
                        return
                    if care.begun:
                        self._standing.resume(self._nursery, self._node)
                        return
                    if not care.stopping:
                        care.turn(open=False)
                        try:
                            await self._enter(0.0)
                        finally:
                            care.turn(open=True)
            except UdfstoreError as error:
                await trio.sleep(retry.delay(error))

    async def _make_room(self) -> None:
        """The data kept for a crash is half of what may be kept: a snapshot makes it superfluous."""
        try:
            if self._standing.here:
                await self._standing.take(Reason.MANUAL)
            else:
                await self._care.state(0)
        except UdfstoreError as error:
            self._log.warning("no snapshot, though much data came since the last one", why=str(error))
        if self._care.replay.half_full:  # not again with each point
            await trio.sleep(self._settings.ask_seconds)
        self._makes_room = False
