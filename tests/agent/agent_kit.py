"""A host for the agents under test: a plain player of Kapacitor's side of the wire, or of a udfstore bridge's."""

from __future__ import annotations

import fcntl
import os
import queue
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Self

from kit import SECONDS

from udfstore._pb import udfstore_pb2 as pb
from udfstore.wire import codec, limits
from udfstore.wire.framing import Frame, FrameReader, frame

UDFS = Path(__file__).parent / "udfs"
DATA = ("begin", "point", "end")
HELLO, CREDIT = 32, 39

_UNWANTED = ("UDFSTORE_", "XDG_", "PYTHONUNBUFFERED")
"""What a UDF shall not inherit from whoever runs the tests."""


def point(name: str = "mirror", given: str = "", **fields: float) -> pb.Request:
    """A point that asks the obliging UDF for something."""
    return pb.Request(point=pb.Point(name=name, tags={"with": given}, fieldsDouble=fields))


class Player:
    """The host's side of one connection. `server`: be a bridge to it, for every hello anew.

    What the UDF says goes into queues, by kind: take it with `next`.
    """

    def __init__(self, to_udf: BufferedIOBase, from_udf: BufferedIOBase, server: Path | None = None) -> None:
        self._to_udf = to_udf
        self._from_udf = from_udf
        self._server_path = server
        self._server: socket.socket | None = None
        self._sending = threading.Lock()
        self._said: dict[str, queue.Queue[Any]] = {field.name: queue.Queue() for field in pb.Response.DESCRIPTOR.fields}
        self.order: list[str] = []
        """The kinds of what it said, in order; udfstore's own left out."""
        self.hellos = 0
        self._window = 0
        self._granted = threading.Condition()
        self.over = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, *requests: pb.Request) -> None:
        """Requests and data; data keep to the window if a server is behind this host."""
        for request in requests:
            data = codec.encode(request)
            if self._server_path is not None and request.WhichOneof("message") in DATA:
                self._spend(len(data))
            self.send_bytes(data)

    def _spend(self, size: int) -> None:
        with self._granted:
            assert self._granted.wait_for(lambda: self._window >= size, SECONDS), "no room in the window"
            self._window -= size

    def send_bytes(self, data: bytes) -> None:
        """Bytes as they are."""
        with self._sending:
            self._to_udf.write(data)
            self._to_udf.flush()

    def next(self, kind: str) -> Any:
        """The next message of a kind that the UDF said."""
        return self._said[kind].get(timeout=SECONDS)

    def has(self, kind: str) -> bool:
        """Whether there is one."""
        return not self._said[kind].empty()

    def keepalive(self, time: int) -> None:
        """Ask whether it is alive, and get that very answer."""
        self.send(pb.Request(keepalive=pb.KeepaliveRequest(time=time)))
        assert self.next("keepalive").time == time

    def begin(self, *options: pb.Option) -> pb.InitResponse:
        """Info and init."""
        self.send(pb.Request(info=pb.InfoRequest()))
        self.next("info")
        self.send(pb.Request(init=pb.InitRequest(taskID="task", nodeID="obliging2", options=options)))
        return self.next("init")

    def ask(self, request: pb.Request) -> Any:
        """A point, and the one that it is answered with."""
        self.send(request)
        return self.next("point")

    def hang_up(self) -> None:
        """Close the writing side."""
        with self._sending:
            self._to_udf.close()

    def _read(self) -> None:
        frames = FrameReader({**limits.of_kapacitor_udfs(), **limits.of_clients()})
        while data := self._from_udf.read1(1 << 16):
            for one in frames.receive(data):
                self._take(one)
        self.over.set()

    def _take(self, one: Frame) -> None:
        message = codec.decode(pb.Response, one)
        if one.kind == CREDIT and message.call == 0:
            with self._granted:
                self._window += message.amount
                self._granted.notify_all()
        elif one.kind < HELLO:
            name = pb.Response.DESCRIPTOR.fields_by_number[one.kind].name
            self.order.append(name)
            self._said[name].put(message)
        elif one.kind == HELLO:
            self._meet(one)
        elif self._server is not None:
            with suppress(OSError):
                self._server.sendall(frame(bytes(one.envelope)))

    def _meet(self, hello: Frame) -> None:
        """A hello begins a conversation with the server, in place of the one before."""
        self.hellos += 1
        if self._server is not None:
            with suppress(OSError):  # the server hung up before
                self._server.shutdown(socket.SHUT_RDWR)
        assert self._server_path is not None, "a hello to a host that is not udfstore"
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(os.fspath(self._server_path))
        except OSError:
            connection.close()
            self._server = None
            self.send(pb.Request(fault=pb.Fault(code="no-server", message="the server is away")))
            return
        self._server = connection
        threading.Thread(target=self._relay, args=(connection, hello), daemon=True).start()

    def _relay(self, connection: socket.socket, hello: Frame) -> None:
        """What the server says, frame by frame."""
        frames = FrameReader(limits.of_hosts())
        with connection, suppress(OSError, ValueError):  # either side has hung up
            connection.sendall(frame(bytes(hello.envelope)))
            while data := connection.recv(1 << 16):
                for one in frames.receive(data):
                    self.send_bytes(frame(bytes(one.envelope)))
        if connection is self._server and not self.over.is_set():
            with suppress(OSError, ValueError):
                self.send(pb.Request(fault=pb.Fault(code="closing", message="the server went away")))


class UdfProcess(Player):
    """A process UDF under a host. `pipe_bytes`: of both pipes."""

    def __init__(
        self, *command: str, server: Path | None = None, pipe_bytes: int = 0, environ: dict[str, str] | None = None
    ) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(_UNWANTED)}
        sign = {} if server is None else {"UDFSTORE_HOST": "udfstore/test"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"HOME": "/nowhere"} | clean | sign | (environ or {}),
        )
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        if pipe_bytes:
            for pipe in (process.stdin, process.stdout):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, pipe_bytes)
        self.log: queue.Queue[str] = queue.Queue()
        self.lines: list[str] = []
        self._logger = threading.Thread(target=self._log, daemon=True)
        self._logger.start()
        super().__init__(process.stdin, process.stdout, server)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        self._logger.join(SECONDS)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]

    def end(self) -> int:
        """Hang up, and the exit status."""
        with suppress(BrokenPipeError):
            self.hang_up()
        status = self.process.wait(SECONDS)
        assert self.over.wait(SECONDS)
        self._logger.join(SECONDS)
        return status

    def says(self, text: str) -> str:
        """Wait for a line of its log that has `text` in it."""
        while text not in (line := self.log.get(timeout=SECONDS)):
            pass
        return line

    def _log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.decode().rstrip())
            self.log.put(self.lines[-1])


def obliging(**options: Any) -> UdfProcess:
    """The UDF that does what it is told."""
    return UdfProcess(str(UDFS / "obliging.py"), **options)
