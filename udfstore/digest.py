"""Blob IDs: the SHA-256 of the content as a value type, parsed once and carried as such."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from udfstore.errors import UsageError

DIGEST_BYTES = 32
_HEX = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class BlobId:
    """The name of a blob: the SHA-256 (FIPS 180-4) of its content, 32 raw bytes.

    `str()` gives `sha256:` and 64 lower-case hex digits; `sha256sum FILE` prints the same digits.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != DIGEST_BYTES:
            raise UsageError("a blob ID has 32 bytes", got=len(self.raw))

    @classmethod
    def parse(cls, text: str) -> BlobId:
        """Read `sha256:` + 64 lower-case hex digits, or the digits alone. Anything else is a `UsageError`."""
        match = _HEX.fullmatch(text)
        if match is None:
            raise UsageError("not a blob ID", expected="sha256: and 64 lower-case hex digits", got=repr(text[:80]))
        return cls(bytes.fromhex(match[1]))

    @classmethod
    def of(cls, content: bytes | bytearray | memoryview) -> BlobId:
        """The ID of content that lies in memory."""
        return cls(hashlib.sha256(content).digest())

    @property
    def hex(self) -> str:
        """64 lower-case hex digits."""
        return self.raw.hex()

    @property
    def short(self) -> str:
        """The first eight hex digits, for people."""
        return self.raw[:4].hex()

    def __str__(self) -> str:
        return f"sha256:{self.raw.hex()}"

    def __repr__(self) -> str:
        return f"BlobId({self.raw.hex()!r})"
