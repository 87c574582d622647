"""Which answer belongs to which question, and what has no place."""

from __future__ import annotations

import pytest

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.udf import (
    INIT,
    SNAPSHOT,
    Alive,
    Answered,
    Data,
    Ended,
    Own,
    Stray,
    Talk,
    may_say,
)
from udfstore.errors import ProtocolError
from udfstore.wire import codec
from udfstore.wire.framing import Frame, FrameReader


def said(*responses: pb.Response) -> list[Frame]:
    """Frames as they come from a UDF."""
    reader = FrameReader(may_say())
    return [frame for response in responses for frame in reader.receive(codec.encode(response))]


def snapshot(content: bytes = b"state", round: int = 0) -> pb.Response:
    return pb.Response(snapshot=pb.SnapshotResponse(snapshot=content, round=round))


def test_data_between_answers_keeps_its_place() -> None:
    talk = Talk()
    question = talk.ask(SNAPSHOT)
    point = pb.Response(point=pb.Point(time=1))
    first, answer, second = talk.receive(said(point, point, snapshot(), point))
    assert isinstance(first, Data)
    assert len(first.frames) == 2
    assert isinstance(answer, Answered)
    assert answer.question is question
    assert isinstance(second, Data)


def test_answers_of_a_kind_come_in_the_order_of_their_questions() -> None:
    talk = Talk()
    questions = [talk.ask(SNAPSHOT), talk.ask(INIT), talk.ask(SNAPSHOT)]
    answers = list(talk.receive(said(snapshot(), snapshot(), pb.Response(init=pb.InitResponse(success=True)))))
    assert [questions.index(answer.question) for answer in answers if isinstance(answer, Answered)] == [0, 2, 1]


def test_a_round_finds_its_question() -> None:
    talk = Talk()
    talk.ask(SNAPSHOT, 7)
    second = talk.ask(SNAPSHOT, 8)
    (answer,) = talk.receive(said(snapshot(round=8)))
    assert isinstance(answer, Answered)
    assert answer.question is second


def test_a_late_answer_is_not_that_to_the_next_question() -> None:
    talk = Talk()
    talk.ask(SNAPSHOT).given_up = True
    second = talk.ask(SNAPSHOT)
    late, answer = talk.receive(said(snapshot(b"old"), snapshot(b"new")))
    assert isinstance(late, Answered)
    assert late.late
    assert isinstance(answer, Answered)
    assert answer.question is second
    assert not answer.late


def test_a_second_answer_and_an_unasked_one_are_told_apart() -> None:
    talk = Talk()
    talk.ask(SNAPSHOT)
    _, twice, unasked = talk.receive(said(snapshot(), snapshot(), pb.Response(init=pb.InitResponse())))
    assert twice == Stray(SNAPSHOT, "a second answer to snapshot")
    assert unasked == Stray(INIT, "nobody asked for init")


def test_keepalives_need_no_question() -> None:
    (alive,) = Talk().receive(said(pb.Response(keepalive=pb.KeepaliveResponse(time=3))))
    assert isinstance(alive, Alive)


def test_an_error_ends_it_with_its_own_words() -> None:
    (ended,) = Talk().receive(said(pb.Response(error=pb.ErrorResponse(error="no such field"))))
    assert ended == Ended("no such field")


def test_frames_of_our_own_are_set_apart_unread() -> None:
    (own,) = Talk().receive([Frame(34, b"\x92\x02\xff")])
    assert isinstance(own, Own)


def test_kinds_that_nobody_knows_are_strays() -> None:
    (stray,) = Talk().receive(FrameReader(may_say()).receive(b"\x04\x3a\x02hi"))
    assert stray == Stray(7, "no such message")


@pytest.mark.parametrize(
    "garbage",
    [b"Hello, world!\n", b"\x00", b"\xff\xff\xff\xff\xff\xff", b"Traceback (most recent call last):\n" * 3],
)
def test_what_is_printed_to_stdout_is_no_frame(garbage: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(Talk().receive(FrameReader(may_say()).receive(garbage)))


def test_an_answer_that_is_not_what_its_kind_says() -> None:
    talk = Talk()
    talk.ask(SNAPSHOT)
    with pytest.raises(ProtocolError, match="not protobuf"):
        list(talk.receive([Frame(SNAPSHOT, b"\x22\x05\x0a\xff")]))


def test_an_answer_with_something_behind_it_in_its_envelope() -> None:
    talk = Talk()
    talk.ask(INIT)
    answer = pb.Response(init=pb.InitResponse(success=True)).SerializeToString()
    with pytest.raises(ProtocolError, match="no message"):
        list(talk.receive([Frame(INIT, answer + b"\xfa\x7f\x00")]))
