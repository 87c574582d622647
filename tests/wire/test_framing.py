from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import ProtocolError, TooLarge
from udfstore.wire import codec, limits, varint
from udfstore.wire.framing import Frame, FrameReader, FrameTooLarge, frame, fresh

SAMPLES: dict[str, list[pb.Response]] = {
    "hello": [pb.Response(hello=pb.Hello(protocol=1, credit=True))],
    "shortest": [pb.Response(goodbye=pb.Goodbye())],
    "content": [pb.Response(chunk=pb.Chunk(call=1, data=bytes(range(256)) * 5))],
    "many": [
        pb.Response(call=pb.Call(call=n, stat=pb.Stat(ref="models/x"))) if n % 3 else pb.Response(goodbye=pb.Goodbye())
        for n in range(1, 40)
    ],
    "mixed": [
        pb.Response(chunk=pb.Chunk(call=300, data=b"x" * 5000)),
        pb.Response(cancel=pb.Cancel(call=2**64 - 1)),
        pb.Response(chunk=pb.Chunk(call=1, data=b"")),
    ],
}


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    for index in range(len(data)):
        yield data[index : index + 1]


def in_sevens(data: bytes) -> Iterator[bytes]:
    for index in range(0, len(data), 7):
        yield data[index : index + 7]


def cut(
    data: bytes, parts: Callable[[bytes], Iterator[bytes]] = whole, of: Mapping[int, int] | None = None
) -> list[Frame]:
    reader = FrameReader(of or limits.of_clients())
    frames = [Frame(f.kind, bytes(f.envelope)) for part in parts(data) for f in reader.receive(part)]
    assert reader.half_read == 0
    reader.end()
    return frames


@pytest.mark.parametrize("parts", [whole, byte_by_byte, in_sevens])
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_stream_is_cut_into_the_same_frames_however_it_comes(
    sample: str, parts: Callable[[bytes], Iterator[bytes]]
) -> None:
    envelopes = SAMPLES[sample]
    frames = cut(b"".join(map(codec.encode, envelopes)), parts)
    assert [f.envelope for f in frames] == [e.SerializeToString() for e in envelopes]
    assert [f.kind for f in frames] == [e.ListFields()[0][0].number for e in envelopes]


@pytest.mark.parametrize("sample", SAMPLES)
def test_bytes_behind_a_sample_are_kept_for_the_next_frame(sample: str) -> None:
    data = b"".join(map(codec.encode, SAMPLES[sample]))
    reader = FrameReader(limits.of_clients())
    follow = codec.encode(pb.Response(cancel=pb.Cancel(call=77)))
    first = list(reader.receive(data + follow[:3]))
    assert len(first) == len(SAMPLES[sample])
    assert reader.half_read == len(first) + 1
    (last,) = reader.receive(follow[3:])
    assert bytes(last.envelope) == follow[1:]


def scattered(reader: FrameReader, part: bytes) -> list[bytes]:
    """What a reader does that puts bytes where they belong, as far as that is known."""
    space = reader.space
    placed = min(len(part), len(space))
    space[:placed] = part[:placed]
    return [bytes(f.envelope) for f in reader.receive(part[placed:], placed)]


@pytest.mark.parametrize("parts", [whole, byte_by_byte, in_sevens])
@pytest.mark.parametrize("sample", SAMPLES)
def test_bytes_may_be_put_where_they_belong(sample: str, parts: Callable[[bytes], Iterator[bytes]]) -> None:
    envelopes = SAMPLES[sample]
    reader = FrameReader(limits.of_clients())
    stream = b"".join(map(codec.encode, envelopes))
    frames = [envelope for part in parts(stream) for envelope in scattered(reader, part)]
    assert frames == [e.SerializeToString() for e in envelopes]
    assert len(reader.space) == 0
    reader.end()


def test_frames_are_counted_however_they_come() -> None:
    long, short = codec.chunk_head(1, 1000) + bytes(1000), codec.encode(SAMPLES["shortest"][0])
    reader = FrameReader(limits.of_clients())
    stream = (short + long + long + short + long)[:-1]
    for part in in_sevens(stream):
        list(reader.receive(part))
    assert (reader.count, reader.half_read) == (4, 5)


def test_a_long_frame_lies_in_the_memory_that_was_asked_for() -> None:
    given: list[memoryview] = []

    def memory(size: int) -> memoryview:
        given.append(fresh(size))
        return given[-1]

    reader = FrameReader(limits.of_clients(), memory)
    data = codec.chunk_head(1, 100_000) + bytes(100_000)
    assert list(reader.receive(data[:1000])) == []
    (received,) = reader.receive(data[1000:])
    assert received.envelope is given[0]
    assert len(given) == 1
    list(reader.receive(data))
    assert len(given) == 1, "one that comes whole needs none"


