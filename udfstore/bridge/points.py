"""InfluxDB line protocol to the points and batches of a UDF, and back.

    measurement[,tag=value…] field=value[,field=value…] [time]

Reading is line-protocol-parser's, which keeps to InfluxDB 1.x. Groups and their IDs are Kapacitor's (models.ToGroupID):
the dimensions in order, `tag=value` joined by commas, with `name\\n` before them when grouped by name as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from line_protocol_parser import LineFormatError, parse_line

from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import UsageError
from udfstore.wire import codec
from udfstore.wire.framing import Frame

ALL_TAGS = "*"
"""As a dimension: every tag that a point has."""

PRECISIONS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
"""Nanoseconds in each unit that times may be written in."""

_INT64 = range(-(1 << 63), 1 << 63)
_NAME = re.compile(r"[, ]")
_KEY = re.compile(r"[,= ]")
_TEXT = re.compile(r'["\\]')
_UNWRITABLE = re.compile(r"\A\Z|\n|\\\Z")
"""Nothing, a line's end, and a backslash that would escape what follows: no name or key can hold these."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How lines become points: what they are grouped by, and what their times and names mean."""

    dimensions: tuple[str, ...] = ()
    by_name: bool = False
    database: str = ""
    retention_policy: str = ""
    precision: str = "ns"

    def point(self, line: str, now_ns: Callable[[], int]) -> pb.Point | None:
        """The point of one line, None for a blank one or a comment. A line without a time happens `now_ns()`.

        Raises `UsageError` for a line that is none.
        """
        if not line.strip():
            return None
        try:
            read = parse_line(line)
        except (LineFormatError, ValueError) as error:
            raise UsageError(f"not a line of line protocol: {error}", got=ascii(line[:80])) from None
        if read is None:
            return None
        time = now_ns() if read["time"] is None else read["time"] * PRECISIONS[self.precision]
        if time not in _INT64:
            raise UsageError("a time beyond what nanoseconds of 64 bits hold", got=read["time"])
        tags: dict[str, str] = read["tags"]
        named = sorted(tags) if self.dimensions == (ALL_TAGS,) else self.dimensions
        point = pb.Point(
            time=time,
            name=read["measurement"],
            database=self.database,
            retentionPolicy=self.retention_policy,
            group=group_id(read["measurement"], tags, named, self.by_name),
            dimensions=named,
            tags=tags,
            byName=self.by_name,
        )
        for name, value in read["fields"].items():
            if isinstance(value, bool):
                point.fieldsBool[name] = value
            elif isinstance(value, int):
                if value not in _INT64:
                    raise UsageError(f"the field {name!r} is beyond 64 bits", got=value)
                point.fieldsInt[name] = value
            elif isinstance(value, float):
                point.fieldsDouble[name] = value
            else:
                point.fieldsString[name] = value
        return point


def group_id(name: str, tags: dict[str, str], dimensions: Iterable[str], by_name: bool) -> str:
    """The ID of the group that a point belongs to; empty where there is no grouping."""
    values = ",".join(f"{dimension}={tags.get(dimension, '')}" for dimension in dimensions)
    if not by_name:
        return values
    return f"{name}\n{values}" if values else name


def batches(points: Iterable[pb.Point]) -> Iterator[pb.Request]:
    """The batches of these points, one a group in the order in which groups come first, each from begin to end.

    The end of a batch is the time of its last point.
    """
    groups: dict[str, list[pb.Point]] = {}
    for point in points:
        groups.setdefault(point.group, []).append(point)
    for group, members in groups.items():
        first = members[0]
        tags = {name: first.tags.get(name, "") for name in first.dimensions}
        begin = pb.BeginBatch(name=first.name, group=group, tags=tags, byName=first.byName, size=len(members))
        yield pb.Request(begin=begin)
        for point in members:
            yield pb.Request(point=point)
        last = max(point.time for point in members)
        yield pb.Request(end=pb.EndBatch(name=first.name, group=group, tags=tags, byName=first.byName, tmax=last))


class Writing:
    """What a UDF gives back, as lines. A batch ends with a blank line, and its points get the names it began with."""

    def __init__(self, dropped: Callable[[str], None]) -> None:
        self._dropped = dropped
        self._begin: pb.BeginBatch | None = None

    def lines(self, frame: Frame) -> str:
        """The text of a data frame. Raises `ProtocolError` for one that is not protobuf."""
        message = codec.decode(pb.Response, frame)
        if isinstance(message, pb.BeginBatch):
            self._begin = message
            return ""
        if isinstance(message, pb.EndBatch):
            self._begin = None
            return "\n"
        assert isinstance(message, pb.Point)
        text = encode(message, self._begin)
        if not text:
            self._dropped(f"a point that line protocol cannot hold: {message.name!r} at {message.time}")
        return text


def encode(point: pb.Point, batch: pb.BeginBatch | None = None) -> str:
    """A point as a line; empty if no line can hold it.

    That is one without a finite field, and one with a name, tag or key that would break its line or another one.
    """
    name = point.name or (batch.name if batch else "")
    tags = {k: v for k, v in {**(batch.tags if batch else {}), **point.tags}.items() if v}
    fields = [f"{_escape(_KEY, k)}={v!r}" for k, v in sorted(point.fieldsDouble.items()) if math.isfinite(v)]
    fields += [f"{_escape(_KEY, k)}={v}i" for k, v in sorted(point.fieldsInt.items())]
    fields += [f'{_escape(_KEY, k)}="{_escape(_TEXT, v)}"' for k, v in sorted(point.fieldsString.items())]
    fields += [f"{_escape(_KEY, k)}={'true' if v else 'false'}" for k, v in sorted(point.fieldsBool.items())]
    keys = [*point.fieldsDouble, *point.fieldsInt, *point.fieldsString, *point.fieldsBool]
    if not fields or name.startswith("#") or any(map(_UNWRITABLE.search, (name, *tags, *tags.values(), *keys))):
        return ""
    named = "".join(f",{_escape(_KEY, k)}={_escape(_KEY, v)}" for k, v in sorted(tags.items()))
    return f"{_escape(_NAME, name)}{named} {','.join(fields)} {point.time}\n"


def _escape(special: re.Pattern[str], text: str) -> str:
    return special.sub(lambda match: "\\" + match[0], text)
