"""The files of a backup, in a folder as in a stream. Pure; see FORMAT.md, "A backup".

In this order, and none else:

    FORMAT                 that of the store
    log/00000001 …         the segments of its log, each without what follows its last group
    blobs/ab/abcdef…       its blobs, by their IDs
    SHA256SUMS             the hash of each file before this one, for sha256sum(1)
    BACKUP.json            what it is a backup of; whole only with this

So everything hangs on BACKUP.json: it has the hash of SHA256SUMS, and that all others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from udfstore.digest import BlobId
from udfstore.errors import Corrupt, Unsupported

TITLE = "udfstore backup"
VERSION = 1

FORMAT, SUMS, SUMMARY = "FORMAT", "SHA256SUMS", "BACKUP.json"

_SEGMENT = re.compile(r"log/([0-9]{8})", re.ASCII)
_BLOB = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})", re.ASCII)
_SUM = re.compile(r"([0-9a-f]{64})  (\S{1,100})", re.ASCII)


@dataclass(frozen=True, slots=True)
class File:
    """A file of a backup as it is read. `read(n)` gives its next bytes, at most `n`, and b"" at its end."""

    name: str
    size: int
    time_ns: int
    read: Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Summary:
    """What BACKUP.json says.

    `size` is that of all its blobs, `chain` the hash of the log's last group, `sums` that of SHA256SUMS. `damaged` are
    the blobs that the store could not give: they are not in the backup.
    """

    store_id: bytes
    epoch: int
    revision: int
    chain: bytes
    time_ns: int
    blobs: int
    size: int
    sums: bytes
    damaged: tuple[BlobId, ...] = ()

    def encode(self) -> bytes:
        """The text of BACKUP.json."""
        fields = {
            "title": TITLE,
            "version": VERSION,
            "store": self.store_id.hex(),
            "epoch": self.epoch,
            "revision": self.revision,
            "chain": self.chain.hex(),
            "time": self.time_ns,
            "blobs": self.blobs,
            "bytes": self.size,
            "sums": self.sums.hex(),
            "damaged": [id.hex for id in self.damaged],
        }
        return (json.dumps(fields, indent=2) + "\n").encode()

    @classmethod
    def decode(cls, text: bytes) -> Summary:
        """Read BACKUP.json. Raises `Unsupported` for a newer version, `Corrupt` for what is none."""
        try:
            data = json.loads(text)
            if data["title"] != TITLE:
                raise ValueError(f"its title is {data['title']!r:.60}")
            if _number(data["version"]) > VERSION:
                raise Unsupported(
                    "the backup is of a newer form; use a newer udfstore", expected=VERSION, got=data["version"]
                )
            return cls(
                store_id=_hex(data["store"], 16),
                epoch=_number(data["epoch"]),
                revision=_number(data["revision"]),
                chain=_hex(data["chain"], 32),
                time_ns=_number(data["time"]),
                blobs=_number(data["blobs"]),
                size=_number(data["bytes"]),
                sums=_hex(data["sums"], 32),
                damaged=tuple(BlobId(_hex(id, 32)) for id in data["damaged"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Corrupt(f"{SUMMARY} is damaged, or is not that of a backup: {error!r:.100}") from error


def segment_name(number: int) -> str:
    """The file of a segment of the log."""
    return f"log/{number:08d}"


def segment_of(name: str) -> int | None:
    """The number of a segment from the name of its file; None for other files."""
    match = _SEGMENT.fullmatch(name)
    return int(match[1]) if match else None


def blob_name(id: BlobId) -> str:
    """The file of a blob."""
    return f"blobs/{id.hex[:2]}/{id.hex}"


def blob_of(name: str) -> BlobId | None:
    """The blob of a file; None for other files."""
    match = _BLOB.fullmatch(name)
    return BlobId(bytes.fromhex(match[2])) if match else None


def sum_line(digest: bytes, name: str) -> bytes:
    """A line of SHA256SUMS."""
    return f"{digest.hex()}  {name}\n".encode()


def name_in(line: bytes) -> str:
    """The name in a line of SHA256SUMS, one of ours. Raises `Corrupt`."""
    match = _SUM.fullmatch(line.decode("ascii", "replace").removesuffix("\n"))
    if match is None or not (match[2] == FORMAT or segment_of(match[2]) or blob_of(match[2])):
        raise Corrupt(f"{SUMS} has a line that is not ours", got=repr(line[:100]))
    return match[2]


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is no number")
    return value


def _hex(value: Any, length: int) -> bytes:
    if not isinstance(value, str) or re.fullmatch(r"[0-9a-f]*", value, re.ASCII) is None or len(value) != 2 * length:
        raise ValueError(f"{value!r:.40} is no hash or ID")
    return bytes.fromhex(value)
