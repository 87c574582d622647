"""Memory of the server, as the kernel counts it.

Starting takes some MiB for a moment. The peaks of saves are counted from when the server was ready, else that moment
would hide them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.bench.crowd import Crowd, Job
from tests.bench.rows import Probe, Row, Unit
from tests.bench.stand import MIB, Stand
from udfstore import calls
from udfstore.client import operations
from udfstore.client.conversation import Conversation
from udfstore.client.operations import Operation

SAVES = 8
IDLE = 100
STARTED = "floor: memory of a server that is ready, and idle"
PEAK_OF_START = "memory: the peak of starting"


@contextmanager
def memory_probes(stand: Stand) -> Iterator[list[Probe]]:
    """Each figure is that of a server of its own."""
    size = stand.sizes.memory_bytes

    def started() -> tuple[float, float]:
        with stand.server() as served:
            return served.memory_mib("VmRSS"), served.memory_mib("VmHWM")

    def one() -> float:
        with stand.server() as served, Crowd(served.socket, 1) as crowd:
            served.forget_peak()
            crowd.run(saving(size))
            return served.memory_mib("VmHWM")

    def several() -> float:
        with stand.server() as served, Crowd(served.socket, IDLE), Crowd(served.socket, SAVES) as crowd:
            served.forget_peak()
            crowd.run(saving(stand.sizes.big_bytes))
            return served.memory_mib("VmHWM")

    several_name = f"memory: {SAVES} saves of {stand.sizes.big_bytes // MIB} MiB and {IDLE} idle connections"
    yield [
        Probe((Row(STARTED, Unit.MEMORY), Row(PEAK_OF_START, Unit.MEMORY)), started),
        Probe.of(Row(f"memory: one save of {size // MIB} MiB", Unit.MEMORY, "32 MiB over the floor", STARTED), one),
        Probe.of(Row(several_name, Unit.MEMORY, "120 MiB", STARTED), several),
    ]


def saving(size: int) -> Job:
    """A client that saves one blob of a size, made as it goes."""

    def job(talk: Conversation) -> Iterator[Operation]:
        yield operations.save(talk, calls.Save(size=size), repeated(size), calls.Commit(size))

    return job


def repeated(size: int) -> Callable[[int], memoryview]:
    """Content that costs the sender no memory: one random block, over and over."""
    block = memoryview(os.urandom(MIB))
    left = size

    def read(most: int) -> memoryview:
        nonlocal left
        data = block[: min(most, left)]
        left -= len(data)
        return data

    return read
