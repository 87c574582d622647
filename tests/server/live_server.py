"""A server process, and what it holds."""

from __future__ import annotations

from pathlib import Path

from kit import ServerProcess


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
