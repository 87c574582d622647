"""Redis as a store of small values: every write synced before it is answered, over a Unix socket."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from tests.bench.peers import ahead, in_turn
from tests.bench.rows import Probe, Row, Unit
from tests.bench.stand import Stand

DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--auto-aof-rewrite-percentage", "0")
"""As durable as udfstore; the log is never rewritten meanwhile, which would only slow it down."""


@contextmanager
def redis_probes(
    stand: Stand, size: int, clients: int, pipelined: int, saves: str, loads: str
) -> Iterator[list[Probe]]:
    """SET and GET of values of `size` bytes; `saves` and `loads` are the floors."""
    program = shutil.which("redis-server")
    if program is None:
        yield [Probe.absent("redis-server", "redis-server")]
        return
    root, path = stand.folder / "redis", stand.folder / "redis.sock"
    root.mkdir()
    numbers = count()

    def put() -> bytes:
        return _request(b"SET", b"%d" % next(numbers), os.urandom(size))

    def got() -> bytes:
        return _request(b"GET", b"kept")

    with ExitStack() as stack:
        command = (program, "--port", "0", "--unixsocket", str(path), "--dir", str(root), *DURABLE)
        stack.callback(shutil.rmtree, root)
        stack.enter_context(stand.peer(str(path), *command))
        stored, found = len(b"+OK\r\n"), len(b"$%d\r\n" % size) + size + len(b"\r\n")
        one, reader = _Client(path, put, stored), _Client(path, got, found)
        crowd = [_Client(path, put, stored) for _ in range(clients)]
        for client in (one, reader, *crowd):
            stack.enter_context(client.socket)
        one.socket.sendall(_request(b"SET", b"kept", os.urandom(size)))
        one.socket.recv(stored, socket.MSG_WAITALL)
        each, reads, kib = stand.sizes.saves, stand.sizes.reads, size // 1024
        yield [
            Probe.of(
                Row(f"redis-server: SET of {kib} KiB, synced, 1 client", Unit.PER_SECOND, "", saves),
                lambda: in_turn([one], each),
            ),
            Probe.of(
                Row(f"redis-server: SET of {kib} KiB, synced, {clients} clients", Unit.PER_SECOND, "", saves),
                lambda: in_turn(crowd, each),
            ),
            Probe.of(
                Row(f"redis-server: GET of {kib} KiB, one connection", Unit.PER_SECOND, "", loads),
                lambda: in_turn([reader], reads),
            ),
            Probe.of(
                Row(f"redis-server: GET of {kib} KiB, {pipelined} on their way", Unit.PER_SECOND),
                lambda: ahead(reader, reads, pipelined),
            ),
        ]


class _Client:
    """A connection whose answers all have one length."""

    def __init__(self, path: Path, request: Callable[[], bytes], answer_bytes: int) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        self._request = request
        self._answer_bytes = answer_bytes
        self._came = 0

    def ask(self) -> None:
        self.socket.sendall(self._request())

    def answers(self, data: bytes) -> int:
        whole, self._came = divmod(self._came + len(data), self._answer_bytes)
        return whole


def _request(*words: bytes) -> bytes:
    """A command as RESP has it: an array of byte strings."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
