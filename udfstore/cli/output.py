"""Data on stdout: lines for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
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
    return datetime_of(value).isoformat(timespec="microseconds").replace("+00:00", "Z") if value else None


def text_of(value: object) -> str:
    """One line of JSON."""
    return json.dumps(plain(value), ensure_ascii=False)


def put(value: object) -> None:
    """One JSON object."""
    print(text_of(value))


def put_array(values: Iterable[object]) -> None:
    """One JSON array, written as its items come."""
    before = "["
    for value in values:
        sys.stdout.write(f"{before}\n{text_of(value)}")
        before = ","
    print("[]" if before == "[" else "\n]")


def put_lines(lines: Iterable[str]) -> None:
    """Lines of text."""
    for line in lines:
        print(line)


def tell(line: str) -> None:
    """A line beside the data."""
    print(line, file=sys.stderr)
