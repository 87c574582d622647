"""The header of a safetensors file, read without trusting it (https://github.com/huggingface/safetensors#format).

8 bytes         N, little-endian
N bytes         JSON: {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {text: text}}
the rest        the tensors, at those offsets
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

HEADER_BYTES = 100 * 1024
"""Larger headers are not read."""

TENSORS = 200
"""Tensors that are kept of a header, and pairs of its metadata."""

TEXT = 300
"""Characters that are kept of any text in it."""

_NUMBER = 1 << 63


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: `size` in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says. `count` is of all tensors, `tensors` are the first; `problem`: why it cannot be read."""

    size: int
    tensors: tuple[Tensor, ...] = ()
    count: int = 0
    metadata: tuple[tuple[str, str], ...] = ()
    problem: str = ""


class _Wrong(Exception):
    """The header is not what it should be."""


def read(pread: Callable[[int, int], bytes], size: int) -> Header | None:
    """The header of content of `size` bytes, of which `pread(offset, length)` gives parts; None: it has none."""
    if size < 10:
        return None
    begin = pread(0, 9)
    length = int.from_bytes(begin[:8], "little")
    if not 2 <= length <= size - 8 or begin[8:] != b"{":
        return None
    if length > HEADER_BYTES:
        return Header(length, problem=f"it has more than the {HEADER_BYTES // 1024} KiB that are read here")
    try:
        found = json.loads(pread(8, length).decode(), parse_constant=_refuse)
        return _header(found, length, size - 8 - length)
    except (ValueError, RecursionError):
        return Header(length, problem="it is not JSON")
    except _Wrong as wrong:
        return Header(length, problem=str(wrong))


def _header(found: object, length: int, data: int) -> Header:
    if not isinstance(found, dict):
        raise _Wrong("it is not an object")
    metadata = found.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _Wrong("its metadata are not text")
    tensors = [_tensor(name, value, data) for name, value in found.items()]
    pairs = tuple((key[:TEXT], value[:TEXT]) for key, value in list(metadata.items())[:TENSORS])
    return Header(length, tuple(tensors[:TENSORS]), len(tensors), pairs)


def _tensor(name: str, value: object, data: int) -> Tensor:
    said = name[:80]
    if not isinstance(value, dict) or not isinstance(value.get("dtype"), str):
        raise _Wrong(f"the tensor {said!r} has no type")
    shape, place = _numbers(value.get("shape")), _numbers(value.get("data_offsets"))
    if shape is None or place is None or len(place) != 2:
        raise _Wrong(f"the tensor {said!r} has no shape or no place")
    begin, end = place
    if not begin <= end <= data:
        raise _Wrong(f"the tensor {said!r} lies outside the content")
    return Tensor(name[:TEXT], value["dtype"][:20], tuple(shape[:16]), end - begin)


def _numbers(value: object) -> list[int] | None:
    if not isinstance(value, list):
        return None
    return value if all(type(item) is int and 0 <= item < _NUMBER for item in value) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
