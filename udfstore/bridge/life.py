"""One child and the conversation with it, from its start to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import trio
from google.protobuf.message import Message

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.child import Child, ChildEnded, connected, spawned
from udfstore.bridge.passthrough import Passthrough
from udfstore.bridge.replay import Mark
from udfstore.bridge.settings import HostSettings
from udfstore.bridge.udf import INFO, INIT, RESTORE, SNAPSHOT, Answered, Question, Talk
from udfstore.digest import BlobId
from udfstore.errors import TimedOut, UsageError
from udfstore.session.values import model_from_pb
from udfstore.tasks import Model
from udfstore.version import __version__
from udfstore.wire import codec
from udfstore.wire.framing import Frame

PART_FRAMES = 1000
"""What it is told again goes in parts of so many frames."""

WORDS_SECONDS = 1.0
"""How long the last words of a child that is gone are waited for: another process may hold its stderr open."""


@dataclass(frozen=True, slots=True)
class State:
    """A state of the UDF: `plain` content, or the `blob` where it lies. Of a snapshot: its manifest and number."""

    plain: bytes = b""
    blob: BlobId | None = None
    size: int = 0
    manifest: BlobId | None = None
    number: int = 0
    models: tuple[Model, ...] = ()
    """That the UDF itself had in use."""

    def __bool__(self) -> bool:
        return bool(self.plain or self.blob)


class Life:
    """What its host knows of one child."""

    def __init__(self, child: Child, passthrough: Passthrough, settings: HostSettings) -> None:
        self._settings = settings
        self.child = child
        self.talk = Talk()
        self.passthrough = passthrough
        self.born = trio.current_time()
        self.retired = False
        """Its end is meant."""
        self.progressed = False
        """It has done something that no child before it did."""
        self._informed = False
        self.said_error = ""
        """Its error response."""
        self.was_asked = False
        """Somebody waited for an answer when it ended."""
        self.undo: Callable[[str], None] | None = None
        """Of a child on trial: what to do, with the reason, when it dies."""
        self.over = trio.Event()
        """Set once it is gone and all that it said was taken."""
        self.why = ""
        self._waiting: dict[Question, trio.Event] = {}
        self._answers: dict[Question, Answered] = {}

    # --- what it is asked ---

    async def info(self) -> Frame:
        """What it says of itself; if it listens at a socket, this shows it that its host is udfstore."""
        host = f"udfstore/{__version__}" if self._settings.socket else ""
        request = pb.Request(info=pb.InfoRequest(host=host))
        frame, _ = await self.asked(INFO, Frame(INFO, request.SerializeToString()))
        self._informed = True
        return frame

    async def init(self, request: Frame) -> tuple[Frame, bool]:
        """Its answer to an InitRequest, and whether that is yes."""
        if self._settings.socket is not None and not self._informed:
            await self.info()
        await self.passthrough.tell_place()
        frame, message = await self.asked(INIT, request)
        assert isinstance(message, pb.InitResponse)
        return frame, message.success

    async def give(self, state: State) -> None:
        """Have it restored. Raises `UsageError` when it says no."""
        frame, message = await self.asked(RESTORE, _restore_of(state))
        assert isinstance(message, pb.RestoreResponse)
        if not message.success:
            raise UsageError(f"the UDF does not take the state: {error_of(frame)}")

    async def snapshot(self, round: int, mark: Mark) -> State:
        """Its state, as of that place in the data. Raises `UsageError` when it gives none."""
        number = 0 if self.is_old else round
        request = Frame(SNAPSHOT, pb.Request(snapshot=pb.SnapshotRequest(round=number)).SerializeToString())
        question = self.talk.ask(SNAPSHOT, number, mark)
        message = (await self.ask(question, request, self._settings.ask_seconds)).message
        assert isinstance(message, pb.SnapshotResponse)
        if message.error:
            raise UsageError(f"the UDF gives no snapshot: {message.error}")
        return state_of(message)

    async def tell(self, frames: Sequence[Frame]) -> None:
        """Send it what a child before it was sent. Raises `ChildEnded`, and `TimedOut` when it does not take that."""
        with trio.move_on_after(self._settings.load_seconds):
            while frames and not self.child.over.is_set():
                part = self.passthrough.window.part(frames[:PART_FRAMES])
                if part:
                    self.child.put(part)
                    frames = frames[len(part) :]
                    await self.child.room()
                else:
                    await self.passthrough.window.more()
            if not self.child.over.is_set():
                return
            await self.over.wait()
            raise ChildEnded(f"the UDF ended: {self.why}")
        raise TimedOut(f"the UDF did not take what the one before had taken within {self._settings.load_seconds:g} s")

    async def asked(self, kind: int, request: Frame) -> tuple[Frame, Message]:
        """What is asked of a child that starts: the answer's frame and message."""
        answer = await self.ask(self.talk.ask(kind), request, self._settings.load_seconds)
        return answer.frame, answer.message

    async def ask(self, question: Question, request: Frame, seconds: float) -> Answered:
        """Put a question and wait for its answer. Raises `ChildEnded`, and `TimedOut` after so many seconds."""
        came = self._waiting[question] = trio.Event()
        self.child.put([request])
        try:
            with trio.move_on_after(seconds):
                if not self.over.is_set():
                    await came.wait()
            if question in self._answers:
                return self._answers.pop(question)
            if self.over.is_set():
                raise ChildEnded(f"the UDF ended: {self.why}")
            raise TimedOut(f"the UDF gave no answer within {seconds:g} s")
        finally:
            question.given_up = True
            del self._waiting[question]

    def answered(self, said: Answered) -> None:
        """An answer came that somebody waits for."""
        self._answers[said.question] = said
        self._waiting[said.question].set()

    async def bury(self, why: str) -> None:
        """Nothing more is read from it: see it gone, and tell whoever waits. `why`: what it did wrong, if it did."""
        self.child.over.set()
        self.was_asked = bool(self._waiting)
        if self.retired and not why:
            await self.child.gone()  # whoever told it to end sees to that: its libraries may be slow to leave
        else:
            await self.child.end(0 if why else WORDS_SECONDS)
        with trio.move_on_after(WORDS_SECONDS):
            await self.child.heard.wait()
        self.passthrough.close()
        self.passthrough.window.over()
        self.why = "; ".join(text for text in (why or self.said_error, self.child.epitaph) if text)
        self.over.set()
        for came in self._waiting.values():
            came.set()

    @property
    def is_old(self) -> bool:
        """Whether it knows only Kapacitor's messages: states travel inside them."""
        return not self.passthrough.speaks


