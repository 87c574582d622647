from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import UsageError
from udfstore.wire import codec, transcript
from udfstore.wire.transcript import END, RAW, Side, call_of, parse, render, same, step_of

FILES = sorted((Path(__file__).parents[1] / "transcripts").glob("*.transcript"))
HELLO = pb.Response(hello=pb.Hello(protocol=1))
NAMES = frozenset({"Entry.time_ns", "Entry.author", "Result.health"})


def example() -> str:
    """The one in the module's own text."""
    assert transcript.__doc__ is not None
    lines = transcript.__doc__.split("\n\n", 1)[1].splitlines()
    return textwrap.dedent("\n".join(line for line in lines if line.startswith("    ") or not line)).strip() + "\n"


def test_the_documented_example_reads_as_it_says() -> None:
    parsed = parse(example())
    assert [(s.side, s.text.split()[0]) for s in parsed.steps] == [
        (Side.HOST, "welcome"),
        (Side.UDF, "hello"),
        (Side.UDF, RAW),
        (Side.HOST, END),
    ]
    assert parsed.vary == {"Welcome.version", "Welcome.session"}
    assert parsed.steps[1].message == HELLO
    assert [s.data for s in parsed.steps[1:]] == [codec.encode(HELLO), b"\xff" * 5, b""]
    assert render(parsed) == example()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_recorded_transcript_is_read_and_written_alike(path: Path) -> None:
    assert render(parse(path.read_text())) == path.read_text()


def test_a_frame_becomes_a_step_and_a_step_its_frame() -> None:
    for envelope in (HELLO, pb.Response(chunk=pb.Chunk(call=1, data=bytes(range(256))))):
        step = step_of(Side.UDF, 1, codec.encode(envelope))
        assert step.message == envelope
        (again,) = parse(render(transcript.Transcript((step,)))).steps
        assert again == step


def test_a_draft_needs_no_hex_and_may_leave_open_what_comes() -> None:
    said, open_, ended = parse("> hello { protocol: 1 }\n<\n< end\n", draft=True).steps
    assert said.data == codec.encode(HELLO)
    assert (open_.text, open_.message, open_.data) == ("", None, b"")
    assert (ended.text, ended.data) == (END, b"")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("> hello { protocol: 1 }", "line 1: not a frame"),
        ("# x\n> hello { protocol: 2 }\n  05 82 02 02 08 01", "line 2: text and hex differ"),
        ("> hello { protocol: 1 }\n  05 82 02 02 08", "line 1: not a frame: its length is wrong"),
        ("> hello { protocol: 1 }\n  05 82 02 02 ff ff", "line 1: not a frame"),
        ("> hello { protocol: 1 }\n  05 82 02 02 08 0", "line 2: not hex"),
        ("> hello { protocol 1 }\n  00", "line 1: not a message in text format"),
        ("> welcome { }\n  00", "line 1: not a message in text format"),  # the host's, not the UDF's
        ("> end\n  00", "hex belongs to"),
        ("> raw", "hex belongs to"),
        ("<", "hex belongs to"),
        ("  00", "line 1: not a line of a transcript"),
        ("vary: x", "line 1: not a line"),
    ],
)
def test_what_cannot_be_right_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text)


def test_fields_that_vary_are_left_out_wherever_they_occur() -> None:
    def moved(time_ns: int, version: int) -> pb.Request:
        entry = pb.Entry(tag="a", version=version, time_ns=time_ns, author=pb.Author(pid=time_ns), labels={"k": "v"})
        return pb.Request(result=pb.Result(call=1, moved=pb.Moved(entries=[entry, entry])))

    assert same(moved(1, 1), moved(2, 1), NAMES)
    assert not same(moved(1, 1), moved(1, 2), NAMES)
    assert not same(moved(1, 1), moved(2, 1), frozenset())
    one, other = (pb.Request(result=pb.Result(call=1, health=pb.Health(pid=pid))) for pid in (1, 2))
    assert same(one, other, NAMES)
    assert one.result.health.pid == 1  # and nothing is taken from what is compared


def test_messages_say_which_call_they_belong_to() -> None:
    assert call_of(HELLO) == 0
    assert call_of(pb.Response()) == 0
    assert call_of(pb.Response(call=pb.Call(call=7))) == 7
    assert call_of(pb.Request(fault=pb.Fault(call=3))) == 3


def test_what_follows_the_end_of_both_sides_is_another_conversation() -> None:
    one, two, three = parse("> end\n< end\n\n# and again\n< end\n> raw\n  ff\n> end\n> raw\n  ff\n").conversations
    assert [(step.side, step.text) for step in one] == [(Side.UDF, END), (Side.HOST, END)]
    assert [(step.side, step.text) for step in two] == [(Side.HOST, END), (Side.UDF, RAW), (Side.UDF, END)]
    assert [step.line for step in three] == [9]
    assert parse("# nothing\n").conversations == ()
