"""The command line as a person meets it: whole processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import udfstore
from tests.bench.rows import Probe, Row, Unit
from tests.bench.stand import Stand

PYTHON = "floor: a Python process that does nothing"


@contextmanager
def command_probes(stand: Stand) -> Iterator[list[Probe]]:
    """Get a small blob."""
    runs = stand.sizes.commands
    with stand.server() as served, udfstore.connect(served.socket) as store:
        kept = store.save(b"small", tag="bench/small").id
        get = ("-m", "udfstore", "get", "--socket", str(served.socket), str(kept))

        def seconds(*arguments: str) -> float:
            started = perf_counter()
            for _ in range(runs):
                subprocess.run((sys.executable, *arguments), check=True, stdout=subprocess.DEVNULL)
            return (perf_counter() - started) / runs

        yield [
            Probe.of(Row(PYTHON, Unit.SECONDS), lambda: seconds("-c", "pass")),
            Probe.of(
                Row("udfstore get of a small blob, whole process", Unit.SECONDS, "0.25 s", PYTHON),
                lambda: seconds(*get),
            ),
        ]
