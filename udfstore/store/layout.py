"""Where everything lies below a root: paths and nothing else.

Only a `BlobId` or a number of ours becomes part of a path, never text of a client.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from udfstore.digest import BlobId

_SEGMENT = re.compile(r"[0-9]{8}", re.ASCII)
_UPLOAD = re.compile(r"([0-9a-f]{32})(?:\.json(?:\.new)?)?", re.ASCII)
_QUARANTINED = re.compile(r"([0-9a-f]{64})\.[0-9a-f]{8}", re.ASCII)

FAN = tuple(f"{n:02x}" for n in range(256))
"""The folders below `blobs/`: the first two hex digits of the IDs in each."""

KNOWN = frozenset(
    {
        "FORMAT",
        "FORMAT.new",
        "LOCK",
        "blobs",
        "staging",
        "uploads",
        "journal",
        "log",
        "trash",
        "quarantine",
        "reserve",
    }
)
"""The names that making a store gives below the root."""

RESTORING = "FORMAT.restore"
"""Lies below a root while it is restored from a backup; it becomes FORMAT when all is there."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one store."""

    root: Path

    @property
    def format(self) -> Path:
        """Version, store ID, epoch, required features."""
        return self.root / "FORMAT"

    @property
    def lock(self) -> Path:
        """Locked by the one process that owns the root."""
        return self.root / "LOCK"

    @property
    def blobs(self) -> Path:
        """Content, in 256 folders."""
        return self.root / "blobs"

    @property
    def staging(self) -> Path:
        """Saves in flight."""
        return self.root / "staging"

    @property
    def uploads(self) -> Path:
        """Resumable uploads."""
        return self.root / "uploads"

    @property
    def journal(self) -> Path:
        """Small content on its way to files, where the store has the feature."""
        return self.root / "journal"

    @property
    def log(self) -> Path:
        """The segments of the tag log."""
        return self.root / "log"

    @property
    def catalog(self) -> Path:
        """The SQLite view."""
        return self.root / "catalog.db"

    @property
    def trash(self) -> Path:
        """Blobs on their way out."""
        return self.root / "trash"

    @property
    def quarantine(self) -> Path:
        """Files whose bytes do not match their name."""
        return self.root / "quarantine"

    @property
    def reserve(self) -> Path:
        """Space that is given back when the disk is full."""
        return self.root / "reserve"

    @property
    def tokens(self) -> Path:
        """Who may ask over HTTP: hashes of their secrets."""
        return self.root / "tokens.json"

    @property
    def http_token(self) -> Path:
        """The secret of the first token."""
        return self.root / "http-token"

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders that a store has."""
        fan = tuple(self.blobs / name for name in FAN)
        return (self.blobs, *fan, self.staging, self.uploads, self.log, self.trash, self.quarantine)

    def blob(self, id: BlobId) -> Path:
        """The file of a blob."""
        digits = id.hex
        return Path(f"{self.root}/blobs/{digits[:2]}/{digits}")  # one join: this is asked for in every call

    def trashed(self, id: BlobId) -> Path:
        """The file of a blob on its way out."""
        return self.trash / id.hex

    def quarantined(self, id: BlobId, nonce: bytes) -> Path:
        """A place for a file that does not match its name; `nonce` is 4 random bytes."""
        return self.quarantine / f"{id.hex}.{nonce.hex()}"

    def segment(self, number: int) -> Path:
        """A segment of the log, counted from 1."""
        return self.log / f"{number:08d}"

    def journal_segments(self) -> dict[int, Path]:
        """The segments of the journal that are there, by their numbers from 1."""
        try:
            paths = sorted(self.journal.iterdir())
        except FileNotFoundError:
            return {}
        return {number: path for path in paths if (number := segment_number(path.name))}

    def journal_segment(self, number: int) -> Path:
        """A segment of the journal."""
        return self.journal / f"{number:08d}"


def segment_number(name: str) -> int | None:
    """The number of a segment from its file's name; None for other files."""
    return int(name) if _SEGMENT.fullmatch(name) else None


def blob_of(name: str) -> BlobId | None:
    """The ID in the name of a file below `blobs/` or `trash/`; None for a name we never gave."""
    return BlobId(bytes.fromhex(name)) if re.fullmatch(r"[0-9a-f]{64}", name, re.ASCII) else None


def upload_name(name: str) -> str | None:
    """The upload that a file in `uploads/` belongs to; None for a name we never gave."""
    match = _UPLOAD.fullmatch(name)
    return match[1] if match else None


def quarantined_blob(name: str) -> BlobId | None:
    """The ID in the name of a file in `quarantine/`; None for a name we never gave."""
    match = _QUARANTINED.fullmatch(name)
    return BlobId(bytes.fromhex(match[1])) if match else None