@asynccontextmanager
async def living(
    settings: HostSettings, sockets: Callable[[Child], Passthrough], log: structlog.typing.FilteringBoundLogger
) -> AsyncIterator[Life]:
    """A child of these settings; killed at the end."""
    if settings.socket is not None:
        opened = connected(settings.socket, plain_bytes=settings.plain_bytes)
    else:
        opened = spawned(settings.command, settings.environment, log, plain_bytes=settings.plain_bytes)
    async with opened as child:
        log.debug("the UDF started", pid=child.pid)
        passthrough = sockets(child)
        try:
            yield Life(child, passthrough, settings)
        finally:
            passthrough.close()


def state_of(answer: pb.SnapshotResponse) -> State:
    """The state that an answer holds or names."""
    blob = BlobId(answer.blob) if answer.blob else None
    models = tuple(map(model_from_pb, answer.models))
    return State(answer.snapshot, blob, answer.size or len(answer.snapshot), models=models)


def error_of(answer: Frame) -> str:
    """Why an InitResponse or a RestoreResponse says no."""
    message = codec.decode(pb.Response, answer)
    return getattr(message, "error", "") or "it gave no reason"


def _restore_of(state: State) -> Frame:
    """The RestoreRequest of a state: its content, or the blob that the UDF loads it from, once the server is there."""
    request = pb.RestoreRequest(snapshot=state.plain)
    if state.blob is not None:
        request = pb.RestoreRequest(
            blob=state.blob.raw,
            size=state.size,
            manifest=state.manifest.raw if state.manifest else b"",
            number=state.number,
        )
    return Frame(RESTORE, pb.Request(restore=request).SerializeToString())
