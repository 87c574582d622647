"""What a bridge remembers from one start to the next, best effort: small files in one folder.

Everything here may be lost or unwritable (a read-only root file system, an empty home): then nothing is remembered, and
only what happens when something is broken at the next start gets worse.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import structlog

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

KNOWN_BYTES = 1 << 20
"""Nothing that is remembered is larger: an InfoResponse has some hundred bytes, a DAG at most a mebibyte."""


def folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where it is kept: $UDFSTORE_STATE, or `udfstore` below $XDG_STATE_HOME (XDG base directories); None: nowhere."""
    if named := environ.get("UDFSTORE_STATE"):
        return Path(named)
    if state := environ.get("XDG_STATE_HOME"):
        return Path(state) / "udfstore"
    home = environ.get("HOME")
    return Path(home) / ".local" / "state" / "udfstore" if home else None


class Known:
    """Values by `kind` (a word) and `key` (any text, such as a command)."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, kind: str, key: str) -> bytes | None:
        """What was last kept; None: nothing, or it cannot be read."""
        path = self._path(kind, key)
        try:
            value = b"" if path is None else path.read_bytes()
        except OSError:
            return None
        return value if 0 < len(value) <= KNOWN_BYTES else None

    def keep(self, kind: str, key: str, value: bytes) -> None:
        """Keep a value, whole or not at all. A folder that cannot be written is said to the log and is no error."""
        path = self._path(kind, key)
        if path is None or self.get(kind, key) == value:
            return
        beside = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside.write_bytes(value)
            beside.replace(path)
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            _log.debug("nothing is remembered for the next start", path=str(path), reason=error.strerror)

    def _path(self, kind: str, key: str) -> Path | None:
        name = f"{kind}-{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:32]}"
        return None if self._folder is None else self._folder / name
