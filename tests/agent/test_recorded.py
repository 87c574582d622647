"""Conversations recorded from Kapacitor's own agent: ours, with UDFs that do the same, says the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from agent_kit import UDFS, UdfProcess

from udfstore._pb import udfstore_pb2 as pb
from udfstore.wire import codec, limits
from udfstore.wire.framing import FrameReader

STREAMS = Path(__file__).parents[1] / "data" / "streams"


@pytest.mark.parametrize(("stream", "udf"), [("kapacitor-moving-avg", "moving.py"), ("kapacitor-outliers", "tukey.py")])
def test_a_recorded_conversation(stream: str, udf: str) -> None:
    said: dict[str, list[Any]] = {}
    with UdfProcess(str(UDFS / udf)) as player:
        for line in (STREAMS / f"{stream}.jsonl").read_text().splitlines():
            record = json.loads(line)
            frame = bytes.fromhex(record["frame"])
            if record["from"] == "host":
                player.send_bytes(frame)
            else:
                (one,) = FrameReader(limits.of_kapacitor_udfs()).receive(frame)
                kind = pb.Response.DESCRIPTOR.fields_by_number[one.kind].name
                said.setdefault(kind, []).append(codec.decode(pb.Response, one))
        for kind, messages in said.items():
            for message in messages:
                assert plain(player.next(kind)) == plain(message)
            assert not player.has(kind)
        assert player.end() == 0


def plain(message: Any) -> Any:
    """A message as it can be compared: computed numbers nearly, a state by what both UDFs keep in it."""
    if isinstance(message, pb.SnapshotResponse):
        return {group: state["window"] for group, state in json.loads(message.snapshot).items()}
    if isinstance(message, pb.Point):
        computed = {name: pytest.approx(value) for name, value in message.fieldsDouble.items()}
        message.ClearField("fieldsDouble")
        return message, computed
    return message
