"""States: inside the messages for Kapacitor, as blobs for a host that is udfstore."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from agent_kit import UdfProcess, obliging, point
from kit import ServerProcess

import udfstore
from udfstore._pb import udfstore_pb2 as pb


@pytest.fixture
def plain() -> Iterator[UdfProcess]:
    """Under a host that is not udfstore."""
    with obliging() as running:
        running.begin()
        yield running


@pytest.fixture
def udf(server: ServerProcess) -> Iterator[UdfProcess]:
    """Under a host that is udfstore."""
    with obliging(server=server.socket) as running:
        running.begin()
        yield running


def taken(udf: UdfProcess, state: str, round: int = 0) -> pb.SnapshotResponse:
    """The answer of a UDF that has a certain state."""
    udf.ask(point("state", state))
    udf.send(pb.Request(snapshot=pb.SnapshotRequest(round=round)))
    answer: pb.SnapshotResponse = udf.next("snapshot")
    return answer


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("text", "expected a udf_pb2.Response with `snapshot` set, got str 'text'"),
        ("raise", "RuntimeError: no state today"),
        ("empty response", "got an empty one"),
    ],
)
def test_a_snapshot_that_is_none_is_an_error_of_that_request(plain: UdfProcess, state: str, text: str) -> None:
    plain.ask(point("state", state))
    plain.send(pb.Request(snapshot=pb.SnapshotRequest()))
    assert text in plain.next("error").error
    assert taken(plain, "good").snapshot == b"good"
    assert plain.end() == 1


def test_a_restore_that_says_no_passes(plain: UdfProcess) -> None:
    plain.send(pb.Request(restore=pb.RestoreRequest(snapshot=b"bad")))
    answer = plain.next("restore")
    assert (answer.success, answer.error) == (False, "that is bad")
    assert plain.end() == 0


@pytest.mark.parametrize(("option", "got"), [("text", "str 'yes'"), ("nothing", "NoneType None"), ("no", "not so")])
def test_an_init_that_says_no_or_nonsense_is_told_as_such(option: str, got: str) -> None:
    with obliging() as udf:
        answer = udf.begin(pb.Option(name=option, values=[pb.OptionValue(type=pb.STRING, stringValue="not so")]))
        assert not answer.success
        assert got in answer.error


def test_a_round_saves_the_state_and_a_restore_loads_it(udf: UdfProcess, server: ServerProcess) -> None:
    answer = taken(udf, "large*14000000", round=7)
    assert (answer.round, answer.size, answer.snapshot, answer.error) == (7, 70_000_000, b"", "")
    with udfstore.connect(server.socket) as store:
        assert store.stat(udfstore.BlobId(answer.blob)).size == answer.size
    udf.ask(point("state", "other"))
    udf.send(pb.Request(restore=pb.RestoreRequest(blob=answer.blob, size=answer.size, number=1)))
    udf.keepalive(1)
    assert udf.next("restore").success
    told = udf.ask(point("tell_state"))
    assert told.fieldsString["sha256"] == udfstore.BlobId(answer.blob).hex
    assert udf.end() == 0


def test_a_round_names_the_models_in_use(udf: UdfProcess, server: ServerProcess, unique: str) -> None:
    with udfstore.connect(server.socket) as store:
        saved = store.save(b"one", tag=unique)
    udf.ask(point("follow", unique))
    (model,) = taken(udf, "s", round=1).models
    assert (model.tag, model.version, model.id) == (unique, 1, saved.id.raw)


def test_a_round_without_a_state_or_with_an_error(udf: UdfProcess) -> None:
    empty = taken(udf, "", round=1)
    assert (empty.round, empty.blob, empty.snapshot, empty.error) == (1, b"", b"", "")
    failed = taken(udf, "raise", round=2)
    assert (failed.round, failed.blob) == (2, b"")
    assert "no state today" in failed.error
    assert taken(udf, "good", round=3).blob == hashlib.sha256(b"good").digest()
    assert udf.end() == 0


def test_while_the_store_is_away_a_state_travels_whole(own_server: ServerProcess) -> None:
    with obliging(server=own_server.socket) as udf:
        udf.begin()
        assert taken(udf, "good", round=1).blob
        own_server.kill()
        away = taken(udf, "better", round=2)
        assert (away.round, away.snapshot, away.blob, away.error) == (2, b"better", b"", "")
        own_server.start()
        assert taken(udf, "best", round=3).blob == hashlib.sha256(b"best").digest()


def test_a_state_that_cannot_be_loaded_is_a_restore_that_failed(udf: UdfProcess) -> None:
    udf.send(pb.Request(restore=pb.RestoreRequest(blob=bytes(32), size=1)))
    answer = udf.next("restore")
    assert not answer.success
    assert "cannot be loaded" in answer.error


def test_a_udf_starts_while_the_server_is_away(own_server: ServerProcess) -> None:
    own_server.kill()
    with obliging(server=own_server.socket) as udf:
        assert udf.begin().success
        assert taken(udf, "good", round=1).snapshot == b"good"
        assert udf.end() == 0


def test_a_state_too_large_for_a_message_does_not_end_the_udf(udf: UdfProcess) -> None:
    """A host asks for it whole while the store is away, and ends whoever sends more than it takes."""
    large = taken(udf, f"x*{64 << 20}")
    assert (large.snapshot, "too large" in large.error) == (b"", True)
    assert taken(udf, "good").snapshot == b"good"
    assert udf.end() == 0
