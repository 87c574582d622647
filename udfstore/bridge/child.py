"""A UDF as frames in and out: a process with pipes, or a socket where it listens.

Bytes for it are put without waiting and leave in order; whoever brings many waits for `room`, so a UDF that is slow
holds back who feeds it, and a cancelled wait never leaves half a frame behind. Reading takes all that has come and
cuts it into frames at once: a thousand points cost one wake-up.
"""

from __future__ import annotations

import os
import signal
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import structlog
import trio

from udfstore.bridge.udf import may_say
from udfstore.errors import NotFound, ProtocolError, UdfstoreError
from udfstore.version import __version__
from udfstore.wire import limits, varint
from udfstore.wire.framing import Frame, FrameReader, FrameTooLarge

READ_BYTES = 256 * 1024
ROOM_BYTES = 256 * 1024
"""What may wait here beside what the pipe holds."""

LINE_BYTES = 4096
"""A line of stderr is cut here."""

LINES_A_SECOND = 100
"""More lines of stderr than this are counted, not logged: a UDF that floods it costs us no more than reading it."""

SAID_LINES = 20
"""The last lines of stderr, for whoever asks why it ended."""

HELPER_SECONDS = 1.0
"""What a process that the UDF has left behind may still write, once the UDF itself is gone."""

HOST_VARIABLE = "UDFSTORE_HOST"


class ChildEnded(UdfstoreError):
    """The UDF is gone, or its connection is."""


class Child:
    """One run of a UDF. Made by `spawned` or `connected`; both see to its end."""

    def __init__(self, reads: int, writes: int, plain_bytes: int, body: trio.Process | socket.socket) -> None:
        self.process = body if isinstance(body, trio.Process) else None
        self._link = body if isinstance(body, socket.socket) else None
        self.said: deque[str] = deque(maxlen=SAID_LINES)
        self.over = trio.Event()
        """Set once nothing more will come from it."""
        self.heard = trio.Event()
        """Set once its stderr has ended: it has no more words."""
        self._reads, self._writes = reads, writes
        self._frames = FrameReader(may_say(plain_bytes))
        self._out: deque[memoryview] = deque()
        self._waiting = 0
        self._more, self._less = trio.Event(), trio.Event()
        self.finishing = False
        """Set once its input ends: nothing more is put."""
        self._broken = False

    @property
    def pid(self) -> int | None:
        """Of the process; None for a UDF behind a socket."""
        return None if self.process is None else self.process.pid

    # --- to the UDF ---

    def put(self, frames: Iterable[Frame]) -> None:
        """Send these, behind all that was put before. What is put to a UDF that is gone is dropped."""
        if self._broken or self.finishing:
            return
        parts: list[bytes | memoryview] = []
        for frame in frames:
            parts += varint.encode(len(frame.envelope)), frame.envelope
        data = memoryview(b"".join(parts))
        if not self._out:
            data = data[self._write(data) :]
        if data and not self._broken:
            self._out.append(data)
            self._waiting += len(data)
            self._more.set()

    async def room(self) -> None:
        """Return once the UDF took so much that it can be given more, or is gone."""
        while self._waiting > ROOM_BYTES and not self._broken and not self.over.is_set():
            await self._less.wait()

    def finish(self) -> None:
        """Nothing more follows: the UDF sees the end of its input once it has read what was put."""
        self.finishing = True
        self._more.set()

    def _write(self, data: memoryview) -> int:
        """How much of it went at once."""
        try:
            return os.write(self._writes, data)
        except BlockingIOError:
            return 0
        except OSError:  # it closed its input or is gone; whoever reads from it hears how it ended
            self._broken = True
            return 0

    async def _drain(self) -> None:
        """Send what could not be sent at once, and then the end."""
        while not self._broken:
            if not self._out:
                if self.finishing:
                    break
                self._more = trio.Event()
                await self._more.wait()
                continue
            await trio.lowlevel.wait_writable(self._writes)
            sent = self._write(self._out[0])
            self._waiting -= sent
            rest = self._out.popleft()[sent:]
            if rest:
                self._out.appendleft(rest)
            self._less.set()
            self._less = trio.Event()
        self._less.set()
        self._close_input()

    def _close_input(self) -> None:
        self._broken = True
        if self._link is not None:
            with suppress(OSError):  # it hung up before
                self._link.shutdown(socket.SHUT_WR)
        elif self._writes >= 0:
            os.close(self._writes)
            self._writes = -1

    # --- from the UDF ---

    async def receive(self) -> list[Frame]:
        """What has come, at least one frame; none at the end.

        Raises `ProtocolError` for bytes that are no frames, and for an end inside one: nothing can be read after that.
        """
        while True:
            await trio.lowlevel.wait_readable(self._reads)
            try:
                data = os.read(self._reads, READ_BYTES)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                data = b""
            if not data:
                self.over.set()
                self._frames.end()
                return []
            try:
                frames = list(self._frames.receive(data))
            except FrameTooLarge:
                self.over.set()
                raise
            except ProtocolError as error:
                self.over.set()
                raise ProtocolError(f"{error}; does it print to stdout?") from error
            if frames:
                return frames

    # --- its end ---

    async def end(self, patience: float) -> bool:
        """End of input, then so long for it to leave, then SIGTERM and as long again, then SIGKILL. Read meanwhile.

        True if it left by itself.
        """
        self.finish()
        with trio.move_on_after(patience):
            await self.gone()
            return True
        self._signal(signal.SIGTERM)
        with trio.move_on_after(patience):
            await self.gone()
        await self.kill()
        return False

    async def kill(self) -> None:
        """End it now, with all processes of its group, and wait until it is gone."""
        self._broken = True
        self._signal(signal.SIGKILL)
        if self._link is not None:
            with suppress(OSError):  # it hung up before
                self._link.shutdown(socket.SHUT_RDWR)
        if self.process is not None:
            with trio.CancelScope(shield=True):
                await self.process.wait()
        self._more.set()
        self._less.set()

    async def gone(self) -> None:
        """Return once it is gone and has nothing more to say."""
        await self.over.wait()
        if self.process is not None:
            await self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        """To all of its group; to nobody once it was waited for and nothing holds its output open."""
        if self.process is not None and not (self.process.returncode is not None and self.over.is_set()):
            with suppress(ProcessLookupError):  # the whole group is gone
                os.killpg(self.process.pid, number)

    async def _outlived(self, process: trio.Process) -> None:
        """A helper of a UDF that is gone may hold its output open, which then seems to live: it goes, too."""
        await process.wait()
        with trio.move_on_after(HELPER_SECONDS):
            await self.over.wait()
        self._signal(signal.SIGKILL)

    @property
    def crashed(self) -> bool:
        """Whether its end was none that a UDF chooses."""
        return self.process is not None and self.process.returncode != 0

    @property
    def epitaph(self) -> str:
        """How it ended, with its last words: for people."""
        status = None if self.process is None else self.process.returncode
        if self.process is None:
            how = "it closed the connection"
        elif status is None:
            how = "it still runs"
        elif status < 0:
            how = f"killed by {signal.Signals(-status).name}"
        else:
            how = f"exit status {status}"
        words = " | ".join(list(self.said)[-5:])
        return f"{how}, its last words: {words}" if words else how

    # --- stderr ---

    async def _listen(self, descriptor: int, log: structlog.typing.FilteringBoundLogger) -> None:
        """Log the lines of its stderr, to the end."""
        words = _Words(self.said, log)
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            try:
                data = os.read(descriptor, READ_BYTES)
            except BlockingIOError:
                continue
            words.take(data, trio.current_time())
            if not data:
                self.heard.set()
                return


