"""What a Kapacitor sees of an agent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from agent_kit import UDFS, UdfProcess, obliging, point
from kit import SECONDS, in_thread

from udfstore._pb import udfstore_pb2 as pb


def test_a_conversation_of_all_kinds() -> None:
    with obliging() as udf:
        udf.send(pb.Request(info=pb.InfoRequest()))
        info = udf.next("info")
        assert (info.wants, info.provides) == (pb.STREAM, pb.STREAM)
        assert list(info.options["field"].valueTypes) == [pb.STRING]
        assert udf.begin().success
        answer = udf.ask(point(value=2.5))
        assert answer.fieldsDouble["value"] == 2.5
        udf.send(pb.Request(restore=pb.RestoreRequest(snapshot=b"what was kept")))
        assert udf.next("restore").success
        udf.send(pb.Request(snapshot=pb.SnapshotRequest()))
        assert udf.next("snapshot").snapshot == b"what was kept"
        udf.send(pb.Request(begin=pb.BeginBatch(name="b", size=1)), point(), pb.Request(end=pb.EndBatch(name="b")))
        assert (udf.next("begin").name, udf.next("point").name, udf.next("end").name) == ("b", "mirror", "b")
        assert udf.end() == 0
        assert udf.order[-3:] == ["begin", "point", "end"]


def test_what_is_printed_goes_to_the_log() -> None:
    with obliging() as udf:
        udf.says("before")
        udf.says("made")
        udf.begin()
        udf.ask(point("print", "hello from a handler"))
        udf.says("hello from a handler")
        assert udf.end() == 0
        assert udf.lines == ["before", "made", "hello from a handler", "ended"]


def test_a_child_of_the_udf_has_no_hold_of_the_wire() -> None:
    with obliging() as udf:
        udf.begin()
        udf.ask(point("child", "hello from a child"))
        udf.says("hello from a child")
        assert udf.end() == 0


def test_keepalives_are_answered_while_a_handler_works(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    with obliging() as udf:
        udf.begin()
        udf.send(point("wait", str(tmp_path / "go")))
        for time in range(1, 4):
            udf.keepalive(time)
        assert not udf.has("point")
        (tmp_path / "go").write_text("now")
        assert udf.next("point").tags["heard"] == "now"


def test_an_exception_ends_it_with_its_text() -> None:
    with obliging() as udf:
        udf.begin()
        udf.send(point(), point("raise", "no such luck"))
        assert "no such luck" in udf.next("error").error
        assert udf.process.wait(SECONDS) == 1
        assert udf.order[-2:] == ["point", "error"]
        udf.says("RuntimeError: no such luck")


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"\x00", "an empty envelope"), (b"\x02\x82\x02", "a message this side takes"), (b"\x02\x0a\x05", "not protobuf")],
    ids=["empty", "of udfstore", "cut"],
)
def test_what_no_host_says_ends_it(data: bytes, text: str) -> None:
    with obliging() as udf:
        udf.send_bytes(data)
        assert text in udf.next("error").error
        assert udf.process.wait(SECONDS) == 1


def test_messages_of_other_generated_classes_are_taken() -> None:
    with UdfProcess(str(UDFS / "foreign.py")) as udf:
        assert udf.begin().success
        assert udf.ask(point(value=1.5)).fieldsDouble["value"] == 1.5
        udf.send(pb.Request(snapshot=pb.SnapshotRequest()))
        assert udf.next("snapshot").snapshot == b"foreign"
        assert udf.end() == 0


def test_a_host_that_sends_more_than_is_handled_is_held_back(tmp_path: Path) -> None:
    """By the bound of the line, and nothing is lost."""
    count, text = 30, "x" * 1_000_000
    os.mkfifo(tmp_path / "go")
    with obliging() as udf:
        udf.begin()
        udf.send(point("wait", str(tmp_path / "go")))
        sending = in_thread(lambda: udf.send(*(point("state", text) for _ in range(count))))
        (tmp_path / "go").write_text("now")
        assert udf.next("point").tags["heard"] == "now"
        assert sum(len(udf.next("point").tags["with"]) for _ in range(count)) == count * len(text)
        sending.result(SECONDS)


def test_the_end_in_mid_batch_is_a_clean_end() -> None:
    with obliging() as udf:
        udf.begin()
        udf.send(pb.Request(begin=pb.BeginBatch(name="b")), point())
        assert udf.end() == 0
        assert udf.order[-2:] == ["begin", "point"]


def test_the_end_in_mid_frame_is_told() -> None:
    with obliging() as udf:
        udf.begin()
        udf.send(point())
        udf.send_bytes(b"\x7f\x8a\x01")
        assert udf.end() == 1
        assert "ended inside a frame" in udf.next("error").error
        assert udf.order[-2:] == ["point", "error"]
