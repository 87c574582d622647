"""Where a server's time goes: py-spy looks at its threads from outside, a hundred times a second.

A profile slows down what it looks at, so the figures of such a run are not to be quoted.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.rows import say

PACKAGE = "udfstore"
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Spent:
    """What one function took of all samples: alone, and with what it called. 1 is everything."""

    function: str
    own: float
    whole: float


@contextmanager
def sampled(pid: int) -> Iterator[None]:
    """Look at a process while this is open, then tell where its time went. Raises `SystemExit` without py-spy."""
    program = shutil.which("py-spy", path=Path(sys.executable).parent) or shutil.which("py-spy")
    if program is None:
        raise SystemExit("a profile needs py-spy: .venv/bin/pip install -e '.[bench]'")
    with tempfile.NamedTemporaryFile() as file:
        command = (program, "record", "--pid", str(pid), "--format", "raw", "--function", "--output", file.name)
        watching = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            yield
        finally:
            watching.send_signal(signal.SIGINT)
            _, said = watching.communicate()
        if watching.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {said}")
        say(as_text(spent(Path(file.name).read_text())))


def spent(stacks: str) -> list[Spent]:
    """What each function took, from lines of `outermost;…;innermost COUNT`."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        functions = frames.split(";")
        own[functions[-1]] += int(count)
        for function in set(functions):
            whole[function] += int(count)
    total = own.total()
    return [Spent(function, own[function] / total, count / total) for function, count in whole.items()]


def as_text(found: list[Spent]) -> str:
    """The functions that took most alone, and those of udfstore that took most with what they called; for people."""
    ours = [it for it in found if f"({PACKAGE}/" in it.function]
    return "\n".join(
        (
            "where the server's time went: what each function took alone, and with what it called",
            *_lines(sorted(found, key=lambda it: it.own, reverse=True)),
            f"and the functions of {PACKAGE} that took most with what they called",
            *_lines(sorted(ours, key=lambda it: it.whole, reverse=True)),
        )
    )


def _lines(found: list[Spent]) -> list[str]:
    return [f"{it.own:8.1%}{it.whole:8.1%}  {it.function}" for it in found[:SHOWN]]
