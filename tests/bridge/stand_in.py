"""A Kapacitor for tests: it ends where the daemon would, pairs answers by their kind, keeps the last snapshot.

`Side` is its rules; `Kapacitor` drives a UDF, or a bridge in its place, as a process or on a socket.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

from kit import SECONDS

from udfstore._pb import udfstore_pb2 as pb
from udfstore.wire import codec, limits
from udfstore.wire.framing import Frame, FrameReader, frame

ANSWERS = {1: "info", 2: "init", 4: "snapshot", 5: "restore"}
KEEPALIVE, ERROR, BEGIN, POINT, END = 3, 6, 16, 17, 18
ALLOCATES = 1 << 28
"""A batch of more points is more than the daemon gets memory for."""


class Panic(AssertionError):
    """Kapacitor's daemon ends here, and all its tasks with it."""


class Unasked(Panic):
    """It lives on, but takes this for the answer to a question that it asks later."""


class Side:
    """What Kapacitor does with each frame of a UDF. `clock` gives seconds."""

    def __init__(self, timeout: float = 10.0, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.data: list[Frame] = []
        self.answers: dict[int, deque[Any]] = {kind: deque() for kind in ANSWERS}
        self.keepalives: list[int] = []
        """The times in the answers to keepalives."""
        self.error = ""
        self.snapshot = b""
        """The one it keeps."""
        self._timeout, self._clock, self._heard = timeout, clock, clock()
        self._waiting: Counter[int] = Counter()
        self._batch = False

    def asked(self, kind: int) -> None:
        self._waiting[kind] += 1

    @property
    def aborts(self) -> bool:
        """Its patience has run out: any complete frame in the last `timeout` seconds would have kept it."""
        return self._clock() - self._heard > self._timeout

    def took(self, received: Frame) -> None:
        self._heard = self._clock()
        envelope = pb.Response.FromString(bytes(received.envelope))
        name = envelope.WhichOneof("message")
        field = pb.Response.DESCRIPTOR.fields_by_name[name].number if name else 0
        if field in (0, *range(32, 1000)):
            raise Panic(f"unexpected response message {name}")
        if field in ANSWERS:
            if not self._waiting[field]:
                raise Unasked(name)
            self._waiting[field] -= 1
            self.answers[field].append(getattr(envelope, ANSWERS[field]))
            if field == 4 and envelope.snapshot.snapshot:
                self.snapshot = envelope.snapshot.snapshot
        elif field == KEEPALIVE:
            self.keepalives.append(envelope.keepalive.time)
        elif field == ERROR:
            self.error = envelope.error.error
        else:
            self._took_data(field, envelope)
            self.data.append(received)

    def _took_data(self, field: int, envelope: pb.Response) -> None:
        if field == BEGIN:
            if not 0 <= envelope.begin.size <= ALLOCATES:
                raise Panic(f"makeslice: cap out of range: {envelope.begin.size}")
            self._batch = True
        elif field == END:
            if not self._batch:
                raise Panic("nil pointer dereference: an end without a begin")
            self._batch = False


class Kapacitor:
    """Kapacitor and one UDF. `went` and `came` are all frames each way, whole."""

    def __init__(self, sink: BinaryIO, source: BinaryIO, side: Side | None = None) -> None:
        self.side = side or Side()
        self.came: list[bytes] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.log: list[dict[str, Any]] = []
        """What the bridge logs."""
        self.panic: Exception | None = None
        self._sink, self._source = sink, source
        self._change = threading.Condition()
        self._over = False
        self._threads = [threading.Thread(target=self._read, daemon=True)]
        self._threads[0].start()

    @classmethod
    def with_process(cls, command: Sequence[str], environment: Mapping[str, str], side: Side | None = None) -> Self:
        """As `prog` and `args` of kapacitor.conf say."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=dict(environment), bufsize=0)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self = cls(process.stdin, process.stdout, side)  # type: ignore[arg-type]
        self.process = process
        listening = threading.Thread(target=self._listen, args=(process.stderr,), daemon=True)
        self._threads.append(listening)
        listening.start()
        return self

    @classmethod
    def with_socket(cls, path: Path, side: Side | None = None) -> Self:
        """As `socket` of kapacitor.conf says."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        source = connection.makefile("rb", buffering=0)
        return cls(_Sending(connection), source, side)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Of the process UDF."""
        assert self.process is not None
        return self.process.pid

    # --- what it asks ---

    def info(self) -> pb.InfoResponse:
        return self._ask(1, info={})

    def init(self, task: str = "task", node: str = "node1", options: Iterable[pb.Option] = ()) -> pb.InitResponse:
        return self._ask(2, init=pb.InitRequest(taskID=task, nodeID=node, options=options))

    def restore(self, snapshot: bytes) -> pb.RestoreResponse:
        return self._ask(5, restore=pb.RestoreRequest(snapshot=snapshot))

    def snapshot(self) -> bytes:
        answer: pb.SnapshotResponse = self._ask(4, snapshot={})
        return answer.snapshot

    def start(self, task: str = "task", node: str = "node1", options: Iterable[pb.Option] = ()) -> None:
        """Info, Init, and Restore if a snapshot is kept: as when a task starts."""
        self.info()
        answer = self.init(task, node, options)
        assert answer.success, answer.error
        if self.side.snapshot:
            restored = self.restore(self.side.snapshot)
            assert restored.success, restored.error

    def keepalive(self, time: int) -> None:
        self.send(request(keepalive=pb.KeepaliveRequest(time=time)))

    def ask(self, **message: Any) -> None:
        """A question, without waiting for its answer."""
        question = request(**message)
        with self._change:
            self.side.asked(question.kind)
        self.send(question)

    def send(self, *frames: Frame) -> None:
        self.write(b"".join(frame(bytes(one.envelope)) for one in frames))

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._sink.write(view) or 0 :]

    # --- what comes ---

    def answer(self, kind: int) -> Any:
        """The oldest answer of that kind, when it has come."""
        self.wait(lambda side: bool(side.answers[kind]))
        with self._change:
            return self.side.answers[kind].popleft()

    def points(self, count: int) -> list[Frame]:
        """The first `count` data frames, when they have come."""
        self.wait(lambda side: len(side.data) >= count)
        with self._change:
            return self.side.data[:count]

    def wait(self, look: Callable[[Side], bool]) -> None:
        """Until that is so of what came."""
        with self._change:
            happened = self._change.wait_for(lambda: look(self.side) or self.panic or self._over, SECONDS)
            if self.panic is not None:
                raise self.panic
            assert look(self.side), "the UDF ended" if happened else f"did not come in {SECONDS:g} s"

    # --- its end ---

    def close(self) -> int:
        """Close the writing side and wait for the UDF to close, as Kapacitor does when a task stops."""
        self._sink.close()
        return self.ended()

    def ended(self) -> int:
        """Wait for the UDF to close; gives its exit status."""
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive(), "the UDF does not close"
        status = 0 if self.process is None else self.process.wait(SECONDS)
        self._close()
        if self.panic is not None:
            raise self.panic
        return status

    def kill(self) -> None:
        """kill -9, or both ways of the socket closed at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(SECONDS)
        elif isinstance(self._sink, _Sending):
            self._sink.sever()
        for thread in self._threads:
            thread.join(SECONDS)
        self._close()

    def _close(self) -> None:
        for stream in (self._sink, self._source, self.process and self.process.stderr):
            if stream:
                stream.close()

    def _ask(self, kind: int, **message: Any) -> Any:
        self.ask(**message)
        return self.answer(kind)

    def _read(self) -> None:
        reader = FrameReader(dict.fromkeys(range(64), 1 << 30))
        try:
            while data := self._source.read(1 << 16):
                with self._change:
                    for received in reader.receive(data):
                        whole = Frame(received.kind, bytes(received.envelope))
                        self.came.append(frame(bytes(whole.envelope)))
                        self.side.took(whole)
                    self._change.notify_all()
        except ConnectionResetError:
            pass
        except Exception as error:  # noqa: BLE001 - raised to whoever waits
            self.panic = error
        with self._change:
            self._over = True
            self._change.notify_all()

    def _listen(self, stderr: BinaryIO) -> None:
        for line in stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"event": line.decode(errors="replace")})


class _Sending:
    """The writing side of a socket as a file."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: memoryview) -> int:
        return self._connection.send(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        self._connection.close()  # the reading file keeps the descriptor

    def sever(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


def request(**message: Any) -> Frame:
    """A frame of Kapacitor's."""
    return _framed(pb.Request(**message))


def response(**message: Any) -> Frame:
    """A frame of a UDF's."""
    return _framed(pb.Response(**message))


def decoded(received: Frame) -> Any:
    """The message in a frame of a UDF's."""
    return codec.decode(pb.Response, received)


def _framed(envelope: codec.Envelope) -> Frame:
    name = envelope.WhichOneof("message")
    assert name
    return Frame(envelope.DESCRIPTOR.fields_by_name[name].number, envelope.SerializeToString())


def recorded(path: Path, side: str) -> list[Frame]:
    """One side's frames of a recorded conversation."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    reader = FrameReader(limits.of_kapacitor_udfs())
    data = b"".join(bytes.fromhex(line["frame"]) for line in lines if line["from"] == side)
    return [Frame(one.kind, bytes(one.envelope)) for one in reader.receive(data)]
