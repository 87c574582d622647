"""The FORMAT file: which layout a root has, and what a release must understand to open it. Pure; see FORMAT.md."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from udfstore.errors import Corrupt, Unsupported, UsageError

TITLE = "udfstore store"
VERSION = 1
HASH = "sha256"
JOURNAL = "journal"
"""The feature of a store with small content in its journal."""

SHED = "shed"
"""The feature of a store whose log has shed records."""

HOLDS = "holds"
"""The feature of a store that has held a tag."""

FEATURES: frozenset[str] = frozenset({JOURNAL, SHED, HOLDS})
"""Required features that this release understands."""

STORE_ID_BYTES = 16
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_FEATURE = re.compile(r"[a-z][a-z0-9-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Format:
    """What FORMAT says. `id` is the store ID, 16 bytes; `features` are names that a release must know."""

    id: bytes
    epoch: int = 1
    features: tuple[str, ...] = ()


def render(format: Format) -> str:
    """The text of a FORMAT file."""
    body = (
        f"{TITLE}\nversion: {VERSION}\nhash: {HASH}\nstore: {format.id.hex()}\nepoch: {format.epoch}\n"
        f"{' '.join(('features:', *format.features))}\n"
    )
    return f"{body}check: {_check(body)}\n"


def parse(text: str) -> Format:
    """Read a FORMAT file.

    Raises `UsageError` for text that is not one, `Unsupported` for a newer version, another hash or a required feature
    that this release does not know (by name), `Corrupt` for damage.
    """
    title, _, rest = text.partition("\n")
    if title != TITLE:
        raise UsageError("not a FORMAT file of udfstore", expected=repr(TITLE), got=repr(title[:40]))
    fields = dict(line.partition(":")[::2] for line in rest.splitlines())
    version = fields.get("version", "").strip()
    if _NUMBER.fullmatch(version) is None:
        raise Corrupt("FORMAT names no version", got=repr(version[:40]))
    if int(version) > VERSION:
        raise Unsupported(
            "the store has a newer layout; use a newer udfstore", expected=f"version {VERSION}", got=version
        )
    unknown = [name for name in fields.get("features", "").split() if name not in FEATURES]
    if unknown and all(_FEATURE.fullmatch(name) for name in unknown):
        raise Unsupported(
            f"the store needs {', '.join(unknown)}, which this release does not know; use a newer udfstore"
        )
    return _read(text, fields)


def _read(text: str, fields: dict[str, str]) -> Format:
    body, found, check = text.rpartition("check: ")
    if not found or check != _check(body) + "\n":
        raise Corrupt("FORMAT is damaged: its check line does not match", expected=_check(body), got=check.strip()[:16])
    if fields["hash"].strip() != HASH:
        raise Unsupported("the store names blobs by another hash", expected=HASH, got=fields["hash"].strip())
    id, epoch = fields["store"].strip(), fields["epoch"].strip()
    if _ID.fullmatch(id) is None or _NUMBER.fullmatch(epoch) is None:
        raise Corrupt("FORMAT names no store ID or epoch", got=repr((id, epoch)))
    return Format(bytes.fromhex(id), int(epoch), tuple(fields.get("features", "").split()))


def _check(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]
