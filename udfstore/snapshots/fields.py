"""Reading JSON that people or another release wrote: every field of its type, none left over. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NoReturn

from udfstore.errors import TooLarge, UsageError


def parse_json(text: bytes | str, what: str, most: int) -> object:
    """The value of a JSON text of at most `most` bytes.

    Raises `TooLarge`, or `UsageError` for what is not JSON (RFC 8259), names a field twice or is nested absurdly deep.
    """
    size = len(text.encode(errors="replace") if isinstance(text, str) else text)
    if size > most:
        raise TooLarge(f"{what} has at most {most} bytes", got=size)
    try:
        value: object = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{what} is not JSON: {error}") from error
    return value


class Fields:
    """One JSON object, read field by field. Whatever is not as it should be is a `UsageError` that says where."""

    def __init__(self, value: object, where: str, known: frozenset[str]) -> None:
        if not isinstance(value, dict):
            raise UsageError(f"{where}: not an object", got=_brief(value))
        unknown = sorted(value.keys() - known)
        if unknown:
            raise UsageError(f"{where}: unknown field", expected=", ".join(sorted(known)), got=repr(unknown[0]))
        self._value: Mapping[str, object] = value
        self._where = where

    def text(self, name: str, default: str | None = None) -> str:
        """A field of text; without a default it must be there."""
        value = self._value.get(name, default)
        if not isinstance(value, str):
            self._wrong(name, "text")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        """A field that is a whole number, not negative."""
        value = self._value.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            self._wrong(name, "a whole number")
        return value

    def flag(self, name: str, default: bool | None = None) -> bool:
        """A field that is true or false."""
        value = self._value.get(name, default)
        if not isinstance(value, bool):
            self._wrong(name, "true or false")
        return value

    def items(self, name: str, default: list[object] | None = None) -> list[object]:
        """A field that is a list."""
        value = self._value.get(name, default)
        if not isinstance(value, list):
            self._wrong(name, "a list")
        return value

    def texts(self, name: str, default: list[object] | None = None) -> tuple[str, ...]:
        """A field that is a list of text."""
        items = self.items(name, default)
        if not all(isinstance(item, str) for item in items):
            self._wrong(name, "a list of text")
        return tuple(item for item in items if isinstance(item, str))

    def _wrong(self, name: str, expected: str) -> NoReturn:
        got = _brief(self._value[name]) if name in self._value else "nothing"
        raise UsageError(f"{self._where}: {name!r} is wrong", expected=expected, got=got)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field stands twice in one object")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


def _brief(value: object) -> str:
    return ascii(value)[:80]
