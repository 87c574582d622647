"""What is known of a resumable upload: what a caller is told, and the note that lies beside its content on disk.

The note is JSON, see FORMAT.md. Pure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from udfstore.calls import Saved
from udfstore.digest import BlobId
from udfstore.errors import UdfstoreError
from udfstore.model import Author
from udfstore.store.records import decode_author, encode_author


@dataclass(frozen=True, slots=True)
class Partial:
    """A resumable upload.

    `offset` is how many bytes the store has of it; `size` how many there will be, None while nobody said. `saved` is
    what it became once it is complete. It is forgotten at `expires_ns` (nanoseconds since 1970) unless it grows before.
    """

    name: str
    offset: int
    size: int | None
    author: Author
    expires_ns: int
    saved: Saved | None = None

    @property
    def complete(self) -> bool:
        """Whether the content has become a blob."""
        return self.saved is not None


class Torn(ValueError):
    """A note is not what this release writes."""


@dataclass(slots=True)
class Note:
    """What must outlive the process: `id` and `size` as announced, the time of the newest progress by our clock.

    The first `synced` bytes outlive the machine's `boot` (its ID) too. `found` is what the content turned out to be,
    written before the file gets that name.
    """

    author: Author
    size: int | None
    id: BlobId | None
    progress_ns: int
    boot: str
    synced: int = 0
    found: Saved | None = None

    def encode(self) -> bytes:
        """The note as JSON."""
        found = self.found
        data = {
            "author": json.loads(encode_author(self.author)),
            "boot": self.boot or None,
            "existed": found.existed if found else None,
            "found": found.id.hex if found else None,
            "id": self.id.hex if self.id else None,
            "progress": self.progress_ns,
            "size": found.size if found else self.size,
            "synced": self.synced,
        }
        filled = {key: value for key, value in data.items() if value is not None}
        return json.dumps(filled, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def decode(cls, text: bytes) -> Note:
        """Read what `encode` wrote; keys of later releases are passed over. Raises `Torn`."""
        try:
            data = json.loads(text)
            size, found = _number(data.get("size")), _id(data.get("found"))
            return cls(
                author=decode_author(json.dumps(data["author"])),
                size=size,
                id=_id(data.get("id")),
                progress_ns=_number(data["progress"]) or 0,
                boot=str(data.get("boot", "")),
                synced=_number(data["synced"]) or 0,
                found=Saved(found, size or 0, data["existed"] is True) if found else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UdfstoreError) as error:
            raise Torn(f"its note is damaged ({error!r:.80})") from error


def _number(value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 0):
        raise Torn(f"expected a number, got {value!r:.60}")
    return value


def _id(value: Any) -> BlobId | None:
    return None if value is None else BlobId.parse(value)
