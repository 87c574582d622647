"""Large content over HTTP on the loopback address, beside bare sockets and a registry of container images.

The registry is Debian's `docker-registry`, where it is installed: the same bytes, sent and taken by the same client. It
too syncs the file before it answers, but not the folder.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from urllib.parse import urlsplit

from tests.bench.content import SINK, SOURCE, fresh_content, receive, send, settle
from tests.bench.rows import Probe, Row, Unit
from tests.bench.stand import MIB, Stand, free_port

READ_BYTES = 1 * MIB

_REGISTRY = """\
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@contextmanager
def http_probes(stand: Stand) -> Iterator[list[Probe]]:
    """One big blob up and down."""
    size, port = stand.sizes.big_bytes, free_port()
    fresh = fresh_content(size)
    with ExitStack() as stack:
        served = stack.enter_context(stand.server("--http", f"127.0.0.1:{port}"))
        floors = stack.enter_context(stand.floors())
        (floors / "content").write_bytes(fresh())
        token = (served.root / "http-token").read_text().strip()
        store = _Client(port, {"Authorization": f"Bearer {token}"})
        kept = store.put_blob(fresh())
        served.forget_peak()

        def rate(do: Callable[[], object]) -> float:
            started = perf_counter()
            do()
            return size / MIB / (perf_counter() - started)

        def sunk() -> float:
            content = fresh()
            figure = rate(lambda: send(floors / "sink", content))
            settle()
            return figure

        def up() -> tuple[float, float]:
            content = fresh()
            figure = rate(lambda: store.put_blob(content))
            settle()
            return figure, served.memory_mib("VmHWM")

        def down() -> float:
            return rate(lambda: store.get(f"/v1/blobs/{kept}", size))

        probes = [
            Probe.of(Row(SINK, Unit.RATE), sunk),
            Probe(
                (
                    Row("save over HTTP, durable", Unit.RATE, "", SINK),
                    Row("memory of the server throughout", Unit.MEMORY, "120 MiB"),
                ),
                up,
            ),
            Probe.of(Row(SOURCE, Unit.RATE), lambda: rate(lambda: receive(floors / "source", size, lambda data: None))),
            Probe.of(Row("load over HTTP", Unit.RATE, "", SOURCE), down),
        ]
        yield probes + stack.enter_context(_registry(stand, fresh, size, rate))


@contextmanager
def _registry(
    stand: Stand, fresh: Callable[[], bytearray], size: int, rate: Callable[[Callable[[], object]], float]
) -> Iterator[list[Probe]]:
    program = shutil.which("docker-registry")
    if program is None:
        yield [Probe.absent("docker-registry", "docker-registry")]
        return
    port, root, config = free_port(), stand.folder / "registry", stand.folder / "registry.yml"
    config.write_text(_REGISTRY.format(root=root, port=port))
    with stand.peer(("127.0.0.1", port), program, "serve", str(config)):
        client = _Client(port, {})
        content = fresh()
        kept = _digest(content)
        client.push(content, kept)

        def up() -> float:
            content = fresh()
            digest = _digest(content)
            figure = rate(lambda: client.push(content, digest))
            settle()
            return figure

        yield [
            Probe.of(Row("docker-registry: push of one layer", Unit.RATE, "", SINK), up),
            Probe.of(
                Row("docker-registry: pull of it", Unit.RATE, "", SOURCE),
                lambda: rate(lambda: client.get(f"/v2/bench/blobs/{kept}", size)),
            ),
        ]
    shutil.rmtree(root, ignore_errors=True)


class _Client:
    """The same client for both: `http.client`, one connection for each request."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._port = port
        self._headers = headers

    def put_blob(self, content: bytearray) -> str:
        """Save content; gives where it is."""
        return self._ask("POST", "/v1/blobs", content, 201)["Location"].rpartition("/")[2]

    def push(self, content: bytearray, digest: str) -> None:
        """Push a layer as container tools do: begin, then send it in one piece under its digest."""
        place = urlsplit(self._ask("POST", "/v2/bench/blobs/uploads/", bytearray(), 202)["Location"])
        self._ask("PUT", f"{place.path}?{place.query}&digest={digest}", content, 201)

    def get(self, path: str, size: int) -> None:
        """Take content and drop it."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        connection.request("GET", path, headers=self._headers)
        answer = connection.getresponse()
        buffer = memoryview(bytearray(READ_BYTES))
        while got := answer.readinto(buffer):
            size -= got
        connection.close()
        if answer.status != 200 or size:
            raise ConnectionError(f"GET {path}: {answer.status}, {size} bytes are missing")

    def _ask(self, method: str, path: str, content: bytearray, status: int) -> http.client.HTTPMessage:
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(content)), **self._headers}
        connection.putrequest(method, path)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.sock.sendall(content)
        answer = connection.getresponse()
        told = answer.read()
        connection.close()
        if answer.status != status:
            raise ConnectionError(f"{method} {path}: {answer.status}: {told[:500]!r}")
        return answer.headers


def _digest(content: bytearray) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