def test_frames_outlive_the_buffer_that_they_came_in() -> None:
    data = codec.encode(pb.Response(cancel=pb.Cancel(call=5))) + codec.encode(SAMPLES["content"][0])
    buffer = bytearray(data)
    reader = FrameReader(limits.of_clients())
    frames = list(reader.receive(memoryview(buffer)))
    buffer[:] = bytes(len(buffer))
    assert bytes(frames[0].envelope) == data[1:6]
    assert bytes(frames[1].envelope) == SAMPLES["content"][0].SerializeToString()


def test_a_frame_of_exactly_its_limit_passes_and_one_byte_more_does_not() -> None:
    for kind, most in limits.of_clients(1000).items():
        key = varint.encode(kind << 3 | 2)
        envelope = key + b"\0" * (most - len(key))
        assert cut(frame(envelope), of=limits.of_clients(1000)) == [Frame(kind, envelope)]
        with pytest.raises(FrameTooLarge, match=r"over .*limit"):
            cut(frame(envelope + b"\0"), of=limits.of_clients(1000))


def test_a_length_is_judged_before_anything_is_kept() -> None:
    reader = FrameReader(limits.of_clients())
    with pytest.raises(FrameTooLarge, match="over every limit") as caught:
        list(reader.receive(varint.encode(2**35 - 1)))
    assert isinstance(caught.value, TooLarge)
    assert caught.value.got == str(2**35 - 1)


def test_a_length_within_the_largest_limit_is_judged_again_by_its_kind() -> None:
    reader = FrameReader(limits.of_clients())
    prefix = varint.encode(limits.CHUNK_BYTES)
    assert list(reader.receive(prefix)) == []
    call = varint.encode(34 << 3 | 2)
    assert list(reader.receive(call[:1])) == []
    with pytest.raises(FrameTooLarge, match="field 34 over its limit"):
        list(reader.receive(call[1:]))


def test_nothing_is_allocated_for_a_frame_before_its_key_has_come() -> None:
    reader = FrameReader(limits.of_clients())
    list(reader.receive(varint.encode(limits.CHUNK_BYTES)))
    assert len(reader._body) == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("00", "empty envelope"),
        ("ffffffffff", "varint without an end"),
        ("03ffffff", "varint without an end"),  # a key of more than three bytes
        ("01ff", "varint without an end"),  # a key that reaches beyond its envelope
        ("020a00", "field 1 of wire type 2"),  # Kapacitor's info, which is not for this link
        ("028802", "field 33 of wire type 0"),
        ("0392f00f00", "field"),
        ("02b202", "field 38"),  # free in a Response
    ],
)
def test_what_cannot_begin_a_frame_is_refused_at_once(data: str, message: str) -> None:
    for parts in (whole, byte_by_byte):
        with pytest.raises(ProtocolError, match=message):
            cut(bytes.fromhex(data), parts)


def test_an_end_inside_a_frame_says_how_much_was_missing() -> None:
    data = codec.encode(SAMPLES["content"][0])
    for length in range(1, len(data)):
        reader = FrameReader(limits.of_clients())
        assert list(reader.receive(data[:length])) == []
        with pytest.raises(ProtocolError, match="ended inside") as caught:
            reader.end()
        assert caught.value.got
    reader = FrameReader(limits.of_clients())
    list(reader.receive(data[:100]))
    with pytest.raises(ProtocolError) as caught:
        reader.end()
    assert (caught.value.expected, caught.value.got) == (f"{len(data) - 2} bytes", "98")


def test_an_end_between_frames_is_a_goodbye() -> None:
    reader = FrameReader(limits.of_clients())
    reader.end()
    list(reader.receive(codec.encode(SAMPLES["content"][0])))
    reader.end()


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.integers(1, 9))
def test_random_bytes_make_frames_or_a_protocol_error(data: bytes, step: int) -> None:
    reader = FrameReader(limits.of_clients(64))
    with suppress(ProtocolError):
        for start in range(0, len(data), step):
            for received in reader.receive(data[start : start + step]):
                assert len(received.envelope) <= limits.of_clients(64)[received.kind]
        reader.end()


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.sampled_from([e for sample in SAMPLES.values() for e in sample]), max_size=8), st.data())
def test_any_cutting_gives_the_same_frames(envelopes: list[pb.Response], data: st.DataObject) -> None:
    stream = b"".join(map(codec.encode, envelopes))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader, other = FrameReader(limits.of_clients()), FrameReader(limits.of_clients())
    edges = [0, *cuts, len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    frames = [bytes(f.envelope) for piece in pieces for f in reader.receive(piece)]
    assert frames == [envelope for piece in pieces for envelope in scattered(other, piece)]
    assert frames == [e.SerializeToString() for e in envelopes]
