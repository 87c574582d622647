"""What Kapacitor keeps in place of a state: a reference to a task snapshot in a store. Pure.

    offset  bytes
    0       16     the magic `\\x00udfstore ref 1\\n`
    16      16     store ID
    32      32     the manifest's blob ID
    64      1 + n  length and UTF-8 of the task's name
    65 + n  1 + m  length and UTF-8 of the node's name
    end - 4 4      CRC-32 of all before it, big-endian (zlib.crc32)

Names have 1 to 128 bytes, so that a reference has at most 326. It says where the state lay when Kapacitor asked;
what is restored is decided when the task starts.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from udfstore.digest import BlobId
from udfstore.errors import UsageError
from udfstore.snapshots.names import check_name

MAGIC = b"\x00udfstore ref 1\n"
"""No pickle, JSON or protobuf message begins with a zero byte, so no UDF's own state is taken for a reference."""

STORE_ID_BYTES = 16
_ID_BYTES = 32
_SUM_BYTES = 4
_NAMES_AT = len(MAGIC) + STORE_ID_BYTES + _ID_BYTES


@dataclass(frozen=True, slots=True)
class Reference:
    """A node's part of the task snapshot `manifest` in the store with that ID (16 bytes)."""

    store_id: bytes
    manifest: BlobId
    task: str
    node: str

    def encode(self) -> bytes:
        """The bytes for Kapacitor. Raises `UsageError` for a name that is none."""
        if len(self.store_id) != STORE_ID_BYTES:
            raise UsageError("not a store ID", expected=f"{STORE_ID_BYTES} bytes", got=len(self.store_id))
        names = (check_name(self.task, "a task name").encode(), check_name(self.node, "a node's name").encode())
        body = b"".join((MAGIC, self.store_id, self.manifest.raw, *(bytes((len(name),)) + name for name in names)))
        return body + _sum(body)


def maybe_decode(data: bytes) -> Reference | None:
    """The reference in what Kapacitor kept; None for anything else: that is a UDF's own state.

    Raises `UsageError` for a reference that is cut off or altered. No UDF could use it.
    """
    if not data.startswith(MAGIC):
        return None
    body, sum = data[:-_SUM_BYTES], data[-_SUM_BYTES:]
    if len(data) < _NAMES_AT + _SUM_BYTES or sum != _sum(body):
        raise UsageError("a reference to a snapshot that is cut off or altered", got=f"{len(data)} bytes")
    task, at = _name(body, _NAMES_AT, "a task name")
    node, at = _name(body, at, "a node's name")
    if at != len(body):
        raise UsageError("a reference to a snapshot with bytes left over", got=len(body) - at)
    store_id = body[len(MAGIC) : len(MAGIC) + STORE_ID_BYTES]
    return Reference(store_id, BlobId(body[_NAMES_AT - _ID_BYTES : _NAMES_AT]), task, node)


def _name(body: bytes, at: int, what: str) -> tuple[str, int]:
    end = at + 1 + (body[at] if at < len(body) else 0)
    try:
        return check_name(body[at + 1 : end].decode(), what), end
    except UnicodeDecodeError as error:
        raise UsageError(f"a reference to a snapshot in which {what} is not text") from error


def _sum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(_SUM_BYTES, "big")
