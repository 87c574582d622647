"""Values of ours as JSON has them: one form for the command line and for HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from udfstore.digest import BlobId
from udfstore.model import NOBODY, Entry, datetime_of

_OF_BRIEF = {"author", "note", "labels", "links"}


def plain(value: object) -> Any:
    """A value of ours as JSON has it: named as the field, IDs as text, bytes as hex, `*_ns` as a time (RFC 3339).

    An entry told in brief leaves out what it does not know; a time that is not known is null.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return value.hex()
        case Enum():
            return plain(value.value)
        case BlobId():
            return str(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case tuple() | list():
            return [plain(item) for item in value]
    if not is_dataclass(value):
        raise TypeError(f"{type(value).__name__} has no form in JSON")
    return mapping(value)


def mapping(value: Any) -> dict[str, Any]:
    """The fields of a value as JSON has them."""
    left_out = _OF_BRIEF if isinstance(value, Entry) and value.author == NOBODY else ()
    names = [field.name for field in fields(value) if field.name not in left_out]
    return {name.removesuffix("_ns"): _field(name, getattr(value, name)) for name in names}


def _field(name: str, value: Any) -> Any:
    if not name.endswith("_ns"):
        return plain(value)
    return time_of(value)


def time_of(time_ns: int) -> str | None:
    """A time as JSON has it (RFC 3339, UTC, microseconds); None for 0, which is not known."""
    if not time_ns:
        return None
    return datetime_of(time_ns).isoformat(timespec="microseconds").replace("+00:00", "Z")
