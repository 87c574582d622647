"""strace at single threads: which system calls they make, and kill -9 at the entry of one of them, or its failure.

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

ANY = re.compile(r"(?!read\(0\b|exit|[^(]* )\w+\(")
"""Lines about calls, but for those by which the driver waits for its go and ends."""

FALLIBLE = re.compile(rf"(?!write\(1\b)({CHANGING.pattern}|close\(\d+<[^>]*/root/(?!catalog))")
"""Lines about calls in which the disk may fail."""

SYNC_OR_SAID = re.compile(r"(f(data)?sync\((?!.*(/root|/catalog\.db(-\w+)?)>)|syncfs\(|write\(1\b)")
"""Lines about acknowledgements, and about syncs, but for those of the catalog and the folder it lies in: the log can
make it again."""

_LASTING = re.compile(r"/root$|/journal/|/(journal|log|staging|uploads|trash|quarantine|blobs(/..)?)$")
"""Folders, and the journal."""

_SYNC = re.compile(r"(?!fdatasync.*/root>)f(?:data)?sync\(\d+<(?!.*/catalog\.)(.*?)(?:\(deleted\))?>\) += (.*)")
"""Syncs that the store makes, not SQLite: of what, and what came of it."""

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
    """Those calls of one thread's trace whose line fits, in their order."""
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


def failing(point: Point, error: str) -> list[str]:
    """Options of strace to let that call fail with an error, as it does when the disk does; it is not made.

    That call and all syncs of files and folders are traced.
    """
    name, count = point
    return ["-e", f"trace=fsync,fdatasync,unlink,{name}", "-e", f"inject={name}:error={error}:when={count}"]


def synced_again(trace: Path) -> set[str]:
    """Files that were synced after a sync of theirs had failed, but for the catalog, which the log can make again.

    SQLite syncs the folder of the catalog (by fdatasync, the store by fsync) and passes over a failure of that.
    Where the disk was only full, folders and the journal do not count: names are not lost by that, and whatever is
    synced next in a segment of the journal was written anew.
    """
    failed: set[str] = set()
    again: set[str] = set()
    for line in trace.read_text().splitlines():
        unlinked = re.match(r'unlink\("(.*)"\) += 0', line)
        if unlinked:
            failed.discard(unlinked[1])  # what has the name from here on is another file
        sync = _SYNC.match(line)
        if sync and sync[1] in failed:
            again.add(sync[1])
        elif sync and sync[2].startswith("-1") and ("EIO" in sync[2] or not _LASTING.search(sync[1])):
            failed.add(sync[1])
    return again
