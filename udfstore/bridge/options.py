"""The options of a UDF: from words to an InitRequest, as the UDF's InfoResponse says they are typed; their digest."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence

from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import UsageError

_DURATION = re.compile(r"([0-9]+)(u|µ|ms|s|m|h|d|w)", re.ASCII)
_UNITS = {
    "u": 1_000,
    "µ": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_TRUTH = {"true": True, "TRUE": True, "false": False, "FALSE": False}


def read(words: Sequence[str], known: Mapping[str, pb.OptionInfo]) -> list[pb.Option]:
    """Options from `NAME=VALUE`, in order; `NAME=V1,V2` (CSV) for one of several values, `NAME` for one of none.

    Raises `UsageError` for an option that the UDF does not have, and for values that are not of its types.
    """
    options = []
    for word in words:
        name, equals, text = word.partition("=")
        if name not in known:
            raise UsageError("the UDF has no such option", expected=", ".join(sorted(known)) or "none", got=repr(name))
        types = known[name].valueTypes
        texts = next(csv.reader([text])) if len(types) > 1 else [text] if equals else []
        if len(texts) != len(types):
            got = f"{len(texts)} in {word!r}"
            raise UsageError(f"the option {name!r} takes another number of values", expected=len(types), got=got)
        values = [_value(name, kind, value) for kind, value in zip(types, texts, strict=True)]
        options.append(pb.Option(name=name, values=values))
    return options


def duration_ns(text: str) -> int:
    """A duration as TICKscript writes it (`10s`, `1h30m`, `-5m`) in nanoseconds. Raises `UsageError`."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    if not re.fullmatch(rf"(?:{_DURATION.pattern})+", digits):
        raise UsageError("not a duration", expected="10s, 1h30m, 250ms", got=repr(text[:40]))
    return sign * sum(int(number) * _UNITS[unit] for number, unit in _DURATION.findall(digits))


def digest(init: pb.InitRequest) -> str:
    """A digest of a node's options, 64 hex digits, in whatever order they are listed. Empty without any."""
    listed = sorted(option.SerializeToString(deterministic=True) for option in init.options)
    return hashlib.sha256(b"".join(len(o).to_bytes(4, "big") + o for o in listed)).hexdigest() if listed else ""


def _value(name: str, kind: pb.ValueType, text: str) -> pb.OptionValue:
    value = pb.OptionValue(type=kind)
    try:
        if kind == pb.BOOL:
            value.boolValue = _TRUTH[text]
        elif kind == pb.INT:
            value.intValue = int(text)
        elif kind == pb.DOUBLE:
            value.doubleValue = float(text)
        elif kind == pb.STRING:
            value.stringValue = text
        else:
            value.durationValue = duration_ns(text)
    except (KeyError, ValueError) as error:
        expected = {pb.BOOL: "true or false", pb.INT: "a whole number of 64 bits", pb.DOUBLE: "a number"}.get(kind, "")
        raise UsageError(f"a value of the option {name!r}", expected=expected, got=repr(text)) from error
    return value
