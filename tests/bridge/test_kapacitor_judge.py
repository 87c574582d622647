"""What may go to Kapacitor, and what must not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in import Panic, Side, response

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge import kapacitor
from udfstore.bridge.kapacitor import BATCH_POINTS, Judge
from udfstore.wire.framing import Frame

POINT = response(point=pb.Point(time=1, fieldsDouble={"x": 1.0}))
END = response(end=pb.EndBatch(tmax=1))
INFO, INIT, SNAPSHOT, RESTORE = 1, 2, 4, 5


def begin(size: int = 0) -> Frame:
    return response(begin=pb.BeginBatch(name="cpu", size=size))


def passed(judge: Judge, frames: Sequence[Frame]) -> list[Frame]:
    return [frame for frame in frames if not judge.why_not(frame)]


@pytest.mark.parametrize("field", ["info", "init", "snapshot", "restore"])
def test_an_answer_goes_once_for_each_question(field: str) -> None:
    judge, answer = Judge(), response(**{field: {}})
    assert "nobody asked" in judge.why_not(answer)
    judge.asked(answer.kind)
    judge.asked(answer.kind)
    assert judge.waits_for(answer.kind)
    assert passed(judge, [answer, answer, answer]) == [answer, answer]
    assert not judge.waits_for(answer.kind)


def test_a_keepalive_goes_unasked() -> None:
    assert Judge().why_not(kapacitor.keepalive(7)) == ""


@pytest.mark.parametrize(
    "frame",
    [
        response(hello=pb.Hello(protocol=1)),
        response(call=pb.Call(call=1)),
        response(credit=pb.Credit(amount=1)),
        Frame(7, b"\x3a\x00"),
        Frame(15, b"\x7a\x00"),
        Frame(19, b"\x9a\x01\x00"),
        Frame(1 << 20, b"\x82\x80\x80\x04\x00"),
    ],
)
def test_what_kapacitor_does_not_know_stays_here(frame: Frame) -> None:
    assert Judge().why_not(frame)


@pytest.mark.parametrize(
    "envelope",
    [
        b"",
        POINT.envelope + END.envelope,
        POINT.envelope + b"\x82\x02\x00",
        POINT.envelope[:-1],
        b"\x8a\x01",
        b"\x8a\x01\xff\xff\xff\xff\xff\xff",
    ],
)
def test_an_envelope_holds_one_message(envelope: bytes) -> None:
    assert "one message" in Judge().why_not(Frame(17, envelope))


def test_batches_are_whole() -> None:
    judge = Judge()
    assert "no batch" in judge.why_not(END)
    batch = [begin(2), POINT, POINT, END]
    assert passed(judge, batch) == batch
    assert judge.why_not(POINT) == ""
    assert judge.why_not(END)


def test_a_begin_inside_a_batch_goes_nowhere_and_its_points_are_not_taken_for_the_open_ones() -> None:
    judge = Judge()
    inner, other = begin(9), response(point=pb.Point(time=2))
    assert passed(judge, [begin(), POINT, inner, other, END, END, POINT]) == [begin(), POINT, END, POINT]


@pytest.mark.parametrize("size", [-1, -(2**63), BATCH_POINTS + 1, 2**63 - 1])
def test_a_batch_of_a_size_that_cannot_be_is_dropped_whole(size: int) -> None:
    judge = Judge()
    good = [begin(BATCH_POINTS), POINT, END]
    assert passed(judge, [begin(size), POINT, END, *good, begin(size), POINT, *good]) == [*good, *good]


def test_a_begin_that_is_no_protobuf_is_dropped_with_its_batch() -> None:
    broken = Frame(16, b"\x82\x01\x02\x0a\x09")
    assert passed(Judge(), [broken, POINT, END, POINT]) == [POINT]


def test_nothing_follows_an_error() -> None:
    judge = Judge()
    assert passed(judge, [POINT, kapacitor.failed("no"), POINT, kapacitor.keepalive(1)]) == [
        POINT,
        kapacitor.failed("no"),
    ]
    assert judge.ended


FRAMES = st.one_of(
    st.sampled_from([POINT, END, begin(), begin(3), begin(-1), begin(2**40), kapacitor.keepalive(0)]),
    st.sampled_from([response(**{field: {}}) for field in ("info", "init", "snapshot", "restore", "hello", "goodbye")]),
    st.builds(Frame, st.integers(0, 64), st.binary(max_size=6)),
)


@settings(derandomize=True, max_examples=300)
@given(st.lists(st.one_of(FRAMES, st.sampled_from([INFO, INIT, SNAPSHOT, RESTORE])), max_size=40))
def test_whatever_a_udf_says_no_kapacitor_panics(said: list[Frame | int]) -> None:
    judge, side = Judge(), Side()
    for one in said:
        if isinstance(one, int):
            judge.asked(one)
            side.asked(one)
        elif not judge.why_not(one):
            side.took(one)  # raises Panic where Kapacitor would end


@pytest.mark.parametrize(
    "frame", [END, begin(-1), begin(2**62), Frame(32, b"\x82\x02\x00"), Frame(0, b""), response(info={})]
)
def test_the_stand_in_panics_where_kapacitor_does(frame: Frame) -> None:
    with pytest.raises(Panic):
        Side().took(frame)


@pytest.mark.parametrize("envelope", [None, b"", b"\xff", POINT.envelope, b"\x0a\x00\x12\x00"])
def test_what_is_no_info_any_more_is_not_given_as_one(envelope: bytes | None) -> None:
    assert kapacitor.maybe_info(envelope) is None
    info = response(info=pb.InfoResponse(wants=pb.BATCH))
    assert kapacitor.maybe_info(bytes(info.envelope)) == info
