"""Tags and refs: the names of blobs, parsed once into value types.

    ref     = blob-id | short-id | tag | tag "@" version
    tag     = segment *( "/" segment )              at most 256 bytes, not 64 hex digits
    segment = [A-Za-z0-9_] *[A-Za-z0-9._-]
    below snapshots/, at most 800 bytes:
    segment = ( [A-Za-z0-9_] | escape ) *( [A-Za-z0-9._-] | escape )
    escape  = "~" 2( [0-9a-f] )                     a byte of a task's or a snapshot's name
    version = number | "-" number                   @3 is version 3, @-1 the one before the newest
    short-id = [ "sha256:" ] 8 to 63 hex digits     where it is unique

No part of a tag ever becomes part of a file name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from udfstore.digest import BlobId
from udfstore.errors import UsageError

TAG_BYTES = 256
SNAPSHOT_TAG_BYTES = 800
"""Below `snapshots/`: room for two names of 128 bytes with every byte escaped."""

SNAPSHOTS = "snapshots/"
"""Tags below this prefix belong to the snapshot calls; nothing else may write there."""

SHORT_ID_DIGITS = 8
"""Fewer digits than this are never taken for an ID: four bytes keep chance hits out of small stores."""

_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_TAG = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*", re.ASCII)
_ESCAPE = r"~[0-9a-f]{2}"
_NAME = rf"(?:[A-Za-z0-9_]|{_ESCAPE})(?:[A-Za-z0-9._-]|{_ESCAPE})*"
_SNAPSHOT_TAG = re.compile(rf"{SNAPSHOTS}{_NAME}(?:/{_NAME})*", re.ASCII)
_SHORT = re.compile(r"(sha256:)?([0-9a-f]{8,63})", re.ASCII)
_PATTERN = re.compile(r"[A-Za-z0-9._~*/-]+", re.ASCII)
_VERSION = re.compile(r"-?[1-9][0-9]{0,17}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """The name of a tag, known to fit the pattern."""

    name: str

    @classmethod
    def parse(cls, text: str) -> Tag:
        """Check a tag's name. Raises `UsageError` that says what is wrong with it."""
        below = text.startswith(SNAPSHOTS)
        if (_SNAPSHOT_TAG if below else _TAG).fullmatch(text) is None:
            raise UsageError(
                "not a tag",
                expected="segments of letters, digits, '.', '_' and '-' joined by '/', none beginning with '.' or '-'"
                + (", other bytes as ~xx" if below else ""),
                got=repr(text[:80]),
            )
        most = SNAPSHOT_TAG_BYTES if below else TAG_BYTES
        if len(text) > most:
            raise UsageError(f"a tag has at most {most} bytes", got=len(text))
        if len(text) == 64 and all(c in "0123456789abcdef" for c in text):
            raise UsageError("64 hex digits are a blob ID, not a tag", got=text)
        return cls(text)

    @property
    def reserved(self) -> bool:
        """Whether only snapshot calls may write it."""
        return self.name.startswith(SNAPSHOTS)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Pattern:
    """Some tags: `*` stands for any text without `/`, and `**` for any text."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Check a pattern. Raises `UsageError` for one that fits no tag."""
        if _PATTERN.fullmatch(text) is None:
            raise UsageError("not a pattern of tags", expected="models/prod/* or models/**", got=repr(text[:80]))
        return cls(text)

    def fits(self, tag: str) -> bool:
        """Whether that tag is one of them."""
        return _regex(self.text).fullmatch(tag) is not None


@lru_cache(maxsize=256)
def _regex(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join({"*": "[^/]*", "**": ".*"}.get(part) or re.escape(part) for part in parts))


@dataclass(frozen=True, slots=True)
class Ref:
    """Whatever names a blob, as a person wrote it and as it was understood.

    Exactly one reading applies, but for `text` of 8 to 63 hex digits, which may be a tag or the beginning of an ID:
    there both `tag` and `short` are set and the store prefers the tag.
    """

    text: str
    id: BlobId | None = None
    short: str = ""
    """8 to 63 hex digits that an ID begins with."""
    tag: Tag | None = None
    version: int | None = None
    """Of `tag`: a positive number is that version, a negative one counts back from the newest; None: the newest."""

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read a ref. Raises `UsageError` for text that is none."""
        bare = text.removeprefix("sha256:")
        if (len(bare) == 64 and bare != text) or _is_id(text):
            return cls(text, id=BlobId.parse(text))
        short = _SHORT.fullmatch(text)
        if short is not None:
            return cls(text, short=short[2], tag=None if short[1] else Tag.parse(text))
        name, at, version = text.partition("@")
        if not at:
            return cls(text, tag=Tag.parse(name))
        if _VERSION.fullmatch(version) is None:
            raise UsageError("not a version", expected="@3, or @-1 for the one before", got=repr(text[:80]))
        return cls(text, tag=Tag.parse(name), version=int(version))

    @classmethod
    def of(cls, ref: Ref | BlobId | Tag | str) -> Ref:
        """A ref from any of the types that can name a blob."""
        if isinstance(ref, Ref):
            return ref
        if isinstance(ref, BlobId):
            return cls(str(ref), id=ref)
        if isinstance(ref, Tag):
            return cls(ref.name, tag=ref)
        return cls.parse(ref)

    def __str__(self) -> str:
        return self.text


def _is_id(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)


@dataclass(frozen=True, slots=True)
class Prefix:
    """One tag, or all tags below a folder: ends in `/` or is empty for many, anything else is one name."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Check a prefix. Raises `UsageError` for text that could not begin any tag."""
        if text:
            Tag.parse(text.removesuffix("/"))
        return cls(text)

    @property
    def many(self) -> bool:
        """Whether it stands for all tags that begin with it."""
        return not self.text or self.text.endswith("/")

    def matches(self, tag: str) -> bool:
        """Whether the tag of that name belongs to it."""
        return tag.startswith(self.text) if self.many else tag == self.text

    def __str__(self) -> str:
        return self.text
