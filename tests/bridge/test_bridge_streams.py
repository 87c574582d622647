"""Recorded conversations of Kapacitor with its own agent, played through a bridge: byte for byte but for states."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bridge_kit import Bridge, script
from stand_in import KEEPALIVE

from udfstore.bridge.reference import maybe_decode

STREAMS = sorted((Path(__file__).parents[1] / "data" / "streams").glob("*.jsonl"))
INFO, INIT, SNAPSHOT, RESTORE = 1, 2, 4, 5

PLAYS_THE_UDF = """
# Says what the recorded UDF said, each time Kapacitor's side has come as far; notes what came.
import json, sys
from by_hand import take_varint

lines = [json.loads(line) for line in open(sys.argv[1])]
lines = [(line["from"], bytes.fromhex(line["frame"])) for line in lines]
heard, said = open(sys.argv[2], "wb"), sys.stdout.buffer


def key(frame):
    return take_varint(frame, take_varint(frame, 0)[1])[0] >> 3


snapshots = [frame for side, frame in lines if side == "udf" and key(frame) == 4]


def read():
    frame = b""
    while not frame or frame[-1] >= 0x80:
        byte = sys.stdin.buffer.read(1)
        if not byte:
            sys.exit()
        frame += byte
    return frame + sys.stdin.buffer.read(take_varint(frame, 0)[0])


def hear():
    # What the bridge asks of its own accord, and what it keeps from the UDF, is not in the recording.
    while True:
        frame = read()
        if key(frame) == 4:
            said.write(snapshots[-1] if snapshots else b"\\x02\\x22\\x00")
            said.flush()
        elif key(frame) != 5:
            heard.write(frame)
            heard.flush()
            return


for side, frame in lines:
    if key(frame) in (4, 5):
        continue
    if side == "host":
        hear()
    else:
        said.write(frame)
        said.flush()
while True:
    hear()
"""


def key(frame: bytes) -> int:
    at = next(place for place, byte in enumerate(frame) if byte < 0x80) + 1
    return (frame[at] & 0x7F | (frame[at + 1] << 7 if frame[at] >= 0x80 else 0)) >> 3


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_recorded_conversation_passes_byte_for_byte(bridge: Bridge, task: str, path: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    steps = [(line["from"], bytes.fromhex(line["frame"])) for line in lines]
    heard = tmp_path / "heard"
    with bridge.start([*script(tmp_path, PLAYS_THE_UDF), str(path), str(heard)]) as kapacitor:
        expected: list[bytes] = []
        for side, frame in steps:
            kind = key(frame)
            if side == "udf":
                if kind not in (SNAPSHOT, RESTORE, KEEPALIVE):
                    expected.append(frame)
                    kapacitor.wait(lambda _: len(own(kapacitor.came)) >= len(expected))
            elif kind == SNAPSHOT:
                assert maybe_decode(kapacitor.snapshot()) is not None
            elif kind == RESTORE:
                assert kapacitor.restore(kapacitor.side.snapshot).success
            else:
                if kind in (INFO, INIT):
                    kapacitor.side.asked(kind)
                kapacitor.write(frame)
        assert own(kapacitor.came) == expected
        answered = [frame for frame in kapacitor.came if key(frame) == KEEPALIVE]
        recorded = [frame for side, frame in steps if side == "udf" and key(frame) == KEEPALIVE]
        assert [frame for frame in answered if frame in recorded] == recorded
        assert kapacitor.close() == 0
    sent = [frame for side, frame in steps if side == "host" and key(frame) not in (SNAPSHOT, RESTORE)]
    assert heard.read_bytes() == b"".join(sent)


def own(frames: list[bytes]) -> list[bytes]:
    """Frames but for states, and for keepalives, which may come unasked."""
    return [frame for frame in frames if key(frame) not in (SNAPSHOT, RESTORE, KEEPALIVE)]
