"""Real conversations of Kapacitor with its own agent, recorded: what we parse, relay or play must agree with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from udfstore._pb import udfstore_pb2 as pb
from udfstore.wire import codec, limits
from udfstore.wire.framing import Frame, FrameReader, frame

STREAMS = sorted((Path(__file__).parents[1] / "data" / "streams").glob("*.jsonl"))


def frames_of(path: Path, side: str) -> list[bytes]:
    lines = map(json.loads, path.read_text().splitlines())
    return [bytes.fromhex(line["frame"]) for line in lines if line["from"] == side]


def unknown_fields(message: Message) -> int:
    """Fields that the message holds and its type does not know, at any depth."""
    count = len(UnknownFieldSet(message))
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            entries = value.values() if field.message_type.fields_by_name["value"].message_type else ()
        else:
            entries = (value,) if isinstance(value, Message) else value
        count += sum(map(unknown_fields, entries))
    return count


def read(data: bytes, kinds: dict[int, int], step: int) -> Iterator[Frame]:
    reader = FrameReader(kinds)
    for start in range(0, len(data), step):
        for received in reader.receive(data[start : start + step]):
            yield Frame(received.kind, bytes(received.envelope))
    reader.end()


SIDES = [("host", pb.Request, limits.of_kapacitor), ("udf", pb.Response, limits.of_kapacitor_udfs)]


def test_both_recordings_are_here() -> None:
    assert [path.stem for path in STREAMS] == ["kapacitor-moving-avg", "kapacitor-outliers"]


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
@pytest.mark.parametrize(("side", "kind", "kinds"), SIDES, ids=["host", "udf"])
def test_they_parse_with_nothing_unknown_left_over_and_encode_to_equal_messages(path, side, kind, kinds) -> None:  # type: ignore[no-untyped-def]
    recorded = frames_of(path, side)
    frames = list(read(b"".join(recorded), kinds(), 1 << 20))
    assert [frame(f.envelope) for f in frames] == recorded
    for one in frames:
        codec.decode(kind, one)
        envelope = kind.FromString(one.envelope)
        assert unknown_fields(envelope) == 0
        (again,) = read(codec.encode(envelope), kinds(), 1 << 20)
        assert kind.FromString(again.envelope) == envelope


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
@pytest.mark.parametrize(("side", "kind", "kinds"), SIDES, ids=["host", "udf"])
def test_they_are_the_same_byte_by_byte(path, side, kind, kinds) -> None:  # type: ignore[no-untyped-def]
    data = b"".join(frames_of(path, side))
    assert list(read(data, kinds(), 1)) == list(read(data, kinds(), 1 << 20))


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_our_own_clients_may_not_send_them_on_our_own_socket(path: Path) -> None:
    kinds = {kind for side in ("host", "udf") for kind in (frames_of(path, side)[0][1] >> 3,)}
    assert kinds.isdisjoint(limits.of_clients())


def test_the_fields_below_32_are_kapacitors_numbers_and_names() -> None:
    request = {"info": 1, "init": 2, "keepalive": 3, "snapshot": 4, "restore": 5, "begin": 16, "point": 17, "end": 18}
    below = {f.name: f.number for f in pb.Request.DESCRIPTOR.fields if f.number < 32}
    assert below == request
    below = {f.name: f.number for f in pb.Response.DESCRIPTOR.fields if f.number < 32}
    assert below == {**request, "error": 6}
    assert set(limits.of_kapacitor()) == set(request.values())
    assert set(limits.of_kapacitor_udfs()) == {*request.values(), 6}
