"""Bytes as people read them: where they are, sixteen of them in hex, and as text where they are ASCII."""

from __future__ import annotations

from dataclasses import dataclass

ACROSS = 16


@dataclass(frozen=True, slots=True)
class Line:
    """Sixteen bytes or what is left."""

    at: str
    hex: str
    text: str


def lines(content: bytes) -> list[Line]:
    """The lines of a dump."""
    return [_line(start, content[start : start + ACROSS]) for start in range(0, len(content), ACROSS)]


def _line(start: int, part: bytes) -> Line:
    half = ACROSS // 2
    left, right = part[:half].hex(" "), part[half:].hex(" ")
    text = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in part)
    return Line(f"{start:08x}", f"{left:<23}  {right:<23}", text)
