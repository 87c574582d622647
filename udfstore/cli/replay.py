"""Plays one side of a transcript against whoever plays the other."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from udfstore._pb import udfstore_pb2 as pb
from udfstore.client.link import check_path
from udfstore.client.link import connect as connect_socket
from udfstore.errors import Mismatch, ProtocolError, TimedOut, UsageError
from udfstore.wire import codec, limits
from udfstore.wire.codec import Envelope
from udfstore.wire.framing import FrameReader
from udfstore.wire.transcript import END, RAW, Side, Step, Transcript, call_of, parse, same, show

WAIT_SECONDS = 10.0
"""For the next frame: what the other side has to do for one takes milliseconds."""

_UNASKED = ("credit", "goodbye", "keepalive")
"""Messages that a side may send as it likes: they are passed over where the transcript has none."""


def replay_client(path: Path, socket_path: Path) -> int:
    """Play the client's side against the server at a socket; gives how many frames came as expected.

    Raises `Mismatch` at the first frame that differs, `TimedOut` when none comes, `UsageError` for a transcript that
    cannot be read, and what connecting raises.
    """
    transcript = read(path)
    came = 0
    for steps in transcript.conversations:
        with connect_socket([socket_path]) as peer:
            came += Player(peer, Side.UDF, steps, transcript.vary).play()
    return came


def replay_server(path: Path, listen: Path, listening: Callable[[], object] = lambda: None) -> int:
    """Play the server's side for the client that connects to a new socket; otherwise as `replay_client`.

    `listening` is called when a client may connect.
    """
    transcript = read(path)
    if any(step.side is Side.UDF and step.text == RAW for step in transcript.steps):
        raise UsageError(f"{path}: its client breaks the protocol; it is for servers: replay it with --socket")
    with _listening(listen) as listener:
        listening()
        came = 0
        for steps in transcript.conversations:
            with listener.accept()[0] as peer:
                came += Player(peer, Side.HOST, steps, transcript.vary).play()
        return came


def read(path: Path) -> Transcript:
    """The transcript in a file. Raises `UsageError` that names file and line."""
    try:
        return parse(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", expected=error.expected, got=error.got) from error


class Player:
    """One side of a conversation, played.

    Frames of one call have to come in their order; those of different calls may overtake one another.
    """

    def __init__(self, peer: socket.socket, plays: Side, steps: Sequence[Step], vary: frozenset[str]) -> None:
        self._peer = peer
        self._peer.settimeout(WAIT_SECONDS)
        self._plays = plays
        self._other = Side.HOST if plays is Side.UDF else Side.UDF
        self._steps = steps
        self._vary = vary
        takes = limits.of_hosts_of_nodes if plays is Side.UDF else limits.of_nodes
        self._frames = FrameReader(takes(plain_bytes=limits.PLAIN_BYTES))
        node = any(isinstance(step.message, pb.Response) and step.message.hello.HasField("node") for step in steps)
        self._choice = ("credit",) if node else ("credit", "goodbye")
        """Messages that a client may leave out; the goodbye of a node is a question."""
        self._came: list[Envelope] = []
        self._ended = False

    def play(self) -> int:
        """Play to the end; gives how many frames came as expected."""
        expected = 0
        unsent: list[Step] = []
        for number, step in enumerate(self._steps, 1):
            if step.side is self._plays:
                unsent.append(step)
                continue
            self.send(unsent)
            unsent = []
            if not self._optional(step):
                self._expect(number, step)
                expected += 1
        self.send(unsent)
        left = [envelope for envelope in self._came if envelope.WhichOneof("message") not in _UNASKED]
        if left:
            raise Mismatch("more came than the transcript has", got=show(left[0]))
        return expected

    def send(self, steps: list[Step]) -> None:
        """What follows one another without a frame of the other side between goes out in one piece."""
        data = b"".join(step.data for step in steps)
        try:
            self._peer.sendall(data)
            if any(step.text == END for step in steps):
                self._peer.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            return  # what the other side said before it hung up is what counts
        except TimeoutError:
            raise TimedOut(f"line {steps[0].line}: the other side reads nothing") from None

    def receive(self) -> bool:
        """Take in what comes; False once nothing more will. Raises `ProtocolError`, `TimeoutError`."""
        try:
            data = b"" if self._ended else self._peer.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if not data:
            self._ended = True
            self._frames.end()
            return False
        for frame in self._frames.receive(data):
            codec.decode(self._other.envelope, frame)
            self._came.append(self._other.envelope.FromString(bytes(frame.envelope)))
        return True

    def maybe_next(self, call: int | None = None) -> Envelope | None:
        """The next message of a call (None: of any), if it has come."""
        for index, envelope in enumerate(self._came):
            if call is None or call_of(envelope) == call:
                return self._came.pop(index)
        return None

    def _optional(self, step: Step) -> bool:
        """Whether it is the client's own choice to send this: how much it grants, and whether it says goodbye."""
        message = step.message
        return self._other is Side.UDF and message is not None and message.WhichOneof("message") in self._choice

    def _expect(self, number: int, step: Step) -> None:
        where = f"frame {number} (line {step.line})"
        wanted = step.message
        try:
            while True:
                came = self.maybe_next(None if wanted is None else call_of(wanted))
                if came is not None and (wanted is None or not same(wanted, came, self._vary)):
                    if _passed_over(wanted, came):
                        continue
                    raise Mismatch(f"{where} differs", expected=step.text, got=show(came))
                if came is not None:
                    return
                if not self.receive():
                    break
        except ProtocolError as error:
            raise Mismatch(f"{where} differs", expected=step.text, got=f"no frame: {error}") from error
        except TimeoutError:
            raise TimedOut(f"{where} did not come", expected=step.text, got=self._instead()) from None
        if wanted is not None:
            raise Mismatch(f"{where} did not come", expected=step.text, got=self._instead())

    def _instead(self) -> str:
        """What came and nobody asked for."""
        return show(self._came[0]) if self._came else "the end of the conversation" if self._ended else "nothing"


def _passed_over(wanted: Envelope | None, came: Envelope) -> bool:
    kind = came.WhichOneof("message")
    return kind in _UNASKED and (wanted is None or wanted.WhichOneof("message") != kind)


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """A new socket that only this user may connect to, removed at the end."""
    check_path(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        except OSError as error:
            raise UsageError(f"cannot listen at {path}: {error.strerror}") from error
        finally:
            os.umask(before)
        try:
            listener.listen(1)
            yield listener
        finally:
            path.unlink(missing_ok=True)
