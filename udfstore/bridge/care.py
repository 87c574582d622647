"""A UDF that outlives its children: fed, asked, and brought back when it crashes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import structlog
import trio

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.child import Child, ChildEnded
from udfstore.bridge.front import Front
from udfstore.bridge.life import Life, State, error_of, living, state_of
from udfstore.bridge.passthrough import Passthrough
from udfstore.bridge.replay import Replay
from udfstore.bridge.settings import HostSettings
from udfstore.bridge.udf import Alive, Answered, Data, Ended, Own, Said, Stray
from udfstore.client.retry import Retry
from udfstore.errors import ProtocolError, TimedOut, TooLarge, UdfstoreError, UsageError
from udfstore.tasks import NOWHERE, Place
from udfstore.wire.framing import Frame

DEATHS = 5
DEATH_SECONDS = 60.0
"""A UDF that dies so often in so short a time, each time before it did anything new, is given up."""

SOCKET_SECONDS = 300.0
"""A socket where nobody listens yet is tried so long, as Kapacitor does."""

QUIET_SECONDS = 600.0
"""A UDF that died over a snapshot, and once more, is not asked again for so long: each death may cost it data."""

BATCH_SECONDS = 5.0
"""A snapshot waits so long for the end of a batch; then it is asked for in the middle of it."""


class Care:
    """One UDF: its present child, and what another one would have to know.

    Whoever puts another child in the place of one holds `changing` meanwhile.
    """

    def __init__(
        self,
        settings: HostSettings,
        sockets: Sequence[Path],
        front: Front,
        nursery: trio.Nursery,
        log: structlog.typing.FilteringBoundLogger,
        prepare: Callable[[], Awaitable[None]],
    ) -> None:
        self.changing = trio.Lock()
        self.replay = Replay(settings.replay_bytes)
        self.life: Life | None = None
        self.place = NOWHERE
        self.is_open = False
        """Whether the child takes data."""
        self.failed = ""
        self.stopping = False
        self._settings, self._sockets, self._front, self._nursery, self._log = settings, sockets, front, nursery, log
        self._prepare = prepare
        """Awaited before a child starts."""
        self._init: Frame | None = None
        self._state = State()
        """What a new child is given, before the frames that the replay holds."""
        self._turned = trio.Event()
        """Set when `is_open` changed or a batch ended; another one takes its place."""
        self._asking = trio.Lock()
        self._quiet, self._quiet_until = "", 0.0
        """Why it is not asked for its state, and how long."""
        self._deaths: deque[float] = deque()

    @property
    def busy(self) -> bool:
        """Whether the child cannot be expected to answer a keepalive."""
        if self.failed or self.life is None:
            return False
        return self._ready is None or self.life.passthrough.moving

    @property
    def begun(self) -> bool:
        """Whether the UDF has something to lose: data that it took, or a state that it was given."""
        return self.replay.begun or bool(self._state)

    @property
    def _ready(self) -> Life | None:
        """The child, if it takes data now."""
        return None if self.life is None or not self.is_open or self.life.child.over.is_set() else self.life

    # --- what it is told and asked ---

    async def data(self, frames: Sequence[Frame]) -> None:
        """Data for the UDF. Returns when it can take more, or has failed."""
        while frames and not self.failed:
            life = self._ready
            if life is None:
                await self._turned.wait()
                continue
            part = life.passthrough.window.part(frames)
            if not part:
                await life.passthrough.window.more()
                continue
            was_in_batch = self.replay.in_batch
            self.replay.sent(part)
            life.child.put(part)
            frames = frames[len(part) :]
            if was_in_batch and not self.replay.in_batch:
                self.turn(open=self.is_open)
            await life.child.room()

    async def info(self) -> Frame:
        """What the UDF says of itself. Raises `UdfstoreError` when it gives nothing."""
        return await (await self.alive()).info()

    async def init(self, request: Frame, place: Place) -> tuple[Frame, bool]:
        """Give the UDF an InitRequest, this one and all that come after it; its answer, and whether that is yes."""
        self._init, self.place = request, place
        return await (await self.alive()).init(request)

    async def give(self, state: State) -> None:
        """Have the UDF restored; it is as if that were where it began. Raises `UdfstoreError` when that fails."""
        await (await self.alive()).give(state)
        self.based(state)

    def based(self, state: State) -> None:
        """The UDF has this state now."""
        self._state = state
        self.replay.based()

    async def state(self, round: int) -> State:
        """Ask the UDF for its state, and once more if it dies over it. Raises `UdfstoreError`."""
        async with self._asking:
            died = False
            while True:
                if trio.current_time() < self._quiet_until:
                    raise UsageError(f"the UDF is not asked for its state: {self._quiet}")
                try:
                    return await self._take_state(round)
                except ChildEnded as error:
                    if died:
                        self._quiet, self._quiet_until = str(error), trio.current_time() + QUIET_SECONDS
                        raise
                    died = True

    async def _take_state(self, round: int) -> State:
        with trio.move_on_after(self._settings.ask_seconds):
            with trio.move_on_after(BATCH_SECONDS):
                while self.replay.in_batch:
                    await self._turned.wait()
            while self._ready is None and not self.failed:
                await self._turned.wait()
        if self._ready is None:
            raise TimedOut(self.failed or "the UDF is being started")
        return await self._ready.snapshot(round, self.replay.mark)

    # --- children ---

    def turn(self, *, open: bool) -> None:
        """Begin or cease to give data to the child."""
        self.is_open = open
        self._turned.set()
        self._turned = trio.Event()

    async def alive(self) -> Life:
        """The child, started if there is none yet."""
        if self.failed:
            raise ChildEnded(self.failed)
        if self.life is None:
            self.life = await self._start()
        return self.life

    async def begin_anew(self, seconds: float = 0) -> None:
        """Another child, without a state. The one before has so long to answer what it was sent."""
        if self.life is not None:
            await self.retire(self.life, seconds)
        self.based(State())
        self.life = await self._born()

    async def retire(self, life: Life, seconds: float) -> bool:
        """End a child that has done its work, and take what it still says. True if it crashed instead."""
        life.retired = True
        left = await life.child.end(seconds)
        await life.over.wait()
        return left and life.child.crashed

    async def switch(self, undo: Callable[[str], None]) -> Life:
        """Put a new child in the place of the one that works, between two points; that one goes on if this fails."""
        life = await self._born()
        life.undo = undo
        try:
            async with self._asking, self.changing:
                await self._hand_over(life)
        except BaseException:
            life.retired = True
            await life.child.kill()
            raise
        return life

    async def _hand_over(self, life: Life) -> None:
        old = self._ready
        if old is None:
            raise ChildEnded(self.failed or "the UDF ended meanwhile")
        with trio.move_on_after(BATCH_SECONDS):
            while self.replay.in_batch:
                await self._turned.wait()
        self.turn(open=False)
        try:
            state = await old.snapshot(0, self.replay.mark)
            if state:
                await life.give(state)
            await self._tell_again(life)
            await self.retire(old, self._settings.stop_seconds)
            self.life = life
        except BaseException:
            self.replay.stays()
            raise
        finally:
            self.turn(open=True)

    async def settled(self) -> None:
        """Return once no other child is on its way."""
        while self._ready is None and (self.is_open or self.changing.locked()) and not self.failed:
            await self._turned.wait()

    async def stop(self, seconds: float) -> None:
        """End the input of the UDF, and take what it still says; one that crashes over it is begun once more."""
        again = True
        while (life := self.life) is not None:
            if not await self.retire(life, seconds) or self.failed:
                return
            async with self.changing:  # a new one may be on its way already
                if self.life is not life:
                    continue
                if not again or life.said_error or self._init is None:
                    self.fail(f"the UDF ended before it was done: {life.why}")
                    return
                again = False
                self._log.error("the UDF ended before it was done", why=life.why)
                try:
                    self.life = await self._successor()
                except UdfstoreError as error:
                    self.fail(f"the UDF could not be brought back: {error}")
                    return

    async def _start(self) -> Life:
        """A new child. One that listens at a socket may be started at the same time as we are."""
        retry = Retry(trio.current_time, lambda: SOCKET_SECONDS if self._settings.socket else 0.0)
        while True:
            await self._prepare()
            try:
                life: Life = await self._nursery.start(self._live)
                return life
            except ChildEnded as error:
                await trio.sleep(retry.delay(error))

    async def _born(self) -> Life:
        """A new child that took the InitRequest. Raises `UdfstoreError`."""
        life = await self._start()
        try:
            assert self._init is not None
            answer, willing = await life.init(self._init)
            if not willing:
                raise UsageError(f"the new UDF refuses to start: {error_of(answer)}")
        except BaseException:
            life.retired = True
            await life.child.kill()
            raise
        return life

    # --- what it says ---

    async def _live(self, task_status: trio.TaskStatus[Life]) -> None:
        """One child, from its start to its end."""

        def passthrough(child: Child) -> Passthrough:
            return Passthrough(child, self._sockets, lambda: self.place, self._log)

        async with living(self._settings, passthrough, self._log) as life, trio.open_nursery() as nursery:
            task_status.started(life)
            why = ""
            try:
                while not life.said_error and (frames := await life.child.receive()):
                    for said in life.talk.receive(frames):
                        await self._hear(life, said, nursery)
            except ProtocolError as error:
                why = f"the UDF sent what it must not: {error}"
                if isinstance(error, TooLarge) and self._asking.locked():
                    self._quiet, self._quiet_until = str(error), math.inf  # it would be so each time
            await life.bury(why)
            nursery.cancel_scope.cancel()
        self._buried(life)

    async def _hear(self, life: Life, said: Said, nursery: trio.Nursery) -> None:
        match said:
            case Data():
                fresh = self.replay.came(said.frames)
                if fresh:
                    life.progressed = True
                    await self._front.data(fresh)
            case Alive():
                self._front.alive(said.frame)
            case Answered():
                if isinstance(said.message, pb.SnapshotResponse) and life is self.life:
                    self._keep(life, said, said.message)
                if said.late:
                    self._log.warning("an answer of the UDF came too late", kind=said.question.kind)
                else:
                    life.answered(said)
            case Own():
                await life.passthrough.take(said.frame, nursery)
            case Ended():
                life.said_error = said.why
            case Stray():
                self._log.warning("dropped what the UDF sent", kind=said.kind, why=said.why)

    def _keep(self, life: Life, said: Answered, answer: pb.SnapshotResponse) -> None:
        """A snapshot came: what a new child would be given from here on."""
        if not answer.error and self.replay.answered(said.question.mark):
            self._state = state_of(answer)
            life.progressed = True

    # --- a crash ---

    def _buried(self, life: Life) -> None:
        """A child is gone."""
        if life.retired or self.stopping or life is not self.life:
            self._log.debug("the UDF ended", why=life.why)
            return
        self._log.error("the UDF ended", why=life.why)
        if life.said_error and self.is_open and not life.was_asked:
            self.fail(life.said_error)
            return
        if life.undo is not None:
            life.undo(life.why)
        self._died(life)
        self._nursery.start_soon(self._revive, life)

    def _died(self, life: Life | None) -> None:
        if life is not None and life.progressed:
            self._deaths.clear()
        self._deaths.append(trio.current_time())

    async def _revive(self, dead: Life) -> None:
        """Put a new child in the place of one that crashed, as if nothing had happened."""
        async with self.changing:
            if dead is self.life and self._init is not None:
                self.turn(open=False)
                await self.replace(dead.why)

    async def replace(self, why: str) -> None:
        """A new child in the place of one that is gone, told what that one knew; tried until there are too many."""
        while not self.stopping:
            recent = sum(trio.current_time() - time < DEATH_SECONDS for time in self._deaths)
            if recent >= DEATHS:
                self.fail(f"the UDF died {recent} times and got no further; at last: {why}")
                return
            try:
                self.life = await self._successor()
            except UdfstoreError as error:
                why = str(error)
                self._log.error("the UDF could not be brought back", why=why)
            else:
                self.turn(open=True)
                if self.life.over.is_set():  # before anybody looked
                    self._buried(self.life)
                return

    async def _successor(self) -> Life:
        """A new child that knows what the one before it knew. Raises `UdfstoreError`, which counts as a death."""
        life: Life | None = None
        try:
            life = await self._born()
            if self._state:
                await life.give(self._state)
            await self._tell_again(life)
        except UdfstoreError:
            if life is not None:
                await self.retire(life, 0)
            self._died(life)
            raise
        return life

    async def _tell_again(self, life: Life) -> None:
        frames, gap = self.replay.again()
        if gap is not None:
            self._log.error("data is lost to the new UDF", **asdict(gap))
        self._log.info("the UDF is back", frames_again=len(frames))
        await life.tell(frames)

    def fail(self, why: str) -> None:
        """It cannot go on."""
        self.failed = why
        self.turn(open=False)
        self._front.failed(why)
