"""strace at single threads: which system calls they make, and kill -9 at the entry of one of them.

strace counts the calls of each thread by themselves, so a point is told by its number in its thread.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

EVERY_CALL = bool(os.environ.get("UDFSTORE_CRASH"))

CHANGING = re.compile(
    r"(?!.* = -1 )"
    r"(p?write|f(data)?sync|syncfs|rename|link|unlink|mkdir|ftruncate|fallocate|utimensat|openat.*O_(CREAT|RDWR))"
)
"""Lines of strace about calls that may change something on disk."""

ANY = re.compile(r"(?!read\(0,|exit|[^(]* )\w+\(")
"""Lines about calls, but for those by which the driver waits for its go and ends."""

Point = tuple[str, int]
"""A system call's name, and the how many-th of that name in its thread."""


@contextmanager
def attached(ids: Sequence[int], *options: str) -> Iterator[subprocess.Popen[str]]:
    """strace at these threads, from here to the end of the block; skips the test where that cannot be had."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    command = ["strace", *options, *(f"--attach={id}" for id in ids)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        try:
            for _ in ids:
                said = strace.stderr.readline()
                if "attached" not in said:
                    pytest.skip(f"strace may not attach here: {said.strip()}")
            yield strace
        finally:
            strace.terminate()  # it lets go of whatever still runs


def points(trace: Path, which: re.Pattern[str]) -> list[Point]:
    """Those calls of one thread's trace whose line fits."""
    counts: Counter[str] = Counter()
    found: list[Point] = []
    for line in trace.read_text().splitlines():
        name = line.partition("(")[0]
        counts[name] += 1
        if which.match(line):
            found.append((name, counts[name]))
    return found


def killing(point: Point) -> list[str]:
    """Options of strace to kill the process when a thread enters that call."""
    name, count = point
    return ["-o", "/dev/null", "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={count}"]
