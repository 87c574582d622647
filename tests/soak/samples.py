"""What a server holds, seen from outside: memory, descriptors, threads, and files that should come and go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

MIB = 1 << 20
CATALOG_MOST = 40
"""Descriptors of a server at its catalog: readers stay in a pool, two descriptors each, and are as many as ever read at
once, which are 16 threads, the loop and the committer."""

ROOM_MIB = 8.0
"""Between two thirds of a life: what allocator and caches do of themselves stays below it, a leak of every call does
not."""

LIFE_SECONDS = 60.0
"""Of a life that is long enough to be judged: a shorter one is still warming up."""


def count(folder: Path) -> int:
    """How many files lie in it."""
    return sum(1 for _ in folder.iterdir())


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a server. `life` counts its starts, `seconds` are those since the first."""

    seconds: float
    life: int
    memory_mib: float
    """Of its own. Pages of files that it maps are the kernel's, and go when there is need of them."""
    descriptors: int
    """But those of the catalog."""
    catalog: int
    threads: int
    staging: int
    uploads: int
    trash: int
    journal: int

    @classmethod
    def of(cls, pid: int, root: Path, seconds: float, life: int) -> Sample:
        """Look at it now."""
        found = re.search(r"^RssAnon:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        assert found, f"the kernel tells no memory of process {pid}"
        files = {name: count(root / name) for name in ("staging", "uploads", "trash", "journal")}
        targets = []
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                targets.append(str(path.readlink()))
        catalog = sum("/catalog.db" in target for target in targets)
        threads = count(Path(f"/proc/{pid}/task"))
        return cls(seconds, life, int(found[1]) / 1024, len(targets) - catalog, catalog, threads, **files)

    def __str__(self) -> str:
        return f"{self.memory_mib:.0f} MiB, {self.descriptors} descriptors, {self.threads} threads"


@dataclass(frozen=True, slots=True)
class Growth:
    """Memory of the longest life, the median of each third."""

    life: int
    seconds: float
    thirds: tuple[float, float, float]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Growth:
        """From all samples."""
        lives: dict[int, list[Sample]] = {}
        for sample in samples:
            lives.setdefault(sample.life, []).append(sample)
        longest = max(lives.values(), key=lambda life: life[-1].seconds - life[0].seconds)
        first, last = longest[0].seconds, longest[-1].seconds
        third = (last - first) / 3
        parts: list[list[float]] = [[], [], []]
        for sample in longest:
            part = min(int((sample.seconds - first) / third), 2) if third else 2
            parts[part].append(sample.memory_mib)
        one, two, three = (median(part) if part else longest[-1].memory_mib for part in parts)
        return cls(longest[0].life, last - first, (one, two, three))

    @property
    def leaks(self) -> bool:
        """Whether the last third of a life that is long enough needs more than the middle one."""
        return self.seconds >= LIFE_SECONDS and self.thirds[2] > self.thirds[1] + ROOM_MIB
