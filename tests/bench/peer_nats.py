"""NATS JetStream: its key-value store for small values, its object store for large ones (ADR-8 and ADR-20 of NATS).

Whether it syncs before it answers is asked of the program that is installed: `sync_interval: always` came with 2.10.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from time import perf_counter

from tests.bench.peers import READ_BYTES, ahead, in_turn
from tests.bench.rows import Probe, Row, Unit
from tests.bench.stand import MIB, Stand, free_port

CHUNK_BYTES = 128 * 1024
"""Of an object, as NATS's own clients cut it."""
CHUNKS_AHEAD = 64
"""On their way at once: 8 MiB hide the latency."""
_CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}\r\n'
_WHOLE = b"NATS/1.0\r\n"
"""How headers begin that do not tell of an error."""
_SYNC = "sync_interval: always"


@contextmanager
def key_value_probes(
    stand: Stand, size: int, clients: int, pipelined: int, saves: str, loads: str
) -> Iterator[list[Probe]]:
    """Put and get values of `size` bytes; `saves` and `loads` are the floors."""
    with ExitStack() as stack:
        server = stack.enter_context(_server(stand))
        if server is None:
            yield [Probe.absent("nats-server, key-value store", "nats-server")]
            return
        port, synced = server
        numbers = count()

        def put() -> tuple[str, bytes]:
            return f"$KV.bench.{next(numbers)}", os.urandom(size)

        def get() -> tuple[str, bytes]:
            return "$JS.API.DIRECT.GET.KV_bench.$KV.bench.kept", b""

        one, reader = _Client(port, put), _Client(port, get)
        crowd = [_Client(port, put) for _ in range(clients)]
        for client in (one, reader, *crowd):
            stack.enter_context(client.socket)
        one.stream("KV_bench", ["$KV.bench.>"], max_msgs_per_subject=1, allow_direct=True)
        one.request("$KV.bench.kept", os.urandom(size))
        each, reads, kib = stand.sizes.saves, stand.sizes.reads, size // 1024
        yield [
            Probe.of(
                Row(f"nats-server: KV put of {kib} KiB, {synced}, 1 client", Unit.PER_SECOND, "", saves),
                lambda: in_turn([one], each),
            ),
            Probe.of(
                Row(f"nats-server: KV put of {kib} KiB, {synced}, {clients} clients", Unit.PER_SECOND, "", saves),
                lambda: in_turn(crowd, each),
            ),
            Probe.of(
                Row(f"nats-server: KV get of {kib} KiB, one connection", Unit.PER_SECOND, "", loads),
                lambda: in_turn([reader], reads),
            ),
            Probe.of(
                Row(f"nats-server: KV get of {kib} KiB, {pipelined} on their way", Unit.PER_SECOND),
                lambda: ahead(reader, reads, pipelined),
            ),
        ]