class _Words:
    """Lines of stderr, as they come."""

    def __init__(self, said: deque[str], log: structlog.typing.FilteringBoundLogger) -> None:
        self._said, self._log = said, log
        self._rest = b""
        self._cut = False
        self._second = 0.0
        self._lines = 0

    def take(self, data: bytes, now: float) -> None:
        """Bytes that came; none at the end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data and self._rest:
            lines, self._rest = [self._rest], b""
        for line in lines:
            if not self._cut:
                self._tell(line, now)
            self._cut = False
        if len(self._rest) > LINE_BYTES:
            if not self._cut:
                self._tell(self._rest, now)
            self._rest, self._cut = b"", True
        if not data:
            self._count(now + 1)

    def _tell(self, line: bytes, now: float) -> None:
        text = line[:LINE_BYTES].decode(errors="replace").rstrip()
        self._said.append(text)
        self._count(now)
        self._lines += 1
        if self._lines <= LINES_A_SECOND:
            self._log.info("udf", line=text)

    def _count(self, now: float) -> None:
        """Begin another second, and say what the last one kept back."""
        if now - self._second >= 1:
            if self._lines > LINES_A_SECOND:
                self._log.warning("the UDF floods its stderr", lines_dropped=self._lines - LINES_A_SECOND)
            self._second, self._lines = now, 0


@asynccontextmanager
async def spawned(
    command: Sequence[str],
    environment: Mapping[str, str] | None,
    log: structlog.typing.FilteringBoundLogger,
    *,
    plain_bytes: int = limits.PLAIN_BYTES,
) -> AsyncIterator[Child]:
    """A UDF as a process of a group of its own, told by its environment who its host is; killed at the end.

    Raises `NotFound` for a command that cannot be run.
    """
    inherited = os.environ if environment is None else environment
    with ExitStack() as theirs, ExitStack() as ours:
        (stdin, writes), (reads, stdout), (listens, stderr) = os.pipe(), os.pipe(), os.pipe()
        for descriptor in (stdin, stdout, stderr):
            theirs.callback(os.close, descriptor)
        for descriptor in (reads, listens):
            ours.callback(os.close, descriptor)
        for descriptor in (writes, reads, listens):
            os.set_blocking(descriptor, False)
        try:
            process = await trio.lowlevel.open_process(
                list(command),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                env={**inherited, HOST_VARIABLE: f"udfstore/{__version__}"},
            )
        except OSError as error:
            os.close(writes)
            raise NotFound(f"the UDF cannot be started: {command[0]}: {error.strerror}") from error
        theirs.close()
        child = Child(reads, writes, plain_bytes, process)
        ours.callback(child._close_input)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child._drain)
            nursery.start_soon(child._listen, listens, log)
            nursery.start_soon(child._outlived, process)
            try:
                yield child
            finally:
                await child.kill()
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(path: Path, *, plain_bytes: int = limits.PLAIN_BYTES) -> AsyncIterator[Child]:
    """A UDF that listens on a Unix socket. Raises `ChildEnded` when nobody answers there."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with link:
        try:
            link.connect(os.fspath(path))
        except OSError as error:
            raise ChildEnded(f"no UDF answers at {path}: {error.strerror}") from error
        child = Child(link.fileno(), link.fileno(), plain_bytes, link)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child._drain)
            try:
                yield child
            finally:
                await child.kill()
                nursery.cancel_scope.cancel()
