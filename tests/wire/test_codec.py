from __future__ import annotations

import os
import subprocess
import sys

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import ProtocolError
from udfstore.wire import codec, limits, varint
from udfstore.wire.framing import Frame, FrameReader

numbers = st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1))


def received(data: bytes) -> Frame:
    (one,) = FrameReader(limits.of_clients()).receive(data)
    return one


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 2**64 - 1), st.binary(min_size=1, max_size=300))
def test_a_chunk_is_written_as_the_generated_classes_write_it(call: int, data: bytes) -> None:
    for envelope in (
        pb.Request(chunk=pb.Chunk(call=call, data=data)),
        pb.Response(chunk=pb.Chunk(call=call, data=data)),
    ):
        assert codec.chunk_head(call, len(data)) + data == codec.encode(envelope)


@settings(derandomize=True, deadline=None)
@given(numbers, st.binary(max_size=300))
def test_a_chunk_is_read_as_the_generated_classes_read_it(call: int, data: bytes) -> None:
    chunk = codec.decode_chunk(received(codec.encode(pb.Response(chunk=pb.Chunk(call=call, data=data)))))
    assert (chunk.call, bytes(chunk.data)) == (call, data)
    if data:
        chunk = codec.decode_chunk(received(codec.chunk_head(call, len(data)) + data))
        assert (chunk.call, bytes(chunk.data)) == (call, data)


def test_the_largest_chunk_fits_its_limit() -> None:
    head = codec.chunk_head(2**64 - 1, limits.CHUNK_BYTES)
    assert len(head) <= 24
    chunk = codec.decode_chunk(received(head + bytes(limits.CHUNK_BYTES)))
    assert len(chunk.data) == limits.CHUNK_BYTES


@pytest.mark.parametrize(
    "inner",
    [
        "1203616263 0805",  # fields in the other order
        "0801 0805 1203616263",  # the number twice: the last one holds
        "0805 1201ff 1203616263",  # the content twice, likewise
        "0885808080 00 1203616263",  # a number longer than it needs to be
        "0805 128380808000 616263",  # and a length
        "0805 1203616263 1801",  # a field that this release does not know
        "0805 1203616263 22021801",
    ],
)
def test_odd_but_valid_layouts_of_a_chunk_are_understood(inner: str) -> None:
    body = bytes.fromhex(inner)
    frame = Frame(codec.CHUNK, b"\x9a\x02" + bytes((len(body),)) + body)
    assert codec.decode(pb.Response, frame) == pb.Chunk.FromString(body)
    chunk = codec.decode_chunk(frame)
    assert (chunk.call, bytes(chunk.data)) == (5, b"abc")


def test_the_content_of_a_chunk_is_a_view_of_the_frame() -> None:
    frame = received(codec.chunk_head(1, 5000) + bytes(5000))
    assert codec.decode_chunk(frame).data.obj is memoryview(frame.envelope).obj


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.binary(min_size=1, max_size=40))
def test_a_chunk_of_random_bytes_is_what_the_generated_classes_say_or_a_protocol_error(body: bytes) -> None:
    envelope = b"\x9a\x02" + body
    try:
        expected = pb.Response.FromString(envelope)
    except (DecodeError, UnicodeDecodeError):
        expected = None
    try:
        chunk = codec.decode_chunk(Frame(codec.CHUNK, envelope))
    except ProtocolError:
        assert expected is None or expected.WhichOneof("message") != "chunk"
    else:
        assert expected is not None
        assert (expected.chunk.call, expected.chunk.data) == (chunk.call, bytes(chunk.data))


@pytest.mark.parametrize(
    ("kind", "envelope"),
    [
        (34, b"\x92\x02\x05\x08"),  # shorter than it says
        (34, b"\x92\x02\x01\xff"),
        (34, b"\x92\x02\x08\x08\x01\x92\x01\x03\x0a\x01\xff"),  # a ref that is not UTF-8
        (34, b"\x92\x02\x02\x08\x01\xa2\x02\x02\x08\x01"),  # a second message behind the first
    ],
)
def test_what_is_not_one_message_is_a_protocol_error(kind: int, envelope: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.decode(pb.Response, Frame(kind, envelope))


def test_the_pure_python_parser_of_protobuf_raises_nothing_else() -> None:
    here = os.path.dirname(__file__)  # noqa: PTH120 - as the command line wants it
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"{here}/test_codec.py",
            "-k",
            "not pure_python",
        ],
        env={**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def test_a_call_number_of_more_than_64_bits_is_read_as_protobuf_reads_it() -> None:
    for number in (2**64, 2**65 - 1, 2**70 - 1):
        inner = bytes((1 << 3,)) + varint.encode(number) + bytes((2 << 3 | 2, 1)) + b"x"
        envelope = varint.encode(codec.CHUNK << 3 | 2) + varint.encode(len(inner)) + inner
        try:
            call = pb.Request.FromString(envelope).chunk.call
        except DecodeError:
            with pytest.raises(ProtocolError):
                codec.decode_chunk(Frame(codec.CHUNK, envelope))
        else:
            assert codec.decode_chunk(Frame(codec.CHUNK, envelope)).call == call
