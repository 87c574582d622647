"""The store behind a bridge: away, emptied, damaged, another one; and Kapacitor's word on when a task was made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bridge_kit import FIELD, Bridge, fields, point, udf
from kit import ServerProcess, eventually
from stand_in import Kapacitor
from test_kapacitor_api import DOT, Served

import udfstore
from udfstore.bridge.reference import maybe_decode

AVERAGE = udf("moving_average")


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.server.shutdown()
    served.server.server_close()


def begun(bridge: Bridge, *words: str, kept: bytes = b"", task: str = "task") -> Kapacitor:
    """A UDF that was started and took no point yet."""
    kapacitor = bridge.start(AVERAGE, *words)
    kapacitor.side.snapshot = kept
    try:
        kapacitor.start(task, "moving_avg2", [FIELD])
    except BaseException:
        kapacitor.kill()
        raise
    return kapacitor


def mean_of(kapacitor: Kapacitor, value: float) -> float:
    """What comes back for one more point."""
    before = len(kapacitor.side.data)
    kapacitor.send(point(value))
    return fields(kapacitor.points(before + 1), "mean")[-1]


def with_state(bridge: Bridge, task: str = "task") -> bytes:
    """What Kapacitor keeps after a run that ends in the window [3, 6]."""
    with begun(bridge, task=task) as kapacitor:
        mean_of(kapacitor, 3.0)
        mean_of(kapacitor, 6.0)
        kept = kapacitor.snapshot()
        assert maybe_decode(kept) is not None
        kapacitor.close()
    return kept


def test_a_server_that_was_never_there(bridge: Bridge, own_server: ServerProcess, folder: Path) -> None:
    own_server.stop()
    bridge.environment["UDFSTORE_SOCKET"] = str(own_server.socket)
    with begun(bridge) as kapacitor:
        assert mean_of(kapacitor, 3.0) == 3.0
        whole = kapacitor.snapshot()
        assert whole == b'{"": [3.0]}'
        own_server.start()
        eventually(lambda: maybe_decode(kapacitor.snapshot()))
        assert mean_of(kapacitor, 6.0) == 4.5
        kept = kapacitor.snapshot()
        kapacitor.close()
    with begun(bridge, kept=kept) as kapacitor:
        assert mean_of(kapacitor, 9.0) == 6.0
        kapacitor.close()


def test_a_server_that_goes_and_comes_back(bridge: Bridge, own_server: ServerProcess) -> None:
    bridge.environment["UDFSTORE_SOCKET"] = str(own_server.socket)
    with begun(bridge) as kapacitor:
        assert mean_of(kapacitor, 3.0) == 3.0
        assert maybe_decode(kapacitor.snapshot())
        own_server.kill()
        assert mean_of(kapacitor, 6.0) == 4.5
        assert kapacitor.snapshot() == b'{"": [3.0, 6.0]}'
        own_server.start()
        eventually(lambda: maybe_decode(kapacitor.snapshot()))
        assert mean_of(kapacitor, 9.0) == 6.0
        kapacitor.close()


def test_a_state_that_cannot_be_reached_fails_the_task_in_clear_words(
    bridge: Bridge, own_server: ServerProcess
) -> None:
    bridge.environment["UDFSTORE_SOCKET"] = str(own_server.socket)
    kept = with_state(bridge)
    own_server.stop()
    with bridge.start(AVERAGE, "--without-store", "wait=0.1") as kapacitor:
        answer = kapacitor.init("task", "moving_avg2", [FIELD])
        assert not answer.success
        assert "no server answers" in answer.error
        kapacitor.close()
    bridge.environment["XDG_STATE_HOME"] = str(bridge.folder / "new machine")
    with bridge.start(AVERAGE, "--without-store", "fail") as kapacitor:
        assert kapacitor.init("task", "moving_avg2", [FIELD]).success
        answer = kapacitor.restore(kept)
        assert not answer.success
        assert "no server answers" in answer.error
        kapacitor.close()
    with begun(bridge, "--without-store", "fresh", kept=kept) as kapacitor:
        assert mean_of(kapacitor, 9.0) == 9.0
        kapacitor.close()


def test_a_state_that_is_waited_for(bridge: Bridge, own_server: ServerProcess) -> None:
    bridge.environment["UDFSTORE_SOCKET"] = str(own_server.socket)
    kept = with_state(bridge)
    own_server.stop()
    with bridge.start(AVERAGE) as kapacitor:
        kapacitor.info()
        kapacitor.ask(init=init_request())
        kapacitor.wait(lambda side: bool(side.keepalives))
        own_server.start()
        assert kapacitor.answer(2).success
        assert kapacitor.restore(kept).success
        assert mean_of(kapacitor, 9.0) == 6.0
        kapacitor.close()


def init_request() -> object:
    from udfstore._pb import udfstore_pb2 as pb

    return pb.InitRequest(taskID="task", nodeID="moving_avg2", options=[FIELD])


def test_another_store_is_no_place_to_lose_a_state_in_silence(
    bridge: Bridge, server: ServerProcess, own_server: ServerProcess, task: str
) -> None:
    kept = with_state(bridge, task)
    bridge.environment["UDFSTORE_SOCKET"] = str(own_server.socket)
    with bridge.start(AVERAGE) as kapacitor:
        kapacitor.init(task, "moving_avg2", [FIELD])
        answer = kapacitor.restore(kept)
        assert not answer.success
        assert "another store" in answer.error
        kapacitor.close()


def test_a_task_that_was_deleted_begins_fresh(bridge: Bridge, server: ServerProcess, task: str) -> None:
    kept = with_state(bridge, task)
    with udfstore.connect(server.socket) as store:
        eventually(lambda: all(not one.nodes for one in store.tasks() if one.name == task))
        store.delete_task(task, everything=True)
    with begun(bridge, kept=kept, task=task) as kapacitor:
        assert mean_of(kapacitor, 9.0) == 9.0
        kapacitor.close()


def test_a_state_that_is_damaged_is_not_given(bridge: Bridge, own_server: ServerProcess) -> None:
    bridge.environment["UDFSTORE_SOCKET"] = str(own_server.socket)
    kept = with_state(bridge)
    with udfstore.connect(own_server.socket) as store:
        (state,) = store.states("task")
    (file,) = own_server.root.rglob(f"*{state.blob.hex[8:]}")
    file.chmod(0o600)
    file.write_bytes(b"x" * file.stat().st_size)
    with begun(bridge, kept=kept) as kapacitor:
        assert mean_of(kapacitor, 9.0) == 9.0
        kapacitor.close()


def test_a_task_that_was_made_anew_gets_nothing_of_its_namesake(
    bridge: Bridge, server: ServerProcess, served: Served
) -> None:
    path = "/kapacitor/v1/tasks/made-anew"
    old = {"dot": DOT.replace("cpu-alert", "made-anew"), "created": "2020-01-01T00:00:00Z"}
    served.task(path, **old)
    bridge.environment["UDFSTORE_KAPACITOR_URL"] = served.url
    kept = with_state(bridge, "made-anew")
    with udfstore.connect(server.socket) as store:
        (task,) = [one for one in store.tasks() if one.name == "made-anew"]
        assert len(task.fingerprint) == 64
    with begun(bridge, kept=kept, task="made-anew") as kapacitor:
        assert mean_of(kapacitor, 9.0) == 6.0
        kapacitor.close()
    served.task(path, **{**old, "created": "2100-01-01T00:00:00Z"})
    with begun(bridge, task="made-anew") as kapacitor:
        assert mean_of(kapacitor, 9.0) == 9.0
        kapacitor.close()
    assert json.loads(served.answers[path][1])["created"].startswith("2100")


def test_a_model_that_moves_is_taken_up_between_two_points(
    bridge: Bridge, server: ServerProcess, task: str, unique: str, tmp_path: Path
) -> None:
    model = tmp_path / "factor"
    with udfstore.connect(server.socket) as store:
        store.save(b"2.0", tag=unique)
        with bridge.start(udf("factor_of_file", model), "--model", f"{unique}={model}") as kapacitor:
            kapacitor.start(task, "factor2")
            kapacitor.send(point(3.0))
            assert fields(kapacitor.points(1), "value") == [6.0]
            store.save(b"5.0", tag=unique)
            values = [6.0]
            while values[-1] == 6.0:
                kapacitor.send(point(3.0))
                values = fields(kapacitor.points(len(values) + 1), "value")
            assert values[-1] == 15.0
            kapacitor.close()
