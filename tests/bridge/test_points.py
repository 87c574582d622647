"""Line protocol to points and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.points import Reading, Writing, batches, encode, group_id
from udfstore.errors import UsageError
from udfstore.wire import codec
from udfstore.wire.framing import FrameReader
from udfstore.wire.limits import of_kapacitor_udfs


def now() -> int:
    return 7


def test_a_line_becomes_a_point() -> None:
    point = Reading(("host",), database="d", retention_policy="r").point(
        'cpu,host=a,zone=b idle=1.5,n=3i,ok=t,why="x y" 12', now
    )
    assert point == pb.Point(
        time=12,
        name="cpu",
        database="d",
        retentionPolicy="r",
        group="host=a",
        dimensions=["host"],
        tags={"host": "a", "zone": "b"},
        fieldsDouble={"idle": 1.5},
        fieldsInt={"n": 3},
        fieldsBool={"ok": True},
        fieldsString={"why": "x y"},
    )


@pytest.mark.parametrize("line", ["", "   ", "# nothing"])
def test_blank_lines_and_comments_are_no_points(line: str) -> None:
    assert Reading().point(line, now) is None


def test_a_line_without_a_time_happens_now() -> None:
    point = Reading(precision="s").point("a x=1", now)
    assert point is not None
    assert point.time == 7


def test_times_are_read_in_their_unit() -> None:
    point = Reading(precision="s").point("a x=1 5", now)
    assert point is not None
    assert point.time == 5_000_000_000


@pytest.mark.parametrize("line", ["a", "a x=", "a x=nan 1", 'a x="open', "a x=1 99999999999999999999", ",b=c x=1"])
def test_other_text_is_refused_with_what_came(line: str) -> None:
    with pytest.raises(UsageError):
        Reading().point(line, now)


def test_a_time_that_overflows_is_refused() -> None:
    with pytest.raises(UsageError, match="64 bits"):
        Reading(precision="s").point("a x=1 99999999999", now)


def test_groups_are_named_as_kapacitor_names_them() -> None:
    tags = {"a": "1", "b": "2"}
    assert group_id("m", tags, (), False) == ""
    assert group_id("m", tags, ("b", "a"), False) == "b=2,a=1"
    assert group_id("m", tags, ("a", "c"), True) == "m\na=1,c="
    assert group_id("m", tags, (), True) == "m"


def test_all_tags_group_in_order() -> None:
    point = Reading(("*",)).point("m,b=2,a=1 x=1 1", now)
    assert point is not None
    assert point.group == "a=1,b=2"


def test_points_are_batched_by_group() -> None:
    reading = Reading(("h",))
    points = [reading.point(line, now) for line in ("m,h=a x=1 1", "m,h=b x=2 2", "m,h=a x=3 3")]
    sent = list(batches(point for point in points if point))
    kinds = [message.WhichOneof("message") for message in sent]
    assert kinds == ["begin", "point", "point", "end", "begin", "point", "end"]
    assert sent[0].begin == pb.BeginBatch(name="m", group="h=a", tags={"h": "a"}, size=2)
    assert sent[3].end == pb.EndBatch(name="m", group="h=a", tags={"h": "a"}, tmax=3)


def test_what_comes_back_is_written_as_lines() -> None:
    said: list[str] = []
    writing = Writing(said.append)
    frames = [
        pb.Response(begin=pb.BeginBatch(name="m", tags={"h": "a"})),
        pb.Response(point=pb.Point(time=1, fieldsDouble={"x": 1.0})),
        pb.Response(point=pb.Point(time=2, name="n", fieldsDouble={"x": float("nan")})),
        pb.Response(end=pb.EndBatch(name="m")),
    ]
    reader = FrameReader(of_kapacitor_udfs())
    text = "".join(writing.lines(one) for frame in frames for one in reader.receive(codec.encode(frame)))
    assert text == "m,h=a x=1.0 1\n\n"
    assert said == ["a point that line protocol cannot hold: 'n' at 2"]


words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs"), exclude_characters='\\"#'),
    min_size=1,
    max_size=8,
)
numbers = st.integers(-(2**63), 2**63 - 1)


@given(
    st.builds(
        pb.Point,
        time=st.integers(-(2**63) + 2, 2**63 - 2),  # InfluxDB's own range
        name=words,
        tags=st.dictionaries(words, words, max_size=3),
        fieldsDouble=st.dictionaries(
            words.map("d{}".format), st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False), max_size=2
        ),
        fieldsInt=st.dictionaries(words.map("i{}".format), numbers, min_size=1, max_size=2),
        fieldsBool=st.dictionaries(words.map("b{}".format), st.booleans(), max_size=2),
        fieldsString=st.dictionaries(words.map("s{}".format), st.text(alphabet=' ,="\\aü日', max_size=8), max_size=2),
    )
)
def test_what_is_written_is_read_again(point: pb.Point) -> None:
    assert Reading().point(encode(point).removesuffix("\n"), now) == point


@pytest.mark.parametrize(
    "point",
    [
        pb.Point(name="a\nb x=1", fieldsInt={"x": 1}),
        pb.Point(name="#a", fieldsInt={"x": 1}),
        pb.Point(fieldsInt={"x": 1}),
        pb.Point(name="a", tags={"h": "c\nm x=9 9"}, fieldsInt={"x": 1}),
        pb.Point(name="a", tags={"h": "c\\"}, fieldsInt={"x": 1}),
        pb.Point(name="a", tags={"": "c"}, fieldsInt={"x": 1}),
        pb.Point(name="a", fieldsInt={"": 1}),
        pb.Point(name="a"),
    ],
)
def test_a_point_that_would_break_a_line_is_not_written(point: pb.Point) -> None:
    assert encode(point) == ""
