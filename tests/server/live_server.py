"""A server process, and what it holds."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kit import ServerProcess


def until_gone(found: Callable[[], object], what: str) -> None:
    """Look until nothing is found, without sleeping."""
    for _ in range(20_000):
        if not found():
            return
        os.sched_yield()
    raise AssertionError(f"still there: {what}: {found()}")


class LiveServer(ServerProcess):
    """A server on a root and socket in a folder; `limits` are fields of `ServerLimits`."""

    def __init__(self, folder: Path, **limits: float) -> None:
        super().__init__(folder / "root", folder / "s", **limits)

    @property
    def staged(self) -> list[str]:
        """Names of the files that saves in flight have written so far."""
        return [path.name for path in (self.root / "staging").iterdir()]

    @property
    def descriptors(self) -> int:
        """How many the server has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def held(self) -> Counter[str]:
        """What the server has open for its clients, by name: all but its own catalog, log and journal."""
        found: Counter[str] = Counter()
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                name = str(link.readlink())
                own = (f"{self.root}/catalog.db", f"{self.root}/log", f"{self.root}/journal")
                found[name] += not name.startswith(own)
        return found
