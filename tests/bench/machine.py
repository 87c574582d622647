"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

from google.protobuf.internal import api_implementation

PACKAGES = ("udfstore", "protobuf", "trio")
SYNCS = 200
SYNCED_BYTES = 4096


def describe(folder: Path) -> dict[str, str]:
    """The machine, by what bears on the figures; `folder` is where the stores lie."""
    file_system, device = _mounted(folder)
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _first("/proc/cpuinfo", "model name"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 20} MiB",
        "kernel": platform.release(),
        "file system": f"{file_system} on {device}",
        "sync": f"{1e6 * sync_seconds(folder):,.0f} µs to append {SYNCED_BYTES} bytes and fdatasync, at the median",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "protobuf implementation": api_implementation.Type(),
        "load before": f"{os.getloadavg()[0]:.2f} processes ready to run, on average over the last minute",
    }


def sync_seconds(folder: Path) -> float:
    """What one durable append costs there, into space that was written before: the median of many."""
    took = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(bytes(SYNCED_BYTES * SYNCS))
        os.fsync(file.fileno())
        for number in range(SYNCS):
            started = perf_counter()
            os.pwrite(file.fileno(), bytes(SYNCED_BYTES), number * SYNCED_BYTES)
            os.fdatasync(file.fileno())
            took.append(perf_counter() - started)
    return median(took)


def _first(path: str, name: str) -> str:
    """The first value of a name in one of the kernel's lists of `name : value`."""
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "not told"


def _mounted(folder: Path) -> tuple[str, str]:
    """Type and device of the file system that a folder lies in (proc_pid_mountinfo(5))."""
    best = ("/", "unknown", "unknown")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        where, (kind, device, *_) = left.split()[4], right.split()
        if folder.resolve().is_relative_to(where) and len(where) >= len(best[0]):
            best = (where, kind, device)
    return best[1], best[2]
