"""Old UDFs behind `udfstore bridge`: started, killed, restarted and given their state, as Kapacitor sees it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from bridge_kit import FIELD, Bridge, Kapacitor, Listening, child_of, fields, means, point, udf
from kit import ServerProcess, eventually
from stand_in import request

import udfstore
from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.reference import maybe_decode
from udfstore.tasks import HostKind

VALUES = [float(number * number % 17) for number in range(40)]


def batch(*values: float) -> list[object]:
    return [
        request(begin=pb.BeginBatch(name="m", size=len(values))),
        *map(point, values),
        request(end=pb.EndBatch(name="m", tmax=9)),
    ]


def test_state_survives_a_restart(bridge: Bridge, server: ServerProcess, task: str) -> None:
    with bridge.start(udf("moving_average")) as first:
        assert set(first.info().options) == {"field", "size"}
        first.start(task, "avg2", [FIELD])
        first.send(*map(point, VALUES[:20]))
        first.points(20)
        kept = first.snapshot()
        reference = maybe_decode(kept)
        assert reference is not None
        assert (reference.task, reference.node) == (task, "avg2")
        first.send(*map(point, VALUES[20:30]))
        first.points(30)
        assert first.close() == 0
        came = first.side.data
    with bridge.start(udf("moving_average")) as second:
        second.side.snapshot = kept
        second.start(task, "avg2", [FIELD])
        second.send(*map(point, VALUES[30:]))
        came += second.points(10)
        assert second.close() == 0
    assert fields(came, "mean") == means(VALUES)
    with udfstore.connect(server.socket) as store:
        (known,) = [one for one in store.tasks() if one.name == task]
        assert known.host is HostKind.KAPACITOR


def test_a_child_that_is_killed_is_brought_back_and_no_result_differs(bridge: Bridge, task: str) -> None:
    with bridge.start(udf("moving_average")) as kapacitor:
        kapacitor.start(task, "avg2", [FIELD])
        for start in range(0, 40, 10):
            kapacitor.send(*map(point, VALUES[start : start + 10]))
            kapacitor.points(start + 5)
            os.kill(child_of(kapacitor.pid), signal.SIGKILL)
            if start == 20:
                kapacitor.snapshot()
        kapacitor.points(40)
        assert kapacitor.close() == 0
        assert fields(kapacitor.side.data, "mean") == means(VALUES)


def test_a_child_that_is_killed_in_mid_batch(bridge: Bridge, task: str) -> None:
    with bridge.start(udf("batch_sum")) as kapacitor:
        kapacitor.start(task, "sum2")
        kapacitor.send(*batch(1.0, 2.0))  # type: ignore[arg-type]
        kapacitor.points(4)
        begin, one, two, end = batch(3.0, 4.0)
        kapacitor.send(begin, one)  # type: ignore[arg-type]
        os.kill(child_of(kapacitor.pid), signal.SIGKILL)
        kapacitor.send(two, end)  # type: ignore[arg-type]
        assert fields(kapacitor.points(8), "sum") == [1.0, 3.0, 6.0, 10.0]
        assert kapacitor.close() == 0


def test_what_kapacitor_kept_before_the_bridge_is_taken_over(bridge: Bridge, task: str) -> None:
    with bridge.start(udf("moving_average")) as kapacitor:
        kapacitor.side.snapshot = b'{"": [4.0, 5.0]}'
        kapacitor.start(task, "avg2", [FIELD])
        kapacitor.send(point(6.0))
        assert fields(kapacitor.points(1), "mean") == [5.0]
        assert maybe_decode(kapacitor.snapshot()) is not None
        assert kapacitor.close() == 0


def test_the_way_out(bridge: Bridge, task: str) -> None:
    with bridge.start(udf("moving_average"), "--hand-back") as kapacitor:
        kapacitor.start(task, "avg2", [FIELD])
        kapacitor.send(point(6.0))
        kapacitor.points(1)
        assert kapacitor.snapshot() == b'{"": [6.0]}'
        assert kapacitor.close() == 0


def test_a_udf_without_a_state(bridge: Bridge, task: str, tmp_path: Path) -> None:
    model = tmp_path / "factor"
    model.write_text("2.5")
    for _ in range(2):
        with bridge.start(udf("factor_of_file", model)) as kapacitor:
            kapacitor.start(task, "factor2")
            kapacitor.send(point(2.0))
            assert fields(kapacitor.points(1), "value") == [5.0]
            assert kapacitor.snapshot() == b""
            assert kapacitor.close() == 0


def test_a_refusal_is_the_udfs_own(bridge: Bridge, task: str) -> None:
    with bridge.start(udf("moving_average")) as kapacitor:
        answer = kapacitor.init(task, "avg2")
        assert (answer.success, answer.error) == (False, "must supply a field name")
        assert kapacitor.close() == 0


def test_many_connections_with_a_udf_each(bridge: Bridge, task: str, folder: Path) -> None:
    path = folder / "k"
    with Listening(bridge, udf("moving_average"), "--listen", path, "--prefix", "line1/", sockets=[path]) as process:
        with Kapacitor.with_socket(path) as one, Kapacitor.with_socket(path) as replayed:
            for kapacitor in (one, replayed):  # `kapacitor replay` starts the same task a second time
                kapacitor.start(task, "avg2", [FIELD])
                kapacitor.send(*map(point, VALUES))
            for kapacitor in (one, replayed):
                assert fields(kapacitor.points(len(VALUES)), "mean") == means(VALUES)
            reference = maybe_decode(one.snapshot())
            assert reference is not None
            assert reference.task == f"line1/{task}"
            replayed.close()
            one.send(point(1.0))
            one.points(len(VALUES) + 1)
            process.process.send_signal(signal.SIGTERM)
            one.ended()
        assert process.ended() == 0
        assert not path.exists()


def test_a_udf_behind_a_socket_of_its_own(bridge: Bridge, task: str, folder: Path) -> None:
    served = folder / "udf"
    server = folder / "serve.py"
    server.write_text(
        "import os, socket, sys, threading\n"
        f"sys.path.insert(0, {str(Path(__file__).parent / 'old_udfs')!r})\n"
        "from moving_average import MovingAverage\n"
        f"listener = socket.socket(socket.AF_UNIX); listener.bind({str(served)!r}); listener.listen()\n"
        "while True:\n"
        "    link = listener.accept()[0]\n"
        "    reads = link.makefile('rb')\n"
        "    MovingAverage(reads.read, link.sendall).serve()\n"
        "    reads.close(); link.close()\n"
    )
    other = Kapacitor.with_process(udf(str(server)), bridge.environment)
    try:
        eventually(served.exists)
        with bridge.start([], "--connect", served) as kapacitor:
            kapacitor.start(task, "avg2", [FIELD])
            kapacitor.send(*map(point, VALUES))
            assert fields(kapacitor.points(len(VALUES)), "mean") == means(VALUES)
            assert maybe_decode(kapacitor.snapshot()) is not None
            assert kapacitor.close() == 0
    finally:
        other.kill()


def test_many_bridges_from_a_file(bridge: Bridge, task: str, folder: Path) -> None:
    file = folder / "bridges.toml"
    python, script = udf("moving_average")
    file.write_text(
        f'prefix = "line2/"\n[bridge.a]\nlisten = "{folder}/a"\ncommand = ["{python}", "{script}"]\n'
        f'[bridge.b]\nlisten = "{folder}/b"\ncommand = ["{python}", "{udf("batch_sum")[1]}"]\n'
    )
    sockets = [folder / "a", folder / "b"]
    with Listening(bridge, [], "--config", file, sockets=sockets) as process:
        with Kapacitor.with_socket(sockets[0]) as a, Kapacitor.with_socket(sockets[1]) as b:
            assert a.info().wants == pb.STREAM
            assert b.info().wants == pb.BATCH
            a.close()
            b.close()
        with Kapacitor.with_socket(sockets[1]) as again:
            again.start(task, "sum2")
            again.send(*batch(1.0))  # type: ignore[arg-type]
            again.points(3)
            again.close()
        assert process.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_takes_a_last_snapshot(bridge: Bridge, server: ServerProcess, task: str, number: int) -> None:
    with bridge.start(udf("moving_average")) as kapacitor:
        kapacitor.start(task, "avg2", [FIELD])
        kapacitor.send(point(6.0))
        kapacitor.points(1)
        assert kapacitor.process is not None
        kapacitor.process.send_signal(number)
        assert kapacitor.ended() == 0
    with udfstore.connect(server.socket) as store:
        assert store.snapshot(task).nodes == 1
