"""The bridge: points through it, and what it adds to the way of one, beside a bare pipe to the same child.

The child gives back each byte it is given, so that nothing but pipes and the bridge is measured. Points are written one
by one, as Kapacitor does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter

from tests.bench.rows import Probe, Row, Unit
from tests.bench.stand import Stand
from udfstore._pb import udfstore_pb2 as pb
from udfstore.wire import codec, limits
from udfstore.wire.framing import FrameReader

ECHO = r"""
import os
for answer in (b"\x02\x0a\x00", b"\x04\x12\x02\x08\x01"):  # Info and Init
    os.read(0, 65536)
    os.write(1, answer)
while data := os.read(0, 65536):
    while data:
        data = data[os.write(1, data):]
"""
CHILD = (sys.executable, "-c", ECHO)
BRIDGE = (sys.executable, "-m", "udfstore", "bridge", "--log-level", "error")
POINT = codec.encode(
    pb.Request(
        point=pb.Point(
            time=1_700_000_000_000_000_000,
            name="flow",
            database="telegraf",
            retentionPolicy="autogen",
            group="line=a",
            dimensions=["line"],
            tags={"line": "a", "host": "edge-7"},
            fieldsDouble={"value": 21.75, "pressure": 3.5},
        )
    )
)
PIPED = "floor: points there and back through a bare pipe"
TRIP = "floor: round trip of a point, bare pipe"
READ_BYTES = 1 << 16


@contextmanager
def relay_probes(stand: Stand) -> Iterator[list[Probe]]:
    """Points through a bridge."""
    points, trips = stand.sizes.points, stand.sizes.trips
    with stand.server() as served, _udf(CHILD) as bare:
        bridged = (*BRIDGE, "--socket", str(served.socket), "--", *CHILD)
        with _udf(bridged, UDFSTORE_STATE=str(stand.folder / "state")) as relayed:

            def round_trips() -> tuple[float, ...]:
                floor, through = bare.round_trip(trips), relayed.round_trip(trips)
                return floor, through, through - floor

            yield [
                Probe.of(Row(PIPED, Unit.PER_SECOND), lambda: bare.per_second(points)),
                Probe.of(
                    Row("points there and back through a bridge", Unit.PER_SECOND, "20,000/s", PIPED),
                    lambda: relayed.per_second(points),
                ),
                Probe(
                    (
                        Row(TRIP, Unit.MICROSECONDS),
                        Row("round trip of a point through a bridge, median", Unit.MICROSECONDS, "", TRIP),
                        Row("added to it by the bridge", Unit.MICROSECONDS, "100 µs"),
                    ),
                    round_trips,
                ),
            ]


class _Udf:
    """A child that echoes, with or without a bridge before it."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes

    def ask(self, request: pb.Request) -> None:
        """One question, up to its answer; keepalives may come before it."""
        os.write(self._writes, codec.encode(request))
        frames = FrameReader(limits.of_kapacitor_udfs())
        kind = codec.encode(request)[1] >> 3
        while all(frame.kind != kind for frame in frames.receive(os.read(self._reads, READ_BYTES))):
            pass

    def per_second(self, points: int) -> float:
        """Points there and back in a second, with as many on their way as the pipes hold."""
        writing = threading.Thread(target=self._write, args=(points,))
        started = perf_counter()
        writing.start()
        self._await(points)
        taken = perf_counter() - started
        writing.join()
        return points / taken

    def round_trip(self, points: int) -> float:
        """Microseconds at the median, one point at a time."""
        times = []
        for _ in range(points):
            started = perf_counter()
            os.write(self._writes, POINT)
            self._await(1)
            times.append(perf_counter() - started)
        return median(times) * 1e6

    def _write(self, points: int) -> None:
        for _ in range(points):
            os.write(self._writes, POINT)

    def _await(self, points: int) -> None:
        left = points * len(POINT)
        while left > 0:
            left -= len(os.read(self._reads, READ_BYTES))


@contextmanager
def _udf(command: tuple[str, ...], **environment: str) -> Iterator[_Udf]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **environment}, bufsize=0
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        udf = _Udf(process.stdout.fileno(), process.stdin.fileno())
        udf.ask(pb.Request(info=pb.InfoRequest()))
        udf.ask(pb.Request(init=pb.InitRequest(taskID="bench", nodeID="echo2")))
        yield udf
    process.wait()
