"""docs/protocol.md says what is so: its client works, its bytes are right, its tables are those of the code."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer
from replayed import Replayed

import udfstore
from udfstore import calls, model, refs
from udfstore._pb import udfstore_pb2 as pb
from udfstore.client import retry
from udfstore.errors import CODES
from udfstore.server.limits import ServerLimits
from udfstore.server.transfers import CHUNKS_WAITING
from udfstore.session.nodes import LEAST_INTERVAL_MS, LEAST_TIMEOUT_MS
from udfstore.snapshots.names import NAME_BYTES
from udfstore.snapshots.rounds import INTERVAL_S, LEAST_INTERVAL_S
from udfstore.wire import codec, limits
from udfstore.wire.transcript import parse

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
LIMITS = ServerLimits()


def code(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def table(heading: str) -> list[list[str]]:
    """The rows of the table below a line of heads."""
    _, _, below = PAGE.partition(f"{heading}\n")
    assert below, heading
    rows = [line.strip()[1:-1].split("|") for line in below.split("\n\n")[0].splitlines()[1:]]
    return [[cell.strip() for cell in row] for row in rows]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.fixture
def load() -> Callable[[str, bytes], bytes]:
    names: dict[str, Any] = {}
    exec(compile(code("python"), "docs/protocol.md", "exec"), names)
    return names["load"]  # type: ignore[no-any-return]


def test_the_smallest_client_works(load: Callable[[str, bytes], bytes], live: LiveServer) -> None:
    content = os.urandom(3 << 20)
    with udfstore.connect(live.socket) as store:
        store.save(content, tag="models/x", note="n" * 4000)
        store.save(b"", tag="models/empty")
    assert load(str(live.socket), b"models/x") == content
    assert load(str(live.socket), b"models/empty") == b""
    with pytest.raises(LookupError, match="models/y"):
        load(str(live.socket), b"models/y")


def test_the_frame_in_the_table_is_what_it_says() -> None:
    listed = b"".join(bytes.fromhex(" ".join(words(row[0]))) for row in table("| bytes | what |"))
    assert listed == codec.encode(pb.Response(call=pb.Call(call=1, load=pb.Load(ref="models/x"))))


def test_the_conversation_byte_by_byte_is_what_the_smallest_client_says(
    load: Callable[[str, bytes], bytes], tmp_path: Path
) -> None:
    steps = parse(code("transcript")).steps
    assert [step.text.split()[0] for step in steps] == [
        "welcome", "hello", "call", "head", "chunk", "result", "end", "end",
    ]  # fmt: skip
    (tmp_path / "page.transcript").write_text(code("transcript"))
    with Replayed(tmp_path / "page.transcript", tmp_path / "s") as outcome:
        assert load(str(tmp_path / "s"), b"models/x") == b"hello"
    assert outcome == [3]


def test_every_code_is_explained_with_whether_to_repeat() -> None:
    rows = {words(row[0])[0]: row[2] for row in table("| code | what it means | repeat it as it is? |")}
    assert list(rows) == [kind.value for kind in CODES]
    for kind, meaning in CODES.items():
        assert rows[kind.value].startswith("no") is not meaning.repeat, kind


def test_every_call_and_its_result_is_listed() -> None:
    rows = table("| call | comes before the end | `result` holds | a change |")
    operations = {field.name for field in pb.Call.DESCRIPTOR.oneofs_by_name["op"].fields}
    assert {name for row in rows for name in words(row[0])} == operations
    results = {field.name for field in pb.Result.DESCRIPTOR.oneofs_by_name["result"].fields}
    assert {name for row in rows for name in words(row[2])} == results


def test_the_limits_of_frames_are_those_of_the_code() -> None:
    listed = {
        name: int(row[1].split()[0])
        for row in table("| frame | most bytes of its envelope |")
        for name in words(row[0])
    }
    assert listed == {
        "chunk": limits.of_hosts()[codec.CHUNK],
        "result": limits.ANSWER_BYTES,
        "page": limits.ANSWER_BYTES,
    }
    assert f"| everything else | {limits.SMALL_BYTES} |" in PAGE
    assert limits.of_clients()[codec.CHUNK] == listed["chunk"]


def test_the_limits_of_a_node_are_those_of_the_code() -> None:
    assert f"of up to {limits.DAG_BYTES} bytes" in PAGE
    assert f"0 (every {INTERVAL_S:g} s) or {LEAST_INTERVAL_MS} and more" in PAGE
    assert f"0 ({LIMITS.node_seconds:g} s) or {LEAST_TIMEOUT_MS} and more" in PAGE
    assert f"UTF-8 of up to {NAME_BYTES} bytes" in PAGE
    assert LEAST_INTERVAL_MS == LEAST_INTERVAL_S * 1000
    for seconds in (LIMITS.restore_seconds, LIMITS.round_seconds):
        assert f"at a node | {seconds:g} s |" in PAGE


def test_the_limits_of_a_server_are_those_of_the_code() -> None:
    listed = {words(row[0])[0]: float(row[1]) for row in table("| limit | default | what is over it |")}
    scrub = {"scrub_days", "scrub_bytes"}
    others = {"reads", "writes", "http_connections", "http_idle_seconds", *scrub}  # no peer meets those on the wire
    assert listed == {name: getattr(LIMITS, name) for name in ServerLimits.__dataclass_fields__ if name not in others}
    for name in ("hello", "progress"):
        assert f"| {getattr(LIMITS, f'{name}_seconds'):g} s" in PAGE
    names = re.search(r"^Names: .*?\n\n", PAGE, re.DOTALL | re.MULTILINE)
    assert names
    assert list(map(int, re.findall(r"\d+", names[0]))) == [
        refs.TAG_BYTES,
        refs.SNAPSHOT_TAG_BYTES,
        model.NOTE_BYTES,
        model.LABELS,
        model.LABELS_BYTES,
        model.CLAIM_BYTES,
        calls.MISSING_IDS,
        calls.MOVES,
    ]


def test_the_buffers_are_multiplied_out_right() -> None:
    chunk, window = LIMITS.chunk_bytes, LIMITS.window_bytes
    assert [int(row[2]) for row in table("| for | holds | bytes |")] == [
        0,
        LIMITS.first_window_bytes,
        window,
        window + 2 * chunk,
        (CHUNKS_WAITING + 2) * chunk,
        2 * chunk,
        0,
        LIMITS.waiting_bytes + limits.ANSWER_BYTES,
        LIMITS.calls * window,
    ]


def test_how_to_wait_before_connecting_again_is_what_our_client_does() -> None:
    assert f"{retry.FIRST_SECONDS * 1000:g} ms,\ndoubled each time up to {retry.MOST_SECONDS:g} s" in PAGE


def test_kapacitors_fields_are_where_the_page_says() -> None:
    for kinds in (limits.of_kapacitor(), limits.of_kapacitor_udfs()):
        assert max(kinds) == 18
        assert not set(kinds) & set(limits.of_clients())