@contextmanager
def object_probes(stand: Stand, fresh: Callable[[], bytearray], saves: str, loads: str) -> Iterator[list[Probe]]:
    """Put and get one large object, hashed by the client as NATS's own does; `saves` and `loads` are the floors."""
    with ExitStack() as stack:
        server = stack.enter_context(_server(stand))
        if server is None:
            yield [Probe.absent("nats-server, object store", "nats-server")]
            return
        port, synced = server
        client = _Client(port)
        stack.enter_context(client.socket)
        for bucket in ("kept", "fresh"):
            client.stream(f"OBJ_{bucket}", [f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"], allow_rollup_hdrs=True)
        content = fresh()
        _put(client, "kept", content)

        def rate(do: Callable[[], object]) -> float:
            started = perf_counter()
            do()
            return len(content) / MIB / (perf_counter() - started)

        def put() -> float:
            fresh()
            figure = rate(lambda: _put(client, "fresh", content))
            client.request("$JS.API.STREAM.PURGE.OBJ_fresh", b"{}")
            os.sync()
            return figure

        yield [
            Probe.of(Row(f"nats-server: object put, {synced}", Unit.RATE, "", saves), put),
            Probe.of(
                Row("nats-server: object get, checked", Unit.RATE, "", loads),
                lambda: rate(lambda: _get(client, "kept", len(content))),
            ),
        ]


@contextmanager
def _server(stand: Stand) -> Iterator[tuple[int, str] | None]:
    """A server: its port, and in words whether it syncs before it answers. None where it is not installed."""
    program = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
    if program is None:
        yield None
        return
    port, root, config = free_port(), stand.folder / "nats", stand.folder / "nats.conf"

    def configure(*settings: str) -> bool:
        inside = ", ".join((f"store_dir: {root}", "max_file_store: 64G", *settings))
        config.write_text(f"listen: 127.0.0.1:{port}\njetstream {{ {inside} }}\n")
        return subprocess.run((program, "-t", "-c", config), capture_output=True).returncode == 0

    synced = configure(_SYNC)
    if not synced and not configure():
        raise SystemExit(f"nats-server does not take its configuration, {config}")
    try:
        with stand.peer(("127.0.0.1", port), program, "-c", str(config)):
            yield port, "synced" if synced else "not synced (it has no setting for it)"
    finally:
        shutil.rmtree(root, ignore_errors=True)


class _Client:
    """A connection; requests are answered in order, at its own inbox."""

    def __init__(self, port: int, next_request: Callable[[], tuple[str, bytes]] | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._next = next_request
        self._buffer = bytearray()
        self.inbox = f"_INBOX.{os.urandom(8).hex()}"
        self.socket.sendall(_CONNECT + f"SUB {self.inbox} 1\r\nPING\r\n".encode())
        while b"PONG\r\n" not in self._buffer:
            self._buffer += self.socket.recv(READ_BYTES)
        self._buffer.clear()

    def ask(self) -> None:
        assert self._next is not None
        self.publish(*self._next())

    def answers(self, data: bytes) -> int:
        return len(self._taken(data))

    def publish(self, subject: str, payload: bytes | memoryview) -> None:
        """Send a message that wants an answer."""
        head = f"PUB {subject} {self.inbox} {len(payload)}\r\n".encode()
        self.socket.sendall(b"".join((head, payload, b"\r\n")))

    def request(self, subject: str, payload: bytes) -> bytes:
        """Send one and wait for its answer. Raises `ConnectionError` for one that says error."""
        self.publish(subject, payload)
        return self.next()[0]

    def next(self) -> list[bytes]:
        """What comes next, at least one payload. Raises `ConnectionError` for one that says error."""
        while not (payloads := self._taken(self.socket.recv(READ_BYTES))):
            pass
        return payloads

    def stream(self, name: str, subjects: list[str], **more: object) -> None:
        """Make a stream on disk."""
        config = {"name": name, "subjects": subjects, "storage": "file", "retention": "limits", "discard": "new"}
        self.request(f"$JS.API.STREAM.CREATE.{name}", json.dumps({**config, "num_replicas": 1, **more}).encode())

    def _taken(self, data: bytes) -> list[bytes]:
        self._buffer += data
        payloads = []
        while (end := self._buffer.find(b"\r\n")) >= 0:
            line = bytes(self._buffer[:end])
            kind, *words = line.split()
            if kind not in (b"MSG", b"HMSG"):
                if kind == b"-ERR":
                    raise ConnectionError(f"nats-server: {line.decode()}")
                if kind == b"PING":
                    self.socket.sendall(b"PONG\r\n")
                del self._buffer[: end + 2]
                continue
            size = int(words[-1])
            if len(self._buffer) < end + 2 + size + 2:
                break
            body = bytes(self._buffer[end + 2 : end + 2 + size])
            del self._buffer[: end + 2 + size + 2]
            headers, payload = (0, body) if kind == b"MSG" else (int(words[-2]), body[int(words[-2]) :])
            if (headers and body[: len(_WHOLE)] != _WHOLE) or b'"error"' in payload[:200]:
                raise ConnectionError(f"nats-server: {body[:500].decode(errors='replace')}")
            payloads.append(payload)
        return payloads


def _put(client: _Client, bucket: str, content: bytearray) -> None:
    """Send an object in chunks, then what describes it; return when all is acknowledged."""
    name, view, digest, owed = os.urandom(8).hex(), memoryview(content), hashlib.sha256(), 0
    for at in range(0, len(content), CHUNK_BYTES):
        chunk = view[at : at + CHUNK_BYTES]
        digest.update(chunk)
        client.publish(f"$O.{bucket}.C.{name}", chunk)
        owed += 1
        while owed >= CHUNKS_AHEAD:
            owed -= len(client.next())
    while owed:
        owed -= len(client.next())
    told = {
        "name": "object",
        "bucket": bucket,
        "nuid": name,
        "size": len(content),
        "chunks": -(-len(content) // CHUNK_BYTES),
        "digest": f"SHA-256={base64.urlsafe_b64encode(digest.digest()).decode()}",
    }
    client.request(f"$O.{bucket}.M.{base64.urlsafe_b64encode(b'object').decode()}", json.dumps(told).encode())


def _get(client: _Client, bucket: str, size: int) -> None:
    """Take an object's chunks and hash them, as a consumer that asks for some at a time."""
    config = {"deliver_policy": "all", "ack_policy": "none", "filter_subject": f"$O.{bucket}.C.>", "mem_storage": True}
    asked = {"stream_name": f"OBJ_{bucket}", "config": config}
    made = client.request(f"$JS.API.CONSUMER.CREATE.OBJ_{bucket}", json.dumps(asked).encode())
    name = json.loads(made)["name"]
    digest = hashlib.sha256()
    wanted = owed = 0
    chunks = -(-size // CHUNK_BYTES)
    while size:
        if owed <= CHUNKS_AHEAD // 2 and wanted < chunks:
            batch = min(CHUNKS_AHEAD, chunks - wanted)
            client.publish(f"$JS.API.CONSUMER.MSG.NEXT.OBJ_{bucket}.{name}", json.dumps({"batch": batch}).encode())
            wanted, owed = wanted + batch, owed + batch
        for chunk in client.next():
            digest.update(chunk)
            owed -= 1
            size -= len(chunk)
    client.request(f"$JS.API.CONSUMER.DELETE.OBJ_{bucket}.{name}", b"")
