"""Data on stdout: lines for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from udfstore.plain import plain


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
